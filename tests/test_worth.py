"""What a driver's time is worth: by class and cell from one look, kept with it, and heeded by a round of the batch."""

from __future__ import annotations

import h3.api.basic_int as h3
import numpy as np
import pytest
from msgspec.structs import replace

from dispatch.batch import worth_s
from dispatch.cells import distance_m
from dispatch.demand import QUARTER_S, demand_cell
from dispatch.eta import reach_m
from dispatch.heat import FRESH_S, Heat, Heats
from dispatch.policy import Policy
from dispatch.worth import CELLS_MAX, RESOLUTION, OfClass, longest_s
from storage import keys
from storage.facts import entry_of
from storage.records import Choice
from tests.deskkit import CENTRE, S
from tests.test_cells import moved
from tests.test_rounds import Town, town

__all__ = ["town"]

POLICY = Policy()
HERE, AWAY = demand_cell(*CENTRE), demand_cell(*moved(*CENTRE, 0.0, 30_000.0))
AROUND = h3.cell_to_parent(HERE, RESOLUTION)


def of(share: float = 1.0, lost: float = 0.5, free: int = 2, waiting: int = 1) -> OfClass:
    return OfClass(share, lost, {HERE: free}, {HERE: waiting})


def test_it_is_what_the_batch_says_of_what_is_within_reach() -> None:
    forecast = {demand_cell(*moved(*CENTRE, 1.0, 2_000.0 * n)): 10.0 * (n + 1) for n in range(5)}
    found = longest_s(forecast, of(share=0.5), POLICY)
    middle = h3.cell_to_latlng(AROUND)
    parents = {cell: h3.cell_to_parent(cell, RESOLUTION) for cell in forecast}
    near = [c for c in forecast if distance_m(*middle, *h3.cell_to_latlng(parents[c])) <= reach_m(POLICY)]
    assert 0 < len(near) < len(forecast)
    rate_per_s = 0.5 * sum(forecast[cell] for cell in near) / QUARTER_S
    expected = worth_s(np.array([rate_per_s]), 0.5, np.array([2.0]), np.array([1.0]), POLICY)[0]
    assert found[AROUND] == pytest.approx(expected, abs=0.1) and expected < POLICY.longest_pickup_s


def test_there_is_no_bound_where_nothing_says_so() -> None:
    busy = {HERE: 200.0}
    assert longest_s(busy, of(lost=0.0), POLICY) == {} == longest_s({}, of(), POLICY)
    assert longest_s({HERE: 0.0}, OfClass(1.0, 1.0, {}, {}), POLICY) == {}
    assert AROUND in longest_s(busy, of(), POLICY)
    assert longest_s({AWAY: 200.0}, of(), POLICY).keys() == {h3.cell_to_parent(AWAY, RESOLUTION)}
    # a class that is hardly ever asked for is not bound by the demand for others
    assert longest_s(busy, of(share=0.001), POLICY) == {}
    # with fewer lost it counts less, and with more who are free, none of whom anybody waits for
    shares = [longest_s(busy, of(lost=lost), POLICY)[AROUND] for lost in (0.01, 0.05, 1.0)]
    assert shares[0] > shares[1] == shares[2]
    assert longest_s(busy, of(free=9), POLICY)[AROUND] > shares[2]


def test_a_large_city_costs_no_more_than_its_busiest_cells() -> None:
    cells = dict.fromkeys(h3.grid_disk(HERE, 45), 50.0)
    assert len({h3.cell_to_parent(cell, RESOLUTION) for cell in cells}) > CELLS_MAX
    assert len(longest_s(cells, of(), POLICY)) <= CELLS_MAX


def heat(at_s: float, bound_s: float, area_id: str = "city") -> Heat:
    none = {"forecast": [0.0], "waiting": [0], "supply": [0], "pressure": [0.0], "tenths": [10]}
    return Heat(area_id=area_id, at_s=at_s, cells=[HERE], up_since_s=[at_s], down_since_s=[at_s], **none,
                longest_s={"economy": {AROUND: bound_s}})  # fmt: skip


def test_who_asks_hears_it_while_the_look_is_fresh() -> None:
    heats, places = Heats(), np.array([CENTRE, moved(*CENTRE, 0.0, 30_000.0)])
    heats.put([heat(1_000.0, 250.0)])
    assert heats.longest_s("city", "economy", places, 1_000.0).tolist() == [250.0, np.inf]
    for area_id, name, now_s in (
        ("city", "comfort", 1_000.0),
        ("other", "economy", 1_000.0),
        ("city", "economy", 1_001.0 + FRESH_S),
    ):
        assert np.isinf(heats.longest_s(area_id, name, places, now_s)).all()


async def test_a_round_sends_nobody_farther_than_his_time_is_worth(town: Town) -> None:
    node = town.nodes[0]
    (here,) = node.desk.areas
    await town.driver("d", 0.0)
    await town.ride("far", 2_000.0)  # 379 s
    now_s = await node.log.now_ms() / 1000
    node.desk.heats.put([heat(now_s, 300.0, here.id)])
    assert not (await node.rounds.go(2.0)).asked
    entries = [entry_of(id_, fields) for id_, fields in await town.client.xrange(keys.facts(S))]
    (why,) = [record for entry in entries for record in entry.records() if isinstance(record, Choice)]
    assert [(each.driver_id, each.reason) for each in why.considered] == [("d", "worth_more")]
    await town.ride("near", 1_000.0)
    assert (await node.rounds.go(2.0)).asked == {"ok": 1} and await town.asked("near", "far") == ["d", None]
    node.desk.heats.put([replace(heat(now_s + 1.0, 400.0, here.id))])
    await town.driver("e", 0.0)
    assert (await node.rounds.go(2.0)).asked == {"ok": 1} and await town.asked("far") == ["e"]
