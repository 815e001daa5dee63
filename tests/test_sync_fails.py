"""An answer to `sync` that fails, or is refused, takes nothing with it: what was held back meanwhile is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from rooms import resume
from storage.roomlog import Asked, RoomLog, Standing
from storage.shard import Unavailable
from storage.tail import Tail
from tests.phones import assigned_ride, online, phone
from tests.stack import RunningStack, a_node
from tests.support import wait_until
from tests.synckit import Keeper, following, say


@pytest_asyncio.fixture
async def node_url(stack: RunningStack) -> AsyncIterator[str]:
    """A node in this process, so that a test can stop it at an await."""
    async with a_node(stack) as node:
        yield f"http://127.0.0.1:{node.port}"


@pytest.mark.parametrize("how", ["fails", "is too much"])
async def test_what_was_held_back_for_an_answer_that_was_none(
    stack: RunningStack, node_url: str, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    async with following(stack, stack.spot("patient"), node_url) as (driver, passenger, ride):
        room = f"ride:{ride}"
        await say(driver, ride, "one")
        await wait_until(lambda: passenger.lines(ride)[-1:] == ["one"])
        epoch, seq = passenger.follower.at[room]
        read = RoomLog.stand

        async def after_a_line(log: RoomLog, asked: list[Asked]) -> list[Standing | None]:
            await say(driver, ride, "two")
            found = await read(log, asked)
            return [each._replace(later=True) if each and how == "is too much" else each for each in found]

        async def no_answer(*_: Any) -> dict[str, Any]:
            raise Unavailable("of all things, now")

        monkeypatch.setattr(RoomLog, "stand", after_a_line)
        if how == "fails":
            monkeypatch.setattr(resume, "_last", no_answer)
        answer = await passenger.ask("sync", {"rooms": [[room, epoch, seq]]})
        error = answer["error"] if how == "fails" else answer["rooms"][0]["error"]
        assert error["code"] == "unavailable"
        monkeypatch.undo()
        await say(driver, ride, "three")
        await wait_until(lambda: passenger.lines(ride)[-1:] == ["three"])
        assert passenger.lines(ride)[-3:] == ["one", "two", "three"]
        assert not passenger.follower.lacks


async def test_who_is_let_in_again_while_he_is_refused_hears_all_that_follows(
    stack: RunningStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """He asks, is taken off the job before its room is read, and is given it back before he has his answer."""
    async with a_node(stack) as node, phone(stack, "admin") as admin:
        driver = Keeper(await stack.person("driver"))
        passenger = Keeper(await stack.person("passenger"))
        await driver.connect(f"http://127.0.0.1:{node.port}")
        await passenger.connect(stack.url)
        ride = await assigned_ride(passenger, driver, stack.spot("patient"))
        room = f"ride:{ride}"
        await wait_until(lambda: room in driver.follower.at)
        epoch, seq = driver.follower.at[room]
        read = RoomLog.stand

        async def between(log: RoomLog, asked: list[Asked]) -> list[Standing | None]:
            (session,) = node.registry.of_user(driver.person.id)
            of_job = {"rideId": ride, "reason": "by hand"}
            await admin.call("unassign_job", of_job)
            found = await read(log, asked)
            await admin.call("assign_job", {**of_job, "driverId": driver.person.id})
            await wait_until(lambda: sum(held[0] == room for held in session.hold or ()) == 2)
            return found

        monkeypatch.setattr(RoomLog, "stand", between)
        answer = await driver.ask("sync", {"rooms": [[room, epoch, seq]]})
        assert answer["rooms"][0]["error"]["code"] == "not_found"
        monkeypatch.undo()
        driver.follower.answered(answer)
        await passenger.call("send_message", {"rideId": ride, "message": "there?"})
        await wait_until(lambda: driver.follower.stretches(room)[-1][-1].get("message") == "there?")
        taken_off, given_again, _ = driver.follower.stretches(room)[-1]
        assert (taken_off["status"], given_again["status"]) == ("pending", "confirmed")
        assert not driver.follower.lacks
        for each in (passenger, driver):
            await each.close()


async def test_who_joins_before_the_node_has_heard_that_he_drives_sees_nobody_elses_car(
    stack: RunningStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log of the node is late: by what it heard the first driver is still on his way."""
    async with (
        a_node(stack) as node,
        phone(stack, "admin") as admin,
        phone(stack, "passenger") as passenger,
        phone(stack, "driver") as second,
    ):
        first, again = Keeper(await stack.person("driver")), Keeper(second.person)
        await first.connect(url := f"http://127.0.0.1:{node.port}")
        spot = stack.spot("patient")
        ride = await assigned_ride(passenger, first, spot)
        room = f"ride:{ride}"
        await online(second, spot.at(50_000.0))  # too far for the match
        may_read = asyncio.Event()

        def late(read: Any) -> Any:
            async def later(tail: Tail, *args: Any) -> Any:
                heard = await read(tail, *args)
                await may_read.wait()
                return heard

            return later

        for name in ("read", "look"):
            monkeypatch.setattr(Tail, name, late(getattr(Tail, name)))
        await say(passenger, ride, "on your way?")  # ends the reading that had begun
        await wait_until(lambda: first.heard("new_message"))
        await admin.call("unassign_job", {"rideId": ride, "reason": "by hand"})
        await admin.call("assign_job", {"rideId": ride, "driverId": second.person.id, "reason": "by hand"})
        await again.connect(url)
        assert (await again.call("join_ride", {"rideId": ride}))["driver"]["id"] == second.person.id
        assert (await first.call("location_update", spot.at(200.0)))["kept"]
        await again.call("ping")  # so that all that was told before is here
        assert not again.heard("driver_location")
        monkeypatch.undo()
        may_read.set()
        await say(passenger, ride, "there?")
        await wait_until(
            lambda: [p.get("message") for p in again.follower.stretches(room)[-1]][-1:] == ["there?"]
        )
        for each in (first, again):
            await each.close()
