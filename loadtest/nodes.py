"""Measures what a second node costs: processor time of all nodes for a relayed position, two nodes against one.

Drivers on rides stream their positions, each to the passenger who watches him. In rounds by turns all are on one
node, which is alone, or the drivers are on the first node and the watchers on a second. What each node process
spent is read from /proc and divided by the positions that watchers were told; the ratio is each pair of rounds' own,
so that a busy machine's moods cancel. Redis is told beside it: it carries what goes from node to node.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

from loadtest.accounting import cpu_s, pids_of
from loadtest.bystanders import EDGE_DEG, Pair, feature, place
from loadtest.light import Light, Payload, connect
from loadtest.neighbour import neighbour, open_files_for
from loadtest.stage import StageError, make_people, put_area
from loadtest.verdict import run, tell

RATIO_MOST = 1.5
HEARD_LEAST = 0.98  # of what was sent: a volatile value may give way to a newer one
STEP_S = 0.01
WARM_S, LATE_S = 1.5, 0.5
STEP_DEG = 1e-4


@dataclass
class Rounds:
    """Microseconds a relayed position, of each round: of all nodes together, and of Redis."""

    nodes_us: list[float] = field(default_factory=list)
    redis_us: list[float] = field(default_factory=list)
    heard: int = 0
    sent: int = 0


class Relay:
    """Pairs on rides; the drivers stay on the first node, the watchers come for each round."""

    def __init__(self, url: str, pids: Mapping[str, Sequence[int]], rate: float, seconds: float) -> None:
        self._url, self._pids, self._rate, self._seconds = url, pids, rate, seconds
        self._drivers: list[Light] = []
        self._tokens: list[str] = []
        self._turn = 0
        self._heard = 0

    async def begin(self, count: int) -> None:
        """Raises OSError, TimeoutError or StageError."""
        await put_area(feature())
        drivers = await make_people("driver", count)
        for driver, passenger in zip(drivers, await make_people("passenger", count), strict=True):
            pair = Pair(self._url, driver, passenger, [])
            await pair.ride()
            pair.passenger.abort()
            self._drivers.append(pair.driver)
            self._tokens.append(passenger.token)

    async def one(self, rounds: Rounds) -> None:
        """A round with the first node alone."""
        await self._round(rounds, self._url, [])

    async def two(self, rounds: Rounds) -> None:
        """A round with the watchers on a second node, which comes and goes with it."""
        async with neighbour() as second:
            await self._round(rounds, second.url, [second.pid])

    async def _round(self, rounds: Rounds, watch_at: str, others: list[int]) -> None:
        pids = {"nodes": [*self._pids["server"], *others], "redis": self._pids.get("redis", ())}
        async with AsyncExitStack() as closing:
            for token in self._tokens:
                watcher = await connect(watch_at, token, self._hear)
                closing.callback(watcher.abort)
            await self._stream(WARM_S)
            self._heard, before_s = 0, cpu_s(pids)
            sent = await self._stream(self._seconds)
            spent_s = {part: now_s - before_s[part] for part, now_s in cpu_s(pids).items()}
        if not self._heard:
            raise StageError("no watcher was told anything")
        rounds.sent += sent
        rounds.heard += self._heard
        rounds.nodes_us.append(spent_s["nodes"] * 1e6 / self._heard)
        rounds.redis_us.append(spent_s["redis"] * 1e6 / self._heard)

    def _hear(self, event: str, payload: Payload) -> None:
        self._heard += event == "driver_location"

    async def _stream(self, seconds: float) -> int:
        """All drivers by turns, at the rate; how many positions were sent. Those on their way are waited for."""
        began_s, sent = time.monotonic(), 0
        while (now_s := time.monotonic()) < began_s + seconds:
            while sent < (now_s - began_s) * self._rate:
                lap, who = divmod(self._turn, len(self._drivers))
                self._drivers[who].emit("location_update", place(lap * STEP_DEG % (EDGE_DEG / 2)))
                self._turn += 1
                sent += 1
            await asyncio.sleep(STEP_S)
        await asyncio.sleep(LATE_S)
        return sent

    def end(self) -> None:
        for driver in self._drivers:
            driver.abort()


def figures(options: argparse.Namespace, one: Rounds, two: Rounds) -> dict[str, Any]:
    """The JSON line as a dict: the agreed key first."""
    ratios = [b / a for a, b in zip(one.nodes_us, two.nodes_us, strict=True)]
    return {
        "ratio": round(statistics.median(ratios), 3),
        "one_node_us": round(statistics.median(one.nodes_us), 1),
        "two_nodes_us": round(statistics.median(two.nodes_us), 1),
        "redis_us": {
            "one": round(statistics.median(one.redis_us), 1),
            "two": round(statistics.median(two.redis_us), 1),
        },
        "heard_share": {name: round(r.heard / r.sent, 4) for name, r in (("one", one), ("two", two))},
        "relayed": one.heard + two.heard,
        "pairs": options.pairs,
        "rate": options.rate,
        "ratio_rounds": [round(ratio, 3) for ratio in ratios],
    }


def failures(line: dict[str, Any]) -> list[str]:
    """The promises that did not hold."""
    wrong = [f"{n}: {share:.1%} were told" for n, share in line["heard_share"].items() if share < HEARD_LEAST]
    if line["ratio"] > RATIO_MOST:
        wrong.append(f"two nodes need {line['ratio']:g} times the time of one, {RATIO_MOST:g} are the most")
    return wrong


async def _measure(options: argparse.Namespace) -> int:
    open_files_for(2 * options.pairs)
    pids = pids_of(os.environ["DISPATCH_PIDS"])
    relay, one, two = (
        Relay(os.environ["DISPATCH_URL"], pids, options.rate, options.seconds),
        Rounds(),
        Rounds(),
    )
    try:
        await relay.begin(options.pairs)
        for number in range(options.rounds):
            turns = [(relay.one, one), (relay.two, two)]
            for turn, rounds in turns if number % 2 == 0 else reversed(turns):
                await turn(rounds)
    finally:
        relay.end()
    line = figures(options, one, two)
    return tell(line, failures(line), as_json=options.json)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="nodes", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--pairs", type=int, default=200, help="drivers, each with one watcher (200)")
    parser.add_argument("--rate", type=float, default=1000.0, help="positions a second of all of them (1000)")
    parser.add_argument("--seconds", type=float, default=8.0, help="of one round (8)")
    parser.add_argument("--rounds", type=int, default=5, help="of each of the two (5)")
    parser.add_argument("--json", action="store_true", help="one line of figures on standard output")
    parser.add_argument("--check", action="store_true", help="nothing is needed but the stack")
    return parser.parse_args()


def main() -> int:
    options = _options()
    if options.check:
        return 0
    return run("nodes", lambda: _measure(options))


if __name__ == "__main__":
    sys.exit(main())
