"""What a batch leaves behind of each of its jobs: chosen, lost to another, farther, unfit; and the shadow."""

from __future__ import annotations

import random

import numpy as np
import pytest
from msgspec.structs import replace

from dispatch import proposal as proposals
from dispatch.area import Area
from dispatch.blocks import Blocks
from dispatch.candidates import at_once
from dispatch.policy import Policy
from dispatch.proposal import Proposal
from dispatch.why import CONSIDERED_MAX, choice
from storage import keys
from storage.fleet import Position
from storage.records import Choice, Driver, Job, Place, UserId
from tests.rules.build import DOV, NOW, a_driver, a_job, an_offer, carrying, town

AREA = next(iter(town(Policy(longest_pickup_s=600.0, search_radius_m=6_000.0))))
M_DEG = 1 / 111_195


def ride(id_: str, north_m: float, **more: object) -> Job:
    pickup = Place(49.99 + north_m * M_DEG, 36.23)
    return a_job("ride", "searching", id=id_, requester_id=f"of-{id_}", pickup=pickup, excluded=(), **more)


def batch(jobs: list[Job], drivers: dict[str, float], area: Area = AREA, **of: Driver) -> dict[str, Choice]:
    """Decisions by job, of drivers so many metres to the north."""
    found = {id_: Position(id_, 49.99 + m * M_DEG, 36.23, NOW, None) for id_, m in drivers.items()}
    proposal = Proposal([(job, area) for job in jobs], {"economy": found}, NOW, {}, np.zeros(len(jobs)))
    wanted = at_once(proposal.candidates())
    records = {id_: of.get(id_) or a_driver(UserId(id_), changed_ms=NOW) for id_ in wanted}
    for _ in proposal.judge(records, Blocks()):
        pass
    if proposal.tries:
        proposal.try_shadow()
    for _ in proposal.choose():
        pass
    served = {each.row: each.to.driver_id for each in proposal.offers()}
    return {
        job.id: choice(job, area, proposal.look(row), NOW, served.get(row)) for row, job in enumerate(jobs)
    }


@pytest.mark.parametrize(
    ("rest_s", "moved"),
    [
        (100.0, False),  # 14 s of it are over: he needs 186 s more, and 184 save less than keep_offer_s
        (2.0, True),  # it is over, and he on his way: 198 s
        (0.0, True),  # he is free, and stands while he thinks
    ],
)
def test_an_open_offer_is_compared_as_of_now(rest_s: float, moved: bool) -> None:
    asked = a_job("ride", "offered", excluded=())
    offer = an_offer("ride", eta_s=200.0, made_ms=NOW - 14_000, finishing=rest_s > 0, rest_s=rest_s)
    found = {"economy": {DOV: Position(DOV, 49.99 + 880.0 * M_DEG, 36.23, NOW, None)}}
    proposal = Proposal([(asked, AREA)], found, NOW, {asked.id: offer}, np.zeros(1))
    records = {id_: a_driver(UserId(id_), changed_ms=NOW) for id_ in at_once(proposal.candidates())}
    for _ in proposal.judge(records, Blocks()):
        pass
    for _ in proposal.choose():
        pass
    assert [each.to.driver_id for each in proposal.offers()] == ([DOV] if moved else [])


def test_others_run_between_the_plan_and_what_becomes_of_open_offers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of the two is solved by itself: together they would keep the loop for twice as long."""
    solved: list[str] = []

    def spied(name: str) -> None:
        real = getattr(proposals, name)

        def spy(*args: object) -> object:
            solved.append(name)
            return real(*args)

        monkeypatch.setattr(proposals, name, spy)

    spied("solve")
    spied("rematch")
    asked = a_job("ride", "offered", excluded=())
    found = {"economy": {DOV: Position(DOV, 49.99, 36.23, NOW, None)}}
    jobs = [(ride("waits", 100.0), AREA), (asked, AREA)]
    proposal = Proposal(jobs, found, NOW, {asked.id: an_offer("ride", eta_s=200.0, made_ms=NOW)}, np.zeros(2))
    records = {id_: a_driver(UserId(id_), changed_ms=NOW) for id_ in at_once(proposal.candidates())}
    for _ in proposal.judge(records, Blocks()):
        pass
    steps: list[list[str]] = []
    for _ in proposal.choose():
        steps.append(solved.copy())
        solved.clear()
    assert [each for each in steps if each] == [["solve"], ["rematch"]] and not solved


def test_a_tried_pace_is_of_the_drive_and_not_of_the_ride_on_board() -> None:
    holds = Policy(cruise_speed_mps=10.0, pickup_overhead_s=0.0, detour=1.0, finishing_s=600.0)
    area = replace(AREA, policy=holds, shadow=replace(holds, cruise_speed_mps=5.0), shadow_version=9)
    on_board = a_job("ride", "in_progress", id="on-board", started_ms=NOW)
    soon = Position(DOV, 49.99 + 100.0 * M_DEG, 36.23, NOW + 300_000, None)
    proposal = Proposal([(ride("a", 0.0), area)], {keys.soon("economy"): {DOV: soon}}, NOW, {}, np.zeros(1))
    assert at_once(proposal.candidates()) == [DOV]
    for _ in proposal.judge({DOV: carrying(a_driver(DOV, changed_ms=NOW), on_board)}, Blocks()):
        pass
    proposal.try_shadow()
    for _ in proposal.choose():
        pass
    (made,) = proposal.look(0).considered
    assert made.shadow_s is not None and (made.eta_s, made.shadow_s - made.cost_s) == (310, 10)


def reasons(made: Choice) -> dict[str, str]:
    return {each.driver_id: each.reason for each in made.considered}


def test_each_outcome_of_a_batch() -> None:
    jobs = [ride("a", 0.0), ride("b", 400.0), ride("c", 5_500.0)]
    drivers = {"near": 500.0, "far": -1_500.0, "small": 100.0}
    small = a_driver(UserId("small"), seats=1, offer_id="job-9.1")
    made = batch(jobs, drivers, small=small)
    assert (made["a"].path, made["a"].driver_id, made["b"].driver_id, made["c"].driver_id) == (
        "batch", "far", "near", None,
    )  # fmt: skip
    assert reasons(made["a"]) == {"far": "chosen", "near": "lost", "small": "offered"}
    assert reasons(made["b"]) == {"near": "chosen", "far": "lost", "small": "offered"}
    assert made["c"].considered == (), "nobody reaches it in time"
    first = made["a"].considered[0]
    assert first.distance_m == pytest.approx(500, abs=2) and first.eta_s > 0 and first.shadow_s is None


def test_what_a_tried_policy_would_have_done() -> None:
    """It would not send anybody so far; nothing else changes by it."""
    shadow = replace(AREA.policy, longest_pickup_s=120.0)
    jobs, drivers = [ride("a", 0.0), ride("b", 400.0)], {"near": 500.0, "far": -1_500.0}
    plain = batch(jobs, drivers)
    made = batch(jobs, drivers, replace(AREA, shadow=shadow, shadow_version=4))
    assert {id_: (m.shadow, m.shadow_driver_id) for id_, m in made.items()} == {
        "a": (4, None),
        "b": (4, "near"),
    }
    for id_, each in made.items():
        assert [(c.driver_id, c.reason, c.cost_s) for c in each.considered] == [
            (c.driver_id, c.reason, c.cost_s) for c in plain[id_].considered
        ]
        assert {c.driver_id: c.shadow_s is None for c in each.considered}["far"]


def test_many_against_what_must_hold_of_any() -> None:
    r = random.Random(7)
    for _ in range(20):
        jobs = [
            ride(f"j{n}", r.uniform(-2_000, 2_000), seats=r.choice([1, 6])) for n in range(r.randint(1, 12))
        ]
        drivers = {f"d{n:02}": r.uniform(-4_000, 4_000) for n in range(r.randint(1, 60))}
        of = {id_: a_driver(UserId(id_), seats=r.choice([0, 6]), changed_ms=NOW) for id_ in drivers}
        shadow = r.choice([None, replace(AREA.policy, cruise_speed_mps=5.0)])
        area = replace(AREA, shadow=shadow, shadow_version=2 if shadow else 0)
        made = batch(jobs, drivers, area, **of)
        taken = {each.driver_id for each in made.values()} - {None}
        for each in made.values():
            named = reasons(each)
            assert len(each.considered) <= CONSIDERED_MAX and len(named) == len(each.considered)
            assert [id_ for id_, why in named.items() if why == "chosen"] == [each.driver_id] * bool(
                each.driver_id
            )
            assert {id_ for id_, why in named.items() if why == "lost"} <= taken - {each.driver_id}
            assert not {id_ for id_, why in named.items() if why == "farther"} & taken
            could = [c.cost_s for c in each.considered if c.reason in ("farther", "lost")]
            assert could == sorted(could) and each.more >= 0
            assert shadow is not None or all(c.shadow_s is None for c in each.considered)
