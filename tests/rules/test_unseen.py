"""Offers and slow networks: when the driver's clock starts, what becomes of an offer nobody saw, and late taps."""

import pytest

from dispatch import commands as c
from dispatch.blocks import Blocks
from dispatch.eligibility import why_not
from dispatch.policy import Policy
from tests.rules.build import CODE, DEE, DOV, JOB, NOW, OFFER, World, a_driver, a_job, home, room, told, world

POLICY = Policy(offer_s=10.0, unseen_s=1.5, offer_grace_s=1.0, max_offers=2)
LATE_MS = NOW + 1_500


def offered(*, tells: bool = True, policy: Policy = POLICY) -> World:
    """Dee was offered the ride just now."""
    before = world(a_job("ride", "searching"), a_driver(tells_seen=tells), a_driver(DOV), policy=policy)
    return before.run(
        c.MakeOffer(user=c.SYSTEM, room=room("ride"), job_id=JOB, driver_id=DEE, distance_m=1.0, eta_s=1.0)
    )


def wake() -> c.WakeJob:
    return c.WakeJob(user=c.SYSTEM, room=room("ride"), job_id=JOB)


def see() -> c.SeeOffer:
    return c.SeeOffer(user=DEE, room=home(DEE), offer_id=OFFER)


def accept(thought_ms: int | None = None) -> c.AcceptOffer:
    return c.AcceptOffer(user=DEE, room=home(DEE), offer_id=OFFER, code=CODE, thought_ms=thought_ms)


def test_an_old_app_has_the_old_clock() -> None:
    it = offered(tells=False)
    assert it.offer.deadline_ms == NOW + 10_000 and it.job.wake_ms == NOW + 11_000
    seen = it.run(see(), NOW + 4_000)
    assert seen.offer.deadline_ms == NOW + 10_000 and seen.job == it.job
    assert it.decide(wake(), LATE_MS).put == ()
    assert it.run(wake(), NOW + 11_000).offer.state == "expired"


def test_the_clock_starts_when_it_is_seen_and_once() -> None:
    it = offered()
    assert it.job.wake_ms == LATE_MS
    decision = it.decide(see(), NOW + 1_400)
    assert decision.answer["expiresInMs"] == 10_000
    seen = it.after(decision)
    assert seen.offer.deadline_ms == NOW + 11_400 and seen.job.wake_ms == NOW + 12_400
    again = seen.decide(see(), NOW + 5_000)
    assert again.put == () and again.answer["expiresInMs"] == 6_400
    assert seen.decide(wake(), LATE_MS).put == ()
    over = seen.run(wake(), NOW + 12_400)
    assert over.offer.state == "expired" and over.job.excluded == (DEE,)


def test_not_seen_goes_on_without_a_mark() -> None:
    it = offered()
    decision = it.decide(wake(), LATE_MS)
    over = it.after(decision)
    assert over.offer.state == "unseen" and over.job.state == "searching" and over.dee.available
    assert over.job.excluded == () and (over.job.offers, over.job.unseen) == (1, 1)
    assert (home(DEE), "offer_withdrawn") in told(decision)
    # others first; then he may be asked again
    reasons = [
        why_not(over.job, over.dee, POLICY, Blocks(), LATE_MS + after_ms) for after_ms in (0, 9_999, 10_000)
    ]
    assert reasons == ["passed", "passed", ""]


def test_unseen_ones_are_not_of_the_most_that_are_made() -> None:
    it = offered()
    for number in range(1, 4):
        at_ms = NOW + 20_000 * number
        it = it.run(wake(), at_ms)
        assert it.job.state == "searching" and it.job.unseen == number and it.job.wake_ms > at_ms
        to = c.MakeOffer(
            user=c.SYSTEM, room=room("ride"), job_id=JOB, driver_id=DEE, distance_m=1.0, eta_s=1.0
        )
        it = it.run(to, at_ms + 10_000)
        assert len(it.job.passed) == 0  # what has run out is forgotten
    assert it.job.offers == 4


def test_an_answer_before_it_was_said_to_be_seen_counts() -> None:
    assert offered().run(accept(), NOW + 1_000).job.driver_id == DEE
    assert offered().code(c.DeclineOffer(user=DEE, room=home(DEE), offer_id=OFFER), NOW + 1_000) == "ok"


@pytest.mark.parametrize(
    ("after_ms", "thought_ms", "code"),
    [
        (10_000, None, "ok"),
        (10_900, None, "ok"),
        (11_001, None, "offer_gone"),
        (10_900, 9_999, "ok"),
        (10_900, 10_000, "ok"),
        (11_001, 9_000, "offer_gone"),  # the grace is bounded, whatever the phone says
        (10_000, 10_001, "ok"),  # in time by our clock
        (10_001, 10_001, "offer_gone"),
    ],
)
def test_late_taps(after_ms: int, thought_ms: int | None, code: str) -> None:
    seen_ms = NOW + 1_000
    assert offered().run(see(), seen_ms).code(accept(thought_ms), seen_ms + after_ms) == code
