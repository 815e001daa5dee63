"""Where requests outnumber vehicles now, cell by cell: one look at an area, and what the newest looks say to others.

Pure. A look is of one kind of job, since a courier on a bicycle serves no ride: it joins what is expected (demand.py),
who waits and who is free into pressure and surge (surge.py), and
carries on where the look before it stood: the surge needs to know since when the pressure has asked for another. After
a break of more than FRESH_S that is not known, and surge begins at 1.
"""

from collections.abc import Generator, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

import h3.api.basic_int as h3
import msgspec
import numpy as np

from dispatch.area import Area
from dispatch.demand import QUARTER_S, Demand, demand_cell
from dispatch.eta import Floats, Positions
from dispatch.surge import STEPS, Surge, calm, neighbourhood, next_surge, pressure
from dispatch.worth import RESOLUTION, OfClass, longest_s
from storage.records import Job

FRESH_S: Final = 60.0  # an older look says nothing of now
CELLS_MAX: Final = 2_000  # of an area: those with the most going on; 1,500 km²
LONGEST_WAIT_S: Final = 1_800.0


class Heat(msgspec.Struct, frozen=True, kw_only=True):
    """One look at an area; a row for each of `cells` (H3, of demand.RESOLUTION) in every list. `forecast` are requests
    of the next quarter of an hour, `supply` vehicles that are free; `tenths`, `up_since_s` and `down_since_s` are the
    surge's. `longest_s`: by class and coarse cell, the longest pickup that is worth a driver's time (worth.py). It is
    of rides; `packages` is the same look at these, None in one that a node of an older version left."""

    area_id: str
    at_s: float
    cells: list[int]
    forecast: list[float]
    waiting: list[int]
    supply: list[int]
    pressure: list[float]
    tenths: list[int]
    up_since_s: list[float]
    down_since_s: list[float]
    longest_s: dict[str, dict[int, float]] = {}
    packages: "Heat | None" = None


def look(
    area: Area,
    before: Heat | None,
    demand: Demand,
    waiting: Mapping[int, int],
    supply: Mapping[int, int],
    *,
    share: float = 1.0,
    now_s: float,
    short: Mapping[str, OfClass] = MappingProxyType({}),
) -> Generator[None, None, Heat]:
    """How things stand; `waiting` and `supply` are counts by cell, `share` is of what is expected, `short` the classes
    of which some were lost. In steps, between which others may run: of CELLS_MAX the neighbours take 6 ms to find, and
    as long what a driver's time is worth in each class."""
    expected = dict(zip(demand.cells, (share * demand.forecast(now_s)).tolist(), strict=True))
    last = before if before is not None and 0.0 <= now_s - before.at_s <= FRESH_S else None
    surging = {} if last is None else {cell: row for row, cell in enumerate(last.cells) if _stirs(last, row)}
    cells = list({*expected, *waiting, *supply, *surging})
    going_on = {
        c: expected.get(c, 0.0) + waiting.get(c, 0) + supply.get(c, 0) + (c in surging) for c in cells
    }
    cells = sorted(sorted(cells, key=lambda cell: (-going_on[cell], cell))[:CELLS_MAX])
    forecast = np.array([expected.get(cell, 0.0) for cell in cells])
    waits = np.array([float(waiting.get(cell, 0)) for cell in cells])
    free = np.array([float(supply.get(cell, 0)) for cell in cells])
    yield
    near = neighbourhood(cells)
    yield
    pressures = pressure(waits, forecast, free, near) if cells else np.zeros(0)
    surge = next_surge(_carried(last, surging, cells), pressures, now_s, area.policy)
    worth_s: dict[str, dict[int, float]] = {}
    for name, of in short.items():
        yield
        worth_s[name] = longest_s(expected, of, area.policy)
    yield
    return Heat(
        area_id=area.id,
        at_s=now_s,
        cells=cells,
        forecast=_short(forecast),
        waiting=waits.astype(int).tolist(),
        supply=free.astype(int).tolist(),
        pressure=_short(pressures),
        tenths=surge.tenths.tolist(),
        up_since_s=surge.up_since_s.tolist(),
        down_since_s=surge.down_since_s.tolist(),
        longest_s=worth_s,
    )


def _stirs(heat: Heat, row: int) -> bool:
    return heat.tenths[row] != STEPS or heat.up_since_s[row] != np.inf


def _carried(last: Heat | None, surging: Mapping[int, int], cells: list[int]) -> Surge:
    surge = calm(len(cells))
    if last is not None:
        for row, cell in enumerate(cells):
            if (was := surging.get(cell)) is not None:
                surge.tenths[row] = last.tenths[was]
                surge.up_since_s[row] = last.up_since_s[was]
                surge.down_since_s[row] = last.down_since_s[was]
        surge = surge._replace(at_s=last.at_s)
    return surge


def _short(values: Floats) -> list[float]:
    found: list[float] = np.round(values, 3).tolist()
    return found


class Heats:
    """The newest look at each area, for whoever quotes, matches or shows; times are Unix seconds of Redis' clock."""

    def __init__(self) -> None:
        self._of: dict[str, Heat] = {}
        self._rows: dict[tuple[str, str], dict[int, int]] = {}  # of each cell, by area and kind

    def put(self, heats: Iterable[Heat]) -> None:
        """Takes each that is newer than what is known of its area."""
        for heat in heats:
            known = self._of.get(heat.area_id)
            if known is None or heat.at_s > known.at_s:
                self._of[heat.area_id] = heat
                for kind, each in (("ride", heat), ("package", heat.packages)):
                    cells = each.cells if each is not None else ()
                    self._rows[heat.area_id, kind] = {cell: row for row, cell in enumerate(cells)}

    def keep(self, area_ids: Iterable[str]) -> None:
        """Forgets all other areas."""
        self._of = {area_id: self._of[area_id] for area_id in area_ids if area_id in self._of}
        self._rows = {key: rows for key, rows in self._rows.items() if key[0] in self._of}

    def get(self, area_id: str, now_s: float, kind: str = "ride") -> Heat | None:
        """The newest look, unless it is older than FRESH_S."""
        heat = self._of.get(area_id)
        if heat is None or now_s - heat.at_s > FRESH_S:
            return None
        return heat if kind == "ride" else heat.packages

    def all(self, now_s: float, kind: str = "ride") -> list[Heat]:
        """The newest looks that are fresh, by area."""
        return [heat for area_id in sorted(self._of) if (heat := self.get(area_id, now_s, kind)) is not None]

    def tenths(self, area: Area, kind: str, lat_deg: float, lng_deg: float, now_s: float) -> int:
        """The surge at a place in tenths of the fare, 10 where there is none or nothing is known; never above the
        area's cap of now."""
        heat, row = self._at(area.id, kind, lat_deg, lng_deg, now_s)
        if heat is None or row is None:
            return STEPS
        return max(STEPS, min(heat.tenths[row], int(area.policy.surge_cap * STEPS + 1e-9)))

    def _at(
        self, area_id: str, kind: str, lat_deg: float, lng_deg: float, now_s: float
    ) -> tuple[Heat | None, int | None]:
        heat = self.get(area_id, now_s, kind)
        return heat, None if heat is None else self._rows[area_id, kind].get(demand_cell(lat_deg, lng_deg))

    def wait_s(self, area_id: str, kind: str, lat_deg: float, lng_deg: float, now_s: float) -> float:
        """How long one more driver there would wait for work: vehicles over requests of a quarter of an hour, in the
        cell and its neighbours; LONGEST_WAIT_S at most, and where nothing is known."""
        heat, row = self._at(area_id, kind, lat_deg, lng_deg, now_s)
        if heat is None or row is None or heat.pressure[row] <= 0.0:
            return LONGEST_WAIT_S
        return min(LONGEST_WAIT_S, QUARTER_S / heat.pressure[row])

    def longest_s(self, area_id: str, vehicle_class: str, drivers_deg: Positions, now_s: float) -> Floats:
        """The longest pickup that is worth the time of each driver at (n, 2) degrees: (n,), infinite where nothing is
        known."""
        heat, found = self.get(area_id, now_s), np.full(len(drivers_deg), np.inf)
        of_class = heat.longest_s.get(vehicle_class) if heat is not None else None
        if of_class:
            cells = (h3.latlng_to_cell(lat, lng, RESOLUTION) for lat, lng in drivers_deg.tolist())
            found[:] = [of_class.get(cell, np.inf) for cell in cells]
        return found

    def ends_s(self, jobs: Sequence[tuple[Job, Area]], now_s: float) -> Floats:
        """How much longer than at the ends of the other jobs of its area and kind a driver would wait for work where
        each ends: (n,), what `end_weight` weighs. 0 in an area that does not weigh it, and where no look is fresh."""
        longer_s, rows_of = np.zeros(len(jobs)), dict[tuple[str, str], list[int]]()
        for row, (job, area) in enumerate(jobs):
            if any(policy is not None and policy.end_weight for policy in (area.policy, area.shadow)):
                rows_of.setdefault((area.id, job.kind), []).append(row)
        for of, rows in rows_of.items():
            if self.get(of[0], now_s, of[1]) is not None:
                ends = [jobs[row][0].dropoff for row in rows]
                waits_s = np.array([self.wait_s(*of, at.latitude, at.longitude, now_s) for at in ends])
                longer_s[rows] = waits_s - waits_s.mean()
        return longer_s
