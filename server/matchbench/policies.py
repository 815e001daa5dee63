"""Part (a): four cities, four policies, the same draws; what each policy gives passengers and drivers.

Scarce and dense are drawn (`synthetic.py`); San Francisco and New York need the recordings and are left out, and named,
where these are not there. The verdict is on the batch with re-match against first-come nearest; an interval is of the
mean over the seeds.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from dispatch.policy import Policy
from server.matchbench import recorded, synthetic
from server.matchbench.city import City
from server.matchbench.matchers import Batch, BatchRematch, FirstComeNearest, SortedPairs
from server.matchbench.paired import Estimate, difference, estimate, gini, ratio
from server.matchbench.part import Part, Teller, not_there
from server.matchbench.world import Matcher, World

SAN_FRANCISCO, NEW_YORK = "san_francisco", "new_york"
CITIES: Final = (*synthetic.SIZES, SAN_FRANCISCO, NEW_YORK)
TICK_S: Final = 2.0
#: A way takes its straight line x detour / speed, and nothing on top.
POLICY: Final = Policy(swap_accepted=True, pickup_overhead_s=0.0, stop_dwell_s=0.0)
FIRST: Final = "first_come_nearest"
MATCHERS: Final[dict[str, Callable[[], Matcher]]] = {
    FIRST: FirstComeNearest,
    "sorted_pairs": SortedPairs,
    "batch": Batch,
    "batch_rematch": BatchRematch,
}
DIGITS: Final = {
    "served": 4, "wait_s": 1, "wait_p50_s": 1, "wait_p95_s": 1, "pickup_m": 0, "offers": 3, "withdrawn": 3,
    "swaps": 3, "idle_gini": 3,
}  # fmt: skip
AS_RATIO: Final = ("wait_s", "pickup_m")


@dataclass(frozen=True)
class Limits:
    """What the batch with re-match must do against first-come nearest."""

    wait: float
    pickup: float = np.inf
    swaps: float = np.inf
    as_many: bool = False  # serve as many on the mean; else only not fewer beyond doubt: the interval below 0


JUDGED_FROM: Final = 5  # draws: fewer leave the interval of a mean to chance
LIMITS: Final = {
    "scarce": Limits(wait=0.85, pickup=0.80, swaps=0.6, as_many=True),
    "dense": Limits(wait=0.90),
}

#: By metric, the value of each seed.
Figures = dict[str, list[float]]


def figures_of(world: World) -> dict[str, float]:
    """What one run gave, by metric."""
    served = ~np.isnan(world.wait_s)
    wait_s, jobs = world.wait_s[served], max(1, int(served.sum()))
    return {
        "served": float(served.mean()),
        "wait_s": float(wait_s.mean()),
        "wait_p50_s": float(np.quantile(wait_s, 0.5)),
        "wait_p95_s": float(np.quantile(wait_s, 0.95)),
        "pickup_m": float(world.approach_m.sum()) / jobs,  # also what was driven for nothing, before a swap
        "offers": float(world.offers.sum()) / jobs,
        "withdrawn": float(world.withdrawn.sum()) / jobs,
        "swaps": float(world.withdrawn.sum() + world.swapped.sum()) / jobs,
        "idle_gini": gini(world.idle_s),
    }


def compare(
    cities: Iterable[City], policy: Policy, tell: Teller
) -> tuple[dict[str, Figures], dict[str, float]]:
    """Every policy in every city: figures by policy and metric, and each engine's p99 of a solve in ms."""
    found: dict[str, Figures] = {name: {} for name in MATCHERS}
    solves: dict[str, list[float]] = {}
    for city in cities:
        for name, make in MATCHERS.items():
            matcher, world = make(), World(city, policy, TICK_S)
            world.run(matcher)
            for metric, value in figures_of(world).items():
                found[name].setdefault(metric, []).append(value)
            if isinstance(matcher, Batch):
                solves.setdefault(name, []).extend(matcher.solve_ms)
        tell(
            f"{city.name}, seed {city.seed}: "
            + ", ".join(f"{n} {f['served'][-1]:.3f}" for n, f in found.items())
        )
    return found, {name: round(float(np.quantile(ms, 0.99)), 3) for name, ms in solves.items()}


def measure(options: argparse.Namespace, tell: Teller) -> Part:
    """`policies`: by city, then by policy."""
    result: dict[str, Any] = {}
    part = Part({"policies": result})
    for name in options.city or CITIES:
        if missing := not_there(*_files(name, options)):
            part.lines.append(f"{name} is left out: {missing}")
            continue
        draw = _drawn(name, options)
        found, solve_ms = compare((draw(seed) for seed in range(1, options.seeds + 1)), POLICY, tell)
        result[name] = _told(found, solve_ms)
        part.lines += _table(name, result[name])
        if options.seeds < JUDGED_FROM:
            part.lines.append(
                f"{name} is not judged: an interval needs {JUDGED_FROM} draws or more (--seeds)"
            )
        else:
            part.wrong += _wrong(name, found)
    return part


def _files(city: str, options: argparse.Namespace) -> list[Path]:
    """What a city is read from."""
    return {SAN_FRANCISCO: [options.traces, options.requests], NEW_YORK: [options.rides]}.get(city, [])


def _drawn(city: str, options: argparse.Namespace) -> Callable[[int], City]:
    """How to draw a city from a seed."""
    if size := synthetic.SIZES.get(city):
        return partial(synthetic.city, city, size=size, policy=POLICY, share=options.share)
    if city == NEW_YORK:
        recording = recorded.afternoon(city, options.rides)
    else:
        recording = recorded.evening(city, options.traces, options.requests)
    return partial(recorded.draw, recording, share=options.share)


def _told(found: dict[str, Figures], solve_ms: dict[str, float]) -> dict[str, Any]:
    """The JSON of one city: means; and against first-come nearest [difference or ratio, low, high]."""
    told: dict[str, Any] = {}
    for name, figures in found.items():
        told[name] = {metric: round(estimate(each).mean, DIGITS[metric]) for metric, each in figures.items()}
        if name in solve_ms:
            told[name]["solve_p99_ms"] = solve_ms[name]
        if name != FIRST:
            told[name]["against_first"] = {
                metric: list(_against(metric, each, found[FIRST][metric]).rounded(4))
                for metric, each in figures.items()
            }
    return told


def _against(metric: str, ours: list[float], first: list[float]) -> Estimate:
    return ratio(ours, first) if metric in AS_RATIO else difference(ours, first)


def _table(city: str, told: dict[str, Any]) -> list[str]:
    lines = [f"{city:18}" + "".join(f"{metric:>12}" for metric in DIGITS) + f"{'solve p99 ms':>14}"]
    for name, figures in told.items():
        cells = "".join(f"{figures[metric]:>12}" for metric in DIGITS)
        lines.append(f"  {name:16}{cells}{figures.get('solve_p99_ms', ''):>14}")
        for metric in ("served", *AS_RATIO) if name != FIRST else ():
            value, low, high = figures["against_first"][metric]
            sign = "x" if metric in AS_RATIO else "+"
            lines.append(f"    {metric:14}{sign} {value:.3f} [{low:.3f}, {high:.3f}] of first-come nearest")
    return lines


def _wrong(city: str, found: dict[str, Figures]) -> list[str]:
    if city not in LIMITS:
        return []
    ours, first, limits = found["batch_rematch"], found[FIRST], LIMITS[city]
    served = difference(ours["served"], first["served"])
    wrong = []
    if (served.mean if limits.as_many else served.high) < 0.0:
        wrong.append(f"{city}: served is {_shown(served)} less than by first-come nearest")
    for metric, got, most in (
        ("wait_s", ratio(ours["wait_s"], first["wait_s"]), limits.wait),
        ("pickup_m", ratio(ours["pickup_m"], first["pickup_m"]), limits.pickup),
        ("swaps", estimate(ours["swaps"]), limits.swaps),
    ):
        if got.mean > most:
            wrong.append(f"{city}: {metric} is {_shown(got)}, more than {most:g}")
    return wrong


def _shown(got: Estimate) -> str:
    return f"{got.mean:.4f} [{got.low:.4f}, {got.high:.4f}]"
