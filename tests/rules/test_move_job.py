"""Moving a job: every state, every target, every party, against PROTOCOL's tables; then the proofs."""

from typing import Any

import pytest

from dispatch import commands as c
from dispatch.policy import Policy
from dispatch.pricing import ParcelTier, Prices
from storage.records import Parcel
from tests.invariants import BEFORE_PICKUP, OVER
from tests.rules.build import (
    ANN,
    CODE,
    DEE,
    EVERY,
    JOB,
    NOW,
    PAT,
    STATES,
    XAN,
    World,
    a_driver,
    a_job,
    carrying,
    home,
    room,
    scene,
    the_fact,
    told,
    town,
)

# PROTOCOL.md "Lifecycles", written down again from there: from | to (by) ...; a driver lost before the pickup
# is the system's step from `arrived` and `arrived_pickup` as well (the sentence below its tables); an admin gives and
# takes a job by hand before the pickup, and brings a parcel to its end.
RIDE = """
    scheduled    searching:S cancelled:PA
    searching    offered:S assigned:A no_driver:S cancelled:PAS
    offered      assigned:DA searching:DS cancelled:PA
    assigned     arrived:D searching:DSA cancelled:PA
    arrived      in_progress:D no_show:DS searching:DSA cancelled:PA
    in_progress  completed:DA cancelled:A
"""
PACKAGE = """
    scheduled       searching:S cancelled:PA
    searching       offered:S assigned:A no_courier:S cancelled:PAS
    offered         assigned:DA searching:DS cancelled:PA
    assigned        arrived_pickup:D searching:DSA cancelled:PA
    arrived_pickup  picked_up:D searching:DSA cancelled:PA
    picked_up       arrived_dropoff:D failed:DA
    arrived_dropoff delivered:DA failed:DA
    failed          arrived_dropoff:D returning:DSA
    returning       returned:DA
"""
TABLES = {
    kind: {
        line.split()[0]: dict(step.split(":") for step in line.split()[1:])
        for line in text.strip().splitlines()
    }
    for kind, text in (("ride", RIDE), ("package", PACKAGE))
}
WHO = {"P": PAT, "D": DEE, "A": ANN, "X": XAN}
POLICY = Policy(no_show_wait_s=300.0, proof_tries=3)


def move(kind: str, to: str, by: str = "D", **more: object) -> c.MoveJob:
    """A step with every proof that any step may need."""
    proofs = {"otp": CODE, "proof_code": CODE, "has_proof": True, "reason": "because"}
    values = {"user": WHO[by], "room": room(kind), "job_id": JOB, "kind": kind, "admin": by == "A"}
    return c.MoveJob(**{**values, "status": to, **proofs, **more})  # type: ignore[arg-type]


def expected(world: World, to: str, by: str) -> tuple[str, str]:
    """(refusal code or "ok", the state after it) as PROTOCOL says."""
    job = world.job
    if by == "X" or (by == "D" and job.driver_id is None):
        return "not_found", job.state
    if by == "D" and to == job.state and to != "cancelled":
        return "ok", job.state
    if (by, to) == ("A", "assigned"):
        return "bad_request", job.state  # to whom? assign_job says that
    if by == "D" and to == "cancelled":
        to = "searching"  # a driver's cancel gives the job back
    steps = TABLES[job.kind].get(job.state, {})
    if to not in steps:
        return "wrong_state", job.state
    return ("ok", to) if by in steps[to] else ("forbidden", job.state)


@pytest.mark.parametrize("by", WHO)
@pytest.mark.parametrize(("kind", "state"), EVERY)
def test_every_step_by_every_party(kind: str, state: str, by: str) -> None:
    for to in STATES[kind]:
        world = scene(kind, state, POLICY)
        code, after = expected(world, to, by)
        command = move(kind, to, by)
        assert (to, world.code(command)) == (to, code)
        if code == "ok":
            _as_told(world, command, after)


def _as_told(world: World, command: c.MoveJob, after: str) -> None:
    before, decision = world.job, world.decide(command)
    moved = world.after(decision)
    assert moved.job.state == after
    if after == before.state:
        assert decision.put == () and decision.facts == () and decision.answer["version"] == before.version
        return
    assert moved.job.version == before.version + 1 == decision.answer["version"]
    assert decision.answer["state"] == after
    assert told(decision)[0] == (room(before.kind), f"{before.kind}_status_update")
    payload = decision.facts[0].payload
    assert (payload["state"], payload["updatedBy"]) == (after, command.user)
    if after == "searching":
        assert decision.facts[0].leave == (DEE,) and DEE in moved.job.excluded
        assert moved.job.driver_id is None
    if before.driver_id is not None and (after in OVER or after == "searching"):
        assert not moved.dee.load and not moved.dee.plan and moved.dee.available
    assert (moved.job.ended_ms == NOW) == (after in OVER)


@pytest.mark.parametrize(("kind", "state"), EVERY)
def test_another_kind_or_id_is_not_found(kind: str, state: str) -> None:
    world = scene(kind, state)
    other = "package" if kind == "ride" else "ride"
    assert world.code(move(other, "arrived")) == "not_found"
    assert world.code(move(kind, "arrived", job_id="job-2")) == "not_found"


@pytest.mark.parametrize(
    ("kind", "state", "word", "after"),
    [
        ("ride", "assigned", "confirmed", "arrived"),
        ("ride", "assigned", "driver_arrived", "arrived"),
        ("ride", "arrived", "confirmed", "wrong_state"),
        ("ride", "assigned", "pending", "bad_request"),
        ("package", "arrived_pickup", "in_transit", "picked_up"),
        ("package", "assigned", "in_transit", "wrong_state"),
        ("package", "arrived_dropoff", "completed", "delivered"),
        ("package", "assigned", "pending_pickup", "bad_request"),
        ("ride", "assigned", "", "bad_request"),
    ],
)
def test_the_platforms_words(kind: str, state: str, word: str, after: str) -> None:
    world = scene(kind, state)
    code = world.code(move(kind, word))
    assert (world.run(move(kind, word)).job.state if code == "ok" else code) == after


@pytest.mark.parametrize(
    ("kind", "state", "to", "given", "code"),
    [
        ("ride", "arrived", "in_progress", {"otp": ""}, "bad_request"),
        ("ride", "arrived", "in_progress", {"otp": "000000"}, "forbidden"),
        ("ride", "arrived", "in_progress", {"otp": "", "proof_code": CODE}, "bad_request"),
        ("package", "arrived_dropoff", "delivered", {"proof_code": ""}, "bad_request"),
        ("package", "arrived_dropoff", "delivered", {"proof_code": "000000"}, "forbidden"),
        ("package", "picked_up", "failed", {"reason": ""}, "bad_request"),
        ("package", "arrived_dropoff", "failed", {"reason": ""}, "bad_request"),
        ("package", "failed", "returning", {"reason": ""}, "bad_request"),
        ("package", "returning", "returned", {"has_proof": False, "proof_code": ""}, "bad_request"),
        ("package", "returning", "returned", {"has_proof": False}, "ok"),
        ("package", "returning", "returned", {"proof_code": ""}, "ok"),
        ("ride", "in_progress", "completed", {"otp": "", "proof_code": "", "has_proof": False}, "ok"),
    ],
)
def test_proofs_and_reasons(kind: str, state: str, to: str, given: dict[str, object], code: str) -> None:
    assert scene(kind, state, POLICY).code(move(kind, to, **given)) == code


def test_a_ride_without_a_code_starts_without_one() -> None:
    assert scene("ride", "arrived", code="").code(move("ride", "in_progress", otp="")) == "ok"


@pytest.mark.parametrize(
    ("kind", "state", "to"), [("ride", "arrived", "in_progress"), ("package", "arrived_dropoff", "delivered")]
)
def test_wrong_codes_are_counted_until_they_lock(kind: str, state: str, to: str) -> None:
    world = scene(kind, state, POLICY)
    bad = move(kind, to, otp="000000", proof_code="000000")
    for tries in range(1, POLICY.proof_tries + 1):
        decision = world.decide(bad)
        assert decision.refusal is not None and decision.refusal.code == "forbidden" and not decision.facts
        world = world.after(decision)
        assert (world.job.code_tries, world.job.state) == (tries, state)
    assert world.code(move(kind, to)) == "forbidden", "the right code comes too late"
    with pytest.raises(c.Refusal, match="support"):
        world.decide(move(kind, to))
    if kind == "ride":
        assert world.code(move(kind, "cancelled", "A")) == "ok"


@pytest.mark.parametrize(("waited_s", "code"), [(0, "wrong_state"), (299.999, "wrong_state"), (300, "ok")])
def test_a_driver_waits_before_he_calls_it_a_no_show(waited_s: float, code: str) -> None:
    world = scene("ride", "arrived", POLICY, arrived_ms=NOW - int(waited_s * 1000))
    assert world.code(move("ride", "no_show")) == code


@pytest.mark.parametrize(
    ("arrived_s", "may_s"),
    [(-600, 300), (-1, 300), (120, 420)],
    ids=("long before the hour", "just in time", "too late"),
)
def test_nobody_is_late_before_the_hour_he_booked(arrived_s: int, may_s: int) -> None:
    """Neither for the driver, who came early because he was near, nor for the timer."""
    hour_ms = NOW + 1_000_000
    arrived_ms, may_ms = hour_ms + arrived_s * 1000, hour_ms + may_s * 1000
    there = scene("ride", "assigned", POLICY, scheduled_ms=hour_ms).run(move("ride", "arrived"), arrived_ms)
    assert there.job.wake_ms == may_ms + 150_000
    with pytest.raises(c.Refusal, match=r"first, 1 s more\.") as refused:
        there.decide(move("ride", "no_show"), may_ms - 1)
    assert refused.value.code == "wrong_state"
    assert there.code(move("ride", "no_show"), may_ms) == "ok"


def test_arriving_sets_the_timer_that_ends_a_no_show() -> None:
    moved = scene("ride", "assigned", POLICY).run(move("ride", "arrived")).job
    assert (moved.arrived_ms, moved.wake_ms) == (NOW, NOW + 450_000)
    started = scene("ride", "arrived", POLICY, wake_ms=NOW + 1).run(move("ride", "in_progress")).job
    assert (started.started_ms, started.wake_ms) == (NOW, 0)
    assert scene("package", "assigned", POLICY).run(move("package", "arrived_pickup")).job.wake_ms == 0


def test_the_delivery_code_goes_to_the_sender_alone_once_the_parcel_is_on_board() -> None:
    decision = scene("package", "arrived_pickup").decide(move("package", "picked_up"))
    code = the_fact(decision, "notification")
    assert code.room == home(PAT) and code.payload["data"] == {"packageId": JOB, "code": CODE}
    for to in ("arrived_dropoff", "failed"):
        later = scene("package", "picked_up").decide(move("package", to))
        assert [where for where, _ in told(later)] == [room("package")]


def test_a_pickup_behind_him_leaves_the_plan() -> None:
    world = scene("package", "arrived_pickup", driver=None)
    assert [stop.what for stop in world.dee.plan] == ["pickup", "dropoff"]
    after = world.run(move("package", "picked_up")).dee
    assert [stop.what for stop in after.plan] == ["dropoff"] and after.load == {JOB: 1}


def test_one_of_several_parcels_ends_alone() -> None:
    first = a_job("package", "arrived_dropoff", started_ms=NOW - 9)
    other = a_job("package", "assigned", id="job-2")
    courier = carrying(a_driver(capacity=3), first, other)
    world = scene("package", "arrived_dropoff", started_ms=NOW - 9).plus(first, other, courier)
    after = world.run(move("package", "delivered"))
    assert dict(after.dee.load) == {"job-2": 1} and {s.job_id for s in after.dee.plan} == {"job-2"}


@pytest.mark.parametrize("state", sorted(BEFORE_PICKUP))
def test_patience_begins_anew_when_a_driver_gives_the_job_back(state: str) -> None:
    kind = "package" if state == "arrived_pickup" else "ride"
    again = scene(kind, state, POLICY, searching_ms=NOW - 10_000_000).run(move(kind, "searching")).job
    assert (again.searching_ms, again.wake_ms) == (NOW, NOW + 180_000)
    assert (again.driver_id, again.assigned_ms, again.arrived_ms, again.offer_id) == (None, 0, 0, None)


@pytest.mark.parametrize(
    ("kind", "state", "to"),
    [
        ("ride", "in_progress", "completed"),
        ("package", "arrived_dropoff", "delivered"),
        ("ride", "arrived", "searching"),
    ],
)
def test_an_admin_says_why(kind: str, state: str, to: str) -> None:
    world = scene(kind, state, POLICY)
    assert world.code(move(kind, to, "A", reason="")) == "bad_request"
    assert world.code(move(kind, to, "A", otp="", proof_code="", has_proof=False)) == "ok"


@pytest.mark.parametrize("asks", [False, True])
@pytest.mark.parametrize("tier", ["express", "economy", "gone"])
@pytest.mark.parametrize("proof", [{}, {"has_proof": True, "proof_code": CODE}, {"has_picture": True}])
def test_the_tier_may_ask_for_a_picture_at_the_pickup(asks: bool, tier: str, proof: dict[str, Any]) -> None:
    """A tier that the area no longer serves asks for nothing, nor is an admin asked."""
    prices = Prices(parcel_tiers={"express": ParcelTier(1, 1, asks), "economy": ParcelTier(1, 1)})
    before = scene("package", "arrived_pickup", parcel=Parcel(size="small", tier=tier))
    before = World(before.records, town(prices=prices))
    wanted = asks and tier == "express" and not proof.get("has_picture")
    assert before.code(move("package", "picked_up", **proof)) == ("bad_request" if wanted else "ok")
    assert before.code(move("package", "searching", **proof)) == "ok"
