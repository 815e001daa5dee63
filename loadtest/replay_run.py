"""The running of a replay: cabs on their traces, passengers at their times, a line of progress, a bounded
end.

Guarantees: every wait has a bound, also that for the last job; everybody who was started is stopped.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from loadtest import replay_area
from loadtest.carrier import Carrier, nearest_free_m
from loadtest.carrying import Habits
from loadtest.client import Pool
from loadtest.customer import Customer, Demand
from loadtest.ledger import Ledger
from loadtest.pace import Pace, wait_event
from loadtest.person import Account, Person, Town
from loadtest.temper import Temper
from loadtest.trace_motion import TraceMotion
from loadtest.traces import Ride, Trace
from loadtest.words import PACKAGE, RIDE

PARCEL_SHARE = 0.2
WARM_UP_S = 180.0  # Simulated: three median gaps between fixes, by when nearly every cab is online.
TAIL_S = 3600.0  # Simulated: the longest that the last job may take.
CONNECT_AHEAD_WALL_S = 3.0
CONNECT_BOUND_WALL_S = 60.0
CONNECTS_A_SECOND = 200.0
LINGER_WALL_S = 2.0  # A passenger listens on after his job, so that what leaks to him is seen.
PROGRESS_WALL_S = 2.0
CLASSES = ["economy", "parcel"]


@dataclass(frozen=True)
class Day:
    """The cut-out of a recording that is replayed: requests come in [from_s, to_s)."""

    traces: Sequence[Trace]
    rides: Sequence[Ride]
    from_s: float
    to_s: float


class ReplayRun:
    """One replay. `job_ids` maps the real rides to this run's jobs."""

    def __init__(self, day: Day, speed: float, seed: int, pool: Pool) -> None:
        self.day = day
        self.ledger = Ledger()
        self.job_ids = {ride.trip: str(uuid.uuid4()) for ride in day.rides}
        trips = {job_id: trip for trip, job_id in self.job_ids.items()}
        self.temper = Temper(seed=seed, job_name=trips.__getitem__)
        self.pace = Pace(speed, origin_s=day.from_s - WARM_UP_S)
        self.cabs: list[Carrier] = []
        self._town = Town(pool, self.pace, self.ledger, self.temper)
        self._seed = seed
        self._durations_s = {self.job_ids[ride.trip]: ride.duration_s for ride in day.rides}
        self._open_rides = len(day.rides)

    async def connect_cabs(self, accounts: Sequence[Account]) -> None:
        """Connects one driver for every trace."""
        habits = Habits(
            replay_area.FIX_EVERY_S,
            replay_area.DRIVING_SPEED_MPS,
            dwell_s=replay_area.DWELL_S,
            detour=replay_area.NOT_SCALED["detour"],
            trip_s=self._durations_s.get,
        )
        closes_s, freshest_s = self.day.to_s + TAIL_S, replay_area.DURATIONS_S["stale_s"]
        for trace, account in zip(self.day.traces, accounts, strict=True):
            motion = TraceMotion(trace, self.pace.origin_s, closes_s, freshest_s)
            named = msgspec.structs.replace(account, name=trace.vehicle)
            cab = Carrier(self._town, named, motion, habits, classes=CLASSES)
            self.cabs.append(cab)
            cab.start()
            await asyncio.sleep(1 / CONNECTS_A_SECOND)
        async with asyncio.timeout(CONNECT_BOUND_WALL_S):
            await asyncio.gather(*(cab.ready.wait() for cab in self.cabs))

    async def run(self, customers: Sequence[Account]) -> None:
        """Plays the day; returns when the last passenger has gone, or at the bound."""
        self.pace.start()
        for cab in self.cabs:
            cab.go_to_work()
        progress = asyncio.create_task(self._progress())
        rides = [
            asyncio.create_task(self._ride(ride, account))
            for ride, account in zip(self.day.rides, customers, strict=True)
        ]
        span_s = WARM_UP_S + self.day.to_s - self.day.from_s + TAIL_S
        _, unfinished = await asyncio.wait(rides, timeout=self.pace.wall_s(span_s) + LINGER_WALL_S)
        for task in unfinished:
            task.cancel()
        progress.cancel()
        results = await asyncio.gather(*rides, progress, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception):
                self.ledger.error("loadtest", repr(result))
        for ride, task in zip(self.day.rides, rides, strict=True):
            if task in unfinished:
                self.ledger.error("loadtest", f"still waiting at the end: {self._whereabouts(ride)}")

    async def disconnect(self) -> None:
        """Closes every cab's socket."""
        await stop_all(self.cabs)

    async def _ride(self, ride: Ride, account: Account) -> None:
        asks_s = ride.pickup_s - replay_area.ASK_BEFORE_PICKUP_S
        await self.pace.until(asks_s - CONNECT_AHEAD_WALL_S * self.pace.speed)
        customer = Customer(self._town, account)
        customer.start()
        try:
            await wait_event(customer.ready, CONNECT_BOUND_WALL_S)
            self.ledger.late(await self.pace.until(asks_s))
            demand = self._demand(ride)
            stale_s, radius_m = replay_area.DURATIONS_S["stale_s"], replay_area.NOT_SCALED["search_radius_m"]
            nearest_m = nearest_free_m(self.cabs, ride.pickup, self.pace.now_s(), stale_s, radius_m)
            self.ledger.ask(demand.job_id, customer.id, ride.pickup, nearest_m)
            await customer.order(demand)
            await asyncio.sleep(LINGER_WALL_S)
        finally:
            self._open_rides -= 1
            await customer.stop()

    def _whereabouts(self, ride: Ride) -> str:
        """What both sides of a job that never ended believe of it."""
        job_id = self.job_ids[ride.trip]
        said = sorted((each.seq, each.state) for each in self.ledger.events.values() if each.job == job_id)
        carried = [each.trip.job.state for each in self.cabs if each.trip and each.trip.job.id == job_id]
        return f"{job_id} was said to be {said[-1:] or 'nothing'}; its cab believes {carried or 'nothing'}"

    def _demand(self, ride: Ride) -> Demand:
        parcel = random.Random(f"{self._seed}/parcel/{ride.trip}").random() < PARCEL_SHARE
        kind = PACKAGE if parcel else RIDE
        return Demand(self.job_ids[ride.trip], kind, ride.pickup, ride.dropoff, vehicle_class=CLASSES[0])

    async def _progress(self) -> None:
        started_s = time.monotonic()
        while True:
            await asyncio.sleep(PROGRESS_WALL_S)
            counts, now_s = self.ledger.counts, self.pace.now_s() - self.day.from_s
            states = [cab.state for cab in self.cabs]
            print(
                f"{time.monotonic() - started_s:5.0f} s  replayed {now_s / 60:6.1f} min  "
                f"cabs idle {states.count('idle')} offered {states.count('offered')} busy {states.count('busy')} "
                f"off {states.count('offline')}  fixes {counts['fixes_real'] + counts['fixes_simulated']}  "
                f"requests {counts['requests']}  accepted {counts['accepted']}  open {self._open_rides}  "
                f"errors {self.ledger.errors.total()}",
                file=sys.stderr,
                flush=True,
            )


async def stop_all(people: Sequence[Person]) -> None:
    """Stops people at once, each within his own bound."""
    await asyncio.gather(*(person.stop() for person in people), return_exceptions=True)
