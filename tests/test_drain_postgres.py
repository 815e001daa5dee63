"""What PostgreSQL can do to the drain, on a real one: gone, frozen, locked, full. Nothing is lost but what was shed
and counted, facts are never shed, and what piled up is drained faster than it came."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import asyncpg
import pytest
from redis.asyncio import Redis

from storage import keys
from tests.drainkit import SHARD, Feeder, drain_settings, feed, looking, new_id, running
from tests.postgreskit import OwnPostgres, own_postgres
from tests.support import wait_until

FILE_KIB = 16 * 1024 + 4  # a write of a page across it is cut short: PostgreSQL says that the disk is full
FILLER = """
insert into locations (driver_id, ts, seq, location)
select gen_random_uuid(), now(), n, 'SRID=4326;POINT(1 1)' from generate_series(1, $1::bigint) n
"""


@pytest.fixture
def postgres() -> Iterator[OwnPostgres]:
    with own_postgres() as server:
        yield server


@asynccontextmanager
async def load(feeder: Feeder, fixes_s: float) -> AsyncIterator[None]:
    """Facts and fixes while the block runs: ticks of 50 fixes, and a fact with each."""
    stop = asyncio.Event()

    async def stream() -> None:
        at_s, driver = time.monotonic(), new_id()
        while not stop.is_set():
            await feed(feeder, 1)
            await feeder.fix(driver, count=45)
            at_s += 50 / fixes_s
            try:
                async with asyncio.timeout(max(0.0, at_s - time.monotonic())):
                    await stop.wait()
            except TimeoutError:
                pass

    async with asyncio.TaskGroup() as both:
        work = both.create_task(stream())
        try:
            yield
        finally:
            stop.set()
            await work


async def test_killed_under_load(postgres: OwnPostgres, redis_url: str, redis: Redis) -> None:
    """It comes back from its crash with everything that was committed; the backlog is drained at three times
    the rate at which it came, while more comes."""
    feeder, fixes_s = Feeder(redis), 2000.0
    await feeder.life("one")
    settings = drain_settings(postgres.url, redis_url)
    async with running(settings) as drain:
        async with load(feeder, fixes_s):
            await wait_until(lambda: drain.stats()["fixes"]["rows"] > 1000, timeout_s=15)
            postgres.kill()
            sent = len(feeder.fixed)
            await wait_until(lambda: len(feeder.fixed) > sent + 2 * fixes_s, timeout_s=30)
            assert drain.stats()["outages"] >= 3
            waiting = len(feeder.fixed) - drain.stats()["fixes"]["rows"]
            rows, began_s = drain.stats()["fixes"]["rows"], time.monotonic()
            postgres.start()
            await wait_until(lambda: drain.stats()["fixes"]["rows"] > rows, timeout_s=15)
            began_s = time.monotonic()
            await wait_until(lambda: drain.stats()["fixes"]["rows"] > rows + waiting, timeout_s=15)
            took_s = time.monotonic() - began_s
        async with looking(postgres.url) as kept:
            await kept.exactly(feeder)
            assert await kept.letters() == []
    assert waiting / max(took_s, 0.001) > 3 * fixes_s, f"{waiting} fixes took {took_s:.2f} s"


async def test_frozen(postgres: OwnPostgres, redis_url: str, redis: Redis) -> None:
    """Connections stay, answers do not come: every wait ends, tries are few, and nothing is written twice."""
    feeder = Feeder(redis)
    await feeder.life("one")
    settings = drain_settings(postgres.url, redis_url, database_timeout_s=0.5)
    async with running(settings) as drain, load(feeder, 500):
        await wait_until(lambda: drain.stats()["fixes"]["rows"] > 200, timeout_s=15)
        postgres.freeze()
        try:
            before, began_s = drain.stats()["outages"], time.monotonic()
            await wait_until(lambda: drain.stats()["outages"] >= before + 6, timeout_s=40)
            assert drain.stats()["outages"] - before < 3 * 4 * (time.monotonic() - began_s) + 3
        finally:
            postgres.thaw()
        async with looking(postgres.url) as kept:
            rows = drain.stats()["fixes"]["rows"]
            await wait_until(lambda: drain.stats()["fixes"]["rows"] > rows, timeout_s=20)
    async with running(settings), looking(postgres.url) as kept:
        await kept.exactly(feeder)
        assert await kept.letters() == []


async def test_locked_table(database_url: str, redis_url: str, redis: Redis) -> None:
    """Somebody holds `locations`: facts are drained all the same, and the fixes as soon as he lets go."""
    feeder = Feeder(redis)
    await feeder.life("one")
    settings = drain_settings(database_url, redis_url, database_timeout_s=0.5)
    async with running(settings) as drain, looking(database_url) as kept, looking(database_url) as other:
        await feed(feeder, 3)
        await kept.exactly(feeder)
        fixes = len(feeder.fixed)
        async with other.conn.transaction():
            await other.conn.execute("lock table locations in access exclusive mode")
            for _ in range(10):
                await feed(feeder, 3)
            await wait_until(lambda: _events(kept.conn, len(feeder.told)), timeout_s=15)
            await wait_until(lambda: drain.stats()["outages"] >= 2, timeout_s=15)
            assert drain.stats()["fixes"]["rows"] == fixes
        await kept.exactly(feeder)
        assert await kept.letters() == []


async def _events(conn: asyncpg.Connection, count: int) -> bool:
    found = await conn.fetchval("select count(*) from job_events where room !~ '^user:'")
    return bool(found == count)


async def test_disk_full(redis_url: str, redis: Redis) -> None:
    """Fixes find no room: none becomes a dead letter, facts are drained all the same, and once somebody has made
    room everything is there."""
    feeder = Feeder(redis)
    await feeder.life("one")
    with own_postgres(FILE_KIB) as server:
        async with (
            running(drain_settings(server.url, redis_url)) as drain,
            looking(server.url) as kept,
            load(feeder, 500),
        ):
            await wait_until(lambda: drain.stats()["fixes"]["rows"] > 200, timeout_s=15)
            with pytest.raises(asyncpg.DiskFullError):
                for _ in range(50):
                    await kept.conn.execute(FILLER, 10_000)
            before = drain.stats()["outages"]
            await wait_until(lambda: drain.stats()["outages"] >= before + 3, timeout_s=20)
            told, rows = len(feeder.told), drain.stats()["fixes"]["rows"]
            await wait_until(lambda: drain.stats()["facts"]["entries"] > told, timeout_s=15)
            await wait_until(lambda: _more_than(redis, 20), timeout_s=15)
            assert drain.stats()["fixes"]["rows"] == rows
            await kept.conn.execute("delete from locations where ST_X(location) = 1")
            await kept.conn.execute("vacuum locations")
        async with running(drain_settings(server.url, redis_url)), looking(server.url) as kept:
            await kept.exactly(feeder)
            assert await kept.letters() == []


async def _more_than(redis: Redis, waiting: int) -> bool:
    return bool(await redis.xlen(keys.fixes(SHARD)) > waiting)
