"""Opening a job: in an area, priced, searching or scheduled; the requester joins its room."""

from typing import Any

import pytest

from dispatch import commands as c
from dispatch.policy import Policy
from storage.records import Parcel, Place
from tests.rules.build import (
    DROPOFF,
    EVERY,
    JOB,
    NOW,
    PAT,
    PHONE,
    PICKUP,
    a_job,
    room,
    scene,
    told,
    world,
)

POLICY = Policy(patience_s=180.0, schedule_lead_s=900.0, max_trip_m=20_000.0, max_weight_kg=30.0)
FAR = Place(50.19, 36.49)
ELSEWHERE = Place(10.0, 10.0)
DAY_MS = 86_400_000


def ask(kind: str = "ride", **more: Any) -> c.OpenJob:
    what = {"job_id": JOB, "kind": kind, "name": "Pat", "pickup": PICKUP, "dropoff": DROPOFF}
    parcel = Parcel(size="small", weight_kg=2.0, recipient_name="Rae", recipient_phone=PHONE)
    as_kind = (
        {"vehicle_class": "economy"} if kind == "ride" else {"vehicle_class": "parcel", "parcel": parcel}
    )
    return c.OpenJob(**{"user": PAT, "room": room(kind), **what, **as_kind, **more})


@pytest.mark.parametrize("kind", ["ride", "package"])
def test_it_searches_and_its_requester_joins(kind: str) -> None:
    before = world(policy=POLICY)
    decision = before.decide(ask(kind))
    job = before.after(decision).job
    assert (job.state, job.requester_id, job.area_id, job.currency) == ("searching", PAT, "town", "UAH")
    assert (job.searching_ms, job.created_ms, job.wake_ms) == (NOW, NOW, NOW + 180_000)
    assert job.units == (0 if kind == "ride" else 1) and job.fare_minor > 0 and job.code == ""
    assert told(decision) == [(room(kind), f"{kind}_status_update")]
    assert decision.facts[0].join == (PAT,) and decision.facts[0].records == decision.put
    assert decision.answer["version"] == 1 and decision.answer["areaId"] == "town"
    assert decision.answer["fare"] == {"amount": job.fare_minor, "currency": "UAH"}


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"pickup": ELSEWHERE}, "outside_area"),
        ({"dropoff": FAR}, "outside_area"),
        ({"stops": (FAR,)}, "outside_area"),
        ({"vehicle_class": "parcel"}, "bad_request"),
        ({"dropoff": PICKUP}, "bad_request"),
        ({"dropoff": PICKUP, "stops": (PICKUP,)}, "bad_request"),
        ({"kind": "package", "dropoff": PICKUP}, "bad_request"),
        ({"dropoff": PICKUP, "stops": (DROPOFF,)}, "ok"),
        ({"scheduled_ms": NOW + 3 * DAY_MS}, "ok"),
        ({"scheduled_ms": NOW + 4 * DAY_MS}, "bad_request"),
        ({"kind": "package", "parcel": Parcel(size="small", weight_kg=30.1)}, "bad_request"),
        ({"kind": "package", "parcel": Parcel(size="small", weight_kg=30.0)}, "ok"),
    ],
)
def test_what_is_refused(given: dict[str, Any], code: str) -> None:
    assert world(policy=POLICY).code(ask(**given)) == code


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"dropoff": PICKUP}, "Pickup and dropoff are the same place."),
        ({"scheduled_ms": NOW + 4 * DAY_MS}, "scheduledAt is too far ahead."),
        ({"kind": "package", "scheduled_ms": NOW + 4 * DAY_MS}, "readyAt is too far ahead."),
        ({"vehicle_class": "tank"}, "class must be one of: comfort, economy, premium, shared."),
        (
            {"kind": "package", "parcel": Parcel(size="vast", tier="warp")},
            "size must be one of: custom, large, medium, small.",
        ),
        (
            {"kind": "package", "parcel": Parcel(size="small", tier="warp")},
            "tier must be one of: economy, express, lightning, standard.",
        ),
    ],
)
def test_what_is_wrong_is_named(given: dict[str, Any], said: str) -> None:
    with pytest.raises(c.Refusal) as refused:
        world(policy=POLICY).decide(ask(**given))
    assert (refused.value.code, refused.value.message) == ("bad_request", said)


def test_a_paused_area_takes_nothing_new() -> None:
    assert world(paused=True).code(ask()) == "no_supply"


@pytest.mark.parametrize(("kind", "state"), EVERY)
def test_an_id_is_used_once_whatever_became_of_it(kind: str, state: str) -> None:
    for other in ("ride", "package"):
        assert scene(kind, state).code(ask(other)) == "duplicate"


@pytest.mark.parametrize(
    ("ahead_s", "state", "wake_s"),
    [
        (0, "searching", 180),
        (120, "searching", 120 + 180),
        (121, "scheduled", 0),
        (900, "scheduled", 0),
        (901, "scheduled", 1),
        (7_200, "scheduled", 7_200 - 900),
    ],
)
def test_a_booking_waits_for_its_time(ahead_s: int, state: str, wake_s: int) -> None:
    before = world(policy=POLICY)
    job = before.run(ask(scheduled_ms=NOW + ahead_s * 1000)).job
    assert (job.state, job.wake_ms) == (state, NOW + wake_s * 1000)


@pytest.mark.parametrize("quoted", [0, 1, 12_345])
def test_a_quote_holds(quoted: int) -> None:
    assert world().run(ask(quoted_minor=quoted)).job.fare_minor == quoted


def test_a_passenger_may_have_several() -> None:
    other = a_job("ride", "searching", id="job-0", code="")
    assert world(other).code(ask()) == "ok"
