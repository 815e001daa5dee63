"""`sync` between handlers, log and tail of two nodes on a real Redis: the order of things, and its bounds."""

from __future__ import annotations

import asyncio
import itertools
import json
from typing import Any

import pytest
from redis.asyncio import Redis

from rooms import session as session_module
from storage.shard import Unavailable
from tests.nodekit import HERE
from tests.resumekit import riding, sync, told
from tests.support import wait_until


async def test_exactly_what_was_missed_on_another_node(redis: Redis, redis_url: str) -> None:
    async with riding(redis_url) as ride:
        steps = itertools.count(1)

        async def seen() -> bool:
            """Where he is since he has the job; where he was before is nobody's business."""
            at = {**HERE, "latitude": HERE["latitude"] + 1e-4 * next(steps)}
            await ride.one.say(ride.driver, "location_update", at)
            place = await ride.two.fleet.last_position(ride.driver.user_id)
            return place is not None and place.ts_ms > (await ride.two.job(ride.id)).assigned_ms

        await wait_until(seen)
        epoch, seq = await ride.place()
        await ride.chat(5)
        again, wire = await ride.two.connect("passenger", ride.passenger.user_id)
        await ride.chat(2)
        await wait_until(lambda: wire.heard("new_message") == 2)
        (answer,) = await sync(ride.two, again, [ride.room, epoch, seq])
        assert (answer["room"], answer["epoch"], answer["recovered"]) == (ride.room, epoch, True)
        assert answer["seq"] == seq + 7
        assert [fact[1]["message"] for fact in answer["events"]] == [
            f"line {n}" for n in (0, 1, 2, 3, 4, 0, 1)
        ]
        assert answer["last"]["job"]["rideId"] == ride.id and answer["last"]["job"]["state"] == "assigned"
        assert answer["last"]["position"]["rideId"] == ride.id
        assert ride.heard.told[-1] in {
            f"2{json.dumps(fact, separators=(',', ':'))}" for fact in answer["events"]
        }
        (none,) = await sync(ride.two, again, [ride.room, epoch, seq + 7])
        assert none["recovered"] and none["events"] == []
        for strange in ([ride.room, epoch, seq + 8], [ride.room, epoch + "0", seq], [ride.room, "", 0]):
            (lost,) = await sync(ride.two, again, strange)
            assert (
                not lost["recovered"] and lost["events"] == [] and lost["last"]["job"] == none["last"]["job"]
            )
            assert (lost["epoch"], lost["seq"]) == (epoch, seq + 7)


@pytest.mark.parametrize("slow", ["the reading", "the tail"])
async def test_facts_that_come_meanwhile_follow_the_answer(redis: Redis, redis_url: str, slow: str) -> None:
    """None twice, none missing, in order: whether they are read late, or told late."""
    async with riding(redis_url) as ride:
        epoch, seq = await ride.place()
        session, wire = await ride.two.connect("passenger", ride.passenger.user_id)
        assert (await ride.two.say(session, "leave_ride", {"rideId": ride.id}))["ok"]
        roomlog, speaker = ride.two.gate.house.roomlog, ride.two.speaker
        stand, hear, late = roomlog.stand, speaker.hear, asyncio.Event()
        kept: list[Any] = []

        async def slowly(asked: list[Any]) -> Any:
            await ride.chat(3)
            if slow == "the reading":
                await wait_until(lambda: session.hold and len(session.hold) >= 3)
            found = await stand(asked)
            await ride.chat(2)
            if slow == "the reading":
                await wait_until(lambda: session.hold and len(session.hold) >= 5)
            return found

        def behind(entry: Any) -> None:
            if slow == "the tail" and not late.is_set():
                kept.append(entry)
            else:
                hear(entry)

        roomlog.stand, speaker.hear = slowly, behind  # type: ignore[method-assign]
        (answer,) = await sync(ride.two, session, [ride.room, epoch, seq])
        roomlog.stand = stand  # type: ignore[method-assign]
        assert answer["recovered"] and answer["seq"] == seq + 3
        await wait_until(lambda: slow == "the reading" or len(kept) >= 5)
        late.set()
        for entry in kept:
            hear(entry)
        await ride.chat(1)
        await wait_until(lambda: told(wire, ride.room)[-1] == seq + 6)
        assert told(wire, ride.room) == list(range(seq + 1, seq + 7))


async def test_connected_is_not_followed_by_what_it_covers(redis: Redis, redis_url: str) -> None:
    """A node that reads the log late: what `connected` counts was heard, or is asked for; never told again."""
    async with riding(redis_url) as ride:
        hear = ride.two.speaker.hear
        kept: list[Any] = []
        ride.two.speaker.hear = kept.append  # type: ignore[method-assign]
        await ride.chat(3)
        _, wire = await ride.two.connect("passenger", ride.passenger.user_id)
        _, seq = await ride.place()
        await ride.chat(1)
        await wait_until(lambda: kept and kept[-1].seq == seq + 1)
        ride.two.speaker.hear = hear  # type: ignore[method-assign]
        for entry in kept:
            hear(entry)
        assert told(wire, ride.room) == [seq + 1]


async def test_a_second_long_answer_waits_until_the_first_was_read(redis: Redis, redis_url: str) -> None:
    async with riding(redis_url) as ride:
        wire: Any = ride.passenger.wire
        wire.laden = lambda: True
        answer = await ride.one.say(ride.passenger, "sync", {"rooms": [[ride.room, "", 0]]})
        assert answer["error"]["code"] == "rate_limited"


async def test_what_waits_for_a_snapshot_is_bounded(
    redis: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_module, "HELD_MAX", 3)
    async with riding(redis_url) as ride:
        ride.passenger.hold_back()
        await ride.chat(4)
        await wait_until(lambda: ride.heard.closed == "slow client")


@pytest.mark.parametrize("failing", ["load", "stand"])
async def test_a_redis_that_does_not_answer_is_unavailable(
    redis: Redis, redis_url: str, failing: str
) -> None:
    async with riding(redis_url) as ride:
        place = await ride.place()

        async def away(*_: Any) -> Any:
            raise Unavailable("away")

        house: Any = ride.one.gate.house
        part: Any = house.desk.log if failing == "load" else house.roomlog
        whole = getattr(part, failing)
        setattr(part, failing, away)
        answer = await ride.one.say(ride.passenger, "sync", {"rooms": [[ride.room, *place]]})
        setattr(part, failing, whole)
        assert (answer["error"]["code"], answer["error"]["retry"]) == ("unavailable", True)
        assert ride.passenger.hold is None
        await ride.chat(1)
        await wait_until(lambda: ride.heard.heard("new_message"))
