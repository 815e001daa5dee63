"""A city of vehicles that move, for the console's measurement: in a real Redis, and as frames that a page may hear.

Vehicles come by commits and move by the ticks of a node that stands in for those they would be connected to; a share
of them carries a job. Each drives along a street until it turns.
"""

import asyncio
import math
import random
import time
import uuid
from collections.abc import Iterator

import msgspec

from dispatch.cells import cell_of
from rooms.city import FRAME_S, PLACES_S
from rooms.cityview import BASE_A_FRAME, CityView
from storage.fleet import Fleet, Update, pack
from storage.log import Log, Write
from storage.records import Driver, Job, JobId, Place, Room, UserId

CENTRE, SIDE_DEG = (49.99, 36.23), 0.16
MOVE_S, TICK_S = 4.0, 0.2
SPEED_MS = 8.0
SILENCE_MS = 3_600_000  # nobody falls silent here
AT_ONCE = 100
JOBS_A_S = 10.0  # that change, in the frames of the page
_M_A_DEG = 111_195.0


class Vehicle:
    def __init__(self, chance: random.Random, number: int, job: Job | None) -> None:
        self._chance = chance
        self.lat, self.lng, self.heading = *_somewhere(chance), 90.0 * chance.randrange(4)
        id_ = UserId(str(uuid.UUID(int=chance.getrandbits(128), version=4)))
        self.job = msgspec.structs.replace(job, driver_id=id_, driver_name="Bo Ray") if job else None
        self.driver = Driver(
            id=id_, name=f"Driver {number:05}", area_id="bench", capacity=1, online=True, generation=1,
            classes=("parcel",) if number % 5 == 0 else ("economy",), node="stand-in", device="phone",
            silence_ms=SILENCE_MS, load={job.id: 1} if job else {}, version=0,
        )  # fmt: skip

    def move(self) -> None:
        """As far as it goes in MOVE_S."""
        if self._chance.random() < 0.1:
            self.heading = (self.heading + self._chance.choice((90.0, 270.0))) % 360
        north, east = math.cos(math.radians(self.heading)), math.sin(math.radians(self.heading))
        step = SPEED_MS * MOVE_S / _M_A_DEG
        self.lat += step * north
        self.lng += step * east / math.cos(math.radians(self.lat))

    def update(self, now_ms: int, flag: str) -> Update:
        position = pack(self.lat, self.lng, now_ms, self.heading)
        free, driver = self.job is None, self.driver
        cell = cell_of(self.lat, self.lng)
        flag = flag if free else "-"
        return Update(driver.id, flag, 1, 1, cell, ",".join(driver.classes), position, SILENCE_MS, not free)


def vehicles(count: int, jobs: int, seed: int) -> list[Vehicle]:
    """The first `jobs` of them are with a job."""
    chance = random.Random(seed)
    now_ms = time.time_ns() // 1_000_000
    return [Vehicle(chance, n, _job(chance, n, now_ms) if n < jobs else None) for n in range(count)]


def _somewhere(chance: random.Random) -> tuple[float, float]:
    return (
        CENTRE[0] + chance.uniform(-0.5, 0.5) * SIDE_DEG,
        CENTRE[1] + chance.uniform(-0.5, 0.5) * SIDE_DEG * 1.55,
    )


def _job(chance: random.Random, number: int, now_ms: int) -> Job:
    id_ = str(uuid.UUID(int=chance.getrandbits(128), version=4))
    kind, vehicle_class = ("package", "parcel") if number % 5 == 0 else ("ride", "economy")
    return Job(
        id=JobId(id_), kind=kind, state="assigned", requester_id=UserId(f"p{number}"), requester_name="Pat",
        area_id="bench", vehicle_class=vehicle_class, pickup=Place(*_somewhere(chance)),
        dropoff=Place(*_somewhere(chance)), created_ms=now_ms, searching_ms=now_ms, assigned_ms=now_ms,
    )  # fmt: skip


class Traffic:
    """These in Redis; `run` moves each every MOVE_S, until it is cancelled."""

    def __init__(self, log: Log, fleet: Fleet, city: list[Vehicle], life: str) -> None:
        self._log, self._fleet, self._city, self._life = log, fleet, city, life
        self._tick = 0

    async def come(self) -> None:
        for first in range(0, len(self._city), AT_ONCE):
            some = self._city[first : first + AT_ONCE]
            records = [each for one in some for each in (one.driver, one.job) if each is not None]
            now_ms = await self._log.now_ms()
            room = Room("user:bench")
            write = Write(life=self._life, loaded_ms=now_ms, room=room, by="system", put=tuple(records))
            await self._log.commit(write)
            await self._say(some, "e")

    async def run(self) -> None:
        share = math.ceil(len(self._city) * TICK_S / MOVE_S)
        began_s, turn = time.monotonic(), 0
        while True:
            first = turn * share % len(self._city)
            some = self._city[first : first + share]
            for one in some:
                one.move()
            await self._say(some, "m")
            turn += 1
            await asyncio.sleep(began_s + turn * TICK_S - time.monotonic())

    async def _say(self, some: list[Vehicle], flag: str) -> None:
        self._tick += 1
        now_ms = await self._log.now_ms()
        updates = [one.update(now_ms, flag) for one in some]
        await self._fleet.tick("stand-in", "boot", self._tick, updates, [])


def recorded(city: list[Vehicle], seconds: float, seed: int) -> Iterator[tuple[bool, str]]:
    """(is base, JSON) of what a console is told: the city, then so many seconds of it in FRAME_S."""
    chance, view, now_ms = random.Random(seed), CityView(), time.time_ns() // 1_000_000
    for one in city:
        view.driver(one.driver)
        view.fix(one.driver.id, now_ms, one.lat, one.lng, one.heading)
        if one.job is not None:
            view.job(one.job)
    due, first = view.due, True
    while due:
        told = view.frame(due.take(BASE_A_FRAME), now_ms)
        frame = {"first": first, "left": len(due.new) + len(due.jobs), "n": 0, "atMs": now_ms, **told}
        yield True, msgspec.json.encode(frame).decode()
        first = False
    busy = [one for one in city if one.job is not None]
    share, turn = len(city) * FRAME_S / MOVE_S, 0
    moved: dict[str, tuple[Vehicle, int]] = {}
    for n in range(1, 1 + round(seconds / FRAME_S)):
        now_ms += round(FRAME_S * 1000)
        while turn < share * n:
            one = city[turn % len(city)]
            one.move()
            moved[one.driver.id] = one, now_ms
            turn += 1
        if n % round(PLACES_S / FRAME_S) == 0:
            for one, at_ms in moved.values():
                view.fix(one.driver.id, at_ms, one.lat, one.lng, one.heading)
            moved.clear()
        for one in chance.sample(busy, min(len(busy), round(JOBS_A_S * FRAME_S))):
            assert one.job is not None
            state = "in_progress" if one.job.state == "assigned" else "assigned"
            one.job = msgspec.structs.replace(one.job, state=state, version=one.job.version + 1)
            view.job(one.job)
        told = view.frame(due.take(), now_ms)
        yield False, msgspec.json.encode({"n": n, "atMs": now_ms, **told}).decode()
