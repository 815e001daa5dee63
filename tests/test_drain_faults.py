"""The rows of docs/failures-drain.md, each as a test: whatever fails where, everything arrives exactly once."""

import asyncio
import logging
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import msgpack
import pytest
from redis.asyncio import Redis
from redis.asyncio.client import Pipeline
from redis.exceptions import OutOfMemoryError

from storage import keys, postgis
from storage.drain import BACKOFF_MAX_S, Drain, _said
from storage.drainfacts import FactsStream
from storage.drainfixes import FixesStream
from storage.drainstream import Cursor, CursorMoved, Stream, Tally
from storage.migrate import StaleSchema
from tests.drainkit import SHARD, Feeder, a_driver, a_job, an_offer, drain_settings, feed, looking, running
from tests.support import fresh_database, fresh_redis, run_sql, server_database_url, wait_until

STEPS = ["_read_cursor", "_read", "_prepare", "_move", "_write", "_trim"]


def failing(monkeypatch: pytest.MonkeyPatch, step: str, after: bool, times: int = 2) -> list[str]:
    """Both streams die at the step, `times` each: the session and its connection are gone, as in a crash."""
    deaths: list[str] = []
    real = {kind: getattr(kind, step) for kind in (FactsStream, FixesStream)}

    def patch(kind: type[Stream]) -> None:
        async def dying(self: Stream, *args: Any) -> Any:
            doomed = self.name in (FactsStream.name, FixesStream.name) and deaths.count(self.name) < times
            if doomed and not after:
                deaths.append(self.name)
                raise RuntimeError(f"dies before {step}")
            result = await real[kind](self, *args)
            if doomed:
                deaths.append(self.name)
                raise RuntimeError(f"dies after {step}")
            return result

        monkeypatch.setattr(kind, step, dying)

    patch(FactsStream)
    patch(FixesStream)
    return deaths


@pytest.mark.parametrize("away", ["REDIS", "DATABASE"])
async def test_who_is_away_is_told_once_a_pause(
    database_url: str, redis_url: str, caplog: pytest.LogCaptureFixture, away: str
) -> None:
    """All streams meet it; one line, every two seconds at most, says what to look at."""
    if away == "REDIS":
        settings = drain_settings(database_url, "unix:///nowhere/redis.sock")
    else:
        settings = drain_settings("postgresql://nobody@/nothing?host=/nowhere", redis_url)

    def told() -> list[logging.LogRecord]:
        return [record for record in caplog.records if " pauses: " in record.getMessage()]

    async with running(settings):
        await wait_until(lambda: len(told()) >= 3, 20.0)
    lines = told()
    assert all(f"DISPATCH_{away}_URL" in line.getMessage() for line in lines)
    assert min(after.created - before.created for before, after in pairwise(lines)) > BACKOFF_MAX_S - 0.1


@pytest.mark.parametrize("moment", [f"{when} {step}" for step in STEPS for when in ("before", "after")])
async def test_killed_at_every_step(
    database_url: str, redis_url: str, redis: Redis, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    when, step = moment.split()
    feeder = Feeder(redis)
    await feeder.life("one")
    await feed(feeder)
    deaths = failing(monkeypatch, step, when == "after")
    async with running(drain_settings(database_url, redis_url)), looking(database_url) as kept:
        await wait_until(lambda: len(deaths) == 4, timeout_s=10)
        await feed(feeder)
        await kept.exactly(feeder)
        await wait_until(lambda: _length(redis, keys.fixes(SHARD), 0))
        assert await kept.letters() == []


async def _length(redis: Redis, stream: str, length: int) -> bool:
    return bool(await redis.xlen(stream) == length)


@pytest.mark.parametrize("step", ["_read", "_write"])
async def test_a_batch_that_is_too_much_for_its_time(
    database_url: str, redis_url: str, redis: Redis, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Of a thin line or a slow disk: whatever holds more than twenty entries is never read or written in time."""
    feeder = Feeder(redis)
    await feeder.life("one")
    await feed(feeder, 30)
    real, entries = getattr(FactsStream, step), list[int]()

    async def slow(self: Stream, *args: Any) -> Any:
        result = await real(self, *args)
        read = result if step == "_read" else args[1].read
        entries.append(len(read.entries))
        if len(read.entries) > 20:
            raise TimeoutError
        return result

    monkeypatch.setattr(FactsStream, step, slow)
    settings = drain_settings(database_url, redis_url, drain_batch=64)
    async with running(settings), looking(database_url) as kept:
        await kept.exactly(feeder)
    assert max(entries) > 20 >= entries[-1]


async def test_a_log_line_quotes_no_row(caplog: pytest.LogCaptureFixture, database_url: str) -> None:
    async with looking(database_url) as kept:
        with pytest.raises(asyncpg.PostgresError) as failed:
            await kept.conn.execute("insert into areas (id, name) values ('SECRET', null)")
    assert "SECRET" in str(failed.value) and "SECRET" not in _said(failed.value)
    assert "null value" in _said(failed.value) and "23502" in _said(failed.value)


async def test_lost_reply_of_commit(
    database_url: str, redis_url: str, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Committed, but the drain never hears of it."""
    feeder = Feeder(redis)
    await feeder.life("one")
    await feed(feeder)
    lost: list[str] = []
    real_carry = Stream._carry

    async def carry(self: Stream, *args: Any) -> None:
        if lost.count(self.name) < 2:
            self._conn = _LosesReply(self._conn, lambda: lost.append(self.name))
        await real_carry(self, *args)

    monkeypatch.setattr(Stream, "_carry", carry)
    async with running(drain_settings(database_url, redis_url)), looking(database_url) as kept:
        await wait_until(lambda: len(lost) >= 2, timeout_s=10)
        await feed(feeder)
        await kept.exactly(feeder)


class _LosesReply:
    """A connection whose outermost transaction commits, and says that it has been cut off."""

    def __init__(self, conn: Any, lost: Any) -> None:
        self._conn, self._lost, self._depth = conn, lost, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._conn, name)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        self._depth += 1
        try:
            async with self._conn.transaction():
                yield
        finally:
            self._depth -= 1
        if self._depth == 0:
            self._lost()
            raise ConnectionResetError("cut off after the commit")


async def test_two_drains_are_one(database_url: str, redis_url: str, redis: Redis) -> None:
    feeder = Feeder(redis)
    await feeder.life("one")
    settings = drain_settings(database_url, redis_url, drain_batch=7)
    async with running(settings) as one, running(settings) as two, looking(database_url) as kept:
        for _ in range(10):
            await feed(feeder, 20)
        await kept.exactly(feeder)
        rows = await kept.conn.fetchval("select sum(rows) from drain_cursors")
        await wait_until(
            lambda: sum(drain.stats()[s]["rows"] for drain in (one, two) for s in ("facts", "fixes")) == rows
        )
        assert rows == len(feeder.told) * 3 + len(feeder.fixed)
        assert one.stats()["outages"] == two.stats()["outages"] == 0


async def test_changed_life_starts_again(database_url: str, redis_url: str, redis: Redis) -> None:
    """Everything still on the streams is read again and changes nothing; what the new life says counts, also
    where its versions begin again at 1."""
    feeder = Feeder(redis)
    await feeder.life("one")
    job, driver = a_job(version=9, reason="nine"), a_driver(version=50)
    again = msgpack.packb(
        [[driver.id, int(time.time() * 1000), 1 << 40, 37.7, -122.4, None, None, None, job.id]]
    )
    await feeder.raw_fixes(again)
    feeder.fixed.add((driver.id, 1 << 40))
    await feeder.say(job.room, "ride_status_update", {}, (job, driver))
    async with running(drain_settings(database_url, redis_url)), looking(database_url) as kept:
        await kept.exactly(feeder)
        before = await kept.conn.fetchrow("select xmin::text, * from rides")
        await feeder.life("two")
        await feeder.raw_fixes(again)
        await feed(feeder, 3)
        await kept.exactly(feeder)
        assert await kept.conn.fetchrow("select xmin::text, * from rides where id = $1", job.id) == before
        newer = a_job(id=job.id, version=1, reason="rebuilt", requester_id=job.requester_id)
        later = "select committed_at < clock_timestamp() - interval '2 ms' from rides where id = $1"
        await wait_until(lambda: kept.conn.fetchval(later, job.id))
        await feeder.say(
            job.room, "ride_status_update", {}, (newer, a_driver(id=driver.id, version=1, online=False))
        )
        await kept.exactly(feeder)
        row = await kept.conn.fetchrow("select version, reason, life from rides where id = $1", job.id)
        assert tuple(row) == (1, "rebuilt", "two")
        assert await kept.conn.fetchval("select state from drivers where id = $1", driver.id) == "offline"
        assert await kept.letters() == []


async def test_a_life_that_begins_while_we_read(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """Entries of the life before are never taken for the new one's, nor the other way round."""
    feeder = Feeder(redis)
    await feeder.life("one")
    await feed(feeder, 1)
    stream, real = FactsStream(SHARD, redis, Tally(), 10, 0), Pipeline.xread
    start = Cursor("one", "0-0", 0)
    assert (await stream._read(start)).life == "one"

    def xread(self: Any, *args: Any, **more: Any) -> Any:
        """Whatever the reading has to say, another life has begun behind it."""
        asked = real(self, *args, **more)
        script = "redis.call('HSET', KEYS[1], 'token', 'two') return redis.call('XREAD', 'STREAMS', KEYS[2], '0-0')"
        self.command_stack.pop()
        self.eval(script, 2, keys.life(SHARD), keys.facts(SHARD))
        return asked

    monkeypatch.setattr(Pipeline, "xread", xread)
    with pytest.raises(CursorMoved):
        await stream._read(start)
    monkeypatch.undo()
    assert (await stream._read(start)).life == "two"


async def test_a_full_redis_is_drained(database_url: str, redis_url: str, redis: Redis) -> None:
    """The drain is what makes room again: it must not need any."""
    feeder = Feeder(redis)
    await feeder.life("one")
    await feed(feeder)
    before = (await redis.config_get("maxmemory"))["maxmemory"]
    await redis.config_set("maxmemory", 1_000_000)
    try:
        with pytest.raises(OutOfMemoryError):
            await redis.set("t:full", "x")
        async with running(drain_settings(database_url, redis_url)), looking(database_url) as kept:
            await kept.exactly(feeder)
    finally:
        await redis.config_set("maxmemory", before)


async def test_an_offer_that_another_life_made_anew_is_the_later_drivers(
    database_url: str, redis_url: str, redis: Redis
) -> None:
    """A power loss took an offer that was drained; its number was given again, to somebody else, who took it."""
    feeder = Feeder(redis)
    await feeder.life("one")
    job, first, second = a_job(), a_driver(), a_driver()
    now_ms = int(time.time() * 1000)
    offer = an_offer(job, first, state="accepted", version=2)
    await feeder.say(f"user:{first.id}", records=(offer,), at_ms=now_ms)
    read = "select driver_id::text, state from offers where id = $1"
    async with running(drain_settings(database_url, redis_url)), looking(database_url) as kept:
        await wait_until(lambda: kept.conn.fetchrow(read, offer.id))
        await feeder.life("two")
        anew = an_offer(job, second, id=offer.id, state="accepted", version=1)
        await feeder.say(f"user:{second.id}", records=(anew,), at_ms=now_ms + 5)
        found = await wait_until(lambda: kept.conn.fetchrow(f"{read} and life = 'two'", offer.id))
        assert tuple(found) == (second.id, "accepted")


async def test_vanished_holder_is_ended(database_url: str, redis_url: str, redis: Redis) -> None:
    """A drain that holds the cursor and never comes back is ended by the server, not waited for."""
    feeder = Feeder(redis)
    await feeder.life("one")
    settings = drain_settings(database_url, redis_url, database_timeout_s=1.0)
    async with running(settings), looking(database_url) as kept:
        await feed(feeder, 2)
        await kept.exactly(feeder)
        gone = await postgis.connect(database_url, 1.0)
        await gone.execute("begin; update drain_cursors set rows = rows")
        await feed(feeder, 2)
        await kept.exactly(feeder)
        await wait_until(gone.is_closed)  # the client learns of it a moment later


async def test_database_away_and_back(database_url: str, redis_url: str, redis: Redis) -> None:
    feeder = Feeder(redis)
    await feeder.life("one")
    name = urlsplit(database_url).path[1:]
    settings = drain_settings(database_url, redis_url)
    async with running(settings) as drain:
        async with looking(database_url) as kept:
            await feed(feeder, 3)
            await kept.exactly(feeder)
        run_sql(
            server_database_url(),
            f"alter database {name} allow_connections false",
            f"select pg_terminate_backend(pid) from pg_stat_activity where datname = '{name}'",
        )
        await feed(feeder, 3)
        await wait_until(lambda: drain.stats()["outages"] >= 4, timeout_s=10)
        run_sql(server_database_url(), f"alter database {name} allow_connections true")
        async with looking(database_url) as kept:
            await kept.exactly(feeder)
            assert await kept.letters() == []


async def test_redis_away_and_back(database_url: str) -> None:
    with fresh_redis(appendonly="yes", appendfsync="always") as server:
        redis = Redis.from_url(server.url)
        feeder = Feeder(redis)
        await feeder.life("one")
        async with running(drain_settings(database_url, server.url)) as drain, looking(database_url) as kept:
            await feed(feeder, 3)
            await kept.exactly(feeder)
            await feed(feeder, 3)
            server.kill()
            await wait_until(lambda: drain.stats()["outages"] >= 3, timeout_s=10)
            server.start()
            await feed(feeder, 3)
            await kept.exactly(feeder)
        await redis.aclose()


async def test_stale_schema_ends_the_drain(redis_url: str) -> None:
    with fresh_database(template=False) as url, pytest.raises(StaleSchema, match="dispatch migrate"):
        async with asyncio.timeout(10):
            await Drain(drain_settings(url, redis_url)).run(asyncio.Event())


async def _process(database_url: str, redis_url: str) -> asyncio.subprocess.Process:
    names = {
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "SHARD": SHARD,
        "DRAIN_IDLE_MS": "5",
        "DRAIN_BATCH": "50",
    }
    env = os.environ | {f"DISPATCH_{name}": value for name, value in names.items()}
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "server.cli", "drain", env=env, stderr=asyncio.subprocess.PIPE
    )


async def test_killed_processes(database_url: str, redis_url: str, redis: Redis) -> None:
    """SIGKILL while more comes in, at three moments."""
    feeder = Feeder(redis)
    await feeder.life("one")
    working = "select coalesce(sum(entries), 0) > $1 from drain_cursors"
    async with looking(database_url) as kept:
        for more in (0, 20, 70):
            process = await _process(database_url, redis_url)
            before = await kept.conn.fetchval("select coalesce(sum(entries), 0) from drain_cursors")
            await feed(feeder, 100)
            await wait_until(lambda b=before: kept.conn.fetchval(working, b), timeout_s=15)
            enough = len(feeder.told) + more
            feeding = asyncio.create_task(feed(feeder, 100))
            await wait_until(lambda n=enough: len(feeder.told) >= n)
            process.kill()
            await process.communicate()
            await feeding
        async with running(drain_settings(database_url, redis_url)):
            await kept.exactly(feeder)
            assert await kept.letters() == []


async def test_sigterm_finishes_the_batch(database_url: str, redis_url: str, redis: Redis) -> None:
    feeder = Feeder(redis)
    await feeder.life("one")
    process = await _process(database_url, redis_url)
    async with looking(database_url) as kept:
        await feed(feeder, 20)
        await kept.exactly(feeder)
        feeding = asyncio.create_task(feed(feeder, 200))
        await wait_until(lambda: len(feeder.told) > 60)
        began_s = time.monotonic()
        process.send_signal(signal.SIGTERM)
        _, complaints = await process.communicate()
        assert time.monotonic() - began_s < 3
        assert process.returncode == 0 and b"Traceback" not in complaints
        await feeding
        async with running(drain_settings(database_url, redis_url)):
            await kept.exactly(feeder)
