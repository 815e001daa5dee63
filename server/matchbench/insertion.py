"""Parcels into the plans of 40 couriers, one by one as they come, against OR-tools with the same knowledge and 10 s.

San Francisco's Friday evening, or that of the day which `--traces` is of: pickups and dropoffs are of its real rides
(those below 8 km), at 240 an hour; 40 % of the pickups are moved to twelve of the places, as from shops, and are ready
5 to 20 minutes later. Three of ten are promised within 40 minutes of being ready, the others within 75. Couriers take
six units, a parcel is one or two, and each stop takes 90 s. Seconds of driving are the untrained table's; what is
compared does not depend on them.

At some moments the dispatcher's plans are kept. From each the solver begins twice, with these plans and with its own,
10 s each, and may reorder everything and move every parcel that nobody has set out for. `gap` is what the
dispatcher's plans cost over the better of the two. It is not negative, because the solver may keep the plans.

There are two dispatchers (couriers.py): the server's own way, of which what must hold must hold, and one that moves
parcels, whose figures end in `_moving`; `moving_saves` is what it saves of all that is driven in the end.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any, Final, NamedTuple

import numpy as np

from dispatch.etatable import EtaTable, distances_m
from dispatch.insertion import Plan, Stops, cost_s, stops
from dispatch.policy import Policy
from server.matchbench.couriers import MOVING, SERVER, Evening, play
from server.matchbench.part import Part, Teller, left_out, not_there
from server.matchbench.recorded import evening_of
from server.matchbench.rides import Rides, read_rides

COURIERS, PARCELS, AN_HOUR = 40, 200, 240.0
CAPACITY, DWELL_S = 6, 90.0
SEEDS: Final = (0, 1)
LOOK_AT: Final = (60, 110, 150, 190)  # after so many parcels
LIMIT_S: Final = 10.0
GAP_MOST, MS_MOST = 0.10, 5.0
FRIDAY_S: Final = (1_212_195_600.0, 1_212_202_800.0)  # 18 to 20 h of the recorded one
_SHOPS, _SHOP_SHARE, _EXPRESS_SHARE = 12, 0.4, 0.3


class Moment(NamedTuple):
    """What a dispatcher knew and had planned after a parcel."""

    moving: bool
    parcel: int
    plans: list[Plan]
    places: Stops


def measure(options: argparse.Namespace, tell: Teller) -> Part:
    """`insertion`: see `measure_insertion`."""
    if missing := not_there(options.requests, options.traces):
        return left_out(missing)
    try:
        figures = measure_insertion(tell, read_rides(options.requests), evening_of(options.traces))
    except ValueError as few:
        return left_out(f"{options.requests.name} on the evening of {options.traces.name}: {few}")
    return Part(
        {"insertion": figures}, wrong_of(figures), [f"{name:18} {value}" for name, value in figures.items()]
    )


def wrong_of(figures: dict[str, Any]) -> list[str]:
    """What is not as it must be."""
    wrong = []
    if figures["gap"] > GAP_MOST:
        wrong.append(f"plans cost {figures['gap']:.1%} more than the oracle's, {GAP_MOST:.0%} is the most")
    if figures["ms_a_parcel"] > MS_MOST:
        wrong.append(f"a parcel takes {figures['ms_a_parcel']} ms, {MS_MOST:g} is the most")
    return wrong


def measure_insertion(
    tell: Teller, rides: Rides, between_s: tuple[float, float], limit_s: float = LIMIT_S
) -> dict[str, Any]:
    """Gaps to the oracle at each moment, milliseconds a parcel, and what moving parcels saves of what they cost.
    Raises ValueError where there are too few rides."""
    policy = Policy()
    moments, spent_ms, driven_s = list[Moment](), {False: list[float](), True: list[float]()}, [0.0, 0.0]
    for seed in SEEDS:
        tell(f"evening {seed}")
        for moving, way in enumerate((SERVER, MOVING)):
            played = play(evening(rides, seed, between_s), policy, way, LOOK_AT)
            driven_s[moving] += played.cost_s
            spent_ms[bool(moving)] += played.spent_ms
            moments += [Moment(bool(moving), *moment) for moment in played.moments]
    tell(f"the oracle, 2 x {limit_s:g} s for each of {len(moments)} moments")
    # two processes on two cores, each new: the solver keeps state that a fork would share
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        found = list(
            pool.map(_oracle_s, *zip(*((m, policy.late_weight, limit_s) for m in moments), strict=True))
        )
    compared = list(zip(moments, found, strict=True))
    figures: dict[str, Any] = {}
    for moving, name in ((False, ""), (True, "_moving")):
        of = [(moment, theirs) for moment, theirs in compared if moment.moving == moving]
        figures |= _figures(of, spent_ms[moving], policy.late_weight, name)
    figures["moving_saves"] = round(1.0 - driven_s[1] / driven_s[0], 4)
    return figures | {"couriers": COURIERS, "parcels": PARCELS * len(SEEDS)}


def _figures(
    compared: list[tuple[Moment, list[float]]], spent_ms: list[float], late_weight: float, name: str
) -> dict[str, Any]:
    """Of one dispatcher, `name` behind that of each."""
    ours = [total_s(moment.plans, moment.places, late_weight) for moment, _ in compared]
    gaps = [mine / min(mine, *theirs) - 1.0 for mine, (_, theirs) in zip(ours, compared, strict=True)]
    own = [mine / theirs[1] - 1.0 for mine, (_, theirs) in zip(ours, compared, strict=True)]
    return {
        f"gap{name}": round(float(np.mean(gaps)), 4),
        f"gap_max{name}": round(max(gaps), 4),
        f"gaps{name}": [round(gap, 4) for gap in gaps],
        f"oracle_own_start{name}": round(float(np.mean(own)), 4),
        f"stops_planned{name}": [sum(len(plan.stops) for plan in moment.plans) for moment, _ in compared],
        f"ms_a_parcel{name}": round(float(np.mean(spent_ms)), 2),
        f"ms_p99{name}": round(float(np.quantile(spent_ms, 0.99)), 2),
    }


def total_s(plans: list[Plan], places: Stops, late_weight: float) -> float:
    return sum(cost_s(plan, places, late_weight) for plan in plans)


def evening(rides: Rides, seed: int, between_s: tuple[float, float] = FRIDAY_S) -> Evening:
    """200 parcels and 40 couriers, drawn from the real rides of two hours. Raises ValueError of fewer."""
    chance = np.random.default_rng(seed)
    rides = rides.where((rides.pickup_s >= between_s[0]) & (rides.pickup_s < between_s[1]))
    if len(rides) < PARCELS:
        raise ValueError(f"{len(rides)} rides, {PARCELS} are needed: name traces and requests of one day")
    middle = np.median(rides.pickup_deg, axis=0)
    near = [distances_m(ends, middle) < 9_000.0 for ends in (rides.pickup_deg, rides.dropoff_deg)]
    rides = rides.where(near[0] & near[1] & (distances_m(rides.pickup_deg, rides.dropoff_deg) < 8_000.0))
    if len(rides) < PARCELS:
        raise ValueError(f"{len(rides)} rides are below 8 km, {PARCELS} are needed")
    drawn = rides.where(chance.permutation(len(rides))[:PARCELS])
    pickup_deg = drawn.pickup_deg.copy()
    shops_deg = rides.pickup_deg[chance.permutation(len(rides))[:_SHOPS]]
    shop = chance.random(PARCELS) < _SHOP_SHARE
    pickup_deg[shop] = shops_deg[chance.integers(0, _SHOPS, int(shop.sum()))]
    known_s = np.sort(chance.random(PARCELS)) * PARCELS / AN_HOUR * 3_600.0
    later_s = np.where(shop, chance.uniform(300.0, 1_200.0, PARCELS), chance.uniform(0.0, 300.0, PARCELS))
    ready_s, units = known_s + later_s, chance.integers(1, 3, PARCELS)
    due_s = ready_s + np.where(chance.random(PARCELS) < _EXPRESS_SHARE, 2_400.0, 4_500.0)
    couriers_deg = rides.dropoff_deg[chance.permutation(len(rides))[:COURIERS]]
    everywhere = np.vstack([couriers_deg, pickup_deg, drawn.dropoff_deg])
    drive_s = EtaTable(Policy()).seconds(everywhere, everywhere, 0.0)
    drive_s[distances_m(everywhere[:, None], everywhere[None, :]) < 1.0] = 0.0
    none, all_ = np.full(PARCELS, -np.inf), np.full(COURIERS + PARCELS, np.inf)
    rows = np.arange(PARCELS)
    places = stops(
        drive_s,
        dwell_s=np.concatenate([np.zeros(COURIERS), np.full(2 * PARCELS, DWELL_S)]),
        ready_s=np.concatenate([np.full(COURIERS, -np.inf), ready_s, none]),
        due_s=np.concatenate([all_, due_s]),
        units=np.concatenate([np.zeros(COURIERS, int), units, -units]),
        other=np.concatenate([np.full(COURIERS, -1), COURIERS + PARCELS + rows, COURIERS + rows]),
    )
    return Evening(places, [Plan(1, row, 0.0, 0, CAPACITY) for row in range(COURIERS)], known_s)


def _oracle_s(moment: Moment, late_weight: float, limit_s: float) -> list[float]:
    """What the solver's plans cost that began with the dispatcher's, and those that began with its own."""
    from server.matchbench.oracle import best_plans

    found = []
    for from_these in (True, False):
        plans = best_plans(moment.plans, moment.places, late_weight, limit_s, from_these=from_these)
        found.append(np.inf if plans is None else total_s(plans, moment.places, late_weight))
    return found
