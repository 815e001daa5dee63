"""A node that starts while PostgreSQL is away, row by row of server/ground.py: the live work goes on without it."""

from __future__ import annotations

import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import msgspec
import pytest
from redis.asyncio import Redis

from storage import areas, blocks, copied, keys
from storage.postgis import DatabaseUnavailable
from tests.line import Line, line_to
from tests.phones import Phone, assigned_ride, drive, online, phone
from tests.postgreskit import own_postgres
from tests.stack import RunningStack, a_node, kill_server, private_stack, start_server
from tests.support import wait_until
from tests.test_postgres_down import named
from tests.test_workers import parent

COPIED = keys.copied("main")
START_S, BACK_S = 60.0, 20.0


async def is_alive(stack: RunningStack) -> bool:
    try:
        return (await stack.http("GET", "/health"))[0] == 200
    except (OSError, aiohttp.ClientError):
        return False


async def rides_on(driver: Phone, passenger: Phone, ride: str, place: dict[str, float]) -> None:
    """To its end."""
    await drive(driver, passenger, ride, place)
    for status in ("arrived", "in_progress", "completed"):
        await driver.call("ride_status_update", {"rideId": ride, "status": status})
        await passenger.status(status)


async def test_a_node_that_dies_in_an_outage_comes_back() -> None:
    """Those who were on it come back as who they were, their ride goes on, and another is asked for and taken."""
    with own_postgres() as postgres:
        async with (
            private_stack(database_url=postgres.url, DISPATCH_DATABASE_TIMEOUT_S="1") as stack,
            Redis.from_url(stack.redis_url) as redis,
        ):
            spot = stack.spot()
            async with phone(stack, "driver") as driver, phone(stack, "passenger") as passenger:
                ride = await assigned_ride(passenger, driver, spot)
                await wait_until(lambda: redis.exists(COPIED), BACK_S)
                postgres.kill()
                await kill_server(stack)
            start_server(stack)
            await wait_until(lambda: is_alive(stack), START_S)
            assert "PostgreSQL is away: this node starts with" in stack.log_since({"serve": 0})
            async with phone(stack, driver.person) as driver, phone(stack, passenger.person) as passenger:
                await online(driver, spot.at(300.0))
                await passenger.call("join_ride", {"rideId": ride})
                await rides_on(driver, passenger, ride, spot.at(200.0))
                fresh = named(time.time() * 1000)
                await passenger.call("request_ride", {"rideId": fresh, "class": "economy", **spot.trip})
                offer = await driver.hears("offer")
                await driver.call("accept_offer", {"offerId": offer["offerId"]})
                postgres.start()
                assert await stack.drained("select id from rides where id = $1 and state = 'completed'", ride)
                assert await stack.drained(
                    "select id from rides where id = $1 and driver_id is not null", fresh
                )
                assert (await stack.http("GET", "/api/rides", passenger.person.token))[0] == 200


@asynccontextmanager
async def without_postgresql(**settings: str) -> AsyncIterator[tuple[RunningStack, Line, str]]:
    """A stack, and a line to its PostgreSQL that is cut, for nodes of the test's own."""
    with tempfile.TemporaryDirectory(prefix="aryv-line-") as folder:
        async with (
            private_stack(**settings) as stack,
            line_to(stack.database_url, Path(folder)) as (line, url),
        ):
            async with Redis.from_url(stack.redis_url) as redis:
                await wait_until(lambda: redis.exists(COPIED), BACK_S)
            line.cut()
            yield stack, line, url


async def test_what_it_stands_on_is_read_anew() -> None:
    """The copy holds areas and blocks; both are PostgreSQL's again as soon as it is back."""
    async with without_postgresql() as (stack, line, url):
        one, other, third = await stack.people("passenger", 3)
        await blocks.block(stack.database, one.id, other.id, by_admin=True)

        async def copied_pair() -> bool:
            async with Redis.from_url(stack.redis_url) as redis:
                return one.id.encode() in (await redis.hget(COPIED, "copy") or b"")

        await wait_until(copied_pair, BACK_S)
        async with a_node(stack, database_url=url, database_timeout_s=1.0) as node:
            desk = node.gate.house.desk
            assert desk.blocks.between(other.id, one.id) and not desk.blocks.between(one.id, third.id)
            assert (area := desk.areas.get("hasty")) is not None and area.policy.offer_s == 0.3
            await blocks.unblock(stack.database, one.id, other.id, by_admin=True)
            (hasty,) = [row for row in await areas.list_areas(stack.database) if row.id == "hasty"]
            put = areas.area_feature(msgspec.structs.replace(hasty, paused=True))
            await areas.put_area(stack.database, areas.feature(put))
            line.mend()

            def anew() -> bool:
                area = desk.areas.get("hasty")
                return area is not None and area.paused and not desk.blocks.between(one.id, other.id)

            await wait_until(anew, BACK_S)
            assert not node.ended.is_set()


async def test_a_schema_of_another_code_ends_it() -> None:
    async with (
        without_postgresql() as (stack, line, url),
        a_node(stack, database_url=url, database_timeout_s=1.0) as node,
    ):
        assert not node.ended.is_set()
        newest = "name = (select max(name) from schema_migrations)"
        await stack.database.execute(f"delete from schema_migrations where {newest}")
        line.mend()
        await wait_until(node.ended.is_set, BACK_S)


async def test_the_parent_of_workers_starts_with_it() -> None:
    async with (
        without_postgresql() as (stack, _, url),
        parent(stack, "--workers", "1", DISPATCH_DATABASE_URL=url) as made,
    ):
        await wait_until(made.pids, START_S)


@pytest.mark.parametrize("how", ["wiped", "another format", "too large"])
async def test_without_a_copy_it_does_not_start(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with without_postgresql() as (stack, line, url), Redis.from_url(stack.redis_url) as redis:
        assert 0 < await redis.pttl(COPIED) <= copied.KEPT_MS
        await kill_server(stack)
        if how == "wiped":
            await redis.delete(COPIED)
        elif how == "another format":
            await redis.hset(COPIED, "copy", b"\x81\xa4rows\x01")
        else:
            monkeypatch.setattr(copied, "COPY_MAX_BYTES", 1)
            line.mend()
            async with a_node(stack, database_url=url, database_timeout_s=1.0):
                assert await redis.hget(COPIED, "copy") == b""
            line.cut()
        with pytest.raises(DatabaseUnavailable):
            async with a_node(stack, database_url=url, database_timeout_s=1.0):
                pass
