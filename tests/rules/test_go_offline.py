"""Going offline: only by the device that holds the lease, only without a job; an offer goes to the next."""

from typing import Any

import pytest

from dispatch import commands as c
from dispatch.policy import Policy
from tests.invariants import NOBODYS, OVER
from tests.rules.build import DEE, EVERY, JOB, NOW, OFFER, a_driver, home, room, scene, told, world


def go(**more: Any) -> c.GoOffline:
    return c.GoOffline(**{"user": DEE, "room": home(DEE), "device": "phone", **more})


@pytest.mark.parametrize("device", ["phone", "tablet"])
def test_who_is_offline_already_stays_so(device: str) -> None:
    for before in (world(), world(a_driver(online=False))):
        decision = before.decide(go(device=device))
        assert decision.answer == {"state": "offline"} and not decision.put and not decision.facts


@pytest.mark.parametrize(("kind", "state"), EVERY)
def test_in_every_state_of_his_job(kind: str, state: str) -> None:
    before = scene(kind, state)
    assert before.code(go(device="tablet")) == "superseded"
    carries = state not in NOBODYS | OVER
    assert before.code(go()) == ("wrong_state" if carries else "ok")
    if not carries:
        after = before.run(go())
        assert after.dee.state == "offline" and after.dee.offer_id is None
        assert after.job.state == ("searching" if state == "offered" else state)


def test_a_silent_one_leaves_as_well() -> None:
    after = world(a_driver(stale=True)).run(go())
    assert (after.dee.online, after.dee.stale) == (False, False)


@pytest.mark.parametrize("kind", ["ride", "package"])
def test_his_offer_is_lost_and_the_job_searches_on_without_him(kind: str) -> None:
    before = scene(kind, "offered", Policy(patience_s=100.0))
    decision = before.decide(go())
    after = before.after(decision)
    assert (after.offer.state, after.offer.reason, after.offer.ended_ms) == (
        "lost",
        "driver went offline",
        NOW,
    )
    assert after.job.excluded == (DEE,) and after.job.offers == 1
    assert after.job.wake_ms == after.job.searching_ms + 100_000, "patience runs on"
    assert told(decision) == [(room(kind), f"{kind}_status_update"), (home(DEE), "offer_withdrawn")]
    assert decision.facts[1].payload["offerId"] == OFFER and decision.facts[1].payload["reason"] == "lost"
    assert decision.answer == {"state": "offline", "version": before.dee.version + 1}


def test_a_job_of_the_drivers_own_id_is_another_record() -> None:
    before = world(
        *scene("ride", "offered").records.values(),
        a_driver(JOB),  # type: ignore[arg-type]
    )
    assert before.run(go()).job.state == "searching"
