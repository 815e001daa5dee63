"""The live map's feed where a socket would only add noise: another life of Redis, and what cannot be read."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, cast

import msgspec
import pytest_asyncio
from msgspec.structs import replace
from redis.asyncio import Redis

from rooms.city import City
from rooms.cityview import BASE_A_FRAME
from rooms.registry import Registry
from rooms.session import Session
from rooms.tasks import Tasks
from storage import keys
from storage.fleet import Fleet
from storage.log import Log, Write
from storage.postgis import Database
from storage.records import Driver, JobId, Room, Stored, UserId
from storage.shard import Shard
from storage.survey import Survey
from tests.nodekit import Kept
from tests.rules.build import DEE, a_driver, a_job
from tests.support import SQL_TIMEOUT_S, wait_until
from tests.test_city import EMPTY
from tests.test_cityview import Console

S = "feed"


class Shown:
    """A city that a console watches."""

    def __init__(self, shard: Shard, database: Database) -> None:
        self.shard, self.log, self.registry = shard, Log(shard), Registry()
        self.city = City(self.log, Survey(shard, Fleet(shard), database), self.registry)
        self.wire = Kept()
        self.session = Session(UserId("ada"), "a", name="Ada", role="admin", login="l", wire=self.wire)
        self.registry.add(self.session)

    async def put(self, *records: Stored) -> None:
        await self.shard.ensure_life()
        now_ms, room = await self.log.now_ms(), Room("user:dee")
        await self.log.commit(
            Write(life=self.shard.token, loaded_ms=now_ms, room=room, by="dee", put=records)
        )

    def heard(self, event: str) -> list[dict[str, Any]]:
        told = [msgspec.json.decode(text[1:]) for text in self.wire.told if f'["{event}"' in text]
        return [payload for _, payload in told]


class Page(Console):
    """What the page makes of all that a wire was told (console/map/city.mjs)."""

    def __init__(self, wire: Kept) -> None:
        super().__init__()
        self.n = self.bases = self.jumps = self.left = 0
        for event, frame in (msgspec.json.decode(text[1:]) for text in wire.told if '["city' in text):
            if event == "city_base":
                self.bases += frame["first"]
                self.left = frame["left"]
            else:
                self.jumps += frame["n"] != self.n + 1
            self.n = frame["n"]
            self.hear({**EMPTY, **frame})


@pytest_asyncio.fixture
async def shown(redis: Redis, redis_url: str, database_url: str) -> AsyncIterator[Shown]:
    shard, tasks = Shard(S, redis_url), Tasks()
    database = await Database.open(database_url, size=1, timeout_s=SQL_TIMEOUT_S)
    made = Shown(shard, database)
    tasks.start(made.city.run(), "city")
    yield made
    await tasks.stop()
    await database.close()
    await shard.close()


def states(frames: list[dict[str, Any]]) -> list[str]:
    return [job["state"] for frame in frames for job in frame.get("jobs", [])]


async def test_another_life_of_redis_is_another_city(shown: Shown, redis: Redis) -> None:
    await shown.put(replace(a_driver(DEE, version=0), name="Before"))
    job = a_job("ride", "searching", id=JobId("j"), version=0)
    for version in range(3):
        await shown.put(replace(job, version=version))
    shown.city.watch(shown.session)
    await wait_until(lambda: shown.heard("city"))
    (base,) = shown.heard("city_base")
    assert [row[2] for row in base["drivers"]] == ["Before"] and states([base]) == ["searching"]
    await redis.flushall()
    shown.shard.life_changed = True
    await shown.put(replace(a_driver(DEE, version=0), name="After"))
    await shown.put(replace(job, state="offered", version=0))  # below what was known of it
    bases = await wait_until(lambda: shown.heard("city_base")[1:], 10.0)
    await wait_until(
        lambda: states([*shown.heard("city_base")[1:], *shown.heard("city")])[-1:] == ["offered"]
    )
    assert bases[0]["first"] and [row[2] for row in bases[0]["drivers"]] == ["After"]


async def test_a_fact_that_cannot_be_read_is_passed_over(shown: Shown, redis: Redis) -> None:
    shown.city.watch(shown.session)
    await wait_until(lambda: shown.heard("city_base"))
    fields = dict.fromkeys("rnsepmta", "") | {"s": "0", "t": "0", "d": '[{"record":"driver","id":7}]'}
    await redis.xadd(keys.facts(S), cast(Any, fields))
    await redis.xadd(keys.facts(S), {"what": "is this"})
    await shown.put(a_job("ride", "searching", id=JobId("j"), version=0))
    await wait_until(lambda: states(shown.heard("city")) == ["searching"])
    assert len(shown.heard("city_base")) == 1


async def test_who_is_known_stays_without_a_timer_and_who_went_is_told_nothing(
    shown: Shown, redis: Redis
) -> None:
    await shown.put(a_job("ride", "searching", id=JobId("j"), version=0))
    await shown.put(a_driver(DEE, version=0))
    shown.city.watch(shown.session)
    await wait_until(lambda: shown.heard("city_base"))
    await redis.delete(keys.due(S))
    shown.city._surveyed_s = 0.0
    before = len(shown.heard("city"))
    await wait_until(lambda: shown.city._surveyed_s and len(shown.heard("city")) > before + 1)
    assert not any(frame.get("gone") or frame.get("over") for frame in shown.heard("city"))
    shown.registry.remove(shown.session)
    await wait_until(lambda: not shown.city._watchers and not shown.city._view.everybody())
    told = len(shown.wire.told)
    await shown.put(replace(cast(Driver, a_driver(DEE, version=1)), stale=True))
    assert len(shown.wire.told) == told


async def turns(shown: Shown, count: int = 2) -> None:
    """So many frames later."""
    after = shown.city._n + count
    await wait_until(lambda: shown.city._n >= after)


async def test_who_reads_slowly_misses_nothing_and_is_told_the_base_once(shown: Shown) -> None:
    count = 2 * BASE_A_FRAME + 10
    drivers = [a_driver(UserId(f"d{n:04}"), version=0) for n in range(count)]
    for first in range(0, count, 90):
        await shown.put(*drivers[first : first + 90])
    job = a_job("ride", "searching", id=JobId("j"), version=0)
    await shown.put(job)
    shown.wire.takes = 1
    shown.city.watch(shown.session, 0)
    await wait_until(lambda: shown.heard("city_base"))
    # he has been told of these, and takes nothing
    drivers, job = [replace(each, version=1) for each in drivers], replace(job, version=1)
    await shown.put(replace(drivers[0], stale=True), replace(job, state="cancelled", ended_ms=1))
    await turns(shown)
    await shown.put(replace(drivers[0], version=2), replace(drivers[1], online=False))
    await shown.put(replace(drivers[count - 1], online=False))  # nor has he of this one
    await turns(shown)
    shown.city.watch(shown.session, 0)  # an ask whose answer was late
    shown.wire.takes += 1
    await turns(shown)
    assert len(shown.wire.told) == 2
    for _ in range(3):  # a part of it each
        shown.wire.takes += 1
        await turns(shown)
    page = Page(shown.wire)
    assert (page.bases, page.jumps, page.left, len(shown.heard("city"))) == (1, 0, 0, 0)
    # from now on he reads: what all are told is enough, but for what came while he did not
    await shown.put(replace(drivers[2], stale=True))
    await turns(shown)
    shown.wire.takes = 2**30
    await wait_until(lambda: len(shown.heard("city")) > 1)
    page = Page(shown.wire)
    assert (page.bases, page.jumps) == (1, 0) and not page.jobs
    assert {row[1] for row in page.drivers.values()} == {each.id for each in drivers[:1] + drivers[2:-1]}


async def test_a_gap_begins_it_anew_and_a_base_that_began_later_goes_on(shown: Shown) -> None:
    shown.city.watch(shown.session, 0)
    await wait_until(lambda: shown.heard("city"))
    (base,) = shown.heard("city_base")
    for n in (base["n"] - 1, base["n"], base["n"]):  # of these the first missed nothing since
        shown.city.watch(shown.session, n)
    await wait_until(lambda: len(shown.heard("city_base")) > 1)
    await turns(shown)
    again = shown.heard("city_base")
    assert [each["first"] for each in again] == [True, True]
    shown.city.watch(shown.session, again[1]["n"] - 1)
    await turns(shown)
    assert len(shown.heard("city_base")) == 2
