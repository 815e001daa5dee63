"""An open offer goes to a nearer driver: in one commit, only while it is the one that was meant, without a mark."""

import pytest
from msgspec.structs import replace

from dispatch import commands as c
from dispatch.blocks import Blocks
from dispatch.eligibility import why_not
from dispatch.policy import Policy
from storage.records import OfferId
from tests.rules.build import CODE, DEE, DOV, JOB, NOW, OFFER, World, a_driver, home, room, scene, told

POLICY = Policy(offer_s=10.0)


def offered(kind: str = "ride") -> World:
    """Dee thinks about it; Dov is free."""
    return scene(kind, "offered", policy=POLICY).plus(a_driver(DOV))


def to_dov(instead: OfferId | None = OFFER) -> c.MakeOffer:
    what = {"job_id": JOB, "driver_id": DOV, "distance_m": 100.0, "eta_s": 40.0}
    return c.MakeOffer(user=c.SYSTEM, room=room("ride"), **what, instead=instead, instead_of=DEE)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["ride", "package"])
def test_it_goes_over_in_one_commit(kind: str) -> None:
    decision = offered(kind).decide(to_dov())
    after = offered(kind).after(decision)
    assert after.job.state == "offered" and after.job.offered_to == DOV and after.job.offer_id != OFFER
    assert after.offer.state == "withdrawn" and after.dee.available and after.job.excluded == ()
    assert after.job.moved_from == (DEE,) and not after.job.passed
    assert why_not(after.job, after.dee, POLICY, Blocks(), NOW) == "moved"
    spoken = told(decision)
    assert (home(DEE), "offer_withdrawn") in spoken and (home(DOV), "offer") in spoken


def test_only_while_it_is_the_one_that_was_meant() -> None:
    assert offered().code(to_dov(OfferId("job-1.7"))) == "already_assigned"
    assert offered().code(to_dov(None)) == "already_assigned"
    assert scene("ride", "searching").plus(a_driver(DOV)).code(to_dov()) == "already_assigned"
    assert scene("ride", "assigned").plus(a_driver(DOV)).code(to_dov()) == "already_assigned"
    assert offered().code(to_dov(), NOW + 11_000) == "already_assigned"  # its time is up


def test_not_to_who_may_not_have_it() -> None:
    busy = offered().plus(replace(a_driver(DOV), stale=True))
    assert busy.code(to_dov()) == "no_supply"


@pytest.mark.parametrize("outcome", ["declined", "expired", "unseen", "lost", "taken"])
def test_the_first_may_be_asked_again_once_the_other_has_answered(outcome: str) -> None:
    """He has not said no to anything; were he still passed over, a search with nobody else would stand still."""
    moved = (
        scene("ride", "offered", policy=POLICY)
        .plus(a_driver(DOV, tells_seen=outcome == "unseen"))
        .run(to_dov())
    )
    his = {"user": DOV, "room": home(DOV), "offer_id": moved.job.offer_id}
    over = {
        "declined": c.DeclineOffer(**his),
        "expired": c.WakeJob(user=c.SYSTEM, room=room("ride"), job_id=JOB),
        "unseen": c.WakeJob(user=c.SYSTEM, room=room("ride"), job_id=JOB),
        "lost": c.WakeDriver(user=c.SYSTEM, room=home(DOV), driver_id=DOV),
        "taken": c.AcceptOffer(**his, code=CODE),
    }[outcome]
    after = moved.run(over, moved.job.wake_ms if outcome in {"expired", "unseen"} else NOW)
    assert after.job.state == ("assigned" if outcome == "taken" else "searching")
    assert why_not(after.job, after.dee, POLICY, Blocks(), NOW) == ""
