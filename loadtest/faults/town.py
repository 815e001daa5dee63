"""The people of a fault run and where they live: the demo city's streets, ten times as fast as a day is.

Guarantees: everybody who was started is stopped; at the end of a run nobody asks for anything new, and whoever
still waits for an answer gets a bounded time to hear it.
"""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from collections.abc import Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

from loadtest.carrying import Habits
from loadtest.city import BLOCKS_EAST, BLOCKS_NORTH, Corner, Wandering, point_of, some_corner
from loadtest.client import Pool
from loadtest.customer import Demand
from loadtest.faults.admin import Admin
from loadtest.faults.drivers import Driver, Probe
from loadtest.faults.history import History
from loadtest.faults.phones import Lines, Patient, Rider
from loadtest.pace import Pace
from loadtest.person import Account, Town
from loadtest.tally import Tally
from loadtest.temper import Temper
from loadtest.words import PACKAGE, PARCEL, RIDE

SPEED = 10.0
AREA_ID = "faults"
MARGIN_DEG = 0.02
POLICY = {
    "offer_s": 3.0,
    "offer_grace_s": 1.0,
    "patience_s": 60.0,
    "search_retry_s": 0.3,
    "stale_s": 12.0,
    "jitter_s": 1.0,
    "top_speed_mps": 1000.0,
    "cruise_speed_mps": 75.0,
    "pickup_overhead_s": 3.0,
    "stop_dwell_s": 3.0,
    "search_radius_m": 8000.0,
    "swap_accepted": True,
    "swap_saves_s": 6.0,  # by learned times few save more; nobody waits longer by over thrice that
    "finishing_s": 10.0,
}
HABITS = Habits(
    fix_every_s=10.0,
    speed_mps=18.0,
    dwell_s=8.0,
    detour=1.0,
    simulated_idle=True,
    rejoins=False,
    tells_seen=True,
)
TRIP_BLOCKS = 3
PARCEL_SHARE = 0.3
IDLE_S = 0.6
PROBE_EVERY_S = 0.5
CONNECTS_A_SECOND = 100.0
ALL_HERE_S = 30.0
QUIET_S = 30.0
POLL_S = 0.1
LINGER_S = 2.0


def feature(plenty: float) -> dict[str, Any]:
    """The area as a GeoJSON Feature: the box around the streets. With fewer than `plenty` idle drivers near for each
    who waits, all who wait are matched together."""
    corners = [
        point_of(Corner(e, n)) for e in (-BLOCKS_EAST, BLOCKS_EAST) for n in (-BLOCKS_NORTH, BLOCKS_NORTH)
    ]
    south, north = (f(p.latitude for p in corners) for f in (min, max))
    west, east = (f(p.longitude for p in corners) for f in (min, max))
    south, west, north, east = south - MARGIN_DEG, west - MARGIN_DEG, north + MARGIN_DEG, east + MARGIN_DEG
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {
        "type": "Feature",
        "properties": {
            "id": AREA_ID,
            "name": "Faults",
            "currency": "USD",
            "policy": POLICY | {"plenty": plenty},
        },
        "geometry": {"type": "Polygon", "coordinates": [ring]},
    }


CENTRE = point_of(Corner(0, 0))


class People:
    """Everybody of one run. The first drivers, one per node, are probes, which nobody's request can reach."""

    def __init__(self, seed: int, history: History) -> None:
        self._seed = seed
        self._history = history
        self._closing = AsyncExitStack()
        self._everybody: list[Patient] = []
        self._lives: list[asyncio.Task[None]] = []
        self._lines: Lines | None = None
        self.tally = Tally()

    async def come(
        self,
        urls: Sequence[str],
        drivers: Sequence[Account],
        riders: Sequence[Account],
        admin: Account,
        strangers: Sequence[str] = (),
    ) -> None:
        """Connects all, and begins to live; returns when all were here once. `strangers` are users whom the admin
        blocks and lets in again. Raises TimeoutError."""
        pools = [await self._closing.enter_async_context(Pool(url)) for url in urls]
        lines = self._lines = Lines(pools, self._history)
        pace = Pace(SPEED)
        temper = Temper(seed=self._seed, decline_share=0.08, silent_share=0.04, cancel_share=0.08)
        town = Town(pools[0], pace, self.tally, temper)
        pace.start()
        carriers: list[Driver] = []
        customers: list[Rider] = []
        probes, workers = drivers[: len(urls)], drivers[len(urls) :]
        for node, account in enumerate(probes):
            probe = Probe(lines, town, account, node, CENTRE)
            self._everybody.append(probe)
            probe.start()
            self._lives.append(asyncio.create_task(probe.keep_asking(PROBE_EVERY_S)))
        for account in workers:
            source = temper.source(f"streets/{account.user_id}")
            motion = Wandering(source, HABITS.fix_every_s, HABITS.speed_mps)
            driver = Driver(lines, town, account, motion, habits=HABITS, classes=["economy", PARCEL])
            carriers.append(driver)
            driver.start()
            driver.go_to_work()
            await asyncio.sleep(1 / CONNECTS_A_SECOND)
        for number, account in enumerate(riders):
            source = random.Random(f"{self._seed}/rider/{number}")
            rider = Rider(lines, town, account)
            customers.append(rider)
            rider.start()
            self._lives.append(asyncio.create_task(rider.live(partial(demand, source), IDLE_S)))
            await asyncio.sleep(1 / CONNECTS_A_SECOND)
        hand = Admin(lines, town, admin, strangers)
        hand.start()
        self._everybody += [*carriers, *customers, hand]
        self._lives.append(asyncio.create_task(hand.keep_on(customers, carriers)))
        async with asyncio.timeout(ALL_HERE_S):
            await asyncio.gather(*(each.ready.wait() for each in self._everybody))

    async def fall_silent(self) -> None:
        """Nothing new is asked; returns when all that was asked is answered, or at the bound."""
        assert self._lines is not None
        self._lines.closing.set()
        for _ in range(int(QUIET_S / POLL_S)):
            if not self._history.open_commands():
                break
            await asyncio.sleep(POLL_S)
        self._lines.over.set()
        await asyncio.sleep(LINGER_S)  # what is told late is heard as well

    async def go(self) -> None:
        """Everybody leaves."""
        for life in self._lives:
            life.cancel()
        results = await asyncio.gather(*self._lives, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception):
                self.tally.error("loadtest", repr(result))
        await asyncio.gather(*(each.stop() for each in self._everybody), return_exceptions=True)
        await self._closing.aclose()


def demand(source: random.Random) -> Demand:
    start = some_corner(source)
    end = start
    while end == start:
        end = some_corner(source, start, TRIP_BLOCKS)
    kind = PACKAGE if source.random() < PARCEL_SHARE else RIDE
    return Demand(id_of_now(source), kind, point_of(start), point_of(end))


def id_of_now(source: random.Random) -> str:
    """A UUID of version 7: one that says when it was made is taken also while nobody can look whether it is new."""
    now_ms = int(time.time() * 1000)
    return str(
        uuid.UUID(
            int=now_ms << 80 | 7 << 76 | source.getrandbits(12) << 64 | 2 << 62 | source.getrandbits(62)
        )
    )
