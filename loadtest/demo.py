"""A demo city of the project's own making: drivers, couriers, passengers and senders on real sockets.

    python -m loadtest.demo --url http://127.0.0.1:8080 --tokens tokens.jsonl [--seconds N] [--drivers N …]

Runs until it is stopped, for hours if need be, within bounded memory, survives restarts of the server, and
ends within two seconds of SIGINT or SIGTERM. Requests that nobody drives yet are called off then; a job under
way is carried to its end by the same people, when they come again.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import signal
import sys
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

import uvloop

from loadtest.carrier import Carrier, nearest_free_m
from loadtest.carrying import Habits
from loadtest.city import Wandering, address_of, point_of, some_corner
from loadtest.client import Pool
from loadtest.customer import Customer, Demand
from loadtest.pace import Pace, wait_event
from loadtest.person import Account, Person, Town
from loadtest.screen import Screen
from loadtest.stage import read_people
from loadtest.tally import Tally
from loadtest.temper import Temper
from loadtest.words import PACKAGE, PARCEL, RIDE

FIX_EVERY_S = 4.0
SPEED_MPS = 11.0
DWELL_S = 10.0
TRIP_BLOCKS = 6
PARCEL_SHARE = 0.3
#: Who tries the pages or the examples does it in the middle of the city: its people ask for nothing there, and of an
#: offer of a job that is not the city's own so many are declined at once, for the driver in the window beside it.
QUIET_BLOCKS = 3
YIELDS = 3
STRANGERS_KEPT = 1_000
IDLE_MEAN_S = 420.0
IDLE_FIRST_S = 540.0  # A city that wakes up all at once has no free driver for half an hour.
STALE_S, SEARCH_RADIUS_M = 45.0, 6_000.0  # As the demo's areas have them.
CONNECTS_A_SECOND = 50.0
CALL_OFF_BOUND_S = 0.5
STOP_BOUND_S = 1.0
CLASSES = (["economy"], ["economy", "comfort"], ["economy", "comfort", "premium"])
WANTED = ("economy",) * 7 + ("comfort",) * 2 + ("premium",)


class City:
    """Everybody in it."""

    def __init__(self, pool: Pool, people: Sequence[Account], seed: int) -> None:
        pace = Pace(1.0)
        temper = Temper(seed=seed, decline_share=0.08, silent_share=0.04, cancel_share=0.05)
        self.town = Town(pool, pace, Tally(), temper)
        self._yielded: dict[str, int] = {}
        habits = Habits(
            FIX_EVERY_S,
            SPEED_MPS,
            dwell_s=DWELL_S,
            detour=1.0,
            simulated_idle=True,
            tells_seen=True,
            yields=self._yields,
            rejoins=False,
        )
        self.carriers = [self._carrier(each, habits) for each in people if each.role in {"driver", "courier"}]
        self.customers = [Customer(self.town, each) for each in people if each.role == "passenger"]
        self._tasks: list[asyncio.Task[None]] = []

    async def live(self, ends: asyncio.Event, seconds: float | None, screen: Screen) -> None:
        """Until told to end, or for so many seconds."""
        self.town.pace.start()
        started_s = time.monotonic()
        self._tasks.append(asyncio.create_task(self._arrive()))
        while not ends.is_set():
            uptime_s = time.monotonic() - started_s
            if seconds is not None and uptime_s >= seconds:
                break
            screen.show(uptime_s, self.carriers, self.customers, self.town.tally)
            rest_s = screen.every_s if seconds is None else min(screen.every_s, seconds - uptime_s)
            await wait_event(ends, rest_s)
        if not (ends.is_set() and screen.redraws):  # whoever ends us writes below the last picture
            screen.show(time.monotonic() - started_s, self.carriers, self.customers, self.town.tally)

    async def end(self) -> None:
        """Sends everybody home, within a bound; what nobody drives yet is called off."""
        for task in self._tasks:
            task.cancel()
        if calls := [asyncio.create_task(each.call_off()) for each in self.customers]:
            await asyncio.wait(calls, timeout=CALL_OFF_BOUND_S)
        everybody: list[Person] = [*self.carriers, *self.customers]
        leaving = [asyncio.create_task(each.stop()) for each in everybody]
        if leaving:
            await asyncio.wait(leaving, timeout=STOP_BOUND_S)

    def _carrier(self, account: Account, habits: Habits) -> Carrier:
        source = self.town.temper.source(f"streets/{account.user_id}")
        classes = [PARCEL] if account.role == "courier" else source.choice(CLASSES)
        motion = Wandering(source, FIX_EVERY_S, SPEED_MPS)
        return Carrier(self.town, account, motion, habits, classes=classes)

    def _yields(self, job_id: str) -> bool:
        if any(customer.job is not None and customer.job.id == job_id for customer in self.customers):
            return False
        self._yielded[job_id] = self._yielded.pop(job_id, 0) + 1
        if len(self._yielded) > STRANGERS_KEPT:
            del self._yielded[next(iter(self._yielded))]
        return self._yielded[job_id] <= YIELDS

    async def _arrive(self) -> None:
        for carrier in self.carriers:
            carrier.start()
            carrier.go_to_work()
            await asyncio.sleep(1 / CONNECTS_A_SECOND)
        for customer in self.customers:
            customer.start()
            self._tasks.append(asyncio.create_task(self._wish(customer)))
            await asyncio.sleep(1 / CONNECTS_A_SECOND)

    async def _wish(self, customer: Customer) -> None:
        """A customer's day: a job, a rest, the next job."""
        source = random.Random()
        await asyncio.sleep(source.uniform(0, IDLE_FIRST_S))
        while True:
            await customer.ready.wait()
            await customer.finish_left_over()
            demand = _demand(source)
            await customer.order(demand, driver_free=self._in_reach(demand))
            await asyncio.sleep(source.expovariate(1 / IDLE_MEAN_S))

    def _in_reach(self, demand: Demand) -> bool:
        """Whether the city itself knows of a free driver who may take this and is near enough."""
        able = [each for each in self.carriers if each.serves(demand.kind, demand.vehicle_class)]
        now_s = self.town.pace.now_s()
        return nearest_free_m(able, demand.pickup, now_s, STALE_S, SEARCH_RADIUS_M) is not None


def _demand(source: random.Random) -> Demand:
    start = some_corner(source)
    while max(map(abs, start)) <= QUIET_BLOCKS:
        start = some_corner(source)
    end = some_corner(source, start, TRIP_BLOCKS)
    while end == start:
        end = some_corner(source, start, TRIP_BLOCKS)
    kind = PACKAGE if source.random() < PARCEL_SHARE else RIDE
    return Demand(
        str(uuid.uuid4()),
        kind,
        point_of(start),
        point_of(end),
        source.choice(WANTED),
        address_of(start),
        address_of(end),
    )


async def _run(options: argparse.Namespace) -> None:
    ends = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ends.set)
    limits = {"driver": options.drivers, "courier": options.couriers, "passenger": options.passengers}
    people = [
        each
        for role, limit in limits.items()
        for each in [one for one in read_people(options.tokens) if one.role == role][:limit]
    ]
    async with Pool(options.url) as pool:
        city = City(pool, people, options.seed)
        try:
            await city.live(ends, options.seconds, Screen())
        finally:
            await city.end()


def main() -> int:
    parser = argparse.ArgumentParser(prog="demo", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--url", required=True, help="of the server")
    parser.add_argument("--tokens", required=True, type=Path, help="JSON lines: user_id, role, token, name")
    parser.add_argument("--seconds", type=float, help="end after so long; without it: on Ctrl-C")
    parser.add_argument("--drivers", type=int, help="at most so many; without it: all of the tokens file")
    parser.add_argument("--couriers", type=int, help="at most so many")
    parser.add_argument("--passengers", type=int, help="at most so many; they are senders as well")
    parser.add_argument("--seed", type=int, default=1, help="of what people do by chance (1)")
    options = parser.parse_args()
    if not options.tokens.exists():
        print(f"demo: no such file: {options.tokens}", file=sys.stderr)
        return 2
    uvloop.run(_run(options))
    return 0


if __name__ == "__main__":
    sys.exit(main())
