"""One id, two requesters: the first one's history stays his, and dead letters tell nobody what was said."""

import time
from typing import Any

import pytest
from redis.asyncio import Redis

from storage.owners import SPEAKABLE_MS
from storage.records import Job, Message, Parcel, Read, UserId
from tests.drainkit import Feeder, a_driver, a_job, an_offer, drain_settings, looking, new_id, running
from tests.support import wait_until

HOUR_MS = 3_600_000
PARCEL = Parcel(size="small")
OVER = {"ride": "completed", "package": "delivered"}


def a_line(job: Job, by: str, text: str, sent_ms: int) -> Message:
    return Message(id=new_id(), job_id=job.id, kind=job.kind, sender_id=UserId(by), sender_name="N",
                   type="text", text=text, sent_ms=sent_ms)  # fmt: skip


def a_read(line: Message, by: str, read_ms: int) -> Read:
    return Read(job_id=line.job_id, kind=line.kind, reader_id=UserId(by), message_id=line.id, read_ms=read_ms)


async def _tell(feeder: Feeder, job: Job, text: str, records: tuple[Any, ...], at_ms: int = 0) -> None:
    await feeder.say(job.room, "said", {"message": text}, records, by=job.requester_id, at_ms=at_ms)


@pytest.mark.parametrize("batch", [1, 3, 500])
@pytest.mark.parametrize("kinds", ["ride ride", "ride package", "package ride", "package package"])
async def test_a_second_requester_of_an_id_is_refused(
    database_url: str, redis_url: str, redis: Redis, kinds: str, batch: int
) -> None:
    """Whether both are in one batch or the second comes later, as the same kind or the other."""
    kind, stolen_as = kinds.split()
    feeder, now_ms, driver = Feeder(redis), int(time.time() * 1000), a_driver()
    await feeder.life("one")
    ended_ms = now_ms - HOUR_MS
    mine = a_job(kind, OVER[kind], driver_id=driver.id, ended_ms=ended_ms, parcel=PARCEL, version=3)
    line = a_line(mine, mine.requester_id, "mine", ended_ms - 5)
    await _tell(feeder, mine, "mine", (line,), ended_ms - 5)
    await _tell(feeder, mine, "mine", (mine,), ended_ms)
    told = set(feeder.told)
    thief = a_job(stolen_as, id=mine.id, parcel=PARCEL, version=9)
    theirs = a_line(thief, thief.requester_id, "theirs", now_ms)
    await _tell(feeder, thief, "theirs", (thief, an_offer(thief, a_driver())))
    await _tell(feeder, thief, "theirs", (theirs,))
    await _tell(feeder, thief, "theirs", (a_read(theirs, thief.requester_id, now_ms),))
    # there is only one room when the kind is the same; the thief's numbers go on in it here
    feeder.told = told
    good = a_job()
    await feeder.say(good.room, "x", {}, (good,))
    settings = drain_settings(database_url, redis_url, drain_batch=batch)
    async with running(settings), looking(database_url) as kept:
        await wait_until(lambda: kept.conn.fetchval("select true from rides where id = $1", good.id))
        assert await kept.events() == sorted(feeder.told)
        rows = await kept.conn.fetch("select kind, requester_id, version from jobs where id = $1", mine.id)
        assert [(row[0], str(row[1]), row[2]) for row in rows] == [(kind, mine.requester_id, 3)]
        assert [row["text"] for row in await kept.conn.fetch("select text from chat_messages")] == ["mine"]
        assert await kept.conn.fetchval("select count(*) from chat_reads") == 0
        assert await kept.conn.fetchval("select count(*) from offers") == 0
        letters = await kept.letters()
        assert sorted(letter["target"] for letter in letters) == sorted(
            ["chat_messages", "chat_reads", *[f"{stolen_as}_events"] * 3, "offers", f"{stolen_as}s"]
        )
        assert all(mine.id in letter["reason"] for letter in letters)
        assert all(b"theirs" not in letter["content"] for letter in letters)


async def test_a_job_may_be_spoken_of_while_its_record_lasts(
    database_url: str, redis_url: str, redis: Redis
) -> None:
    """And a restart that forgot its end gives it back to its requester, who goes on."""
    feeder, now_ms = Feeder(redis), int(time.time() * 1000)
    await feeder.life("one")
    job = a_job(state="cancelled", ended_ms=now_ms - SPEAKABLE_MS + 60_000, version=3)
    await _tell(feeder, job, "", (job,))
    await _tell(feeder, job, "", (a_line(job, job.requester_id, "late", now_ms),))
    old = a_job(state="cancelled", ended_ms=now_ms - HOUR_MS, version=3)
    await _tell(feeder, old, "", (old,), now_ms - HOUR_MS)
    async with running(drain_settings(database_url, redis_url)), looking(database_url) as kept:
        await kept.exactly(feeder)
        await feeder.life("two")
        again = a_job(id=old.id, requester_id=old.requester_id, version=2)
        await _tell(feeder, again, "", (again,))
        await _tell(feeder, again, "", (a_line(again, again.requester_id, "on", now_ms),))
        await kept.exactly(feeder)
        assert await kept.letters() == []
        state = await kept.conn.fetchval("select state from rides where id = $1", old.id)
        assert state == "searching"


@pytest.mark.parametrize("batch", [1, 500])
async def test_reading_never_goes_back(database_url: str, redis_url: str, redis: Redis, batch: int) -> None:
    """The order of the messages counts, not when somebody said that he had read them."""
    feeder, now_ms = Feeder(redis), int(time.time() * 1000)
    await feeder.life("one")
    job, reader = a_job(), new_id()
    lines = [a_line(job, job.requester_id, str(i), now_ms + i // 2) for i in range(4)]
    lines.sort(key=lambda line: (line.sent_ms, line.id))
    for line in lines:
        await feeder.say(job.room, "new_message", {}, (line,))
    for at_ms, which in enumerate((1, 0, 2, 1)):
        await feeder.say(job.room, "message_read", {}, (a_read(lines[which], reader, now_ms + at_ms),))
    ghost = a_line(job, job.requester_id, "never kept", now_ms)
    await feeder.say(job.room, "message_read", {}, (a_read(ghost, reader, now_ms + 9),))
    settings = drain_settings(database_url, redis_url, drain_batch=batch)
    async with running(settings), looking(database_url) as kept:
        await kept.exactly(feeder)
        (row,) = await kept.conn.fetch("select message_id, read_at from chat_reads")
        assert str(row["message_id"]) == lines[2].id
        assert round(row["read_at"].timestamp() * 1000) == now_ms + 2


async def test_dead_letters_tell_nothing_that_was_said(
    database_url: str, redis_url: str, redis: Redis
) -> None:
    """Neither what could not be read at all, nor a row that PostgreSQL would not take, nor its error."""
    feeder, secret = Feeder(redis), "MEETATNINE"
    await feeder.life("one")
    job = a_job(note=secret, seats=-1)
    line = a_line(job, job.requester_id, secret, 1)
    bad_type = Message(**{name: getattr(line, name) for name in line.__struct_fields__ if name != "type"},
                       type="song")  # fmt: skip
    await feeder.say(job.room, "new_message", {"message": secret}, (bad_type, job))
    await feeder.say("ride:no-uuid", "new_message", {"message": secret}, (a_driver(),))
    await feeder.raw(
        {"r": "ride:x", "n": "e", "s": "1", "e": "new_message", "p": f'["new_message",{{"message":"{secret}"}}]',
         "d": '[{"record":"ghost"}]', "m": "", "t": "1", "a": ""}
    )  # fmt: skip

    async with running(drain_settings(database_url, redis_url)), looking(database_url) as kept:
        await wait_until(lambda: kept.conn.fetchval("select count(*) = 4 from dead_letters"))
        for letter in await kept.letters():
            assert secret.encode() not in letter["content"] and secret not in letter["reason"], letter
