"""A look at an area: what it joins and carries on, what others read of it, and what it is never above."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import h3.api.basic_int as h3
import msgspec
import numpy as np
import pytest
from msgspec.structs import replace

from dispatch import heat as heat_module
from dispatch.area import Area
from dispatch.candidates import at_once
from dispatch.demand import Demand, demand_cell
from dispatch.heat import CELLS_MAX, FRESH_S, LONGEST_WAIT_S, Heat, Heats
from dispatch.policy import Policy
from dispatch.pricing import Fare, surged
from dispatch.worth import OfClass
from tests.nodekit import SQUARE
from tests.test_demand import CELLS, MONDAY_S, watched

POLICY = Policy(surge_cap=2.0, surge_rise_s=20.0, surge_fall_s=30.0)
AREA = Area(id="a", name="A", shard="main", polygon=SQUARE, currency="USD", policy=POLICY)
PLACE = 50.0, 36.2
CELL = demand_cell(*PLACE)
FAR = demand_cell(0.0, 0.0)
NONE: Counter[int] = Counter()


def look(*of: Any, **more: Any) -> Heat:
    return at_once(heat_module.look(*of, **more))


def looks(count: int, waiting: int, before: Heat | None = None, at_s: float = MONDAY_S) -> Heat:
    """A look every ten seconds at so many who wait in one cell for nobody."""
    heat = before
    for n in range(count):
        heat = look(AREA, heat, Demand(), Counter({CELL: waiting}), NONE, now_s=at_s + 10.0 * n)
    assert heat is not None
    return heat


def test_a_look_joins_what_is_expected_who_waits_and_who_is_free() -> None:
    demand = watched([dict.fromkeys(CELLS, 2)] * 40)
    now_s = MONDAY_S + 40 * 900.0
    heat = look(AREA, None, demand, Counter({CELLS[0]: 3}), Counter({CELLS[1]: 2, FAR: 1}), now_s=now_s)
    assert set(heat.cells) == {*CELLS, FAR}
    expected = dict(zip(demand.cells, demand.forecast(now_s).tolist(), strict=True))
    for row, cell in enumerate(heat.cells):
        assert heat.forecast[row] == round(expected.get(cell, 0.0), 3)
        near = list(h3.grid_disk(cell, 1))
        wanted = sum(expected.get(each, 0.0) + 3 * (each == CELLS[0]) for each in near)
        there = sum({CELLS[1]: 2, FAR: 1}.get(each, 0) for each in near)
        assert abs(heat.pressure[row] - wanted / (there + 1)) < 1e-3
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(heat), type=Heat) == heat
    assert look(AREA, None, Demand(), NONE, NONE, now_s=now_s).cells == []


def test_others_run_between_the_long_parts_of_a_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of them is 6 ms where there are CELLS_MAX."""
    done: list[str] = []

    def spied(name: str) -> None:
        real = getattr(heat_module, name)

        def spy(*args: object) -> object:
            done.append(name)
            return real(*args)

        monkeypatch.setattr(heat_module, name, spy)

    spied("neighbourhood")
    spied("longest_s")
    short = dict.fromkeys(("economy", "comfort"), OfClass(0.5, 0.1, Counter({CELL: 1}), NONE))
    steps: list[list[str]] = []
    for _ in heat_module.look(AREA, None, Demand(), Counter({CELL: 2}), NONE, now_s=MONDAY_S, short=short):
        steps.append(done.copy())
        done.clear()
    assert [each for each in steps if each] == [["neighbourhood"], ["longest_s"], ["longest_s"]] and not done


def test_the_surge_goes_on_from_look_to_look_and_begins_calm_after_a_break() -> None:
    risen = looks(3, 9)
    assert risen.tenths == [12], "for 20 s the pressure has asked for more"
    assert looks(2, 9).tenths == [10] and looks(40, 9).tenths == [20], "two tenths at a time, up to the cap"
    at_s = risen.at_s + 10.0
    assert looks(1, 9, risen, at_s).tenths == [12]
    broken = looks(1, 9, risen, risen.at_s + FRESH_S + 1.0)
    assert broken.tenths == [10] and broken.up_since_s == [broken.at_s]
    assert looks(1, 9, replace(risen, at_s=at_s + 5.0), at_s).tenths == [10], "nor from a look of later"
    # the pressure is gone: it falls, and then the cell is forgotten
    falling = look(AREA, looks(40, 9), Demand(), NONE, NONE, now_s=MONDAY_S + 400.0)
    for n in range(1, 60):
        falling = look(AREA, falling, Demand(), NONE, NONE, now_s=MONDAY_S + 400.0 + 10.0 * n)
    assert falling.cells == []


def test_what_is_read_is_fresh_and_within_the_cap_of_now() -> None:
    heats, heat = Heats(), looks(40, 9)
    assert heats.tenths(AREA, "ride", *PLACE, heat.at_s) == 10
    assert heats.wait_s("a", "ride", *PLACE, 0.0) == LONGEST_WAIT_S
    heats.put([heat])
    assert heats.tenths(AREA, "package", *PLACE, heat.at_s) == 10, "who left it knows rides only"
    assert heats.wait_s("a", "package", *PLACE, heat.at_s) == LONGEST_WAIT_S
    assert heats.tenths(AREA, "ride", *PLACE, heat.at_s + FRESH_S) == 20
    assert heats.tenths(AREA, "ride", 51.0, 36.2, heat.at_s) == 10
    assert heats.tenths(AREA, "ride", *PLACE, heat.at_s + FRESH_S + 0.1) == 10
    for cap, tenths in ((1.0, 10), (1.55, 15), (5.0, 20)):
        capped = msgspec.structs.replace(AREA, policy=replace(POLICY, surge_cap=cap))
        assert heats.tenths(capped, "ride", *PLACE, heat.at_s) == tenths
    assert heats.wait_s("a", "ride", *PLACE, heat.at_s) == 900.0 / 9.0
    heats.put([replace(heat, at_s=heat.at_s + 1.0, tenths=[11], packages=replace(heat, tenths=[13]))])
    assert heats.tenths(AREA, "ride", *PLACE, heat.at_s) == 11
    assert heats.tenths(AREA, "package", *PLACE, heat.at_s) == 13
    heats.put([replace(heat, at_s=heat.at_s + 2.0)])
    assert heats.tenths(AREA, "package", *PLACE, heat.at_s) == 10
    heats.put([replace(heat, at_s=heat.at_s - 1.0, tenths=[11])])
    assert heats.tenths(AREA, "ride", *PLACE, heat.at_s) == 20, "an older look changes nothing"
    heats.keep(["b"])
    assert heats.get("a", heat.at_s) is None


def test_a_look_is_bounded_to_the_cells_with_the_most_going_on() -> None:
    chance = random.Random(1)
    supply = Counter({int(cell): chance.randint(1, 9) for cell in h3.grid_disk(CELL, 30)})
    heat = look(AREA, None, Demand(), NONE, supply, now_s=MONDAY_S)
    assert len(supply) > len(heat.cells) == CELLS_MAX and heat.cells == sorted(heat.cells)
    assert min(heat.supply) >= int(np.sort(list(supply.values()))[-CELLS_MAX])


def test_a_surge_of_ten_tenths_changes_no_fare() -> None:
    for amount in (0, 1, 499, 1_250, 10**9):
        assert surged(Fare(amount, "USD"), 10) == Fare(amount, "USD")
    assert surged(Fare(1_255, "USD"), 13) == Fare(1_632, "USD")
