"""How long one batch takes at its largest: 500 requests and 2,000 drivers, from positions to the assignment.

Shapes differ in how crowded the city is and in which side is short. The first is the one that is promised; each round
of it is timed whole (candidates, prices, solver) and for the solver alone, in processor time, which is what a loop is
blocked for on a core of its own. Every tenth round is solved over all pairs too: how many more would be served, and at
what mean cost.
"""

from __future__ import annotations

import argparse
import time
from typing import Any, Final, NamedTuple

import numpy as np

from dispatch.assignment import Floats, Ints, Pairs, solve
from dispatch.batch import Drivers, Requests, priced
from dispatch.candidates import EACH, near
from dispatch.policy import Policy
from server.matchbench.matchers import reach_m
from server.matchbench.part import Part, Teller
from server.matchbench.world import etas_s

MOST_MS: Final = 10.0
COMPARED_EVERY: Final = 10


class Shape(NamedTuple):
    """A square city."""

    requests: int
    drivers: int
    side_m: float
    longest_s: float

    def __str__(self) -> str:
        return f"{self.requests}x{self.drivers}, {self.side_m / 1000:g} km, {self.longest_s:g} s"


SHAPES: Final = (
    Shape(500, 2_000, 20_000.0, 900.0),
    Shape(500, 2_000, 8_000.0, 300.0),
    Shape(500, 500, 20_000.0, 600.0),
    Shape(500, 100, 20_000.0, 900.0),
    Shape(2_000, 500, 20_000.0, 900.0),
)


def measure(options: argparse.Namespace, tell: Teller) -> Part:
    """`solve`: by shape, milliseconds, and what looking only at candidates loses."""
    result: dict[str, Any] = {}
    part = Part({"solve": result})
    for at, shape in enumerate(SHAPES):
        found = _times(shape, at, options.rounds)
        result[str(shape)] = found
        part.lines.append(f"{shape}: " + ", ".join(f"{name} {value}" for name, value in found.items()))
        tell(part.lines[-1])
    for name in ("p99_ms", "solver_p99_ms"):
        if (got := result[str(SHAPES[0])][name]) > MOST_MS:
            part.wrong.append(f"solve: {name} at {SHAPES[0]} is {got}, more than {MOST_MS:g}")
    return part


def _times(shape: Shape, at: int, rounds: int) -> dict[str, float]:
    whole_ms, solver_ms, unserved, dearer_s = list[float](), list[float](), list[int](), list[float]()
    for seed in range(rounds):
        chance = np.random.default_rng((at, seed))
        places_m = chance.uniform(0.0, shape.side_m, (shape.requests + shape.drivers, 2))
        age_s = chance.uniform(0.0, 120.0, shape.requests)
        idle_s = chance.exponential(300.0, shape.drivers)
        began_s = time.thread_time()
        pairs = _pairs(shape, places_m, age_s, idle_s, EACH)
        paired_s = time.thread_time()
        chosen = solve(shape.requests, pairs)
        ended_s = time.thread_time()
        whole_ms.append((ended_s - began_s) * 1e3)
        solver_ms.append((ended_s - paired_s) * 1e3)
        if seed % COMPARED_EVERY == 0:
            all_pairs = _pairs(shape, places_m, age_s, idle_s, shape.requests + shape.drivers)
            served, cost_s = _total(chosen, pairs)
            most, least_s = _total(solve(shape.requests, all_pairs), all_pairs)
            unserved.append(most - served)
            dearer_s.append(cost_s - least_s)
    return {
        "p50_ms": round(float(np.quantile(whole_ms, 0.5)), 2),
        "p99_ms": round(float(np.quantile(whole_ms, 0.99)), 2),
        "solver_p50_ms": round(float(np.quantile(solver_ms, 0.5)), 2),
        "solver_p99_ms": round(float(np.quantile(solver_ms, 0.99)), 2),
        "unserved_of_all_pairs": round(float(np.mean(unserved)), 2),
        "dearer_than_all_pairs_s": round(float(np.mean(dearer_s)), 2),
    }


def _pairs(shape: Shape, places_m: Floats, age_s: Floats, idle_s: Floats, each: int) -> Pairs:
    policy = Policy(longest_pickup_s=shape.longest_s)
    pickups_m, drivers_m = places_m[: shape.requests], places_m[shape.requests :]
    found = near(pickups_m, drivers_m, reach_m(shape.longest_s, policy), each)
    requests = Requests(age_s, np.full(shape.requests, np.inf), np.zeros(shape.requests))
    nothing_s = np.zeros(shape.drivers)
    return priced(
        found,
        etas_s(found.distance_m, policy),
        requests,
        Drivers(idle_s, nothing_s, nothing_s, np.full(shape.drivers, np.inf), nothing_s),
        policy,
    )


def _total(chosen: Ints, pairs: Pairs) -> tuple[int, float]:
    """How many are served, and the mean cost of one."""
    taken = chosen[pairs.request] == pairs.driver
    return int(taken.sum()), float(pairs.cost_s[taken].mean())
