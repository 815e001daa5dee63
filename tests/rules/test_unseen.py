"""Offers and slow networks: when the driver's clock starts, what becomes of an offer nobody saw, and late taps."""

import pytest
from msgspec.structs import replace

from dispatch import commands as c
from dispatch.blocks import Blocks
from dispatch.eligibility import why_not
from dispatch.policy import Policy
from dispatch.rules.release import PASSED_MAX
from storage.records import Driver, UserId
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


def searched(blind: int, *, good: bool) -> tuple[list[str], World]:
    """Who is asked until the search is given up or `good`, who is the farthest and whose phone alone shows its offers,
    sees one; the nearest who may be asked goes first."""
    ids = [UserId(f"blind-{number:03}") for number in range(blind)] + [UserId("good")] * good
    job = a_job("ride", "searching", searching_ms=NOW, wake_ms=NOW + 180_000)
    policy, asked, now_ms = Policy(patience_s=180.0), list[str](), NOW
    it = world(job, *(a_driver(id_, tells_seen=True) for id_ in ids), policy=policy)
    while it.job.state == "searching" and "good" not in asked:
        now_ms += 50
        may = [id_ for id_ in ids if not why_not(it.job, driver(it, id_), policy, Blocks(), now_ms)]
        if now_ms >= it.job.wake_ms:
            it = it.run(wake(), now_ms)
        elif may:
            asked.append(may[0])
            to = {"driver_id": may[0], "distance_m": 1.0, "eta_s": 1.0}
            it = it.run(c.MakeOffer(user=c.SYSTEM, room=room("ride"), job_id=JOB, **to), now_ms)
            now_ms = max(now_ms, it.job.wake_ms)
            it = it if "good" in asked else it.run(wake(), now_ms)
    return asked, it


def driver(it: World, id_: UserId) -> Driver:
    return it.records[Driver, id_]  # type: ignore[return-value]


@pytest.mark.parametrize("blind", [1, 9, 12, 40, 90])
def test_whoever_shows_nothing_hides_nobody_for_long(blind: int) -> None:
    """However many stand nearer than the one who would see it: each once, and a tenth of the time for further tries."""
    asked, _ = searched(blind, good=True)
    assert asked[-1] == "good" and blind < len(asked) <= 1.15 * blind + 1
    assert len(set(asked)) == blind + 1


def test_who_shows_nothing_is_asked_again_before_it_is_given_up() -> None:
    """Of a few each; one alone every time that others might have thought."""
    for blind, least in ((1, 11), (2, 6), (10, 2)):
        asked, it = searched(blind, good=False)
        assert it.job.state == "no_driver" and len(set(asked)) == blind
        assert min(asked.count(id_) for id_ in asked) >= least


def test_so_many_marks_a_job_keeps() -> None:
    """Where there are more, whoever may soon be asked again is asked now."""
    it = offered()
    many = {UserId(f"blind-{number:03}"): LATE_MS + 1 + number for number in range(PASSED_MAX)}
    passed = it.plus(replace(it.job, passed=many)).run(wake(), LATE_MS).job.passed
    assert set(passed) == {*many, DEE} - {"blind-000"}
    assert passed[DEE] == LATE_MS + 10_000 * PASSED_MAX


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
