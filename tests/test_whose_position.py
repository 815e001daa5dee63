"""Whose a position is: from when a job is his until it is over, whatever comes late and whatever clock a phone has."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from redis.asyncio import Redis

from dispatch import track
from rooms import snapshot
from tests import resumekit
from tests.nodekit import HERE, THERE
from tests.support import wait_until
from tests.test_backlog import seen
from tests.test_nodes import fix, riding, shown, two

# drivers whom another test has left in the same place would be asked for the rides of this one
pytestmark = pytest.mark.usefixtures("redis")

PLACES = {False: "on another node", True: "on his own node"}


@pytest.mark.parametrize("his_own", PLACES, ids=PLACES.get)
@pytest.mark.parametrize("by_sync", [False, True], ids=["join_ride", "sync"])
async def test_who_asks_while_the_trip_ends_is_not_shown_where_he_goes_then(
    redis: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch, his_own: bool, by_sync: bool
) -> None:
    """The answer was at work when the trip ended: what it had read said that he was on it."""
    async with two(redis, redis_url) as (here, there):
        driver, passenger, ride, wire = await riding(here, there)
        end: Any = driver.wire
        await shown(here, driver, 50, wire)
        n = here if his_own else there
        again, _ = n.arrive("passenger", passenger.user_id)
        cards_for, waits, go = snapshot.cards_for, asyncio.Event(), asyncio.Event()

        async def slow(*args: Any) -> Any:
            if not go.is_set():
                waits.set()
                await go.wait()
            return await cards_for(*args)

        monkeypatch.setattr(snapshot, "cards_for", slow)
        said = ("sync", {"rooms": [[f"ride:{ride}", "", 0]]}) if by_sync else ("join_ride", {"rideId": ride})
        asking = asyncio.create_task(n.say(again, *said))
        await waits.wait()
        assert (await there.say(passenger, "cancel_ride", {"rideId": ride}))["ok"]
        await wait_until(lambda: f"ride:{ride}" not in driver.rooms)
        await fix(here, driver, 101)
        # where he is is kept in Redis once somebody else's job concerns it
        other, _ = there.arrive("passenger")
        assert (await there.say(other, "request_ride", {"pickup": HERE, "dropoff": THERE}))["ok"]
        await wait_until(lambda: end.heard("offer") == 2)
        go.set()
        answer = await asking
        last = answer["rooms"][0]["last"] if by_sync else answer
        assert answer["ok"] and last["position"] is None


@pytest.mark.parametrize("his_own", PLACES, ids=PLACES.get)
async def test_who_joins_is_not_shown_where_he_was_before_the_job(
    redis: Redis, redis_url: str, his_own: bool
) -> None:
    async with two(redis, redis_url) as (here, there):
        driver, passenger, ride, wire = await riding(here, there)
        end: Any = driver.wire
        await shown(here, driver, 50, wire)
        assert (await there.say(passenger, "cancel_ride", {"rideId": ride}))["ok"]
        await wait_until(lambda: f"ride:{ride}" not in driver.rooms)
        await fix(here, driver, 101)  # between two jobs
        n = here if his_own else there
        other, watch = n.arrive("passenger")
        second = (await n.say(other, "request_ride", {"pickup": HERE, "dropoff": THERE}))["rideId"]
        await wait_until(lambda: end.heard("offer") == 2)
        assert (await here.say(driver, "accept_offer", {"offerId": f"{second}.1"}))["ok"]
        await wait_until(lambda: watch.heard("driver_assigned"))
        assert (await n.say(other, "join_ride", {"rideId": second}))["position"] is None
        await shown(here, driver, 102, watch)
        position = (await n.say(other, "join_ride", {"rideId": second}))["position"]
        assert position["latitude"] > HERE["latitude"] + 0.01


async def test_a_batch_of_a_fast_phone_shows_nobody_where_he_was_before(
    redis: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its clock is known to be 7 s ahead, and what it took 4 s ago seems to be of 3 s from now: neither newer than what
    the watchers know, nor a sign that the clock was set."""
    monkeypatch.setattr(track, "_CLOCK_APART_MS", 0)
    async with resumekit.riding(redis_url) as ride:
        n, driver = ride.one, ride.driver
        await wait_until(lambda: n.fixes.leases._lives[driver.user_id].jobs)

        async def drives(step: int) -> dict[str, Any]:
            fix = {"latitude": 0.5 + step * 2e-4, "longitude": 0.5, "timestamp": await n.log.now_ms() + 7_000}
            return await n.say(driver, "location_update", fix)

        assert (await drives(1))["reason"] == "future"
        assert (await drives(2))["kept"]
        await wait_until(lambda: len(seen(ride.heard)) == 1)
        old = {**HERE, "timestamp": await n.log.now_ms() - 4_000 + 7_000}
        answer = await n.say(driver, "location_batch", {"batchId": "old", "fixes": [old]})
        assert answer["kept"] == 1
        assert (await drives(3))["kept"]
        await wait_until(lambda: len(seen(ride.heard)) > 1)
        assert [round((place["latitude"] - 0.5) / 2e-4) for place in seen(ride.heard)] == [2, 3]
