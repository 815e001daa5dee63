"""Who hears what of a room while readings of it are at work, facts let him in and out, and he leaves by himself.

The real registry, session, speaker and `snapshot.standing`; only the order of what Redis answers is the test's own:
random sequences, held to the three promises of docs/protocol.md.
"""

from __future__ import annotations

import asyncio
import random
from types import SimpleNamespace
from typing import Any, cast

import pytest

from rooms.registry import Registry
from rooms.session import COVERED_MAX, Session
from rooms.snapshot import standing
from rooms.speaker import Speaker
from rooms.transport import Frame
from storage.facts import Entry
from storage.records import JobId, Room, UserId
from storage.roomlog import Asked, Standing
from storage.shard import Unavailable
from tests.drainkit import a_job

ROOM = "ride:1"
MOVES = {"line": b"", "join": b'{"join":["u"]}', "leave": b'{"leave":["u"]}'}


class Reading:
    """One `sync` or join: its reading of the room, and how it ends."""

    def __init__(self, scene: Scene) -> None:
        self.scene, self.began = scene, scene.left
        self.read: asyncio.Future[list[Standing | None]] = asyncio.get_running_loop().create_future()
        self.rest: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.answered: int | None = None
        self.task = asyncio.create_task(self._go())

    async def _go(self) -> None:
        session = self.scene.session
        session.hold_back()
        try:
            async with standing(self.scene.house(self), session, [Asked(Room(ROOM), JobId("1"))]) as (found,):
                await self.rest
                answered = found.seq if found and not found.later else None
            self.answered = answered
        except Unavailable:
            pass
        finally:
            session.release()

    def redis_answers(self, later: bool = False) -> None:
        scene = self.scene
        job = a_job(state="assigned", driver_id=UserId("u" if scene.party[-1] else "x"))
        self.read.set_result([Standing(0, "e", len(scene.facts), job, None, later)])


class Scene:
    """A user `u`, one room, and the node that he is connected to, which hears the log late."""

    def __init__(self, party: bool) -> None:
        self.registry, self.told = Registry(), list[int]()
        self.session = Session(UserId("u"), "d", name="U", role="driver", login="l", wire=cast(Any, self))
        self.registry.add(self.session)
        self.speaker = Speaker(cast(Any, SimpleNamespace(tail=None)), self.registry)
        self.facts, self.party, self.heard, self.left = list[str](), [party], 0, 0
        self.left_at: list[int] = []
        if party:
            self.registry.enter(ROOM, self.session)
        self.readings: list[Reading] = []

    def tell(self, frame: Frame) -> None:
        self.told.append(int(frame.text[2:]))

    def house(self, reading: Reading) -> Any:
        return SimpleNamespace(
            registry=self.registry, roomlog=SimpleNamespace(stand=lambda asked: reading.read)
        )

    async def begins(self) -> Reading:
        self.readings.append(Reading(self))
        await self.settles()
        return self.readings[-1]

    async def settles(self) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(4):  # turns of the loop: what was just begun or answered comes to its next await
            turn = loop.create_future()
            loop.call_soon(turn.set_result, None)
            await turn

    def commits(self, kind: str) -> None:
        self.facts.append(kind)
        self.party.append({"join": True, "leave": False}.get(kind, self.party[-1]))

    def hears(self) -> None:
        if self.heard < len(self.facts):
            kind, self.heard = self.facts[self.heard], self.heard + 1
            text, moves = b"%d" % self.heard, MOVES[kind]
            self.speaker.hear(Entry(f"{self.heard}-0", ROOM, "e", self.heard, "x", text, b"", moves, 0, "a"))

    def leaves(self) -> None:
        self.registry.leave(ROOM, self.session)
        self.left += 1
        self.left_at.append(self.heard)

    async def acts(self, source: random.Random) -> str:
        """Anything that may happen next."""
        waits = [each for each in self.readings if not each.read.done()]
        open_ = [each for each in self.readings if each.read.done() and not each.rest.done()]
        act = source.choice(
            ["line", "party", "hears", "hears", "begins", "reads", "ends", "fails", "later", "leaves"]
        )
        match act:
            case "line":
                self.commits("line")
            case "party":
                self.commits("leave" if self.party[-1] else "join")
            case "hears":
                self.hears()
            case "begins" if len(waits) + len(open_) < 3:
                await self.begins()
            case "reads" | "later" if waits:
                source.choice(waits).redis_answers(act == "later")
            case "ends" if open_:
                source.choice(open_).rest.set_result(None)
            case "fails" if open_:
                source.choice(open_).rest.set_exception(Unavailable("x"))
            case "leaves" if source.random() < 0.3:
                self.leaves()
            case _:
                return ""
        await self.settles()
        return act

    async def ends(self) -> None:
        for each in self.readings:
            if not each.read.done():
                each.redis_answers()
            await self.settles()
            if not each.rest.done():
                each.rest.set_result(None)
            await each.task
        while self.heard < len(self.facts):
            self.hears()

    def holds(self) -> None:
        assert self.told == sorted(set(self.told)), "in order, none twice"
        strange = [n for n in self.told if not (self.party[n - 1] or self.facts[n - 1] == "join")]
        assert not strange, f"{strange} are nobody's business"
        assert not self.session.attempts
        answered = [each for each in self.readings if each.answered is not None]
        most = max((each.answered or 0 for each in answered), default=0)
        begins = [each.answered or 0 for each in answered if each.began == self.left]
        since = self.left_at[-1] if self.left_at else 0
        begins += [n - 1 for n, kind in enumerate(self.facts, 1) if kind == "join" and n > since]
        for first in begins:
            until = next(
                (n for n, kind in enumerate(self.facts, 1) if n > first and kind == "leave"), len(self.facts)
            )
            lost = {n for n in range(first + 1, until + 1) if n > most} - {*self.told}
            assert not lost, f"{lost} were never told, though he was there from {first} on"


@pytest.mark.parametrize("party", [True, False])
async def test_none_is_lost_twice_told_or_told_to_a_stranger(party: bool) -> None:
    for seed in range(1_500):
        source, scene, acts = random.Random(seed), Scene(party), list[str]()
        try:
            for _ in range(source.randint(5, 40)):
                acts.append(await scene.acts(source))
            await scene.ends()
            scene.holds()
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {[act for act in acts if act]}: {error}") from None


async def test_a_reading_that_is_over_says_nothing_of_one_that_began_after_he_left() -> None:
    scene = Scene(party=True)
    scene.leaves()
    first = await scene.begins()
    first.redis_answers()
    scene.commits("leave")
    scene.hears()
    second = await scene.begins()
    first.rest.set_result(None)
    await first.task
    second.redis_answers()
    await scene.ends()
    scene.commits("line")
    scene.hears()
    assert scene.told == [1] and ROOM not in scene.session.rooms


async def test_a_reading_that_fails_takes_nobody_out_who_came_after_it() -> None:
    scene = Scene(party=True)
    scene.leaves()
    first, second = await scene.begins(), await scene.begins()
    for each in (first, second):
        each.redis_answers()
    first.rest.set_result(None)
    await first.task
    scene.leaves()
    third = await scene.begins()
    second.rest.set_exception(Unavailable("x"))
    await second.task
    third.redis_answers()
    await scene.ends()
    scene.commits("line")
    scene.hears()
    assert scene.told == [1]


def test_a_session_forgets_what_it_was_told_of_rooms_that_it_left_long_ago_and_of_no_other() -> None:
    told = list[str]()
    wire = SimpleNamespace(tell=lambda frame: told.append(frame.text))
    session = Session(UserId("u"), "d", name="U", role="driver", login="l", wire=cast(Any, wire))
    session.rooms.add("stays")
    rooms = ["stays", *(f"left {number}" for number in range(3 * COVERED_MAX))]
    for room in rooms:
        session.cover(room, "e", 5)
    for room in rooms:
        session.tell(room, "e", 5, Frame.event(room.encode()))
    forgotten = rooms[1 : -COVERED_MAX + 1]
    assert told == [f"42{room}" for room in forgotten]
