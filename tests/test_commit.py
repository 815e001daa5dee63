"""commit.lua on a real Redis: each outcome, all or nothing, numbers, rings, bounds."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from msgspec.structs import replace
from redis.asyncio import Redis

from storage import keys
from storage.facts import Fact
from storage.fleet import Fleet, Update, pack
from storage.log import ANSWERS_KEPT, LIVE_TTL_MS, OVER_TTL_MS, Again, Conflict, Full, Late, Log
from storage.records import Driver, Job, JobId, Offer, Room, UserId
from storage.shard import Shard
from tests.rules.build import DEE, JOB, a_driver, an_offer
from tests.storekit import RIDE, S, fresh, head, snapshot, told, write
from tests.support import wait_until

CELL = 617_700_169_958_293_503


@pytest_asyncio.fixture
async def shard(redis: "Redis", redis_url: str) -> AsyncIterator[Shard]:
    made = Shard(S, redis_url)
    yield made
    await made.close()


@pytest.fixture
def log(shard: Shard) -> Log:
    return Log(shard)


async def test_ok_writes_records_timers_lists_and_facts(redis: "Redis", log: Log) -> None:
    job = fresh()
    at_ms = await log.commit(await write(log, job, facts=(Fact(room=job.room, records=(job,)),)))
    loaded = await log.load([(Job, JOB), (Driver, DEE), (Offer, "none")])
    assert loaded.records == {(Job, JOB): replace(job, version=1), (Driver, DEE): None, (Offer, "none"): None}
    assert at_ms <= loaded.now_ms and list(loaded.due_ms) == [(Job, JOB)] and loaded.answer is None
    assert at_ms - 1_000 < loaded.due_ms[Job, JOB] - 400 <= at_ms, "a search is looked at again soon"
    assert await redis.zscore(keys.wait(S), JOB) == job.searching_ms
    assert await log.jobs_of(job.requester_id) == [JOB]
    (entry,) = (await log.tail.read("0-0", block_ms=1)).entries
    assert (entry.room, entry.seq, entry.event, entry.text, entry.by) == (job.room, 0, "", b"", "system")
    assert entry.records() == (replace(job, version=1),) and entry.at_ms == at_ms
    assert (await log.tail.newest()).id == entry.id


@pytest.mark.parametrize(
    ("job", "due", "waits", "mine"),
    [
        (fresh(state="scheduled", wake_ms=1_900_000_000_000), True, False, True),
        (fresh(state="offered"), True, False, True),
        (fresh(state="assigned"), False, False, True),
        (fresh(state="completed"), False, False, False),
    ],
)
async def test_timers_and_lists_follow_from_the_record(
    redis: "Redis", log: Log, *, job: Job, due: bool, waits: bool, mine: bool
) -> None:
    searching = fresh()
    await log.commit(await write(log, searching))
    await log.commit(await write(log, replace(job, version=1)))
    assert await redis.zscore(keys.due(S), f"job:{JOB}") == (job.wake_ms if due else None)
    assert (await redis.zscore(keys.wait(S), JOB) is not None) == waits
    assert (await log.jobs_of(job.requester_id) == [JOB]) == mine


async def test_a_drivers_timer_is_set_once_and_goes_with_him(redis: "Redis", log: Log) -> None:
    driver = a_driver(version=0, silence_ms=30_000)
    await log.commit(await write(log, driver))
    first = await redis.zscore(keys.due(S), f"driver:{DEE}")
    assert first is not None
    await log.commit(await write(log, replace(driver, version=1)))
    assert await redis.zscore(keys.due(S), f"driver:{DEE}") == first, "being written about is no sign of life"
    for out in (replace(driver, version=2, stale=True), replace(driver, version=3, online=False)):
        await log.commit(await write(log, out))
        assert await redis.zscore(keys.due(S), f"driver:{DEE}") is None


@pytest.mark.parametrize("fence", ["put", "read"])
@pytest.mark.parametrize("version", [0, 1, 3])
async def test_a_record_that_changed_is_a_conflict_and_nothing_happens(
    redis: "Redis", log: Log, fence: str, version: int
) -> None:
    await log.commit(await write(log, fresh()))
    await log.commit(await write(log, replace(fresh(), version=1)))
    before = await snapshot(redis)
    old, other = replace(fresh(), version=version), a_driver(version=0)
    fenced: dict[str, Any] = {"put": (other, old)} if fence == "put" else {"put": (other,), "read": (old,)}
    attempt = await write(log, facts=(told(),), field="a:pat:k", answer=b"{}", reseat=(DEE,))
    with pytest.raises(Conflict):
        await log.commit(msgspec.structs.replace(attempt, **fenced))
    assert await snapshot(redis) == before


async def test_two_at_once_one_wins(log: Log, shard: Shard) -> None:
    await log.commit(await write(log, fresh()))
    attempts = [await write(log, replace(fresh(), version=1, note=str(n)), facts=(told(),)) for n in range(8)]
    done = await asyncio.gather(*map(log.commit, attempts), return_exceptions=True)
    assert [type(each) for each in done if not isinstance(each, int)] == [Conflict] * 7
    assert (await head(shard, RIDE))[1] == 1


async def test_the_same_key_again_gets_the_first_answer(redis: "Redis", log: Log) -> None:
    await log.commit(await write(log, fresh(), field="a:pat:k", answer=b"first", facts=(told(),)))
    before = await snapshot(redis)
    # before every other check: whatever changed since, it was done
    for more in ({"put": (fresh(),)}, {"latest_ms": 1}, {"loaded_ms": 1}, {"put": (a_driver(version=0),)}):
        with pytest.raises(Again) as again:
            await log.commit(
                msgspec.structs.replace(await write(log, field="a:pat:k", answer=b"second"), **more)
            )
        assert again.value.answer == b"first"
    assert await snapshot(redis) == before
    assert (await log.load([], RIDE, "a:pat:k")).answer == b"first"
    assert (await log.load([], RIDE, "a:dee:k")).answer is None, "a stranger's key never answers"
    assert (await log.load([], "ride:other", "a:pat:k")).answer is None


@pytest.mark.parametrize(
    ("more", "raised"),
    [
        ({"latest_ms": 1}, Late),
        ({"loaded_ms": 1}, Conflict),
        ({"loaded_ms": 1, "latest_ms": 1}, Conflict),
    ],
)
async def test_late_and_stale_do_nothing(
    redis: "Redis", log: Log, more: dict[str, int], raised: type[Exception]
) -> None:
    """Stale: deadlines were counted from a reading that is too old; loading again helps, so it comes first."""
    await log.load([])
    before = await snapshot(redis)
    attempt = await write(log, fresh(), facts=(told(),), field="a:pat:k", answer=b"{}")
    with pytest.raises(raised):
        await log.commit(msgspec.structs.replace(attempt, **more))
    assert await snapshot(redis) == before


async def test_in_time_is_ok(log: Log) -> None:
    attempt = await write(log, fresh())
    await log.commit(msgspec.structs.replace(attempt, latest_ms=attempt.loaded_ms + 60_000))


async def test_another_life_does_nothing_and_the_next_loading_sees_it(
    redis: "Redis", log: Log, shard: Shard
) -> None:
    attempt = await write(log, fresh(), facts=(told(),))
    epoch = shard.epoch
    await redis.hset(keys.life(S), mapping={"run_id": "another", "token": "another"})
    before = await snapshot(redis)
    with pytest.raises(Conflict):
        await log.commit(attempt)
    assert await snapshot(redis) == before and shard.life_changed
    await log.load([])
    assert shard.epoch != epoch
    await log.commit(await write(log, fresh(), facts=(told(),)))


async def test_numbers_are_gapless_per_room_and_the_text_is_ready_to_send(redis: "Redis", log: Log) -> None:
    rooms = [Room(f"ride:{n % 3}") for n in range(30)]
    for room in rooms:
        silent = Fact(room=room, join=(UserId("pat"),))
        await log.commit(await write(log, facts=(told(room, n=room), silent, told(room)), room=room))
    seen: dict[str, list[int]] = {}
    for entry in (await log.tail.read("0-0", block_ms=1)).entries:
        if not entry.seq:
            assert entry.text == b"" and entry.moves == b'{"join":["pat"]}'
            continue
        seen.setdefault(entry.room, []).append(entry.seq)
        event, payload = msgspec.json.decode(entry.text)
        assert (event, payload["room"], payload["seq"]) == (entry.event, entry.room, entry.seq)
        ((_, kept),) = await redis.xrange(keys.log(S, entry.room), f"{entry.seq}-0", f"{entry.seq}-0")
        assert kept == {b"p": entry.text, b"m": b""}
    assert seen == {room: list(range(1, 21)) for room in rooms}


async def test_another_life_starts_the_room_again(redis: "Redis", log: Log, shard: Shard) -> None:
    for _ in range(3):
        await log.commit(await write(log, facts=(told(),), field="a:pat:k0", answer=b"kept"))
        await redis.hdel(keys.head(S, RIDE), "a:pat:k0")
    first, seq = await head(shard, RIDE)
    assert seq == 3 and first.startswith(f"{shard.epoch}.")
    await redis.hset(keys.life(S), "run_id", "another")
    shard.life_changed = True
    await log.commit(await write(log, facts=(told(),)))
    second, seq = await head(shard, RIDE)
    assert seq == 1 and second.startswith(f"{shard.epoch}.") and second != first
    assert [id_ for id_, _ in await redis.xrange(keys.log(S, RIDE))] == [b"1-0"]


@pytest.mark.parametrize("announced_first", [True, False])
async def test_a_room_that_expired_starts_again_under_another_name(
    redis: "Redis", log: Log, shard: Shard, announced_first: bool
) -> None:
    """Seven quiet days: within one life the same number may not be given twice."""
    await log.commit(await write(log, facts=(told(), told())))
    first, _ = await head(shard, RIDE)
    await redis.delete(keys.head(S, RIDE), keys.log(S, RIDE))
    await redis.hset(keys.head(S, RIDE), "a:pat:k", "an answer is no head")
    expired_ms = await log.now_ms()

    async def later() -> bool:
        return await log.now_ms() > expired_ms

    await wait_until(later)
    if announced_first:
        announced = await head(shard, RIDE)
        assert announced[0] != first and announced[1] == 0
    await log.commit(await write(log, facts=(told(),)))
    second, seq = await head(shard, RIDE)
    assert seq == 1 and second != first and second.startswith(f"{shard.epoch}.")
    if announced_first:
        assert second == announced[0], "who was told 0 hears 1 next"
    entries = (await log.tail.read("0-0", block_ms=1)).entries
    assert [(entry.epoch, entry.seq) for entry in entries] == [(first, 1), (first, 2), (second, 1)]


async def test_a_room_remembers_a_bounded_number_of_answers(redis: "Redis", log: Log) -> None:
    for n in range(ANSWERS_KEPT + 20):
        await log.commit(await write(log, field=f"a:pat:{n}", answer=str(n).encode()))
    kept = {f for f in await redis.hkeys(keys.head(S, RIDE)) if f.startswith(b"a:")}
    assert kept == {f"a:pat:{n}".encode() for n in range(20, ANSWERS_KEPT + 20)}
    assert len(await redis.hkeys(keys.head(S, RIDE))) == 2 * ANSWERS_KEPT + 1
    assert 0 < await redis.pttl(keys.head(S, RIDE)) <= LIVE_TTL_MS


async def test_lasting_answers_outlive_the_others_and_are_bounded(redis: "Redis", log: Log) -> None:
    await log.commit(await write(log, field="a:*:message:1", answer=b"first", lasting_max=3))
    for n in range(ANSWERS_KEPT + 20):
        await log.commit(await write(log, field=f"a:pat:{n}", answer=b"x"))
    with pytest.raises(Again) as again:
        await log.commit(await write(log, field="a:*:message:1", answer=b"second", lasting_max=3))
    assert again.value.answer == b"first"
    for n in (2, 3):
        await log.commit(await write(log, field=f"a:*:message:{n}", answer=b"x", lasting_max=3))
    before = await snapshot(redis)
    with pytest.raises(Full):
        await log.commit(await write(log, field="a:*:message:4", answer=b"x", lasting_max=3, facts=(told(),)))
    with pytest.raises(Again):
        await log.commit(await write(log, field="a:*:message:2", answer=b"x", lasting_max=3))
    assert await snapshot(redis) == before, "what is refused leaves no trace"
    await log.commit(await write(log, field="a:*:message:5", answer=b"x", lasting_max=3, by="another"))


async def test_a_rooms_log_is_capped(redis: "Redis", shard: Shard) -> None:
    log = Log(shard, room_facts=50)
    for _ in range(20):
        await log.commit(await write(log, facts=tuple(told() for _ in range(50))))
    length = await redis.xlen(keys.log(S, RIDE))
    assert 50 <= length <= 50 + 100, "whole nodes of a stream go, of at most 100 entries"
    assert (await redis.xrevrange(keys.log(S, RIDE), count=1))[0][0] == b"1000-0"


@pytest.mark.parametrize("reads", [False, True])
async def test_what_is_over_is_kept_for_a_quarter_of_an_hour(redis: "Redis", log: Log, reads: bool) -> None:
    job = fresh(state="completed")
    offer = an_offer("ride", "accepted", version=0)
    await log.commit(await write(log, job, offer, facts=(told(),)))
    if reads:  # a late read mark does not keep the room for longer
        await log.commit(await write(log, read=(replace(job, version=1),), facts=(told(),)))
    for key in (keys.job(S, JOB), keys.offer(S, offer.id), keys.log(S, RIDE), keys.head(S, RIDE)):
        assert 0 < await redis.pttl(key) <= OVER_TTL_MS, key
    await log.commit(await write(log, fresh(id=JobId("live")), facts=(told("ride:live"),), room="ride:live"))
    for key in (keys.job(S, "live"), keys.log(S, "ride:live"), keys.head(S, "ride:live")):
        assert OVER_TTL_MS < await redis.pttl(key) <= LIVE_TTL_MS, key


@pytest.mark.parametrize("elapsed_share", [0.0, 0.01, 0.02, 0.5])
async def test_what_is_written_lives_on(redis: "Redis", log: Log, elapsed_share: float) -> None:
    """A record and its room that are written again live as long as from the first time, but for a 64th."""
    job, of_job = fresh(), (keys.job(S, JOB), keys.log(S, RIDE), keys.head(S, RIDE))
    await log.commit(await write(log, job, facts=(told(),)))
    for key in of_job:
        await redis.pexpire(key, int(LIVE_TTL_MS * (1.0 - elapsed_share)))
    await log.commit(await write(log, replace(job, version=1), facts=(told(),)))
    for key in of_job:
        assert LIVE_TTL_MS * 63 / 64 - 5_000 < await redis.pttl(key) <= LIVE_TTL_MS, key
    await log.commit(
        await write(log, replace(job, version=2, state="completed", ended_ms=1), facts=(told(),))
    )
    assert OVER_TTL_MS - 5_000 < await redis.pttl(keys.job(S, JOB)) <= OVER_TTL_MS


@pytest.mark.parametrize("reseat", [False, True])
@pytest.mark.parametrize("who", ["dee", "sixteen-letters-", "3f2b8c1e-0a4d-4c7e-9b1f-5d6e7f8091a2"])
async def test_who_leaves_supply_leaves_the_index(
    redis: "Redis", log: Log, shard: Shard, reseat: bool, who: str
) -> None:
    driver = a_driver(version=0, id=UserId(who))
    await log.commit(await write(log, driver))
    here = Update(who, "e", driver.generation, 1, CELL, "economy,parcel", pack(1.0, 2.0, 3, None), 0, False)
    await Fleet(shard).tick("n1", "b", 1, [here], [])
    assert await redis.hkeys(keys.index(S, "parcel", CELL)) == [keys.entry(who)]
    await log.commit(await write(log, replace(driver, version=1, name="Still free")))
    assert [p.driver_id for p in await Fleet(shard).read("parcel", [CELL])] == [who]
    gone = replace(driver, version=2, offer_id=None if reseat else "x.1")
    await log.commit(await write(log, gone, reseat=(UserId(who),) if reseat else ()))
    for of in ("economy", "parcel"):
        assert await redis.hgetall(keys.index(S, of, CELL)) == {}
    assert await redis.hgetall(keys.spot(S)) == {}
    assert await Fleet(shard).last_position(who), "whoever joins his job's room is not shown where he was"


async def test_records_of_one_id_are_kept_apart(log: Log) -> None:
    """A client may take his driver's id for his job."""
    job, driver = fresh(id=JobId(DEE)), a_driver(version=0)
    await log.commit(await write(log, job, driver, facts=(Fact(room=job.room, records=(job,)),)))
    loaded = await log.load([(Job, DEE), (Driver, DEE)])
    assert loaded.records == {(Job, DEE): replace(job, version=1), (Driver, DEE): replace(driver, version=1)}
    assert loaded.due_ms.keys() == {(Job, DEE), (Driver, DEE)}
    told_of = [
        record for entry in (await log.tail.read("0-0", block_ms=1)).entries for record in entry.records()
    ]
    assert told_of == [replace(job, version=1), replace(driver, version=1)]


async def test_every_put_record_is_told_once(log: Log) -> None:
    offer = an_offer("ride", version=0)
    job, driver = fresh(state="offered"), a_driver(version=0, offer_id=offer.id)
    fact = told("user:dee", "offer", of="it")
    await log.commit(await write(log, job, driver, offer, facts=(replace(fact, records=(offer,)),)))
    entries = (await log.tail.read("0-0", block_ms=1)).entries
    assert [(entry.room, entry.event) for entry in entries] == [
        ("user:dee", "offer"),
        (RIDE, ""),
        ("user:dee", ""),
    ]
    assert [entry.records() for entry in entries] == [
        (replace(record, version=1),) for record in (offer, job, driver)
    ]
