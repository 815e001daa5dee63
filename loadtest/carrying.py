"""One job carried by one driver or courier: the drives, the lifecycle steps in order, the delivery code.

Guarantees: a position every `fix_every_s` of the drive, interpolated on the route and counted as simulated;
each step is asked only after the one before was acknowledged; a code that was written into the chat before he
listened is read from the history; ends with `JobOver` as soon as the job was taken away.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from loadtest.geo import Point, Route
from loadtest.pace import wait_event
from loadtest.person import Person
from loadtest.words import CODE_PREFIX, RIDE, Job

CODE_WAIT_S = 300.0
SHORTEST_CODE_WAIT_WALL_S = 10.0
READ_EVERY_WALL_S = 2.0
STEP_TRIES = 3

RIDE_STEPS = (("assigned", "arrived"), ("arrived", "in_progress"), ("in_progress", "completed"))
PACKAGE_STEPS = (
    ("assigned", "arrived_pickup"),
    ("arrived_pickup", "picked_up"),
    ("picked_up", "arrived_dropoff"),
    ("arrived_dropoff", "delivered"),
)
DRIVES_TO_PICKUP = frozenset({"arrived", "arrived_pickup"})
DRIVES_TO_DROPOFF = frozenset({"completed", "arrived_dropoff"})


class Motion(Protocol):
    """Where a carrier without a job is, and which way he drives. All times are simulated seconds."""

    def next_fix(self, after_s: float) -> tuple[float, Point] | None:
        """The first position that is due after an instant; None when there are no more."""

    def position(self, at_s: float) -> Point | None:
        """The newest position at an instant; None before the first and after the last."""

    def moved(self, to: Point, at_s: float) -> None:
        """A job has left the carrier here."""

    def route(self, a: Point, b: Point) -> Route:
        """The way that a job takes from a to b."""


def _unknown_duration(_job_id: str) -> float | None:
    return None


def _never(_job_id: str) -> bool:
    return False


@dataclass(frozen=True)
class Habits:
    """How carriers work; one object for all of a run."""

    fix_every_s: float
    speed_mps: float
    dwell_s: float = 30.0
    detour: float = 1.3  # road over the route's own length; the median of real trips, for straight routes
    trip_s: Callable[[str], float | None] = _unknown_duration  # known duration of the main leg, by job id
    simulated_idle: bool = False  # whether positions without a job are invented, too
    tells_seen: bool = False  # says `offer_seen`, as apps do that start the driver's clock with it
    yields: Callable[[str], bool] = _never  # whether an offer of this job is left to somebody else, by its id
    rejoins: bool = True  # offline and online again after a job, at the motion's own position

    def drive_s(self, route: Route) -> float:
        """How long a route takes."""
        return route.length_m * self.detour / self.speed_mps


class JobOver(Exception):
    """The job ended or was taken away while it was being carried."""


SendFix = Callable[[Point, float, float, bool], Awaitable[None]]


class Trip:
    """The carrying of one job, from the state it is in to its end."""

    def __init__(
        self, person: Person, send_fix: SendFix, motion: Motion, habits: Habits, *, job: Job
    ) -> None:
        self.job = job
        self.over = asyncio.Event()
        self._person = person
        self._pace = person.town.pace
        self._send_fix = send_fix
        self._motion = motion
        self._habits = habits
        self._code: str | None = None
        self._code_came = asyncio.Event()

    def hear(self, line: Mapping[str, Any]) -> None:
        """A line of the chat: the passenger's or the sender's app may have passed the code on with it."""
        text = str(line.get("message", ""))
        if line.get("senderId") != self._person.id and text.startswith(CODE_PREFIX):
            self._code = text.removeprefix(CODE_PREFIX)
            self._code_came.set()

    async def run(self, start: Point) -> None:
        """Carries the job out from where the carrier is. Raises `JobOver`."""
        for before, after in RIDE_STEPS if self.job.kind is RIDE else PACKAGE_STEPS:
            if self.job.state == before:
                await self._approach(after, start)
                await self._report(after)

    async def _approach(self, after: str, start: Point) -> None:
        if after in DRIVES_TO_PICKUP:
            route = self._motion.route(start, self.job.pickup)
            await self._drive(route, self._habits.drive_s(route))
        elif after in DRIVES_TO_DROPOFF:
            route = self._motion.route(self.job.pickup, self.job.dropoff)
            known_s = self._habits.trip_s(self.job.id)
            await self._drive(route, known_s or self._habits.drive_s(route))
        else:
            await self._pace.pause(self._habits.dwell_s)

    async def _report(self, after: str) -> None:
        payload: dict[str, Any] = {self.job.kind.id_field: self.job.id, "status": after}
        if after == "in_progress" and self._code is not None:
            payload["otp"] = self._code  # where the area asks for one it has come while he waited
        if after == "delivered":
            payload["proof"] = {"code": await self._delivery_code()}
        for _ in range(STEP_TRIES):
            if self.over.is_set():
                raise JobOver
            answer = await self._person.ask(self.job.kind.status_event, payload)
            if answer.get("ok"):
                self.job.state = after
                return
        raise JobOver

    async def _delivery_code(self) -> str:
        wall_s = max(self._pace.wall_s(CODE_WAIT_S), SHORTEST_CODE_WAIT_WALL_S)
        for _ in range(math.ceil(wall_s / READ_EVERY_WALL_S)):
            if await wait_event(self._code_came, READ_EVERY_WALL_S) and self._code is not None:
                return self._code
            if self.over.is_set():
                raise JobOver
            # it may stand in the chat since before this trip, or this connection, began
            page = await self._person.read(f"/api/{self.job.kind.name}s/{self.job.id}")
            for line in page.get("messages", []):
                self.hear(line)
        if self._code is None:
            self._person.town.tally.error("loadtest", "the delivery code never came")
            raise JobOver
        return self._code

    async def _drive(self, route: Route, duration_s: float) -> None:
        every_s, start_s = self._habits.fix_every_s, self._pace.now_s()
        for step in range(1, int(duration_s / every_s) + 1):
            await self._be_at(route, start_s, step * every_s, duration_s)
        await self._be_at(route, start_s, duration_s, duration_s)

    async def _be_at(self, route: Route, start_s: float, after_s: float, duration_s: float) -> None:
        self._person.town.tally.late(await self._pace.until(start_s + after_s))
        if self.over.is_set():
            raise JobOver
        point, heading = route.at(after_s / duration_s if duration_s > 0 else 1.0)
        await self._send_fix(point, start_s + after_s, heading, True)


def straight(a: Point, b: Point) -> Route:
    """A route for a place whose streets nobody gave us."""
    return Route([a, b])
