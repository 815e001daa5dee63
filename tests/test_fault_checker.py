"""The checker of the fault bench can fail: whatever is planted in a sound history, it finds."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from loadtest.faults.checker import judge
from loadtest.faults.held import DriverRow, Held, OfferRow
from loadtest.faults.history import History, Resume
from loadtest.faults.report import MUST_BE_ZERO, failures, figures, least
from loadtest.pace import iso_utc
from loadtest.spoken import spoken_of
from tests.faultkit import (
    DRIVER,
    EPOCH,
    HERE,
    JOB,
    LATER,
    OTHER,
    RIDER,
    SECOND,
    STRANGER,
    ZERO_S,
    ack,
    connect,
    fact,
    hear,
    position,
    says,
    sound,
    story,
)  # fmt: skip

Plant = Callable[[History, Held], None]


def test_a_sound_run_is_found_sound() -> None:
    history, held = sound()
    position(history, RIDER, 0, 4.5)
    verdict = judge(history, held)
    line = figures(7, history, held, verdict, [])
    assert failures(line) == [], line["examples"]
    assert (line["acked"], line["assignments"]) == (11, 1)


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


def seen_and_forgotten(history: History, held: Held) -> None:
    held.offers = [each._replace(seen=False) for each in held.offers]


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


def position_in_a_snapshot_of_another(history: History, held: Held) -> None:
    position(history, RIDER, 0, 4.5, sender=SECOND, event="joined_ride")


def position_of_long_before(history: History, held: Held) -> None:
    position(history, RIDER, 0, 4.5, taken_s=-30)


def position_in_a_sync_of_long_before(history: History, held: Held) -> None:
    stamp = iso_utc(round((ZERO_S - 30) * 1000))
    history.fix(DRIVER, stamp, HERE)
    where = {"rideId": JOB, "latitude": HERE.latitude, "longitude": HERE.longitude, "timestamp": stamp}
    room = f"ride:{JOB}"
    job = {"rideId": JOB, "state": "assigned", "driver": {"id": DRIVER}}
    last = {"job": job, "position": where}
    told = {"room": room, "epoch": EPOCH, "seq": 6, "recovered": True, "events": [], "last": last}
    history.resumed(history.links[0], [[room, EPOCH, 6]], {"rooms": [told]})


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


# -- what drivers were promised


def fix_gone(history: History, held: Held) -> None:
    held.fixes.popitem()


def batch_answered_otherwise(history: History, held: Held) -> None:
    says(history, "location_batch", 7.2, kept=1, refused={})


def fix_twice(history: History, held: Held) -> None:
    held.fixes[next(iter(held.fixes))] += 1


def shift_gone(history: History, held: Held) -> None:
    held.drivers[DRIVER] = DriverRow("idle", 8)


def driver_gone(history: History, held: Held) -> None:
    held.drivers.clear()


def offered_off_duty(history: History, held: Held) -> None:
    held.offers.append(OfferRow("o-2", "expired", DRIVER, OTHER, round((ZERO_S + 9) * 1000)))


def online_and_not_online(history: History, held: Held) -> None:
    says(history, "location_batch", 6.5, "wrong_state")


def online_and_superseded_by_nobody(history: History, held: Held) -> None:
    says(history, "go_online", 5, link=2, by=SECOND)
    says(history, "location_batch", 6.5, "superseded")


def lease_twice(history: History, held: Held) -> None:
    says(history, "go_online", 4, link=3, version=4, generation=1)


def resumed(seen: tuple[str, int], recovered: bool, seqs: tuple[int, ...], whole: bool = True) -> Plant:
    def plant(history: History, held: Held) -> None:
        at = (ZERO_S + 9, RIDER, 0, f"ride:{JOB}", seen, EPOCH, 6)
        history.resumes.append(Resume(*at, recovered, seqs, whole))

    return plant


PLANTED: list[tuple[str, Plant]] = [
    *(("lost", rows_gone(part)) for part in ("jobs", "lines", "reads", "offers")),
    *(("lost", plant) for plant in (event_gone, last_event_gone, hole_nobody_heard)),
    *(("lost", plant) for plant in (another_won, seen_and_forgotten, acked_and_undone, cancel_forgotten)),
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
    ("foreign", position_in_a_snapshot_of_another),
    ("foreign", position_of_long_before),
    ("foreign", position_in_a_sync_of_long_before),
    *(("foreign", plant) for plant in (position_before_the_assignment, position_of_nobody)),
    ("foreign", position_to_a_stranger),
    *(("lost", plant) for plant in (fix_gone, batch_answered_otherwise, shift_gone, driver_gone)),
    *(
        ("lost", plant)
        for plant in (offered_off_duty, online_and_not_online, online_and_superseded_by_nobody)
    ),
    *(("duplicated", plant) for plant in (fix_twice, lease_twice)),
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


FLOORS = least(10, 30, ["node_killed"])
ENOUGH = {"acked": 20_000, "assignments": 500, "takeovers": 50, "faults": 100}


@pytest.mark.parametrize("few", ["acked", "assignments", "takeovers", "faults", "kind node_killed"])
def test_a_run_in_which_too_little_happened_is_not_held(few: str) -> None:
    history, held = sound()
    line = (
        figures(1, history, held, judge(history, held), [])
        | ENOUGH
        | {"least": FLOORS, "kinds": {"node_killed": 3}}
    )
    assert failures(line) == []
    fewer = {"kinds": {"node_killed": 2}} if few.startswith("kind") else {few: ENOUGH[few] - 1}
    assert [each.split(" is ")[0] for each in failures(line | fewer)] == [few]


def test_a_shorter_run_and_a_smaller_town_need_less() -> None:
    assert least(0.3, 8, ["node_killed"]) == {
        "acked": 160,
        "assignments": 4,
        "takeovers": 0,
        "faults": 3,
        "kind node_killed": 0,
    }
    assert least(3, 60, ["link_cut"]) == {
        "acked": 6_000,
        "assignments": 150,
        "takeovers": 15,
        "faults": 30,
        "kind link_cut": 0,
    }
    assert least(30, 30, ["link_cut"])["kind link_cut"] == 9


def test_a_command_without_an_outcome_is_not_held() -> None:
    history, held = sound()
    history.commands[0].outcome = ""
    line = figures(1, history, held, judge(history, held), [])
    assert "unsettled is 1, not 0" in failures(line)


def test_a_run_in_which_nothing_happened_proves_nothing() -> None:
    assert failures(figures(1, History(), Held(), judge(History(), Held()), []))
