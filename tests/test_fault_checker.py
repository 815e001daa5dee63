"""The checker of the fault bench can fail: whatever is planted in a sound history, it finds, and nothing else."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from loadtest.faults.checker import GRACE_S, judge, outside, recoveries_s
from loadtest.faults.held import Held, OfferRow
from loadtest.faults.history import Attempt, Broken, Command, Heard, History, heard_of
from loadtest.faults.report import MUST_BE_ZERO, failures, figures
from loadtest.geo import Point
from loadtest.pace import iso_utc
from loadtest.spoken import spoken_of

ZERO_S = 1_800_000_000.0
JOB, OTHER = "job-1", "job-2"
RIDER, DRIVER, SECOND, STRANGER = "rider", "driver", "second", "stranger"
EPOCH, LATER = "main.1.aaaaaa", "main.2.bbbbbb"
HERE = Point(49.99, 36.23)

Plant = Callable[[History, Held], None]


def fact(seq: int, event: str, job: str = JOB, epoch: str = EPOCH, **more: Any) -> dict[str, Any]:
    at = {"room": f"ride:{job}", "epoch": epoch, "seq": seq, "rideId": job}
    return {"event": event, **at, "timestamp": iso_utc(round((ZERO_S + seq) * 1000)), **more}


def story(job: str = JOB, driver: str = DRIVER) -> list[dict[str, Any]]:
    """A ride from the request to its end, second by second, as its room tells it."""
    steps = [
        ("ride_status_update", "searching", None),
        ("driver_assigned", "assigned", driver),
        ("new_message", "", None),
        ("ride_status_update", "arrived", driver),
        ("ride_status_update", "in_progress", driver),
        ("ride_status_update", "completed", driver),
    ]
    told = []
    for number, (event, state, who) in enumerate(steps, 1):
        more = {"id": f"line-{job}"} if event == "new_message" else {"state": state, "driverId": who}
        told.append(fact(number, event, job, version=0 if event == "new_message" else number, **more))
    return told


def hear(history: History, user: str, link: int, said: dict[str, Any], at_s: float = 0.0) -> None:
    payload = {key: value for key, value in said.items() if key != "event"}
    when_s = at_s or ZERO_S + said.get("seq", 0) + 0.01
    history.heard.append(heard_of(when_s, user, link, said["event"], payload))


def connect(history: History, user: str, at_s: float = ZERO_S, **stands: Any) -> int:
    link = history.opened(user, 0)
    link.opened_s, link.closed_s = at_s, ZERO_S + 60
    greeting = {"room": f"user:{user}", "epoch": EPOCH, "seq": 0, **stands}
    hear(history, user, link.number, {"event": "connected", **greeting}, at_s)
    return link.number


def ack(history: History, user: str, event: str, at: float, **payload: Any) -> Command:
    command = history.asked(user, event, payload)
    command.attempts.append(Attempt(0, ZERO_S + at, ZERO_S + at + 0.01, "ok"))
    command.outcome, command.answer = "ok", {"ok": True, "rideId": JOB}
    return command


def sound() -> tuple[History, Held]:
    """One ride as it should be: what its people said and heard, and what PostgreSQL holds."""
    history, told = History(), story()
    rider, driver = connect(history, RIDER), connect(history, DRIVER)
    ack(history, RIDER, "request_ride", 1, rideId=JOB)
    offer = {"offerId": "o-1", "kind": "ride", "job": {"rideId": JOB}}
    hear(
        history,
        DRIVER,
        driver,
        {"event": "offer", "room": f"user:{DRIVER}", "epoch": EPOCH, "seq": 1} | offer,
    )
    ack(history, DRIVER, "accept_offer", 2, offerId="o-1")
    for each in told:
        hear(history, RIDER, rider, each)
        if each["seq"] > 1:
            hear(history, DRIVER, driver, each)
    ack(history, RIDER, "send_message", 3, rideId=JOB, id=f"line-{JOB}")
    ack(history, DRIVER, "message_read", 3.5, rideId=JOB, messageId=f"line-{JOB}")
    for seq, state in ((4, "arrived"), (5, "in_progress"), (6, "completed")):
        ack(history, DRIVER, "ride_status_update", seq, rideId=JOB, status=state)
    history.ended_s = ZERO_S + 60
    events = [spoken for each in told if (spoken := spoken_of(each["event"], each)) is not None]
    held = Held(
        jobs=[(JOB, "completed", DRIVER)],
        places=[each.place for each in events] + [(f"user:{DRIVER}", EPOCH, 1)],
        events=events,
        lines=[(JOB, f"line-{JOB}")],
        reads={(JOB, DRIVER)},
        offers=[OfferRow("o-1", "accepted", DRIVER, JOB)],
    )
    return history, held


def position(history: History, user: str, link: int, at_s: float, sender: str | None = DRIVER) -> None:
    stamp = iso_utc(round((ZERO_S + at_s) * 1000))
    if sender:
        history.fix(sender, stamp, HERE)
    where = {"latitude": HERE.latitude, "longitude": HERE.longitude, "timestamp": stamp}
    said = {"event": "driver_location", "rideId": JOB, **where}
    heard = heard_of(ZERO_S + at_s, user, link, "driver_location", said)
    before = [i for i, each in enumerate(history.heard) if each.link == link and each.at_s <= heard.at_s]
    history.heard.insert(before[-1] + 1, heard)


def test_a_sound_run_is_found_sound() -> None:
    history, held = sound()
    position(history, RIDER, 0, 4.5)
    verdict = judge(history, held)
    line = figures(7, history, held, verdict, [])
    assert failures(line) == [], line["examples"]
    assert (line["acked"], line["assignments"]) == (7, 1)


# -- one planted violation each


def rows_gone(part: str) -> Plant:
    return lambda history, held: setattr(held, part, type(getattr(held, part))())


def event_gone(history: History, held: Held) -> None:
    gone = held.events.pop(3)
    held.places.remove(gone.place)


def last_event_gone(history: History, held: Held) -> None:
    gone = held.events.pop()
    held.places.remove(gone.place)


def hole_nobody_heard(history: History, held: Held) -> None:
    held.places.append((f"ride:{JOB}", EPOCH, 8))


def another_won(history: History, held: Held) -> None:
    held.offers = [OfferRow("o-1", "accepted", SECOND, JOB)]


def acked_and_undone(history: History, held: Held) -> None:
    ack(history, DRIVER, "decline_offer", 2, offerId="o-1")


def cancel_forgotten(history: History, held: Held) -> None:
    ack(history, RIDER, "cancel_ride", 3, rideId=JOB)


def twice(part: str) -> Plant:
    return lambda history, held: getattr(held, part).append(getattr(held, part)[0])


def said_under_two_numbers(history: History, held: Held) -> None:
    again = held.events[-1]._replace(seq=7)
    held.events.append(again)
    held.places.append(again.place)


def heard_twice(history: History, held: Held) -> None:
    history.heard.append(history.heard[-1])


def missed_one(history: History, held: Held) -> None:
    del history.heard[next(i for i, each in enumerate(history.heard) if each.event == "new_message")]


def swapped(history: History, held: Held) -> None:
    mine = [i for i, each in enumerate(history.heard) if each.link == 0 and each.place is not None]
    a, b = mine[3], mine[4]
    history.heard[a], history.heard[b] = history.heard[b], history.heard[a]


def missed_the_end(history: History, held: Held) -> None:
    ends = [i for i, each in enumerate(history.heard) if each.place and each.place[2] == 6]
    del history.heard[ends[0]]


def came_into_the_middle(history: History, held: Held) -> None:
    link = connect(history, RIDER, ZERO_S + 3.5)
    for said in story()[3:]:
        hear(history, RIDER, link, said)


def new_life_from_its_middle(history: History, held: Held) -> None:
    late = fact(2, "new_message", epoch=LATER, id="line-2")
    hear(history, RIDER, 0, late | {"timestamp": iso_utc(round((ZERO_S + 20) * 1000))})


def told_another_story(history: History, held: Held) -> None:
    mine = next(i for i, each in enumerate(history.heard) if each.event == "driver_assigned")
    said = history.heard[mine].said
    assert said is not None
    history.heard[mine] = history.heard[mine]._replace(said=said._replace(driver=SECOND))


def history_tells_another(history: History, held: Held) -> None:
    held.events[4] = held.events[4]._replace(state="no_show")


def stranger_heard(history: History, held: Held) -> None:
    link = connect(history, STRANGER, jobs=[{"rideId": JOB, "room": f"ride:{JOB}", "epoch": EPOCH, "seq": 3}])
    hear(history, STRANGER, link, story()[3])


def driver_heard_before_his_part(history: History, held: Held) -> None:
    link = connect(history, DRIVER)
    hear(history, DRIVER, link, story()[0])


def heard_anothers_own_room(history: History, held: Held) -> None:
    said = {"event": "offer_withdrawn", "room": f"user:{DRIVER}", "epoch": EPOCH, "seq": 1, "offerId": "o-1"}
    link = connect(history, STRANGER, jobs=[{"room": f"user:{DRIVER}", "epoch": EPOCH, "seq": 0}])
    hear(history, STRANGER, link, said)


def code_to_the_driver(history: History, held: Held) -> None:
    said = {"event": "notification", "type": "ride_code", "data": {"rideId": JOB, "code": "1"}}
    hear(history, DRIVER, 1, said, ZERO_S + 3)


def position_after_the_end(history: History, held: Held) -> None:
    position(history, RIDER, 0, 9)


def position_before_the_assignment(history: History, held: Held) -> None:
    position(history, RIDER, 0, 1.5)


def position_of_another(history: History, held: Held) -> None:
    position(history, RIDER, 0, 4.5, sender=SECOND)


def position_of_nobody(history: History, held: Held) -> None:
    position(history, RIDER, 0, 4.5, sender=None)


def position_to_a_stranger(history: History, held: Held) -> None:
    job = {"rideId": JOB, "room": f"ride:{JOB}", "epoch": EPOCH, "seq": 6}
    standing = job | {"state": "assigned", "driver": {"id": DRIVER}}
    position(history, STRANGER, connect(history, STRANGER, jobs=[standing]), 5)


def second_driver(history: History, held: Held) -> None:
    taken = spoken_of("driver_assigned", fact(7, "", state="assigned", version=9, driverId=SECOND))
    before = held.events[4]
    assert taken is not None
    both = [before._replace(seq=6), taken._replace(at_ms=before.at_ms + 1)]
    held.events[-1:] = both
    held.places += [each.place for each in both]
    history.heard = [each for each in history.heard if each.place is None or each.place[2] < 6]


def second_job(history: History, held: Held) -> None:
    more = [spoken for each in story(OTHER) if (spoken := spoken_of(each["event"], each)) is not None]
    held.events += more
    held.places += [each.place for each in more]
    held.jobs.append((OTHER, "completed", DRIVER))


def offered_to_two(history: History, held: Held) -> None:
    link = connect(history, SECOND)
    offer = {"event": "offer", "room": f"user:{SECOND}", "epoch": EPOCH, "seq": 1, "offerId": "o-1"}
    hear(history, SECOND, link, offer | {"kind": "ride", "job": {"rideId": JOB}})
    held.places.append((f"user:{SECOND}", EPOCH, 1))


def won_by_two(history: History, held: Held) -> None:
    ack(history, SECOND, "accept_offer", 2, offerId="o-1")


PLANTED: list[tuple[str, Plant]] = [
    *(("lost", rows_gone(part)) for part in ("jobs", "lines", "reads", "offers")),
    *(("lost", plant) for plant in (event_gone, last_event_gone, hole_nobody_heard)),
    *(("lost", plant) for plant in (another_won, acked_and_undone, cancel_forgotten)),
    *(("duplicated", twice(part)) for part in ("jobs", "lines", "offers", "places")),
    ("duplicated", said_under_two_numbers),
    *(("out_of_order", plant) for plant in (heard_twice, missed_one, swapped, missed_the_end)),
    *(("out_of_order", plant) for plant in (came_into_the_middle, new_life_from_its_middle)),
    *(("out_of_order", plant) for plant in (told_another_story, history_tells_another)),
    *(
        ("foreign", plant)
        for plant in (stranger_heard, driver_heard_before_his_part, heard_anothers_own_room)
    ),
    *(("foreign", plant) for plant in (code_to_the_driver, position_after_the_end, position_of_another)),
    *(("foreign", plant) for plant in (position_before_the_assignment, position_of_nobody)),
    ("foreign", position_to_a_stranger),
    *(("double_assignments", plant) for plant in (second_driver, second_job, offered_to_two, won_by_two)),
]


@pytest.mark.parametrize(("promise", "plant"), PLANTED)
def test_a_planted_violation_is_found(promise: str, plant: Plant) -> None:
    history, held = sound()
    plant(history, held)
    verdict = judge(history, held)
    assert getattr(verdict, promise), f"{plant.__name__} was not found: {verdict}"


@pytest.mark.parametrize("name", MUST_BE_ZERO)
def test_a_run_with_one_broken_promise_is_not_held(name: str) -> None:
    history, held = sound()
    line = figures(1, history, held, judge(history, held), [])
    assert failures(line | {name: 1}) == [f"{name} is 1, not 0"]


def test_too_few_answers_outside_the_windows_are_not_held() -> None:
    history, held = sound()
    line = figures(1, history, held, judge(history, held), [])
    assert failures(line | {"acked_share_outside_windows": 0.998})


def test_a_run_in_which_nothing_happened_proves_nothing() -> None:
    assert failures(figures(1, History(), Held(), judge(History(), Held()), []))


# -- what is no violation


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
    missed_the_end(history, held)
    history.links[0].closed_s = ZERO_S + 20
    history.faults.append(Broken("redis_stopped", "", ZERO_S + 5, ZERO_S + 18))
    assert judge(history, held).out_of_order == [], "it left too early to have heard of the end"
    history.links[0].closed_s = ZERO_S + 40
    assert judge(history, held).out_of_order


def test_what_a_power_loss_took_is_told_apart() -> None:
    history, held = sound()
    last_event_gone(history, held)
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
        Attempt(0, 14.9, 15.1, "ok"),
        Attempt(0, 15.2, 15.3, "wrong_state"),
        Attempt(0, 15.4, 15.5, "unavailable"),
    ]
    assert outside(said, closed) == {"ok": 1, "unavailable": 1}


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
