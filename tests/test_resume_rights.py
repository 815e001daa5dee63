"""Who may be told what by `sync`: nobody a fact of a room, or of a time, that was not his."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from redis.asyncio import Redis

from rooms import snapshot
from storage import keys
from tests.nodekit import node
from tests.resumekit import riding, sync, told
from tests.support import wait_until
from tests.test_leases import online


async def test_a_stranger_is_told_nothing_and_fails_nobody(redis: Redis, redis_url: str) -> None:
    async with riding(redis_url) as ride:
        epoch, _ = await ride.place()
        stranger, wire = await ride.two.connect("passenger", str(uuid.uuid4()))
        own = f"user:{stranger.user_id}"
        foreign = [ride.room, f"user:{ride.passenger.user_id}", f"package:{ride.id}", ride.id, "", ":", "ride:",
                   f"ride:{uuid.uuid4()}", "user:", "life", f"{ride.room} ", f"RIDE:{ride.id}"]  # fmt: skip
        before = await redis.pttl(keys.head("main", ride.room))
        answers = await sync(ride.two, stranger, *([room, epoch, 0] for room in foreign), [own, "", 0])
        assert [each["room"] for each in answers] == [*foreign, own]
        refusals = [{k: v for k, v in each.items() if k not in ("room", "events")} for each in answers[:-1]]
        assert all(each == refusals[0] for each in refusals) and refusals[0]["error"]["code"] == "not_found"
        assert answers[-1]["recovered"] is False and answers[-1]["last"] == {"jobs": [], "offers": []}
        assert before >= await redis.pttl(keys.head("main", ride.room))
        await ride.chat(2)
        (mine,) = await sync(ride.two, ride.passenger, [ride.room, epoch, 0])
        assert mine["recovered"] and mine["events"][-1][1]["seq"] == mine["seq"]
        assert not wire.heard("new_message") and stranger.rooms == {own}


async def test_a_driver_hears_a_job_from_the_fact_that_let_him_in(redis: Redis, redis_url: str) -> None:
    """The facts before are others' business; and once he is out, so is the rest."""
    async with riding(redis_url) as ride:
        await ride.chat(3)
        epoch, _ = await ride.place()
        (whole,) = await sync(ride.one, ride.passenger, [ride.room, epoch, 0])
        let_in = next(fact[1]["seq"] for fact in whole["events"] if fact[0] == "driver_assigned")
        assert let_in > 1
        first = ride.driver
        asked = [[ride.room, epoch, seen] for seen in range(whole["seq"] + 1)]
        for seen, answer in enumerate(await sync(ride.two, first, *asked)):
            numbers = [fact[1]["seq"] for fact in answer["events"]]
            assert answer["recovered"] == (seen >= let_in - 1)
            assert numbers == (list(range(seen + 1, whole["seq"] + 1)) if seen >= let_in - 1 else [])
            assert answer["last"]["job"]["rideId"] == ride.id
        # another has it now
        assert (await ride.one.say(first, "cancel_ride", {"rideId": ride.id}))["ok"]
        ride.driver, wire = await ride.two.connect("driver", str(uuid.uuid4()))
        await online(ride.two, ride.driver)
        await wait_until(lambda: wire.heard("offer"))
        assert (await ride.two.say(ride.driver, "accept_offer", {"offerId": f"{ride.id}.2"}))["ok"]
        _, second_in = await ride.place()
        await ride.chat(2)
        for n in (ride.one, ride.two):
            (out,) = await sync(n, first, [ride.room, epoch, whole["seq"]])
            assert out["error"]["code"] == "not_found" and ride.room not in first.rooms
            asked = [[ride.room, epoch, seen] for seen in range(second_in + 3)]
            for seen, answer in enumerate(await sync(n, ride.driver, *asked)):
                assert answer["recovered"] == (second_in - 1 <= seen)
                assert all(fact[1]["seq"] >= second_in for fact in answer["events"])


async def test_who_is_let_go_while_he_asks_hears_no_more(redis: Redis, redis_url: str) -> None:
    async with riding(redis_url) as ride:
        epoch, seq = await ride.place()
        driver, wire = await ride.two.connect("driver", ride.driver.user_id)
        ride.two.registry.leave(ride.room, driver)
        roomlog = ride.two.gate.house.roomlog
        stand = roomlog.stand

        async def late(asked: list[Any]) -> Any:
            assert (await ride.one.say(ride.driver, "cancel_ride", {"rideId": ride.id}))["ok"]
            return await stand(asked)

        roomlog.stand = late  # type: ignore[method-assign]
        (out,) = await sync(ride.two, driver, [ride.room, epoch, seq])
        assert out["error"]["code"] == "not_found" and ride.room not in driver.rooms
        assert [n for n in told(wire, ride.room) if n > seq + 1] == []


async def test_what_is_over_can_be_asked_for_and_its_room_stays_closed(redis: Redis, redis_url: str) -> None:
    async with riding(redis_url) as ride:
        epoch, seq = await ride.place()
        steps = ("arrived", "in_progress", "completed")
        for status in steps:
            moved = await ride.one.say(
                ride.driver, "ride_status_update", {"rideId": ride.id, "status": status}
            )
            assert moved["ok"]
        for who in (ride.passenger, ride.driver):
            again, _ = await ride.two.connect(who.role, who.user_id)
            (answer,) = await sync(ride.two, again, [ride.room, epoch, seq])
            assert answer["recovered"] and [fact[1]["state"] for fact in answer["events"]] == list(steps)
            assert answer["last"]["job"]["state"] == "completed" and answer["last"]["position"] is None
            assert ride.room not in again.rooms


async def test_an_admin_may_hear_any_job_and_nobodys_own_room(redis: Redis, redis_url: str) -> None:
    async with riding(redis_url) as ride:
        epoch, seq = await ride.place()
        admin, wire = await ride.two.connect("admin", str(uuid.uuid4()))
        whole, own = await sync(
            ride.two, admin, [ride.room, epoch, 0], [f"user:{ride.passenger.user_id}", "", 0]
        )
        assert [fact[1]["seq"] for fact in whole["events"]] == list(range(1, seq + 1))
        assert own["error"]["code"] == "not_found"
        await ride.chat(1)
        await wait_until(lambda: wire.heard("new_message"))


async def test_a_room_that_is_full_of_watchers_takes_no_more(
    redis: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with riding(redis_url) as ride:
        epoch, seq = await ride.place()
        monkeypatch.setattr(snapshot, "MEMBERS_MAX", 2)
        admin, _ = await ride.one.connect("admin", str(uuid.uuid4()))
        (refused,) = await sync(ride.one, admin, [ride.room, epoch, seq])
        assert refused["error"]["code"] == "not_found" and ride.room not in admin.rooms
        (member,) = await sync(ride.one, ride.passenger, [ride.room, epoch, seq])
        assert member["recovered"]


async def test_over_http_it_is_read_and_nobody_listens(redis: Redis, redis_url: str) -> None:
    async with riding(redis_url) as ride:
        epoch, seq = await ride.place()
        await ride.chat(2)
        caller, _ = ride.two.arrive("passenger", ride.passenger.user_id, http=True)
        ride.two.depart(caller)
        (answer,) = await sync(ride.two, caller, [ride.room, epoch, seq])
        assert answer["recovered"] and len(answer["events"]) == 2
        assert caller not in set(ride.two.registry.members(ride.room))


@pytest.mark.parametrize(
    ("payload", "field"),
    [
        ({"rooms": [["ride:1", "e", 0]] * 65}, "rooms"),
        ({"rooms": [["ride:1", "e"]]}, "rooms"),
        ({"rooms": [["ride:1", "e", 0, 0]]}, "rooms"),
        ({"rooms": [["ride:1", "e", -1]]}, "rooms"),
        ({"rooms": [["ride:1", "e", 2**53]]}, "rooms"),
        ({"rooms": [["ride:1", "e", "0"]]}, "rooms"),
        ({"rooms": [["ride:1", None, 0]]}, "rooms"),
        ({"rooms": [["r" * 81, "e", 0]]}, "rooms"),
        ({"rooms": {"ride:1": 0}}, "rooms"),
        ({"rooms": "ride:1"}, "rooms"),
        ({"jobs": [["x", 1]] * 65}, "jobs"),
        ({"jobs": [["x", "1"]]}, "jobs"),
        ({"jobs": [["x", -1]]}, "jobs"),
        ({"since": 1}, "since"),
    ],
)
async def test_what_is_no_question_is_refused(
    redis: Redis, redis_url: str, payload: dict[str, Any], field: str
) -> None:
    async with node(redis_url) as n:
        session, _ = n.arrive("passenger")
        answer = await n.say(session, "sync", payload)
        assert answer["error"]["code"] == "bad_request" and field in answer["error"]["message"]
        assert (await n.say(session, "sync", {"rooms": [], "jobs": [["x", 3]]})) == {"ok": True, "rooms": []}
