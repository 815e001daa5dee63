"""Clients of two nodes that lose their connections at any moment, against all that was said."""

from __future__ import annotations

import asyncio
import json
from random import Random
from typing import Any

import pytest
from redis.asyncio import Redis

from storage.facts import Fact
from storage.log import Write
from storage.records import Room
from storage.roomlog import RoomLog
from tests.follower import Follower
from tests.nodekit import Kept, Node
from tests.resumekit import Ride, riding
from tests.support import wait_until

Session = Any


class Phone:
    """A client of the model: what a wire carried up to where it was cut, heard by the rule."""

    def __init__(self, nodes: list[Node], role: str, user: str) -> None:
        self.nodes, self.role, self.user = nodes, role, user
        self.follower = Follower()
        self.session: Session = None
        self.node, self.wire, self.read = nodes[0], Kept(), 0

    async def connect(self, n: Node) -> None:
        self.node, self.read = n, 0
        self.session, self.wire = await n.connect(self.role, self.user)

    def hear(self, leave: int = 0) -> None:
        """All that came, but for the newest `leave` frames."""
        for text in self.wire.told[self.read : max(self.read, len(self.wire.told) - leave)]:
            self.read += 1
            payload = json.loads(text[1:])
            if text[0] == "2":
                self.follower.hear(*payload)
            else:
                self.follower.answered(payload[0])

    async def sync(self) -> None:
        if self.follower.lacks:
            await self.node.say(self.session, "sync", self.follower.wants())

    async def catch_up(self) -> None:
        """Until it knows that it lacks nothing."""

        async def whole() -> bool:
            self.hear()
            await self.sync()
            self.hear()
            return not self.follower.lacks

        await wait_until(whole)


async def _say_something(ride: Ride, random: Random) -> None:
    """A fact of the ride, of somebody's own room, or of both."""
    rooms = [ride.room, f"user:{ride.passenger.user_id}", f"user:{ride.driver.user_id}"]
    loaded = await ride.one.log.load([])
    facts = tuple(
        Fact(room=Room(random.choice(rooms)), event="new_message", payload={"n": random.random()})
        for _ in range(random.choice((1, 1, 1, 2, 9)))
    )
    write = Write(life=loaded.life, loaded_ms=loaded.now_ms, room=Room(ride.room), by="system", facts=facts)
    await random.choice((ride.one, ride.two)).log.commit(write)


async def _lose_and_return(phone: Phone, random: Random) -> None:
    """A connection breaks with frames under way; whoever notices first, the phone comes back somewhere."""
    phone.hear(leave=random.choice((0, 0, 1, 2, 5)))
    gone, where = phone.session, phone.node
    if random.random() < 0.5:  # the server noticed first
        where.depart(gone)
    await phone.connect(random.choice(phone.nodes))
    if random.random() < 0.3:
        return  # and again, before it asked
    phone.hear()
    await phone.sync()
    phone.hear(leave=random.choice((0, 0, 0, 1, 3)))  # or while the answer was under way
    if random.random() < 0.5:
        where.depart(gone)


@pytest.mark.parametrize("number", range(6))
async def test_whenever_it_is_lost_a_client_ends_with_all_or_knows_that_it_does_not(
    redis: Redis, redis_url: str, number: int, request: pytest.FixtureRequest
) -> None:
    random = Random(f"{request.config.getoption('randomly_seed', 0)} {number}")
    async with riding(redis_url) as ride:
        few = number % 2  # so few facts are given that snapshots are needed, too
        for n in (ride.one, ride.two):
            if few:
                house = n.gate.house._replace(roomlog=RoomLog(n.shard, 12))
                n.gate.house = n.door._house = house
        nodes = [ride.one, ride.two]
        phones = [Phone(nodes, who.role, who.user_id) for who in (ride.passenger, ride.driver)]
        for phone in phones:
            await phone.connect(random.choice(nodes))
            phone.hear()

        async def talk() -> None:
            for _ in range(120):
                await _say_something(ride, random)

        async def be_lost(phone: Phone) -> None:
            for _ in range(25):
                await _lose_and_return(phone, random)

        await asyncio.gather(talk(), *(be_lost(phone) for phone in phones))
        said: dict[str, list[Any]] = {}
        for entry in (await ride.one.log.tail.read("0-0", count=100_000, block_ms=1)).entries:
            if entry.seq:
                said.setdefault(entry.room, []).append(json.loads(entry.text)[1])
        for phone in phones:
            await wait_until(lambda p=phone: p.wire.told and p.wire.told[0].startswith('2["connected"'))
            await phone.connect(random.choice(nodes))
            await phone.catch_up()
            _check(phone, said, few=bool(few))


def _check(phone: Phone, said: dict[str, list[Any]], *, few: int) -> None:
    rooms = {f"user:{phone.user}"} | {room for room in phone.follower.at if room.startswith("ride:")}
    assert len(rooms) == 2 and set(phone.follower.at) == rooms and not phone.follower.refused
    for room in rooms:
        stretches = phone.follower.stretches(room)
        whole = [fact for stretch in stretches for fact in stretch]
        for stretch in stretches:
            numbers = [fact["seq"] for fact in stretch]
            assert not numbers or numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        assert [fact["seq"] for fact in whole] == sorted({fact["seq"] for fact in whole}), "none twice"
        by_number = {fact["seq"]: fact for fact in said[room]}
        assert all(by_number[fact["seq"]] == fact for fact in whole)
        assert phone.follower.at[room][1] == max(by_number), "nothing is missing at the end"
        if not few:
            assert len(stretches) == 1, "300 are kept: nobody needed a snapshot after his first"
