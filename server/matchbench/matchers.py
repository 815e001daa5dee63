"""The policies that are compared: first-come nearest, sorted pairs, the batch, and the batch with re-match.

All see the same: who waits, who is idle, and the ETA of each pair. The last two are the engine itself (`batch` and
`rematch` of dispatch/); the first is what a dispatcher does who answers one request after the other.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from msgspec.structs import replace

from dispatch.assignment import Floats, Ints, Pairs, solve
from dispatch.batch import Drivers, Requests, plenty, priced, worth_s
from dispatch.candidates import Near, near
from dispatch.eta import pickup_eta_s
from dispatch.matching import Candidate, rank
from dispatch.policy import Policy
from dispatch.rematch import ACCEPTED, OFFERED, PLANNED, Standing, now_possible, rematch, saves_s
from server.matchbench.city import City
from server.matchbench.crowds import Crowds
from server.matchbench.world import ASKED, NOBODY, World, etas_s
from storage.records import TAKEOVERS_MAX


def reach_m(eta_s: float, policy: Policy) -> float:
    """The straight distance that takes so long."""
    return max(0.0, eta_s - policy.pickup_overhead_s) * policy.cruise_speed_mps / policy.detour


class FirstComeNearest:
    """Each request, as it comes, gets the nearest idle driver; who got none asks again, the oldest first."""

    def asked(self, world: World, job: int) -> None:
        self._serve(world, [job])

    def tick(self, world: World) -> None:
        self._serve(world, sorted(world.waiting))

    @staticmethod
    def _serve(world: World, jobs: list[int]) -> None:
        idle = world.idle()
        places_m = world.places_m(idle)
        for job in jobs:
            if not len(idle):
                break
            away_m = np.hypot(*(places_m - world.city.pickup_m[job]).T)
            if barred := world.barred.get(job):
                away_m[np.isin(idle, list(barred))] = np.inf
            best = int(np.argmin(away_m))
            if etas_s(away_m[best], world.policy) <= world.left_s(job):
                world.offer(job, int(idle[best]))
                idle, places_m = np.delete(idle, best), np.delete(places_m, best, axis=0)


class SortedPairs:
    """At each tick the nearest pair of all, then the nearest of the rest, and so on."""

    def asked(self, world: World, job: int) -> None:
        pass

    def tick(self, world: World) -> None:
        jobs, idle = np.array(sorted(world.waiting), dtype=int), world.idle()
        by_eta = replace(within_limit(world.policy, world.city), age_weight=0.0, idle_weight=0.0)
        pairs = pairs_of(world, jobs, idle, by_eta)
        used_jobs, used_drivers = set[int](), set[int]()
        for at in np.lexsort((pairs.driver, pairs.request, pairs.cost_s)):
            job, driver = int(jobs[pairs.request[at]]), int(idle[pairs.driver[at]])
            if job not in used_jobs and driver not in used_drivers:
                used_jobs.add(job)
                used_drivers.add(driver)
                world.offer(job, driver)


class Batch:
    """The engine: where drivers are plenty the best at once, else all together at each tick."""

    def __init__(self) -> None:
        self.solve_ms: list[float] = []
        self._crowds: Crowds | None = None

    def asked(self, world: World, job: int) -> None:
        policy = within_limit(world.policy, world.city)
        reached_m, place_m = reach_m(policy.longest_pickup_s, policy), world.city.pickup_m[job]
        idle = world.idle()
        away_m = np.hypot(*(world.places_m(idle) - place_m).T)
        waiting_m = np.hypot(*(world.city.pickup_m[list(world.waiting)] - place_m).T)
        nearby = away_m <= reached_m
        if not nearby.any() or not plenty(int(nearby.sum()), int((waiting_m <= reached_m).sum()), policy):
            return
        nearest = np.argsort(away_m, kind="stable")[: policy.candidates]
        found = [
            Candidate(f"{idle[at]:06}", away, 0, pickup_eta_s(away, policy))
            for at, away in zip(nearest.tolist(), away_m[nearest].tolist(), strict=True)
        ]
        best = rank(found, policy)[0]
        if best.eta_s <= world.left_s(job):
            world.offer(job, int(best.driver_id))

    def tick(self, world: World) -> None:
        jobs = np.array(sorted(world.waiting), dtype=int)
        idle = world.idle()
        for job, driver in zip(jobs, self.plan(world, jobs, idle), strict=True):
            if driver != NOBODY:
                world.offer(int(job), int(idle[driver]))

    def plan(self, world: World, jobs: Ints, idle: Ints) -> Ints:
        """The batch itself: the row of `idle` for each job."""
        policy = within_limit(world.policy, world.city)
        pairs = pairs_of(world, jobs, idle, policy, self.longest_s(world, idle, policy))
        return self.timed(lambda: solve(len(jobs), pairs))

    def longest_s(self, world: World, drivers: Ints, policy: Policy) -> Floats:
        """The longest pickup that is worth each driver's time now."""
        if self._crowds is None:
            self._crowds = Crowds(world.city, reach_m(policy.longest_pickup_s, policy))
        self._crowds.look(world.now_s, world.gone_s)
        near = self._crowds.near(
            world.places_m(drivers), world.places_m(world.idle()), world.city.pickup_m[sorted(world.waiting)]
        )
        return worth_s(near.rate_per_s, self._crowds.lost_share, near.idle, near.waiting, policy)

    def timed(self, solving: Callable[[], Ints]) -> Ints:
        began_s = time.perf_counter()
        chosen = solving()
        self.solve_ms.append((time.perf_counter() - began_s) * 1e3)
        return chosen


class BatchRematch(Batch):
    """The engine with re-match: open offers, and accepted jobs where the policy allows it."""

    def tick(self, world: World) -> None:
        policy = within_limit(world.policy, world.city)
        waiting = np.array(sorted(world.waiting), dtype=int)
        offered = np.array(sorted(world.open), dtype=int)
        coming = self._may_change(world) if policy.swap_accepted else np.zeros(0, dtype=int)
        idle = world.idle()
        if not len(idle) and not len(offered):
            return  # nobody can be asked
        jobs = np.concatenate([waiting, offered, coming])
        drivers = np.concatenate([idle, world.offered_to[offered], world.driver_of[coming]])
        bound = np.repeat([PLANNED, OFFERED, ACCEPTED], [len(waiting), len(offered), len(coming)])
        planned = (
            self.plan(world, waiting, idle) if len(waiting) and len(idle) else np.full(len(waiting), NOBODY)
        )
        standing = np.concatenate([planned, len(idle) + np.arange(len(offered) + len(coming))])
        longest_s, waits = self.longest_s(world, drivers, policy), bound == PLANNED
        # who has a job, or thinks about it, is compared by the way alone, as in a round of the server
        by_way = replace(policy, age_weight=0.0, idle_weight=0.0)
        cost_s, way_s = (
            standing_cost_s(world, jobs, drivers, each, standing=standing, bound=bound)
            for each in (policy, by_way)
        )
        must_save_s = np.array([saves_s(each, policy) for each in bound.tolist()])
        spared_s = np.full(len(jobs), policy.longest_pickup_s)
        stands = Standing(standing, np.where(waits, cost_s, way_s), bound, must_save_s, spared_s)
        pairs = pairs_of(world, jobs, drivers, policy, longest_s)
        alone = pairs_of(world, jobs, drivers, by_way, longest_s)
        pairs = pairs._replace(cost_s=np.where(waits[pairs.request], pairs.cost_s, alone.cost_s))
        chosen = self.timed(lambda: rematch(pairs, stands))
        is_idle = np.arange(len(drivers)) < len(idle)
        changes = np.flatnonzero(now_possible(chosen, stands, is_idle))
        for at in changes:
            if bound[at] == OFFERED:
                world.withdraw(int(jobs[at]))
        for at in changes:
            world.offer(int(jobs[at]), int(drivers[chosen[at]]))

    @staticmethod
    def _may_change(world: World) -> Ints:
        """Accepted jobs that were not changed yet, are not being, and have a way to go that is worth a change."""
        coming = np.array(sorted(world.coming), dtype=int)
        far = world.arrives_in_s(world.driver_of[coming]) > world.policy.swap_saves_s
        may = ~world.swapped[coming] & (world.takeovers[coming] < TAKEOVERS_MAX)
        return np.asarray(coming[far & may & (world.offered_to[coming] == NOBODY)])


def within_limit(policy: Policy, city: City) -> Policy:
    """The policy for a city where a pickup later than its limit is no use."""
    return replace(policy, longest_pickup_s=min(policy.longest_pickup_s, city.limit_s))


def pairs_of(
    world: World, jobs: Ints, drivers: Ints, policy: Policy, longest_s: Floats | None = None
) -> Pairs:
    """What may be matched, priced as the engine prices it; `longest_s`: by driver."""
    most_s = policy.longest_pickup_s
    found = near(world.city.pickup_m[jobs], world.places_m(drivers), reach_m(most_s, policy))
    supply = _drivers(world, drivers, np.full(len(drivers), most_s) if longest_s is None else longest_s)
    eta_s = etas_s(found.distance_m, policy)
    return priced(found, eta_s, _requests(world, jobs), supply, policy, barred=_barred(world, jobs, drivers))


def standing_cost_s(
    world: World, jobs: Ints, drivers: Ints, policy: Policy, *, standing: Ints, bound: Ints
) -> Floats:
    """What it costs to leave things as they are, by job; of who is on his way: the rest of it."""
    rows = np.flatnonzero(standing >= 0)
    away_m = np.hypot(*(world.places_m(drivers[standing[rows]]) - world.city.pickup_m[jobs[rows]]).T)
    accepted = bound[rows] == ACCEPTED
    eta_s = etas_s(away_m, policy)
    eta_s[accepted] = world.arrives_in_s(drivers[standing[rows[accepted]]])
    always = _requests(world, jobs)._replace(left_s=np.full(len(jobs), np.inf))
    supply = _drivers(world, drivers, np.full(len(drivers), np.inf))
    cost_s = np.zeros(len(jobs))
    cost_s[rows] = priced(Near(rows, standing[rows], away_m), eta_s, always, supply, policy).cost_s
    return cost_s


def _requests(world: World, jobs: Ints) -> Requests:
    age_s = world.now_s - world.city.asked_s[jobs]
    return Requests(age_s, world.city.limit_s - age_s, np.zeros(len(jobs)))


def _drivers(world: World, drivers: Ints, longest_s: Floats) -> Drivers:
    working = world.vehicle_state[drivers] > ASKED
    idle_s = np.where(working, 0.0, world.now_s - world.idle_since_s[drivers])
    nothing = np.zeros(len(drivers))
    return Drivers(idle_s, nothing, nothing, longest_s, nothing)


def _barred(world: World, jobs: Ints, drivers: Ints) -> Ints:
    """(b, 2): rows of who will not be asked for what."""
    row = {int(driver): at for at, driver in enumerate(drivers)}
    found = [
        (at, row[driver])
        for at, job in enumerate(jobs)
        for driver in world.barred.get(int(job), ())
        if driver in row
    ]
    return np.array(found, dtype=np.int64).reshape(-1, 2)
