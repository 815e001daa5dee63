"""One node looks at demand and supply every few seconds and says what it saw; all others read it.

| when | then |
|---|---|
| the one who looks goes in order | it gives the lease up; another looks from its next beat on |
| it dies or hangs | its lease runs out after LEASE_S, and whoever asks first looks, from the last look on |
| it wakes after that and writes once more | readers take the newer look of each area; the next beat sets it right |
| nobody looks for FRESH_S (Redis away, no node) | surge is 1 and nothing is known, on every node; then it begins calm |
| Redis lost everything | likewise, until the next beat |
| PostgreSQL is away, or takes longer than LEARN_S | the forecast stays as it was learned (counting.py); looks go on |
| a look in Redis cannot be read (another version) | it is passed over; the next beat writes it anew |
| more wait than WAITING_MAX | the longest waiting are counted |
| an area is gone | so is its look |
"""

import asyncio
import logging
import secrets
from collections import Counter

import h3.api.basic_int as h3
import msgspec

from dispatch.area import Areas
from dispatch.demand import RESOLUTION, demand_cell
from dispatch.desk import Desk
from dispatch.heat import Heat, look
from dispatch.rules.go_online import PARCEL_CLASS
from dispatch.worth import OfClass
from rooms import metrics
from rooms.counting import Cells, Counting
from rooms.faults import fault
from storage.heat import HeatStore
from storage.log import Conflict
from storage.postgis import DatabaseUnavailable
from storage.records import Job
from storage.shard import Unavailable

logger = logging.getLogger(__name__)

LEASE_S = 15.0
LEARN_S = 10.0  # of the lease: the rest is for the look
WAITING_MAX = 500
_READ = 100

Classes = dict[tuple[str, str], Counter[int]]

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Heat).decode


class Seer:
    def __init__(self, desk: Desk, store: HeatStore, counting: Counting, node: str) -> None:
        self._desk = desk
        self._store = store
        self._counting = counting
        self._token = f"{node} {secrets.token_hex(4)}"
        self._areas: Areas | None = None
        self._area_of: dict[int, str] = {}

    async def run(self, every_s: float) -> None:
        try:
            while True:
                metrics.LOOKS.n[await self.beat(),] += 1
                await asyncio.sleep(every_s)
        finally:
            try:
                await self._store.lead(self._token, 0)
            except Unavailable:
                pass  # it runs out by itself

    async def beat(self) -> str:
        """One beat, and what it was."""
        try:
            async with asyncio.timeout(LEASE_S):
                self._desk.heats.put(await self._read())
                self._desk.heats.keep(area.id for area in self._desk.areas)
                if not await self._store.lead(self._token, int(LEASE_S * 1000)):
                    self._counting.forget()
                    return "followed"
                return await self._look()
        except (Unavailable, Conflict, TimeoutError):
            return "unavailable"
        except Exception as error:
            logger.error("a look at the demand failed: %s", fault(error))
            return "failed"

    async def _read(self) -> list[Heat]:
        looks = []
        for packed in await self._store.read():
            try:
                looks.append(_decode(packed))
            except msgspec.MsgspecError:
                continue
        return looks

    async def _look(self) -> str:
        areas = self._desk.areas
        now_s = await self._desk.log.now_ms() / 1000
        outcome = "looked"
        try:
            async with asyncio.timeout(LEARN_S):
                await self._counting.follow(now_s)
                await self._counting.learn([area.id for area in areas], now_s)
        except (DatabaseUnavailable, TimeoutError):
            outcome = "unlearned"
        (supply, free), (waiting, waits) = await self._free(areas), await self._waiting()
        self._counting.saw(supply, now_s)
        looks: dict[str, Heat] = {}
        none: Counter[int] = Counter()
        for area in areas:
            before = self._desk.heats.get(area.id, now_s)
            demand = self._counting.of(area.id)
            here = waiting.get(area.id, none), supply.get(area.id, none)
            asked = self._counting.asked(area.id)
            total = sum(each.requests for each in asked.values())
            short = {
                name: OfClass(
                    each.requests / total,
                    each.lost / each.requests,
                    free.get((area.id, name), none),
                    waits.get((area.id, name), none),
                )
                for name, each in asked.items()
                if each.lost and name != PARCEL_CLASS
            }
            looks[area.id] = look(area, before, demand, *here, now_s=now_s, short=short)
            await asyncio.sleep(0)  # others may run
        await self._store.write({area_id: _encode(each) for area_id, each in looks.items()})
        self._desk.heats.put(looks.values())
        return outcome

    async def _free(self, areas: Areas) -> tuple[Cells, Classes]:
        """Free drivers by area and cell, and so by class."""
        if areas is not self._areas:
            self._areas, self._area_of = areas, {}
        found: Cells = {}
        of_class: Classes = {}
        for number, ((fine, classes), count) in enumerate((await self._store.free()).items(), start=1):
            cell = h3.cell_to_parent(fine, RESOLUTION)
            area_id = self._area_of.get(cell)
            if area_id is None:
                area = areas.find(*h3.cell_to_latlng(cell))
                area_id = self._area_of[cell] = area.id if area else ""
            if area_id:
                found.setdefault(area_id, Counter())[cell] += count
                for name in classes.split(","):
                    of_class.setdefault((area_id, name), Counter())[cell] += count
            if number % 500 == 0:
                await asyncio.sleep(0)
        return found, of_class

    async def _waiting(self) -> tuple[Cells, Classes]:
        """Jobs that wait for a driver by area and cell, and so by class."""
        log, found, of_class = self._desk.log, dict[str, Counter[int]](), Classes()
        ids, _ = await log.waiting.some(0, WAITING_MAX)
        for first in range(0, len(ids), _READ):
            loaded = await log.load([(Job, id_) for id_ in ids[first : first + _READ]])
            for job in loaded.records.values():
                if isinstance(job, Job) and job.state in ("searching", "offered"):
                    cell = demand_cell(job.pickup.latitude, job.pickup.longitude)
                    found.setdefault(job.area_id, Counter())[cell] += 1
                    of_class.setdefault((job.area_id, job.vehicle_class), Counter())[cell] += 1
        return found, of_class
