"""What a driver did with his offers: what counts, how it fades, and what it costs."""

from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from dispatch import commands as c
from dispatch import reliability
from dispatch.matching import Ranked, by_cost
from dispatch.policy import Policy
from dispatch.reliability import HALF_LIFE_MS, after, counts, score
from storage.records import History
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
    home,
    room,
    scene,
    world,
)
from tests.rules.test_go_online import go
from tests.rules.test_takeover import SWAPS, ask
from tests.rules.test_takeover import answer as beside

NOTHING, TAKEN, REFUSED, BACK = (0.0, 0.0, 0.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)
WEEK_MS = HALF_LIFE_MS


def of_job(kind: type[c.Command], user: str, **more: Any) -> Any:
    return kind(user=user, room=room("ride"), job_id=JOB, kind="ride", **more)


def answer(kind: type[c.Command], **more: Any) -> Any:
    return kind(user=DEE, room=home(DEE), offer_id=OFFER, **more)


def offered(**job: Any) -> World:
    return scene("ride", "offered", **job)


ASK = {"user": c.SYSTEM, "room": room("ride"), "job_id": JOB, "distance_m": 1.0, "eta_s": 1.0}
WAKE = c.WakeJob(user=c.SYSTEM, room=room("ride"), job_id=JOB)
SILENT = c.WakeDriver(user=c.SYSTEM, room=home(DEE), driver_id=DEE)
OFFLINE = c.GoOffline(user=DEE, room=home(DEE), device="phone")
ASSIGN = of_job(c.AssignJob, ANN, driver_id=DEE, code=CODE, reason="why")
GIVE_BACK = of_job(c.CancelJob, DEE)
ASKED = world(a_job("ride", "searching"), a_driver(tells_seen=True)).run(c.MakeOffer(**ASK, driver_id=DEE))


@pytest.mark.parametrize(
    ("before", "command", "counted"),
    [
        pytest.param(offered(), answer(c.DeclineOffer), REFUSED, id="he says no"),
        pytest.param(offered(wake_ms=NOW), WAKE, REFUSED, id="he says nothing"),
        pytest.param(offered(), answer(c.AcceptOffer, code=CODE), TAKEN, id="he accepts"),
        pytest.param(scene("ride", "assigned"), GIVE_BACK, BACK, id="he gives it back"),
        pytest.param(
            scene("ride", "arrived"),
            of_job(c.MoveJob, DEE, status="cancelled"),
            BACK,
            id="in another word",
        ),
        pytest.param(
            world(a_job("ride", "searching"), a_driver()),
            c.MakeOffer(**ASK, driver_id=DEE),
            NOTHING,
            id="he is asked",
        ),
        pytest.param(
            offered().plus(a_driver(DOV)),
            c.MakeOffer(**ASK, driver_id=DOV, instead=OFFER, instead_of=DEE),
            NOTHING,
            id="another is nearer",
        ),
        pytest.param(offered(), of_job(c.CancelJob, PAT), NOTHING, id="the offer is called off"),
        pytest.param(offered(), SILENT, NOTHING, id="his network goes while he thinks"),
        pytest.param(scene("ride", "assigned"), SILENT, NOTHING, id="his network goes on the way"),
        pytest.param(offered(), OFFLINE, NOTHING, id="his shift ends while he thinks"),
        pytest.param(
            scene("ride", "assigned"), of_job(c.CancelJob, PAT), NOTHING, id="the ride is called off"
        ),
        pytest.param(
            scene("ride", "arrived", arrived_ms=NOW - 600_000),
            of_job(c.MoveJob, DEE, status="no_show"),
            NOTHING,
            id="nobody comes",
        ),
        pytest.param(
            world(a_job("ride", "searching"), a_driver()), ASSIGN, NOTHING, id="an admin gives it to him"
        ),
        pytest.param(offered(), ASSIGN, NOTHING, id="an admin accepts for him"),
        pytest.param(
            scene("ride", "assigned"),
            of_job(c.UnassignJob, ANN, reason="why"),
            NOTHING,
            id="an admin takes it from him",
        ),
        pytest.param(
            world(a_job("ride", "searching"), a_driver()).run(ASSIGN),
            GIVE_BACK,
            NOTHING,
            id="he gives back what an admin gave him",
        ),
    ],
)
def test_what_counts(before: World, command: c.Command, counted: tuple[float, float, float]) -> None:
    had = before.run(command).dee.history
    assert (had.taken, had.refused, had.given_back) == counted
    assert had.as_of_ms == (NOW if counted != NOTHING else 0)


def test_a_phone_that_did_not_show_it() -> None:
    after = ASKED.run(WAKE, ASKED.job.wake_ms)
    assert (after.offer.state, after.dee.history) == ("unseen", History())


def test_who_is_taken_over_from_and_who_takes_over() -> None:
    asked = scene("ride", "assigned", SWAPS).plus(a_driver(DOV)).run(ask("ride"))
    both = asked.run(beside(c.AcceptOffer))
    dov = both.records[type(both.dee), DOV]
    assert both.dee.history == History() and dov.history == History(taken=1.0, as_of_ms=NOW)  # type: ignore[union-attr]


def test_it_stays_his_whatever_phone_or_shift() -> None:
    had = History(2.0, 3.0, 1.0, NOW - 5)
    for online in (True, False):
        assert world(a_driver(history=had, online=online)).run(go()).dee.history == had


@pytest.mark.parametrize(
    ("had", "later_ms", "expected"),
    [
        (History(), 0, 0.0),
        (History(taken=50.0, as_of_ms=NOW), 0, 0.0),
        (History(refused=1.0, as_of_ms=NOW), 0, 1 / 6),
        (History(taken=5.0, refused=10.0, as_of_ms=NOW), 0, 0.5),
        (History(taken=5.0, given_back=5.0, as_of_ms=NOW), 0, 0.5),
        (History(taken=15.0, refused=20.0, given_back=10.0, as_of_ms=NOW), 0, 0.5 + 0.5),
        (History(given_back=5.0, as_of_ms=NOW), 0, 0.5),  # Redis forgot what he had taken
        (History(refused=10.0, as_of_ms=NOW), WEEK_MS, 0.5),
        (History(refused=10.0, as_of_ms=NOW), 30 * WEEK_MS, 0.0),
        (History(refused=10.0, as_of_ms=NOW), -WEEK_MS, 10 / 15),  # a clock that stepped back
    ],
)
def test_the_score(had: History, later_ms: int, expected: float) -> None:
    assert score(a_driver(history=had), NOW + later_ms) == pytest.approx(expected, abs=1e-6)


def test_what_he_does_fades_and_he_may_do_better() -> None:
    dee = a_driver()
    for _ in range(8):
        dee = after(dee, NOW, refused=1.0)
    was = score(dee, NOW)
    assert after(dee, NOW + WEEK_MS, refused=1.0).history.refused == 5.0
    for day in range(20):
        dee = after(dee, NOW + day * WEEK_MS // 7, taken=1.0)
    assert score(dee, NOW + 3 * WEEK_MS) < was / 5


def test_it_costs_nothing_unless_the_area_says_so() -> None:
    found = [Ranked("no", 10.0, 40.0), Ranked("yes", 90.0, 50.0), Ranked("new", 95.0, 51.0)]
    scores = {"no": 0.5, "yes": 0.0}
    order = [
        [each.driver_id for each in by_cost(found, scores, Policy(history_weight=w))]
        for w in (0.0, 20.0, 30.0)
    ]
    assert order == [["no", "yes", "new"], ["no", "yes", "new"], ["yes", "new", "no"]]
    assert not counts(Policy()) and not counts(None) and counts(Policy(history_weight=1.0))
    many = reliability.cost_s(np.array([0.0, 0.5]), Policy(history_weight=30.0))
    assert many.tolist() == [0.0, reliability.cost_s(0.5, Policy(history_weight=30.0))] == [0.0, 15.0]
    assert replace(found[0], score=0.5).cost_s(Policy(history_weight=30.0)) == 55.0
