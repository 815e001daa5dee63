"""A job that another driver is asked to take over: row by row of dispatch/takeover.py, without Redis."""

from typing import Any

import pytest
from msgspec.structs import replace

from dispatch import commands as c
from dispatch.decision import State
from dispatch.lifecycle import OVER
from dispatch.policy import Policy
from dispatch.rules import RULES
from dispatch.wording import NEARER
from storage.records import TAKEOVERS_MAX, UNSEEN_MAX, Driver, JobId, Offer, OfferId, Room, UserId
from tests.rules.build import (
    ANN,
    CODE,
    DEE,
    DOV,
    EVERY,
    JOB,
    NOW,
    PAT,
    World,
    a_driver,
    carrying,
    home,
    room,
    scene,
    the_fact,
    told,
)

SWAPS = Policy(swap_accepted=True)
BESIDE = OfferId("job-1.2")
KINDS = ("ride", "package")
THERE = {"ride": "arrived", "package": "arrived_pickup"}


def ask(kind: str, **more: Any) -> c.MakeOffer:
    values = {"user": c.SYSTEM, "room": room(kind), "job_id": JOB, "driver_id": DOV, "beside": DEE}
    return c.MakeOffer(**(values | {"distance_m": 300.0, "eta_s": 40.0} | more))


def asked(kind: str = "ride", policy: Policy = SWAPS, dov: Driver | None = None, **job: Any) -> World:
    """Dee is on her way, and Dov thinks about it."""
    before = scene(kind, "assigned", policy, **job).plus(dov or a_driver(DOV))
    return before.run(ask(kind))


def dov(world: World) -> Driver:
    return world.records[Driver, DOV]  # type: ignore[return-value]


def beside(world: World) -> Offer:
    return world.records[Offer, BESIDE]  # type: ignore[return-value]


def answer(kind: type[c.Command], user: UserId = DOV, **more: Any) -> Any:
    values = {"code": CODE} if kind is c.AcceptOffer else {}
    return kind(user=user, room=home(user), offer_id=BESIDE, **(values | more))


def move(kind: str, status: str, user: UserId = DEE, **more: Any) -> c.MoveJob:
    return c.MoveJob(user=user, room=room(kind), job_id=JOB, kind=kind, status=status, **more)


def hand(kind: type[c.Command], of: str = "ride", **more: Any) -> Any:
    return kind(user=ANN, room=room(of), job_id=JOB, kind=of, reason="because", **more)


def keeps(after: World) -> None:
    """Dee has it as if nobody else had been asked, and Dov is free."""
    job = after.job
    assert (job.driver_id, job.offer_id, job.offered_to) == (DEE, None, None)
    assert JOB in after.dee.load and dov(after).offer_id is None and not dov(after).load


@pytest.mark.parametrize("kind", KINDS)
def test_only_who_is_asked_hears_of_it(kind: str) -> None:
    before = scene(kind, "assigned", SWAPS).plus(a_driver(DOV))
    decision = before.decide(ask(kind))
    after = before.after(decision)
    assert told(decision) == [(home(DOV), "offer")]
    card = the_fact(decision, "offer").payload["job"]
    assert card["driver"] is None and (card["state"], card["status"]) == ("offered", "pending")
    assert "needsCode" not in card, "she has it, and is told the code"
    assert (after.job.state, after.job.driver_id, after.job.offered_to) == ("assigned", DEE, DOV)
    assert after.job.wake_ms == beside(after).deadline_ms + 1_000 and after.job.takeovers == 1
    assert after.dee == before.dee and decision.read == (before.dee,)
    assert any(type(r).__name__ == "Choice" for fact in decision.facts for r in fact.records)


@pytest.mark.parametrize(("kind", "state"), EVERY)
def test_only_before_the_driver_is_there(kind: str, state: str) -> None:
    before = scene(kind, state, SWAPS).plus(a_driver(DOV))
    assert before.code(ask(kind)) == ("ok" if state == "assigned" else "already_assigned")


@pytest.mark.parametrize(
    ("job", "dee", "policy"),
    [
        pytest.param({}, {}, Policy(), id="the area does not do it"),
        pytest.param({"settled": True}, {}, SWAPS, id="it changed once"),
        pytest.param({"needs_person": "a person"}, {}, SWAPS, id="it waits for a person"),
        pytest.param({"restored": 7}, {}, SWAPS, id="PostgreSQL gave it back"),
        pytest.param({"takeovers": TAKEOVERS_MAX}, {}, SWAPS, id="asked so often"),
        pytest.param({"offers": SWAPS.max_offers - 1}, {}, SWAPS, id="its last offers"),
        pytest.param({"scheduled_ms": NOW + 60_000}, {}, SWAPS, id="nobody waits yet"),
        pytest.param({"driver_id": UserId("eve")}, {}, SWAPS, id="another has it by now"),
        pytest.param({}, {"load": {JOB: 1, JobId("job-2"): 1}}, SWAPS, id="on his way for two"),
        pytest.param({}, {"offer_id": OfferId("job-2.1")}, SWAPS, id="he thinks about another"),
    ],
)
def test_jobs_that_keep_their_driver(job: dict[str, Any], dee: dict[str, Any], policy: Policy) -> None:
    before = scene("ride", "assigned", policy, **({"driver_id": DEE} | job)).plus(a_driver(DOV))
    driver = carrying(a_driver(DEE), before.job)
    seen = before.plus(replace(driver, **dee))
    state = {(type(r), r.id): r for r in seen.records.values()}
    with pytest.raises(c.Refusal) as refused:
        RULES[c.MakeOffer].decide(State(NOW, dict(state), {}, before.areas), ask("ride"))
    assert refused.value.code == "already_assigned"


def test_only_who_is_free_is_asked() -> None:
    parcel = {"load": {JobId("job-2"): 1}, "capacity": 3}
    before = scene("package", "assigned", SWAPS)
    for more in (parcel, {"online": False}, {"stale": True}, {"classes": ("comfort",)}):
        world = World({**before.records, (Driver, DOV): a_driver(DOV, **more)}, before.areas)
        with pytest.raises(c.NotHim):
            world.decide(ask("package"))
    assert before.plus(a_driver(DOV, offer_id=None)).code(ask("package", driver_id=UserId("nobody"))) == (
        "no_supply"
    )


@pytest.mark.parametrize("kind", KINDS)
def test_taken_over(kind: str) -> None:
    before = asked(kind)
    decision = before.decide(answer(c.AcceptOffer))
    after = before.after(decision)
    job = after.job
    assert (job.state, job.driver_id, job.driver_name, job.wake_ms) == ("assigned", DOV, "Dov", 0)
    assert job.settled and not job.may_change and DEE in job.excluded and job.assigned_ms == NOW
    assert (beside(after).state, dov(after).offer_id) == ("accepted", None) and JOB in dov(after).load
    assert after.dee.available and after.dee.load == {} and after.dee.plan == ()
    # first she hears it, and is out of the room before that hears it: neither driver is told who the other one is
    assert told(decision)[:2] == [(home(DEE), "notification"), (room(kind), "driver_assigned")]
    hers, out, rooms = decision.facts[:3]
    assert (out.room, out.leave, out.event) == (room(kind), (DEE,), "") and rooms.event == "driver_assigned"
    assert hers.payload["type"] == "job_taken_over" and hers.payload["data"]["reason"] == NEARER
    assert hers.records == (after.dee.__class__(**{**_fields(after.dee), "version": before.dee.version}),)
    assert rooms.payload["driverId"] == DOV and rooms.payload["takenOver"] is True
    assert rooms.payload["etaSeconds"] == 40 and (rooms.join, rooms.leave) == ((DOV,), ())
    assert DEE not in str(rooms.payload) and DOV not in str(hers.payload)


def _fields(driver: Driver) -> dict[str, Any]:
    return {name: getattr(driver, name) for name in driver.__struct_fields__}


def test_its_code_is_another_and_the_requesters_alone() -> None:
    before = asked(policy=Policy(swap_accepted=True, otp_required=True), code="111111")
    decision = before.decide(answer(c.AcceptOffer))
    assert before.after(decision).job.code == CODE
    codes = [fact.room for fact in decision.facts if fact.payload.get("type") == "ride_code"]
    assert codes == [home(PAT)]


def test_what_the_first_driver_says_later() -> None:
    after = asked().run(answer(c.AcceptOffer))
    assert after.code(move("ride", "arrived")) == "not_found"
    assert after.code(c.CancelJob(user=DEE, room=room("ride"), job_id=JOB, kind="ride")) == "not_found"
    assert after.code(move("ride", "arrived", DOV)) == "ok"
    assert after.code(answer(c.DeclineOffer)) == "offer_gone"


def test_accepted_twice_he_is_told_what_he_has() -> None:
    after = asked().run(answer(c.AcceptOffer))
    decision = after.decide(answer(c.AcceptOffer))
    assert decision.put == () and decision.answer["outcome"] == "accepted"
    assert after.code(answer(c.AcceptOffer, ANN)) == "offer_gone"


@pytest.mark.parametrize("kind", KINDS)
def test_nobody_is_asked_for_the_same_job_again(kind: str) -> None:
    before = asked(kind)
    decision = before.decide(answer(c.DeclineOffer))
    after = before.after(decision)
    keeps(after)
    assert not told(decision) and DOV in after.job.excluded and after.job.wake_ms == 0
    assert after.job.may_change and after.code(ask(kind)) == "no_supply"
    eve = UserId("eve")
    second = after.plus(a_driver(eve)).run(ask(kind, driver_id=eve))
    third = second.run(c.DeclineOffer(user=eve, room=home(eve), offer_id=OfferId("job-1.3")))
    assert not third.job.may_change
    assert third.plus(a_driver(ANN)).code(ask(kind, driver_id=ANN)) == "already_assigned"


@pytest.mark.parametrize("tells_seen", [False, True])
def test_his_time_runs_out(tells_seen: bool) -> None:
    before = asked(dov=a_driver(DOV, tells_seen=tells_seen))
    wake = c.WakeJob(user=c.SYSTEM, room=room("ride"), job_id=JOB)
    assert before.decide(wake).put == ()
    decision = before.decide(wake, before.job.wake_ms)
    after = before.after(decision)
    keeps(after)
    assert beside(after).state == ("unseen" if tells_seen else "expired")
    # whom it was not shown has no mark for it, and the job as many offers left as before
    assert (DOV in after.job.excluded) != tells_seen == (DOV in after.job.passed)
    assert (after.job.offers, after.job.unseen) == (2, int(tells_seen))
    assert after.job.takeovers == (0 if tells_seen else 1), "who was not shown it was not asked"
    assert after.code(ask("ride"), before.job.wake_ms) == "no_supply"
    later_ms = before.job.wake_ms + 15_000
    assert after.code(ask("ride"), later_ms) == ("ok" if tells_seen else "no_supply")
    assert told(decision) == [(home(DOV), "offer_withdrawn")]
    assert before.code(answer(c.AcceptOffer), before.job.wake_ms + 20_000) == "offer_gone"
    assert after.decide(wake, NOW + 99_000).put == ()


def test_phones_that_show_nothing_use_up_no_takeover_and_are_not_asked_for_ever() -> None:
    wake = c.WakeJob(user=c.SYSTEM, room=room("ride"), job_id=JOB)
    world, now_ms = scene("ride", "assigned", SWAPS), NOW
    for number in range(UNSEEN_MAX):
        assert world.job.may_change, f"{number} of {UNSEEN_MAX} showed nothing"
        other = UserId(f"other-{number}")
        world = world.plus(a_driver(other, tells_seen=True)).run(ask("ride", driver_id=other), now_ms)
        now_ms = world.job.wake_ms
        world = world.run(wake, now_ms)
        assert (world.job.takeovers, world.job.driver_id, world.job.offer_id) == (0, DEE, None)
    assert world.job.unseen == UNSEEN_MAX and not world.job.may_change
    assert world.plus(a_driver(DOV)).code(ask("ride"), now_ms) == "already_assigned"


def test_he_sees_it() -> None:
    before = asked(dov=a_driver(DOV, tells_seen=True))
    after = before.run(answer(c.SeeOffer), NOW + 1_000)
    assert after.job.wake_ms == beside(after).deadline_ms + 1_000 == NOW + 1_000 + 15_000 + 1_000


def test_he_goes_or_is_lost() -> None:
    before = asked()
    gone = before.run(c.GoOffline(user=DOV, room=home(DOV), device="phone"))
    lost = before.run(c.WakeDriver(user=c.SYSTEM, room=home(DOV), driver_id=DOV))
    for after, state in ((gone, "offline"), (lost, "stale")):
        job = after.job
        assert (job.driver_id, job.offer_id, dov(after).state) == (DEE, None, state) and JOB in after.dee.load
        assert beside(after).state == "lost" and DOV in job.excluded


@pytest.mark.parametrize("kind", KINDS)
def test_its_driver_is_there(kind: str) -> None:
    before = asked(kind)
    decision = before.decide(move(kind, THERE[kind]))
    after = before.after(decision)
    keeps(after)
    assert after.job.state == THERE[kind] and beside(after).state == "withdrawn"
    assert (home(DOV), "offer_withdrawn") in told(decision) and DOV not in after.job.excluded
    assert bool(after.job.wake_ms) == (kind == "ride")  # of who does not come
    assert after.code(answer(c.AcceptOffer)) == "offer_gone"


def test_its_driver_is_heard_to_be_where_he_was() -> None:
    before = asked()
    assert before.decide(move("ride", "assigned")).put == ()


@pytest.mark.parametrize("user", [PAT, ANN])
def test_called_off(user: UserId) -> None:
    before = asked()
    cancel = c.CancelJob(
        user=user, room=room("ride"), job_id=JOB, kind="ride", admin=user == ANN, reason="why"
    )
    decision = before.decide(cancel)
    after = before.after(decision)
    assert after.job.state in OVER["ride"] and after.dee.available and dov(after).available
    assert (home(DOV), "offer_withdrawn") in told(decision) and after.job.offer_id is None


@pytest.mark.parametrize("how", ["cancel", "searching", "lost", "unassigned"])
def test_the_first_driver_is_gone_and_the_other_is_asked_on(how: str) -> None:
    before = asked()
    where = {"room": room("ride"), "job_id": JOB, "kind": "ride"}
    command: c.Command = {
        "cancel": c.CancelJob(user=DEE, **where),
        "searching": move("ride", "searching"),
        "lost": c.WakeDriver(user=c.SYSTEM, room=home(DEE), driver_id=DEE),
        "unassigned": hand(c.UnassignJob),
    }[how]
    decision = before.decide(command)
    after = before.after(decision)
    job = after.job
    assert (job.state, job.driver_id, job.offered_to, job.offer_id) == ("offered", None, DOV, BESIDE)
    assert beside(after).state == "open" and job.wake_ms == before.job.wake_ms and job.searching_ms == NOW
    assert the_fact(decision, "ride_status_update").leave == (DEE,) and DEE in job.excluded
    taken = after.run(answer(c.AcceptOffer)).job
    assert (taken.driver_id, taken.settled) == (DOV, False)
    again = after.run(answer(c.DeclineOffer)).job
    assert (again.state, again.wake_ms > NOW) == ("searching", True)


def test_by_hand() -> None:
    before = asked()
    assign = {"driver_id": DOV, "code": CODE}
    assert before.code(hand(c.AssignJob, **assign)) == "wrong_state"  # she has it: it is taken from her first
    assert before.decide(hand(c.AssignJob, driver_id=DEE, code=CODE)).put == ()
    given = before.run(hand(c.UnassignJob)).run(hand(c.AssignJob, **assign))
    assert given.job.driver_id == DOV and given.job.settled and beside(given).state == "accepted"
    assert before.code(move("ride", "completed", ANN, admin=True, reason="why")) == "wrong_state"


def test_held_for_a_person() -> None:
    before = asked()
    later = c.HoldJob(user=PAT, room=room("ride"), job_id=JOB, seen_version=99)
    after = before.run(later)
    keeps(after)
    assert after.job.needs_person and beside(after).state == "withdrawn" and after.job.wake_ms == 0


def test_redis_lost_it() -> None:
    lost = asked()
    was, offer = lost.job, beside(lost)
    restore = c.RestoreJob(
        user=c.SYSTEM,
        room=Room("ride:job-1"),
        job=was,
        offer=offer,
        driver=lost.dee,
        committed_ms=NOW - 1_000,
        max_age_ms=60_000,
        code=CODE,
    )
    empty = World({}, lost.areas)
    after = empty.run(restore)
    assert after.job.driver_id == DEE and after.job.offer_id is None and not after.job.may_change
    assert beside(after).state == "lost"


def test_he_takes_something_on_top_meanwhile() -> None:
    """A courier with room took another parcel: whoever was asked for the first one still may take it."""
    before = asked("package")
    other = replace(before.job, id=JobId("job-2"), offer_id=None, offered_to=None, wake_ms=0, takeovers=0)
    dee = carrying(replace(before.dee, capacity=3), other)
    after = before.plus(other, dee).run(answer(c.AcceptOffer))
    assert after.dee.load.keys() == {"job-2"} and after.job.driver_id == DOV
