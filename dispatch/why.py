"""Why this driver, or nobody: what the match leaves behind of each decision, for an admin, and for a driver of himself.

Pure. A decision that makes an offer is a record in the offer's own commit: it costs no round trip, and neither is ever
there without the other. One that makes none (nobody near, nobody fit) is noted beside (dispatch/notes.py).
"""

from collections.abc import Iterable
from itertools import islice

from dispatch import reliability
from dispatch.area import Area
from dispatch.commands import Look, offer_id
from dispatch.eligibility import REASONS
from dispatch.matching import Ranked
from dispatch.policy import Policy
from dispatch.travel import as_if
from storage.records import Choice, Considered, Job, UserId

#: So many of those looked at are kept, the best by cost, and the chosen one in any case; the others are counted.
CONSIDERED_MAX = 16
CHOSEN = "chosen"
#: Beside the reasons of eligibility.
OUTCOMES = {
    CHOSEN: "was asked",
    "farther": "could have been asked; somebody else cost less",
    "lost": "was asked for another job, which needed him more",
    "too_far": "would have come too late",
    "worth_more": "will be asked for something nearer sooner than he would have come",
}


def choice(job: Job, area: Area, look: Look, now_ms: int, driver_id: UserId | None) -> Choice:
    """The record of a look at `job` as it was read, which ended with `driver_id`, or with nobody."""
    ranked = sorted((_named(each, driver_id) for each in look.considered), key=_by_rank)
    if driver_id is not None and all(each.driver_id != driver_id for each in ranked[:CONSIDERED_MAX]):
        mine = [each for each in ranked if each.driver_id == driver_id] or [Considered(driver_id, CHOSEN)]
        ranked = [each for each in ranked if each.driver_id != driver_id]
        ranked[CONSIDERED_MAX - 1 : CONSIDERED_MAX - 1] = mine
    kept = ranked[:CONSIDERED_MAX]
    return Choice(
        id=offer_id(job.id, job.offers + 1) if driver_id else f"{job.id}.{job.offers}-{now_ms}",
        job_id=job.id,
        kind=job.kind,
        vehicle_class=job.vehicle_class,
        area_id=area.id,
        policy=area.policy_version,
        path=look.path,
        driver_id=driver_id,
        considered=tuple(kept),
        more=look.more + len(ranked) - len(kept),
        shadow=area.shadow_version if area.shadow is not None else 0,
        shadow_driver_id=look.shadow_driver_id if area.shadow is not None else None,
        at_ms=now_ms,
    )


class Seen:
    """What a match at once sees of a job, look by look, until somebody takes the offer."""

    def __init__(self, area: Area) -> None:
        self._area = area
        self._ranked: dict[str, Ranked] = {}
        self._why: dict[str, str] = {}

    def saw(self, ranked: Iterable[Ranked]) -> None:
        self._ranked.update((each.driver_id, each) for each in ranked)

    def refused(self, driver_id: str, why: str) -> None:
        self._why[driver_id] = why

    def look(self) -> Look:
        """Whoever could not be asked, with why, and the best of the others."""
        kept = [self._ranked[id_] for id_ in self._why][:CONSIDERED_MAX]
        kept += islice((each for id_, each in self._ranked.items() if id_ not in self._why), CONSIDERED_MAX)
        seen = tuple(self._considered(each) for each in kept)
        return Look("nearest", seen, len(self._ranked) - len(seen), cheapest(seen))

    def _considered(self, each: Ranked) -> Considered:
        shadow, eta_s = self._area.shadow, round(each.eta_s)
        return Considered(
            UserId(each.driver_id),
            self._why.get(each.driver_id, "farther"),
            round(each.distance_m),
            eta_s,
            round(each.cost_s(self._area.policy)),
            None if shadow is None else _by_shadow(each, self._area, shadow),
        )


def _by_shadow(each: Ranked, area: Area, shadow: Policy) -> int | None:
    """None for a driver whom it would not have looked at."""
    if each.distance_m > shadow.search_radius_m:
        return None
    return round(as_if(each.eta_s, each.rest_s or 0.0, area, shadow) + reliability.cost_s(each.score, shadow))


def same(one: Choice, other: Choice) -> bool:
    """Do both say the same, but for the time and how far everybody is?"""
    return _said(one) == _said(other)


def _said(one: Choice) -> tuple[object, ...]:
    seen = frozenset((each.driver_id, each.reason) for each in one.considered)
    return one.driver_id, one.path, one.policy, one.shadow, one.shadow_driver_id, seen


def cheapest(considered: Iterable[Considered]) -> UserId | None:
    """Whom the tried policy would have asked: of those who could be asked, who costs least by it."""
    could = [each for each in considered if each.shadow_s is not None and each.reason not in REASONS]
    return min(could, key=lambda each: (each.shadow_s, each.driver_id)).driver_id if could else None


def _named(each: Considered, driver_id: UserId | None) -> Considered:
    if (each.driver_id == driver_id) == (each.reason == CHOSEN):
        return each
    reason = CHOSEN if each.driver_id == driver_id else "farther"
    return Considered(each.driver_id, reason, each.distance_m, each.eta_s, each.cost_s, each.shadow_s)


def _by_rank(each: Considered) -> tuple[bool, int, str]:
    return each.reason in REASONS, each.cost_s, each.driver_id
