"""Cancelling: at every state, by every party."""

import pytest

from dispatch import commands as c
from storage.records import JobId, UserId
from tests.invariants import OVER
from tests.rules.build import ANN, DEE, EVERY, JOB, NOW, OFFER, PAT, XAN, World, home, room, scene, told

# PROTOCOL: who ends a job by cancelling it, by state; a driver's cancel gives it back in these states.
ENDS = {
    **dict.fromkeys(("scheduled", "searching", "offered", "assigned", "arrived", "arrived_pickup"), "PA"),
    "in_progress": "A",
}
GIVES_BACK = {"assigned", "arrived", "arrived_pickup"}
WHO = {"P": PAT, "D": DEE, "A": ANN, "X": XAN}


def cancel(kind: str, by: str, reason: str = "because", job_id: JobId = JOB) -> c.CancelJob:
    return c.CancelJob(
        user=WHO[by], room=room(kind), job_id=job_id, kind=kind, admin=by == "A", reason=reason
    )


def expected(world: World, by: str) -> str:
    state = world.job.state
    if by == "X" or (by == "D" and world.job.driver_id is None):
        return "not_found"  # the offered driver is no party yet
    if by == "D":
        return "ok" if state in GIVES_BACK else "wrong_state"
    if state not in ENDS:
        return "wrong_state"
    return "ok" if by in ENDS[state] else "forbidden"


@pytest.mark.parametrize("by", WHO)
@pytest.mark.parametrize(("kind", "state"), EVERY)
def test_every_state_by_every_party(kind: str, state: str, by: str) -> None:
    world = scene(kind, state)
    assert world.code(cancel(kind, by)) == expected(world, by)
    other = "package" if kind == "ride" else "ride"
    assert world.code(cancel(other, by)) == "not_found"
    assert world.code(cancel(kind, by, job_id=JobId("job-2"))) == "not_found"
    if expected(world, by) == "ok":
        _as_told(world, by)


def _as_told(before: World, by: str) -> None:
    kind, state = before.job.kind, before.job.state
    decision = before.decide(cancel(kind, by))
    after = before.after(decision)
    status = decision.facts[0]
    assert (status.room, status.event) == (room(kind), f"{kind}_status_update")
    assert decision.answer["version"] == after.job.version and not after.dee.load and after.dee.available
    if by == "D":
        assert after.job.state == "searching" and after.job.excluded == (DEE,)
        assert status.leave == (DEE,) and not status.close and told(decision) == [(room(kind), status.event)]
        assert after.job.searching_ms == NOW, "its patience begins anew"
        return
    assert (after.job.state, after.job.ended_by, after.job.ended_ms) == ("cancelled", WHO[by], NOW)
    assert after.job.reason == status.payload["reason"] == "because" and status.close
    assert (after.job.offer_id, after.job.offered_to, after.job.wake_ms) == (None, None, 0)
    assert after.job.state in OVER
    withdrawn = [(home(DEE), "offer_withdrawn")] if state == "offered" else []
    assert told(decision)[1:] == withdrawn
    if withdrawn:
        assert decision.facts[1].payload["offerId"] == OFFER
        assert (after.offer.state, after.offer.reason) == ("withdrawn", "cancelled")


@pytest.mark.parametrize("state", ["searching", "assigned", "in_progress"])
def test_an_admin_says_why(state: str) -> None:
    assert scene("ride", state).code(cancel("ride", "A", reason="")) == "bad_request"


def test_an_admin_who_drives_may_end_what_he_drives() -> None:
    world = scene("ride", "assigned")
    command = c.CancelJob(
        user=UserId(DEE), room=room("ride"), job_id=JOB, kind="ride", admin=True, reason="mine"
    )
    assert world.run(command).job.state == "cancelled"
