"""What areas learn of their demand: each quarter of an hour once, when PostgreSQL has all of it.

Only the node that looks (seer.py) does this; the documents are its memory, and each quarter's counts and documents are
one transaction.

| when | then |
|---|---|
| it dies before its commit | nothing was kept; whoever looks next counts the same quarter again |
| it dies after it | both stand; whoever looks next reads the documents |
| two count at once (a leader who woke late) | the shard's lock lets one; the other finds it done and reads anew |
| the commit's answer is lost | what is in memory counts until it is compared with what was kept, and read again |
| the drain is behind, or stands | nothing is counted until it has come to the quarter's end |
| PostgreSQL is away | nothing is counted; looks go on with what was learned, and nobody counts as lost |
| a document cannot be read | that area learns anew from here on, and the log says so |
| the server was off for days | the quarters of that time are counted, QUARTERS_MAX at a time |
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Iterable
from typing import Any, Final

from dispatch.demand import QUARTER_S, Demand, demand_cell
from dispatch.worth import Asked
from storage import demand as kept
from storage.postgis import Database

logger = logging.getLogger(__name__)

QUARTERS_MAX: Final = 16  # in one transaction
BACK_S: Final = 14 * 86_400.0  # so far back an area that has learned nothing begins
KEPT_S: Final = 60 * 86_400.0  # counts are kept so long
SETTLES_S: Final = 1.0
_AT_ONCE: Final = 1_000  # requests before others may run
_SEEN_MAX: Final = 8  # quarters whose supply is remembered until they are counted

LOST_EVERY_S: Final = 60.0

Cells = dict[str, Counter[int]]


class Counting:
    def __init__(self, database: Database, shard: str) -> None:
        self._database = database
        self._shard = shard
        self._demand: dict[str, Demand] = {}
        self._seen: dict[int, tuple[int, Cells]] = {}
        self._asked: dict[str, dict[str, Asked]] = {}
        self._lost_at_s = -LOST_EVERY_S
        self._next_s = 0.0  # when the quarter that comes next is over; 0: nobody has asked yet

    def of(self, area_id: str) -> Demand:
        return self._demand.get(area_id) or Demand()

    def asked(self, area_id: str) -> dict[str, Asked]:
        """What became of the last quarter of an hour's requests, by class; nothing where that is not known."""
        return self._asked.get(area_id, {})

    async def follow(self, now_s: float) -> None:
        """Looks at that, once a minute. Raises DatabaseUnavailable."""
        if now_s - self._lost_at_s < LOST_EVERY_S:
            return
        self._asked = {}
        async with self._database.connection() as conn:
            for area_id, name, requests, lost in await kept.ended(conn, self._shard, now_s - QUARTER_S):
                self._asked.setdefault(area_id, {})[name] = Asked(requests, lost)
        self._lost_at_s = now_s

    def forget(self) -> None:
        """Another node looks now: what it learns is not here."""
        self._demand, self._seen, self._next_s = {}, {}, 0.0
        self._asked, self._lost_at_s = {}, -LOST_EVERY_S

    def saw(self, supply: Cells, now_s: float) -> None:
        """One look at who is free where."""
        looks, sums = self._seen.setdefault(int(now_s // QUARTER_S), (0, {}))
        for area_id, cells in supply.items():
            sums.setdefault(area_id, Counter()).update(cells)
        self._seen[int(now_s // QUARTER_S)] = looks + 1, sums
        while len(self._seen) > _SEEN_MAX:
            del self._seen[min(self._seen)]

    async def learn(self, area_ids: Iterable[str], now_s: float) -> int:
        """Counts the quarters that are over and drained; how many. Raises DatabaseUnavailable."""
        if now_s < self._next_s + SETTLES_S:
            return 0
        async with self._database.transaction() as conn:
            return await self._learn(conn, sorted(area_ids), now_s)

    async def _learn(self, conn: Any, area_ids: list[str], now_s: float) -> int:
        if not await kept.lead(conn, self._shard):
            return 0
        learned = await kept.learned_s(conn, self._shard)
        await self._read(conn, area_ids, learned)
        from_s = min((learned[each] for each in area_ids if each in learned), default=0.0)
        if not from_s:
            first_s = await kept.first_s(conn, self._shard, now_s - BACK_S)
            from_s = (now_s if first_s is None else first_s) // QUARTER_S * QUARTER_S
        reached_s = min(now_s, await kept.reached_s(conn, self._shard))
        done = 0
        while from_s + QUARTER_S + SETTLES_S <= reached_s and done < QUARTERS_MAX:
            await self._quarter(conn, area_ids, from_s)
            from_s += QUARTER_S
            done += 1
        if done:
            for area_id in area_ids:
                demand = self._demand[area_id]
                if demand.learned_s > learned.get(area_id, 0.0):
                    await kept.keep_document(conn, area_id, demand.dumps(), demand.learned_s)
            await kept.forget(conn, self._shard, from_s - KEPT_S)
        self._next_s = from_s + QUARTER_S
        return done

    async def _read(self, conn: Any, area_ids: list[str], learned: dict[str, float]) -> None:
        """Each area's demand as it was kept, unless it is here already."""
        for area_id in area_ids:
            known = self._demand.get(area_id)
            if known is not None and known.learned_s == learned.get(area_id, 0.0):
                continue
            document = await kept.document(conn, area_id)
            try:
                self._demand[area_id] = Demand() if document is None else Demand.loads(document)
            except ValueError as error:
                logger.error("area %s learns its demand anew: %s", area_id, error)
                self._demand[area_id] = Demand()

    async def _quarter(self, conn: Any, area_ids: list[str], from_s: float) -> None:
        asked: Cells = {}
        for at, request in enumerate(
            await kept.requests(conn, self._shard, from_s, from_s + QUARTER_S), start=1
        ):
            asked.setdefault(request.area_id, Counter())[demand_cell(request.lat_deg, request.lng_deg)] += 1
            if at % _AT_ONCE == 0:
                await asyncio.sleep(0)
        looks, sums = self._seen.pop(int(from_s // QUARTER_S), (0, {}))
        counts = []
        for area_id in area_ids:
            demand = self._demand[area_id]
            if demand.learned_s > from_s:
                continue
            teach(demand, asked.get(area_id, Counter()), from_s)
            for cell in sorted({*asked.get(area_id, ()), *sums.get(area_id, ())}):
                supply = sums.get(area_id, Counter())[cell] / looks if looks else None
                counts.append(kept.Count(area_id, cell, asked.get(area_id, Counter())[cell], supply))
            await asyncio.sleep(0)
        if counts:
            await kept.keep(conn, from_s, counts)


def teach(demand: Demand, counts: Counter[int], from_s: float) -> None:
    """One whole quarter; what lies between it and the last one taught is no quarter without requests, but unknown."""
    if demand.learned_s != from_s:
        demand.pause()
    if demand.learned_s != from_s or not demand.watching:
        demand.advance(from_s - 1.0)
    demand.advance(from_s)
    for cell, count in sorted(counts.items()):
        demand.add(cell, from_s, count)
    demand.advance(from_s + QUARTER_S)
