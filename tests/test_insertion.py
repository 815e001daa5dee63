"""Parcels into plans: each insertion against every order tried one by one, and what no change may ever break."""

import itertools
from collections.abc import Sequence

import numpy as np
import pytest

from dispatch.insertion import (
    MAX_STOPS,
    Plan,
    Stops,
    cost_s,
    insert,
    insertions,
    leaves_s,
    relocate,
    set_out,
    stops,
    timetable,
)

LATE = 3.0


class City:
    """Random couriers and parcels: rows 0..k-1 are couriers, then n pickups, then their n dropoffs."""

    def __init__(self, seed: int, couriers: int, parcels: int) -> None:
        print(f"seed {seed}")
        self.chance = chance = np.random.default_rng(seed)
        self.couriers, self.parcels = couriers, parcels
        at = chance.uniform(0.0, 6_000.0, (couriers + 2 * parcels, 2))
        shops = couriers + np.flatnonzero(chance.random(parcels) < 0.4)
        at[shops] = at[shops[:1]] if len(shops) else at[shops]
        p, k, n = len(at), couriers, parcels
        units = chance.integers(1, 4, n)
        self.places = stops(
            np.hypot(*(at[:, None] - at[None, :]).transpose(2, 0, 1)) / 7.0,
            dwell_s=np.where(np.arange(p) < k, 0.0, 60.0),
            ready_s=np.where(
                (np.arange(p) >= k) & (np.arange(p) < k + n), chance.uniform(0.0, 1_500.0, p), -np.inf
            ),
            due_s=np.where(np.arange(p) < k + n, np.inf, chance.uniform(500.0, 4_000.0, p)),
            units=np.concatenate([np.zeros(k, int), units, -units]),
            other=np.concatenate([np.full(k, -1), np.arange(k + n, p), np.arange(k, k + n)]),
        )
        self.plans = [Plan(1, row, float(chance.uniform(0, 300)), 0, 6) for row in range(couriers)]

    def pickups(self) -> list[int]:
        return list(range(self.couriers, self.couriers + self.parcels))

    def filled(self) -> list[int]:
        """Puts most parcels anywhere they fit, at random, some on board already; gives those that are left."""
        left = []
        for pickup in self.pickups():
            dropoff, at = int(self.places.other[pickup]), int(self.chance.integers(len(self.plans)))
            plan = self.plans[at]
            i, j = sorted(self.chance.integers(0, len(plan.stops) + 1, 2).tolist())
            new = plan._replace(stops=(*plan.stops[:i], pickup, *plan.stops[i:j], dropoff, *plan.stops[j:]))
            if self.chance.random() < 0.25:
                left.append(pickup)
            elif self.chance.random() < 0.2:
                new = plan._replace(
                    load=plan.load + int(self.places.units[pickup]), stops=(*plan.stops, dropoff)
                )
            if pickup not in left and can_be(new, self.places):
                self.plans[at] = new
            elif pickup not in left:
                left.append(pickup)
        return left


def can_be(plan: Plan, places: Stops) -> bool:
    load = plan.load
    for stop in plan.stops:
        load += int(places.units[stop])
        if load > plan.capacity:
            return False
    return plan.load <= plan.capacity


def plain_cost(start: int, free_s: float, order: Sequence[int], places: Stops) -> float:
    """As a person would reckon it, stop after stop."""
    now_s, cost, at = free_s, 0.0, start
    for stop in order:
        cost += places.legs_s[at, stop]
        now_s = max(now_s + places.legs_s[at, stop], places.ready_s[stop])
        cost += LATE * max(0.0, now_s - places.due_s[stop])
        at = stop
    return float(cost)


def every_order(plan: Plan, pickup: int, places: Stops) -> list[tuple[int, ...]]:
    dropoff = int(places.other[pickup])
    return [
        order
        for i in range(len(plan.stops) + 1)
        for j in range(i, len(plan.stops) + 1)
        if can_be(
            plan._replace(
                stops=(order := (*plan.stops[:i], pickup, *plan.stops[i:j], dropoff, *plan.stops[j:]))
            ),
            places,
        )
    ]


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("latest_s", [400.0, np.inf])
def test_each_insertion_is_the_cheapest_of_all_orders(seed: int, latest_s: float) -> None:
    city = City(seed, couriers=4, parcels=12)
    for pickup in city.filled():
        found = insertions(city.plans, pickup, city.places, LATE, latest_s)
        for at, plan in enumerate(city.plans):
            before = plain_cost(plan.start, plan.free_s, plan.stops, city.places)
            assert cost_s(plan, city.places, LATE) == pytest.approx(before)
            costs = {
                order: plain_cost(plan.start, plan.free_s, order, city.places) - before
                for order in every_order(plan, pickup, city.places)
                if timetable(plan._replace(stops=order), city.places)[1][order.index(pickup)] <= latest_s
            }
            if not costs:
                assert found.added_s[at] == np.inf
                continue
            assert found.added_s[at] == pytest.approx(min(costs.values()), abs=1e-6)
            assert costs[found.plan(city.plans, at).stops] == pytest.approx(min(costs.values()), abs=1e-6)
        if np.isfinite(latest_s):
            continue
        chosen = insert(city.plans, pickup, city.places, LATE)
        if chosen is None:
            assert not np.isfinite(found.added_s).any()
        else:
            at, plan = chosen
            assert found.added_s[at] == found.added_s.min() and plan.version == city.plans[at].version + 1


def test_what_does_not_fit_is_nobodys() -> None:
    city = City(0, couriers=2, parcels=3)
    full = [plan._replace(load=6) for plan in city.plans]
    assert insert(full, city.pickups()[0], city.places, LATE) is None
    over = [plan._replace(load=7) for plan in city.plans]
    assert insert(over, city.pickups()[0], city.places, LATE) is None
    assert insert([], city.pickups()[0], city.places, LATE) is None
    long = [
        city.plans[0]._replace(stops=(city.couriers + 1,) * (MAX_STOPS + 1), capacity=1_000),
        city.plans[1],
    ]
    assert insertions(long, city.pickups()[0], city.places, LATE).added_s[0] == np.inf
    assert insert(long[:1], city.pickups()[0], city.places, LATE) is None
    found = insert(long, city.pickups()[0], city.places, LATE)
    assert found is not None and found[0] == 1


def stops_of(plans: Sequence[Plan]) -> list[int]:
    return sorted(stop for plan in plans for stop in plan.stops)


def is_sound(plans: Sequence[Plan], places: Stops) -> bool:
    for plan in plans:
        for at, stop in enumerate(plan.stops):
            if places.units[stop] > 0 and int(places.other[stop]) not in plan.stops[at + 1 :]:
                return False
        if not can_be(plan, places):
            return False
    return True


@pytest.mark.parametrize("seed", range(40))
def test_moving_parcels_never_costs_more_and_loses_none(seed: int) -> None:
    city = City(seed, couriers=5, parcels=20)
    for pickup in city.filled():
        chosen = insert(city.plans, pickup, city.places, LATE)
        if chosen is None:
            continue
        city.plans[chosen[0]] = chosen[1]
        moved = relocate(city.plans, pickup, city.places, LATE, tries=8)
        assert stops_of(moved) == stops_of(city.plans) and is_sound(moved, city.places)
        for before, after in zip(city.plans, moved, strict=True):
            assert after._replace(stops=(), version=0) == before._replace(stops=(), version=0)
            assert after.version == before.version + (after.stops != before.stops)
            board = [stop for stop in before.stops if city.places.other[stop] not in before.stops]
            assert set(board) <= set(after.stops)  # what is on board stays with its courier
        total = [sum(cost_s(plan, city.places, LATE) for plan in plans) for plans in (city.plans, moved)]
        assert total[1] <= total[0] + 1e-6
        assert relocate(city.plans, pickup, city.places, LATE, tries=0) == city.plans
        city.plans = moved


def cheapest_of_all(city: City, pickups: list[int]) -> float:
    """Every parcel to every courier, in every order that can be."""
    best = np.inf
    for whose in itertools.product(range(len(city.plans)), repeat=len(pickups)):
        total = 0.0
        for at, plan in enumerate(city.plans):
            mine = [pickup for pickup, who in zip(pickups, whose, strict=True) if who == at]
            rows = [*mine, *(int(city.places.other[pickup]) for pickup in mine)]
            orders = [
                order
                for order in itertools.permutations(rows)
                if is_sound([plan._replace(stops=order)], city.places)
            ]
            total += min(
                (plain_cost(plan.start, plan.free_s, o, city.places) for o in orders), default=np.inf
            )
        best = min(best, total)
    return best


def test_small_cities_are_within_a_tenth_of_the_best_there_is() -> None:
    over = []
    for seed in range(12):
        city = City(seed, couriers=2, parcels=3)
        for pickup in city.pickups():
            chosen = insert(city.plans, pickup, city.places, LATE)
            assert chosen is not None
            city.plans[chosen[0]] = chosen[1]
            city.plans = relocate(city.plans, pickup, city.places, LATE, tries=6)
        total = sum(cost_s(plan, city.places, LATE) for plan in city.plans)
        over.append(total / cheapest_of_all(city, city.pickups()) - 1.0)
    assert min(over) >= -1e-9 and sum(over) / len(over) < 0.10


def line(ready_s: float = -np.inf) -> Stops:
    """A courier, a pickup 100 s from him and a dropoff 50 s from that; 60 s at each stop."""
    drive_s = np.array([[0.0, 100.0, 150.0], [100.0, 0.0, 50.0], [150.0, 50.0, 0.0]])
    return stops(
        drive_s,
        dwell_s=np.array([0.0, 60.0, 60.0]),
        ready_s=np.array([-np.inf, ready_s, -np.inf]),
        due_s=np.array([np.inf, np.inf, 400.0]),
        units=np.array([0, 1, -1]),
        other=np.array([-1, 2, 1]),
    )


def test_by_hand() -> None:
    plan = Plan(7, 0, 10.0, 0, 1, (1, 2))
    assert timetable(plan, line()) == (210.0, [110.0, 220.0], 0.0)
    assert timetable(plan, line(ready_s=300.0)) == (210.0, [300.0, 410.0], 10.0)
    assert cost_s(plan, line(ready_s=300.0), LATE) == 240.0


def test_who_would_wait_leaves_later_and_is_bound_only_then() -> None:
    plan, places = Plan(7, 0, 10.0, 0, 1, (1, 2)), line(ready_s=300.0)
    assert leaves_s(plan, places) == 200.0
    assert set_out(plan, places, 199.9) == plan._replace(free_s=199.9)
    gone = set_out(plan, places, 200.0)
    assert gone == Plan(8, 1, 300.0, 1, 1, (2,))
    assert set_out(gone, places, 299.0) == gone  # on his way
    assert set_out(plan, places, 1e9)._replace(free_s=0.0) == Plan(9, 2, 0.0, 0, 1)
    assert leaves_s(Plan(1, 0, 0.0, 0, 1), places) == np.inf


def test_who_stayed_on_after_a_stop_does_not_stay_again() -> None:
    places = line()
    there = set_out(Plan(1, 1, 0.0, 1, 1), places, 1_000.0)
    assert there.free_s == 940.0
    assert timetable(there._replace(stops=(2,)), places)[1] == [1_050.0]


def test_a_plan_with_one_more_is_the_next_version() -> None:
    plan = Plan(7, 0, 0.0, 0, 1)
    chosen = insert([plan], 1, line(), LATE)
    assert chosen is not None and chosen[1].stops == (1, 2)
    assert chosen[1].version == 8
