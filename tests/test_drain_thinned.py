"""Fixes that are shed: kept, refused and thinned are what was put on the stream, and facts always fit."""

import logging
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from random import Random

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from storage import keys
from storage.fleet import Fleet
from storage.log import Log
from storage.shard import Shard, Unavailable
from tests.drainkit import SHARD, Feeder, Kept, a_job, drain_settings, looking, new_id, running
from tests.storekit import told, write
from tests.support import fresh_redis, wait_until

MAXMEMORY = 16 * 1024 * 1024
SHARE_OF_FIXES = 0.8
ROOM_FOR_A_TICK = 64 * 1024
ROOM = a_job().room


class Node:
    """Ticks of a node, through the real script; `sent` counts the fixes that Redis took."""

    def __init__(self, shard: Shard, fixes_max: int) -> None:
        self._fleet = Fleet(shard, fixes_max)
        self._boot, self._drivers, self._tick = new_id(), [new_id() for _ in range(50)], 0
        self._seq = 0
        self.sent = 0

    async def tick(self, count: int) -> None:
        self._tick += 1
        now_ms, fixes = int(time.time() * 1000), []
        for _ in range(count):
            self._seq += 1
            driver = self._drivers[self._seq % len(self._drivers)]
            fixes.append((driver, now_ms, self._seq, 37.7, -122.4, 90.0, 5.0, 8.0, None))
        await self._fleet.tick("n1", self._boot, self._tick, [], fixes)
        self.sent += count


async def balance(kept: Kept) -> tuple[int, int]:
    """(rows + refused + thinned, rows really there) of the fixes."""
    row = await kept.conn.fetchrow("select rows, refused, thinned from drain_lag where stream = 'fixes'")
    there = await kept.conn.fetchval("select count(*) from locations")
    return (sum(row), there + row["refused"] + row["thinned"]) if row else (0, 0)


async def balances(kept: Kept, sent: int) -> bool:
    return await balance(kept) == (sent, sent)


async def thinned(kept: Kept) -> int:
    return int(await kept.conn.fetchval("select thinned from drain_lag where stream = 'fixes'"))


@asynccontextmanager
async def connected(redis_url: str) -> AsyncIterator[Shard]:
    shard = Shard(SHARD, redis_url)
    await shard.ensure_life()
    try:
        yield shard
    finally:
        await shard.close()


async def test_what_was_thinned_is_counted(
    database_url: str, redis_url: str, redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    """With nobody to drain it, and while it is drained; ticks of any size; one fix in it is refused."""
    chance = Random(7)
    settings = drain_settings(database_url, redis_url, drain_batch=20)
    async with connected(redis_url) as shard, looking(database_url) as kept:
        node = Node(shard, fixes_max=200)
        for away in (True, False, True):
            if away:
                for _ in range(900):
                    await node.tick(chance.randint(1, 4))
            before = await kept.conn.fetchval("select coalesce(sum(thinned), 0) from drain_cursors")
            with caplog.at_level(logging.WARNING):
                async with running(settings), running(settings):
                    for _ in range(300):
                        await node.tick(chance.randint(1, 4))
                    await wait_until(lambda: balances(kept, node.sent), timeout_s=15)
            assert not away or await thinned(kept) > before + 1000
            assert not away or "were thinned before they could be drained" in caplog.text
            caplog.clear()
        await Feeder(redis).raw_fixes(b"\xc1 rubbish")
        async with running(settings):
            await wait_until(lambda: balances(kept, node.sent + 1), timeout_s=15)


async def test_a_new_life_counts_nothing_twice(database_url: str, redis_url: str, redis: Redis) -> None:
    """After a restart that kept everything the stream is read again; a wiped Redis numbers anew."""
    feeder, settings = Feeder(redis), drain_settings(database_url, redis_url)
    await feeder.life("one")
    async with looking(database_url) as kept:
        async with running(settings):
            await feeder.fix(new_id(), count=100)
            await wait_until(lambda: balances(kept, 100))
        first = await redis.xadd(keys.fixes(SHARD), {"count": 40, "number": 140, "b": b"\x90"})  # read before
        await redis.set(keys.fixed(SHARD), 140)
        await redis.xdel(keys.fixes(SHARD), first)  # thinned while nobody looked
        await feeder.fix(new_id(), count=10)
        async with running(settings):
            await wait_until(lambda: balances(kept, 150))
            assert await thinned(kept) == 40
        await feeder.fix(new_id(), count=10)
        await feeder.life("two")
        async with running(settings):
            await wait_until(lambda: balances(kept, 160))
        await redis.flushall()
        await feeder.life("three")
        await feeder.fix(new_id(), count=10)
        async with running(settings):
            await wait_until(lambda: balances(kept, 170))
            assert await thinned(kept) == 40


async def test_what_was_thinned_last_is_counted_once_with_nothing_behind_it(
    database_url: str, redis_url: str, redis: Redis
) -> None:
    """By two drains, who both find the stream empty."""
    feeder, settings = Feeder(redis), drain_settings(database_url, redis_url)
    await feeder.life("one")
    async with looking(database_url) as kept, running(settings), running(settings):
        await feeder.fix(new_id(), count=100)
        await wait_until(lambda: balances(kept, 100))
        pipe = redis.pipeline(transaction=True)
        pipe.set(keys.fixed(SHARD), 140)
        pipe.xadd(keys.fixes(SHARD), {"count": 40, "number": 140, "b": b"\x90"})
        pipe.xtrim(keys.fixes(SHARD), maxlen=0, approximate=False)
        await pipe.execute()
        await wait_until(lambda: balances(kept, 140))
        await feeder.fix(new_id(), count=10)
        await wait_until(lambda: balances(kept, 150))
        assert await thinned(kept) == 40


async def used(redis: Redis) -> int:
    return int((await redis.info("memory"))["used_memory"])


@pytest.fixture
def small_url() -> Iterator[str]:
    """A Redis with little memory."""
    with fresh_redis(maxmemory=MAXMEMORY) as server:
        yield server.url


@pytest_asyncio.fixture
async def small(small_url: str) -> AsyncIterator[Redis]:
    client = Redis.from_url(small_url)
    yield client
    await client.aclose()


async def test_fixes_leave_memory_to_facts(database_url: str, small: Redis, small_url: str) -> None:
    """Nobody drains: fixes fill their share and no more, every fact is taken, and then all of it is drained."""
    async with connected(small_url) as shard, looking(database_url) as kept:
        node, log, facts = Node(shard, fixes_max=200_000), Log(shard), 0
        for number in range(800):  # twice what fits
            await node.tick(300)
            if number % 10 == 0:
                await log.commit(await write(log, facts=(told(ROOM),)))
                facts += 1
            assert await used(small) < SHARE_OF_FIXES * MAXMEMORY + ROOM_FOR_A_TICK * 2
        async with running(drain_settings(database_url, small_url)):
            await wait_until(lambda: balances(kept, node.sent), timeout_s=30)
        assert 0 < await thinned(kept) < node.sent
        assert len(await kept.events()) == facts


async def test_memory_full_of_facts(database_url: str, small: Redis, small_url: str) -> None:
    """Nobody drains until facts have filled it: commands are `unavailable`, nothing said is lost, fixes go on;
    the drain drains, and commands are taken again."""
    async with connected(small_url) as shard, looking(database_url) as kept:
        node, log, facts = Node(shard, fixes_max=200_000), Log(shard, room_facts=10), 0
        for _ in range(100):
            await node.tick(300)
        with pytest.raises(Unavailable):
            for _ in range(2000):
                await log.commit(await write(log, facts=(told(ROOM, text="x" * 20_000),)))
                facts += 1
        assert facts * 20_000 > 0.65 * MAXMEMORY  # and what Redis needs around them
        for _ in range(200):
            await node.tick(300)
        assert await small.xlen(keys.fixes(SHARD)) < 10
        assert await used(small) < MAXMEMORY * 1.03
        assert await small.xlen(keys.facts(SHARD)) == facts

        async def taken() -> bool:
            try:
                await log.commit(await write(log, facts=(told(ROOM),)))
            except Unavailable:
                return False
            return True

        # whatever moved meanwhile, it is full when the drain comes
        await small.config_set("maxmemory", await used(small) // 2)
        look = await log.tail.look("0-0", count=facts + 1)
        assert len(look.heard.entries) == look.added == facts, "nodes hear all the same"
        async with running(drain_settings(database_url, small_url)):
            await wait_until(lambda: balances(kept, node.sent), timeout_s=30)
            await wait_until(lambda: _count(kept, facts), timeout_s=30)
            await small.config_set("maxmemory", MAXMEMORY)
            await wait_until(taken, timeout_s=15)  # drained facts stay 5 s for slow nodes
            await wait_until(lambda: _count(kept, facts + 1))


async def _count(kept: Kept, events: int) -> bool:
    return len(await kept.events()) == events
