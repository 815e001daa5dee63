"""What PostgreSQL refuses goes to dead_letters alone; and the drain's two small tools that several may use at once."""

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgpack
import pytest
from redis.asyncio import Redis

from storage import keys
from storage.drainstream import LUA_TRIM
from storage.records import Message
from storage.sink import ALONE_MAX, DOUBTS_MAX
from tests.drainkit import (
    SHARD,
    Feeder,
    Kept,
    a_driver,
    a_job,
    drain_settings,
    feed,
    looking,
    new_id,
    running,
)
from tests.support import wait_until

REFUSES = """
create function no() returns trigger language plpgsql as $$
begin raise exception 'not this' using errcode = '{}'; end $$;
create trigger no before insert on rides for each row when (new.note = 'bad') execute function no()"""


async def test_refused_fact_alone(database_url: str, redis_url: str, redis: Redis) -> None:
    """NUL in a text, ids that are none, a state nobody knows: they, and only they, are dead letters."""
    feeder = Feeder(redis)
    await feeder.life("one")
    good = a_job()
    lines = []
    for i in range(40):
        line = Message(id=new_id(), job_id=good.id, kind="ride", sender_id=good.requester_id, sender_name="Ann",
                       type="text", text="a\x00b" if i == 17 else f"line {i}", sent_ms=1)  # fmt: skip
        lines.append(await feeder.say(good.room, "", {}, (line,)))
    bad_state = await feeder.say(good.room, "ride_status_update", {}, (a_job(state="flying"), good))
    bad_id = await feeder.say("ride:not-a-uuid", "ride_status_update", {}, (a_driver(),))
    feeder.told.discard(("ride:not-a-uuid", feeder.epoch, 1))
    # the newest version of a record is refused: the one before it is kept
    same = {"id": good.id, "requester_id": good.requester_id}
    await feeder.say(good.room, "", {}, (a_job(**same, version=2, reason="two"),))
    worst = await feeder.say(good.room, "", {}, (a_job(**same, version=3, seats=-1),))
    async with running(drain_settings(database_url, redis_url)) as drain, looking(database_url) as kept:
        await kept.exactly(feeder)
        letters = {(row["entry_id"], row["target"], row["sqlstate"]) for row in await kept.letters()}
        assert letters == {
            (lines[17], "chat_messages", "22P05"),
            (bad_state, "rides", "23502"),
            (bad_id, "ride_events", "22P02"),
            (worst, "rides", "23514"),
        }
        assert await kept.conn.fetchval("select count(*) from chat_messages") == 39
        assert tuple(await kept.conn.fetchrow("select version, reason from rides")) == (2, "two")
        assert await kept.conn.fetchval("select count(*) from drivers") == 1
        assert await kept.conn.fetchval("select refused from drain_cursors where stream = 'facts'") == 4
        assert drain.stats()["facts"]["refused"] == 4


async def test_refused_by_a_trigger(database_url: str, redis_url: str, redis: Redis) -> None:
    """Which raises what PL/pgSQL raises when nobody names a code."""
    feeder = Feeder(redis)
    await feeder.life("one")
    await feed(feeder, 3)
    bad = a_job(note="bad")
    entry_id = await feeder.say(bad.room, "", {}, (bad,))
    await feed(feeder, 3)
    async with looking(database_url) as kept:
        await kept.conn.execute(
            "create function no() returns trigger language plpgsql as $$ begin raise exception 'not this'; end $$"
        )
        await kept.conn.execute(
            "create trigger no before insert on rides for each row when (new.note = 'bad') execute function no()"
        )
        async with running(drain_settings(database_url, redis_url)):
            await kept.exactly(feeder)
        letters = [(row["entry_id"], row["target"], row["sqlstate"]) for row in await kept.letters()]
    assert letters == [(entry_id, "rides", "P0001")]


@pytest.mark.parametrize("sqlstate", ["42501", "XX000"])
async def test_refused_in_doubt(database_url: str, redis_url: str, redis: Redis, sqlstate: str) -> None:
    """What may be everybody's fault is the row's own as soon as another is let in; until then nothing is lost."""
    feeder = Feeder(redis)
    await feeder.life("one")
    bad = a_job(note="bad")
    entry_id = await feeder.say(bad.room, "", {}, (bad,))
    async with looking(database_url) as kept:
        await kept.conn.execute(REFUSES.format(sqlstate))
        async with running(drain_settings(database_url, redis_url)) as drain:
            await wait_until(lambda: drain.stats()["outages"] >= 2)
            assert await kept.letters() == [] and drain.stats()["facts"]["entries"] == 0
            await feed(feeder, 3)
            await kept.exactly(feeder)
            letters = [(row["entry_id"], row["target"], row["sqlstate"]) for row in await kept.letters()]
            assert letters == [(entry_id, "rides", sqlstate)]


@pytest.mark.parametrize("sqlstate", ["42501", "XX000"])
async def test_refused_in_doubt_alone(database_url: str, redis_url: str, redis: Redis, sqlstate: str) -> None:
    """With no other row in its batch it is the row's own fault if the table takes one of its own again; but only three
    times, or a fault that hits new rows alone would fill dead letters. Nothing of the trial stays."""
    feeder = Feeder(redis)
    await feeder.life("one")
    good = a_job()
    await feeder.say(good.room, "", {}, (good,))
    settings = drain_settings(database_url, redis_url)
    async with looking(database_url) as kept:
        async with running(settings):
            await wait_until(lambda: kept.conn.fetchval("select count(*) = 1 from rides"))
        await kept.conn.execute(REFUSES.format(sqlstate))
        before = await kept.conn.fetch("select xmin::text, * from rides")
        bad: list[str] = []
        async with running(settings) as drain:
            for number in range(1, ALONE_MAX + 2):
                job = a_job(note="bad")
                bad.append(await feeder.say(job.room, "", {}, (job,)))
                if number <= ALONE_MAX:
                    await wait_until(lambda number=number: _count(kept, number))
            await wait_until(lambda: drain.stats()["outages"] >= 1)
            letters = [(row["entry_id"], row["target"], row["sqlstate"]) for row in await kept.letters()]
            assert letters == [(entry_id, "rides", sqlstate) for entry_id in bad[:-1]]
            assert await kept.conn.fetch("select xmin::text, * from rides") == before
            await feed(feeder, 1)  # the table takes new rows: the fourth is at fault as well
            await wait_until(lambda: _count(kept, len(bad)))


async def _count(kept: Kept, letters: int) -> bool:
    return len(await kept.letters()) == letters


async def test_a_right_that_is_missing_is_waited_for_by_one_row_as_well(
    database_url: str, redis_url: str, redis: Redis
) -> None:
    """The drain may not change rides any more, only add some: its statement is refused whatever the row."""
    feeder = Feeder(redis)
    await feeder.life("one")
    good, other = a_job(), a_job()
    await feeder.say(good.room, "", {}, (good,))
    async with looking(database_url) as kept:
        async with running(drain_settings(database_url, redis_url)):
            await wait_until(lambda: kept.conn.fetchval("select count(*) = 1 from rides"))
        async with (
            lesser(database_url, kept.conn, "rides") as url,
            running(drain_settings(url, redis_url)) as drain,
        ):
            await feeder.say(other.room, "", {}, (other,))
            await wait_until(lambda: drain.stats()["outages"] >= 2)
            assert await kept.letters() == [] and await kept.conn.fetchval("select count(*) from rides") == 1
            await kept.conn.execute("grant update on rides to lesser_drain")
            await wait_until(lambda: kept.conn.fetchval("select count(*) = 2 from rides"))
            assert await kept.letters() == []


@asynccontextmanager
async def lesser(database_url: str, conn: Any, table: str) -> AsyncIterator[str]:
    """The address for a role that may do all but change one table."""
    await conn.execute(
        f"""create role lesser_drain login password 'lesser';
            grant all on all tables in schema public to lesser_drain;
            grant all on all sequences in schema public to lesser_drain;
            revoke update on {table} from lesser_drain"""
    )
    host, _, rest = database_url.partition("://")[2].rpartition("@")[2].partition("/")
    try:
        yield f"postgresql://lesser_drain:lesser@{host}/{rest}"
    finally:
        await conn.execute("drop owned by lesser_drain; drop role lesser_drain")


async def test_refused_everything(database_url: str, redis_url: str, redis: Redis) -> None:
    """A right that is missing is waited for, however much there is; nothing of it becomes a dead letter."""
    feeder = Feeder(redis)
    await feeder.life("one")
    for _ in range(DOUBTS_MAX + 1):
        await feed(feeder, 1)
    async with looking(database_url) as kept:
        await kept.conn.execute(REFUSES.format("42501").replace("(new.note = 'bad')", "(true)"))
        async with running(drain_settings(database_url, redis_url)) as drain:
            await wait_until(lambda: drain.stats()["outages"] >= 2)
            assert await kept.conn.fetchval("select count(*) from job_events") == 0
            await kept.conn.execute("drop trigger no on rides")
            await kept.exactly(feeder)
            assert await kept.letters() == []


async def test_refused_undecodable(database_url: str, redis_url: str, redis: Redis) -> None:
    feeder = Feeder(redis)
    await feeder.life("one")
    await feed(feeder, 3)
    fields = {
        "r": "ride:x",
        "n": "e",
        "s": "1",
        "e": "x",
        "p": "not json",
        "d": "[{}]",
        "m": "",
        "t": "1",
        "a": "",
    }
    bad = [
        await feeder.raw(fields | {"d": '[{"record":"ghost"}]'}),
        await feeder.raw({"r": "ride:x"}),
        await feeder.raw(fields),
    ]
    await feed(feeder, 3)
    async with running(drain_settings(database_url, redis_url)), looking(database_url) as kept:
        await kept.exactly(feeder)
        assert [(row["entry_id"], row["target"]) for row in await kept.letters()] == [
            (one, "entry") for one in bad
        ]


async def test_refused_fix_alone(database_url: str, redis_url: str, redis: Redis) -> None:
    feeder = Feeder(redis)
    await feeder.life("one")
    good = new_id()
    await feeder.fix(good, count=200)
    kept_so_far = set(feeder.fixed)
    for changed in ({"latitude": 95.0}, {"longitude": math.nan}, {"latitude": math.inf}, {"speed": 1e300}):
        await feeder.fix(new_id(), **changed)
    await feeder.fix("nobody")
    await feeder.fix(new_id(), at_ms=1000)
    await feeder.raw_fixes(b"\xc1 rubbish")
    await feeder.raw_fixes(msgpack.packb({"a": 1}))
    await feeder.raw_fixes(msgpack.packb([[1, 2], None, "x"]))
    feeder.fixed = kept_so_far
    await feeder.fix(good, count=200)
    async with running(drain_settings(database_url, redis_url)), looking(database_url) as kept:
        await kept.exactly(feeder)
        letters = await kept.letters()
        assert len(letters) == 4 + 1 + 1 + 1 + 1 + 3
        assert {row["sqlstate"] for row in letters} == {"", "23514"}
        refused = next(row for row in letters if b"95.0" in row["content"])
        assert "locations_on_globe" in refused["reason"]


async def test_trim_is_fenced_by_life(redis: Redis) -> None:
    feeder = Feeder(redis)
    await feeder.life("two")
    await feeder.fix(new_id())
    trim = redis.register_script(LUA_TRIM)
    where = [keys.life(SHARD), keys.fixes(SHARD)]
    assert await trim(keys=where, args=["one", f"{2**60}-0"]) == 0
    assert await trim(keys=where, args=["two", f"{2**60}-0"]) == 1


async def test_partitions_are_made_once(database_url: str) -> None:
    async def make() -> int:
        async with looking(database_url) as kept:
            sql = "select ensure_location_partitions('2031-01-01', '2031-01-05')"
            return int(await kept.conn.fetchval(sql))

    assert sorted(await asyncio.gather(*(make() for _ in range(4)))) == [0, 0, 0, 5]
