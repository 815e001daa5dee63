"""Redis fails under a running node, in every way it can: what is volatile goes on, what is reliable is never
acked without being kept, and after its return everything is as it was, or plainly another life."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from redis.asyncio import Redis

from server.devstack.redis import RedisServer
from storage.shard import CONNECTIONS_MAX
from tests.nodekit import HERE, THERE, node
from tests.phones import assigned_ride, drive, new_id
from tests.stack import RunningStack, Spot, private_stack
from tests.support import fresh_redis, wait_until
from tests.test_coming_back import Returning, returning

REFUSED_WITHIN_S = 2.3  # two seconds by promise; the rest is this machine's
BACK_WITHIN_S = 5.0


class Trip:
    """A driver and his passenger on a ride, on a Redis of their own; `acked` are their lines that were."""

    def __init__(
        self, stack: RunningStack, redis: RedisServer, driver: Returning, passenger: Returning
    ) -> None:
        self.stack, self.redis, self.driver, self.passenger = stack, redis, driver, passenger
        self.spot: Spot = stack.spot("patient")
        self.acked: list[str] = []
        self.ride = ""

    async def begin(self) -> None:
        self.ride = await assigned_ride(self.passenger, self.driver, self.spot)

    async def say(self, id_: str = "") -> str:
        """A line of the passenger: `ok`, or why not."""
        id_ = id_ or new_id()
        try:
            answer = await self.passenger.ask(
                "send_message", {"rideId": self.ride, "id": id_, "message": id_}
            )
        except Exception as error:  # the socket went away under it
            return type(error).__name__
        if answer["ok"]:
            self.acked.append(id_)
            return "ok"
        return str(answer["error"]["code"])

    async def refused_in_time(self, id_: str) -> None:
        began_s = time.monotonic()
        assert await self.say(id_) == "unavailable"
        assert time.monotonic() - began_s < REFUSED_WITHIN_S

    async def goes_on(self, id_: str) -> None:
        """The same line is acked within BACK_WITHIN_S of the return, and so is the next."""

        async def said() -> bool:
            return await self.say(id_) == "ok"

        await wait_until(said, BACK_WITHIN_S, every_s=0.1)
        assert await self.say() == "ok"

    async def all_is_kept(self) -> None:
        """Every acked line is in PostgreSQL once, and both heard each once, in one order."""

        async def kept() -> bool:
            rows = await self.stack.rows("select id from chat_messages where job_id = $1", self.ride)
            return {row["id"] for row in rows} >= set(self.acked)

        await wait_until(kept, 10.0)
        rows = await self.stack.rows("select id from chat_messages where job_id = $1", self.ride)
        assert len(rows) == len({row["id"] for row in rows}) == len(set(self.acked))


@asynccontextmanager
async def trip(**options: str) -> AsyncIterator[Trip]:
    with fresh_redis(appendonly="yes", appendfsync="always", **options) as server:
        async with (
            private_stack(server.url) as stack,
            returning(stack, "driver", "passenger") as (driver, passenger),
        ):
            made = Trip(stack, server, driver, passenger)
            await made.begin()
            yield made


async def test_a_redis_that_hangs() -> None:
    """Positions reach the watchers here meanwhile; a command whose reply was lost has one effect, found on retry."""
    async with trip() as on:
        pid = on.redis.pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        try:
            lines = [new_id(), new_id()]
            await drive(on.driver, on.passenger, on.ride, on.spot.at(290.0))
            for line in lines:
                await on.refused_in_time(line)
            await drive(on.driver, on.passenger, on.ride, on.spot.at(280.0))
        finally:
            os.kill(pid, signal.SIGCONT)
        for line in lines:
            await on.goes_on(line)
        await drive(on.driver, on.passenger, on.ride, on.spot.at(270.0))
        assert not on.driver.heard("disconnect"), "it was the same Redis all the time"
        on.passenger.assert_gapless(f"ride:{on.ride}")
        await on.all_is_kept()


async def test_who_waits_for_a_connection_is_refused_in_time_too() -> None:
    """When Redis hangs under a crowd, all connections are taken and those who come later wait for one first."""
    ride = {"class": "economy", "pickup": HERE, "dropoff": THERE}
    with fresh_redis() as server:
        async with node(server.url) as n:
            people = [n.arrive("passenger")[0] for _ in range(CONNECTIONS_MAX + 10)]
            pid = server.pid
            assert pid is not None

            async def ask(number: int) -> tuple[str, float]:
                if number >= CONNECTIONS_MAX:
                    await wait_until(lambda: time.monotonic() > late_s)  # into the others' wait
                began_s = time.monotonic()
                answer = await n.say(people[number], "request_ride", ride)
                return answer["error"]["code"], time.monotonic() - began_s

            os.kill(pid, signal.SIGSTOP)
            late_s = time.monotonic() + 0.3
            try:
                answers = await asyncio.gather(*map(ask, range(len(people))))
            finally:
                os.kill(pid, signal.SIGCONT)
    assert {code for code, _ in answers} == {"unavailable"}
    assert max(took_s for _, took_s in answers) < REFUSED_WITHIN_S


async def test_a_redis_that_is_down_and_comes_back() -> None:
    async with trip() as on:
        assert await on.say() == "ok"
        await asyncio.to_thread(on.redis.kill)
        line = new_id()
        await on.refused_in_time(line)
        status, _ = await on.stack.http("GET", "/ready")
        assert status == 503
        await asyncio.to_thread(on.redis.start)
        await on.passenger.back(1)
        await on.goes_on(line)
        await on.all_is_kept()


async def test_a_redis_without_memory() -> None:
    """Nothing is acked, nothing is lost, the drain goes on; with room again everything does."""
    async with trip() as on, Redis.from_url(on.redis.url) as redis:
        assert await on.say() == "ok"
        used = int((await redis.info("memory"))["used_memory"])
        await redis.config_set("maxmemory", used // 2)
        line = new_id()
        await on.refused_in_time(line)
        await drive(on.driver, on.passenger, on.ride, on.spot.at(290.0))
        await on.all_is_kept()
        await redis.config_set("maxmemory", 0)
        await on.goes_on(line)
        assert not on.passenger.heard("disconnect")
        on.passenger.assert_gapless(f"ride:{on.ride}")
        await on.all_is_kept()


async def test_connections_that_are_killed() -> None:
    async with trip() as on, Redis.from_url(on.redis.url) as redis:
        for _ in range(5):
            await redis.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            await on.goes_on(new_id())
        assert not on.passenger.heard("disconnect")
        for one in (on.passenger, on.driver):
            await one.hears("new_message", id=on.acked[-1])
            one.assert_gapless(f"ride:{on.ride}")
        await on.all_is_kept()


def _shorten(server: RedisServer, octets: int) -> None:
    """Takes the end off the append-only file, as a power loss does."""
    folder = Path(server.log).parent / "appendonlydir"
    (tail,) = folder.glob("*.incr.aof")
    size = tail.stat().st_size
    with tail.open("r+b") as file:
        file.truncate(size - octets)


async def test_an_append_only_file_that_was_cut_short() -> None:
    """What it lost may be lost; that it is another life is told, and no number means two things."""
    async with trip(aof_load_truncated="yes") as on:
        for _ in range(3):
            assert await on.say() == "ok"
        room, passenger = f"ride:{on.ride}", on.passenger
        seen = {(p["epoch"], p["seq"]): p for e, p in passenger.log if p.get("room") == room and "seq" in p}
        await asyncio.to_thread(on.redis.kill)
        _shorten(on.redis, 2_000)
        await asyncio.to_thread(on.redis.start)
        again = await passenger.back(1)
        assert again["epoch"] != passenger.heard("connected")[0]["epoch"]
        passenger.log.clear()
        await on.goes_on(new_id())
        await passenger.hears("new_message")
        new = {(p["epoch"], p["seq"]) for e, p in passenger.log if p.get("room") == room and "seq" in p}
        assert new and not new & set(seen)


async def test_a_pause_that_is_shorter_than_the_timeout_is_no_outage() -> None:
    async with trip() as on, Redis.from_url(on.redis.url) as redis:
        await redis.execute_command("CLIENT", "PAUSE", 300, "ALL")
        assert await on.say() == "ok"
        await on.all_is_kept()
