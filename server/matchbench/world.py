"""A city in simulated time: requests come, offers are answered, vehicles drive; a matcher decides who is asked.

Event driven and deterministic: the same city and matcher give the same outcome. A vehicle drives straight lines, at the
policy's speed over its detour; how long an approach takes is what the server's own estimate says, so estimates are
exact here. Guarantees: a job has at most one driver and one open offer, a driver one of either; who declined a job or
kept silent is not asked for it again.

| what is simulated | how |
|---|---|
| an offer | the driver is held until he answers; silence ends after `policy.offer_s` |
| a passenger | leaves when nobody has accepted within his patience, then waits for the one who has |
| a takeover | an idle driver is asked for a job that another is on his way to; when he accepts, that one is free |
| a vehicle without a job | stands where it became idle; with trails it drives back to its trail and follows it |
"""

from __future__ import annotations

import heapq
import itertools
from typing import Final, Literal, Protocol

import numpy as np

from dispatch.assignment import Floats, Ints
from dispatch.eta import pickup_eta_s
from dispatch.policy import Policy
from server.matchbench.city import City

IDLE, ASKED, COMING, ABOARD = range(4)  # of a vehicle
Kind = Literal["ask", "answer", "pickup", "dropoff", "leave"]
NOBODY: Final = -1


def etas_s(distance_m: Floats, policy: Policy) -> Floats:
    """`pickup_eta_s` over arrays."""
    return policy.pickup_overhead_s + distance_m * (policy.detour / policy.cruise_speed_mps)


class Matcher(Protocol):
    """Decides who is asked, by `World.offer` and `World.withdraw`."""

    def asked(self, world: World, job: int) -> None:
        """A request came in just now."""

    def tick(self, world: World) -> None:
        """The next batch is due."""


class World:
    def __init__(self, city: City, policy: Policy, tick_s: float) -> None:
        n, m = len(city.asked_s), len(city.vehicles_m)
        self.city, self.policy, self.tick_s, self.now_s = city, policy, tick_s, 0.0
        self.vehicle_state = np.full(m, IDLE)
        self.idle_since_s = np.full(m, city.asked_s[0])
        self.idle_s = np.zeros(m)  # in all, up to the last request
        self._from_m, self._to_m = city.vehicles_m.copy(), city.vehicles_m.copy()
        self._starts_s, self._ends_s = np.full(m, -1.0), np.full(m, -1.0)
        self.driver_of = np.full(n, NOBODY)  # who has accepted
        self.offered_to = np.full(n, NOBODY)
        self.waiting: set[int] = set()
        self.open: set[int] = set()  # offered for the first time, no answer yet
        self.coming: set[int] = set()  # accepted, not picked up
        self.barred: dict[int, set[int]] = {}
        self.swapped = np.zeros(n, dtype=bool)
        self.takeovers = np.zeros(n, dtype=int)  # so many were asked to take it over
        self.offers, self.withdrawn = np.zeros(n, dtype=int), np.zeros(n, dtype=int)
        self.wait_s, self.approach_m = np.full(n, np.nan), np.zeros(n)
        self.gone_s: list[float] = []  # when requests left that nobody had accepted
        self._numbers = itertools.count(1)
        self._offer = np.zeros(n, dtype=int)  # number of the open offer
        self._trip = np.zeros(n, dtype=int)  # number of the approach under way
        self._agenda: list[
            tuple[float, int, Kind, int, int]
        ] = []  # second: the number of offers and approaches

    def run(self, matcher: Matcher) -> None:
        for job, asked_s in enumerate(self.city.asked_s):
            self._at(float(asked_s), "ask", job)
        tick_at_s = 0.0
        while self._agenda:
            next_s = self._agenda[0][0]
            if (self.waiting or self.open or self.coming) and tick_at_s <= next_s:
                self.now_s = tick_at_s
                tick_at_s += self.tick_s
                matcher.tick(self)
                continue
            self.now_s, number, kind, job, driver = heapq.heappop(self._agenda)
            tick_at_s = max(tick_at_s, (self.now_s // self.tick_s + 1) * self.tick_s)
            if kind == "ask":
                self.waiting.add(job)
                self._at(self.now_s + float(self.city.patience_s[job]), "leave", job)
                matcher.asked(self, job)
            elif kind == "leave":
                self._leave(job)
            elif kind == "answer" and number == self._offer[job]:
                self._answered(job, driver)
            elif kind == "pickup" and number == self._trip[job]:
                self._pickup(job, driver)
            elif kind == "dropoff":
                self._dropoff(job, driver)
        self._count_idle(np.flatnonzero(self.vehicle_state <= ASKED))

    # What a matcher may do and see

    def offer(self, job: int, driver: int) -> None:
        """Asks a driver for a job that waits, or for one that another is on his way to."""
        assert self.vehicle_state[driver] == IDLE and self.offered_to[job] == NOBODY
        assert driver not in self.barred.get(job, ())
        self.offers[job] += 1
        self.takeovers[job] += self.driver_of[job] != NOBODY
        self.offered_to[job] = driver
        self.vehicle_state[driver] = ASKED
        if job in self.waiting:
            self.waiting.remove(job)
            self.open.add(job)
        answer, after_s = self.city.answer(driver, job)
        after_s = self.policy.offer_s if answer == "silent" else after_s
        self._offer[job] = self._at(self.now_s + after_s, "answer", job, driver)

    def withdraw(self, job: int) -> None:
        """Takes an open offer back; the job waits again, or keeps who is on his way to it."""
        self._end_offer(job)
        self.withdrawn[job] += 1

    def idle(self) -> Ints:
        """The vehicles that may be asked."""
        idle = self.vehicle_state == IDLE
        trails = self.city.trails
        if trails is not None:
            step = int((self.now_s - trails.from_s) / trails.step_s)
            idle &= (self._ends_s > self.now_s) | trails.seen[:, min(max(step, 0), trails.seen.shape[1] - 1)]
        return np.flatnonzero(idle)

    def places_m(self, drivers: Ints) -> Floats:
        """Where vehicles are now: (k, 2)."""
        starts_s, ends_s = self._starts_s[drivers], self._ends_s[drivers]
        share = np.clip((self.now_s - starts_s) / np.maximum(ends_s - starts_s, 1e-9), 0.0, 1.0)[:, None]
        places_m = self._from_m[drivers] * (1.0 - share) + self._to_m[drivers] * share
        if self.city.trails is not None:
            on_trail = (self.vehicle_state[drivers] <= ASKED) & (ends_s <= self.now_s)
            places_m[on_trail] = self._trail_m(drivers[on_trail], self.now_s)
        return np.asarray(places_m)

    def left_s(self, job: int) -> float:
        """How long its pickup may take at most, from now."""
        return self.city.limit_s - (self.now_s - float(self.city.asked_s[job]))

    def arrives_in_s(self, drivers: Ints) -> Floats:
        """How long vehicles that are on their way to a pickup still need."""
        return np.asarray(self._ends_s[drivers] + self.policy.pickup_overhead_s - self.now_s)

    # What happens

    def _at(self, at_s: float, kind: Kind, job: int, driver: int = NOBODY) -> int:
        number = next(self._numbers)
        heapq.heappush(self._agenda, (at_s, number, kind, job, driver))
        return number

    def _end_offer(self, job: int) -> None:
        driver = self.offered_to[job]
        self.offered_to[job], self._offer[job] = NOBODY, 0
        self.vehicle_state[driver] = IDLE
        if job in self.open:
            self.open.remove(job)
            self.waiting.add(job)

    def _answered(self, job: int, driver: int) -> None:
        if self.city.answer(driver, job)[0] != "accept":
            self._end_offer(job)
            self.barred.setdefault(job, set()).add(driver)
            return
        before = int(self.driver_of[job])
        if before != NOBODY:
            self.swapped[job] = True
            self.approach_m[job] += self._driven_m(before)
            self._free(before, self.places_m(np.array([before]))[0])
        self.open.discard(job)
        self.coming.add(job)
        self.offered_to[job], self._offer[job] = NOBODY, 0
        self.driver_of[job] = driver
        self._count_idle(np.array([driver]))
        eta_s = self._drive(driver, self.places_m(np.array([driver]))[0], self.city.pickup_m[job])
        self.vehicle_state[driver] = COMING
        self._trip[job] = self._at(self.now_s + eta_s, "pickup", job, driver)

    def _pickup(self, job: int, driver: int) -> None:
        if self.offered_to[job] != NOBODY:
            self._end_offer(job)
        self.coming.remove(job)
        self.wait_s[job] = self.now_s - self.city.asked_s[job]
        self.approach_m[job] += self._driven_m(driver)
        self.vehicle_state[driver] = ABOARD
        self._at(self.now_s + float(self.city.trip_s[job]), "dropoff", job, driver)

    def _dropoff(self, job: int, driver: int) -> None:
        self._free(driver, self.city.dropoff_m[job])

    def _leave(self, job: int) -> None:
        if job in self.open:
            self._end_offer(job)
        if job in self.waiting:
            self.waiting.remove(job)
            self.gone_s.append(self.now_s)

    def _free(self, driver: int, here_m: Floats) -> None:
        self.vehicle_state[driver] = IDLE
        self.idle_since_s[driver] = self.now_s
        home_m = here_m
        if self.city.trails is not None:  # to where its trail will be when it gets there
            one = np.array([driver])
            home_m = self._trail_m(one, self.now_s)[0]
            away_s = float(np.hypot(*(home_m - here_m))) * self.policy.detour / self.policy.cruise_speed_mps
            home_m = self._trail_m(one, self.now_s + away_s)[0]
        self._drive(driver, here_m, home_m)

    def _drive(self, driver: int, from_m: Floats, to_m: Floats) -> float:
        """Sets out; the seconds until it has arrived and parked."""
        eta_s = pickup_eta_s(float(np.hypot(*(to_m - from_m))), self.policy)
        self._from_m[driver], self._to_m[driver] = from_m, to_m
        self._starts_s[driver] = self.now_s
        self._ends_s[driver] = self.now_s + eta_s - self.policy.pickup_overhead_s
        return eta_s

    def _driven_m(self, driver: int) -> float:
        """Straight metres since it set out."""
        here_m = self.places_m(np.array([driver]))[0]
        return float(np.hypot(*(here_m - self._from_m[driver])))

    def _count_idle(self, drivers: Ints) -> None:
        until_s = min(self.now_s, float(self.city.asked_s[-1]))
        self.idle_s[drivers] += np.maximum(0.0, until_s - self.idle_since_s[drivers])

    def _trail_m(self, drivers: Ints, at_s: float) -> Floats:
        trails = self.city.trails
        assert trails is not None
        at = (at_s - trails.from_s) / trails.step_s
        step = min(max(int(at), 0), trails.places_m.shape[1] - 2)
        share = min(max(at - step, 0.0), 1.0)
        before_m, after_m = trails.places_m[drivers, step], trails.places_m[drivers, step + 1]
        return np.asarray(before_m * (1.0 - share) + after_m * share)
