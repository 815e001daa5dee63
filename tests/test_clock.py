"""What happens by itself, where it is about when: whom silence is held against."""

from __future__ import annotations

from redis.asyncio import Redis

from storage import keys
from storage.records import Driver
from tests.nodekit import Node, node
from tests.support import wait_until
from tests.test_leases import online

S = "main"


async def is_stale(n: Node, driver_id: str) -> bool:
    record = (await n.log.load([(Driver, driver_id)])).records[Driver, driver_id]
    assert isinstance(record, Driver)
    return record.stale


async def test_silence_that_no_node_was_there_to_hear_proves_nothing(redis: Redis, redis_url: str) -> None:
    """All nodes were gone for longer than a driver may be silent; he has time to come back to the first that is there
    again. A timer that runs out under its eyes counts at once."""
    async with node(redis_url, "n1", stale_s=5) as one:
        driver, _ = one.arrive("driver")
        await online(one, driver)
        now_ms = await one.log.now_ms()
    timer = f"driver:{driver.user_id}"
    await redis.zadd(keys.due(S), {timer: now_ms - 10_000}, xx=True)
    async with node(redis_url, "n2", stale_s=5) as two:

        async def has_time() -> bool:
            return float(await redis.zscore(keys.due(S), timer) or 0.0) > now_ms + 20_000

        await wait_until(has_time)
        assert not await is_stale(two, driver.user_id)
        await redis.zadd(keys.due(S), {timer: now_ms}, xx=True)
        await wait_until(lambda: is_stale(two, driver.user_id))
