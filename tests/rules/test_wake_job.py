"""A job's timer: at every state, before its time and after."""

import pytest

from dispatch import commands as c
from dispatch.policy import Policy
from tests.rules.build import DEE, DOV, EVERY, JOB, NOW, a_driver, home, room, scene, told, world

POLICY = Policy(max_offers=3, patience_s=180.0)
#: What becomes of a job whose time has come; the others have no timer, or none that ends them.
BECOMES = {
    ("ride", "scheduled"): "searching",
    ("package", "scheduled"): "searching",
    ("ride", "searching"): "no_driver",
    ("package", "searching"): "no_courier",
    ("ride", "offered"): "searching",
    ("package", "offered"): "searching",
    ("ride", "arrived"): "no_show",
}


def wake(kind: str = "ride") -> c.WakeJob:
    return c.WakeJob(user=c.SYSTEM, room=room(kind), job_id=JOB)


@pytest.mark.parametrize(("kind", "state"), EVERY)
@pytest.mark.parametrize("left_ms", [1, 0, -1, -100_000])
def test_every_state(kind: str, state: str, left_ms: int) -> None:
    before = scene(kind, state, POLICY, wake_ms=NOW + left_ms)
    due = left_ms <= 0 and (kind, state) in BECOMES
    decision = before.decide(wake(kind))
    after = before.after(decision)
    assert after.job.state == (BECOMES[kind, state] if due else state)
    if state == "assigned" and left_ms <= 0:  # what it waited for is over
        assert after.job.wake_ms == 0 and not decision.facts
        return
    if not due:
        assert not decision.put and not decision.facts
        return
    assert told(decision)[0] == (room(kind), f"{kind}_status_update")
    assert decision.facts[0].payload["updatedBy"] == c.SYSTEM
    again = after.decide(wake(kind))
    assert not again.put, "a second sweep finds nothing to do"


@pytest.mark.parametrize(("kind", "state"), EVERY)
def test_without_a_timer_nothing_happens(kind: str, state: str) -> None:
    assert not scene(kind, state, wake_ms=0).decide(wake(kind)).put


def test_no_such_job() -> None:
    assert not world().decide(wake()).put


@pytest.mark.parametrize("kind", ["ride", "package"])
def test_silence_ends_the_offer_and_the_job_searches_on(kind: str) -> None:
    before = scene(kind, "offered", POLICY, wake_ms=NOW)
    decision = before.decide(wake(kind))
    after = before.after(decision)
    assert after.offer.state == "expired" and after.job.excluded == (DEE,) and after.dee.available
    assert told(decision)[1:] == [(home(DEE), "offer_withdrawn")]
    assert decision.facts[1].payload["reason"] == "expired"


def test_a_no_show_frees_the_driver() -> None:
    before = scene("ride", "arrived", POLICY, wake_ms=NOW)
    decision = before.decide(wake())
    after = before.after(decision)
    assert after.dee.available and not after.dee.load and decision.facts[0].close
    assert (after.job.ended_ms, after.job.ended_by) == (NOW, None), "the system is nobody"


@pytest.mark.parametrize(("ahead_s", "wake_s"), [(900, 900 + 180), (0, 180), (-60, 180)])
def test_a_booking_opens_and_is_searched_for_until_its_hour(ahead_s: int, wake_s: int) -> None:
    scheduled_ms = NOW + ahead_s * 1000
    after = scene("ride", "scheduled", POLICY, wake_ms=NOW, scheduled_ms=scheduled_ms).run(wake())
    assert (after.job.searching_ms, after.job.wake_ms) == (NOW, NOW + wake_s * 1000)


@pytest.mark.parametrize("kind", ["ride", "package"])
def test_after_the_last_offer_it_ends_without_supply(kind: str) -> None:
    world = scene(kind, "offered", POLICY, offers=3, wake_ms=NOW)
    tired = world.run(wake(kind))
    assert tired.job.state == "searching"
    offer = c.MakeOffer(user=c.SYSTEM, room=room(kind), job_id=JOB, driver_id=DOV, distance_m=1.0, eta_s=1.0)
    assert tired.plus(a_driver(DOV)).code(offer) == "already_assigned", "nobody is asked any more"
    assert tired.run(wake(kind)).job.state in ("no_driver", "no_courier")


def test_an_area_that_is_gone_is_an_outage_of_its_jobs() -> None:
    for state in ("scheduled", "offered"):
        assert scene("ride", state, wake_ms=NOW, area_id="gone").code(wake()) == "unavailable"
