"""Demand: counts are exact, what was not watched teaches nothing, the forecast comes near the best that there is."""

import random
from typing import Any

import h3.api.basic_int as h3
import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatch import demand as module
from dispatch.demand import QUARTER_S, RESOLUTION, Demand, demand_cell
from server.matchbench.demand import measure_demand
from server.matchbench.rides import SAN_FRANCISCO
from tests.support import shared_data

MONDAY_S = 1_700_438_400.0  # 2023-11-20 00:00 UTC
CELLS = [int(cell) for cell in h3.grid_disk(demand_cell(50.0, 36.2), 2)]
DAY = 96


def by_cell(demand: Demand, values: Any) -> dict[int, float]:
    return dict(zip(demand.cells, values.tolist(), strict=True))


def watched(counts: list[dict[int, int]], start_s: float = MONDAY_S) -> Demand:
    """Quarter after quarter, watched from the first one's beginning."""
    demand = Demand()
    demand.advance(start_s - 1.0)
    for n, quarter in enumerate(counts):
        for cell, count in quarter.items():
            for _ in range(count):
                demand.add(cell, start_s + n * QUARTER_S)
    demand.advance(start_s + len(counts) * QUARTER_S)
    return demand


@given(st.lists(st.tuples(st.floats(-100.0, 4_000.0), st.sampled_from(CELLS)), max_size=60))
def test_the_open_quarter_is_counted_exactly(asked: list[tuple[float, int]]) -> None:
    """Against a plain list of what came in this quarter; time that runs back counts as now."""
    demand, now_s, came = watched([dict.fromkeys(CELLS, 1)]), MONDAY_S + QUARTER_S, list[tuple[int, int]]()
    for wait_s, cell in asked:
        now_s = max(now_s, now_s + wait_s)
        demand.add(cell, now_s + min(wait_s, 0.0))
        came.append((int(now_s // QUARTER_S), cell))
    now = int(now_s // QUARTER_S)
    expected = {cell: float(sum(each == (now, cell) for each in came)) for cell in CELLS}
    assert by_cell(demand, demand.counted()) == expected


@given(
    st.lists(
        st.tuples(st.sampled_from(["add", "advance", "pause"]), st.floats(-1e6, 1e6), st.sampled_from(CELLS)),
        max_size=40,
    )
)
def test_whatever_comes_the_forecast_is_a_count_that_can_be(asked: list[tuple[str, float, int]]) -> None:
    demand, now_s = Demand(), MONDAY_S
    for what, wait_s, cell in asked:
        now_s += wait_s / 100.0
        if what == "add":
            demand.add(cell, now_s)
        elif what == "advance":
            demand.advance(now_s)
        else:
            demand.pause()
        expected = demand.forecast(now_s)
        assert (
            expected.shape == (len(demand.cells),) and np.isfinite(expected).all() and (expected >= 0.0).all()
        )


def test_a_quarter_that_was_not_watched_whole_teaches_nothing() -> None:
    demand = Demand()
    demand.add(CELLS[0], MONDAY_S + 100.0)  # the first look comes in the middle of a quarter
    demand.advance(MONDAY_S + QUARTER_S)
    assert demand.cells == []
    demand.add(CELLS[1], MONDAY_S + QUARTER_S + 1.0)
    demand.pause()
    demand.advance(MONDAY_S + 2 * QUARTER_S)
    assert demand.cells == []
    demand.add(CELLS[2], MONDAY_S + 3 * QUARTER_S)
    demand.advance(MONDAY_S + 4 * QUARTER_S)
    assert demand.cells == CELLS[2:3]
    demand.add(CELLS[3], MONDAY_S + 4 * QUARTER_S)
    demand.advance(MONDAY_S + (4 + DAY + 1) * QUARTER_S)  # away for more than a day
    assert demand.cells == CELLS[2:3]


def test_quiet_quarters_count() -> None:
    busy = watched([{CELLS[0]: 4}] * 20)
    fading = watched([{CELLS[0]: 4}] * 20 + [{}] * 20)
    later_s = MONDAY_S + 40 * QUARTER_S
    assert by_cell(fading, fading.forecast(later_s))[CELLS[0]] < 0.5
    assert by_cell(busy, busy.forecast(MONDAY_S + 20 * QUARTER_S))[CELLS[0]] == pytest.approx(4.0, rel=0.1)


def true_rate(cell: int, quarter: int) -> float:
    """A place with a busy cell and quiet ones, a day with a peak, and quieter weekends."""
    hour = quarter / 4 % 24
    peak = 3.0 if 7 <= hour < 10 else 1.0 if hour >= 6 else 0.2
    return (6.0 if cell == CELLS[0] else 0.5) * peak * (0.6 if quarter // DAY % 7 >= 5 else 1.0)


def test_a_city_of_known_rates_is_forecast_within_a_fifth_of_the_floor() -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = np.random.default_rng(seed)
    demand, wrong, real = Demand(), 0.0, 0.0
    demand.advance(MONDAY_S - 1.0)
    for quarter in range(28 * DAY):
        now_s = MONDAY_S + quarter * QUARTER_S
        expected = by_cell(demand, demand.forecast(now_s))
        for cell in CELLS:
            count = int(chance.poisson(true_rate(cell, quarter)))
            for _ in range(count):
                demand.add(cell, now_s)
            if quarter >= 14 * DAY:
                wrong += (expected[cell] - count) ** 2
                real += count
        demand.advance(now_s + QUARTER_S)
    assert (wrong / real) ** 0.5 < 1.2  # root of the squared error over the Poisson law's own


def test_a_rush_that_nobody_expected_is_followed_within_the_hour() -> None:
    demand = watched([dict.fromkeys(CELLS, 2)] * 7 * DAY)
    usual = demand.forecast(MONDAY_S + 7 * DAY * QUARTER_S).sum()
    for n in range(4):
        now_s = MONDAY_S + (7 * DAY + n) * QUARTER_S
        for cell in CELLS:
            for _ in range(6):
                demand.add(cell, now_s)
    rush = demand.forecast(MONDAY_S + (7 * DAY + 4) * QUARTER_S - 0.001).sum()
    assert rush > 2.0 * usual


def test_between_quarters_the_forecast_moves_without_a_jump() -> None:
    demand = watched([{CELLS[0]: n % 7} for n in range(2 * DAY)])
    end_s = MONDAY_S + 2 * DAY * QUARTER_S
    moving = [float(demand.forecast(end_s + n)[0]) for n in range(0, 1_800, 10)]
    assert max(abs(np.diff(moving))) < 0.1


def test_cells_are_bounded_and_the_quietest_give_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_CELLS", 5)
    everywhere = [int(cell) for cell in h3.grid_disk(CELLS[0], 8)]
    demand = watched([{CELLS[0]: 5, everywhere[n % len(everywhere)]: 1} for n in range(400)])
    assert len(demand.cells) == 5 == len(set(demand.cells)) and CELLS[0] in demand.cells
    assert demand.forecast(MONDAY_S + 400 * QUARTER_S).shape == (5,)
    again = Demand.loads(demand.dumps())
    assert again.cells == demand.cells


def test_what_is_kept_forecasts_what_is_usual() -> None:
    demand = watched([{CELLS[n % 5]: n % 4} for n in range(8 * DAY)])
    again = Demand.loads(demand.dumps())
    assert again.dumps() == demand.dumps() and again.learned_s == MONDAY_S + 8 * DAY * QUARTER_S
    later_s = MONDAY_S + (8 * DAY + 2 * DAY) * QUARTER_S
    for each in (demand, again):
        each.advance(later_s)  # after a day and a half of silence only what is usual counts
    assert again.cells == demand.cells
    assert again._usually(100) == pytest.approx(demand._usually(100))


def _with(**changes: Any) -> bytes:
    kept = msgspec.msgpack.decode(watched([{CELLS[0]: 1}, {CELLS[1]: 2}]).dumps())
    return msgspec.msgpack.encode(kept | changes)


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"nonsense",
        _with(format=2),
        _with(extra=1),
        _with(cells=[1]),
        _with(cells=[1, 1]),
        _with(level=b"123"),
        _with(level=np.array([1.0, np.nan], np.float32).tobytes()),
        _with(level=np.array([1.0, -1.0], np.float32).tobytes()),
        _with(level_seen=-1.0),
        _with(level_seen=float("nan")),
    ],
)
def test_another_document_is_refused(document: bytes) -> None:
    assert Demand.loads(_with()).cells == CELLS[:2]
    with pytest.raises(ValueError, match="not the demand of an area"):
        Demand.loads(document)


def test_cells_are_of_one_resolution() -> None:
    assert h3.get_resolution(demand_cell(50.0, 36.2)) == RESOLUTION


def test_real_requests_are_forecast_near_the_floor() -> None:
    figures = measure_demand(shared_data(SAN_FRANCISCO))
    assert figures["over_floor"] < 1.15 and figures["over_naive"] < 0.7
