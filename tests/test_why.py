"""Why this driver, or nobody: the record of a decision, from what the match saw."""

from __future__ import annotations

from msgspec.structs import replace

from dispatch.area import Area
from dispatch.commands import Look
from dispatch.eligibility import REASONS
from dispatch.matching import Ranked
from dispatch.policy import Policy
from dispatch.why import CHOSEN, CONSIDERED_MAX, OUTCOMES, Seen, cheapest, choice, same
from storage.records import Considered, UserId
from tests.rules.build import NOW, a_job, town

TEN = Policy(cruise_speed_mps=10.0, pickup_overhead_s=0.0, detour=1.0)
AREA = replace(next(iter(town())), policy=TEN, policy_version=7)
JOB = a_job("ride", "searching", offers=2)


def ranked(*away_m: float) -> list[Ranked]:
    return [Ranked(f"d{n}", each, each / 10) for n, each in enumerate(away_m)]


def seen(*away_m: float, area: Area = AREA, **why: str) -> Seen:
    found = Seen(area)
    found.saw(ranked(*away_m))
    for driver_id, reason in why.items():
        found.refused(driver_id, reason)
    return found


def test_no_word_means_two_things() -> None:
    assert not REASONS.keys() & OUTCOMES.keys()


def test_who_could_not_and_who_was_farther() -> None:
    made = choice(JOB, AREA, seen(100.0, 201.0, 300.0, d0="seats").look(), NOW, UserId("d1"))
    assert (made.id, made.driver_id, made.policy, made.path, made.at_ms) == (
        f"{JOB.id}.3",
        "d1",
        7,
        "nearest",
        NOW,
    )
    assert made.considered == (
        Considered(UserId("d1"), CHOSEN, 201, 20, 20),
        Considered(UserId("d2"), "farther", 300, 30, 30),
        Considered(UserId("d0"), "seats", 100, 10, 10),  # whoever could not be asked has no better rank
    )
    assert (made.more, made.shadow, made.shadow_driver_id) == (0, 0, None)


def test_nobody() -> None:
    made = choice(JOB, AREA, seen(100.0, d0="papers").look(), NOW, None)
    assert made.id == f"{JOB.id}.2-{NOW}" and made.driver_id is None
    assert [each.reason for each in made.considered] == ["papers"]
    assert choice(JOB, AREA, seen().look(), NOW, None).considered == ()


def test_of_many_the_best_are_kept_and_the_chosen_in_any_case() -> None:
    many = [100.0 + n for n in range(90)]
    refused = {f"d{n}": "full" for n in range(30)}
    made = choice(JOB, AREA, seen(*many, **refused).look(), NOW, UserId("d89"))
    assert len(made.considered) == CONSIDERED_MAX and len(made.considered) + made.more == 91
    assert made.considered[-1] == Considered(UserId("d89"), CHOSEN), "he was beyond what was kept"
    assert [each.driver_id for each in made.considered[:3]] == ["d30", "d31", "d32"]
    made = choice(JOB, AREA, seen(*many, **refused).look(), NOW, UserId("d30"))
    assert made.considered[0].reason == CHOSEN and len(made.considered) + made.more == 90


def test_what_the_tried_policy_would_have_done() -> None:
    shadow = Policy(search_radius_m=250.0, cruise_speed_mps=1.0, pickup_overhead_s=0.0, detour=1.0)
    area = replace(AREA, shadow=shadow, shadow_version=9)
    made = choice(JOB, area, seen(100.0, 200.0, 300.0, area=area, d0="seats").look(), NOW, UserId("d2"))
    assert (made.shadow, made.shadow_driver_id) == (9, "d1")
    assert {each.driver_id: each.shadow_s for each in made.considered} == {"d0": 100, "d1": 200, "d2": None}
    # nobody whom it would have looked at; and a tried policy that is gone by the commit is not spoken of
    assert choice(JOB, area, seen(300.0, area=area).look(), NOW, None).shadow_driver_id is None
    assert choice(JOB, AREA, seen(100.0, area=area).look(), NOW, None).shadow_driver_id is None


def test_a_tried_pace_is_of_the_drive_and_not_of_the_ride_on_board() -> None:
    """300 s until that is over and 10 s of driving: at half the speed 320, not 620."""
    area = replace(AREA, shadow=replace(TEN, cruise_speed_mps=5.0), shadow_version=9)
    found = Seen(area)
    found.saw([Ranked("d0", 100.0, 310.0, rest_s=300.0)])
    assert [each.shadow_s for each in found.look().considered] == [320]


def test_the_cheapest_of_equals_is_always_the_same() -> None:
    some = [Considered(UserId(id_), "farther", shadow_s=5) for id_ in ("b", "a", "c")]
    assert cheapest(some) == "a" and cheapest([]) is None
    assert (
        cheapest([Considered(UserId("a"), "farther"), Considered(UserId("b"), "stale", shadow_s=1)]) is None
    )


def test_what_is_the_same_again() -> None:
    one = choice(JOB, AREA, seen(100.0, 200.0, d0="seats").look(), NOW, None)
    assert same(one, choice(JOB, AREA, seen(110.0, 190.0, d0="seats").look(), NOW + 2_000, None))
    assert not same(one, choice(JOB, AREA, seen(100.0, 200.0, d0="full").look(), NOW, None))
    assert not same(one, choice(JOB, AREA, seen(100.0).look(), NOW, None))
    assert not same(
        one, choice(JOB, replace(AREA, policy_version=8), seen(100.0, 200.0, d0="seats").look(), NOW, None)
    )
    assert not same(one, choice(JOB, AREA, Look("batch", one.considered), NOW, None))
