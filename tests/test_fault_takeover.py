"""The checker of the fault bench and a job that another driver took over: what is sound is found sound, else wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from loadtest.faults.checker import judge
from loadtest.faults.held import DriverRow, Held, OfferRow
from loadtest.faults.history import Broken, History
from loadtest.faults.report import failures, figures
from loadtest.pace import iso_utc
from loadtest.spoken import double_assignments, spoken_of
from tests.faultkit import (
    DRIVER,
    EPOCH,
    JOB,
    LATER,
    RIDER,
    SECOND,
    ZERO_S,
    ack,
    connect,
    fact,
    hear,
    position,
)  # fmt: skip

Said = dict[str, Any]
STEPS = (
    ("ride_status_update", "searching", None),
    ("driver_assigned", "assigned", DRIVER),
    ("driver_assigned", "assigned", SECOND),
    ("ride_status_update", "arrived", SECOND),
    ("ride_status_update", "in_progress", SECOND),
    ("ride_status_update", "completed", SECOND),
)
TAKEN = 3


def told() -> list[Said]:
    """One driver is on his way, another takes the ride over and carries it out."""
    said = [
        fact(number, event, state=state, version=number, driverId=who)
        for number, (event, state, who) in enumerate(STEPS, 1)
    ]
    said[TAKEN - 1]["takenOver"] = True
    return said


def run(said: list[Said]) -> tuple[History, Held]:
    history = History()
    links = {user: connect(history, user) for user in (RIDER, DRIVER, SECOND)}
    ack(history, RIDER, "request_ride", 1, rideId=JOB)
    for user, at, offer in ((DRIVER, 2, "o-1"), (SECOND, TAKEN, "o-2")):
        room = {"room": f"user:{user}", "epoch": EPOCH, "seq": 1}
        offered = {"event": "offer", "offerId": offer, "kind": "ride", "job": {"rideId": JOB}}
        hear(history, user, links[user], offered | room)
        ack(history, user, "accept_offer", at, offerId=offer)
    for each in said:
        hear(history, RIDER, links[RIDER], each)
        if 2 <= each["seq"] < TAKEN:
            hear(history, DRIVER, links[DRIVER], each)
        if each["seq"] >= TAKEN:
            hear(history, SECOND, links[SECOND], each)
    history.ended_s = ZERO_S + 60
    events = [spoken for each in said if (spoken := spoken_of(each["event"], each)) is not None]
    held = Held(
        jobs=[(JOB, "completed", SECOND)],
        places=[each.place for each in events] + [(f"user:{who}", EPOCH, 1) for who in (DRIVER, SECOND)],
        events=events,
        offers=[OfferRow("o-1", "accepted", DRIVER, JOB), OfferRow("o-2", "accepted", SECOND, JOB)],
        drivers={each: DriverRow("idle", 9) for each in (DRIVER, SECOND)},
    )
    return history, held


def test_a_takeover_is_sound() -> None:
    history, held = run(told())
    position(history, RIDER, 0, 2.5, DRIVER)
    position(history, RIDER, 0, 3.5, SECOND)
    verdict = judge(history, held)
    assert failures(figures(7, history, held, verdict, [])) == []
    assert (verdict.assignments, verdict.takeovers) == (2, 1)
    assert double_assignments(held.events) == 0


def unsaid(said: list[Said]) -> None:
    del said[TAKEN - 1]["takenOver"]


def from_nobody(said: list[Said]) -> None:
    said[TAKEN - 2].update(event="ride_status_update", state="searching", driverId=None)


def from_one_who_is_there(said: list[Said]) -> None:
    said[TAKEN - 2].update(event="ride_status_update", state="arrived")


def twice(said: list[Said]) -> None:
    said[TAKEN].update(event="driver_assigned", state="assigned", driverId="third", takenOver=True)


@pytest.mark.parametrize("plant", [unsaid, from_nobody, from_one_who_is_there, twice])
def test_a_wrong_takeover_is_found(plant: Callable[[list[Said]], None]) -> None:
    said = told()
    plant(said)
    verdict = judge(*run(said))
    assert verdict.double_assignments, f"{plant.__name__} was not found: {verdict}"
    if plant is unsaid:
        events = [each for one in said if (each := spoken_of(one["event"], one)) is not None]
        assert double_assignments(events) == 1


def test_the_first_driver_who_hears_on_is_found() -> None:
    history, held = run(told())
    hear(history, DRIVER, 1, told()[TAKEN])
    assert judge(history, held).foreign


def test_the_first_driver_who_hears_who_has_it_now_is_found() -> None:
    history, held = run(told())
    hear(history, DRIVER, 1, told()[TAKEN - 1])
    assert judge(history, held).foreign


def test_where_the_first_driver_is_afterwards_is_found() -> None:
    history, held = run(told())
    position(history, RIDER, 0, 3.5, DRIVER)
    assert judge(history, held).foreign


def test_he_may_be_given_it_again_by_hand_and_hears_on_from_there() -> None:
    said = [*told()[:TAKEN], fact(4, "ride_status_update", state="searching", version=4, driverId=None)]
    said += [
        fact(5, "driver_assigned", state="assigned", version=5, driverId=DRIVER),
        fact(6, "ride_status_update", state="completed", version=6, driverId=DRIVER),
    ]
    history, held = run(said[:TAKEN])
    for each in said[TAKEN:]:
        hear(history, RIDER, 0, each)
        if each["seq"] == TAKEN + 1:
            hear(history, SECOND, 2, each)
        else:
            hear(history, DRIVER, 1, each)
    held.events = [spoken for each in said if (spoken := spoken_of(each["event"], each)) is not None]
    held.places += [each.place for each in held.events[TAKEN:]]
    held.jobs = [(JOB, "completed", DRIVER)]
    assert failures(figures(7, history, held, judge(history, held), [])) == []


def test_a_takeover_that_redis_forgot_may_be_done_again() -> None:
    """The first driver has it again in the next life, or a third takes it over from him: nothing is double."""
    for who in (DRIVER, "third"):
        said = told()[:TAKEN]
        later = fact(1, "driver_assigned", epoch=LATER, state="assigned", version=7, driverId=who)
        if who == "third":
            later["takenOver"] = True
        later["timestamp"] = iso_utc(round((ZERO_S + 9) * 1000))
        history, held = run(said)
        forgot = Broken("redis_cut_short", "redis", ZERO_S + 5, ZERO_S + 5.5)
        history.faults.append(forgot)
        hear(history, RIDER, 0, later, ZERO_S + 9)
        held.events += [spoken for each in [later] if (spoken := spoken_of(each["event"], each)) is not None]
        assert judge(history, held).double_assignments, "a Redis that forgot nothing did that"
        forgot.forgot_from_s = forgot.lost_from_s = ZERO_S + 2.5
        assert not judge(history, held).double_assignments
