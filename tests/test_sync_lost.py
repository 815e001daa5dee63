"""What `sync` cannot tell: more than is kept, what was trimmed or expired, numbers of another life of Redis."""

from __future__ import annotations

import asyncio

import pytest
from redis.asyncio import Redis

from storage import keys
from tests.phones import assigned_ride, phone
from tests.stack import RunningStack, private_stack
from tests.support import fresh_redis, wait_until
from tests.synckit import SHARD, Keeper, following, say, the_log

GONE_S = 15.0


@pytest.mark.parametrize(("count", "recovered"), [(300, True), (301, False)])
async def test_300_long_facts_come_in_one_answer_and_more_are_not_told_in_part(
    stack: RunningStack, count: int, recovered: bool
) -> None:
    async with (
        following(stack, stack.spot("patient")) as (driver, passenger, ride),
        the_log(stack) as say_many,
    ):
        follower, person = passenger.follower, passenger.person
        known = await passenger.sync()
        assert known["rooms"] == []
        await passenger.close()
        await driver.close()  # so many at once are more than a slow one may leave unread
        await say_many(f"ride:{ride}", count, more="x" * 4000)
        again = Keeper(person, follower)
        await again.connect(stack.url)
        (answer,) = (await again.sync())["rooms"]
        assert answer["recovered"] is recovered and len(answer["events"]) == (count if recovered else 0)
        assert answer["last"]["job"]["rideId"] == ride
        async with phone(stack, driver.person) as back:
            await say(back, ride, "after")
        await again.hears("new_message", message="after")
        numbers = [fact["seq"] for fact in again.follower.stretches(f"ride:{ride}")[-1]]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers))) and not again.follower.lacks
        assert numbers[0] == (1 if recovered else answer["seq"] + 1)
        await again.close()


async def test_a_room_that_was_trimmed_or_expired_is_said_to_be_lost(stack: RunningStack) -> None:
    async with following(stack, stack.spot("patient")) as (driver, passenger, ride):
        room = f"ride:{ride}"
        epoch, seen = passenger.follower.at[room]
        await say(driver, ride, "one", "two", "three")
        async with Redis.from_url(stack.redis_url) as redis:
            await redis.xtrim(keys.log(SHARD, room), maxlen=1, approximate=False)
            (trimmed,) = (await passenger.ask("sync", {"rooms": [[room, epoch, seen]]}))["rooms"]
            assert not trimmed["recovered"] and trimmed["seq"] == seen + 3
            await redis.delete(keys.head(SHARD, room), keys.log(SHARD, room))
        await say(driver, ride, "four")
        await wait_until(lambda: passenger.follower.lacks)
        (expired,) = (await passenger.sync())["rooms"]
        assert not expired["recovered"] and (expired["seq"], expired["epoch"] != epoch) == (1, True)
        assert expired["last"]["job"]["state"] == "assigned"
        await say(driver, ride, "five")
        await wait_until(lambda: [f["message"] for f in passenger.follower.stretches(room)[-1]] == ["five"])


@pytest.mark.parametrize("wiped", [False, True])
async def test_a_redis_that_restarts_or_forgets(wiped: bool) -> None:
    """Its numbers may be given again: no number of before counts, whatever the log still holds."""
    with fresh_redis(appendonly="yes", appendfsync="always") as server:
        async with private_stack(server.url) as stack:
            passenger = Keeper(await stack.person("passenger"))
            async with phone(stack, "driver") as driver:
                await passenger.connect(stack.url)
                ride = await assigned_ride(passenger, driver, stack.spot("patient"))
                room, own = f"ride:{ride}", f"user:{passenger.person.id}"
                before = dict(passenger.follower.at)
                if wiped:
                    async with Redis.from_url(server.url) as redis:
                        await redis.flushall()
                else:
                    await asyncio.to_thread(server.kill)
                    await asyncio.to_thread(server.start)

                async def out() -> bool:
                    return not passenger.sio.connected and not driver.sio.connected

                await wait_until(out, GONE_S)
            again = Keeper(passenger.person, passenger.follower)
            connected = await again.connect(stack.url)
            assert [job["rideId"] for job in connected["jobs"]] == ([] if wiped else [ride])
            assert again.follower.lacks == {room, own}
            await again.sync()
            assert not again.follower.lacks and again.follower.at[own][0] != before[own][0]
            assert again.follower.stretches(own)[1:] == [[]]
            if wiped:
                assert again.follower.refused == {room: "not_found"} and room not in again.follower.at
            else:
                assert again.follower.last[room]["job"]["state"] == "assigned"
                assert again.follower.at[room] == (again.follower.at[room][0], 0)
                await again.call("cancel_ride", {"rideId": ride})
                await wait_until(lambda: again.follower.at[room][1] == 1)
                assert [fact["state"] for fact in again.follower.stretches(room)[-1]] == ["cancelled"]
            await again.close()
