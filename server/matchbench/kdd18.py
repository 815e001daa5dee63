"""Part (b): the toy city of Xu et al. (KDD 2018, section 6.1), by distance and with values learned from its days.

A grid of 9 x 9, 20 steps, 100 orders a day in time and space from a mixture of two Gaussians, drivers and destinations
uniform, orders for drivers within a Manhattan distance of 2 only, and gone after a truncated normal patience. A trip
takes one step, and one for each cell to the pickup and on to the destination. Values are learned from training days
that are matched by distance; then fresh days are matched both ways.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import numpy as np
from scipy.special import ndtr, ndtri

from dispatch.assignment import Floats, Ints, Pairs, solve
from server.matchbench.paired import difference, estimate
from server.matchbench.part import Part, Teller
from server.matchbench.values import Moves, gains, learn

SIDE, STEPS, ORDERS, REACH, DISCOUNT = 9, 20, 100, 2, 0.9
CELLS: Final = SIDE * SIDE
WEIGHT_FIRST: Final = 1.0 / 3.0
MEANS: Final = np.array([[3.0, 3.0, 5.0], [6.0, 6.0, 15.0]])
SIGMAS: Final = np.array([2.0, 2.0, 3.0])
HIGHEST: Final = np.array([SIDE - 1.0, SIDE - 1.0, STEPS - 1.0])
PUBLISHED: Final = {  # served, by drivers: by distance, and with learned values
    25: (0.48, 0.51), 50: (0.74, 0.79), 75: (0.90, 0.92),
}  # fmt: skip
WITHIN: Final = 0.01
PATIENCE: Final = (2.5, 2.0, 5.0)  # mean, sigma, most


class Day(NamedTuple):
    """Orders of one day, and where its drivers begin; places are rows of (x, y)."""

    step: Ints
    origin: Ints
    goal: Ints
    last_step: Ints
    drivers: Ints


#: Costs of pairs, from the step, the drivers' cells, the steps until the job is done, and its goal's cell.
Price = Callable[[Moves, Ints], Floats]


def day(chance: np.random.Generator, drivers: int) -> Day:
    first = chance.random(ORDERS) < WEIGHT_FIRST
    drawn = np.rint(_truncated(chance, MEANS[np.where(first, 0, 1)], SIGMAS, HIGHEST)).astype(int)
    mean, sigma, most = PATIENCE
    patience = np.rint(_truncated(chance, np.full(ORDERS, mean), sigma, most)).astype(int)
    return Day(
        step=drawn[:, 2],
        origin=drawn[:, :2],
        goal=chance.integers(0, SIDE, (ORDERS, 2)),
        last_step=drawn[:, 2] + patience,
        drivers=chance.integers(0, SIDE, (drivers, 2)),
    )


def _truncated(
    chance: np.random.Generator, mean: Floats, sigma: Floats | float, most: Floats | float
) -> Floats:
    """Normal, on [0, most]: by the inverse of its distribution."""
    low, high = ndtr((0.0 - mean) / sigma), ndtr((most - mean) / sigma)
    return np.asarray(mean + sigma * ndtri(low + (high - low) * chance.random(mean.shape)))


def by_distance(moves: Moves, away: Ints) -> Floats:
    return away.astype(float)


def by_values(values: Floats) -> Price:
    return lambda moves, away: -gains(values, moves, DISCOUNT)


def play(today: Day, price: Price) -> tuple[int, Moves]:
    """How many orders were served, and all moves of all drivers."""
    at, free_from = today.drivers.copy(), np.zeros(len(today.drivers), dtype=int)
    is_open = np.ones(ORDERS, dtype=bool)
    moves = []
    for step in range(STEPS):
        orders = np.flatnonzero(is_open & (today.step <= step) & (step <= today.last_step))
        idle = np.flatnonzero(free_from <= step)
        goal_cell = today.goal[orders] @ (SIDE, 1)
        here = at[idle] @ (SIDE, 1)
        away = np.abs(today.origin[orders][:, None] - at[idle][None]).sum(axis=2)
        trip = np.abs(today.goal[orders] - today.origin[orders]).sum(axis=1)
        order, driver = np.nonzero(away <= REACH)
        near = away[order, driver]
        done = step + 1 + near + trip[order]
        jobs = Moves(np.full(len(order), step), here[driver], done, goal_cell[order], np.ones(len(order)))
        chosen = solve(len(orders), Pairs(order, driver, price(jobs, near)))
        got = np.flatnonzero(chosen >= 0)
        who = chosen[got]
        ends = step + 1 + away[got, who] + trip[got]
        stays = np.setdiff1d(np.arange(len(idle)), who, assume_unique=True)
        moves.append(Moves(np.full(len(got), step), here[who], ends, goal_cell[got], np.ones(len(got))))
        k = len(stays)
        moves.append(Moves(np.full(k, step), here[stays], np.full(k, step + 1), here[stays], np.zeros(k)))
        is_open[orders[got]] = False
        at[idle[who]], free_from[idle[who]] = today.goal[orders[got]], ends
    return int((~is_open).sum()), Moves(*(np.concatenate(each) for each in zip(*moves, strict=True)))


def measure(options: argparse.Namespace, tell: Teller) -> Part:
    """`kdd18`: by number of drivers, the share served each way."""
    result: dict[str, Any] = {}
    part = Part({"kdd18": result})
    for drivers, (published_distance, published) in PUBLISHED.items():
        chance = np.random.default_rng((1, drivers))
        learned = learn(_history(chance, drivers, options.days), STEPS, CELLS, DISCOUNT)
        days = [day(chance, drivers) for _ in range(options.days)]
        distance, values = (
            np.array([play(today, price)[0] for today in days]) / ORDERS
            for price in (by_distance, by_values(learned))
        )
        ours = estimate(values)
        result[str(drivers)] = {
            "by_distance": estimate(distance).rounded(4),
            "by_values": ours.rounded(4),
            "gain": difference(values, distance).rounded(4),
            "published": [published_distance, published],
        }
        part.lines.append(
            f"{drivers} drivers: served {distance.mean():.3f} by distance (published {published_distance}), "
            f"{ours.mean:.3f} [{ours.low:.3f}, {ours.high:.3f}] with learned values (published {published})"
        )
        tell(part.lines[-1])
        if ours.mean < published - WITHIN:
            part.wrong.append(f"kdd18: {drivers} drivers serve {ours.mean:.3f}, published {published}")
    return part


def _history(chance: np.random.Generator, drivers: int, days: int) -> Moves:
    """All moves of so many days that were matched by distance."""
    played = [play(day(chance, drivers), by_distance)[1] for _ in range(days)]
    return Moves(*(np.concatenate(each) for each in zip(*played, strict=True)))
