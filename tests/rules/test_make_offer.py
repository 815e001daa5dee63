"""The match's offer: only a searching job, only a driver it fits, once each; the job is held until the deadline."""

from typing import Any

import msgspec
import pytest

from dispatch import commands as c
from dispatch.policy import Policy
from storage.records import Driver, Job
from tests.rules.build import (
    DEE,
    DOV,
    EVERY,
    JOB,
    NOW,
    OFFER,
    PAT,
    a_driver,
    a_job,
    an_offer,
    carrying,
    home,
    room,
    scene,
    told,
    world,
)

POLICY = Policy(offer_s=15.0, offer_grace_s=1.0, max_offers=3)


def offer(**more: Any) -> c.MakeOffer:
    values = {"job_id": JOB, "driver_id": DEE, "distance_m": 812.4, "eta_s": 93.6}
    return c.MakeOffer(**{"user": c.SYSTEM, "room": room("ride"), **values, **more})


@pytest.mark.parametrize(("kind", "state"), EVERY)
def test_only_a_searching_job(kind: str, state: str) -> None:
    free = scene(kind, state).plus(a_driver(DOV))
    assert free.code(offer(driver_id=DOV)) == ("ok" if state == "searching" else "already_assigned")
    assert free.code(offer(job_id="job-2", driver_id=DOV)) == "already_assigned"


@pytest.mark.parametrize(
    ("driver", "ride", "package"),
    [
        ({}, "ok", "ok"),
        ({"online": False}, "no_supply", "no_supply"),
        ({"stale": True}, "no_supply", "no_supply"),
        ({"classes": ("economy",)}, "ok", "no_supply"),
        ({"classes": ("parcel",)}, "no_supply", "ok"),
        ({"classes": ("comfort",)}, "no_supply", "no_supply"),
        ({"capacity": 5}, "ok", "ok"),
    ],
)
def test_only_a_driver_in_supply_of_that_class(driver: dict[str, Any], ride: str, package: str) -> None:
    for kind, code in (("ride", ride), ("package", package)):
        assert scene(kind, "searching", driver=a_driver(**driver)).code(offer()) == code


def test_nobody_of_that_id() -> None:
    assert scene("ride", "searching").code(offer(driver_id=DOV)) == "no_supply"


@pytest.mark.parametrize("kind", ["ride", "package"])
def test_nobody_is_asked_twice_and_nobody_for_himself(kind: str) -> None:
    assert scene(kind, "searching", excluded=(DOV, DEE)).code(offer()) == "no_supply"
    requester = scene(kind, "searching").plus(a_driver(PAT))
    assert requester.code(offer(driver_id=PAT)) == "no_supply"


def parcels(count: int) -> list[Job]:
    return [a_job("package", "assigned", id=f"job-{n + 10}", code="") for n in range(count)]


@pytest.mark.parametrize("capacity", [1, 2, 3])
@pytest.mark.parametrize("aboard", [0, 1, 2, 3])
def test_room_on_board(capacity: int, aboard: int) -> None:
    if aboard > capacity:
        return
    jobs = parcels(aboard)
    courier = carrying(a_driver(capacity=capacity), *jobs)
    for kind in ("ride", "package"):
        fits = aboard == 0 if kind == "ride" else aboard < capacity
        before = world(a_job(kind, "searching"), courier, *jobs)
        assert before.code(offer()) == ("ok" if fits else "no_supply")


def test_one_offer_at_a_time() -> None:
    other = a_job("package", "offered", id="job-2", offer_id="job-2.1")
    held = an_offer("package", id="job-2.1", job_id="job-2")
    busy = a_driver(capacity=3, offer_id="job-2.1")
    assert world(a_job("package", "searching"), other, held, busy).code(offer()) == "no_supply"


@pytest.mark.parametrize(("wake_ms", "code"), [(1, "ok"), (0, "already_assigned"), (-1, "already_assigned")])
def test_no_offer_once_the_search_is_given_up(wake_ms: int, code: str) -> None:
    assert scene("ride", "searching", wake_ms=NOW + wake_ms).code(offer()) == code


@pytest.mark.parametrize("kind", ["ride", "package"])
def test_the_job_is_held_for_him(kind: str) -> None:
    before = scene(kind, "searching", POLICY, offers=1, excluded=(DOV,))
    decision = before.decide(offer())
    after = before.after(decision)
    second = f"{JOB}.2"
    (made,) = [r for r in decision.put if r.id == second]
    assert msgspec.structs.asdict(made) == msgspec.structs.asdict(
        an_offer(
            kind, id=second, version=0, made_ms=NOW, deadline_ms=NOW + 15_000, distance_m=812.4, eta_s=93.6
        )
    )
    assert (after.job.state, after.job.offer_id, after.job.offered_to) == ("offered", second, DEE)
    assert (after.job.offers, after.job.wake_ms, after.job.excluded) == (2, NOW + 16_000, (DOV,))
    assert after.dee.offer_id == second and after.dee.state == "offered"
    assert told(decision) == [(home(DEE), "offer"), (room(kind), f"{kind}_status_update")]
    assert decision.answer == {"offerId": second, "driverId": DEE}
    assert not any(fact.join for fact in decision.facts), "he is no party yet"


@pytest.mark.parametrize("kind", ["ride", "package"])
def test_what_the_driver_is_told(kind: str) -> None:
    before = scene(kind, "searching", POLICY, note="Second door")
    fact = before.decide(offer()).facts[0]
    card = fact.payload["job"]
    assert fact.payload["offerId"] == OFFER and fact.payload["expiresInMs"] == 15_000
    assert (fact.payload["distanceM"], fact.payload["etaSeconds"]) == (812, 94)
    assert card["version"] == before.job.version + 1 and card["state"] == "offered"
    assert card["requester"] == {"id": PAT, "name": "Pat"} and card["note"] == "Second door"
    if kind == "package":
        assert card["parcel"]["recipient"] == {"name": "Rae"}


def test_the_room_does_not_hear_who_is_asked() -> None:
    fact = scene("ride", "searching").decide(offer()).facts[1]
    assert DEE not in msgspec.json.encode(fact.payload).decode() and fact.payload["driverId"] is None


def test_a_driver_whose_id_the_requester_took_for_his_job() -> None:
    twin = a_driver(JOB)  # type: ignore[arg-type]
    after = world(a_job("ride", "searching"), twin).run(offer(driver_id=JOB))
    assert after.job.state == "offered"
    assert after.records[Driver, JOB].offer_id == after.job.offer_id  # type: ignore[union-attr]
