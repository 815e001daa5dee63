"""Measures how soon a request is an offer at its driver, where drivers are plenty: thousands of them, on two nodes.

Drivers are online on the stack's node and on a second one and stream positions; passengers of both ask for rides at a
steady rate and call each off once it was offered, so that drivers stay plenty. The clock runs from before a request is
written until its offer is read at whatever driver's socket, wherever he is connected (`offer_ms`); and until the commit
that makes the offer and publishes it (`publish_ms`, further.py says how it is seen). Further entries are in the index
meanwhile. How late this process itself was is told beside it: it is part of every figure but the last.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import sys
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from typing import Any

import uvloop

from loadtest.accounting import cpu_s, pids_of
from loadtest.bystanders import EAST, EDGE_DEG, NORTH, feature
from loadtest.further import entries, publish_ms
from loadtest.light import Light, Payload, connect
from loadtest.neighbour import neighbour, open_files_for
from loadtest.person import Account
from loadtest.sample import Sample
from loadtest.stage import StageError, make_people, put_area
from loadtest.verdict import tell

MOST_MS = {"p50": 8.0, "p95": 20.0, "p99": 40.0}
OFFERED_LEAST = 0.99
AT_ONCE = 40
AREA_TRIES = 15
STEP_S, LATE_S, WAIT_S = 0.005, 2.0, 5.0
INSIDE = 0.15 * EDGE_DEG  # nobody lives at the edge: around every request there are drivers on all sides
STEP_DEG = 2e-5
BOX = (NORTH, EAST, NORTH + EDGE_DEG, EAST + EDGE_DEG)


class Fleet:
    """All the drivers, and what they were offered."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.sent_s: dict[str, float] = {}
        self.asked_ms: dict[str, float] = {}  # of those that were offered, by the clock
        self.ms, self.acked = Sample(), Sample()
        self.offered: dict[str, asyncio.Event] = {}
        self.tally: Counter[str] = Counter()
        self._lines: list[tuple[Light, Payload]] = []
        self._turn = 0

    def place(self) -> Payload:
        north, east = (self.chance.uniform(INSIDE, EDGE_DEG - INSIDE) for _ in range(2))
        return {"latitude": NORTH + north, "longitude": EAST + east}

    async def come(self, urls: Sequence[str], drivers: Sequence[Account]) -> None:
        """Raises OSError, TimeoutError or StageError."""
        waiting = iter(enumerate(drivers))

        async def some() -> None:
            for number, driver in waiting:
                line = await connect(urls[number % len(urls)], driver.token, self._hear, within_s=60.0)
                at = self.place()
                for _ in range(AREA_TRIES):
                    answer = await line.call("go_online", {"classes": ["economy"], **at})
                    if answer.get("ok") or answer["error"]["code"] != "outside_area":
                        break
                    await asyncio.sleep(1.0)  # nodes take up a new area within seconds
                if not answer.get("ok"):
                    raise StageError(f"go_online: {answer['error']['code']}")
                self._lines.append((line, at))

        async with asyncio.TaskGroup() as coming:
            for _ in range(AT_ONCE):
                coming.create_task(some())

    def _hear(self, event: str, payload: Payload) -> None:
        if event != "offer":
            return
        ride = payload["job"]["rideId"]
        if (sent_s := self.sent_s.pop(ride, None)) is not None:
            self.asked_ms[ride] = (time.time() - time.monotonic() + sent_s) * 1000
            self.ms.add((time.monotonic() - sent_s) * 1000)
            self.offered[ride].set()

    def move(self, count: int) -> None:
        """The next so many of them are a step farther."""
        for _ in range(count):
            lap, who = divmod(self._turn, len(self._lines))
            line, at = self._lines[who]
            line.emit("location_update", {**at, "latitude": at["latitude"] + lap % 50 * STEP_DEG})
            self._turn += 1

    def leave(self) -> None:
        for line, _ in self._lines:
            line.abort()


class Load:
    """Requests and positions at their rates, on time or later, never fewer."""

    def __init__(self, fleet: Fleet, passengers: Sequence[Light], options: argparse.Namespace) -> None:
        self._fleet, self._passengers = fleet, passengers
        self._rate, self._fixes, self._seconds = options.rate, options.fixes, options.seconds
        self.lag = Sample()
        self.requests = 0

    async def run(self) -> None:
        asked = moved = 0
        began_s = next_s = time.monotonic()
        async with asyncio.TaskGroup() as rides:
            while (now_s := time.monotonic()) < began_s + self._seconds:
                self.lag.add((now_s - next_s) * 1000)
                due = int((now_s - began_s) * self._fixes) - moved
                self._fleet.move(due)
                moved += due
                while asked < (now_s - began_s) * self._rate:
                    rides.create_task(self._ride(self._passengers[asked % len(self._passengers)]))
                    asked += 1
                next_s = time.monotonic() + STEP_S
                await asyncio.sleep(STEP_S)
        self.requests = asked

    async def _ride(self, passenger: Light) -> None:
        fleet, ride = self._fleet, str(uuid.uuid4())
        fleet.offered[ride] = offered = asyncio.Event()
        wish = {"rideId": ride, "pickup": fleet.place(), "dropoff": fleet.place(), "class": "economy"}
        fleet.sent_s[ride] = sent_s = time.monotonic()
        answer = await passenger.call("request_ride", wish)
        fleet.acked.add((time.monotonic() - sent_s) * 1000)
        if not answer.get("ok"):
            fleet.tally[answer["error"]["code"]] += 1
            fleet.sent_s.pop(ride, None)
            return
        try:
            await asyncio.wait_for(offered.wait(), WAIT_S)
        except TimeoutError:
            fleet.tally["no offer"] += 1
            fleet.sent_s.pop(ride, None)  # one that comes now comes too late
        finally:
            del fleet.offered[ride]
        await passenger.call("cancel_ride", {"rideId": ride})


def failures(line: dict[str, Any]) -> list[str]:
    """The promises that did not hold."""
    wrong = [
        f"{name} is {line['offer_ms'][name]:g} ms, {most:g} are the most"
        for name, most in MOST_MS.items()
        if line["offer_ms"][name] is None or line["offer_ms"][name] > most
    ]
    if line["offers"] < OFFERED_LEAST * line["requests"]:
        wrong.append(f"{line['offers']} of {line['requests']} requests were offered")
    if line["published"] < line["offers"]:
        wrong.append(f"of {line['offers']} offers {line['published']} were found in the log")
    return wrong


async def _measure(options: argparse.Namespace) -> int:
    url, pids = os.environ["DISPATCH_URL"], pids_of(os.environ.get("DISPATCH_PIDS", ""))
    open_files_for(options.drivers + options.passengers)
    await put_area(feature())
    drivers, people = (
        await make_people("driver", options.drivers),
        await make_people("passenger", options.passengers),
    )
    fleet, passengers = Fleet(options.seed), list[Light]()
    try:
        async with neighbour() as second:
            urls = (url, second.url)
            await fleet.come(urls, drivers)
            for number, person in enumerate(people):
                passengers.append(await connect(urls[number % 2], person.token))
            load = Load(fleet, passengers, options)
            async with entries(options.entries, BOX) as further:
                await asyncio.sleep(LATE_S)
                before_s = cpu_s(pids)
                await load.run()
                spent_s = {part: now_s - before_s[part] for part, now_s in cpu_s(pids).items()}
            published = await publish_ms(os.environ["DISPATCH_DATABASE_URL"], fleet.asked_ms)
    finally:
        fleet.leave()
        for each in passengers:
            each.abort()
    line = {
        "offer_ms": fleet.ms.quantiles(1, p50=0.5, p95=0.95, p99=0.99),
        "publish_ms": published.quantiles(1, p50=0.5, p95=0.95, p99=0.99),
        "ack_ms": fleet.acked.quantiles(1, p50=0.5, p95=0.95, p99=0.99),
        "requests": load.requests,
        "offers": fleet.ms.count,
        "published": published.count,
        "trouble": dict(fleet.tally),
        "own_late_ms": load.lag.quantiles(1, p50=0.5, p95=0.95, p99=0.99),
        "cpu_share": {part: round(s / options.seconds, 2) for part, s in spent_s.items()},
        "drivers": options.drivers,
        "rate": options.rate,
        "fixes": options.fixes,
        "entries": {"in": options.entries, "until the end": further.left},
    }
    return tell(line, failures(line), as_json=options.json)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="offers", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--drivers", type=int, default=5000, help="online, half on each node (5000)")
    parser.add_argument("--passengers", type=int, default=100, help="who ask by turns (100)")
    parser.add_argument("--rate", type=float, default=50.0, help="requests a second (50)")
    parser.add_argument("--fixes", type=float, default=2000.0, help="positions a second (2000)")
    parser.add_argument("--seconds", type=float, default=20.0, help="so long (20)")
    parser.add_argument(
        "--entries", type=int, default=50_000, help="of further drivers in the index meanwhile (50000)"
    )
    parser.add_argument("--seed", type=int, default=1, help="of places (1)")
    parser.add_argument("--json", action="store_true", help="one line of figures on standard output")
    parser.add_argument("--check", action="store_true", help="only say whether so many sockets may be open")
    return parser.parse_args()


def main() -> int:
    options = _options()
    try:
        if options.check:
            open_files_for(options.drivers + options.passengers)
            return 0
        return uvloop.run(_measure(options))
    except* KeyError as unset:
        print(f"offers: {unset.exceptions[0]} is not set; `./dev bench offers` sets it", file=sys.stderr)
    except* (StageError, OSError, TimeoutError) as errors:
        print(f"offers: {errors.exceptions[0] or type(errors.exceptions[0]).__name__}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
