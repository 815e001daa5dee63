"""The ranking: nearest first, the silent left out, the same order whatever order they came in."""

from itertools import permutations

from dispatch.eta import pickup_eta_s
from dispatch.matching import Candidate as Found
from dispatch.matching import Ranked, rank
from dispatch.policy import Policy

POLICY = Policy(stale_s=45.0)


def candidate(driver_id: str, distance_m: float, age_ms: int) -> Found:
    return Found(driver_id, distance_m, age_ms, pickup_eta_s(distance_m, POLICY))


def order(*candidates: Found) -> list[str]:
    return [ranked.driver_id for ranked in rank(candidates, POLICY)]


def test_nearest_by_eta_first_with_what_the_offer_tells() -> None:
    ranked = rank([candidate("far", 2_000.0, 0), candidate("near", 500.0, 44_000)], POLICY)
    assert ranked == [
        Ranked("near", 500.0, pickup_eta_s(500.0, POLICY)),
        Ranked("far", 2_000.0, pickup_eta_s(2_000.0, POLICY)),
    ]


def test_who_is_there_first_is_asked_first_though_he_is_farther_away() -> None:
    assert order(Found("near", 400.0, 0, 130.0), Found("across the river", 300.0, 0, 400.0)) == [
        "near",
        "across the river",
    ]


def test_the_silent_are_left_out() -> None:
    assert order(candidate("just", 1.0, 45_000), candidate("silent", 1.0, 45_001)) == ["just"]
    assert rank([], POLICY) == []


def test_equals_are_ordered_by_freshness_then_id() -> None:
    candidates = [candidate("b", 10.0, 500), candidate("a", 10.0, 500), candidate("c", 10.0, 100)]
    assert {tuple(order(*shuffled)) for shuffled in permutations(candidates)} == {("c", "a", "b")}
