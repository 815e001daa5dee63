"""An admin's hand: every state, every kind of driver, holds; and what the audit log keeps of it."""

from typing import Any

import pytest
from msgspec.structs import replace

from dispatch import commands as c
from dispatch.decision import State
from dispatch.policy import Policy
from dispatch.rules import RULES
from dispatch.rules.audit import ACTIONS, audited
from storage.records import Audit, Driver, Job, Stored
from tests.invariants import BEFORE_PICKUP, UNCLEAR
from tests.rules.build import (
    ANN,
    CODE,
    DEE,
    DOV,
    EVERY,
    JOB,
    NOW,
    OFFER,
    PAT,
    World,
    a_driver,
    a_job,
    an_offer,
    home,
    room,
    scene,
    the_fact,
    told,
    world,
)


def hand(kind: type[c.Command], of: str, **more: Any) -> Any:
    values = {"user": ANN, "room": room(of), "job_id": JOB, "kind": of, "reason": "because", "audit": "a-1"}
    return kind(**(values | more))


def assign(of: str, driver: str = DOV, **more: Any) -> c.Command:
    made: c.Command = hand(c.AssignJob, of, driver_id=driver, code=CODE, **more)
    return made


@pytest.mark.parametrize(("kind", "state"), EVERY)
def test_assigned_in_every_state(kind: str, state: str) -> None:
    before = scene(kind, state).plus(a_driver(DOV))
    may = state in ("searching", "offered")
    assert before.code(assign(kind)) == ("ok" if may else "wrong_state")
    assert before.code(assign("package" if kind == "ride" else "ride")) == "not_found"
    assert before.code(assign(kind, "nobody")) == "not_found"
    if not may:
        return
    decision = before.decide(assign(kind))
    after = before.after(decision)
    dov = after.records[Driver, DOV]
    assert isinstance(dov, Driver) and JOB in dov.load and dov.state == "busy"
    assert (after.job.state, after.job.driver_id, after.job.wake_ms) == ("assigned", DOV, 0)
    fact = the_fact(decision, "driver_assigned")
    assert fact.join == (DOV,) and fact.payload["etaSeconds"] is None
    assert after.job.code == (CODE if kind == "package" else "")
    if state == "offered":  # somebody else was thinking about it
        assert (home(DEE), "offer_withdrawn") in told(decision)
        assert after.offer.state == "withdrawn" and after.dee.available and DEE in after.job.excluded


def test_assigned_to_whoever_is_thinking_about_it() -> None:
    before = scene("ride", "offered")
    decision = before.decide(assign("ride", DEE))
    after = before.after(decision)
    assert (after.offer.state, after.job.driver_id) == ("accepted", DEE)
    assert told(decision) == [(room("ride"), "driver_assigned")]
    assert the_fact(decision, "driver_assigned").payload["etaSeconds"] == 90


def test_assigned_to_whoever_has_it_is_so_already() -> None:
    decision = scene("ride", "assigned").decide(assign("ride", DEE))
    assert decision.put == () and decision.answer["version"] == 3


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"online": False}, "not online"),
        ({"stale": True}, "silent"),
        ({"classes": ("comfort",)}, "does not serve this class"),
        ({"load": {"job-2": 1}}, "no room"),
        ({"offer_id": "job-2.1"}, "another job"),
    ],
)
def test_a_driver_who_cannot_take_it(more: dict[str, Any], why: str) -> None:
    state = State(
        NOW,
        {(Job, JOB): a_job("ride", "searching"), (Driver, DOV): a_driver(DOV, **more)},
        {},
        world().areas,
    )
    with pytest.raises(c.Refusal, match=why) as refused:
        RULES[c.AssignJob].decide(state, assign("ride"))
    assert refused.value.code == "no_supply"


def test_a_driver_whom_the_match_would_not_ask_again() -> None:
    before = world(a_job("ride", "searching", excluded=(DOV, DEE)), a_driver(DOV), a_driver(DEE))
    after = before.run(assign("ride"))
    assert (after.job.driver_id, after.job.excluded) == (DOV, (DEE,))


def test_his_own_ride_is_nobodys_job() -> None:
    assert world(a_job("ride", "searching"), a_driver(PAT)).code(assign("ride", PAT)) == "no_supply"


def test_the_code_of_an_area_that_asks_for_one() -> None:
    before = scene("ride", "searching", Policy(otp_required=True)).plus(a_driver(DOV))
    decision = before.decide(assign("ride"))
    assert the_fact(decision, "notification").room == home(PAT)
    assert before.after(decision).job.code == CODE


@pytest.mark.parametrize(("kind", "state"), EVERY)
def test_unassigned_in_every_state(kind: str, state: str) -> None:
    before = scene(kind, state)
    may = state in BEFORE_PICKUP
    assert before.code(hand(c.UnassignJob, kind)) == ("ok" if may else "wrong_state")
    if may:
        decision = before.decide(hand(c.UnassignJob, kind))
        after = before.after(decision)
        assert (after.job.state, after.job.driver_id, after.job.excluded) == ("searching", None, (DEE,))
        assert after.dee.available and decision.facts[0].leave == (DEE,) and after.job.searching_ms == NOW


@pytest.mark.parametrize(("ahead_ms", "wake_ms"), [(0, 450_000), (3_600_000, 4_050_000)])
def test_a_ride_let_go_on_at_the_pickup_waits_for_its_passenger(ahead_ms: int, wake_ms: int) -> None:
    """From now on, or from the hour he booked on."""
    held = scene("ride", "arrived", scheduled_ms=NOW + ahead_ms, needs_person="driver silent", wake_ms=0)
    assert held.run(hand(c.LiftHold, "ride")).job.wake_ms == NOW + wake_ms


@pytest.mark.parametrize(("kind", "state"), EVERY)
def test_a_hold_lifted_in_every_state(kind: str, state: str) -> None:
    before = scene(
        kind, state, needs_person="" if state == "offered" else "a later version is known", wake_ms=0
    )
    if state == "offered":  # a held job is offered to nobody
        assert before.code(hand(c.LiftHold, kind)) == "wrong_state"
        return
    over = before.job.ended_ms > 0
    assert before.code(hand(c.LiftHold, kind)) == ("wrong_state" if over else "ok")
    if not over:
        after = before.run(hand(c.LiftHold, kind)).job
        assert (after.needs_person, after.state) == ("", state)
        assert bool(after.wake_ms) == (state in ("scheduled", "searching", "arrived"))


def test_what_waits_for_nobody_and_what_would_be_nobodys() -> None:
    assert scene("ride", "searching").code(hand(c.LiftHold, "ride")) == "wrong_state"
    unclear = world(a_job("ride", "assigned", needs_person=UNCLEAR), a_driver())
    assert unclear.code(hand(c.LiftHold, "ride")) == "wrong_state"
    freed = unclear.run(hand(c.UnassignJob, "ride")).job
    assert (freed.state, freed.needs_person) == ("searching", "")


def _audited(before: World, command: Any) -> list[Audit]:
    state = State(NOW, dict(before.records), {}, before.areas)
    decision = audited(state, command, RULES[type(command)].decide(state, command))
    return [r for fact in decision.facts for r in fact.records if isinstance(r, Audit)]


def test_what_the_audit_log_keeps() -> None:
    offered = scene("ride", "offered").plus(a_driver(DOV))
    (kept,) = _audited(offered, assign("ride"))
    assert (kept.id, kept.actor_id, kept.action) == ("a-1", ANN, "jobs assign")
    assert (kept.subject_type, kept.subject_id, kept.at_ms) == ("ride", JOB, NOW)
    assert kept.details == {
        "before": {"state": "offered", "driverId": None, "version": 3},
        "after": {"state": "assigned", "driverId": DOV, "version": 4},
        "reason": "because",
    }
    assert _audited(offered, assign("ride", audit="")) == [], "a command of nobody's"
    assert _audited(scene("ride", "assigned"), assign("ride", DEE)) == [], "nothing changed"
    assert set(ACTIONS) == {c.CancelJob, c.MoveJob, c.AssignJob, c.UnassignJob, c.LiftHold}


def test_a_code_is_in_no_line_of_it() -> None:
    worlds: dict[str, tuple[World, Any]] = {
        "ride": (scene("ride", "searching", Policy(otp_required=True)).plus(a_driver(DOV)), assign("ride")),
        "package": (scene("package", "arrived_dropoff"), None),
    }
    move = {"status": "delivered", "admin": True}
    for kind, (before, command) in worlds.items():
        (kept,) = _audited(before, command or hand(c.MoveJob, kind, **move))
        assert CODE not in str(kept.details)


def test_an_open_offer_is_no_hindrance_to_others() -> None:
    """Of two who are asked for different jobs, an admin moves one."""
    stored: tuple[Stored, ...] = (
        a_job("ride", "offered"),
        a_driver(DEE, offer_id=OFFER),
        an_offer("ride"),
        replace(a_driver(DOV), capacity=2),
    )
    assert world(*stored).run(assign("ride")).job.driver_id == DOV
