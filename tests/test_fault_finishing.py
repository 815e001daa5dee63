"""The checker of the fault bench knows a ride that comes after another one from two at a time."""

from __future__ import annotations

import pytest

from loadtest.faults.checker import judge
from loadtest.faults.held import Held
from loadtest.faults.history import History, heard_of
from loadtest.pace import iso_utc
from loadtest.spoken import spoken_of
from tests.faultkit import DRIVER, HERE, OTHER, STRANGER, ZERO_S, connect, fact, hear, sound

THIRD = "job-3"
#: The first ride's passenger is on board from 5 s on, and out at 6 s.
SECOND_RIDE = {"searching": 3.0, "assigned": 5.5, "arrived": 6.5, "in_progress": 7.0, "completed": 8.0}


def add(history: History, held: Held, job: str, at: dict[str, float], kind: str = "ride") -> int:
    """A job of the same driver, whose states are told at these seconds; its passenger's link."""
    link = connect(history, STRANGER + job)
    history.owners[job] = STRANGER + job
    for seq, (state, at_s) in enumerate(at.items(), 1):
        event = "driver_assigned" if state == "assigned" else "ride_status_update"
        driver = None if state == "searching" else DRIVER
        said = fact(seq, event, job, version=seq, state=state, driverId=driver)
        said |= {"timestamp": iso_utc(round((ZERO_S + at_s) * 1000)), "room": f"{kind}:{job}"}
        if kind == "package":
            said["packageId"] = said.pop("rideId")
        hear(history, STRANGER + job, link, said, ZERO_S + at_s)
        spoken = spoken_of(said["event"], said)
        assert spoken is not None
        held.events.append(spoken)
        held.places.append(spoken.place)
    return link


def doubles(*jobs: dict[str, float], kind: str = "ride") -> list[str]:
    history, held = sound()
    for job, at in zip((OTHER, THIRD), jobs, strict=False):
        add(history, held, job, at, kind)
    return judge(history, held).double_assignments


def test_a_ride_after_a_ride_is_no_double() -> None:
    assert doubles(SECOND_RIDE) == []
    assert doubles({"searching": 3.0, "assigned": 5.5}) == []
    assert doubles({"searching": 3.0, "assigned": 5.2, "cancelled": 5.4}, SECOND_RIDE) == []
    assert doubles(SECOND_RIDE, {**SECOND_RIDE, "assigned": 7.5, "arrived": 8.5, "in_progress": 9.0}) == []


@pytest.mark.parametrize(
    "second",
    [
        SECOND_RIDE | {"assigned": 4.5},  # the first passenger was not on board
        SECOND_RIDE | {"arrived": 5.8},  # nor had he left when it began
    ],
)
def test_a_ride_that_does_not_come_after_is_one(second: dict[str, float]) -> None:
    assert doubles(second)


def test_a_parcel_or_a_third_is_one() -> None:
    assert doubles(SECOND_RIDE, kind="package")
    assert doubles(SECOND_RIDE, SECOND_RIDE | {"assigned": 5.7, "arrived": 8.5})
    assert doubles(SECOND_RIDE, SECOND_RIDE | {"assigned": 5.7, "cancelled": 5.9})


@pytest.mark.parametrize(("at_s", "seen"), [(5.8, True), (6.2, False)])
def test_who_sees_the_car_with_another_on_board_is_found(at_s: float, seen: bool) -> None:
    history, held = sound()
    link = add(history, held, OTHER, SECOND_RIDE)
    stamp = iso_utc(round((ZERO_S + at_s) * 1000))
    history.fix(DRIVER, stamp, HERE)
    where = {"latitude": HERE.latitude, "longitude": HERE.longitude, "timestamp": stamp, "rideId": OTHER}
    heard = heard_of(ZERO_S + at_s, STRANGER + OTHER, link, "driver_location", where)
    at = next(i for i, each in enumerate(history.heard) if each.link == link and each.at_s > heard.at_s)
    history.heard.insert(at, heard)
    foreign = judge(history, held).foreign
    assert any("another ride on board" in each for each in foreign) == seen, foreign
