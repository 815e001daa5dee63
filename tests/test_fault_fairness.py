"""The checker of the fault bench is fair: what a fault may cost is no violation, and recovery is measured so."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable

import pytest

from loadtest.faults.checker import GRACE_S, judge, outside, recoveries_s
from loadtest.faults.held import OfferRow
from loadtest.faults.history import NO_ANSWER, Attempt, Broken, Command, Heard, History, Resume, heard_of
from loadtest.faults.report import failures, figures
from loadtest.pace import iso_utc
from loadtest.spoken import spoken_of
from tests.faultkit import (
    DRIVER,
    EPOCH,
    JOB,
    LATER,
    OTHER,
    RIDER,
    SECOND,
    ZERO_S,
    connect,
    fact,
    hear,
    position,
    says,
    sound,
    story,
)  # fmt: skip


def test_a_refused_line_is_kept_as_a_dead_letter() -> None:
    history, held = sound()
    held.refused_lines = set(held.lines)
    held.lines = []
    assert judge(history, held).lost == []


def test_after_a_reconnection_the_snapshot_is_a_new_start() -> None:
    history, held = sound()
    history.links[0].closed_s = ZERO_S + 3.5
    history.heard = [each for each in history.heard if each.link or not each.place or each.place[2] < 4]
    job = {"rideId": JOB, "room": f"ride:{JOB}", "epoch": EPOCH, "seq": 5, "state": "in_progress"}
    link = connect(history, RIDER, ZERO_S + 5.5, jobs=[job | {"driver": {"id": DRIVER}}])
    hear(history, RIDER, link, story()[5])
    position(history, RIDER, link, 5.7)
    verdict = judge(history, held)
    assert (verdict.out_of_order, verdict.foreign) == ([], [])


def test_a_fact_heard_late_because_of_a_fault_is_no_gap_and_one_never_heard_is() -> None:
    history, held = sound()
    ends = [i for i, each in enumerate(history.heard) if each.place and each.place[2] == 6]
    del history.heard[ends[0]]
    history.links[0].closed_s = ZERO_S + 20
    history.faults.append(Broken("redis_stopped", "", ZERO_S + 5, ZERO_S + 18))
    assert judge(history, held).out_of_order == [], "it left too early to have heard of the end"
    history.links[0].closed_s = ZERO_S + 40
    assert judge(history, held).out_of_order


def test_what_a_power_loss_took_is_told_apart() -> None:
    history, held = sound()
    held.places.remove(held.events.pop().place)
    loss = Broken("redis_cut_short", "", ZERO_S + 6.1, ZERO_S + 7, lost_from_s=ZERO_S + 5.9)
    history.faults.append(loss)
    verdict = judge(history, held)
    assert verdict.lost == [] and len(verdict.lost_in_window) == 2
    history.faults[0] = dataclasses.replace(loss, lost_from_s=ZERO_S + 6.5)
    assert judge(history, held).lost


def test_a_driver_whose_job_redis_forgot_may_be_given_another() -> None:
    history, held = sound()
    for part in (held.events, held.places):
        del part[3:6]
    history.commands = history.commands[:5]
    history.heard = [each for each in history.heard if each.place is None or each.place[2] < 4]
    told = [{**each, "epoch": LATER} for each in story(OTHER)]
    for each in told:
        each["timestamp"] = iso_utc(round((ZERO_S + 30 + each["seq"]) * 1000))
    held.events += [spoken for each in told if (spoken := spoken_of(each["event"], each)) is not None]
    assert judge(history, held).double_assignments
    wipe = Broken("redis_wiped", "", ZERO_S + 10, ZERO_S + 11, lost_from_s=ZERO_S + 9, forgot_from_s=1.0)
    history.faults.append(wipe)
    assert judge(history, held).double_assignments == []


def test_a_redis_that_forgot_may_make_another_offer_of_the_same_number_and_go_on_with_a_job_that_had_ended() -> (
    None
):
    history, held = sound()
    offer = {"event": "offer", "room": "user:second", "epoch": LATER, "seq": 1, "offerId": "o-1"}
    link = connect(history, "second")
    hear(history, "second", link, offer | {"kind": "ride", "job": {"rideId": JOB}}, ZERO_S + 12)
    after = fact(1, "new_message", epoch=LATER, id="line-2") | {
        "timestamp": iso_utc(round((ZERO_S + 20) * 1000))
    }
    hear(history, DRIVER, 1, after, ZERO_S + 20)
    verdict = judge(history, held)
    assert verdict.double_assignments and verdict.foreign
    loss = Broken(
        "redis_cut_short", "", ZERO_S + 10, ZERO_S + 11, lost_from_s=ZERO_S + 5.5, forgot_from_s=ZERO_S + 5.5
    )
    history.faults.append(loss)
    verdict = judge(history, held)
    assert (verdict.double_assignments, verdict.foreign) == ([], [])


def test_a_job_goes_on_in_a_new_life() -> None:
    history, held = sound()
    again = [copy.copy(each) for each in story()[4:]]
    for seq, each in enumerate(again, 1):
        each |= {"epoch": LATER, "seq": seq}
    kept = [each for each in held.events if each.seq < 5]
    held.events = kept + [s for each in again if (s := spoken_of(each["event"], each)) is not None]
    held.places = [each.place for each in held.events] + [(f"user:{DRIVER}", EPOCH, 1)]
    history.heard = [each for each in history.heard if each.place is None or each.place[2] < 5]
    for each in again:
        for user, link in ((RIDER, 0), (DRIVER, 1)):
            hear(history, user, link, each, ZERO_S + 10 + each["seq"])
    verdict = judge(history, held)
    assert failures(figures(1, history, held, verdict, [])) == [], verdict


# -- how well it went on


def test_what_is_said_inside_a_window_is_not_counted_outside() -> None:
    closed = [(10.0, 12.0 + GRACE_S)]
    said = [
        Attempt(0, 1.0, 1.1, "ok"),
        Attempt(0, 9.0, 10.5, "no_answer"),
        Attempt(0, 11.0, 11.5, "unavailable"),
        Attempt(0, 13.4, 13.6, "ok"),
        Attempt(0, 15.2, 15.3, "wrong_state"),
        Attempt(0, 15.4, 15.5, "unavailable"),
    ]
    assert outside(said, closed) == {"ok": 1, "unavailable": 1}


@pytest.mark.parametrize(
    ("seen", "recovered", "seqs"),
    [((EPOCH, 3), True, (4, 5, 6)), ((EPOCH, 6), True, ()), ((LATER, 3), False, ()), ((EPOCH, 9), False, ())],
)
def test_an_honest_sync_is_no_violation(
    *, seen: tuple[str, int], recovered: bool, seqs: tuple[int, ...]
) -> None:
    history, held = sound()
    history.resumes.append(Resume(ZERO_S + 9, RIDER, 0, f"ride:{JOB}", seen, EPOCH, 6, recovered, seqs, True))
    assert judge(history, held).out_of_order == []


def another_phone(history: History) -> None:
    says(history, "go_online", 6, link=5, version=8, generation=2)


def off_duty(history: History) -> None:
    says(history, "go_offline", 6.2, version=8)


def a_node_that_was_frozen(history: History) -> None:
    says(history, "go_online", 3, NO_ANSWER, link=5)


def before_it_was_online(history: History) -> None:
    history.commands[-4].attempts[:] = [Attempt(0, ZERO_S + 6.6, ZERO_S + 6.7, "ok", 1)]


def a_wiped_redis(history: History) -> None:
    history.faults.append(Broken("redis_wiped", "", ZERO_S + 5, ZERO_S + 6, ZERO_S + 5, forgot_from_s=1.0))


@pytest.mark.parametrize(
    "ended", [another_phone, off_duty, a_node_that_was_frozen, before_it_was_online, a_wiped_redis]
)
def test_a_lease_may_end_and_who_has_none_is_told_so(ended: Callable[[History], None]) -> None:
    history, held = sound()
    says(history, "location_batch", 6.5, "superseded")
    assert judge(history, held).lost
    ended(history)
    assert judge(history, held).lost == []


@pytest.mark.parametrize(("again_s", "outcome"), [(8.5, "ok"), (7.0, NO_ANSWER)])
def test_who_asks_for_work_again_may_be_offered_some(again_s: float, outcome: str) -> None:
    history, held = sound()
    held.offers.append(OfferRow("o-2", "expired", DRIVER, OTHER, round((ZERO_S + 9) * 1000)))
    assert judge(history, held).lost
    says(history, "go_online", again_s, outcome, version=9, generation=2)
    assert judge(history, held).lost == []


def test_what_was_refused_of_a_batch_need_not_be_there() -> None:
    history, held = sound()
    says(history, "location_batch", 7.2, kept=0, refused={"teleport": 2})
    assert judge(history, held).lost == []


def test_recovery_is_that_of_the_slowest_node() -> None:
    history = History(faults=[Broken("link_cut", "x", 10.0, 11.0)])
    said = [Attempt(0, 10.9, 11.4, "ok"), Attempt(0, 11.2, 11.3, "ok"), Attempt(1, 11.5, 13.0, "ok")]
    history.commands.append(Command("u", "e", {}, attempts=said))
    assert recoveries_s(history) == ({"link_cut": 2.0}, 2.0)
    history.faults.append(Broken("node_killed", "y", 12.0, 14.0))
    history.commands[0].attempts += [Attempt(0, 14.1, 14.2, "ok"), Attempt(1, 14.1, 14.3, "ok")]
    assert recoveries_s(history) == ({"node_killed": pytest.approx(0.3)}, pytest.approx(0.3))


def test_a_heard_event_keeps_what_the_checkers_ask() -> None:
    shot = {
        "rideId": JOB,
        "room": "ride:x",
        "epoch": "e",
        "seq": 4,
        "state": "arrived",
        "driver": {"id": DRIVER},
    }
    heard: Heard = heard_of(1.0, RIDER, 3, "joined_ride", shot)
    assert [(s.place, s.driver, s.state) for s in heard.stands] == [(("ride:x", "e", 4), DRIVER, "arrived")]


def test_who_is_given_a_job_again_hears_on_from_there() -> None:
    """While nobody had it, it went on without him; its owner was there throughout."""
    history, held = sound()
    link = connect(history, SECOND)
    for seq, driver in ((2, SECOND), (3, None), (5, SECOND)):
        event, state = ("driver_assigned", "assigned") if driver else ("ride_status_update", "searching")
        hear(history, SECOND, link, fact(seq, event, OTHER, version=seq, state=state, driverId=driver))
    assert judge(history, held).out_of_order == []
    history.owners[OTHER] = SECOND
    assert judge(history, held).out_of_order
