"""May this driver be offered this job: every reason alone, every pair of them, and what each rule looks at."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from msgspec.structs import replace

from dispatch.blocks import Blocks
from dispatch.eligibility import REASONS, bad_papers, why_not
from dispatch.policy import Policy
from storage.records import Driver, Job, Parcel
from tests.rules.build import DEE, DOV, NOW, PAT, XAN, a_driver, a_job, carrying

#: What makes a driver unfit: changes of the job, of the driver, and of what is known beside them; in the order in
#: which the reasons are given.
FAULTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "requester": ({"requester_id": DEE}, {}),
    "excluded": ({"excluded": (DOV, DEE)}, {}),
    "passed": ({"passed": {DEE: NOW + 1}}, {}),
    "moved": ({"moved_from": (DOV, DEE)}, {}),
    "blocked": ({}, {}),
    "class": ({"vehicle_class": "premium"}, {}),
    "papers": ({}, {"papers": {"licence": NOW}}),
    "seats": ({"seats": 5}, {"seats": 4}),
    "size": ({"parcel": Parcel(size="large")}, {"sizes": ("small",)}),
    "weight": ({"parcel": Parcel(size="small", weight_kg=8.0)}, {"max_weight_kg": 7.9}),
    "offline": ({}, {"online": False}),
    "stale": ({}, {"stale": True}),
    "offered": ({}, {"offer_id": "job-9.1"}),
    "full": ({}, {"load": {"job-8": 1}}),
}
OF_RIDES, OF_PARCELS = {"seats"}, {"size", "weight"}


def unfit(kind: str, *faults: str) -> tuple[Job, Driver, Blocks]:
    job, driver, blocks = a_job(kind, "searching"), a_driver(), Blocks()
    for fault in faults:
        of_job, of_driver = FAULTS[fault]
        if "parcel" in of_job and job.parcel is not None and job.parcel.size == "large":
            of_job = {"parcel": replace(job.parcel, weight_kg=of_job["parcel"].weight_kg)}
        job, driver = replace(job, **of_job), replace(driver, **of_driver)
        if fault == "blocked":
            blocks.put(job.requester_id, driver.id, True)
    return job, driver, blocks


def reason(kind: str, *faults: str) -> str:
    job, driver, blocks = unfit(kind, *faults)
    return why_not(job, driver, Policy(), blocks, NOW)


def test_every_reason_has_its_words() -> None:
    assert list(REASONS) == list(FAULTS)


@pytest.mark.parametrize("kind", ["ride", "package"])
def test_each_alone_and_the_first_of_any_two(kind: str) -> None:
    none_of_it = OF_PARCELS if kind == "ride" else OF_RIDES
    of_kind = [fault for fault in FAULTS if fault not in none_of_it]
    assert reason(kind) == ""
    for fault in none_of_it - OF_PARCELS:  # a ride has no parcel to look at
        assert reason(kind, fault) == ""
    for fault in of_kind:
        assert reason(kind, fault) == fault
    for pair in itertools.combinations(of_kind, 2):
        # his own request blocks nobody: the pair would be one person
        expected = pair[0]
        assert reason(kind, *pair) == expected, pair


@pytest.mark.parametrize("known", range(6))
@pytest.mark.parametrize("usual", [1, 4])
@pytest.mark.parametrize("asked", range(1, 9))
def test_seats(known: int, usual: int, asked: int) -> None:
    job = a_job("ride", "searching", seats=asked)
    found = why_not(job, a_driver(seats=known), Policy(usual_seats=usual), Blocks(), NOW)
    assert found == ("" if asked <= (known or usual) else "seats")


@pytest.mark.parametrize(("most_kg", "weight_kg", "found"), [
    (0.0, 9_999.0, ""), (5.0, 5.0, ""), (5.0, 5.1, "weight"), (0.1, 0.0, ""),
])  # fmt: skip
def test_weight(most_kg: float, weight_kg: float, found: str) -> None:
    job = a_job("package", "searching", parcel=Parcel(size="small", weight_kg=weight_kg))
    assert why_not(job, a_driver(max_weight_kg=most_kg), Policy(), Blocks(), NOW) == found


@pytest.mark.parametrize(("weights_kg", "most_kg", "found"), [
    ((19.0, 19.0, 19.0, 19.0), 20.0, "weight"), ((10.0, 10.0), 20.0, ""), ((10.0, 10.1), 20.0, "weight"),
    ((0.1, 0.1, 0.1), 0.3, ""), ((50.0, 50.0), 0.0, ""),
])  # fmt: skip
@pytest.mark.parametrize("state", ["assigned", "picked_up", "returning"])
def test_weight_with_what_he_has(
    state: str, weights_kg: tuple[float, ...], most_kg: float, found: str
) -> None:
    """Whether it is on board or still to be picked up; a ride has none."""
    had = [
        a_job("package", state, id=f"job-{n + 10}", parcel=Parcel(size="small", weight_kg=kg))
        for n, kg in enumerate(weights_kg[1:])
    ]
    had = [replace(job, started_ms=0 if state == "assigned" else NOW) for job in had]
    driver = carrying(a_driver(capacity=9, max_weight_kg=most_kg), *had)
    job = a_job("package", "searching", parcel=Parcel(size="small", weight_kg=weights_kg[0]))
    assert why_not(job, driver, Policy(), Blocks(), NOW) == found
    old = replace(driver, plan=tuple(replace(stop, weight_kg=0.0) for stop in driver.plan))
    alone = "weight" if most_kg and weights_kg[0] > most_kg else ""
    assert why_not(job, old, Policy(), Blocks(), NOW) == alone, "a record of before knows no weights"


@pytest.mark.parametrize("capacity", range(1, 5))
@pytest.mark.parametrize("aboard", range(5))
@pytest.mark.parametrize("units", range(4))
def test_room(capacity: int, aboard: int, units: int) -> None:
    """Units 0 want the whole vehicle."""
    if aboard > capacity:
        return
    jobs = [a_job("package", "assigned", id=f"job-{n + 10}") for n in range(aboard)]
    driver = carrying(a_driver(capacity=capacity), *jobs)
    job = a_job("package", "searching", units=units)
    fits = aboard + units <= capacity if units else not aboard
    assert why_not(job, driver, Policy(), Blocks(), NOW) == ("" if fits else "full")


@pytest.mark.parametrize(("has", "asked", "bad"), [
    ({}, (), ()),
    ({}, ("licence",), ("licence",)),
    ({"licence": NOW + 1}, ("licence",), ()),
    ({"licence": NOW}, ("licence",), ("licence",)),
    ({"licence": NOW - 1}, (), ("licence",)),
    ({"licence": NOW + 1}, ("insurance", "licence"), ("insurance",)),
    ({"insurance": 1, "registration": 2}, ("licence",), ("insurance", "licence", "registration")),
])  # fmt: skip
def test_papers(has: dict[str, int], asked: Any, bad: tuple[str, ...]) -> None:
    policy = Policy(papers=asked)
    assert bad_papers(has, policy, NOW) == bad
    found = why_not(a_job("ride", "searching"), a_driver(papers=has), policy, Blocks(), NOW)
    assert found == ("papers" if bad else "")


def test_a_block_works_both_ways_and_for_nobody_else() -> None:
    blocks = Blocks()
    blocks.put(DEE, PAT, True)
    for one, other in itertools.permutations((PAT, DEE, DOV, XAN), 2):
        assert blocks.between(one, other) == ({one, other} == {PAT, DEE})
    blocks.put(PAT, DEE, True)
    assert len(blocks) == 1
    blocks.put(PAT, DEE, False)
    assert not blocks.between(DEE, PAT) and len(blocks) == 0
