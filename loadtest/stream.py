"""Drivers who stream their positions on an open loop, each to those who watch him, and what that took.

One client, one clock and one payload for every server that is compared: what an app says with each fix. Each is known
again at its watchers by its heading, which counts up, and is timed from the moment when it was due: a server that
stands still is not asked less often. What is written and heard here costs some microseconds a frame, so that the load
generator is not what is measured; it says what it used.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import NamedTuple

from loadtest.bystanders import Pair, place
from loadtest.light import Light, connect, connect_peer
from loadtest.pace import iso_utc
from loadtest.person import Account
from loadtest.sample import percentile
from loadtest.stage import StageError

STEP_S = 0.001  # as fine as the loop's timers: in larger steps a server would get them by the batch
LATE_S, LOOK_S = 1.0, 0.005  # for the last ones to arrive
STEP_DEG = 1e-4  # some metres: further than what counts as standing still
LAP = 500  # steps away from the start, and back
COLUMNS, EAST_DEG, NORTH_DEG = (
    50,
    0.004,
    0.001,
)  # the drivers stand in a grid, so that each is the nearest to his own
COMING_AT_ONCE = 16
HEADINGS = 360
HEARD_LEAST, OWN_MOST, LATE_MS_MOST = 0.99, 0.8, 20.0
EVENT, MARK = b'42["driver_location"', b'"heading":'


class Room:
    """One driver and who watches him; `heard_ms` is shared by all rooms of a side."""

    def __init__(self, driver: Light, ride_id: str, number: int, heard_ms: list[float]) -> None:
        self.driver = driver
        self.watchers: list[Light] = []
        self._ride_id = ride_id
        self._north_deg, self._east_deg = spot(number)
        self._heard_ms = heard_ms
        self._due_s = [0.0] * HEADINGS
        self._turn = 0

    def watched_by(self, watcher: Light) -> None:
        watcher.raw = self._hear
        self.watchers.append(watcher)

    def say(self, due_s: float, timestamp: str) -> None:
        lap, heading = self._turn % (2 * LAP), self._turn % HEADINGS
        self._turn += 1
        self._due_s[heading] = due_s
        point = place(self._north_deg + (LAP - abs(lap - LAP)) * STEP_DEG, self._east_deg)
        payload = {
            "rideId": self._ride_id,
            "latitude": point["latitude"],
            "longitude": point["longitude"],
            "heading": heading,
            "speed": 11.5,
            "accuracy": 8.0,
            "timestamp": timestamp,
        }
        self.driver.emit("location_update", payload)

    def _hear(self, text: bytes) -> None:
        if text.startswith(EVENT):
            start = text.index(MARK) + len(MARK)
            heading = int(text[start : text.index(b",", start)].partition(b".")[0])
            self._heard_ms.append((time.perf_counter() - self._due_s[heading]) * 1000)


def spot(number: int) -> tuple[float, float]:
    """Where the driver of this number starts, in degrees to the north and to the east."""
    row, column = divmod(number, COLUMNS)
    return row * NORTH_DEG, column * EAST_DEG


class Streamed(NamedTuple):
    """`late_ms`: by how much the load generator itself missed its time, p99; `own_share` of a core is what it used."""

    sent: int
    heard_ms: list[float]
    heard_share: float
    own_share: float
    late_ms: float

    def quantile_ms(self, share: float) -> float:
        """Infinite when nothing was heard."""
        return percentile(self.heard_ms, share) or float("inf")

    def void(self) -> str:
        """Why this says nothing of what a position costs: too few arrived, or the load generator was what was
        measured. Empty if it does."""
        if self.own_share > OWN_MOST or self.late_ms > LATE_MS_MOST:
            used = f"{self.own_share:.0%} of a core, late by {self.late_ms:.1f} ms"
            return f"the load generator was saturated ({used})"
        return "" if self.heard_share >= HEARD_LEAST else f"only {self.heard_share:.1%} were told"


class Side:
    """All rooms on one server."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.rooms: list[Room] = []
        self._tokens: list[str] = []
        self._heard_ms: list[float] = []
        self._turn = 0

    async def relayed(self, rooms: int) -> None:
        """Drivers on a server that only relays. Raises OSError or TimeoutError."""
        for number in range(rooms):
            driver = await connect_peer(self.url, {"room": f"ride:{number}", "drives": True})
            self.rooms.append(Room(driver, f"ride:{number}", number, self._heard_ms))

    async def on_rides(self, drivers: Sequence[Account], passengers: Sequence[Account]) -> None:
        """Drivers on the way to their passengers. Raises OSError or TimeoutError."""
        turns = asyncio.Semaphore(COMING_AT_ONCE)

        async def ride(number: int, driver: Account, passenger: Account) -> Room:
            async with turns:
                pair = Pair(self.url, driver, passenger, [], spot(number))
                await pair.ride()
                room = Room(pair.driver, pair.ride_id, number, self._heard_ms)
                room.watched_by(pair.passenger)
                return room

        people = enumerate(zip(drivers, passengers, strict=True))
        self.rooms += await asyncio.gather(*(ride(number, *both) for number, both in people))
        self._tokens = [passenger.token for passenger in passengers]

    async def watch(self, watchers: int) -> None:
        """So many for each driver; on rides they are sockets of his passenger. Raises OSError or TimeoutError."""
        for number, room in enumerate(self.rooms):
            coming = [self._watcher(number) for _ in range(watchers - len(room.watchers))]
            for watcher in await asyncio.gather(*coming):
                room.watched_by(watcher)

    async def _watcher(self, number: int) -> Light:
        if self._tokens:
            return await connect(self.url, self._tokens[number])
        return await connect_peer(self.url, {"room": f"ride:{number}"})

    async def stream(self, rate: float, seconds: float) -> Streamed:
        """All drivers by turns, `rate` fixes a second together. Raises StageError when a line is broken."""
        self._heard_ms.clear()
        late_ms: list[float] = []
        sent, step, used_s, began_s = 0, 0, time.process_time(), time.perf_counter()
        while (due_s := began_s + step * STEP_S) < began_s + seconds:
            await asyncio.sleep(max(0.0, due_s - time.perf_counter()))
            now_s = time.perf_counter()
            late_ms.append(max(0.0, now_s - due_s) * 1000)
            step += 1
            timestamp = iso_utc(time.time_ns() // 1_000_000)
            while sent < step * STEP_S * rate:
                self.rooms[self._turn % len(self.rooms)].say(min(now_s, due_s), timestamp)
                self._turn += 1
                sent += 1
        own_share = (time.process_time() - used_s) / (time.perf_counter() - began_s)
        due = max(1, sent) * len(self.rooms[0].watchers)
        for _ in range(round(LATE_S / LOOK_S)):
            if len(self._heard_ms) >= due:
                break
            await asyncio.sleep(LOOK_S)
        if any(line.lost for room in self.rooms for line in (room.driver, *room.watchers)):
            raise StageError("the server has closed a line")
        heard_ms = sorted(self._heard_ms)
        heard_share = len(heard_ms) / due if due else 1.0
        return Streamed(sent, heard_ms, heard_share, own_share, percentile(sorted(late_ms), 0.99) or 0.0)

    def leave(self) -> None:
        for room in self.rooms:
            for line in (room.driver, *room.watchers):
                line.abort()
