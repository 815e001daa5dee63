"""The schedule of faults: the same seed gives the same, every kind has its turn, everything is over in time."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest

from loadtest.faults.harm import HARMS
from loadtest.faults.schedule import CHEAP, KINDS, POWER_LOSSES, kinds_named, plan


def test_the_same_seed_gives_the_same_schedule_and_another_gives_another() -> None:
    assert plan(7, 600, KINDS) == plan(7, 600, KINDS)
    assert plan(7, 600, KINDS) != plan(8, 600, KINDS)


@pytest.mark.parametrize("kinds", [KINDS, (*KINDS, *POWER_LOSSES)])
@pytest.mark.parametrize("seed", range(20))
def test_ten_minutes_hold_a_hundred_faults_and_three_of_each_kind(
    kinds: tuple[object, ...], seed: int
) -> None:
    faults = plan(seed, 600, kinds)  # type: ignore[arg-type]
    count = Counter(fault.kind for fault in faults)
    assert len(faults) >= 100 and len(count) == len(kinds)
    assert min(count.values()) >= 3 and max(count.values()) - min(count.values()) <= 1


@pytest.mark.parametrize("seed", range(20))
def test_faults_come_in_order_within_their_time_and_some_together(seed: int) -> None:
    rooms_s = {kind.name: kind.room_s for kind in KINDS}
    faults = plan(seed, 600, KINDS, first_s=5)
    moments_s = [fault.at_s for fault in faults]
    assert moments_s == sorted(moments_s) and moments_s[0] >= 5
    assert all(fault.at_s + fault.hold_s + rooms_s[fault.kind] <= 600 for fault in faults)
    gaps_s = [after - before for before, after in itertools.pairwise(moments_s)]
    assert 0.05 < sum(gap_s <= 0.5 for gap_s in gaps_s) / len(gaps_s) < 0.5


def test_every_kind_can_be_done() -> None:
    assert set(HARMS) == {kind.name for kind in (*KINDS, *POWER_LOSSES)}
    assert [kind.name for kind in kinds_named(CHEAP)] == list(CHEAP)
    with pytest.raises(KeyError):
        kinds_named(["node_painted"])


def test_no_time_holds_no_faults() -> None:
    assert plan(1, 0, KINDS) == []
