"""Whom a round asks of two who are about as near: what a driver has done, or has had done to him, in the cost."""

from __future__ import annotations

from dispatch import commands as c
from tests.deskkit import TRAVELLED
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
