"""Several nodes as one house: who watches on another node sees and hears the same, and nobody sees a stranger."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from redis.asyncio import Redis

from dispatch import desk
from rooms import presence as presence_module
from rooms import snapshot
from storage import keys
from storage import presence as leases_module
from storage.mail import Relayed, Said
from tests.nodekit import HERE, ONLINE, THERE, Node, node
from tests.phones import Phone, accepted, drive, online, phone, request
from tests.stack import HOST, RunningStack, a_node
from tests.support import wait_until

# drivers whom another test has left in the same place would be asked for the rides of this one
pytestmark = pytest.mark.usefixtures("redis")

S = "main"


@asynccontextmanager
async def elsewhere(stack: RunningStack, role: str) -> AsyncIterator[Phone]:
    """A client of another node than the stack's."""
    async with a_node(stack) as other:
        client = Phone(await stack.person(role))
        await client.connect(f"http://{HOST}:{other.port}")
        try:
            yield client
        finally:
            await client.close()


async def test_a_trip_is_watched_from_another_node(stack: RunningStack) -> None:
    spot = stack.spot()
    async with phone(stack, "driver") as driver, elsewhere(stack, "passenger") as passenger:
        await online(driver, spot.at(300.0))
        ride_id = await request(passenger, spot)
        await accepted(driver, ride_id)
        await passenger.hears("driver_assigned", rideId=ride_id)
        everybody = sorted([driver.person.id, passenger.person.id])

        async def both(of: str = ride_id) -> bool:
            return bool((await driver.ask("get_online_users", of)).get("userIds") == everybody)

        await wait_until(both, every_s=0.1)
        for step in range(5):
            seen = await drive(driver, passenger, ride_id, spot.at(290.0 - step * 10.0))
            assert seen["ageMs"] < 1_000 and seen["etaSeconds"] > 0
        await driver.call("typing_start", ride_id)
        await passenger.hears("user_typing", isTyping=True, userId=driver.person.id)
        joined = await driver.call("join_ride", ride_id)
        assert joined["members"] == everybody
        await passenger.hears("user_joined_ride", userId=driver.person.id)
        await passenger.call("cancel_ride", ride_id)
        await driver.status("cancelled")
        before = len(passenger.heard("driver_location"))
        await driver.call("location_update", spot.at(200.0))
        # the next trip's positions come after that fix, so it would have been heard by now
        second = await request(passenger, spot)
        await accepted(driver, second)
        await wait_until(lambda: both(second), every_s=0.1)
        await drive(driver, passenger, second, spot.at(150.0))
        strange = [p for p in passenger.heard("driver_location")[before:] if p["rideId"] != second]
        assert strange == []
        for room in (f"ride:{ride_id}", f"ride:{second}"):
            passenger.assert_gapless(room)


@asynccontextmanager
async def two(redis: Redis, redis_url: str) -> AsyncIterator[tuple[Node, Node]]:
    """Two nodes that know of each other."""
    async with node(redis_url, "n1") as here, node(redis_url, "n2") as there:
        await wait_until(lambda: _lives(redis, "n1", "n2"))
        yield here, there


async def _lives(redis: Redis, *names: str) -> bool:
    return {name.decode() for name in await redis.zrange(keys.nodes(S), 0, -1)} == set(names)


async def riding(here: Node, there: Node) -> tuple[Any, Any, str, Any]:
    """A driver here, on his way to a passenger there: both sessions, the ride, the passenger's end."""
    driver, offers = here.arrive("driver")
    passenger, wire = there.arrive("passenger")
    assert (await here.say(driver, "go_online", ONLINE))["ok"]
    await wait_until(lambda: here.indexed(driver.user_id))
    ride = (await there.say(passenger, "request_ride", {"pickup": HERE, "dropoff": THERE}))["rideId"]
    await wait_until(lambda: offers.heard("offer"))
    assert (await here.say(driver, "accept_offer", {"offerId": f"{ride}.1"}))["ok"]
    await wait_until(lambda: wire.heard("driver_assigned"))
    return driver, passenger, ride, wire


async def fix(n: Node, session: Any, number: float) -> None:
    at = {"latitude": HERE["latitude"] + number * 1e-4, "longitude": HERE["longitude"]}

    async def kept() -> bool:
        answer = await n.say(session, "location_update", at)
        assert answer["ok"], answer
        return bool(answer["kept"])

    await wait_until(kept)


async def shown(n: Node, session: Any, number: float, wire: Any) -> None:
    """He drives until that end has heard where he is: a position is volatile, another comes soon."""
    before, steps = wire.heard("driver_location"), itertools.count()

    async def heard() -> bool:
        await fix(n, session, number + 0.4 * next(steps))
        return bool(wire.heard("driver_location") > before)

    await wait_until(heard)


async def test_only_nodes_with_members_get_mail(redis: Redis, redis_url: str) -> None:
    async with two(redis, redis_url) as (here, there):
        driver, passenger, ride, wire = await riding(here, there)
        await shown(here, driver, 1, wire)
        there.depart(passenger)
        await wait_until(lambda: _members(redis, ride, "n2", 0))
        back, wire = here.arrive("passenger", passenger.user_id)
        assert (await here.say(back, "join_ride", {"rideId": ride}))["members"] == sorted(
            [driver.user_id, passenger.user_id]
        )
        length = await redis.xlen(keys.mail(S, "n2"))
        for number in (2, 3, 4):
            await fix(here, driver, number)
        await wait_until(lambda: not here.fixes.tick)
        await here.fixes.tick.deliver(1_000_000)  # the ticks before it are done when it is
        assert wire.heard("driver_location") >= 3
        assert await redis.xlen(keys.mail(S, "n2")) == length > 0
        assert not await redis.exists(keys.mail(S, "n1")), "nobody writes to himself"


async def _members(redis: Redis, ride: str, name: str, count: int) -> bool:
    members = await redis.zrange(keys.at(S, f"ride:{ride}"), 0, -1)
    return sum(member.startswith(f"{name} ".encode()) for member in members) == count


async def test_a_released_driver_never_sees_the_next_one(redis: Redis, redis_url: str) -> None:
    """His device is on another node than the next driver's: whatever comes first there, fact or mail."""
    async with two(redis, redis_url) as (here, there):
        first, passenger, ride, wire = await riding(there, here)
        kept: Any = first.wire
        second, offers = here.arrive("driver")
        assert (await here.say(second, "go_online", ONLINE))["ok"]
        await shown(there, first, 1, wire)
        assert (await there.say(first, "cancel_ride", {"rideId": ride}))["ok"]
        await wait_until(lambda: offers.heard("offer"))
        assert (await here.say(second, "accept_offer", {"offerId": f"{ride}.2"}))["ok"]
        seen = wire.heard("driver_location")
        for number in range(2, 8):
            await fix(here, second, number)
        await wait_until(lambda: wire.heard("driver_location") > seen)
        assert kept.heard("driver_location") == 0
        assert f"ride:{ride}" not in first.rooms
        assert passenger.user_id in await here.presence.users(f"ride:{ride}")


async def test_mail_goes_only_while_the_record_is_what_the_node_knew(redis: Redis, redis_url: str) -> None:
    async with two(redis, redis_url) as (here, there):
        driver, _, ride, wire = await riding(here, there)
        await wait_until(lambda: _members(redis, ride, "n2", 1))
        version = (await here.driver(driver.user_id)).version

        async def said_and_heard() -> bool:
            """Mail is volatile, and lost where it waits too long: it is said until it is heard."""
            for said in (version - 1, version + 1, version):
                event = Said(f"ride:{ride}", "k", f'["driver_location",{said}]'.encode(), driver.user_id)
                relayed = [Relayed(event, driver.user_id, said), Relayed(event, "nobody", said)]
                await here.fleet.tick("n1", uuid.uuid4().hex, 1, [], [], relayed=relayed)
            return f'2["driver_location",{version}]' in wire.told

        await wait_until(said_and_heard)
        told = {text for text in wire.told if "driver_location" in text}
        assert told == {f'2["driver_location",{version}]'}


async def test_users_of_a_dead_node_are_not_here(
    redis: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases_module, "NODE_LEASE_MS", 150)
    monkeypatch.setattr(presence_module, "BEAT_S", 0.03)
    monkeypatch.setattr(presence_module, "ROUND_S", 0.01)
    async with node(redis_url, "n1") as here:
        async with node(redis_url, "n2") as there:
            driver, passenger, ride, _ = await riding(here, there)
            both = sorted([driver.user_id, passenger.user_id])
            await wait_until(lambda: _are(here, ride, both))
        await wait_until(lambda: _are(here, ride, [driver.user_id]))
        assert await _members(redis, ride, "n2", 1), "its lease has not run out; its node's has"
        await wait_until(lambda: _lives(redis, "n1"))


async def _are(n: Node, ride: str, users: list[str]) -> bool:
    return await n.presence.users(f"ride:{ride}") == users


async def test_what_redis_forgot_is_said_again(
    redis: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presence_module, "RENEW_S", 0.05)
    monkeypatch.setattr(presence_module, "ROUND_S", 0.01)
    monkeypatch.setattr(presence_module, "ROUND_MAX", 2)
    async with two(redis, redis_url) as (here, there):
        _, _, ride, _ = await riding(here, there)
        others = [there.arrive("admin")[0] for _ in range(7)]
        for admin in others:
            assert (await there.say(admin, "join_ride", {"rideId": ride}))["ok"]
        await wait_until(lambda: _members(redis, ride, "n2", 8))
        await redis.delete(keys.at(S, f"ride:{ride}"), keys.nodes(S))
        await wait_until(lambda: _members(redis, ride, "n2", 8))
        await wait_until(lambda: _members(redis, ride, "n1", 1))
        await wait_until(lambda: _lives(redis, "n1", "n2"))
        for admin in others:
            there.depart(admin)
        await wait_until(lambda: _members(redis, ride, "n2", 1))


async def test_who_asks_right_after_the_ack_of_going_online_finds_the_driver(
    redis: Redis, redis_url: str
) -> None:
    async with two(redis, redis_url) as (here, there):
        for _ in range(20):
            driver, _ = here.arrive("driver")
            assert (await here.say(driver, "go_online", ONLINE))["ok"]
            assert await there.indexed(driver.user_id)
            assert (await here.say(driver, "go_offline", {}))["ok"]


async def test_an_older_device_on_another_node_is_told_why(redis: Redis, redis_url: str) -> None:
    async with two(redis, redis_url) as (here, there):
        old, wire = here.arrive("driver")
        assert (await here.say(old, "go_online", ONLINE))["ok"]
        new, _ = there.arrive("driver", old.user_id)
        assert (await there.say(new, "go_online", ONLINE))["ok"]
        await wait_until(lambda: wire.heard("superseded"))
        for _ in range(2):
            answer = await here.say(old, "location_update", HERE)
            assert answer["error"]["code"] == "superseded"
        assert (await here.say(old, "go_online", ONLINE))["ok"], "it takes over again"
        await fix(here, old, 1)


async def test_a_node_without_drivers_relays_too(redis: Redis, redis_url: str) -> None:
    async with two(redis, redis_url) as (here, there):
        driver, passenger, ride, _ = await riding(here, there)
        wire: Any = driver.wire
        await wait_until(lambda: _members(redis, ride, "n1", 1))
        assert (await there.say(passenger, "typing_start", {"rideId": ride}))["ok"]
        await wait_until(lambda: wire.heard("user_typing"))


async def test_a_node_that_left_is_gone(redis: Redis, redis_url: str) -> None:
    async with two(redis, redis_url) as (here, there):
        _, passenger, _, _ = await riding(here, there)
        await there.presence.leave()
        there.depart(passenger)
        for _ in range(3):  # whatever it would still say
            await here.presence._leases.say([], [])
            assert await _lives(redis, "n1")


async def test_who_only_looks_on_hears_all_and_stands_nowhere(redis: Redis, redis_url: str) -> None:
    async with two(redis, redis_url) as (here, there):
        driver, passenger, ride, _ = await riding(here, there)
        heard: Any = driver.wire
        both = sorted([driver.user_id, passenger.user_id])
        admin, wire = there.arrive("admin")
        there.depart(passenger)  # the admin alone is why that node gets mail
        assert (await there.say(admin, "join_ride", {"rideId": ride}))["ok"]
        await shown(here, driver, 1, wire)
        for node, session in ((here, driver), (there, admin)):
            users = (await node.say(session, "get_online_users", {"rideId": ride}))["userIds"]
            assert admin.user_id not in users and set(users) <= set(both)
        assert not heard.heard("user_joined_ride")


async def test_a_user_stands_where_any_of_his_devices_does(redis: Redis, redis_url: str) -> None:
    async with two(redis, redis_url) as (here, there):
        driver, passenger, ride, _ = await riding(here, there)
        wire: Any = driver.wire
        second, _ = there.arrive("passenger", passenger.user_id)
        assert (await there.say(second, "join_ride", {"rideId": ride}))["ok"]
        await wait_until(lambda: wire.heard("user_joined_ride"))
        assert (await there.say(second, "leave_ride", {"rideId": ride}))["ok"]
        there.depart(second)
        assert (await there.say(passenger, "typing_start", {"rideId": ride}))["ok"]
        await wait_until(lambda: wire.heard("user_typing"))
        assert await _members(redis, ride, "n2", 1) and not wire.heard("user_left_ride")
        assert (await there.say(passenger, "leave_ride", {"rideId": ride}))["ok"]
        await wait_until(lambda: wire.heard("user_left_ride"))


async def test_who_waits_for_a_snapshot_is_shown_nothing_of_before(redis: Redis, redis_url: str) -> None:
    async with two(redis, redis_url) as (here, there):
        driver, passenger, _, wire = await riding(here, there)
        await shown(here, driver, 1, wire)
        seen, passenger.hold = wire.heard("driver_location"), []
        await fix(here, driver, 2)
        other, watch = there.arrive("passenger", passenger.user_id)
        there.registry.enter(next(room for room in passenger.rooms if room.startswith("ride:")), other)
        await shown(here, driver, 3, watch)
        assert wire.heard("driver_location") == seen


async def test_mail_of_before_the_start_is_not_read(redis: Redis, redis_url: str) -> None:
    old = msgspec.msgpack.encode([Said("ride:r", "k", b'["driver_location",{}]', "")])
    await redis.xadd(keys.mail(S, "n1"), {"b": old}, id="1-0")
    async with node(redis_url, "n1") as here:
        passenger, wire = here.arrive("passenger")
        here.registry.enter("ride:r", passenger)

        async def heard() -> bool:
            await redis.xadd(keys.mail(S, "n1"), {"b": old.replace(b"driver", b"dri2er")})
            return bool(wire.heard("dri2er_location"))

        await wait_until(heard)
        assert not wire.heard("driver_location")


@pytest.mark.parametrize("fast_ms", [0, 900, 4_000])
async def test_nobody_is_shown_where_the_trip_before_was(redis: Redis, redis_url: str, fast_ms: int) -> None:
    """Nor by a phone whose clock is fast."""
    async with two(redis, redis_url) as (here, there):
        driver, passenger, ride, wire = await riding(here, there)
        end: Any = driver.wire
        await shown(here, driver, 50, wire)
        if fast_ms:
            last = {"latitude": 0.5052, "longitude": 0.5, "timestamp": await here.log.now_ms() + fast_ms}
            assert (await here.say(driver, "location_update", last))["kept"]
        assert (await there.say(passenger, "cancel_ride", {"rideId": ride}))["ok"]
        await wait_until(lambda: f"ride:{ride}" not in driver.rooms)
        if not fast_ms:  # else what comes within these seconds is late
            await fix(here, driver, 101)
        other, watch = there.arrive("passenger")
        second = (await there.say(other, "request_ride", {"pickup": HERE, "dropoff": THERE}))["rideId"]
        await wait_until(lambda: end.heard("offer") == 2)
        assert (await here.say(driver, "accept_offer", {"offerId": f"{second}.1"}))["ok"]
        await wait_until(lambda: watch.heard("driver_assigned"))
        assert (await there.say(other, "join_ride", {"rideId": second}))["position"] is None
        if fast_ms:
            return
        await shown(here, driver, 102, watch)
        assert (await there.say(other, "join_ride", {"rideId": second}))["position"]["latitude"] > 0.51


async def test_a_job_has_a_bounded_number_of_watchers(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot, "MEMBERS_MAX", 4)
    async with node(redis_url, "n1") as here:
        driver, passenger, ride, _ = await riding(here, here)
        assert (await here.say(here.arrive("admin")[0], "join_ride", {"rideId": ride}))["ok"]
        assert (await here.say(here.arrive("admin")[0], "join_ride", {"rideId": ride}))["ok"]
        answer = await here.say(here.arrive("admin")[0], "join_ride", {"rideId": ride})
        assert answer["error"]["code"] == "rate_limited"
        for party in (driver, passenger):
            assert (await here.say(party, "join_ride", {"rideId": ride}))["ok"]


async def test_a_lines_id_is_its_own_for_as_long_as_the_room_lives(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Said again after more commands than a room remembers, it is the same line; and each party has his own share."""
    monkeypatch.setattr(desk, "LINES_MAX", 140)
    async with node(redis_url, "n1") as here:
        driver, passenger, ride, wire = await riding(here, here)
        often = replace(here.gate.handlers["send_message"], rate=1e9, burst=1e9)
        here.gate.handlers = {**here.gate.handlers, "send_message": often}

        def line(number: int) -> dict[str, Any]:
            return {"rideId": ride, "id": str(uuid.UUID(int=number)), "message": "x"}

        first = await here.say(passenger, "send_message", line(1))
        for number in range(2, 141):
            assert (await here.say(passenger, "send_message", line(number)))["ok"]
        assert await here.say(passenger, "send_message", line(1)) == first
        full = await here.say(passenger, "send_message", line(141))
        assert full["error"]["code"] == "rate_limited"
        assert (await here.say(driver, "send_message", line(142)))["ok"]
        await wait_until(lambda: wire.heard("new_message") == 141)
