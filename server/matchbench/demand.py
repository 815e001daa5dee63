"""How far the forecast of demand is off, on the real requests of San Francisco, 17 to 31 May 2008, or of other days.

The requests come one by one, in order. From the ninth day on, at the end of each quarter of an hour, the next one is
forecast for every cell that had a request before, then seen, then learned. The measure is the root of the mean squared
error. Nobody who knew the true rates could be better than the Poisson law lets him be: its squared error is the mean
count itself (a Poisson variable's variance is its mean), so the floor needs no model. The seasonal-naive forecast is
the count of the same quarter a week before.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any, Final

import numpy as np

from dispatch.demand import QUARTER_S, Demand, demand_cell
from dispatch.eta import Floats
from server.matchbench.part import Part, Teller, left_out, not_there
from server.matchbench.rides import read_rides

FIRST_DAYS: Final = 8
_WEEK: Final = 672
_DAY: Final = 96


def measure(options: argparse.Namespace, tell: Teller) -> Part:
    """`demand`: see `measure_demand`."""
    if missing := not_there(options.requests):
        return left_out(missing)
    tell("forecasting a week of San Francisco")
    try:
        figures = measure_demand(options.requests)
    except ValueError as short:
        return left_out(str(short))
    wrong = (
        []
        if figures["rmse"] < figures["naive_rmse"]
        else ["the forecast is no better than last week's count"]
    )
    return Part({"demand": figures}, wrong, [f"{name:18} {value}" for name, value in figures.items()])


def measure_demand(requests: Path) -> dict[str, Any]:
    """Root mean squared and mean absolute errors, in requests a cell and quarter. Raises ValueError for a file of
    fewer days than are learned from."""
    rides = read_rides(requests)
    cells = [demand_cell(lat, lng) for lat, lng in rides.pickup_deg.tolist()]
    quarters = (rides.pickup_s // QUARTER_S).astype(np.int64)
    first, last = int(quarters[0]), int(quarters[-1])
    if last - first <= FIRST_DAYS * _DAY + 1:
        raise ValueError(
            f"{requests.name} has {(last - first) / _DAY:.1f} days, of which {FIRST_DAYS} are learned: name more days"
        )
    counts = _counts(cells, quarters)
    expected, demand = dict[int, dict[int, float]](), Demand()
    began_s = time.process_time()
    demand.advance(first * QUARTER_S - 1.0)  # the first quarter is watched from its beginning
    at = 0
    for quarter in range(first, last):
        end_s = (quarter + 1) * QUARTER_S
        while at < len(cells) and quarters[at] <= quarter:
            demand.add(cells[at], float(rides.pickup_s[at]))
            at += 1
        demand.advance(end_s)
        if quarter + 1 >= first + FIRST_DAYS * _DAY and quarter + 1 < last:
            expected[quarter + 1] = dict(zip(demand.cells, demand.forecast(end_s).tolist(), strict=True))
    spent_s = time.process_time() - began_s
    rows = [
        (counts.get((quarter, cell), 0), rate, counts.get((quarter - _WEEK, cell), 0))
        for quarter, rates in expected.items()
        for cell, rate in rates.items()
    ]
    real, rate, naive = (np.array(column, dtype=np.float64) for column in zip(*rows, strict=True))
    floor = float(np.sqrt(real.mean()))
    return {
        "rmse": round(_rmse(rate, real), 4),
        "poisson_floor_rmse": round(floor, 4),
        "naive_rmse": round(_rmse(naive, real), 4),
        "over_floor": round(_rmse(rate, real) / floor, 3),
        "over_naive": round(_rmse(rate, real) / _rmse(naive, real), 3),
        "mae": round(float(np.abs(rate - real).mean()), 4),
        "naive_mae": round(float(np.abs(naive - real).mean()), 4),
        "bias": round(float((rate - real).mean()), 4),
        "cells": len(demand.cells),
        "quarters": len(expected),
        "requests": int(real.sum()),
        "us_a_request": round(spent_s / at * 1e6, 1),
        "document_bytes": len(demand.dumps()),
    }


def _counts(cells: list[int], quarters: np.ndarray) -> dict[tuple[int, int], int]:
    found: dict[tuple[int, int], int] = {}
    for cell, quarter in zip(cells, quarters.tolist(), strict=True):
        found[quarter, cell] = found.get((quarter, cell), 0) + 1
    return found


def _rmse(expected: Floats, real: Floats) -> float:
    return float(np.sqrt(np.mean((expected - real) ** 2)))
