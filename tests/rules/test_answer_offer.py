"""The driver's answers: every answer in every state of the offer, by every user; deadline, room, codes."""

from typing import Any

import pytest

from dispatch import commands as c
from dispatch.policy import Policy
from storage.records import Parcel
from tests.rules.build import (
    ANN,
    CODE,
    DEE,
    DOV,
    JOB,
    NOW,
    OFFER,
    PAT,
    XAN,
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

POLICY = Policy(offer_s=15.0, offer_grace_s=1.0, max_offers=3, patience_s=180.0)
ANSWERS: dict[str, Any] = {
    "see": c.SeeOffer,
    "decline": c.DeclineOffer,
    "accept": lambda **more: c.AcceptOffer(code=CODE, **more),
}


def answer(which: str, user: str = DEE, **more: Any) -> c.Command:
    made: c.Command = ANSWERS[which](**{"user": user, "room": home(user), "offer_id": OFFER, **more})
    return made


def after_offer(kind: str, outcome: str) -> World:
    """The world some time after an offer came to an end."""
    if outcome == "accepted":
        return scene(kind, "assigned")
    over = outcome == "withdrawn"
    job = a_job(kind, "cancelled" if over else "searching", driver_id=None, driver_name="", offers=1)
    return world(
        job if over else a_job(kind, "searching", excluded=(DEE,)), a_driver(), an_offer(kind, outcome)
    )


@pytest.mark.parametrize("which", ANSWERS)
@pytest.mark.parametrize("kind", ["ride", "package"])
@pytest.mark.parametrize("outcome", ["accepted", "declined", "expired", "withdrawn", "lost"])
def test_an_offer_that_is_over(kind: str, outcome: str, which: str) -> None:
    repeated = outcome == "accepted" and which == "accept"
    assert after_offer(kind, outcome).code(answer(which)) == ("ok" if repeated else "offer_gone")


def test_a_second_accept_is_told_what_he_has_and_changes_nothing() -> None:
    before = after_offer("ride", "accepted")
    decision = before.decide(answer("accept"))
    assert decision.answer["outcome"] == "accepted" and decision.answer["version"] == before.job.version
    assert not decision.put and not decision.facts
    given_back = world(a_job("ride", "searching", excluded=(DEE,)), a_driver(), an_offer("ride", "accepted"))
    assert given_back.code(answer("accept")) == "offer_gone", "but not once he gave the job back"


@pytest.mark.parametrize("which", ANSWERS)
@pytest.mark.parametrize("user", [PAT, DOV, ANN, XAN, c.SYSTEM])
def test_nobody_else_answers(which: str, user: str) -> None:
    for state in ("offered", "assigned"):
        before = scene("ride", state).plus(a_driver(DOV), a_driver(PAT))
        assert before.code(answer(which, user)) == "offer_gone"


@pytest.mark.parametrize("which", ANSWERS)
@pytest.mark.parametrize(
    "offer_id", ["", "job-1", "job-1.", "job-1.x", "job-1.2", ".1", "job-2.1", "job-1.-1"]
)
def test_ids_that_are_no_offer(which: str, offer_id: str) -> None:
    assert scene("ride", "offered").code(answer(which, offer_id=offer_id)) == "offer_gone"


@pytest.mark.parametrize(
    ("late_ms", "code"), [(-5_000, "ok"), (0, "ok"), (1_000, "ok"), (1_001, "offer_gone")]
)
@pytest.mark.parametrize("kind", ["ride", "package"])
def test_an_accept_counts_until_deadline_and_grace(kind: str, late_ms: int, code: str) -> None:
    before = scene(kind, "offered", POLICY)
    now_ms = before.offer.deadline_ms + late_ms
    assert before.code(answer("accept"), now_ms) == code
    if code == "ok":
        decision = before.decide(answer("accept"), now_ms)
        assert decision.latest_ms == before.offer.deadline_ms + 1_000, "and the commit looks again"


@pytest.mark.parametrize("kind", ["ride", "package"])
def test_accepted(kind: str) -> None:
    before = scene(kind, "offered", Policy(otp_required=True))
    decision = before.decide(answer("accept"))
    after = before.after(decision)
    assert (after.job.state, after.job.driver_id, after.job.driver_name) == ("assigned", DEE, "Dee")
    assert (after.job.offer_id, after.job.offered_to, after.job.wake_ms) == (None, None, 0)
    assert (after.job.assigned_ms, after.job.code, after.job.code_tries) == (NOW, CODE, 0)
    assert (after.offer.state, after.offer.ended_ms) == ("accepted", NOW)
    assert after.dee.load == {JOB: 1} and [s.what for s in after.dee.plan] == ["pickup", "dropoff"]
    fact = decision.facts[0]
    assert (fact.room, fact.event, fact.join) == (room(kind), "driver_assigned", (DEE,))
    assert decision.answer["state"] == "assigned" and decision.answer["outcome"] == "accepted"
    secret = [(home(PAT), "notification")] if kind == "ride" else []  # a parcel's is told at the pickup
    assert told(decision)[1:] == secret


def test_a_ride_has_a_code_only_where_the_area_asks_for_one() -> None:
    plain = scene("ride", "offered", Policy(otp_required=False))
    assert plain.run(answer("accept")).job.code == "" and len(plain.decide(answer("accept")).facts) == 1
    assert scene("package", "offered", Policy(otp_required=False)).run(answer("accept")).job.code == CODE


def test_stops_on_the_way_are_planned() -> None:
    stop = a_job("ride", "offered").pickup
    after = scene("ride", "offered", stops=(stop, stop)).run(answer("accept"))
    assert [s.what for s in after.dee.plan] == ["pickup", "stop", "stop", "dropoff"]


@pytest.mark.parametrize("capacity", [1, 4])
def test_a_ride_takes_the_whole_vehicle(capacity: int) -> None:
    after = scene("ride", "offered", driver=a_driver(capacity=capacity)).run(answer("accept"))
    assert after.dee.load == {JOB: capacity} and not after.dee.available


@pytest.mark.parametrize(("capacity", "code"), [(2, "wrong_state"), (3, "ok")])
def test_never_beyond_capacity_though_the_vehicle_shrank_since(capacity: int, code: str) -> None:
    aboard = [a_job("package", "assigned", id=f"job-{n}", code="") for n in (10, 11)]
    courier = carrying(a_driver(capacity=capacity, offer_id=OFFER), *aboard)
    before = world(a_job("package", "offered"), an_offer("package"), courier, *aboard)
    assert before.code(answer("accept")) == code
    if code == "ok":
        after = before.run(answer("accept"))
        assert after.dee.spare == 0 and after.dee.state == "busy"


@pytest.mark.parametrize(("most_kg", "code"), [(29.0, "wrong_state"), (30.0, "ok"), (0.0, "ok")])
def test_nor_beyond_what_the_vehicle_carries(most_kg: float, code: str) -> None:
    of_10_kg = Parcel(size="small", weight_kg=10.0)
    aboard = [a_job("package", "assigned", id=f"job-{n}", code="", parcel=of_10_kg) for n in (10, 11)]
    courier = carrying(a_driver(capacity=9, max_weight_kg=most_kg, offer_id=OFFER), *aboard)
    before = world(a_job("package", "offered", parcel=of_10_kg), an_offer("package"), courier, *aboard)
    assert before.code(answer("accept")) == code
    if code == "ok":
        assert before.run(answer("accept")).dee.load_kg == 30.0


@pytest.mark.parametrize("kind", ["ride", "package"])
def test_declined_searches_on_without_him(kind: str) -> None:
    before = scene(kind, "offered", POLICY, excluded=(DOV,))
    decision = before.decide(answer("decline", reason="too far"))
    after = before.after(decision)
    assert (after.offer.state, after.offer.reason) == ("declined", "too far")
    assert (after.job.state, after.job.excluded, after.job.offers) == ("searching", (DOV, DEE), 1)
    assert after.job.wake_ms == before.job.searching_ms + 180_000, "patience runs on"
    assert after.dee.available and decision.answer["outcome"] == "declined"
    assert told(decision) == [(room(kind), f"{kind}_status_update")], "he knows that he declined"
    assert DEE not in str(decision.facts[0].payload), "the room does not hear who did"


@pytest.mark.parametrize(("offers", "wakes"), [(1, False), (2, False), (3, True)])
def test_a_job_that_was_offered_too_often_is_given_up_at_once(offers: int, wakes: bool) -> None:
    after = scene("ride", "offered", POLICY, offers=offers).run(answer("decline"))
    assert (after.job.wake_ms <= NOW) == wakes


def test_a_booking_is_searched_for_until_its_hour_after_a_decline_too() -> None:
    hour = NOW + 700_000
    before = scene("ride", "offered", POLICY, scheduled_ms=hour, searching_ms=NOW - 200_000)
    assert before.run(answer("decline")).job.wake_ms == hour + 180_000


def test_seen_is_noted_once() -> None:
    before = scene("ride", "offered")
    decision = before.decide(answer("see"))
    assert decision.answer == {"offerId": OFFER, "expiresInMs": 10_000} and not decision.facts
    after = before.after(decision)
    assert after.offer.seen_ms == NOW and after.job == before.job
    again = after.decide(answer("see"), NOW + 30_000)
    assert not again.put and again.answer["expiresInMs"] == 0
