"""A phone knows a later version of a job than its record has: it waits for a person, and nothing is guessed."""

import pytest
from msgspec.structs import replace

from dispatch import commands as c
from dispatch.policy import Policy
from dispatch.rules.hold_job import LATER_IS_KNOWN, is_later
from storage.records import LEAP, UserId
from tests.invariants import BEFORE_PICKUP, NOBODYS, OVER
from tests.rules.build import ANN, DEE, EVERY, JOB, NOW, PAT, XAN, a_job, home, room, scene, told


def hold(kind: str, user: UserId = PAT, seen: int = 4) -> c.HoldJob:
    return c.HoldJob(user=user, room=room(kind), job_id=JOB, seen_version=seen)


@pytest.mark.parametrize(("kind", "state"), EVERY)
def test_in_every_state(kind: str, state: str) -> None:
    before = scene(kind, state)
    decision = before.decide(hold(kind))
    after = before.after(decision)
    if state in OVER:
        assert not decision.put
        return
    assert after.job.state == ("searching" if state == "offered" else state)
    assert (after.job.needs_person, after.job.wake_ms) == (LATER_IS_KNOWN, 0)
    assert after.job.driver_id == before.job.driver_id and dict(after.dee.load) == dict(before.dee.load)
    heard = [(room(kind), f"{kind}_status_update")]
    if state == "offered":
        assert after.offer.state == "withdrawn" and after.job.excluded == (DEE,)
        heard.append((home(DEE), "offer_withdrawn"))
    assert told(decision) == heard and decision.facts[0].payload["needsPerson"] is True
    assert not after.decide(hold(kind, seen=9)).put, "once is enough"
    late = NOW + 90_000_000
    assert not after.decide(c.WakeJob(user=c.SYSTEM, room=room(kind), job_id=JOB), late).put
    near = {"job_id": JOB, "driver_id": DEE, "distance_m": 1.0, "eta_s": 1.0}
    offer = c.MakeOffer(user=c.SYSTEM, room=room(kind), **near)
    assert after.code(offer) == "already_assigned", "it is offered to nobody"
    cancel = c.CancelJob(user=ANN, room=room(kind), job_id=JOB, kind=kind, admin=True, reason="because")
    on_board = kind == "package" and state not in NOBODYS | BEFORE_PICKUP
    assert after.code(cancel) == ("wrong_state" if on_board else "ok"), "a person may call it off"


@pytest.mark.parametrize(("user", "believed"), [(PAT, True), (DEE, True), (XAN, False), (ANN, False)])
def test_only_its_parties_are_believed(user: UserId, believed: bool) -> None:
    assert bool(scene("ride", "in_progress").decide(hold("ride", user)).put) == believed


@pytest.mark.parametrize(
    ("version", "restored", "seen", "later"),
    [
        (3, 0, 3, False),
        (3, 0, 4, True),
        (3, 0, 10**15, True),
        (LEAP + 8, 5, 5, False),
        (LEAP + 8, 5, 6, True),
        (LEAP + 8, 5, LEAP + 5, True),
        (LEAP + 8, 5, LEAP + 6, False),  # the first that it had when it came back
        (LEAP + 8, 5, LEAP + 9, True),
    ],
)
def test_what_is_later(version: int, restored: int, seen: int, later: bool) -> None:
    assert is_later(a_job("ride", "searching", version=version, restored=restored), seen) == later


def test_a_driver_who_gives_it_back_makes_it_clear() -> None:
    before = scene("ride", "assigned", Policy(), needs_person=LATER_IS_KNOWN)
    again = before.run(c.CancelJob(user=DEE, room=room("ride"), job_id=JOB, kind="ride")).job
    assert (again.state, again.needs_person) == ("searching", "") and again.wake_ms > NOW


def test_a_driver_who_is_lost_does_not() -> None:
    before = scene("ride", "assigned", Policy(), needs_person=LATER_IS_KNOWN)
    again = before.run(c.WakeDriver(user=c.SYSTEM, room=home(DEE), driver_id=DEE)).job
    assert (again.state, again.needs_person, again.wake_ms) == ("searching", LATER_IS_KNOWN, 0)


def test_nobody_of_that_id() -> None:
    assert not scene("ride", "assigned").decide(replace(hold("ride"), job_id="job-9")).put
