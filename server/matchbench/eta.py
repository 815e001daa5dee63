"""How far the learned ETA is off, on real rides of days and hours that it did not learn from.

The measure is MAPE: the mean of |estimate - real| / real. Beside it stands the constant-speed model of
dispatch/eta.py, once with the figures of the policy and once with the one speed that is best for the very rides
that the table learned from (`constant`): the bound is against the better of the two, which has been shown more.

San Francisco: the first 8 days are learned, the other 7 predicted, with nothing learned in between. New York: its
data are one day, so every second quarter of an hour is learned and the others are predicted (`quarters`); and all
but two busy hours are learned, and these predicted (`unseen_hours`), where the hour's own factor is unknown.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np

from dispatch.eta import Floats
from dispatch.etatable import EtaTable, distances_m
from dispatch.policy import Policy
from server.matchbench.part import Part, Teller, not_there
from server.matchbench.rides import Rides, plausible, read_rides

BOUND: Final = 0.85
FIRST_DAYS: Final = 8
_DAY_S: Final = 86_400.0


def measure(options: argparse.Namespace, tell: Teller) -> Part:
    """`eta_mape`: by city, `ratio` is the table's MAPE / the better constant-speed MAPE."""
    cities, lines = dict[str, Any](), list[str]()
    parts: dict[str, tuple[Callable[..., dict[str, Any]], tuple[Path, ...]]] = {
        "san_francisco": (_days, (options.requests,)),
        "new_york_quarters": (_quarters, (options.day,)),
        "new_york_unseen_hours": (_unseen_hours, (options.day, options.rides)),
    }
    for name, (measured, files) in parts.items():
        if missing := not_there(*files):
            lines.append(f"{name} is left out: {missing}")
            continue
        tell(f"learning {name}")
        try:
            cities[name] = measured(*(_usable(file) for file in files))
            lines.append(f"{name}: {cities[name]}")
        except ValueError as short:
            lines.append(f"{name} is left out: {' and '.join(file.name for file in files)}: {short}")
    wrong = [
        f"ETA of {name}: MAPE {figures['ratio']} x constant speed's, {BOUND} is the most"
        for name, figures in cities.items()
        if figures["ratio"] > BOUND
    ]
    return Part({"eta_mape": cities} if cities else {}, wrong, lines)


def _days(rides: Rides) -> dict[str, Any]:
    early = rides.pickup_s < rides.pickup_s[0] + FIRST_DAYS * _DAY_S
    return _compare(rides.where(early), rides.where(~early))


def _quarters(day: Rides) -> dict[str, Any]:
    even = day.pickup_s // 900 % 2 == 0
    return _compare(day.where(even), day.where(~even))


def _unseen_hours(day: Rides, afternoon: Rides) -> dict[str, Any]:
    apart = (day.pickup_s < afternoon.pickup_s[0]) | (day.pickup_s > afternoon.pickup_s[-1])
    return _compare(day.where(apart), afternoon)


def _usable(path: Path) -> Rides:
    rides = read_rides(path)
    rides = rides.where(plausible(rides))
    if not len(rides):
        raise ValueError("no ride to learn from")
    return rides


def _compare(seen: Rides, unseen: Rides) -> dict[str, Any]:
    """Raises ValueError where nothing is learned, or nothing left to predict."""
    if not len(seen) or not len(unseen):
        raise ValueError(f"{len(seen)} rides to learn from, {len(unseen)} to predict: name more days")
    policy = Policy()
    table = EtaTable(policy)
    began_s = time.process_time()
    learn(table, seen)
    learn_us = (time.process_time() - began_s) / len(seen) * 1e6
    straight_m = distances_m(unseen.pickup_deg, unseen.dropoff_deg)
    estimate_s = table.legs(unseen.pickup_deg, unseen.dropoff_deg, unseen.pickup_s)
    late_s = estimate_s * table.late_factor(straight_m)
    best = best_pace(distances_m(seen.pickup_deg, seen.dropoff_deg), seen.duration_s)
    figures = {
        "table": mape(estimate_s, unseen.duration_s),
        "constant": mape(straight_m * best, unseen.duration_s),
        "policy": mape(straight_m * policy.detour / policy.cruise_speed_mps, unseen.duration_s),
    }
    return {
        **{name: round(value, 4) for name, value in figures.items()},
        "ratio": round(figures["table"] / min(figures["constant"], figures["policy"]), 3),
        "p80_holds": round(float(np.mean(unseen.duration_s <= late_s)), 3),
        "learned": len(seen),
        "predicted": len(unseen),
        "learn_us": round(learn_us, 1),
        "document_bytes": len(table.dumps()),
    }


def learn(table: EtaTable, rides: Rides) -> None:
    """One after the other, as jobs end."""
    columns = (rides.pickup_deg, rides.dropoff_deg, rides.pickup_s, rides.duration_s)
    for pickup, dropoff, started_s, duration_s in zip(*(column.tolist() for column in columns), strict=True):
        table.learn(tuple(pickup), tuple(dropoff), started_s, duration_s)


def mape(estimate_s: Floats, real_s: Floats) -> float:
    return float(np.mean(np.abs(estimate_s - real_s) / real_s))


def best_pace(straight_m: Floats, real_s: Floats) -> float:
    """The seconds a metre with the least MAPE: the median of the paces, each weighted by metres / seconds."""
    paces, weights = real_s / straight_m, straight_m / real_s
    order = np.argsort(paces)
    upto = np.cumsum(weights[order])
    return float(paces[order][np.searchsorted(upto, upto[-1] / 2)])
