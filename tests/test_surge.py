"""Pressure sums over neighbours; surge stays within its cap, and no price goes up and down again at once."""

import itertools
import random

import h3.api.basic_int as h3
import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatch.demand import RESOLUTION, demand_cell
from dispatch.policy import Policy
from dispatch.surge import Surge, calm, neighbourhood, next_surge, pressure

POLICY = Policy(
    surge_cap=2.0, surge_from=1.0, surge_slope=0.5, surge_band=0.2, surge_rise_s=60.0, surge_fall_s=300.0
)
CELL = demand_cell(50.0, 36.2)


def run(
    pressures: list[tuple[float, float]], policy: Policy = POLICY, surge: Surge | None = None
) -> list[float]:
    """The factor after each (time, pressure), of one cell."""
    surge, factors = surge or calm(1), []
    for now_s, value in pressures:
        surge = next_surge(surge, np.array([value]), now_s, policy)
        factors.append(float(surge.factor[0]))
    return factors


def looks(until_s: float, value: float, from_s: float = 0.0) -> list[tuple[float, float]]:
    return [(from_s + 10.0 * n, value) for n in range(int((until_s - from_s) / 10.0) + 1)]


def test_pressure_sums_over_neighbours_against_a_plain_sum() -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = np.random.default_rng(seed)
    cells = [int(cell) for cell in h3.grid_disk(CELL, 4)]
    cells = [cells[n] for n in chance.permutation(len(cells))[:40]]
    waiting, forecast, supply = (chance.poisson(1.0, 40).astype(float) for _ in range(3))
    found = pressure(waiting, forecast, supply, neighbourhood(cells))
    for at, cell in enumerate(cells):
        near = [row for row, other in enumerate(cells) if other in h3.grid_disk(cell, 1)]
        wanted = sum(waiting[row] + forecast[row] for row in near)
        assert found[at] == pytest.approx(wanted / (sum(supply[row] for row in near) + 1.0))


def test_pressure_beside_a_pentagon_and_of_nothing() -> None:
    pentagon = h3.get_pentagons(RESOLUTION)[0]
    cells = [int(cell) for cell in h3.grid_disk(pentagon, 1)]
    assert len(cells) == 6
    near = neighbourhood(cells)
    assert pressure(np.ones(6), np.zeros(6), np.zeros(6), near)[cells.index(pentagon)] == 6.0
    assert pressure(np.zeros(0), np.zeros(0), np.zeros(0), neighbourhood([])).shape == (0,)
    assert pressure(np.zeros(6), np.zeros(6), np.zeros(6), near).tolist() == [0.0] * 6


def test_without_a_cap_there_is_no_surge() -> None:
    assert set(run(looks(5_000.0, 1e9), Policy())) == {1.0}


def test_it_rises_after_a_minute_two_tenths_at_a_time_to_what_is_asked() -> None:
    factors = run(looks(400.0, 2.0))  # asks for 1.5
    assert factors[:6] == [1.0] * 6 and factors[6] == 1.2
    assert factors[-1] == 1.5 and max(factors) == 1.5
    assert run(looks(2_000.0, 1e12))[-1] == 2.0


def test_a_short_peak_moves_nothing() -> None:
    assert set(run([*looks(50.0, 9.0), *looks(500.0, 0.0, 60.0), *looks(550.0, 9.0, 510.0)])) == {1.0}


def test_a_swing_within_the_band_moves_nothing() -> None:
    up = looks(400.0, 2.0)
    swing = [(410.0 + 10.0 * n, 2.0 - (0.19 if n % 2 else 0.0)) for n in range(500)]
    low = [(5_500.0 + 10.0 * n, 1.81) for n in range(500)]
    assert set(run(up + swing + low)[len(up) :]) == {1.5}


def test_every_five_minutes_it_falls_half_of_the_way_and_two_tenths_at_least() -> None:
    up = looks(2_000.0, 1e12)
    factors = run([*up, *looks(4_000.0, 0.0, 2_010.0)])[len(up) :]
    changes = [n for n, (a, b) in enumerate(itertools.pairwise(factors)) if a != b]
    assert [factors[n + 1] for n in changes] == [1.5, 1.2, 1.0]
    assert all(30 <= b - a <= 31 for a, b in itertools.pairwise([-1, *changes]))


def test_it_falls_no_farther_than_to_what_is_asked_for_with_the_band() -> None:
    up = looks(2_000.0, 1e12)
    assert run([*up, *looks(9_000.0, 1.9, 2_010.0)])[-1] == 1.5


@pytest.mark.parametrize("value", [0.9, 1.0])
def test_where_there_is_a_vehicle_for_each_request_it_comes_to_one(value: float) -> None:
    up = looks(2_000.0, 1e12)
    assert run([*up, *looks(3_000.0, value, 2_010.0)])[-1] == 1.0


def test_counts_that_change_from_look_to_look_do_not_hold_it_up() -> None:
    """One look in eight asks for more; nor do they let it fall when every other one does."""
    up = looks(2_000.0, 1e12)
    for every, last in ((8, 1.0), (2, 2.0)):
        noisy = [(2_010.0 + 10.0 * n, 0.0 if n % every else 9.0) for n in range(180)]
        assert run([*up, *noisy])[-1] == last


def test_a_lower_cap_holds_at_once_and_a_higher_one_gives_no_jump() -> None:
    surge = calm(1)
    for now_s, value in looks(1_000.0, 9.0):
        surge = next_surge(surge, np.array([value]), now_s, POLICY)
    assert surge.factor.tolist() == [2.0]
    lower = next_surge(surge, np.array([9.0]), 1_010.0, msgspec.structs.replace(POLICY, surge_cap=1.3))
    assert lower.factor.tolist() == [1.3]
    higher = next_surge(lower, np.array([9.0]), 1_020.0, POLICY)
    assert higher.factor.tolist() == [1.3]


policies = st.builds(
    Policy,
    surge_cap=st.floats(1.0, 5.0),
    surge_from=st.floats(0.0, 3.0),
    surge_slope=st.floats(0.0, 3.0),
    surge_band=st.floats(0.0, 2.0),
    surge_rise_s=st.floats(0.0, 200.0),
    surge_fall_s=st.floats(0.0, 600.0),
)
pressures = st.one_of(st.floats(0.0, 5.0), st.floats(0.0, 1e9))


@given(policies, st.lists(st.tuples(st.floats(0.0, 300.0), pressures), max_size=60))
def test_whatever_comes(policy: Policy, asked: list[tuple[float, float]]) -> None:
    """Within [1, cap] in tenths, and a fall never below what is asked for; changes in opposite directions are as far
    apart as the policy says."""
    surge, now_s, risen_s, fallen_s = calm(1), 0.0, -np.inf, -np.inf
    for wait_s, value in asked:
        now_s += wait_s
        before, surge = surge.tenths[0], next_surge(surge, np.array([value]), now_s, policy)
        now = surge.tenths[0]
        assert 10 <= now <= policy.surge_cap * 10 + 1e-6 and now - before <= 2
        if now > before:
            assert now_s - fallen_s >= policy.surge_rise_s
            risen_s = now_s
        if now < before:
            assert now_s - risen_s >= policy.surge_fall_s
            assert now >= min(before - 2, (before + 10) // 2)
            fallen_s = now_s


@given(policies, st.lists(st.tuples(st.floats(1.0, 300.0), pressures), max_size=30), pressures, pressures)
def test_more_pressure_never_gives_less(
    policy: Policy, before: list[tuple[float, float]], one: float, other: float
) -> None:
    surge, now_s = calm(2), 0.0
    for wait_s, value in before:
        now_s += wait_s
        surge = next_surge(surge, np.array([value, value]), now_s, policy)
    low, high = next_surge(surge, np.array([min(one, other), max(one, other)]), now_s + 60.0, policy).tenths
    assert low <= high


@given(policies, st.lists(st.tuples(st.floats(1.0, 300.0), pressures), max_size=20), pressures)
def test_a_steady_pressure_comes_to_rest(
    policy: Policy, before: list[tuple[float, float]], value: float
) -> None:
    now_s = sum(wait_s for wait_s, _ in before)
    at_s = list(itertools.accumulate(wait_s for wait_s, _ in before))
    start = [(at, each) for at, (_, each) in zip(at_s, before, strict=True)]
    steady = [(now_s + 601.0 * n, value) for n in range(1, 101)]
    factors = run(start + steady, policy)
    assert len(set(factors[-10:])) == 1


def test_cells_do_not_touch_each_other() -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = np.random.default_rng(seed)
    asked = chance.uniform(0.0, 4.0, (200, 8))
    together = calm(8)
    for n, row in enumerate(asked):
        together = next_surge(together, row, 20.0 * n, POLICY)
    alone = [run([(20.0 * n, float(row[cell])) for n, row in enumerate(asked)])[-1] for cell in range(8)]
    assert together.factor.tolist() == alone
