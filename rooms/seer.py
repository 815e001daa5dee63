"""One node looks at demand and supply every few seconds and says what it saw; all others read it.

| when | then |
|---|---|
| the one who looks goes in order | it gives the lease up; another looks from its next beat on |
| it dies or hangs | its lease runs out after LEASE_S, and whoever asks first looks, from the last look on |
| it wakes after that and writes once more | readers take the newer look of each area; the next beat sets it right |
| nobody looks for FRESH_S (Redis away, no node) | surge is 1 and nothing is known, on every node; then it begins calm |
| Redis lost everything | likewise, until the next beat |
| a node of an older version looked | packages have no surge until the next beat of a newer one |
| nobody knows how many of those who ask send a parcel | as long as that is so, all that is expected are rides |
| PostgreSQL is away, or takes longer than LEARN_S | the forecast stays as it was learned (counting.py); looks go on |
| a look in Redis cannot be read (another version) | it is passed over; the next beat writes it anew |
| more wait than WAITING_MAX | the longest waiting are counted |
| an area is gone | so is its look |
"""

import asyncio
import logging
import secrets
from collections import Counter
from collections.abc import Generator

import h3.api.basic_int as h3
import msgspec
from msgspec.structs import replace

from dispatch.area import Areas
from dispatch.demand import RESOLUTION, demand_cell
from dispatch.desk import Desk
from dispatch.heat import Heat, look
from dispatch.rules.go_online import PARCEL_CLASS
from dispatch.worth import Asked, OfClass
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

Of = dict[tuple[str, str], Counter[int]]  # counts by cell, of an area and a class or kind

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
        (seen, supply, free), (waiting, waits) = await self._free(areas), await self._waiting()
        self._counting.saw(seen, now_s)
        looks: dict[str, Heat] = {}
        none: Counter[int] = Counter()
        for area in areas:
            asked = self._counting.asked(area.id)
            parcels = asked.get(PARCEL_CLASS, Asked(0, 0)).requests
            rides = sum(each.requests for each in asked.values()) - parcels
            short = {
                name: OfClass(
                    each.requests / rides,
                    each.lost / each.requests,
                    free.get((area.id, name), none),
                    waits.get((area.id, name), none),
                )
                for name, each in asked.items()
                if each.lost and name != PARCEL_CLASS
            }
            parcel_share = parcels / max(1, rides + parcels)
            of_kind = [
                await _in_turns(
                    look(
                        area,
                        self._desk.heats.get(area.id, now_s, kind),
                        self._counting.of(area.id),
                        waiting.get((area.id, kind), none),
                        supply.get((area.id, kind), none),
                        share=share,
                        now_s=now_s,
                        short=lost,
                    )
                )
                for kind, share, lost in (
                    ("ride", 1.0 - parcel_share, short),
                    ("package", parcel_share, {}),
                )
            ]
            looks[area.id] = replace(of_kind[0], packages=of_kind[1])
        await self._store.write({area_id: _encode(each) for area_id, each in looks.items()})
        self._desk.heats.put(looks.values())
        return outcome

    async def _free(self, areas: Areas) -> tuple[Cells, Of, Of]:
        """Free drivers by area and cell; and so by kind and by class, a driver with each that he serves."""
        if areas is not self._areas:
            self._areas, self._area_of = areas, {}
        found: Cells = {}
        of_kind, of_class = Of(), Of()
        for number, ((fine, classes), count) in enumerate((await self._store.free()).items(), start=1):
            cell = h3.cell_to_parent(fine, RESOLUTION)
            area_id = self._area_of.get(cell)
            if area_id is None:
                area = areas.find(*h3.cell_to_latlng(cell))
                area_id = self._area_of[cell] = area.id if area else ""
            if area_id:
                found.setdefault(area_id, Counter())[cell] += count
                names = classes.split(",")
                for name in names:
                    of_class.setdefault((area_id, name), Counter())[cell] += count
                for kind in {_kind(name) for name in names}:
                    of_kind.setdefault((area_id, kind), Counter())[cell] += count
            if number % 500 == 0:
                await asyncio.sleep(0)
        return found, of_kind, of_class

    async def _waiting(self) -> tuple[Of, Of]:
        """Jobs that wait for a driver by area, kind and cell, and so by class."""
        log, of_kind, of_class = self._desk.log, Of(), Of()
        ids, _ = await log.waiting.some(0, WAITING_MAX)
        for first in range(0, len(ids), _READ):
            loaded = await log.load([(Job, id_) for id_ in ids[first : first + _READ]])
            for job in loaded.records.values():
                if isinstance(job, Job) and job.state in ("searching", "offered"):
                    cell = demand_cell(job.pickup.latitude, job.pickup.longitude)
                    of_kind.setdefault((job.area_id, job.kind), Counter())[cell] += 1
                    of_class.setdefault((job.area_id, job.vehicle_class), Counter())[cell] += 1
        return of_kind, of_class


async def _in_turns(steps: Generator[None, None, Heat]) -> Heat:
    """What the steps come to, with others between them."""
    while True:
        await asyncio.sleep(0)
        try:
            next(steps)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]


def _kind(vehicle_class: str) -> str:
    return "package" if vehicle_class == PARCEL_CLASS else "ride"
