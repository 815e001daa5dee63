"""The solver of the batch, against every assignment there is: most served first, then least cost."""

import math
import random
from collections.abc import Iterator

import numpy as np
import pytest

from dispatch.assignment import Pairs, solve

Costs = dict[tuple[int, int], float]


def pairs_of(costs: Costs) -> Pairs:
    keys = np.array(list(costs), dtype=np.int64).reshape(-1, 2)
    return Pairs(keys[:, 0], keys[:, 1], np.array(list(costs.values()), dtype=float))


def every_assignment(costs: Costs, request: int, requests: int, taken: frozenset[int]) -> Iterator[list[int]]:
    if request == requests:
        yield []
        return
    for driver in [-1, *(d for r, d in costs if r == request and d not in taken)]:
        for rest in every_assignment(costs, request + 1, requests, taken | {driver} - {-1}):
            yield [driver, *rest]


def rated(chosen: list[int], costs: Costs, waits: list[float]) -> tuple[int, float]:
    """To be least: how many are left that must be served, then the cost, with the prices of those that are left."""
    left = [wait for driver, wait in zip(chosen, waits, strict=True) if driver < 0]
    cost = sum(costs[at] for at in enumerate(chosen) if at[1] >= 0)
    return sum(map(math.isinf, left)), cost + sum(wait for wait in left if not math.isinf(wait))


def instance(rng: random.Random) -> tuple[Costs, list[float]]:
    """Up to 5 x 5, sparse to full, many ties, prices for none, some or all; costs are multiples of 1/4 s."""
    requests, drivers = rng.randint(1, 5), rng.randint(1, 5)
    share, priced, most = rng.random(), rng.choice([0.0, 0.5, 1.0]), rng.choice([2, 40, 4_000])
    costs = {
        (r, d): rng.randint(-most, most) / 4
        for r in range(requests)
        for d in range(drivers)
        if rng.random() < share
    }
    return costs, [
        rng.randint(-most, most) / 4 if rng.random() < priced else math.inf for _ in range(requests)
    ]


@pytest.mark.parametrize("part", range(4))
def test_the_best_of_all_assignments(part: int) -> None:
    for seed in range(part * 1_000, part * 1_000 + 500):
        costs, waits = instance(random.Random(seed))
        chosen = solve(len(waits), pairs_of(costs), np.array(waits)).tolist()
        taken = [driver for driver in chosen if driver >= 0]
        assert len(taken) == len(set(taken)), f"seed {seed}: a driver twice"
        assert all(at in costs for at in enumerate(chosen) if at[1] >= 0), f"seed {seed}: not a pair"
        best = min(rated(each, costs, waits) for each in every_assignment(costs, 0, len(waits), frozenset()))
        assert rated(chosen, costs, waits) == best, f"seed {seed}"


def test_most_served_comes_before_any_cost() -> None:
    """The cheap pair would leave one of two unserved."""
    costs = {(0, 0): 0.0, (0, 1): 5_000.0, (1, 0): 5_000.0}
    assert solve(2, pairs_of(costs)).tolist() == [1, 0]


def test_a_priced_request_is_left_when_serving_it_costs_more() -> None:
    costs = {(0, 0): 100.0}
    assert solve(1, pairs_of(costs), np.array([100.5])).tolist() == [0]
    assert solve(1, pairs_of(costs), np.array([99.5])).tolist() == [-1]


def test_serving_counts_first_at_full_size_and_full_spread() -> None:
    """A chain as long as a batch: each request could have the driver before at no cost, and all must move up by one."""
    n = 2_000
    costs = (
        {(r, r): 0.0 for r in range(n - 1)} | {(r, r + 1): 3_600.0 for r in range(n - 1)} | {(n - 1, 0): 0.0}
    )
    assert solve(n, pairs_of(costs)).tolist() == [*range(1, n), 0]


def test_the_order_of_pairs_does_not_matter_and_that_of_rows_decides_equals() -> None:
    rng = random.Random(1)
    for _ in range(200):
        costs, waits = instance(rng)
        mixed = list(costs.items())
        rng.shuffle(mixed)
        same = solve(len(waits), pairs_of(costs)).tolist()
        assert solve(len(waits), pairs_of(dict(mixed))).tolist() == same
    assert solve(1, pairs_of({(0, 2): 1.0, (0, 1): 1.0, (0, 0): 1.0})).tolist() == [0]
    assert solve(3, pairs_of({(2, 0): 1.0, (1, 0): 1.0, (0, 0): 1.0})).tolist() == [0, -1, -1]


def test_nobody_and_nothing() -> None:
    assert solve(0, pairs_of({})).tolist() == []
    assert solve(2, pairs_of({})).tolist() == [-1, -1]
    with pytest.raises(ValueError, match="finite"):
        solve(1, pairs_of({(0, 0): math.inf}))
