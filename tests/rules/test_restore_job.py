"""A job that Redis has lost: in every state, by what PostgreSQL and its driver's records say of him."""

from typing import Any

import pytest
from msgspec.structs import replace

from dispatch import commands as c
from dispatch.policy import Policy
from dispatch.rules.restore_job import BACK_WITHIN_MS, LOST, UNCLEAR
from storage.records import LEAP, Driver, Job, JobId, Stored
from tests.invariants import BEFORE_PICKUP, NOBODYS, OVER
from tests.rules.build import (
    CODE,
    DEE,
    EVERY,
    JOB,
    NOW,
    OFFER,
    PAT,
    World,
    a_driver,
    a_job,
    an_offer,
    carrying,
    home,
    room,
    told,
    world,
)

POLICY = Policy(patience_s=180.0, schedule_lead_s=900.0, no_show_wait_s=300.0)
HOUR_MS = 3_600_000
LIVE = [each for each in EVERY if each[1] not in OVER]
CARRIED = [each for each in LIVE if each[1] not in NOBODYS]
OTHER = JobId("job-2")


def lost_job(kind: str, state: str, **more: Any) -> Job:
    started = 0 if state in NOBODYS | BEFORE_PICKUP else NOW - 10_000
    return a_job(kind, state, code="", started_ms=started, wake_ms=0, offered_to=None, **more)


def row(*jobs: str, **more: Any) -> Driver:
    """A driver as PostgreSQL remembers him."""
    load = {JobId(job): 0 for job in jobs}
    return a_driver(load=load, online=False, generation=0, node="", device="", **more)


def restore(job: Job, driver: Driver | None = None, **more: Any) -> c.RestoreJob:
    known = {"offer": an_offer(job.kind) if job.offer_id else None, "driver": driver, "code": CODE}
    known |= {"committed_ms": NOW - HOUR_MS, "max_age_ms": 12 * HOUR_MS}
    return c.RestoreJob(**{"user": c.SYSTEM, "room": job.room, "job": job, **known, **more})


def outcome(before: World, command: c.RestoreJob) -> str:
    return str(before.decide(command).answer["outcome"])


@pytest.mark.parametrize(("kind", "state"), LIVE)
def test_in_every_state(kind: str, state: str) -> None:
    was, before = lost_job(kind, state, scheduled_ms=NOW + HOUR_MS), world(policy=POLICY)
    was = replace(was, parcel=was.parcel and replace(was.parcel, weight_kg=2.0))
    carried = state not in NOBODYS
    decision = before.decide(restore(was, row(JOB) if carried else None))
    after = before.after(decision)
    job = after.job
    assert job.version == was.version + LEAP + 1 and job.restored == was.version
    assert job.requester_id == was.requester_id
    heard = [(room(kind), f"{kind}_status_update")]
    if carried:
        assert (job.state, job.driver_id, decision.answer) == (state, DEE, {"outcome": "kept"})
        assert dict(after.dee.load) == {JOB: 1} and after.dee.state == "busy"
        stops = [stop.what for stop in after.dee.plan]
        assert stops == (["pickup", "dropoff"] if state in BEFORE_PICKUP else ["dropoff"])
        promised = kind == "package"
        assert bool(after.dee.plan[-1].due_ms) == promised, "what was promised a sender still is"
        assert after.dee.load_kg == (2.0 if promised else 0.0)
        assert (after.dee.device, after.dee.silence_ms) == ("", BACK_WITHIN_MS), "he must go online again"
        assert after.dee.generation > 7 and after.dee.version == 7 + LEAP + 1
        assert job.wake_ms == (NOW + HOUR_MS + 450_000 if state == "arrived" else 0)
        assert bool(job.code) == (kind == "package"), "no code is kept in PostgreSQL: a new one is made"
        heard += [(home(PAT), "notification")] if kind == "package" and state not in BEFORE_PICKUP else []
        assert decision.facts[0].join == (PAT, DEE)
    elif state == "scheduled":
        assert (job.state, job.wake_ms) == ("scheduled", NOW + HOUR_MS - 900_000)
    else:
        assert (job.state, job.searching_ms, job.offer_id) == ("searching", NOW, None)
        assert job.wake_ms == NOW + HOUR_MS + 180_000 and decision.facts[0].join == (PAT,)
    if state == "offered":
        assert (after.offer.state, after.offer.version, job.excluded) == ("lost", 1 + LEAP + 1, (DEE,))
        heard.append((home(DEE), "offer_withdrawn"))
    assert told(decision) == heard and not decision.facts[0].close
    assert outcome(after, restore(was, row(JOB))) == "lives", "a second time finds it there"


@pytest.mark.parametrize(("kind", "state"), LIVE)
def test_nothing_was_heard_for_too_long(kind: str, state: str) -> None:
    was, before = lost_job(kind, state), world()
    decision = before.decide(restore(was, row(JOB), committed_ms=NOW - 13 * HOUR_MS))
    job = before.after(decision).job
    if kind == "package" and state not in NOBODYS | BEFORE_PICKUP:
        assert (job.state, job.needs_person, job.driver_id) == (state, UNCLEAR, DEE), "on board: not ended"
    else:
        assert (job.state, job.reason, job.ended_ms, job.wake_ms) == ("cancelled", LOST, NOW, 0)
        assert decision.answer == {"outcome": "ended"} and decision.facts[0].close
    assert (Driver, DEE) not in before.after(decision).records


def test_a_booking_of_long_ago_for_tomorrow_is_not_old() -> None:
    was = lost_job("ride", "scheduled", scheduled_ms=NOW + 24 * HOUR_MS)
    assert outcome(world(), restore(was, committed_ms=NOW - 80 * HOUR_MS)) == "scheduled"


def test_a_booking_whose_hour_has_come_is_woken_at_once() -> None:
    before, was = world(), lost_job("ride", "scheduled", scheduled_ms=NOW + 1)
    after = before.after(before.decide(restore(was)))
    assert after.job.wake_ms == NOW


@pytest.mark.parametrize(
    ("live", "known", "same_life", "kept"),
    [
        (None, row(JOB), True, True),
        (None, row(), True, False),  # PostgreSQL had the job's record of that commit, and not yet his
        (None, None, False, False),
        (None, row(OTHER), False, False),  # he has taken another one since, and that is lost, too
        (None, row(), False, True),  # he went online anew, and took nothing
        ({}, row(), False, True),  # he is here
        ({}, None, False, True),
        ({"online": False}, row(), False, True),
        ({"stale": True}, row(), False, True),
        ({}, row(), True, False),
        ({"capacity": 3}, row(), False, True),
    ],
)
def test_whether_its_driver_keeps_it(
    live: dict[str, Any] | None, known: Driver | None, same_life: bool, kept: bool
) -> None:
    before = world() if live is None else world(a_driver(**live))
    command = restore(lost_job("ride", "in_progress"), known, same_life=same_life)
    decision = before.decide(command)
    after = before.after(decision)
    assert (after.job.state, after.job.driver_id) == ("in_progress", DEE)
    assert decision.answer["outcome"] == ("kept" if kept else "held")
    assert after.job.needs_person == ("" if kept else UNCLEAR)
    if kept:
        dee = after.dee
        assert dee.online and not dee.stale and dict(dee.load) == {JOB: dee.capacity}
        here = live is not None and live.get("online", True)
        assert dee.device == ("phone" if here else "")
    else:
        assert after.records.get((Driver, DEE)) == before.records.get((Driver, DEE))
        assert decision.facts[0].payload["needsPerson"] is True


@pytest.mark.parametrize(
    ("has", "capacity", "kind", "kept"),
    [
        ("ride", 1, "ride", False),
        ("package", 3, "ride", False),
        ("ride", 3, "package", False),
        ("package", 3, "package", True),
        ("package", 1, "package", False),
    ],
)
def test_a_driver_who_has_another_job(has: str, capacity: int, kind: str, kept: bool) -> None:
    other = a_job(has, "assigned", id=OTHER)
    before = world(other, carrying(a_driver(capacity=capacity), other))
    after = before.after(before.decide(restore(lost_job(kind, "assigned"), row(JOB, OTHER))))
    assert (after.job.needs_person == "") == kept
    assert set(after.dee.load) == ({JOB, OTHER} if kept else {OTHER})
    assert after.job.driver_id == DEE and after.records[Job, OTHER] == other


@pytest.mark.parametrize(("kind", "state"), EVERY)
@pytest.mark.parametrize("later", [True, False])
def test_redis_has_it(kind: str, state: str, later: bool) -> None:
    """Cut short, Redis may have an older one: which is true, nobody can tell from here."""
    it = a_job(kind, state)
    records: list[Stored] = [it]
    if state == "offered":
        records += [an_offer(kind), a_driver(offer_id=OFFER)]
    elif it.driver_id:
        records.append(a_driver() if state in OVER else carrying(a_driver(), it))
    before = world(*records)
    was = replace(it, version=it.version + later, ended_ms=0)
    decision = before.decide(restore(was, row(JOB), offer=None))
    held = later and state not in OVER
    assert decision.answer["outcome"] == ("held" if held else "lives")
    assert bool(decision.put) == held and not decision.anew
    after = before.after(decision)
    assert bool(after.job.needs_person) == held and after.job.driver_id == it.driver_id
    if held:
        assert after.job.wake_ms == 0 and after.job.version == it.version + 1


def test_who_waited_for_a_person_waits_on() -> None:
    before = world()
    for state in ("searching", "in_progress"):
        was = lost_job("ride", state, needs_person="driver silent")
        job = before.after(before.decide(restore(was, row(JOB)))).job
        assert (job.needs_person, job.wake_ms, job.state) == ("driver silent", 0, state)


@pytest.mark.parametrize("state", ["assigned", "arrived", "in_progress"])
def test_a_ride_that_starts_with_a_code_gets_another(state: str) -> None:
    before = world(policy=Policy(otp_required=True))
    decision = before.decide(restore(lost_job("ride", state), row(JOB)))
    waits = state in BEFORE_PICKUP
    assert before.after(decision).job.code == (CODE if waits else "")
    assert ((home(PAT), "notification") in told(decision)) == waits


def test_its_area_is_gone() -> None:
    assert world().code(restore(lost_job("ride", "searching", area_id="nowhere"))) == "unavailable"
