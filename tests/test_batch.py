"""What the batch looks at and what it costs: candidates from both sides, in time, not barred, fair within bounds."""

import random
from itertools import permutations

import numpy as np
import pytest

from dispatch.assignment import Pairs, solve
from dispatch.batch import Drivers, Requests, by_freshness, plenty, priced, worth_s
from dispatch.candidates import SMALL, Near, globe_m, near
from dispatch.cells import distance_m
from dispatch.policy import Policy

POLICY = Policy(age_weight=0.2, age_most_s=300.0, idle_weight=0.1, idle_most_s=600.0, longest_pickup_s=500.0)


def crossing(requests: int, drivers: int) -> Near:
    """Every pair, at distance 0."""
    request, driver = np.divmod(np.arange(requests * drivers), drivers)
    return Near(request, driver, np.zeros(requests * drivers))


def wanted(n: int, **fields: list[float]) -> Requests:
    given = {"age_s": [0.0] * n, "left_s": [np.inf] * n, "end_s": [0.0] * n} | fields
    return Requests(**{name: np.array(values) for name, values in given.items()})


def supply(m: int, **fields: list[float]) -> Drivers:
    given = {
        "idle_s": [0.0] * m,
        "fix_age_s": [0.0] * m,
        "ready_s": [0.0] * m,
        "longest_s": [500.0] * m,
        "score": [0.0] * m,
    } | fields
    return Drivers(**{name: np.array(values) for name, values in given.items()})


@pytest.mark.parametrize(("n", "m"), [(0, 5), (5, 0), (1, 1), (30, 60), (80, 120), (120, 80), (300, 40)])
def test_the_nearest_of_each_from_both_sides(n: int, m: int) -> None:
    chance = np.random.default_rng((n, m))
    requests_m, drivers_m = chance.uniform(0, 5_000, (n, 2)), chance.uniform(0, 5_000, (m, 2))
    found = near(requests_m, drivers_m, 900.0, each=6)
    away_m = np.hypot(*(requests_m[:, None] - drivers_m[None]).transpose(2, 0, 1))
    got = set(zip(found.request.tolist(), found.driver.tolist(), strict=True))
    assert len(got) == len(found.request), "a pair twice"
    assert sorted(got) == list(zip(found.request.tolist(), found.driver.tolist(), strict=True))
    assert np.allclose(found.distance_m, away_m[found.request, found.driver])
    reached = {(int(r), int(d)) for r, d in np.argwhere(away_m <= 900.0)}
    if n * m <= SMALL:
        assert got == reached
        return
    fewer = min(n, m)
    rank_of_driver = away_m.argsort(axis=1).argsort(axis=1) < -(-6 * fewer // n)
    rank_of_request = away_m.argsort(axis=0).argsort(axis=0) < -(-6 * fewer // m)
    assert got == {pair for pair in reached if rank_of_driver[pair] or rank_of_request[pair]}


def test_straight_lines_through_the_globe_are_the_distances_on_it() -> None:
    """Of a city anywhere, the poles and the antimeridian among them."""
    rng = random.Random(3)
    for lat, lng in [(49.99, 36.23), (0.0, 0.0), (-17.75, 179.9995), (59.9, 10.7), (89.95, -122.42)]:
        spots = [(min(lat + rng.uniform(-0.3, 0.3), 90.0), lng + rng.uniform(-0.3, 0.3)) for _ in range(20)]
        round_m = globe_m(*np.array(spots).T)
        for i, j in permutations(range(20), 2):
            apart_m = np.linalg.norm(round_m[i] - round_m[j])
            assert apart_m == pytest.approx(distance_m(*spots[i], *spots[j]), rel=1e-5, abs=1e-3)


def test_a_cost_is_what_its_parts_say() -> None:
    requests = wanted(1, age_s=[100.0], end_s=[50.0])
    drivers = supply(1, idle_s=[200.0], fix_age_s=[7.0], ready_s=[30.0])
    policy = Policy(age_weight=0.2, idle_weight=0.1, end_weight=0.5)
    pairs = priced(crossing(1, 1), np.array([90.0]), requests, drivers, policy)
    assert pairs.cost_s.tolist() == pytest.approx([90 + 30 + 25 - 20 - 20 + 0.007])


def test_fairness_is_bounded() -> None:
    requests, drivers = wanted(2, age_s=[300.0, 9_000.0]), supply(2, idle_s=[600.0, 90_000.0])
    pairs = priced(crossing(2, 2), np.full(4, 60.0), requests, drivers, POLICY)
    assert set(pairs.cost_s.tolist()) == {60.0 - 0.2 * 300 - 0.1 * 600}


def test_who_comes_too_late_or_is_barred_is_no_pair() -> None:
    requests, drivers = wanted(2, left_s=[100.0, 900.0]), supply(3, ready_s=[0.0, 41.0, 0.0])
    eta_s = np.array([100.0, 60.0, 101.0, 499.0, 460.0, 501.0])
    pairs = priced(crossing(2, 3), eta_s, requests, drivers, POLICY)
    assert list(zip(pairs.request.tolist(), pairs.driver.tolist(), strict=True)) == [(0, 0), (1, 0), (1, 1)]
    barred = priced(crossing(2, 3), eta_s, requests, drivers, POLICY, barred=np.array([[1, 0], [0, 2]]))
    assert list(zip(barred.request.tolist(), barred.driver.tolist(), strict=True)) == [(0, 0), (1, 1)]


@pytest.mark.parametrize(
    ("idle", "waiting", "enough"),
    [(3, 1, True), (2, 1, False), (5, 2, False), (6, 2, True), (0, 0, False), (3, 0, True)],
)
def test_drivers_are_plenty_from_three_to_one_on(idle: int, waiting: int, enough: bool) -> None:
    assert plenty(idle, waiting, Policy()) is enough
    assert plenty(idle, waiting, Policy(plenty=0.0)) is True


def test_of_equals_the_freshest_then_the_first_by_id_whatever_order_they_came_in() -> None:
    drivers = {"b": 5.0, "a": 5.0, "c": 1.0, "d": 80.0}
    outcomes = set()
    for shuffled in permutations(drivers):
        rows = by_freshness(np.array([drivers[name] for name in shuffled]), shuffled)
        names = [shuffled[row] for row in rows]
        ages = supply(4, fix_age_s=[drivers[name] for name in names])
        chosen = solve(2, priced(crossing(2, 4), np.full(8, 60.0), wanted(2), ages, POLICY))
        outcomes.add(tuple(names[driver] for driver in chosen))
    assert outcomes == {("c", "a")}


def test_the_same_people_in_any_order_are_matched_alike() -> None:
    for seed in range(60):
        chance = np.random.default_rng(seed)
        n, m = (int(each) for each in chance.integers(1, 90, 2))
        requests_m, drivers_m = chance.uniform(0, 4_000, (n, 2)), chance.uniform(0, 4_000, (m, 2))
        age_s, idle_s, fix_age_s = (
            chance.uniform(0, 200, n),
            chance.uniform(0, 900, m),
            chance.uniform(0, 9, m),
        )
        ids = [f"d{row}" for row in chance.permutation(m)]
        found = set()
        for _ in range(3):
            of_n, of_m = np.arange(n), chance.permutation(m)
            of_m = of_m[by_freshness(fix_age_s[of_m], [ids[row] for row in of_m])]
            pairs: Pairs = priced(
                (seen := near(requests_m[of_n], drivers_m[of_m], 1_500.0, each=8)),
                30.0 + seen.distance_m / 6.0,
                wanted(n, age_s=age_s[of_n].tolist()),
                supply(m, idle_s=idle_s[of_m].tolist(), fix_age_s=fix_age_s[of_m].tolist()),
                POLICY,
            )
            chosen = solve(n, pairs)
            found.add(tuple(ids[of_m[driver]] if driver >= 0 else "" for driver in chosen))
        assert len(found) == 1, f"seed {seed}"


def test_a_driver_waits_for_a_nearer_request_where_drivers_are_short() -> None:
    """By simulation of the formula's own city: the pickup that is worth it takes as long as the best way to wait."""
    policy = Policy(longest_pickup_s=300.0, short_share=0.05)
    rate_per_s, one, nobody = np.array([0.05]), np.ones(1), np.zeros(1)
    worth = worth_s(rate_per_s, 0.2, one, nobody, policy)[0]
    assert worth == pytest.approx((3 * 300.0**2 / 0.05) ** (1 / 3))
    chance = np.random.default_rng(1)
    means = {}
    for longest_s in (0.8 * worth, worth, 1.25 * worth):
        away_s = 300.0 * np.sqrt(chance.random((4_000, 400)))  # requests in their order, evenly over the disk
        came_s = np.cumsum(chance.exponential(1 / 0.05, away_s.shape), axis=1)
        first = (away_s <= longest_s).argmax(axis=1)[:, None]
        means[longest_s] = float(np.mean(np.take_along_axis(came_s + away_s, first, axis=1)))
    assert means[worth] == pytest.approx(worth, rel=0.05) and means[worth] <= min(means.values()) + 1.0


def test_how_long_a_pickup_may_be_follows_demand_and_supply() -> None:
    policy = Policy(longest_pickup_s=300.0, short_share=0.05)
    rates = np.array([0.0, 0.01, 0.1, 1.0])
    worth = worth_s(rates, 1.0, np.ones(4), np.zeros(4), policy)
    assert worth[0] == 300.0 and (np.diff(worth) <= 0).all() and worth[3] < 70.0
    idle = worth_s(np.full(4, 0.1), 1.0, np.array([1.0, 2.0, 5.0, 50.0]), np.zeros(4), policy)
    assert (np.diff(idle) > 0).all() and idle[3] == 300.0
    assert worth_s(np.full(1, 0.1), 1.0, np.full(1, 5.0), np.full(1, 4.0), policy)[0] == idle[0]
    shares = [
        worth_s(np.full(1, 0.1), lost, np.ones(1), np.zeros(1), policy)[0] for lost in (0.0, 0.01, 0.05, 0.9)
    ]
    assert shares[0] == 300.0 and shares[0] >= shares[1] > shares[2] == shares[3] == idle[0]
