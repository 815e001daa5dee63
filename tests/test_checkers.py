"""The replay's checkers can fail: whatever is broken in a sound log, they find it."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from loadtest.accounting import counters, increase
from loadtest.geo import Point
from loadtest.ledger import Ledger
from loadtest.pace import iso_utc
from loadtest.report import MUST_BE_ZERO, failures
from loadtest.spoken import Spoken, double_assignments, holdings, spoken_of
from loadtest.verify import Held, judge

HERE = Point(37.77, -122.42)
JOB, OTHER = "job-1", "job-2"


def room_says(seq: int, event: str, job: str = JOB, **more: Any) -> dict[str, Any]:
    stamp = iso_utc(1_800_000_000_000 + seq * 1000)
    return (
        {"room": f"ride:{job}", "epoch": "main-1", "seq": seq, "rideId": job, "timestamp": stamp}
        | {"event": event}
        | more
    )


def story(job: str = JOB, driver: str = "driver", from_seq: int = 1) -> list[dict[str, Any]]:
    """A ride from the request to its end, as its room tells it."""
    states: list[tuple[str, str, str | None]] = [
        ("ride_status_update", "searching", None),
        ("driver_assigned", "assigned", driver),
        ("ride_status_update", "arrived", driver),
        ("ride_status_update", "in_progress", driver),
        ("ride_status_update", "completed", driver),
    ]
    return [
        room_says(from_seq + i, event, job, state=state, version=i + 1, driverId=who)
        for i, (event, state, who) in enumerate(states)
    ]


def tell(ledger: Ledger, user: str, said: dict[str, Any]) -> None:
    ledger.heard(user, said["event"], {key: value for key, value in said.items() if key != "event"})


def spoken(said: list[dict[str, Any]]) -> list[Spoken]:
    return [each for one in said if (each := spoken_of(one["event"], one)) is not None]


async def sound_run() -> tuple[Ledger, Held]:
    """One ride as it should be: what its two phones were told, and what history holds."""
    ledger, said = Ledger(), story()
    ledger.ask(JOB, "passenger", HERE, 100.0)
    ledger.asked("passenger", JOB)
    ledger.told("passenger", "request_ride", {"rideId": JOB}, {"ok": True})
    ledger.heard("driver", "offer", {"offerId": "o1", "kind": "ride", "job": {"rideId": JOB}})
    tell(ledger, "passenger", said[0])
    ledger.accepted("driver", JOB, HERE, HERE)
    for each in said[1:]:
        tell(ledger, "driver", each)
        tell(ledger, "passenger", each)
    for state in ("arrived", "in_progress", "completed"):
        ledger.told("driver", "ride_status_update", {"rideId": JOB, "status": state}, {"ok": True})
    ledger.told("driver", "send_message", {"rideId": JOB, "id": "line-1"}, {"ok": True})
    held = Held(jobs=[(JOB, "completed")], events=spoken(said), lines=[(JOB, "line-1")], offers=["o1"])
    return ledger, held


def position(ledger: Ledger, user: str, sender: str = "driver", job: str = JOB) -> None:
    stamp = iso_utc(1_800_000_000_000 + ledger.counts["fixes_real"])
    ledger.fix_sent(sender, stamp, HERE, False)
    where = {"latitude": HERE.latitude, "longitude": HERE.longitude}
    ledger.heard(user, "driver_location", {"rideId": job, "timestamp": stamp, **where})


async def test_a_sound_run_is_found_sound() -> None:
    ledger, held = await sound_run()
    found = judge(ledger, held)
    assert (found.lost, found.duplicated, found.untold, found.double_assignments) == (0, 0, 0, 0), (
        found.examples
    )
    assert (ledger.doubled(), ledger.leaked(), ledger.gaps, ledger.heard_differently) == (0, 0, 0, 0)
    assert found.rows == 8


@pytest.mark.parametrize("part", ["jobs", "events", "lines", "offers"])
async def test_a_lost_row_is_found(part: str) -> None:
    ledger, held = await sound_run()
    setattr(held, part, getattr(held, part)[:-1])
    assert judge(ledger, held).lost > 0


@pytest.mark.parametrize("part", ["jobs", "events", "lines", "offers"])
async def test_a_row_twice_is_found(part: str) -> None:
    ledger, held = await sound_run()
    setattr(held, part, [*getattr(held, part), getattr(held, part)[-1]])
    assert judge(ledger, held).duplicated > 0


async def test_the_same_thing_said_twice_under_two_numbers_is_found() -> None:
    ledger, held = await sound_run()
    again = held.events[-1]._replace(seq=6)
    assert judge(ledger, dataclasses.replace(held, events=[*held.events, again])).duplicated == 1


async def test_an_altered_row_is_found() -> None:
    ledger, held = await sound_run()
    altered = [*held.events[:-1], held.events[-1]._replace(driver="somebody else")]
    assert judge(ledger, dataclasses.replace(held, events=altered)).lost == 1


async def test_a_row_that_nobody_was_told_of_is_found() -> None:
    ledger, held = await sound_run()
    assert judge(ledger, dataclasses.replace(held, lines=[*held.lines, (JOB, "line-2")])).untold == 1


async def test_positions_that_were_believed_and_not_stored_are_found() -> None:
    ledger, held = await sound_run()
    assert judge(ledger, dataclasses.replace(held, locations=100_000), 100_000).positions_missing == 0
    assert judge(ledger, dataclasses.replace(held, locations=3), 100_000).positions_missing == 99_997


@pytest.mark.parametrize("name", MUST_BE_ZERO)
def test_a_replay_with_one_broken_promise_is_not_held(name: str) -> None:
    line: dict[str, Any] = dict.fromkeys(MUST_BE_ZERO, 0) | {
        "brute_force": {"matched_share": 1.0},
        "matched_share": 1.0,
        "pickup_m": {"mean": 100.0},
        "nearest_pickup_m": {"mean": 100.0},
    }
    assert failures(line) == []
    assert failures(line | {name: 1}) == [f"{name} is 1, not 0"]


def test_the_promises_about_rows_are_among_those() -> None:
    assert {"lost", "untold_rows", "positions_missing"} <= set(MUST_BE_ZERO)


async def test_an_acknowledged_change_that_never_happened_is_lost() -> None:
    ledger, held = await sound_run()
    ledger.told("driver", "ride_status_update", {"rideId": JOB, "status": "no_show"}, {"ok": True})
    assert judge(ledger, held).lost == 1


async def test_the_same_event_twice_on_one_socket_and_a_gap_are_found() -> None:
    ledger, held = await sound_run()
    tell(ledger, "passenger", story()[-1])
    assert judge(ledger, held).duplicated == 1
    tell(ledger, "passenger", room_says(9, "new_message", id="x"))
    assert ledger.gaps == 1


async def test_a_room_that_tells_two_stories_is_found() -> None:
    ledger, _ = await sound_run()
    tell(ledger, "admin", story(driver="somebody else")[1])
    assert ledger.heard_differently == 1


def test_two_drivers_on_one_job_are_found() -> None:
    said = story()
    said.insert(3, room_says(4, "driver_assigned", state="assigned", version=9, driverId="second"))
    for seq, each in enumerate(said, 1):
        each["seq"] = seq
    assert double_assignments(spoken(said)) >= 1


def test_a_driver_with_two_jobs_at_a_time_is_found() -> None:
    assert double_assignments(spoken([*story(JOB), *story(OTHER)])) == 1
    assert double_assignments(spoken([*story(JOB), *story(OTHER, from_seq=5)])) == 0
    assert double_assignments(spoken([*story(JOB), *story(OTHER, driver="second")])) == 0


def test_a_job_handed_on_is_not_a_double_assignment() -> None:
    taken_away = room_says(3, "ride_status_update", state="searching", version=3, driverId=None)
    handed_on = [*story()[:2], taken_away, *story(driver="second", from_seq=3)[1:]]
    held, twice = holdings(spoken(handed_on))
    assert twice == 0
    assert [(each.driver, each.from_seq, each.to_seq) for each in held] == [
        ("driver", 2, 3),
        ("second", 4, 7),
    ]


async def test_an_accept_that_the_room_never_confirmed_is_found() -> None:
    ledger, _ = await sound_run()
    ledger.accepted("second", JOB, HERE, HERE)
    assert ledger.doubled() == 1


async def test_events_to_strangers_and_after_the_drivers_part_are_leaks() -> None:
    ledger, _ = await sound_run()
    tell(ledger, "stranger", story()[2])
    assert ledger.leaked() == 1
    tell(ledger, "driver", story()[0])
    assert ledger.leaked() == 2
    tell(ledger, "passenger", room_says(6, "new_message", id="x"))
    assert ledger.leaked() == 2
    tell(ledger, "driver", room_says(6, "new_message", id="x"))
    assert ledger.leaked() == 3


async def test_positions_are_judged_by_what_the_socket_knew() -> None:
    ledger = Ledger()
    ledger.ask(JOB, "passenger", HERE, None)
    said = story()
    tell(ledger, "passenger", said[0])
    position(ledger, "passenger")
    assert ledger.leaked() == 1, "before the assignment"
    tell(ledger, "passenger", said[1])
    position(ledger, "passenger")
    assert (ledger.leaked(), ledger.fix_ms.count) == (1, 1)
    position(ledger, "passenger", sender="another cab")
    assert ledger.leaked() == 2
    position(ledger, "stranger")
    assert ledger.leaked() == 3
    for each in said[2:]:
        tell(ledger, "passenger", each)
    position(ledger, "passenger")
    assert ledger.leaked() == 4, "after the end"


async def test_a_position_that_nobody_sent_is_a_leak() -> None:
    ledger, said = Ledger(), story()
    ledger.ask(JOB, "passenger", HERE, None)
    for each in said[:2]:
        tell(ledger, "passenger", each)
    where = {"latitude": 1.0, "longitude": 2.0, "timestamp": iso_utc(0)}
    ledger.heard("passenger", "driver_location", {"rideId": JOB, **where})
    assert ledger.leaks["position that nobody sent"] == 1


async def test_offers_and_codes_have_one_reader() -> None:
    ledger, _ = await sound_run()
    ledger.heard("second", "offer", {"offerId": "o1", "kind": "ride", "job": {"rideId": JOB}})
    assert ledger.leaked() == 1
    ledger.heard("driver", "notification", {"type": "delivery_code", "data": {"rideId": JOB, "code": "1"}})
    ledger.heard("passenger", "notification", {"type": "delivery_code", "data": {"rideId": JOB, "code": "1"}})
    assert ledger.leaked() == 2


async def test_an_event_of_somebody_elses_own_room_is_a_leak() -> None:
    ledger = Ledger()
    said = {"room": "user:driver", "epoch": "main-1", "seq": 1, "offerId": "o1", "reason": "expired"}
    ledger.heard("driver", "offer_withdrawn", said)
    assert ledger.leaked() == 0
    ledger.heard("second", "offer_withdrawn", said)
    assert ledger.leaked() == 1


def test_counters_are_summed_by_label() -> None:
    page = (
        "# TYPE x counter\n"
        'x_total{outcome="kept",node="a"} 3.0\n'
        'x_total{outcome="kept",node="b"} 4.0\n'
        'x_total{outcome="late"} 1.0\n'
        'y_total{outcome="kept"} 9.0\n'
    )
    assert counters(page, "x_total", "outcome") == {"kept": 7.0, "late": 1.0}
    assert increase({"kept": 5.0}, {"kept": 7.0, "late": 0.0}) == {"kept": 2}
