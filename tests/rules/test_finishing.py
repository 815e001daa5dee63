"""A driver with a passenger on board is offered one more ride: what may happen to either, and to him."""

from typing import Any

import pytest
from msgspec.structs import replace

from dispatch import commands as c
from dispatch.policy import Policy
from storage.records import LEAP, Driver, Job, JobId, Stop
from tests.rules.build import (
    ANN,
    CODE,
    DEE,
    DOV,
    JOB,
    NOW,
    OFFER,
    PAT,
    PICKUP,
    XAN,
    World,
    a_driver,
    a_job,
    carrying,
    home,
    room,
    the_fact,
    told,
    world,
)
from tests.rules.test_restore_job import outcome, restore, row

SOON = Policy(finishing_s=180.0, papers=())
FIRST, FIRST_ROOM = JobId("job-0"), c.Room("ride:job-0")


def on_board(**more: Any) -> Job:
    """The ride that Dee has, with another passenger."""
    return a_job("ride", "in_progress", id=FIRST, requester_id=XAN, started_ms=NOW - 500_000, **more)


def busy(job: Job | None = None, policy: Policy = SOON, **driver: Any) -> World:
    """Dee with a passenger on board, and Pat who searches."""
    first = on_board()
    return world(first, carrying(a_driver(**driver), first), job or a_job("ride", "searching"), policy=policy)


def offer(rest_s: float | None = 100.0, **more: Any) -> c.MakeOffer:
    values = {"job_id": JOB, "driver_id": DEE, "distance_m": 800.0, "eta_s": 193.6, "rest_s": rest_s}
    return c.MakeOffer(**{"user": c.SYSTEM, "room": room("ride"), **values, **more})


def accept(**more: Any) -> c.AcceptOffer:
    return c.AcceptOffer(user=DEE, room=home(DEE), offer_id=OFFER, code=CODE, **more)  # type: ignore[arg-type]


def move(status: str, job: JobId = JOB, **more: Any) -> c.MoveJob:
    values = {"user": DEE, "room": c.Room(f"ride:{job}"), "job_id": job, "kind": "ride", "status": status}
    return c.MoveJob(**{**values, **more})  # type: ignore[arg-type]


def both() -> World:
    return busy().run(offer()).run(accept())


def plan(after: World) -> list[tuple[str, str]]:
    return [(stop.job_id, stop.what) for stop in after.dee.plan]


ALL_OF_JOB = [(JOB, "pickup"), (JOB, "dropoff")]


@pytest.mark.parametrize(
    ("rest_s", "policy", "code"),
    [
        (100.0, SOON, "ok"),
        (180.0, SOON, "ok"),
        (0.0, SOON, "ok"),
        (180.1, SOON, "no_supply"),
        (None, SOON, "no_supply"),  # nobody looked when it ends: he came from the index of the free
        (0.0, Policy(), "no_supply"),  # the area does not want it
    ],
)
def test_only_whose_ride_ends_soon(rest_s: float | None, policy: Policy, code: str) -> None:
    assert busy(policy=policy).code(offer(rest_s)) == code


def test_only_one_more_and_only_a_ride_with_nothing_before_its_end() -> None:
    after = both()
    third = a_job("ride", "searching", id=JobId("job-3"))
    asked = offer(job_id=third.id, room=third.room)
    assert after.plus(third).code(asked) == "no_supply"
    assert busy(a_job("package", "searching")).code(offer(room=room("package"))) == "no_supply"
    for state in ("assigned", "arrived"):
        first = a_job("ride", state, id=FIRST, requester_id=XAN)
        before = world(first, carrying(a_driver(), first), a_job("ride", "searching"), policy=SOON)
        assert before.code(offer()) == "no_supply"
    first = on_board()
    dee = carrying(a_driver(), first)
    dee = replace(dee, plan=(Stop("ride", FIRST, "stop", PICKUP), *dee.plan))
    assert world(first, dee, a_job("ride", "searching"), policy=SOON).code(offer()) == "no_supply"


@pytest.mark.parametrize(
    ("driver", "job"),
    [
        ({"stale": True}, {}),
        ({"classes": ("comfort",)}, {}),
        ({"seats": 2}, {"seats": 3}),
        ({"papers": {"licence": NOW - 1}}, {}),
        ({}, {"excluded": (DEE,)}),
        ({}, {"passed": {DEE: NOW + 1}}),
    ],
)
def test_he_must_fit_as_anybody(driver: dict[str, Any], job: dict[str, Any]) -> None:
    first = on_board()
    dee = carrying(a_driver(), first)
    before = world(first, dee, a_job("ride", "searching", **job), policy=SOON)
    assert before.plus(replace(dee, **driver)).code(offer()) == "no_supply"


def test_his_phone_is_told_that_it_comes_after_and_nobody_else_hears_of_it() -> None:
    decision = busy().decide(offer())
    assert told(decision) == [(home(DEE), "offer"), (room("ride"), "ride_status_update")]
    asked = the_fact(decision, "offer").payload
    assert asked["finishing"] is True and asked["etaSeconds"] == 194
    made = busy().after(decision).offer
    assert (made.finishing, made.rest_s) == (True, 100.0)
    assert [round(made.eta_at(NOW + ms)) for ms in (0, 15_000, 200_000)] == [194, 179, 94]
    free = world(a_driver(), a_job("ride", "searching"), policy=SOON).decide(offer(None))
    assert "finishing" not in the_fact(free, "offer").payload


def test_accepted_it_is_his_next_and_says_so() -> None:
    before = busy().run(offer())
    decision = before.decide(accept())
    after = before.after(decision)
    assert told(decision) == [(room("ride"), "driver_assigned")]
    fact = the_fact(decision, "driver_assigned")
    assert fact.payload["finishing"] is True and fact.payload["etaSeconds"] == 194
    assert after.job.state == "assigned" and list(after.dee.load) == [FIRST, JOB]
    assert plan(after) == [(FIRST, "dropoff"), *ALL_OF_JOB]
    assert not after.dee.available and not after.dee.finishing
    assert after.dee.has_queued(JOB) and not after.dee.has_queued(FIRST)
    assert after.code(accept()) == "ok"  # once more: so it is


def test_a_hold_lifted_it_waits_no_longer_than_before() -> None:
    held = both().run(c.HoldJob(user=PAT, room=room("ride"), job_id=JOB, seen_version=99))
    assert held.job.needs_person and held.job.wake_ms == 0
    lifted = held.run(
        c.LiftHold(user=XAN, room=room("ride"), job_id=JOB, kind="ride", reason="because"), now_ms=NOW + 9_000
    )
    assert lifted.job.wake_ms == NOW + 9_000 + SOON.patience_s * 1_000


def test_nothing_of_it_begins_before_the_first_is_over() -> None:
    after = both()
    assert after.code(move("arrived")) == "wrong_state"
    assert after.code(move("confirmed")) == "wrong_state"
    over = after.run(move("completed", FIRST), now_ms=NOW + 5_000)
    assert plan(over) == ALL_OF_JOB and list(over.dee.load) == [JOB]
    assert over.dee.shown_from_ms(over.job) == NOW + 5_000
    assert over.code(move("arrived")) == "ok"


@pytest.mark.parametrize("when", ["before the offer", "while he thinks", "after he took it"])
@pytest.mark.parametrize(
    "end",
    [
        move("completed", FIRST),
        c.CancelJob(user=ANN, room=FIRST_ROOM, job_id=FIRST, kind="ride", admin=True, reason="because"),
    ],
)
def test_the_first_ends_at_any_moment(end: c.Command, when: str) -> None:
    now = busy()
    if when == "before the offer":
        now = now.run(end)
    now = now.run(offer())
    if when == "while he thinks":
        now = now.run(end)
    decision = now.decide(accept())
    now = now.after(decision)
    assert ("finishing" in the_fact(decision, "driver_assigned").payload) == (when == "after he took it")
    if when == "after he took it":
        now = now.run(end)
    assert plan(now) == ALL_OF_JOB and now.code(move("arrived")) == "ok"


@pytest.mark.parametrize("by", ["passenger", "driver", "admin"])
def test_the_next_is_given_up_and_the_first_goes_on(by: str) -> None:
    after = both()
    cancel = {"room": room("ride"), "job_id": JOB, "kind": "ride", "reason": "because"}
    command: c.Command = {
        "passenger": c.CancelJob(user=PAT, **cancel),
        "driver": c.CancelJob(user=DEE, **cancel),
        "admin": c.UnassignJob(user=ANN, **cancel),
    }[by]
    decision = after.decide(command)
    assert {where for where, _ in told(decision)} == {room("ride")}
    after = after.after(decision)
    assert after.job.state == ("cancelled" if by == "passenger" else "searching")
    assert plan(after) == [(FIRST, "dropoff")] and after.dee.finishing
    assert after.dee.ride_over_ms == 0
    assert after.records[Job, FIRST].state == "in_progress"


def test_he_declines_or_falls_silent() -> None:
    thinking = busy().run(offer())
    decline = c.DeclineOffer(user=DEE, room=home(DEE), offer_id=OFFER)
    declined = thinking.run(decline)
    assert declined.job.state == "searching" and declined.dee.finishing
    for before in (thinking, both()):
        timed = World(before.records, before.areas, {(Driver, DEE): NOW - 1})
        lost = timed.run(c.WakeDriver(user=c.SYSTEM, room=home(DEE), driver_id=DEE))
        assert lost.job.state == "searching" and DEE in lost.job.excluded
        assert lost.records[Job, FIRST].needs_person == "driver silent"
        assert lost.dee.stale and plan(lost) == [(FIRST, "dropoff")]


def test_he_cannot_go_offline_and_keeps_both_with_another_phone() -> None:
    after = both()
    assert after.code(c.GoOffline(user=DEE, room=home(DEE), device="phone")) == "wrong_state"
    online = c.GoOnline(
        user=DEE,
        room=home(DEE),
        name="Dee",
        node="n2",
        device="new",
        classes=("economy",),
        capacity=3,
        latitude=49.99,
        longitude=36.23,
    )
    again = after.run(online)
    assert again.dee.load == {FIRST: 3, JOB: 3} and plan(again) == plan(after)


def test_given_by_hand_it_comes_after_as_well() -> None:
    hand = {"user": ANN, "room": room("ride"), "job_id": JOB, "kind": "ride", "driver_id": DEE}
    assign = c.AssignJob(**hand, code=CODE, reason="because")  # type: ignore[arg-type]
    assert busy(policy=Policy()).code(assign) == "no_supply"
    decision = busy().decide(assign)
    assert the_fact(decision, "driver_assigned").payload["finishing"] is True
    assert plan(busy().after(decision)) == [(FIRST, "dropoff"), *ALL_OF_JOB]
    thinking = busy().run(offer()).run(assign)
    assert plan(thinking) == [(FIRST, "dropoff"), *ALL_OF_JOB]


def test_a_better_one_is_asked_instead() -> None:
    thinking = busy().run(offer()).plus(a_driver(DOV))
    moved = thinking.run(offer(None, driver_id=DOV, instead=OFFER, instead_of=DEE))
    assert moved.job.offered_to == DOV and moved.dee.finishing and moved.dee.offer_id is None


def wake() -> c.WakeJob:
    return c.WakeJob(user=c.SYSTEM, room=room("ride"), job_id=JOB)


#: The first was to be over in 100 s, and a search has a patience of 180 s.
LATE_MS = NOW + 280_000


def test_the_next_does_not_wait_for_ever() -> None:
    after = both()
    assert after.job.wake_ms == LATE_MS and after.decide(wake(), LATE_MS - 1).put == ()
    decision = after.decide(wake(), LATE_MS)
    assert told(decision) == [(room("ride"), "ride_status_update")] and decision.facts[0].leave == (DEE,)
    late = after.after(decision)
    job = late.job
    assert (job.state, job.driver_id, job.excluded) == ("searching", None, (DEE,))
    assert job.searching_ms == LATE_MS and job.wake_ms == LATE_MS + 180_000
    assert plan(late) == [(FIRST, "dropoff")] and late.dee.finishing and not late.dee.stale
    assert late.decide(wake(), LATE_MS).put == ()
    assert late.run(move("completed", FIRST), now_ms=LATE_MS).dee.available


def test_it_is_his_when_the_first_is_over_in_time() -> None:
    over = both().run(move("completed", FIRST), now_ms=LATE_MS - 1)
    decision = over.decide(wake(), LATE_MS)
    kept = over.after(decision)
    assert not told(decision) and (kept.job.driver_id, kept.job.wake_ms) == (DEE, 0)
    assert kept.decide(wake(), LATE_MS + 1).put == () and kept.code(move("arrived")) == "ok"
    thinking = busy().run(offer()).run(move("completed", FIRST))
    assert thinking.run(accept()).job.wake_ms == 0, "it waits for nothing"


def test_what_a_person_decided_waits() -> None:
    hand = {"user": ANN, "room": room("ride"), "job_id": JOB, "kind": "ride", "driver_id": DEE}
    given = busy().run(c.AssignJob(**hand, code=CODE, reason="because"))  # type: ignore[arg-type]
    assert given.job.wake_ms == 0
    asked_for = both().run(c.HoldJob(user=PAT, room=room("ride"), job_id=JOB, seen_version=99))
    assert asked_for.job.needs_person and asked_for.decide(wake(), LATE_MS).put == ()


@pytest.mark.parametrize("first_back", [FIRST, JOB])
def test_both_come_back_after_a_loss_in_either_order(first_back: JobId) -> None:
    rides = {FIRST: on_board(code=""), JOB: a_job("ride", "assigned", code="", wake_ms=NOW - 1)}
    his = row(FIRST, JOB)
    now = world(policy=SOON)
    order = [first_back, *(id_ for id_ in rides if id_ != first_back)]
    for id_ in order:
        command = restore(rides[id_], his)
        assert outcome(now, command) == "kept"
        now = now.run(command)
    assert list(now.dee.load) == [FIRST, JOB] and plan(now) == [(FIRST, "dropoff"), *ALL_OF_JOB]
    assert now.records[Job, FIRST].version == 3 + LEAP + 1
    assert now.job.wake_ms == NOW + 300_000 + 180_000, "both phones have time to come back"


def test_two_that_both_began_are_for_a_person() -> None:
    rides = [on_board(code=""), a_job("ride", "in_progress", started_ms=NOW - 1_000, code="")]
    now = world(policy=SOON).run(restore(rides[0], row(FIRST, JOB)))
    assert outcome(now, restore(rides[1], row(FIRST, JOB))) == "held"


def test_where_he_is_belongs_to_the_ride_on_board() -> None:
    after = both()
    assert after.dee.shown_from_ms(after.job) is None
    first = after.records[Job, FIRST]
    assert isinstance(first, Job) and after.dee.shown_from_ms(first) == first.assigned_ms
