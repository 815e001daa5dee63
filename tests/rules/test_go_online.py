"""Going online: the newest device takes the lease, within an area and with room for what is on board."""

from typing import Any

import pytest

from dispatch import commands as c
from dispatch.policy import Policy
from tests.rules.build import DEE, JOB, NOW, World, a_driver, a_job, carrying, home, scene, world


def go(**more: Any) -> c.GoOnline:
    lease = {"name": "Dee", "node": "n2", "device": "tablet", "classes": ("economy",), "capacity": 1}
    place = {"latitude": 49.99, "longitude": 36.23}
    return c.GoOnline(**{"user": DEE, "room": home(DEE), **lease, **place, **more})


def test_a_first_time() -> None:
    decision = world(policy=Policy(stale_s=30.0)).decide(go(vehicle_id="v1", vehicle="Skoda"))
    (driver,) = decision.put
    assert driver == a_driver(
        version=0,
        generation=1,
        node="n2",
        device="tablet",
        classes=("economy",),
        vehicle_id="v1",
        vehicle="Skoda",
        silence_ms=30_000,
        idle_since_ms=NOW,
        changed_ms=NOW,
    )
    assert decision.reseat == (DEE,) and not decision.facts
    assert decision.answer == {
        "state": "idle",
        "generation": 1,
        "version": 1,
        "areaId": "town",
        "serves": ["ride"],
        "jobs": [],
        "staleAfterS": 30.0,
    }


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"latitude": 10.0}, "outside_area"),
        ({"classes": ()}, "bad_request"),
        ({"classes": ("economy", "tank")}, "bad_request"),
        ({"classes": ("parcel",)}, "ok"),
        ({"classes": ("economy", "comfort", "premium", "shared", "parcel")}, "ok"),
        ({"capacity": 0}, "bad_request"),
        ({"capacity": -1}, "bad_request"),
        ({"capacity": 20}, "ok"),
        ({"capacity": 21}, "bad_request"),
    ],
)
def test_what_is_refused(given: dict[str, Any], code: str) -> None:
    assert world().code(go(**given)) == code


@pytest.mark.parametrize(
    ("classes", "serves"),
    [
        (("economy", "comfort"), ["ride"]),
        (("parcel",), ["package"]),
        (("parcel", "shared"), ["package", "ride"]),
    ],
)
def test_he_hears_what_he_can_be_offered(classes: tuple[str, ...], serves: list[str]) -> None:
    assert world().decide(go(classes=classes)).answer["serves"] == serves


@pytest.mark.parametrize(
    ("before", "state"),
    [
        ({"online": False}, "idle"),
        ({"stale": True}, "idle"),
        ({"device": "tablet", "node": "n2"}, "idle"),
        ({}, "idle"),
    ],
)
def test_a_new_generation_whatever_he_was(before: dict[str, Any], state: str) -> None:
    decision = world(a_driver(**before)).decide(go())
    (driver,) = decision.put
    assert decision.answer["state"] == state
    assert (driver.generation, driver.node, driver.device, driver.stale) == (5, "n2", "tablet", False)


@pytest.mark.parametrize(
    ("before", "heard_ms", "code"),
    [
        ({}, NOW - 1, "superseded"),
        ({"online": False}, NOW - 1, "superseded"),  # who has gone offline since stays so
        ({"device": "tablet"}, NOW - 1, "superseded"),  # one login over HTTP, by way of another node
        ({"device": "tablet", "node": "n2"}, NOW - 1, "ok"),
        ({}, NOW, "ok"),
        ({"leased_ms": 0}, NOW - 1, "ok"),  # of before, or given back by PostgreSQL
        ({"leased_ms": NOW + 200}, NOW + 100, "superseded"),
        ({"leased_ms": NOW + 5_000}, NOW, "ok"),  # by the clock of another Redis
    ],
)
def test_one_that_was_heard_before_the_lease_takes_nothing(
    before: dict[str, Any], heard_ms: int, code: str
) -> None:
    given = world(a_driver(**{"leased_ms": NOW} | before))
    assert given.code(go(heard_ms=heard_ms)) == code
    if code == "ok":
        assert given.run(go(heard_ms=heard_ms)).dee.leased_ms == heard_ms


def test_an_open_offer_stays_with_him() -> None:
    offered = scene("ride", "offered")
    after = offered.run(go())
    assert after.dee.offer_id == offered.dee.offer_id and after.dee.state == "offered"


@pytest.mark.parametrize(("capacity", "code"), [(1, "bad_request"), (2, "ok"), (3, "ok")])
def test_parcels_on_board_need_their_room(capacity: int, code: str) -> None:
    assert two_parcels().code(go(capacity=capacity)) == code


def test_jobs_stay_with_him() -> None:
    decision = two_parcels().decide(go(capacity=2))
    assert decision.answer["jobs"] == [JOB, "job-2"] and decision.answer["state"] == "busy"


@pytest.mark.parametrize("capacity", [1, 2, 5])
def test_a_ride_on_board_keeps_the_whole_vehicle(capacity: int) -> None:
    after = scene("ride", "in_progress", started_ms=1, driver=a_driver(capacity=3)).run(go(capacity=capacity))
    assert after.dee.load == {JOB: capacity} and not after.dee.available


def two_parcels() -> World:
    first, second = a_job("package", "assigned"), a_job("package", "picked_up", id="job-2", started_ms=1)
    return world(first, second, carrying(a_driver(capacity=3), first, second))


@pytest.mark.parametrize(
    ("papers", "asked", "code"),
    [
        ({}, (), "ok"),
        ({}, ("licence",), "forbidden"),
        ({"licence": NOW + 1}, ("licence",), "ok"),
        ({"licence": NOW}, (), "forbidden"),
    ],
)
def test_papers(papers: dict[str, int], asked: Any, code: str) -> None:
    before = world(policy=Policy(papers=asked))
    assert before.code(go(papers=papers)) == code
    # whoever carries a job may come back with another phone, and finish it
    carrying_one = scene("ride", "in_progress", Policy(papers=asked))
    assert carrying_one.code(go(papers=papers)) == "ok"
    assert carrying_one.run(go(papers=papers)).dee.papers == papers


def test_what_he_may_carry_comes_with_him() -> None:
    limits = {"seats": 6, "sizes": ("small",), "max_weight_kg": 7.5, "papers": {"licence": NOW + 5}}
    dee = world().run(go(**limits)).dee
    assert {name: getattr(dee, name) for name in limits} == limits
