"""A silent driver: his offer goes on, what he has not picked up searches again, what is on board waits for a person."""

from typing import Any

import pytest

from dispatch import commands as c
from dispatch.policy import Policy
from storage.records import Driver, Job
from tests.invariants import BEFORE_PICKUP, NOBODYS, OVER
from tests.rules.build import (
    DEE,
    EVERY,
    JOB,
    NOW,
    PAT,
    World,
    a_driver,
    a_job,
    an_offer,
    carrying,
    home,
    room,
    scene,
    told,
    world,
)

WAKE = c.WakeDriver(user=c.SYSTEM, room=home(DEE), driver_id=DEE)


def due(before: World, left_ms: int = 0) -> World:
    return World(before.records, before.areas, {(Driver, DEE): NOW + left_ms})


@pytest.mark.parametrize(
    ("driver", "left_ms", "stale"),
    [
        ({}, 0, True),
        ({}, -1, True),
        ({}, 1, False),
        ({"online": False}, 0, False),
        ({"stale": True}, 0, True),
    ],
)
def test_only_once_and_only_in_time(driver: dict[str, Any], left_ms: int, stale: bool) -> None:
    before = due(world(a_driver(**driver)), left_ms)
    decision = before.decide(WAKE)
    assert before.after(decision).dee.stale == stale and not told(decision)
    assert bool(decision.put) == (stale and not driver)


def test_nobody_of_that_id() -> None:
    assert not world().decide(WAKE).put


@pytest.mark.parametrize(("kind", "state"), EVERY)
def test_in_every_state_of_his_job(kind: str, state: str) -> None:
    before = due(scene(kind, state, Policy(patience_s=180.0), started_ms=_started(state)))
    decision = before.decide(WAKE)
    after = before.after(decision)
    assert after.dee.state == "stale" and after.dee.offer_id is None
    if state == "offered":
        assert after.job.state == "searching" and after.offer.state == "lost" and after.job.excluded == (DEE,)
        assert told(decision) == [(room(kind), f"{kind}_status_update"), (home(DEE), "offer_withdrawn")]
    elif state in BEFORE_PICKUP:
        assert after.job.state == "searching" and after.job.excluded == (DEE,) and not after.dee.load
        assert after.job.searching_ms == NOW, "its patience begins anew"
        assert decision.facts[0].leave == (DEE,) and told(decision) == [(room(kind), f"{kind}_status_update")]
    elif state not in NOBODYS | OVER:
        assert after.job.state == state and after.dee.load and after.job.needs_person == "driver silent"
        assert not told(decision) and decision.facts[0].records, "history hears of it, the room does not"
    else:
        assert after.job == before.job
    assert not due(after).decide(WAKE).put, "a second sweep finds nothing to do"


def _started(state: str) -> int:
    return 0 if state in BEFORE_PICKUP | NOBODYS else NOW - 1_000


def test_several_at_once() -> None:
    """A courier of three with one parcel on board, one not picked up, and an offer."""
    aboard = a_job("package", "picked_up", id="job-2", started_ms=1, code="")
    waiting = a_job("package", "assigned", id="job-3", code="")
    offered = a_job("package", "offered", requester_id=PAT)
    courier = carrying(a_driver(capacity=3, offer_id=f"{JOB}.1"), aboard, waiting)
    before = due(world(aboard, waiting, offered, an_offer("package"), courier))
    after = before.after(before.decide(WAKE))
    states = {key[1]: record.state for key, record in after.records.items() if key[0] is Job}
    assert states == {JOB: "searching", "job-2": "picked_up", "job-3": "searching"}
    assert dict(after.dee.load) == {"job-2": 1} and {s.job_id for s in after.dee.plan} == {"job-2"}


def test_a_job_of_the_drivers_own_id_is_another_record() -> None:
    """Clients choose their jobs' ids: a passenger may take his driver's."""
    job = a_job("ride", "assigned", id=DEE, code="")
    before = due(world(job, carrying(a_driver(), job)))
    after = before.after(before.decide(WAKE))
    assert after.dee.stale and not after.dee.load and after.records[Job, DEE].state == "searching"
    early = World(before.records, before.areas, {(Driver, DEE): NOW + 1, (Job, DEE): NOW - 1})
    assert not early.decide(WAKE).put, "his job's timer is not his"
