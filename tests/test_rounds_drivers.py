"""Whom a round asks of two who are about as near: what a driver has done, or has had done to him, in the cost."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from dispatch import commands as c
from dispatch.area import Areas
from storage.records import UserId
from tests.deskkit import TRAVELLED, Node
from tests.test_round_decisions import choices
from tests.test_rounds import Town, town

__all__ = ["town"]


async def test_who_waits_for_work_the_longest_is_asked_of_two_as_near(town: Town) -> None:
    """Neither a connection that broke nor an offer that came to nothing takes that from him."""
    await town.driver("long", 160.0)
    await town.client.set(TRAVELLED, 300)  # worth 15 s
    await town.driver("long", 160.0)  # his phone was in a tunnel
    await town.driver("new", -100.0)  # 60 m nearer: 10 s
    for at, id_ in enumerate(("first", "second")):
        await town.ride(id_, 0.0)
        assert (await town.nodes[0].rounds.go(2.0)).asked == {"ok": 1}
        job = await town.job(id_)
        assert job.offered_to == "long", f"offer {at + 1}"
        off = c.CancelJob(user=job.requester_id, room=job.room, job_id=job.id, kind="ride")
        await town.nodes[0].desk.run(off)
        await town.driver("long", 160.0)


@pytest.mark.parametrize("path", ["batch", "nearest"])
@pytest.mark.parametrize(
    ("weight", "tried", "first"), [(0.0, None, "quick"), (600.0, 0.0, "sound"), (0.0, 600.0, "quick")]
)
async def test_of_two_about_as_near_the_more_reliable_is_asked(
    town: Town, path: str, weight: float, tried: float | None, first: str
) -> None:
    """Where the area counts it: one refusal is 100 s here, and the other needs 17 s more. By the tried policy as well,
    which changes nothing; a decision says what each cost."""
    node = town.nodes[0]
    (area,) = node.desk.areas
    plenty = 1_000.0 if path == "batch" else 0.0
    shadow = None if tried is None else replace(area.policy, history_weight=tried)
    area = replace(area, shadow=shadow, shadow_version=int(tried is not None))
    node.desk.areas = Areas(
        [replace(area, policy=replace(area.policy, history_weight=weight, plenty=plenty))]
    )
    await town.driver("quick", 0.0)
    await town.ride("before", 0.0)
    await ask(node, path, "before")
    before = await town.job("before")
    no = c.DeclineOffer(user=UserId("quick"), room=before.room, offer_id=before.offer_id or c.OfferId(""))
    await node.desk.run(no)
    off = c.CancelJob(user=before.requester_id, room=before.room, job_id=before.id, kind="ride")
    await node.desk.run(off)
    await town.driver("sound", 100.0)
    await town.driver("quick", 0.0)
    await town.ride("ride", 0.0)
    await ask(node, path, "ride")
    # nor does the next round take the offer back for the other
    assert not (await node.rounds.go(2.0)).asked
    assert (await town.job("ride")).offered_to == first
    made = (await choices(town))[-1]
    assert (made.path, made.driver_id) == (path, first)
    cost = {each.driver_id: each.cost_s - each.eta_s for each in made.considered}
    assert cost == {"quick": round(weight / 6), "sound": 0}
    assert made.shadow_driver_id == (None if tried is None else "sound" if tried else "quick")


async def ask(node: Node, path: str, job: str) -> None:
    if path == "batch":
        assert (await node.rounds.go(2.0)).asked == {"ok": 1}
    else:
        assert await node.match.at_once(job)
