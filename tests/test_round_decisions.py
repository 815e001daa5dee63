"""A round of the batch match leaves a decision for each job, in the commit of its offer or noted beside."""

from __future__ import annotations

from collections import Counter

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
