"""The rehearsal: two nodes, trips in every state, Redis wiped; `dispatch rehydrate`, and all come to their ends."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from redis.asyncio import Redis

from tests.phones import Phone, accepted, assigned_ride, drive, offered, online, phone, request, send
from tests.stack import RunningStack, Spot, a_node, private_stack
from tests.support import CHECKOUT, wait_until
from tests.test_coming_back import Returning
from tests.test_package import on_board, other_than

RIDE, PARCEL = "ride_status_update", "package_status_update"
LIVE = "select id::text from jobs where state = $1"


@asynccontextmanager
async def town(stack: RunningStack, other: RunningStack) -> AsyncIterator[Any]:
    """`people(role)` connects somebody, by turns to one node and the other."""
    async with AsyncExitStack() as closing:
        nodes = [stack, other]

        async def shut(one: Returning) -> None:
            await one.sio.shutdown()
            if (http := one.sio.eio.http) is not None:
                await http.close()

        async def people(role: str) -> Returning:
            nodes.reverse()
            one = Returning(await stack.person(role))
            closing.push_async_callback(shut, one)
            await one.connect(nodes[0].url)
            return one

        yield people


async def wipe(stack: RunningStack, *phones: Returning) -> None:
    """Redis forgets all, once everything is drained; everybody comes back and finds nothing."""
    async with Redis.from_url(stack.redis_url) as redis:
        await redis.flushall()
    for one in phones:
        again = await one.back(1)
        assert again["jobs"] == [] and again["offers"] == []
        one.log.clear()


async def shell(stack: RunningStack, *words: str) -> str:
    """What `dispatch …` printed."""
    argv = [sys.executable, "-m", "server.cli", *words]
    done = await asyncio.to_thread(
        subprocess.run, argv, env=stack.app.env, cwd=CHECKOUT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return str(done.stdout)


async def moved(driver: Phone, job: dict[str, str], event: str, *states: str) -> None:
    for state in states:
        await driver.call(event, {**job, "status": state})


async def test_trips_in_every_state_outlive_a_wiped_redis(caplog: pytest.LogCaptureFixture) -> None:
    async with (
        private_stack() as stack,
        a_node(stack) as node,
        town(stack, stack.at(node.port)) as people,
    ):
        spots = [stack.spot("patient") for _ in range(6)]
        passengers = [await people("passenger") for _ in range(6)]
        drivers = [await people("driver") for _ in range(3)]
        courier = await people("courier")

        at_pickup = await assigned_ride(passengers[0], drivers[0], spots[0])
        await moved(drivers[0], {"rideId": at_pickup}, RIDE, "arrived")
        under_way = await assigned_ride(passengers[1], drivers[1], spots[1])
        await moved(drivers[1], {"rideId": under_way}, RIDE, "arrived", "in_progress")
        await online(courier, spots[2].at(200.0), ("parcel",))
        parcel = await send(passengers[2], spots[2])
        await accepted(courier, parcel)
        old_code = await on_board(passengers[2], courier, parcel)
        await online(drivers[2], spots[3].at(200.0))
        asked = await request(passengers[3], spots[3])
        lost_offer = await offered(drivers[2], asked)
        waiting = await request(passengers[4], spots[4])
        tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat()
        booked = await request(passengers[5], spots[5], scheduledAt=tomorrow)

        for state in ("arrived", "in_progress", "picked_up", "offered", "searching", "scheduled"):
            await stack.drained(LIVE, state)
        await wipe(stack, *passengers, *drivers, courier)
        await wait_until(lambda: "run `dispatch rehydrate`" in caplog.text)
        caplog.clear()
        async with a_node(stack):
            assert "run `dispatch rehydrate`" in caplog.text, "a node that starts says so, too"
        await online(drivers[1], spots[1].at(100.0))  # before, as apps do by themselves
        planned = await shell(stack, "rehydrate", "--dry-run")
        table = await shell(stack, "rehydrate")
        assert planned == table + "Nothing was changed.\n"
        assert "kept            2        1" in table and "searching       2        0" in table

        for number, state in ((0, "arrived"), (1, "in_progress"), (3, "searching"), (4, "searching")):
            told = await passengers[number].status(state)
            assert told["seq"] == 1 and told["version"] > 1000
        await drivers[2].hears("offer_withdrawn", offerId=lost_offer["offerId"], reason="lost")

        await drivers[0].status("arrived")
        assert await drivers[0].refused("location_update", spots[0].at(1.0)) == "wrong_state"
        assert (await online(drivers[0], spots[0].at(10.0)))["jobs"] == [at_pickup]
        await drive(drivers[0], passengers[0], at_pickup, spots[0].at(20.0))
        await moved(drivers[0], {"rideId": at_pickup}, RIDE, "in_progress", "completed")
        await drive(drivers[1], passengers[1], under_way, spots[1].at(120.0))
        await moved(drivers[1], {"rideId": under_way}, RIDE, "completed")

        await delivered_with_the_new_code(courier, passengers[2], spots[2], parcel, old_code)
        for job, spot, passenger in ((asked, spots[3], passengers[3]), (waiting, spots[4], passengers[4])):
            await driven_by_another(stack, job, spot, passenger)
        ends = {at_pickup: "completed", under_way: "completed", parcel: "delivered"}
        ends |= {asked: "completed", waiting: "completed", booked: "cancelled"}
        assert (await passengers[5].status("scheduled"))["version"] > 1000
        await passengers[5].call("cancel_ride", {"rideId": booked})
        await ended_once(stack, ends)


async def delivered_with_the_new_code(
    courier: Phone, sender: Phone, spot: Spot, parcel: str, old_code: str
) -> None:
    note = await sender.hears("notification", type="delivery_code")
    code = note["data"]["code"]
    await online(courier, spot.at(300.0), ("parcel",))
    await moved(courier, {"packageId": parcel}, PARCEL, "arrived_dropoff")
    done: dict[str, Any] = {"packageId": parcel, "status": "delivered"}
    wrong = old_code if old_code != code else other_than(code)
    assert await courier.refused(PARCEL, {**done, "proof": {"code": wrong}}) == "forbidden"
    await courier.call(PARCEL, {**done, "proof": {"code": code}})


async def driven_by_another(stack: RunningStack, job: str, spot: Spot, passenger: Phone) -> None:
    async with phone(stack, "driver") as driver:
        await online(driver, spot.at(150.0))
        await accepted(driver, job)
        await passenger.hears("driver_assigned", rideId=job)
        await moved(driver, {"rideId": job}, RIDE, "arrived", "in_progress", "completed")
        await passenger.status("completed")


async def ended_once(stack: RunningStack, ends: dict[str, str]) -> None:
    """PostgreSQL has each trip's end, told once; nothing is live, and nothing was refused."""

    async def over() -> bool:
        rows = await stack.rows("select id::text, state from jobs where ended_at is not null")
        return {row["id"]: row["state"] for row in rows} == ends

    await wait_until(over, 10.0)
    rows = await stack.rows(
        "select job_id::text, payload ->> 'state' as state from job_events "
        "where payload ->> 'state' in ('completed', 'delivered', 'cancelled')"
    )
    assert sorted((row["job_id"], row["state"]) for row in rows) == sorted(ends.items())
    assert await stack.rows("select * from dead_letters") == []
    assert "PostgreSQL has no live jobs" in await shell(stack, "rehydrate")
