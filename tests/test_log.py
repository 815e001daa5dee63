"""load.lua, life.lua, timers, and a Redis that is another, has forgotten or does not answer."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from msgspec.structs import replace
from redis.asyncio import Redis

from storage import keys
from storage.log import Conflict, Log
from storage.records import Driver, Job, Offer
from storage.shard import BACK_MS, Shard, Unavailable
from tests.rules.build import DEE, JOB, an_offer
from tests.storekit import RIDE, S, fresh, snapshot, told, write


@pytest_asyncio.fixture
async def shard(redis: "Redis", redis_url: str) -> AsyncIterator[Shard]:
    made = Shard(S, redis_url)
    yield made
    await made.close()


@pytest.fixture
def log(shard: Shard) -> Log:
    return Log(shard)


async def test_timers_that_ran_out(redis: "Redis", log: Log) -> None:
    now_ms = await log.now_ms()
    for n in range(5):
        await redis.zadd(keys.due(S), {f"job:{n}": now_ms - n, f"job:later{n}": now_ms + 60_000})
    assert await log.due() == [f"job:{n}" for n in (4, 3, 2, 1, 0)]
    assert await log.due(limit=2) == ["job:4", "job:3"]
    await log.snooze("job:4", now_ms + 60_000)
    await log.snooze("job:3", now_ms - 60_000)
    await log.snooze("job:gone", now_ms + 60_000)
    await log.forget("job:2")
    assert (
        await log.due() == ["job:3", "job:1", "job:0"] and await redis.zscore(keys.due(S), "job:gone") is None
    )


async def test_drivers_are_given_time_a_page_at_a_time(
    redis: "Redis", log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where more of one millisecond than a page are behind jobs that keep their timers."""
    monkeypatch.setattr("storage.log.GIVEN_BACK", 4)
    now_ms = await log.now_ms()
    jobs = {f"job:{n}": now_ms - 10_000 for n in range(3)}
    drivers = {f"driver:{n}": now_ms - 10_000 + n // 9 for n in range(30)}
    await redis.zadd(keys.due(S), {**jobs, **drivers, "driver:in time": now_ms - 1_000})
    await log.give_back_time(3_000)
    assert await log.due() == [*jobs, "driver:in time"]
    assert await redis.zcount(keys.due(S), now_ms + BACK_MS, "+inf") == len(drivers)


async def test_a_life_is_named_once_and_anew_after_a_restart_or_a_wipe(
    redis: "Redis", redis_url: str, shard: Shard
) -> None:
    other = Shard(S, redis_url)
    assert await shard.ensure_life() is False and await other.ensure_life() is False
    assert (shard.token, shard.epoch) == (other.token, other.epoch) and shard.epoch.startswith("t.1.")
    await redis.hset(keys.life(S), "run_id", "that of the Redis before")
    other.life_changed = True
    assert await other.ensure_life() is True and other.epoch.startswith("t.2.")
    log = Log(shard)
    with pytest.raises(Conflict):
        await log.load([])
    await log.load([])
    assert shard.epoch == other.epoch
    wiped = shard.epoch
    await redis.flushall()
    with pytest.raises(Conflict):
        await log.load([])
    await log.load([])
    assert shard.epoch.startswith("t.1.") and shard.epoch != wiped, "after a wipe the count starts again"
    await other.close()


async def test_a_new_life_gives_drivers_time_to_come_back(redis: "Redis", shard: Shard) -> None:
    """All were sent away: who is not here yet is not silent. Timers of jobs stand, and so do later ones of drivers."""
    await shard.ensure_life()
    now_ms = await shard.now_ms()
    timers = {"driver:late": now_ms - 60_000, "driver:soon": now_ms + 1_000, "job:1": now_ms - 60_000}
    await redis.zadd(keys.due(S), {**timers, "driver:far": now_ms + 90_000})
    shard.life_changed = True
    await shard.ensure_life()
    assert await redis.zscore(keys.due(S), "driver:late") == timers["driver:late"], "it is the same life"
    await redis.hset(keys.life(S), "run_id", "that of the Redis before")
    shard.life_changed = True
    await shard.ensure_life()
    for timer in ("driver:late", "driver:soon"):
        assert now_ms + BACK_MS <= await redis.zscore(keys.due(S), timer) < now_ms + BACK_MS + 5_000
    assert await redis.zscore(keys.due(S), "driver:far") == now_ms + 90_000
    assert await redis.zscore(keys.due(S), "job:1") == timers["job:1"]


async def test_a_full_redis_refuses_commits_and_is_heard_all_the_same(redis: "Redis", log: Log) -> None:
    await log.commit(await write(log, facts=(told(),)))
    before = (await redis.config_get("maxmemory"))["maxmemory"]
    await redis.config_set("maxmemory", 1_000_000)
    try:
        with pytest.raises(Unavailable):
            await log.commit(await write(log, facts=(told(),)))
        look = await log.tail.look("0-0")
        assert (look.life, len(look.heard.entries), look.added) == ((await log.tail.newest()).life, 1, 1)
        assert len((await log.tail.read("0-0", block_ms=1)).entries) == 1
    finally:
        await redis.config_set("maxmemory", before)
    await log.commit(await write(log, facts=(told(),)))
    assert (await log.tail.look("0-0")).added == 2


async def test_scripts_come_back_after_redis_forgot_them(redis: "Redis", log: Log) -> None:
    await log.commit(await write(log, fresh()))
    await redis.script_flush()
    await log.commit(await write(log, replace(fresh(), version=1)))


async def test_who_does_not_answer_is_unavailable(tmp_path: Any) -> None:
    shard = Shard(S, f"unix://{tmp_path}/nobody.sock", timeout_s=0.2)
    with pytest.raises(Unavailable):
        await Log(shard).load([])
    await shard.close()


async def test_loading_is_one_moment_and_shows_timers_and_the_first_answer(redis: "Redis", log: Log) -> None:
    offer = an_offer("ride", version=0)
    job = fresh(state="offered")
    at_ms = await log.commit(await write(log, job, offer, field="a:pat:k", answer=b"yes"))
    loaded = await log.load([(Offer, offer.id), (Job, JOB), (Driver, DEE)], RIDE, "a:pat:k")
    assert loaded.answer == b"yes" and loaded.now_ms >= at_ms
    assert list(loaded.records.values()) == [replace(offer, version=1), replace(job, version=1), None]
    assert loaded.due_ms == {(Job, JOB): job.wake_ms}
    assert (await log.load([])).records == {}
    before = await snapshot(redis)
    await log.load([(Job, JOB), (Job, "none")], "ride:none", "a:pat:none")
    assert await snapshot(redis) == before, "reading leaves nothing behind"
