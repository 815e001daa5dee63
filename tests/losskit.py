"""Live work that Redis loses: a world with a real drain, and what must hold once it has come back."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from msgspec.structs import replace
from redis.asyncio import Redis

from dispatch.area import Area, Areas
from dispatch.desk import Desk
from dispatch.policy import Policy
from server.rehydrate import Rehydration
from storage import keys
from storage.facts import entry_of
from storage.fleet import Fleet
from storage.log import Log
from storage.postgis import Database
from storage.records import Driver, Job, Parcel, Place, Stored
from storage.records import Stop as PlanStop
from storage.shard import Shard
from tests.drainkit import SHARD, a_driver, a_job, drain_settings, running
from tests.nodekit import SQUARE
from tests.storekit import write
from tests.support import wait_until

AREAS = Areas(
    [Area(id="a", name="A", shard=SHARD, polygon=SQUARE, currency="USD", policy=Policy(patience_s=180.0))]
)
HERE, THERE = Place(0.5, 0.5, "1 First St"), Place(0.51, 0.5, "2 Second St")
HOUR_MS = 3_600_000


class Desks:
    """A machine's way to Redis and PostgreSQL."""

    def __init__(self, redis_url: str, database: Database) -> None:
        self.shard, self.database = Shard(SHARD, redis_url), database
        self.log = Log(self.shard)
        self.desk = Desk(self.log, Fleet(self.shard), AREAS)

    def rehydration(self, *, max_age_h: int = 12, dry_run: bool = False) -> Rehydration:
        return Rehydration(self.database, self.shard, self.desk, max_age_h * HOUR_MS, dry_run=dry_run)

    async def restored(self, **more: Any) -> dict[tuple[str, str], int]:
        run = self.rehydration(**more)
        await run.run()
        assert not run.left
        return dict(run.counts)

    async def put(self, *records: Stored) -> None:
        await self.log.commit(await write(self.log, *(replace(r, version=0) for r in records)))

    async def record(self, kind: type, id_: str) -> Any:
        return (await self.log.load([(kind, id_)])).records[kind, id_]


class World(Desks):
    """With a drain beside it; `lose` wipes Redis once all is drained."""

    def __init__(self, redis_url: str, database: Database, redis: Redis) -> None:
        super().__init__(redis_url, database)
        self.redis = redis

    async def facts(self) -> list[Any]:
        return [entry_of(id_, fields) for id_, fields in await self.redis.xrange(keys.facts(SHARD))]

    async def drained(self) -> None:
        last = (await self.facts())[-1].id

        async def there() -> bool:
            sql = "select last_id = $1 and life = $2 from drain_cursors where stream = 'facts'"
            return bool(await self.database.fetchval(sql, last, self.shard.token))

        await wait_until(there)

    async def lose(self) -> None:
        await self.drained()
        await self.redis.flushall()
        self.shard.life_changed = True


def job(kind: str = "ride", state: str = "searching", **more: Any) -> Job:
    now_ms = int(time.time() * 1000)
    about: dict[str, Any] = {"area_id": "a", "pickup": HERE, "dropoff": THERE, "created_ms": now_ms - 5_000}
    if kind == "package":
        about |= {"parcel": Parcel(size="small", weight_kg=1.5, fragile=True, tier="express"), "units": 1}
    return a_job(kind, state, **{**about, **more})


def on_board(driver: Driver, **more: Any) -> tuple[Job, Driver]:
    """A ride with its driver, both as they would be."""
    times = {f"{step}_ms": int(time.time() * 1000) - 1_000 for step in ("assigned", "arrived", "started")}
    it = job("ride", "in_progress", driver_id=driver.id, driver_name=driver.name, **times, **more)
    plan = (PlanStop("ride", it.id, "dropoff", it.dropoff),)
    return it, replace(driver, load={it.id: driver.capacity}, plan=plan)


async def some_of_everything(world: World) -> list[Job]:
    """Some of everything; of some drivers several."""
    jobs: list[Job] = []
    for _ in range(4):
        ride, driver = on_board(a_driver(area_id="a"))
        jobs += [ride, job(), job("package", "scheduled", scheduled_ms=int(time.time() * 1000) + HOUR_MS)]
        await world.put(ride, driver, *jobs[-2:])
    courier = a_driver(area_id="a", capacity=5, classes=("parcel",))
    parcels = [job("package", "assigned", driver_id=courier.id, assigned_ms=1) for _ in range(5)]
    await world.put(*parcels, replace(courier, load={p.id: 1 for p in parcels}))
    return [*jobs, *parcels]


async def check_once(world: World, jobs: list[Job]) -> None:
    """Each has come back, was told once, and its driver has it."""
    told = [
        fact.room for fact in await world.facts() if fact.seq and fact.room.startswith(("ride:", "package:"))
    ]
    assert sorted(told) == sorted(each.room for each in jobs)
    for each in jobs:
        found = await world.record(Job, each.id)
        assert (found.state, found.driver_id, found.needs_person) == (each.state, each.driver_id, "")
        if each.driver_id:
            assert each.id in (await world.record(Driver, each.driver_id)).load
    mine = [id_ for each in jobs for id_ in await world.log.jobs_of(each.requester_id)]
    assert sorted(mine) == sorted(each.id for each in jobs)


@asynccontextmanager
async def a_world(redis_url: str, database_url: str, redis: Redis) -> AsyncIterator[World]:
    database = await Database.open(database_url, size=4, timeout_s=10.0)
    made = World(redis_url, database, redis)
    try:
        async with running(drain_settings(database_url, redis_url)):
            yield made
    finally:
        await made.shard.close()
        await database.close()
