"""The brute-force matcher: what a plain nearest-first dispatcher would have served in the same replay.

An offline simulation over the same cabs, rides, answers, delays and durations, with no server, no network
and no index in it: at each instant it measures the distance to every free cab and asks the nearest.
Guarantees: exact, deterministic; a cab is asked at most once for a job and never holds two things at a
time.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from loadtest.geo import EARTH_RADIUS_M, Point
from loadtest.temper import Temper
from loadtest.traces import Ride, Trace


@dataclass(frozen=True)
class Rules:
    """The numbers that the replay's area has as well; simulated seconds."""

    ask_before_s: float
    offer_s: float
    patience_s: float
    retry_s: float
    stale_s: float
    radius_m: float
    most_offers: int
    pickup_speed_mps: float
    detour: float
    dwell_s: float


@dataclass
class Served:
    """What the simulation found."""

    requests: int = 0
    matched: int = 0
    offers: int = 0
    pickup_m: list[float] = field(default_factory=list)

    @property
    def matched_share(self) -> float:
        return self.matched / self.requests if self.requests else 0.0


class Cabs:
    """Where every cab is, as arrays: the newest fix at an instant, and until when it is taken."""

    def __init__(self, traces: Sequence[Trace]) -> None:
        self._traces = traces
        self._latitude = np.zeros(len(traces))
        self._longitude = np.zeros(len(traces))
        self._fix_s = np.full(len(traces), -np.inf)
        self._cursor = [0] * len(traces)
        self.taken_until_s = np.full(len(traces), -np.inf)

    def move_to(self, now_s: float) -> None:
        """Brings every position up to an instant; instants must not decrease."""
        for i, trace in enumerate(self._traces):
            cursor = self._cursor[i]
            while cursor < len(trace.points) and trace.ts[cursor] <= now_s:
                cursor += 1
            if cursor > self._cursor[i]:
                self._cursor[i] = cursor
                self._fix_s[i] = trace.ts[cursor - 1]
                self._latitude[i], self._longitude[i] = trace.points[cursor - 1]

    def nearest(
        self, pickup: Point, now_s: float, stale_s: float, barred: set[int]
    ) -> tuple[int, float] | None:
        """The nearest free cab with a fresh position, and its distance in metres."""
        away_m = distances_m(self._latitude, self._longitude, pickup)
        free = (self.taken_until_s <= now_s) & (now_s - self._fix_s <= stale_s)
        free[list(barred)] = False
        away_m[~free] = np.inf
        best = int(np.argmin(away_m)) if len(away_m) else -1
        return None if best < 0 or not np.isfinite(away_m[best]) else (best, float(away_m[best]))


def distances_m(
    latitude: NDArray[np.float64], longitude: NDArray[np.float64], point: Point
) -> NDArray[np.float64]:
    """Metres from each position to a point."""
    middle = np.radians((latitude + point.latitude) / 2)
    east = np.radians(longitude - point.longitude) * np.cos(middle)
    north = np.radians(latitude - point.latitude)
    return np.asarray(EARTH_RADIUS_M * np.hypot(east, north))


@dataclass
class _Open:
    """A job that still looks for a cab."""

    ride: Ride
    asked_s: float
    barred: set[int] = field(default_factory=set)
    offers: int = 0


Step = Literal["look", "declined", "expired", "accepted"]


def serve(
    traces: Sequence[Trace],
    rides: Sequence[Ride],
    rules: Rules,
    temper: Temper,
    job_of_trip: Callable[[str], str] = str,
) -> Served:
    """Nearest-first over the whole replay."""
    cabs, served = Cabs(traces), Served(requests=len(rides))
    order = itertools.count()
    agenda: list[tuple[float, int, Step, _Open, int, float]] = []
    for ride in rides:
        asked_s = ride.pickup_s - rules.ask_before_s
        heapq.heappush(agenda, (asked_s, next(order), "look", _Open(ride, asked_s), -1, 0.0))
    while agenda:
        now_s, _, step, job, cab, away_m = heapq.heappop(agenda)
        if cab >= 0:
            cabs.taken_until_s[cab] = now_s
        if step == "accepted":
            served.matched += 1
            served.pickup_m.append(away_m)
            approach_s = away_m * rules.detour / rules.pickup_speed_mps
            cabs.taken_until_s[cab] = now_s + approach_s + rules.dwell_s + job.ride.duration_s
            continue
        if now_s - job.asked_s >= rules.patience_s or job.offers >= rules.most_offers:
            continue
        cabs.move_to(now_s)
        found = cabs.nearest(job.ride.pickup, now_s, rules.stale_s, job.barred)
        if found is None or found[1] > rules.radius_m:
            heapq.heappush(agenda, (now_s + rules.retry_s, next(order), "look", job, -1, 0.0))
            continue
        cab, away_m = found
        job.barred.add(cab)
        job.offers += 1
        served.offers += 1
        outcome, after_s = _answer(temper, traces[cab].vehicle, job_of_trip(job.ride.trip), rules.offer_s)
        cabs.taken_until_s[cab] = np.inf
        heapq.heappush(agenda, (now_s + after_s, next(order), outcome, job, cab, away_m))
    return served


def _answer(temper: Temper, vehicle: str, job: str, offer_s: float) -> tuple[Step, float]:
    answer, delay_s = temper.answer(vehicle, job)
    if answer == "silent" or delay_s > offer_s:
        return "expired", offer_s
    return ("accepted" if answer == "accept" else "declined"), delay_s
