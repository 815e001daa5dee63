"""The ranking: nearest first, the silent left out, the same order whatever order they came in."""

from itertools import permutations

from dispatch.eta import pickup_eta_s
from dispatch.matching import Candidate, Ranked, rank
from dispatch.policy import Policy

POLICY = Policy(stale_s=45.0)


def order(*candidates: Candidate) -> list[str]:
    return [ranked.driver_id for ranked in rank(candidates, POLICY)]


def test_nearest_by_eta_first_with_what_the_offer_tells() -> None:
    ranked = rank([Candidate("far", 2_000.0, 0), Candidate("near", 500.0, 44_000)], POLICY)
    assert ranked == [
        Ranked("near", 500.0, pickup_eta_s(500.0, POLICY)),
        Ranked("far", 2_000.0, pickup_eta_s(2_000.0, POLICY)),
    ]


def test_the_silent_are_left_out() -> None:
    assert order(Candidate("just", 1.0, 45_000), Candidate("silent", 1.0, 45_001)) == ["just"]
    assert rank([], POLICY) == []


def test_equals_are_ordered_by_freshness_then_id() -> None:
    candidates = [Candidate("b", 10.0, 500), Candidate("a", 10.0, 500), Candidate("c", 10.0, 100)]
    assert {tuple(order(*shuffled)) for shuffled in permutations(candidates)} == {("c", "a", "b")}
