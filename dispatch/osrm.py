"""How long it takes on real roads: an OSRM server's table service, within a budget, or else another provider.

Owns the budget: `matrix` answers within `budget_s` and a little arithmetic, whatever the router does.

    when                                            then
    ----------------------------------------------  ---------------------------------------------------------------
    it answers in time                              its seconds; `counts["answered"]`
    it knows no road for a pair (null)              the fallback's seconds for that pair, the others from the router
    it is late, refuses, breaks off or talks        the fallback's seconds for all; `counts["late"]` or `["failed"]`
    nonsense (shape, NaN, negative, too long)
    it failed `_FAILURES` times in a row            it is not asked for `_REST_S`; `counts["rested"]`: a dead router
                                                    costs 20 ms every half second, not every request
    there are more places than it takes             the fallback's seconds; `counts["too_many"]`

OSRM knows roads, not the hour, and its times are not monotone in the straight line: whoever searches for the
nearest by them bounds the search by the top speed (`seconds x top_speed_mps`), which no time given here exceeds.
Places go into the request's path and nowhere else: no error and no count carries one.

API: Project OSRM, HTTP API v1, "Table service": GET /table/v1/driving/{lng,lat;...}?sources=...&destinations=...
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Final

import aiohttp
import msgspec
import numpy as np

from dispatch.eta import EtaProvider, Floats, Positions
from dispatch.etatable import distances_m

MAX_PLACES: Final = 100  # osrm-routed's own default (--max-table-size)
_ANSWER_BYTES: Final = 1 << 20  # 100 x 100 times of 10 bytes are a tenth of it
_FAILURES: Final = 3
_REST_S: Final = 0.5


class _Answer(msgspec.Struct, frozen=True):
    code: str
    durations: list[list[float | None]]


class Osrm:
    """`url` is the router's, such as http://127.0.0.1:5000; the session is the caller's, who closes it; `told` hears
    how each question went."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        url: str,
        fallback: EtaProvider,
        *,
        top_speed_mps: float,
        budget_s: float = 0.020,
        told: Callable[[str], None] = lambda outcome: None,
    ) -> None:
        self._told = told
        self.counts: Counter[str] = Counter()
        self._session = session
        self._url = url.rstrip("/")
        self._fallback = fallback
        self._top_speed_mps = top_speed_mps
        self._budget_s = budget_s
        self._failures = 0
        self._rests_until_s = 0.0

    async def matrix(self, origins_deg: Positions, destinations_deg: Positions, when_s: float) -> Floats:
        """Seconds of driving, (n, m), as an EtaProvider."""
        if not (len(origins_deg) and len(destinations_deg)):
            return np.zeros((len(origins_deg), len(destinations_deg)))
        outcome, asked = await self._ask(origins_deg, destinations_deg)
        self.counts[outcome] += 1
        self._told(outcome)
        if asked is None:
            return await self._fallback.matrix(origins_deg, destinations_deg, when_s)
        if np.isnan(asked).any():
            other = await self._fallback.matrix(origins_deg, destinations_deg, when_s)
            asked = np.where(np.isnan(asked), other, asked)
        least_s: Floats = distances_m(origins_deg[:, None], destinations_deg[None, :]) / self._top_speed_mps
        return np.maximum(asked, least_s)

    async def _ask(self, origins_deg: Positions, destinations_deg: Positions) -> tuple[str, Floats | None]:
        """How it went, and the router's seconds: NaN where it has no road, None where all has to do without."""
        clock_s = asyncio.get_running_loop().time
        if len(origins_deg) + len(destinations_deg) > MAX_PLACES:
            return "too_many", None
        if clock_s() < self._rests_until_s:
            return "rested", None
        try:
            async with asyncio.timeout(self._budget_s):
                body = await self._get(_path(origins_deg, destinations_deg))
            found = _read(body, (len(origins_deg), len(destinations_deg)))
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as error:
            self._failures += 1
            if self._failures >= _FAILURES:
                self._rests_until_s = clock_s() + _REST_S
            return "late" if isinstance(error, TimeoutError) else "failed", None
        self._failures = 0
        return "answered", found

    async def _get(self, path: str) -> bytes:
        async with self._session.get(self._url + path, allow_redirects=False) as response:
            if response.status != 200:
                raise ValueError("refused")
            body = bytearray()
            async for part in response.content.iter_any():
                body += part
                if len(body) > _ANSWER_BYTES:
                    raise ValueError("too long")
            return bytes(body)


def _path(origins_deg: Positions, destinations_deg: Positions) -> str:
    """Five decimals are a metre; OSRM has the longitude first."""
    places = ";".join(
        f"{lng:.5f},{lat:.5f}" for lat, lng in [*origins_deg.tolist(), *destinations_deg.tolist()]
    )
    count = len(origins_deg)
    sources = ";".join(map(str, range(count)))
    destinations = ";".join(map(str, range(count, count + len(destinations_deg))))
    return f"/table/v1/driving/{places}?sources={sources}&destinations={destinations}&annotations=duration"


def _read(body: bytes, shape: tuple[int, int]) -> Floats:
    """Raises ValueError (which msgspec's errors are) for anything but a table of this shape."""
    answer = msgspec.json.decode(body, type=_Answer)
    found = np.array(answer.durations, dtype=np.float64)  # null becomes NaN
    if answer.code != "Ok" or found.shape != shape or (found < 0.0).any() or np.isinf(found).any():
        raise ValueError("not a table of durations")
    return found
