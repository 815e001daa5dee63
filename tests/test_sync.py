"""Nothing told is lost: phones that lose their connection, or their server, and ask `sync` for what they missed.

Two real nodes on one Redis; the second may be killed. How each phone counts is tests/follower.py.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from server.devstack.app import App, python
from server.devstack.redis import free_port
from server.devstack.stack import Urls
from tests.follower import Follower
from tests.phones import Phone, accepted, online, phone, raw, request
from tests.stack import HOST, RunningStack, private_stack
from tests.support import wait_until
from tests.synckit import Keeper, following, say, the_log

READY_S = 30.0
GONE_S = 15.0


class Pair:
    """A stack and a second node beside its own."""

    def __init__(self, stack: RunningStack) -> None:
        self.stack, self.first = stack, stack.url
        urls = Urls(stack.database_url, stack.redis_url)
        self._node = App(stack.folder / "second", urls, HOST, free_port())
        mine = ("DISPATCH_PORT", "DISPATCH_URL")
        self._node.env = {**stack.app.env, **{name: self._node.env[name] for name in mine}}
        self.second = self._node.url
        self.spot = stack.spot("patient")

    async def start(self) -> None:
        """The second node, if it is not there."""
        if await self._ready():
            return
        log: Path = self.stack.folder / "second.log"
        self._child = await asyncio.to_thread(self._node.spawn, "serve", python("server.cli", "serve"), log)
        await wait_until(self._ready, READY_S)

    async def _ready(self) -> bool:
        return await asyncio.to_thread(self._node._is_ready)

    async def kill(self) -> None:
        os.kill(self._child.pid, signal.SIGKILL)
        await asyncio.to_thread(self._child.wait)

    async def stop(self) -> None:
        await asyncio.to_thread(self._node.stop)

    @asynccontextmanager
    async def ride(self) -> AsyncIterator[tuple[Phone, Keeper, str]]:
        """A driver on the first node, his passenger on the second, and their ride."""
        await self.start()
        self.spot = self.stack.spot("patient")
        async with following(self.stack, self.spot, self.second) as made:
            yield made


@pytest_asyncio.fixture(scope="module")
async def shared_pair() -> AsyncIterator[Pair]:
    async with private_stack(DISPATCH_PING_INTERVAL_S="1", DISPATCH_PING_TIMEOUT_S="1") as stack:
        pair = Pair(stack)
        try:
            yield pair
        finally:
            await pair.stop()


@pytest.fixture
def pair(shared_pair: Pair) -> Pair:
    return shared_pair


async def whole(keeper: Keeper, ride: str, *lines: str) -> None:
    """It has exactly these lines, and every fact of the ride from its request on."""
    await wait_until(lambda: keeper.lines(ride)[-len(lines) :] == list(lines))
    assert keeper.lines(ride) == list(lines) and not keeper.follower.lacks
    (stretch,) = keeper.follower.stretches(f"ride:{ride}")
    assert [fact["seq"] for fact in stretch] == list(range(1, len(stretch) + 1))


@pytest.mark.parametrize("transport", ["websocket", "polling", "upgrade"])
async def test_the_phone_notices_first(pair: Pair, transport: str) -> None:
    """The server holds the old connection for alive; the new one is on another node."""
    async with pair.ride() as (driver, passenger, ride):
        old = passenger.follower
        await say(driver, ride, "one")
        await passenger.hears("new_message", message="one")
        again = await passenger.again(pair.first, transport)
        passenger.follower = Follower()  # deaf from here on
        await say(driver, ride, "two", "three")
        again.follower.lacks.add(f"ride:{ride}")
        await again.sync()
        await say(driver, ride, "four")
        assert again.follower is old
        await whole(again, ride, "one", "two", "three", "four")
        await passenger.hears("new_message", message="four")
        await again.close()


async def test_the_server_notices_first(pair: Pair) -> None:
    """A phone in a tunnel: its pongs stay away, its node gives it up, and it comes back."""
    async with pair.ride() as (driver, passenger, ride):
        await say(driver, ride, "one")
        await passenger.hears("new_message", message="one")
        follower = passenger.follower
        await passenger.close()
        async with raw(pair.second, passenger.person.token) as frozen:
            await say(driver, ride, "two")

            async def given_up() -> bool:
                _, metrics = await _metrics(pair.second)
                return "dispatch_sockets 0.0" in metrics

            await wait_until(given_up, GONE_S)
            assert frozen.frames
        await say(driver, ride, "three")
        again = Keeper(passenger.person, follower)
        await again.connect(pair.second)
        assert again.follower.lacks == {f"ride:{ride}"}
        answer = await again.sync()
        assert [room["recovered"] for room in answer["rooms"]] == [True]
        await whole(again, ride, "one", "two", "three")
        await again.close()


async def _metrics(url: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.get(f"{url}/metrics") as answer:
        return answer.status, await answer.text()


async def test_a_node_is_killed(pair: Pair) -> None:
    """What was told by nobody is told by another node, and by the same when it is back."""
    async with pair.ride() as (driver, passenger, ride):
        await say(driver, ride, "one")
        await passenger.hears("new_message", message="one")
        await pair.kill()
        await say(driver, ride, "two", "three")
        elsewhere = await passenger.again(pair.first)
        await elsewhere.sync()
        await whole(elsewhere, ride, "one", "two", "three")
        follower = elsewhere.follower
        await elsewhere.close()
        await say(driver, ride, "four")
        await pair.start()
        back = Keeper(passenger.person, follower)
        await back.connect(pair.second)
        await back.sync()
        await driver.call("ride_status_update", {"rideId": ride, "status": "arrived"})
        await say(driver, ride, "five")
        await whole(back, ride, "one", "two", "three", "four", "five")
        await back.close()


async def test_it_is_lost_again_while_it_resumes(pair: Pair) -> None:
    """Before it asked, before it was answered, by a kill in between: as often as it likes."""
    async with pair.ride() as (driver, passenger, ride):
        await say(driver, ride, "one")
        await passenger.hears("new_message", message="one")
        follower, person = passenger.follower, passenger.person
        await passenger.close()
        await say(driver, ride, "two")
        before_asking = Keeper(person, follower)
        await before_asking.connect(pair.first)
        await before_asking.close()
        await say(driver, ride, "three")
        for url in (pair.second, pair.first):
            async with raw(url, person.token) as before_the_answer:
                await before_the_answer.ws.send_str("421" + json.dumps(["sync", follower.wants()]))
        await say(driver, ride, "four")
        on_the_second = Keeper(person, follower)
        await on_the_second.connect(pair.second)
        await pair.kill()
        last = Keeper(person, follower)
        await last.connect(pair.first)
        await last.sync()
        await say(driver, ride, "five")
        await whole(last, ride, "one", "two", "three", "four", "five")
        await last.close()


async def test_a_driver_resumes_his_own_room_and_his_offer(pair: Pair) -> None:
    """He slept through an offer: it comes with what is left of its time, not with what it had."""
    await pair.start()
    spot = pair.stack.spot("patient")
    keeper = Keeper(await pair.stack.person("driver"))
    await keeper.connect(pair.second)
    await online(keeper, spot.at(300.0))
    follower, keeper.follower = keeper.follower, Follower()
    async with phone(pair.stack, "passenger") as passenger:
        ride = await request(passenger, spot)
        await passenger.status("offered")
        again = Keeper(keeper.person, follower)
        connected = await again.connect(pair.first)
        assert [offer["job"]["rideId"] for offer in connected["offers"]] == [ride]
        own = f"user:{keeper.person.id}"
        assert again.follower.lacks == {own}
        await again.sync()
        (missed,) = again.follower.stretches(own)
        assert missed[-1]["job"]["rideId"] == ride
        (open_offer,) = again.follower.last[own]["offers"]
        assert 0 < open_offer["expiresInMs"] <= missed[-1]["expiresInMs"]
        await again.call("accept_offer", {"offerId": open_offer["offerId"]})
        await passenger.hears("driver_assigned", rideId=ride)
        await again.hears("driver_assigned")
        assert again.follower.taken[f"ride:{ride}"][1]["state"] == "assigned"  # type: ignore[index]
        await again.close()
    await keeper.close()


async def test_on_the_wire_what_comes_after_the_answer_follows_it(pair: Pair) -> None:
    """Frame by frame, while facts pour in: none twice, none missing, none before the answer that it follows."""
    await pair.start()
    person = await pair.stack.person("passenger")
    room = f"user:{person.id}"
    async with the_log(pair.stack) as say_many, raw(pair.second, person.token) as client:
        connected = next(json.loads(f[2:])[1] for f in client.frames if f.startswith('42["connected"'))
        seen, epoch, done = 0, connected["epoch"], asyncio.Event()

        async def pour() -> None:
            while not done.is_set():
                await say_many(room, 1)

        pouring = asyncio.ensure_future(pour())
        try:
            for number in range(15):
                await client.ws.send_str(
                    f"42{number}" + json.dumps(["sync", {"rooms": [[room, epoch, seen]]}])
                )
                before: list[int] = []
                while not (frame := await client.frame() or "").startswith(f"43{number}["):
                    before.append(json.loads(frame[2:])[1]["seq"])
                (answer,) = json.loads(frame[frame.index("[") :])[0]["rooms"]
                told = [fact[1]["seq"] for fact in answer["events"]]
                assert answer["recovered"] and told == list(range(seen + 1, answer["seq"] + 1))
                assert all(seq <= answer["seq"] for seq in before), "told before what it follows"
                seen = answer["seq"]
                for _ in range(2 * (number % 3)):
                    frame = await client.frame() or ""
                    seen += 1
                    assert json.loads(frame[2:])[1]["seq"] == seen
        finally:
            done.set()
            await pouring


async def test_whoever_missed_the_end_hears_it_and_then_no_more(pair: Pair) -> None:
    async with pair.ride() as (driver, passenger, ride):
        follower, person = passenger.follower, passenger.person
        await passenger.close()
        for status in ("arrived", "in_progress", "completed"):
            await driver.call("ride_status_update", {"rideId": ride, "status": status})
        again = Keeper(person, follower)
        connected = await again.connect(pair.first)
        assert connected["jobs"] == [] and again.follower.lacks == {f"ride:{ride}"}
        await again.sync()
        (stretch,) = again.follower.stretches(f"ride:{ride}")
        assert [fact["state"] for fact in stretch][-3:] == ["arrived", "in_progress", "completed"]
        assert again.follower.last[f"ride:{ride}"]["job"]["state"] == "completed"
        await again.close()


async def test_a_driver_who_was_replaced_while_he_slept_hears_nothing_of_it(pair: Pair) -> None:
    async with pair.ride() as (first, passenger, ride):
        seen = [p for _, p in first.log if p.get("room") == f"ride:{ride}"][-1]
        person = first.person
        await passenger.call("send_message", {"rideId": ride, "message": "are you asleep?"})
        await first.call("cancel_ride", {"rideId": ride})
        await first.close()
        async with phone(pair.stack, "driver") as second:
            await online(second, pair.spot.at(400.0))
            await accepted(second, ride)
            await say(second, ride, "not for him")
            async with phone(pair.stack, person) as again:
                asked = [[f"ride:{ride}", seen["epoch"], seen["seq"]]]
                answer = await again.call("sync", {"rooms": asked})
                assert [room["error"]["code"] for room in answer["rooms"]] == ["not_found"]
                await say(second, ride, "nor this")
                await passenger.hears("new_message", message="nor this")
                assert again.heard("new_message") == []
