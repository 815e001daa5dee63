"""Back into supply after a silence: only for who is online, only by the device of the lease."""

from typing import Any

import pytest

from dispatch import commands as c
from tests.rules.build import DEE, NOW, a_driver, home, scene, world


@pytest.mark.parametrize(
    ("before", "device", "code"),
    [
        ({"stale": True}, "phone", "ok"),
        ({"stale": True}, "tablet", "superseded"),
        ({}, "phone", "ok"),
        ({}, "tablet", "superseded"),
        ({"online": False}, "phone", "wrong_state"),
    ],
)
def test_who_may(before: dict[str, Any], device: str, code: str) -> None:
    command = c.Revive(user=DEE, room=home(DEE), device=device)
    driver = a_driver(**before)
    assert world(driver).code(command) == code
    if code == "ok":
        decision = world(driver).decide(command)
        assert bool(decision.put) == driver.stale and not decision.facts
        after = world(driver).after(decision).dee
        assert (after.stale, after.available) == (False, True)
        assert after.changed_ms == (NOW if driver.stale else 0)


def test_nobody_there() -> None:
    assert world().code(c.Revive(user=DEE, room=home(DEE), device="phone")) == "wrong_state"


def test_what_he_carries_stays() -> None:
    before = scene("package", "picked_up", started_ms=1, driver=a_driver(stale=True, capacity=2))
    after = before.run(c.Revive(user=DEE, room=home(DEE), device="phone"))
    assert after.dee.load == before.dee.load and after.dee.state == "busy"
