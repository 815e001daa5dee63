"""How a driver has dealt with what he was offered: a score that an area may let count in whom it asks.

Pure. The record keeps counts (records.History), of which half is forgotten in every HALF_LIFE_MS. The score is the
share of his offers that he refused plus the share of his jobs that he gave back, as if he had taken NEWCOMER more: who
begins has 0, one refusal is little, and whoever does better is soon like anybody else. A unit of it costs
`policy.history_weight` seconds of pickup ETA, in the batch (batch.priced) and in the match at once
(matching.by_cost) alike; by default nothing.

| what happened | it counts as |
|---|---|
| he said no | refused |
| he said nothing until his time was up | refused, also where an old app does not tell what it shows |
| he accepted, also what another was on his way to | taken |
| he gave back what he had accepted | given back |
| his phone did not show it, or it was withdrawn | nothing |
| he fell silent, or went offline, with an offer or a job | nothing: networks break, and a shift may end |
| an admin gave him a job, accepted for him, or took one from him | nothing |
| he gave back what an admin gave him, or he had taken over | nothing: the record does not tell the two apart |
| another took it over from him, or what came next to him waited too long | nothing |
| its passenger called it off or was not there | nothing more: it is one that he took |
| nothing was written of him for LIVE_TTL_MS, or Redis was lost | all of it is forgotten |
"""

from typing import Final, TypeVar

from msgspec.structs import replace

from dispatch.assignment import Floats
from dispatch.policy import Policy
from storage.records import Driver, History

HALF_LIFE_MS: Final = 7 * 86_400_000  # about as long as the record of somebody who stays away lasts
NEWCOMER: Final = 5.0
Score = TypeVar("Score", float, Floats)


def score(driver: Driver, now_ms: int) -> float:
    """From 0 to less than 2."""
    had = driver.history
    if not had.as_of_ms:
        return 0.0
    keep = _kept(had, now_ms)
    taken, refused, back = had.taken * keep, had.refused * keep, had.given_back * keep
    return refused / (refused + taken + NEWCOMER) + back / (max(taken, back) + NEWCOMER)


def cost_s(score: Score, policy: Policy) -> Score:
    """What a score adds to the cost of asking a driver: of one, or of many."""
    return score * policy.history_weight


def counts(policy: Policy | None) -> bool:
    return policy is not None and policy.history_weight > 0.0


def after(
    driver: Driver, now_ms: int, *, taken: float = 0.0, refused: float = 0.0, given_back: float = 0.0
) -> Driver:
    """Him, with one thing more that he did."""
    had = driver.history
    keep = _kept(had, now_ms)
    now = History(
        taken=round(had.taken * keep + taken, 4),
        refused=round(had.refused * keep + refused, 4),
        given_back=round(had.given_back * keep + given_back, 4),
        as_of_ms=max(had.as_of_ms, now_ms),
    )
    return replace(driver, history=now)


def _kept(had: History, now_ms: int) -> float:
    """Which part of the counts is not forgotten by now."""
    return float(0.5 ** (max(0, now_ms - had.as_of_ms) / HALF_LIFE_MS))
