"""A round of the batch match leaves a decision for each job, in the commit of its offer or noted beside."""

from __future__ import annotations

from collections import Counter

import pytest
from msgspec.structs import replace

from dispatch.area import Areas
from dispatch.match import Match
from storage import keys
from storage.facts import entry_of
from storage.records import Choice
from tests.deskkit import TRAVELLED, S
from tests.test_rounds import Town, town

__all__ = ["town"]


async def choices(town: Town) -> list[Choice]:
    entries = [entry_of(id_, fields) for id_, fields in await town.client.xrange(keys.facts(S))]
    return [record for entry in entries for record in entry.records() if isinstance(record, Choice)]


async def test_each_job_of_a_round_says_why(town: Town) -> None:
    await town.driver("far", -4_000.0)
    await town.driver("near", 100.0)
    for id_, east_m in (("first", 0.0), ("second", 5_000.0), ("third", -500.0)):
        await town.ride(id_, east_m)
    done = await town.nodes[0].rounds.go(2.0)
    assert done.asked == {"ok": 2} and done.noted == Counter(kept=1)
    made = {each.job_id: each for each in await choices(town)}
    assert {id_: (each.path, each.driver_id) for id_, each in made.items() if each.driver_id} == {
        id_: ("batch", (await town.job(id_)).offered_to) for id_ in made if (await town.job(id_)).offered_to
    }
    (left,) = [each for each in made.values() if each.driver_id is None]
    assert left.considered and {each.reason for each in left.considered} == {"lost"}

    # nothing is said of it again so soon, nor when nothing is new
    assert (await town.nodes[0].rounds.go(2.0)).noted == Counter()
    await town.client.set(TRAVELLED, 11)
    done = await town.nodes[0].rounds.go(2.0)
    assert done.noted == Counter(kept=1)
    assert (await choices(town))[-1].considered == (), "both think about an offer, and stand in no index"


@pytest.mark.parametrize("path", ["batch", "nearest"])
async def test_a_tried_policy_is_told_and_changes_nothing(town: Town, path: str) -> None:
    """By the one that holds the near driver is asked; by the tried one nobody, he would come too late."""
    node = town.nodes[0]
    (area,) = node.desk.areas
    holds = replace(area.policy, plenty=1_000.0 if path == "batch" else 0.0)
    shadow = replace(area.policy, longest_pickup_s=60.0, search_radius_m=200.0)
    node.desk.areas = Areas([replace(area, policy=holds, policy_version=3, shadow=shadow, shadow_version=5)])
    await town.driver("near", 900.0)
    ride = await town.ride("first", 0.0)
    if path == "batch":
        await node.rounds.go(2.0)
    else:
        assert await Match(node.desk).at_once(ride)
    (made,) = await choices(town)
    assert (made.path, made.driver_id, made.policy) == (path, "near", 3)
    assert (made.shadow, made.shadow_driver_id, made.considered[0].shadow_s) == (5, None, None)
    assert await town.asked("first") == ["near"]
