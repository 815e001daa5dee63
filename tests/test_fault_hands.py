"""What an admin did in a fault run: each acked command is in the audit log and has its effect once, or is found."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from loadtest.faults.checker import judge
from loadtest.faults.held import Held
from loadtest.faults.history import NO_ANSWER, Attempt, History
from tests.faultkit import ADMIN, DRIVER, JOB, OTHER, SECOND, STRANGER, ZERO_S, ack, by_hand

Plant = Callable[[History, Held], None]


def line_gone(reason: str) -> Plant:
    def plant(history: History, held: Held) -> None:
        held.audit = [each for each in held.audit if each.reason != reason]

    return plant


def line_twice(reason: str) -> Plant:
    def plant(history: History, held: Held) -> None:
        held.audit.append(next(each for each in held.audit if each.reason == reason))

    return plant


def done_twice(history: History, held: Held) -> None:
    held.deeds[JOB].append(ZERO_S + 6.5)


def done_and_undone(history: History, held: Held) -> None:
    held.deeds[JOB].pop()


def given_to_nobody(history: History, held: Held) -> None:
    ack(history, ADMIN, "assign_job", 3, rideId=JOB, driverId=SECOND, reason="r3")


def taken_from_nobody(history: History, held: Held) -> None:
    ack(history, ADMIN, "unassign_job", 3, rideId=JOB, reason="r3")


def still_let_in(history: History, held: Held) -> None:
    held.statuses[OTHER] = "active"


def test_a_sound_run_with_an_admin_is_found_sound() -> None:
    history, held = by_hand()
    # whom it was so already, he was acked and left no line
    ack(history, ADMIN, "assign_job", 4, rideId=JOB, driverId=DRIVER, reason="r4")
    # nobody knows what became of this one
    history.asked(ADMIN, "block_user", {"userId": STRANGER, "reason": "r5"}).attempts.append(
        Attempt(0, ZERO_S + 9, ZERO_S + 10, NO_ANSWER)
    )
    verdict = judge(history, held)
    assert not verdict.lost and not verdict.duplicated


@pytest.mark.parametrize(
    ("promise", "plant"),
    [
        ("lost", line_gone("r1")),
        ("lost", line_gone(f"block_user {STRANGER}")),
        *(("lost", plant) for plant in (done_twice, given_to_nobody, taken_from_nobody, still_let_in)),
        ("duplicated", line_twice("r2")),
        ("duplicated", line_twice(f"unblock_user {STRANGER}")),
        ("duplicated", done_and_undone),
    ],
)
def test_what_an_admin_did_and_is_not_so_is_found(promise: str, plant: Plant) -> None:
    history, held = by_hand()
    plant(history, held)
    assert getattr(judge(history, held), promise)
