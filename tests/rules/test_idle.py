"""Since when a driver is idle: since his last job, or since his shift began; nothing else that happens changes it.

As in the simulator (server/matchbench/world.py), so that a weight which is good there is good here.
"""

from typing import Any

import pytest

from dispatch import commands as c
from tests.rules.build import (
    ANN,
    CODE,
    DEE,
    DOV,
    JOB,
    NOW,
    OFFER,
    PAT,
    World,
    a_driver,
    a_job,
    carrying,
    home,
    room,
    scene,
    world,
)
from tests.rules.test_go_online import go
from tests.rules.test_restore_job import lost_job, restore, row

SINCE = NOW - 600_000


def dee(**more: Any) -> Any:
    return a_driver(idle_since_ms=SINCE, **more)


def offered(**job: Any) -> World:
    return scene("ride", "offered", driver=dee(), **job)


def of_job(kind: type[c.Command], user: str, of: str = "ride", **more: Any) -> Any:
    return kind(user=user, room=room(of), job_id=JOB, kind=of, **more)


def answer(kind: type[c.Command], **more: Any) -> Any:
    return kind(user=DEE, room=home(DEE), offer_id=OFFER, **more)


ASK = {"user": c.SYSTEM, "room": room("ride"), "job_id": JOB, "distance_m": 1.0, "eta_s": 1.0}
WAKE = c.WakeJob(user=c.SYSTEM, room=room("ride"), job_id=JOB)
SILENT = c.WakeDriver(user=c.SYSTEM, room=home(DEE), driver_id=DEE)
OFFLINE = c.GoOffline(user=DEE, room=home(DEE), device="phone")
CANCEL = of_job(c.CancelJob, PAT)


@pytest.mark.parametrize(
    ("before", "command"),
    [
        pytest.param(
            world(a_job("ride", "searching"), dee()), c.MakeOffer(**ASK, driver_id=DEE), id="he is asked"
        ),
        pytest.param(offered(), answer(c.DeclineOffer), id="he says no"),
        pytest.param(offered(wake_ms=NOW), WAKE, id="he says nothing"),
        pytest.param(
            offered().plus(a_driver(DOV)),
            c.MakeOffer(**ASK, driver_id=DOV, instead=OFFER, instead_of=DEE),
            id="another is nearer",
        ),
        pytest.param(offered(), CANCEL, id="what he was asked for is called off"),
        pytest.param(offered(), SILENT, id="his network goes"),
        pytest.param(
            world(dee(stale=True)),
            c.Revive(user=DEE, room=home(DEE), device="phone"),
            id="his network is back",
        ),
        pytest.param(world(dee()), go(), id="he connects again"),
        pytest.param(world(dee(stale=True)), go(), id="he connects again after a long silence"),
        pytest.param(offered(), go(), id="he connects again while he thinks"),
        pytest.param(
            offered(), answer(c.AcceptOffer, code=CODE), id="he takes it: it is of no use until then"
        ),
    ],
)
def test_nothing_but_a_job_begins_it_anew(before: World, command: c.Command) -> None:
    assert before.run(command).dee.free_since_ms == SINCE


def test_a_phone_that_was_not_shown_its_offer() -> None:
    before = world(a_job("ride", "searching"), dee(tells_seen=True))
    asked = before.run(c.MakeOffer(**ASK, driver_id=DEE))
    after = asked.run(WAKE, asked.job.wake_ms)
    assert (after.offer.state, after.dee.free_since_ms) == ("unseen", SINCE)


@pytest.mark.parametrize(
    ("before", "command"),
    [
        pytest.param(world(), go(), id="his first shift begins"),
        pytest.param(world(dee(online=False)), go(), id="his next shift begins"),
        pytest.param(world(dee()).run(OFFLINE), go(), id="he had left"),
        pytest.param(scene("ride", "assigned", driver=dee()), CANCEL, id="called off"),
        pytest.param(scene("ride", "assigned", driver=dee()), of_job(c.CancelJob, DEE), id="given back"),
        pytest.param(scene("ride", "assigned", driver=dee()), SILENT, id="lost"),
        pytest.param(
            scene("ride", "assigned", driver=dee()),
            of_job(c.UnassignJob, ANN, reason="why"),
            id="taken from him",
        ),
        pytest.param(
            scene("ride", "in_progress", driver=dee(), started_ms=1),
            of_job(c.MoveJob, DEE, status="completed"),
            id="done",
        ),
    ],
)
def test_it_begins_with_a_shift_and_after_a_job(before: World, command: c.Command) -> None:
    assert before.run(command).dee.free_since_ms == NOW


def test_who_has_another_parcel_is_not_idle() -> None:
    first, second = a_job("package", "assigned"), a_job("package", "picked_up", id="job-2", started_ms=1)
    one = world(first, second, carrying(dee(capacity=3), first, second)).run(
        of_job(c.CancelJob, PAT, "package")
    )
    assert one.dee.idle_since_ms == SINCE and list(one.dee.load) == ["job-2"]


def test_who_came_back_from_postgresql_is_idle_from_the_end_of_his_job_on() -> None:
    back = world().run(restore(lost_job("ride", "in_progress"), row(JOB, changed_ms=SINCE)))
    assert back.dee.load and back.run(of_job(c.MoveJob, DEE, status="completed")).dee.free_since_ms == NOW


@pytest.mark.parametrize("online", [True, False])
def test_a_record_of_before_says_when_it_changed(online: bool) -> None:
    after = world(a_driver(changed_ms=SINCE, online=online)).run(go())
    assert after.dee.free_since_ms == (SINCE if online else NOW)
