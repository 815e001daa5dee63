"""Who is let in while PostgreSQL cannot be asked: row by row of rooms/acquaintances.py, on a real Redis."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from rooms.acquaintances import FRESH_MS, Acquaintances
from storage import keys
from storage.accounts import Carrier, Vehicle, Who
from storage.confirmed import AT_ONCE, KEPT_MS, Confirmed
from storage.records import UserId
from storage.shard import Shard

S = "known"
T0 = 1_800_000_000_000
CAR = Vehicle(id="v", make="Fiat", model="Uno", year=1990, color="blue", license_plate="AX 1", type="sedan",
              capacity=4, status="active", is_verified=True)  # fmt: skip
DEE = Who(
    user_id=UserId("dee"), session_id="login", role="driver", name="Dee D", carrier=Carrier(vehicle=CAR)
)
HERS = ("login", "dee")


class Clock:
    now_ms = T0

    def __call__(self) -> int:
        return self.now_ms


@pytest_asyncio.fixture
async def shard(redis_url: str, redis: Redis) -> AsyncIterator[Shard]:
    made = Shard(S, redis_url)
    yield made
    await redis.config_set("maxmemory", "0")
    await made.close()


async def test_who_was_confirmed_lately_is_known_on_every_node(shard: Shard) -> None:
    here, there = Acquaintances(Confirmed(shard), Clock()), Acquaintances(Confirmed(shard), Clock())
    await here.confirm([DEE])
    assert await there.recall([HERS, ("login", "another"), ("another", "dee")]) == {HERS: DEE}
    assert await there.recall([("LOGIN", "Dee")]) == {("LOGIN", "Dee"): DEE}, "by what the token says"
    assert await there.recall([]) == {}


@pytest.mark.parametrize(("before_ms", "known"), [(FRESH_MS, True), (FRESH_MS + 1, False)])
async def test_who_left_before_the_last_moments_of_postgresql_is_not(
    shard: Shard, before_ms: int, known: bool
) -> None:
    """However long the outage is by now."""
    clock = Clock()
    node = Acquaintances(Confirmed(shard), clock)
    await node.confirm([DEE])
    clock.now_ms += before_ms
    node.heard()
    clock.now_ms += 1_000_000
    assert bool(await node.recall([HERS])) is known


async def test_who_was_forgotten_is_not(shard: Shard) -> None:
    node = Acquaintances(Confirmed(shard), Clock())
    await node.confirm([DEE])
    await node.forget({"login", "another"})
    assert await node.recall([HERS]) == {}


async def test_nobody_is_known_for_ever(shard: Shard, redis: Redis) -> None:
    await Acquaintances(Confirmed(shard), Clock()).confirm([DEE])
    assert 0 < await redis.pttl(keys.confirmed(S, "login")) <= KEPT_MS


async def test_a_redis_that_takes_nothing_or_was_wiped_knows_nobody(shard: Shard, redis: Redis) -> None:
    node = Acquaintances(Confirmed(shard), Clock())
    await redis.config_set("maxmemory", "1")
    await node.confirm([DEE])
    assert await node.recall([HERS]) == {}
    await redis.config_set("maxmemory", "0")
    await node.confirm([DEE])
    await redis.flushall()
    assert await node.recall([HERS]) == {}


async def test_a_redis_that_does_not_answer_knows_nobody() -> None:
    away = Shard(S, "unix:///nowhere/redis.sock")
    node = Acquaintances(Confirmed(away), Clock())
    await node.confirm([DEE])
    await node.forget(["login"])
    assert await node.recall([HERS]) == {}
    await away.close()


async def test_a_crowd(shard: Shard) -> None:
    node = Acquaintances(Confirmed(shard), Clock())
    crowd = [
        Who(user_id=UserId(f"u{n}"), session_id=f"s{n}", role="passenger", name="")
        for n in range(AT_ONCE + 1)
    ]
    await node.confirm(crowd)
    assert len(await node.recall([(each.session_id, each.user_id) for each in crowd])) == len(crowd)
