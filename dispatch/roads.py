"""Times on real roads where the operator has a router (osrm.py), within its budget; by what was learned elsewhere.

For whoever may wait 20 ms: quotes, and the match at once for the drivers it looks at. The batch, whose pairs are too
many, and the time beside each position, which waits for nobody, go by travel.py; where there is no router, all do.
"""

from collections.abc import Callable, Sequence
from typing import Final

import aiohttp
import numpy as np

from dispatch import travel
from dispatch.area import Area
from dispatch.eta import Floats, Positions
from dispatch.etatable import EtaTable
from dispatch.osrm import Osrm
from storage.records import Place

BUDGET_S: Final = 0.020


class Roads:
    """Without a session there is no router; the session is the caller's, who closes it. `told` hears how each question
    to the router went."""

    def __init__(
        self,
        session: aiohttp.ClientSession | None = None,
        url: str = "",
        told: Callable[[str], None] = lambda outcome: None,
        budget_s: float = BUDGET_S,
    ) -> None:
        self._session, self._url, self._told, self._budget_s = session, url, told, budget_s
        self._routers: dict[str, tuple[Area, Osrm]] = {}

    @property
    def known(self) -> bool:
        return self._session is not None

    async def pickups_s(self, area: Area, drivers_deg: Positions, pickup: Place, at_ms: int) -> Floats:
        """Seconds until each driver at (n, 2) degrees is at the pickup: (n,)."""
        router = self._router(area)
        if router is None:
            return travel.pickups_s(area, drivers_deg, pickup, at_ms)
        there = np.array([(pickup.latitude, pickup.longitude)])
        driving_s = await router.matrix(drivers_deg, there, at_ms / 1000)
        return np.asarray(area.policy.pickup_overhead_s + driving_s[:, 0])

    async def trip(
        self, area: Area, pickup: Place, stops: Sequence[Place], dropoff: Place, at_ms: int
    ) -> tuple[float, float]:
        """(road metres, seconds) from the pickup by way of the stops to the dropoff, begun at `at_ms`."""
        road_m, learned_s = travel.trip(area, pickup, stops, dropoff, at_ms)
        router = self._router(area)
        if router is None:
            return road_m, learned_s
        deg = np.array([(each.latitude, each.longitude) for each in (pickup, *stops, dropoff)])
        legs_s = np.diagonal(await router.matrix(deg[:-1], deg[1:], at_ms / 1000))
        return road_m, float(legs_s.sum()) + len(stops) * area.policy.stop_dwell_s

    def _router(self, area: Area) -> Osrm | None:
        """One for each area, made anew when the area or what it has learned changes."""
        if self._session is None:
            return None
        kept = self._routers.get(area.id)
        if kept is None or kept[0] is not area:
            table = area.eta or EtaTable(area.policy)
            router = Osrm(
                self._session,
                self._url,
                table,
                top_speed_mps=area.policy.top_speed_mps,
                budget_s=self._budget_s,
                told=self._told,
            )
            kept = self._routers[area.id] = area, router
        return kept[1]
