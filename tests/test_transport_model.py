"""Random talk to one client against a model: what is told, flushed, held and read, in any order.

Reliable frames come in their order, none lost or doubled, until he is closed; of each key the newest value comes last
and none comes twice; a value stands behind all facts told before it and before all told after it.
"""

from __future__ import annotations

import random
from typing import Any

import pytest

from rooms.transport import Frame
from tests.wirekit import Channel, a_socket

ROUNDS, STEPS = 400, 120


class Talk:
    """One client, what was told him, and the model of what waits: `(key or None, number)` in the order it was told."""

    def __init__(self, seed: int, **bounds: int) -> None:
        self.chance, self.bounds, self.closed = random.Random(seed), bounds, False
        self.end, self.channel = a_socket(**bounds)
        self.told: list[tuple[str | None, int]] = []
        self.waiting: list[tuple[str | None, int]] = []
        self.written: list[tuple[str | None, int]] = []  # by the model: a value's place is that of its newest

    def step(self) -> None:
        name = self.chance.choices(
            ["tell", "tell_latest", "read", "flush", "pause", "resume"],
            [30, 50, 10, 10, 4, 6 if self.bounds else 10],
        )[0]
        getattr(self, name)()

    def tell(self) -> None:
        number = len(self.told)
        self.told.append((None, number))
        self.waiting.append((None, number))
        self.end.tell(_frame(None, number))
        facts = [_frame(key, number) for key, number in self.waiting if key is None]
        size = sum(len(frame.body) for frame in facts)
        if len(facts) > self.bounds.get("frames_max", STEPS) or size > self.bounds.get("bytes_max", 10_000):
            if self.channel.ready:  # who reads is written to at once
                self.written += self.waiting
            else:
                self.closed = True
            self.waiting = []

    def tell_latest(self) -> None:
        key, number = self.chance.choice("abcd"), len(self.told)
        self.told.append((key, number))
        if self.end.engine.hearing == 1 and not self.waiting and self.channel.ready:
            self.written.append((key, number))  # at once
        else:
            self.waiting = [each for each in self.waiting if each[0] != key] + [(key, number)]
        self.end.tell_latest(key, _frame(key, number))

    def read(self) -> None:
        """So many messages of one read of another, in which this one is told something."""
        self.end.engine.hearing = self.chance.choice([1, 1, 2])
        for _ in range(0 if self.closed else self.chance.randrange(4)):
            self.chance.choice([self.tell, self.tell_latest])()
        self.end.engine.hearing = 0
        self.flush()

    def flush(self) -> None:
        self.end.flush()
        if self.channel.ready:
            self.written += self.waiting
            self.waiting = []

    def pause(self) -> None:
        self.channel.ready = False

    def resume(self) -> None:
        self.channel.ready = True
        self.flush()


def _frame(key: str | None, number: int) -> Frame:
    return Frame(f"{key or ''}{number}".encode())


def read(channel: Channel) -> list[tuple[str | None, int]]:
    return [(text[0], int(text[1:])) if text[0].isalpha() else (None, int(text)) for text in channel.written]


def check(talk: Talk, heard: list[tuple[str | None, int]], note: str) -> None:
    facts = [number for key, number in heard if key is None]
    assert facts == [number for key, number in talk.written if key is None], note
    assert sorted(heard, key=str) == sorted(talk.written, key=str), f"{note}: other values than the newest"
    for at, (key, number) in enumerate(heard):
        if key is None:
            continue
        before = sum(each is None for each, _ in heard[:at])
        told_before = sum(each is None for each, _ in talk.told[:number])
        assert before == told_before, f"{note}: {key}{number} overtook a fact, or was overtaken by one"
    for key in "abcd":
        numbers = [number for each, number in heard if each == key]
        assert numbers == sorted(set(numbers)), f"{note}: {key} went back"


@pytest.fixture
def seeds() -> list[int]:
    """Others in each run; what fails says which."""
    first = random.randrange(2**30)
    return list(range(first, first + ROUNDS))


async def test_who_is_not_bounded_hears_all_that_the_model_says(seeds: list[int]) -> None:
    for seed in seeds:
        talk = Talk(seed, frames_max=4 * STEPS)
        for _ in range(STEPS):
            talk.step()
        talk.resume()
        assert not talk.end.closed
        check(talk, read(talk.channel), f"seed {seed}")


async def test_who_is_bounded_is_closed_exactly_when_more_waits(seeds: list[int]) -> None:
    ends: set[Any] = set()
    for seed in seeds:
        limit = random.Random(seed).choice([{"frames_max": 6}, {"bytes_max": 20}])
        talk = Talk(seed, **limit)
        for _ in range(STEPS):
            talk.step()
            assert talk.end.closed == talk.closed, f"seed {seed}"
            if talk.closed:
                break
        ends.add(talk.end.closed)
        if not talk.end.closed:
            talk.resume()
        check(talk, read(talk.channel), f"seed {seed}")
        written = len(talk.channel.written)
        if talk.closed:
            talk.channel.ready = True
            talk.end.tell(_frame(None, 0))
            talk.end.tell_latest("a", _frame("a", 0))
            talk.end.flush()
            assert len(talk.channel.written) == written, f"seed {seed}: told after its end"
    assert ends == {True, False}, "both ends were to be seen"
