"""room.lua on a real Redis: what was said after a number, whole or not at all; and that asking keeps a room."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from storage import keys, roomlog
from storage.facts import Fact
from storage.log import LIVE_TTL_MS, OVER_TTL_MS, Conflict, Log
from storage.records import Room, UserId
from storage.roomlog import Asked, RoomLog, Standing
from storage.shard import Shard, Unavailable
from tests.rules.build import JOB, a_driver
from tests.storekit import RIDE, S, fresh, head, snapshot, told, write
from tests.support import wait_until

MINE = Room("user:pat")
KEPT = 300


@pytest_asyncio.fixture
async def shard(redis: Redis, redis_url: str) -> AsyncIterator[Shard]:
    made = Shard(S, redis_url)
    yield made
    await made.close()


@pytest.fixture
def log(shard: Shard) -> Log:
    return Log(shard)


async def say(log: Log, count: int, room: Room = MINE, **more: Any) -> None:
    for first in range(0, count, 50):
        facts = tuple(told(room, n=n, **more) for n in range(first, min(count, first + 50)))
        await log.commit(await write(log, facts=facts, room=room))


async def ask(shard: Shard, *asked: Asked) -> list[Standing | None]:
    return await RoomLog(shard).stand(list(asked))


async def missed(shard: Shard, epoch: str, seq: int, room: Room = MINE) -> list[int] | None:
    """The numbers that follow, as the texts carry them."""
    (standing,) = await ask(shard, Asked(room, None, epoch, seq))
    assert standing is not None and not standing.later
    if standing.missed is None:
        return None
    said = [json.loads(fact.text)[1] for fact in standing.missed]
    assert {(each["room"], each["epoch"]) for each in said} <= {(room, standing.epoch)}
    return [each["seq"] for each in said]


async def test_all_that_followed_or_nothing(log: Log, shard: Shard) -> None:
    epoch, seq = await head(shard, MINE)
    assert seq == 0 and await missed(shard, epoch, 0) == []
    await say(log, 350)
    assert await head(shard, MINE) == (epoch, 350), "who was told 0 hears 1 next"
    for seen in (350, 349, 348, 200, 51, 350 - KEPT):
        assert await missed(shard, epoch, seen) == list(range(seen + 1, 351))
    for seen in (351, 2**53 - 1, 350 - KEPT - 1, 0):
        assert await missed(shard, epoch, seen) is None
    for other in ("", shard.epoch, epoch + "0", epoch[:-1], "'\"\\\n\0"):
        assert await missed(shard, other, 349) is None


@pytest.mark.parametrize("count", [300, 301, 399, 400, 401, 499, 1000, 1099])
async def test_at_least_300_are_always_kept(log: Log, shard: Shard, count: int) -> None:
    await say(log, count)
    epoch, seq = await head(shard, MINE)
    assert await missed(shard, epoch, seq - KEPT) == list(range(seq - KEPT + 1, seq + 1))


async def test_a_log_that_is_gone_before_its_head_has_a_hole(redis: Redis, log: Log, shard: Shard) -> None:
    await say(log, 10)
    epoch, _ = await head(shard, MINE)
    await redis.xtrim(keys.log(S, MINE), maxlen=4, approximate=False)
    assert await missed(shard, epoch, 6) == [7, 8, 9, 10] and await missed(shard, epoch, 5) is None
    await redis.delete(keys.log(S, MINE))
    assert await missed(shard, epoch, 9) is None and await missed(shard, epoch, 10) == []


async def test_what_was_seen_in_another_life_is_of_another_epoch(
    redis: Redis, log: Log, shard: Shard
) -> None:
    await say(log, 5)
    epoch, _ = await head(shard, MINE)
    await redis.hset(keys.life(S), "run_id", "another")
    shard.life_changed = True
    assert await missed(shard, epoch, 4) is None
    again, seq = await head(shard, MINE)
    assert again != epoch and seq == 0
    await say(log, 5)
    assert await missed(shard, epoch, 4) is None and await missed(shard, again, 4) == [5]


async def test_a_life_that_ends_meanwhile_is_noticed(redis: Redis, log: Log, shard: Shard) -> None:
    await say(log, 1)
    await redis.hset(keys.life(S), mapping={"run_id": "another", "token": "another"})
    before = await snapshot(redis)
    with pytest.raises(Conflict):
        await ask(shard, Asked(MINE))
    assert await snapshot(redis) == before and shard.life_changed
    await ask(shard, Asked(MINE))


async def test_who_does_not_answer_is_unavailable(tmp_path: Any) -> None:
    nobody = Shard(S, f"unix://{tmp_path}/nobody.sock", timeout_s=0.2)
    with pytest.raises(Unavailable):
        await ask(nobody, Asked(MINE))
    await nobody.close()


async def test_a_job_comes_with_its_room_and_without_one_nothing_is_left_behind(
    redis: Redis, log: Log, shard: Shard
) -> None:
    job = fresh()
    joined = Fact(room=job.room, event="x", payload={"n": 1}, records=(job,), join=(UserId("pat"),))
    await log.commit(await write(log, job, facts=(joined, told())))
    epoch, _ = await head(shard, RIDE)
    made_ms = await shard.now_ms()

    async def later() -> bool:  # rooms of one moment have epochs of one name
        return await shard.now_ms() > made_ms

    await wait_until(later)
    first, second = await ask(shard, Asked(Room("ride:none"), JOB, epoch, 0), Asked(RIDE, JOB, epoch, 0))
    assert first is not None and first.missed is None, "the record says whose room it is"
    assert second is not None and second.missed is not None and second.job is not None
    assert (second.job.id, second.job.version) == (JOB, 1)
    assert [fact.joined for fact in second.missed] == [("pat",), ()]
    await redis.delete(keys.head(S, "ride:none"))
    await redis.delete(keys.job(S, JOB))
    before = await snapshot(redis)
    assert await ask(shard, Asked(RIDE, JOB, epoch, 0), Asked(Room("ride:x"), JOB)) == [None, None]
    assert await snapshot(redis) == before


async def test_asking_keeps_a_live_room_and_not_one_that_is_over(
    redis: Redis, log: Log, shard: Shard
) -> None:
    live, over = fresh(), fresh(id="over", state="completed", ended_ms=1)
    for job in (live, over):
        await log.commit(await write(log, job, facts=(told(job.room),), room=job.room))
    await say(log, 1)
    asked = [Asked(MINE), Asked(live.room, live.id), Asked(over.room, over.id)]
    for room, _, _, _ in asked:
        for key in (keys.head(S, room), keys.log(S, room)):
            await redis.pexpire(key, 60_000)
    await ask(shard, *asked)
    for room, least, most in (
        (MINE, LIVE_TTL_MS - 60_000, LIVE_TTL_MS),
        (live.room, LIVE_TTL_MS - 60_000, LIVE_TTL_MS),
        (over.room, OVER_TTL_MS - 60_000, OVER_TTL_MS),
    ):
        for key in (keys.head(S, room), keys.log(S, room)):
            assert least < await redis.pttl(key) <= most, key
    assert OVER_TTL_MS >= 120_000


async def test_a_users_room_says_whom_it_is_of(log: Log, shard: Shard) -> None:
    """His record as a driver and the jobs he has asked for, as they were when the room stood so."""
    (nobody,) = await ask(shard, Asked(MINE))
    assert nobody is not None and (nobody.driver, nobody.asked, nobody.job) == (None, (), None)
    user = MINE.partition(":")[2]
    driver = a_driver(UserId(user), version=0)
    jobs = [fresh(id=name, requester_id=user) for name in ("b", "a")]
    over = fresh(id="c", requester_id=user, state="completed", ended_ms=1)
    for record in (driver, *jobs, over):
        await log.commit(await write(log, record, facts=(told(MINE),), room=MINE))
    (own,) = await ask(shard, Asked(MINE))
    assert own is not None and own.job is None and own.asked == ("a", "b")
    assert own.driver is not None and own.driver.id == user
    (of_job,) = await ask(shard, Asked(jobs[0].room, jobs[0].id))
    assert of_job is not None and of_job.job is not None and (of_job.driver, of_job.asked) == (None, ())


async def test_an_answer_is_bounded(log: Log, shard: Shard, monkeypatch: pytest.MonkeyPatch) -> None:
    """What did not fit beside others comes later; what never fits is said to be lost; a small one gets through."""
    rooms = [Room(f"user:{n}") for n in range(5)]
    for room, length in zip(rooms, (400, 400, 1200, 400, 0), strict=True):
        await log.commit(await write(log, facts=(told(room, m="x" * length),), room=room))
    monkeypatch.setattr(roomlog, "BYTES_MAX", 1200)
    heads = [(room, (await head(shard, room))[0]) for room in rooms]
    found = await ask(shard, *(Asked(room, None, epoch, 0) for room, epoch in heads))
    assert [(each.later, each.missed is not None) for each in found if each] == [
        (False, True), (False, True), (False, False), (True, False), (True, False)
    ]  # fmt: skip
    (again,) = await ask(shard, Asked(rooms[3], None, heads[3][1], 0))
    assert again is not None and again.missed is not None


async def test_the_longest_lines_fit(log: Log, shard: Shard) -> None:
    await say(log, KEPT, message="x" * 4000, senderName="x" * 100)
    epoch, _ = await head(shard, MINE)
    assert await missed(shard, epoch, 0) == list(range(1, KEPT + 1))


async def test_two_rooms_made_in_one_life_differ(redis: Redis, log: Log, shard: Shard) -> None:
    epochs = set()
    for _ in range(5):
        epochs.add((await head(shard, MINE))[0])
        before_ms = await log.now_ms()
        await redis.delete(keys.head(S, MINE))

        async def later(than_ms: int = before_ms) -> bool:
            return await log.now_ms() > than_ms

        await wait_until(later)
    assert len(epochs) == 5
