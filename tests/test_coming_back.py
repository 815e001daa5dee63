"""Clients who must come back by themselves: refused for now, or sent away because Redis forgot what it held."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import socketio
from prometheus_client import REGISTRY
from redis.asyncio import Redis

from tests.phones import Phone, assigned_ride, drive
from tests.stack import HOST, RunningStack, a_node, private_stack
from tests.support import fresh_redis, wait_until
from tests.test_js_client import node as javascript

BACK_S = 15.0


def refused_for_now() -> float:
    return REGISTRY.get_sample_value("dispatch_sockets_closed_total", {"reason": "not now"}) or 0.0


@pytest.mark.parametrize("transport", ["websocket", "polling"])
async def test_who_is_refused_for_now_tries_again(stack: RunningStack, transport: str) -> None:
    person = await stack.person("passenger")
    async with a_node(stack) as node:
        node.door.draining = True
        before = refused_for_now()
        script = asyncio.ensure_future(
            javascript("patient.mjs", f"http://{HOST}:{node.port}", transport, person.token)
        )
        await wait_until(lambda: refused_for_now() >= before + 2 or script.done(), BACK_S)
        node.door.draining = False
        told = await script
    assert told["userId"] == person.id
    assert "This server is going away; reconnect and try again." not in told["errors"]


class Returning(Phone):
    """Comes back when its connection breaks, as stock clients do."""

    def __init__(self, person: Any) -> None:
        super().__init__(person)
        self.sio = socketio.AsyncClient(reconnection_delay=0.05, reconnection_delay_max=0.2)
        self.sio.on("*", self._hear)
        self.sio.on("disconnect", lambda reason: self.log.append(("disconnect", {"reason": reason})))

    async def back(self, times: int) -> dict[str, Any]:
        return (await wait_until(lambda: self.heard("connected")[times:], BACK_S))[-1]  # type: ignore[no-any-return]


@asynccontextmanager
async def returning(stack: RunningStack, *roles: str) -> AsyncIterator[list[Returning]]:
    phones = [Returning(await stack.person(role)) for role in roles]
    try:
        for one in phones:
            await one.connect(stack.url)
        yield phones
    finally:
        for one in phones:
            await one.sio.shutdown()  # also when it is just trying to come back
            if (http := one.sio.eio.http) is not None:
                await http.close()


async def test_a_wiped_redis() -> None:
    """The ride is lost, and everybody hears so; the next one works."""
    async with private_stack() as stack, returning(stack, "driver", "passenger") as (driver, passenger):
        spot = stack.spot("patient")
        ride = await assigned_ride(passenger, driver, spot)
        await drive(driver, passenger, ride, spot.at(290.0))
        redis = Redis.from_url(stack.redis_url)
        await redis.flushall()
        await redis.aclose()
        for one in (driver, passenger):
            first, again = one.heard("connected")[0], await one.back(1)
            assert again["jobs"] == [] and again["offers"] == []
            assert again["epoch"] != first["epoch"] and again["seq"] == 0
            assert not one.heard("disconnect", reason="io server disconnect")
            one.log.clear()
        assert await driver.refused("location_update", spot.at(280.0)) == "wrong_state"
        again_ride = await assigned_ride(passenger, driver, spot)
        await drive(driver, passenger, again_ride, spot.at(250.0))
        assert again_ride != ride
        assert passenger.assert_gapless(f"ride:{again_ride}")[0] == 1
        _, metrics = await stack.http("GET", "/metrics")
        assert "dispatch_log_gaps_total 1.0" in metrics
        assert 'dispatch_sockets_closed_total{reason="log gap"} 2.0' in metrics


async def test_a_redis_that_comes_back_with_what_it_held() -> None:
    """Everybody is sent to look anew, and finds the ride where it stood."""
    with fresh_redis(appendonly="yes", appendfsync="always") as server:
        async with (
            private_stack(server.url) as stack,
            returning(stack, "driver", "passenger") as (driver, passenger),
        ):
            spot = stack.spot("patient")
            ride = await assigned_ride(passenger, driver, spot)
            await asyncio.to_thread(server.kill)
            await asyncio.to_thread(server.start)
            for one in (driver, passenger):
                again = await one.back(1)
                assert [job["rideId"] for job in again["jobs"]] == [ride]
            await driver.call("go_online", {"classes": ["economy"], **spot.at(300.0)})
            await drive(driver, passenger, ride, spot.at(250.0))
