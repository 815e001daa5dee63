"""What the drain's tests share: a feeder of both streams that knows what must arrive, and a running drain."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import msgpack
import msgspec
from redis.asyncio import Redis

from server.settings import Settings
from storage import keys
from storage.drain import Drain
from storage.records import Drained, Driver, Job, JobId, Offer, OfferId, Place, UserId
from tests.support import wait_until

SHARD = "main"
PICKUP, DROPOFF = Place(37.78, -122.41, "1 Market St"), Place(37.76, -122.43, "2 Castro St")


def new_id() -> str:
    return str(uuid.uuid4())


def a_job(kind: str = "ride", state: str = "searching", **fields: Any) -> Job:
    base: dict[str, Any] = {
        "id": JobId(new_id()), "kind": kind, "state": state, "requester_id": UserId(new_id()),
        "requester_name": "Ann Lee", "area_id": "sf", "vehicle_class": "economy", "pickup": PICKUP,
        "dropoff": DROPOFF, "fare_minor": 1250, "currency": "USD", "distance_m": 3100.0, "duration_s": 600.0,
        "created_ms": int(time.time() * 1000), "version": 1,
    }  # fmt: skip
    return Job(**(base | fields))


def a_driver(**fields: Any) -> Driver:
    base: dict[str, Any] = {
        "id": UserId(new_id()), "name": "Bob Ray", "area_id": "sf", "classes": ("economy",), "capacity": 1,
        "online": True, "generation": 1, "version": 1,
    }  # fmt: skip
    return Driver(**(base | fields))


def an_offer(job: Job, driver: Driver, **fields: Any) -> Offer:
    base: dict[str, Any] = {
        "id": OfferId(new_id()), "job_id": job.id, "kind": job.kind, "driver_id": driver.id, "state": "open",
        "made_ms": job.created_ms, "deadline_ms": job.created_ms + 15_000, "distance_m": 500.0, "eta_s": 60.0,
        "version": 1,
    }  # fmt: skip
    return Offer(**(base | fields))


class Feeder:
    """Writes both streams as the commit and tick scripts do; `told` and `fixed` are what must arrive."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._seq: dict[str, int] = {}
        self._fix_seq = 0
        self.epoch = ""
        self.told: set[tuple[str, str, int]] = set()
        self.fixed: set[tuple[str, int]] = set()

    async def life(self, token: str) -> None:
        """A new life: rooms begin again at 1, under another epoch."""
        self.epoch = f"{SHARD}.1.{token}"
        self._seq.clear()
        fields = {"run_id": "r", "token": token, "epoch": self.epoch}
        await self._redis.hset(keys.life(SHARD), mapping=fields)

    async def say(
        self,
        room: str,
        event: str = "",
        payload: dict[str, Any] | None = None,
        records: Sequence[Drained] = (),
        by: str = "",
        *,
        at_ms: int = 0,
    ) -> str:
        """One fact, of now or of another moment; answers its stream id."""
        now_ms, seq, text = at_ms or int(time.time() * 1000), 0, b""
        if event:
            seq = self._seq[room] = self._seq.get(room, 0) + 1
            text = msgspec.json.encode(
                [event, {**(payload or {}), "room": room, "epoch": self.epoch, "seq": seq}]
            )
            if room.startswith(("ride:", "package:")):
                self.told.add((room, self.epoch, seq))
        return await self.raw(
            {"r": room, "n": self.epoch, "s": seq, "e": event, "p": text, "t": now_ms, "a": by, "m": "",
             "d": msgspec.json.encode(list(records)) if records else b""}
        )  # fmt: skip

    async def raw(self, fields: dict[str, Any]) -> str:
        stream_id: bytes = await self._redis.xadd(keys.facts(SHARD), fields)
        return stream_id.decode()

    async def fix(
        self,
        driver: str,
        *,
        job: str | None = None,
        count: int = 1,
        at_ms: int | None = None,
        **changed: float | None,
    ) -> None:
        """One tick with `count` fixes of a driver, 100 ms apart."""
        start_ms = at_ms if at_ms is not None else int(time.time() * 1000)
        tick = []
        for i in range(count):
            self._fix_seq += 1
            fix = {
                "latitude": 37.7 + i * 1e-4,
                "longitude": -122.4,
                "heading": 90.0,
                "speed": 5.0,
                "accuracy": 8.0,
            }
            fix |= changed
            tick.append([driver, start_ms + i * 100, self._fix_seq, *fix.values(), job])
            self.fixed.add((driver, self._fix_seq))
        await self.raw_fixes(msgpack.packb(tick), count)

    async def raw_fixes(self, packed: bytes, count: int = 1) -> None:
        number = await self._redis.incrby(keys.fixed(SHARD), count)
        entry = {"node": "n1", "boot": "b1", "tick": self._fix_seq, "count": count, "number": number}
        await self._redis.xadd(keys.fixes(SHARD), {**entry, "b": packed})


async def feed(feeder: Feeder, count: int = 20) -> None:
    """Some of everything."""
    for _ in range(count):
        job = a_job()
        await feeder.say(job.room, "ride_status_update", {"rideId": job.id}, (job, a_driver()))
        await feeder.fix(new_id(), count=5)


def drain_settings(database_url: str, redis_url: str, **changed: Any) -> Settings:
    base: dict[str, Any] = {
        "drain_idle_ms": 10,
        "facts_max_age_s": 5,
        "route_settle_s": 0.0,
        "decisions_days": 30.0,
        "database_timeout_s": 3.0,
    }
    return Settings(database_url=database_url, redis_url=redis_url, shard=SHARD, **(base | changed))


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[Drain]:
    """A drain at work; its end must be quick and without an error."""
    stop, drain = asyncio.Event(), Drain(settings)
    work = asyncio.create_task(drain.run(stop))
    try:
        yield drain
    finally:
        stop.set()
        async with asyncio.timeout(5):
            await work


class Kept:
    """What PostgreSQL holds."""

    def __init__(self, conn: Any) -> None:
        self.conn = conn

    async def events(self) -> list[tuple[str, str, int]]:
        rows = await self.conn.fetch("select room, epoch, seq from job_events where room !~ '^user:'")
        return sorted(tuple(row) for row in rows)

    async def fixes(self) -> list[tuple[str, int]]:
        return sorted(
            (str(row["driver_id"]), row["seq"])
            for row in await self.conn.fetch("select driver_id, seq from locations")
        )

    async def letters(self) -> list[Any]:
        return list(await self.conn.fetch("select * from dead_letters order by entry_id, item"))

    async def all_of(self, feeder: Feeder) -> bool:
        """Everything that must arrive has, once. Counts first: they are cheap to ask again and again."""
        events = await self.conn.fetchval("select count(*) from job_events where room !~ '^user:'")
        fixes = await self.conn.fetchval("select count(*) from locations")
        return events >= len(feeder.told) and fixes >= len(feeder.fixed)

    async def exactly(self, feeder: Feeder) -> None:
        await wait_until(lambda: self.all_of(feeder), timeout_s=30)
        assert await self.events() == sorted(feeder.told)
        assert await self.fixes() == sorted(feeder.fixed)


@asynccontextmanager
async def looking(database_url: str) -> AsyncIterator[Kept]:
    conn = await asyncpg.connect(database_url, timeout=10, command_timeout=30)
    try:
        yield Kept(conn)
    finally:
        await conn.close()
