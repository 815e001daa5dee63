"""One timer for all who wait equally long: each once, in order, never early, hardly late, few at a time."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import random
from collections.abc import Callable
from typing import Any

import pytest

from rooms.transport import delay
from rooms.transport.delay import AT_ONCE, TOGETHER, Delay
from tests.support import wait_until


class Clock:
    """A loop of which only the timers are: `run` goes from one to the next, and notes how many there are at once."""

    def __init__(self) -> None:
        self.now_s, self._number = 1000.0, itertools.count()
        self._timers: list[tuple[float, int, Any]] = []
        self.most = self.fired = 0

    def time(self) -> float:
        return self.now_s

    def call_at(self, when_s: float, call: Callable[[], None]) -> Timer:
        timer = Timer(call)
        heapq.heappush(self._timers, (when_s, next(self._number), timer))
        self.most = max(self.most, sum(not timer.cancelled for _, _, timer in self._timers))
        return timer

    def call_later(self, delay_s: float, call: Callable[[], None]) -> Timer:
        return self.call_at(self.now_s + delay_s, call)

    def call_soon(self, call: Callable[[], None]) -> Timer:
        return self.call_at(self.now_s, call)

    def run(self, until_s: float) -> None:
        while self._timers and self._timers[0][0] <= until_s:
            when_s, _, timer = heapq.heappop(self._timers)
            self.now_s = max(self.now_s, when_s)
            if not timer.cancelled:
                self.fired += 1
                timer.call()
        self.now_s = max(self.now_s, until_s)


class Timer:
    def __init__(self, call: Callable[[], None]) -> None:
        self.call, self.cancelled = call, False

    def cancel(self) -> None:
        self.cancelled = True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(delay.asyncio, "get_running_loop", lambda: clock)
    return clock


def test_each_is_due_once_in_order_and_in_time(clock: Clock) -> None:
    for seed in range(200):
        chance, came = random.Random(seed), list[tuple[int, float]]()
        delay_s = chance.choice([0.001, 0.25, 8.0, 25.0])
        waiting = Delay(delay_s, lambda item, began_s, came=came: came.append((item, began_s)))  # type: ignore[misc]
        added: list[float] = []
        due: list[float] = []
        for number in range(chance.randrange(1, 60)):
            clock.run(clock.now_s + chance.choice([0.0, 1e-9, delay_s * 0.001, delay_s * 0.3, delay_s * 3]))
            due += [clock.now_s] * (len(came) - len(due))
            added.append(clock.now_s)
            waiting.add(number)
        while len(due) < len(added):
            clock.run(clock.now_s + delay_s / 200)
            due += [clock.now_s] * (len(came) - len(due))
        assert came == list(enumerate(added)), f"seed {seed}"
        clock.run(clock.now_s + 3 * delay_s)
        assert len(came) == len(added), f"seed {seed}: one came twice"
        assert clock._timers == [], f"seed {seed}: a timer is left"


def test_never_early_and_at_most_a_fiftieth_late(clock: Clock) -> None:
    late: list[float] = []
    waiting = Delay(8.0, lambda item, began_s: late.append(clock.now_s - began_s - 8.0))
    chance = random.Random(7)
    for number in range(2000):
        waiting.add(number)
        clock.run(clock.now_s + chance.expovariate(100))
    clock.run(clock.now_s + 9.0)
    assert len(late) == 2000
    assert min(late) >= -1e-9 and max(late) <= 8.0 * TOGETHER + 1e-9


def test_one_timer_for_all_and_few_of_them(clock: Clock) -> None:
    """A thousand clients, one ping each in 8 s: the timer fires some fifty times, not a thousand."""
    waiting: Delay = Delay(8.0, lambda item, began_s: waiting.add(item))
    for number in range(1000):
        waiting.add(number)
        clock.run(clock.now_s + 8.0 / 1000)
    assert clock.most == 1
    clock.fired = 0
    clock.run(clock.now_s + 80.0)
    assert clock.most == 1 and clock.fired <= 10 * (1 / TOGETHER + 1)


def test_of_very_many_at_once_others_get_their_turn(clock: Clock) -> None:
    came: list[int] = []
    waiting = Delay(1.0, lambda item, began_s: came.append(item))
    for number in range(3 * AT_ONCE + 1):
        waiting.add(number)
    steps: list[int] = []

    def other() -> None:
        steps.append(len(came))
        if len(came) < 3 * AT_ONCE + 1:
            clock.call_soon(other)

    clock.call_at(clock.now_s + 1.0, other)
    clock.run(clock.now_s + 1.1)
    assert came == list(range(3 * AT_ONCE + 1))
    assert max(b - a for a, b in zip([0, *steps], steps, strict=False)) <= AT_ONCE


def test_a_fault_of_one_does_not_stop_the_others(clock: Clock) -> None:
    came: list[int] = []

    def due(item: int, began_s: float) -> None:
        came.append(item)
        if item == 1:
            raise RuntimeError("a test")

    waiting = Delay(1.0, due)
    for number in range(4):
        waiting.add(number)
    with pytest.raises(RuntimeError):
        clock.run(clock.now_s + 1.0)
    waiting.add(4)
    clock.run(clock.now_s + 2.1)
    assert came == [0, 1, 2, 3, 4]


def test_after_stop_nobody_is_due(clock: Clock) -> None:
    came: list[int] = []
    waiting = Delay(1.0, lambda item, began_s: came.append(item))
    waiting.add(1)
    waiting.stop()
    clock.run(clock.now_s + 5.0)
    assert came == [] and clock._timers == []


async def test_on_a_real_loop() -> None:
    loop = asyncio.get_running_loop()
    late: list[float] = []
    waiting = Delay(0.05, lambda item, began_s: late.append(loop.time() - began_s - 0.05))
    for number in range(600):
        waiting.add(number)
    await wait_until(lambda: len(late) == 600)
    assert min(late) >= -0.001  # the resolution of some loops' clocks
    waiting.stop()
