"""The match found a driver: the job is held for him, and for nobody else, until the deadline.

Or it found a better one than who thinks about it now: his offer is withdrawn in the same commit, without a mark, and he
is passed over while the other thinks, so that a job does not go to and fro between two. Or a better one than who is on
his way: he keeps it, and its room hears nothing, until the other one takes it over (takeover.py).
"""

from msgspec.structs import replace

from dispatch.commands import MakeOffer, NotHim, Refusal, offer_id
from dispatch.decision import Decision, State
from dispatch.eligibility import why_not
from dispatch.lifecycle import step
from dispatch.rules.release import end_offer
from dispatch.takeover import may_change
from dispatch.why import choice
from dispatch.wording import offer_fact, status_fact
from storage.facts import Fact
from storage.records import Choice, Driver, Job, Offer, UserId


def decide(state: State, command: MakeOffer) -> Decision:
    """Raises Refusal already_assigned when the job no longer searches, is not held by the offer that is to go (one
    whose time is up may wait for its timer), or its driver may not be another; no_supply when the driver does not
    fit."""
    job, driver = state.job(command.job_id), state.driver(command.driver_id)
    if job is None:
        raise Refusal("already_assigned")
    if command.beside is not None:
        return _beside(state, command, job, driver)
    if state.now_ms >= job.wake_ms:
        raise Refusal("already_assigned")
    put: tuple[Offer | Driver, ...] = ()
    facts: tuple[Fact, ...] = ()
    if command.instead and job.state == "offered" and job.offer_id == command.instead:
        put, facts = end_offer(state, job, "withdrawn", "another is nearer")
        job = replace(
            job,
            state=step(job.kind, job.state, "searching", "S"),
            moved_from=(*job.moved_from, UserId(job.offered_to or "")),
        )
    if job.state != "searching" or bool(command.instead) != bool(put):
        raise Refusal("already_assigned")
    held, offer, busy, why_him = _asked(state, command, job, driver)
    held = replace(held, state=step(job.kind, job.state, "offered", "S"))
    told = offer_fact(replace(held, version=held.version + 1), busy, offer, state.now_ms)
    return Decision(
        answer={"offerId": offer.id, "driverId": busy.id},
        put=(held, offer, busy, *put),
        facts=(*facts, told, status_fact(held, state.now_ms, "system", records=(why_him,))),
    )


def _beside(state: State, command: MakeOffer, job: Job, driver: Driver | None) -> Decision:
    """It stays its driver's, who is on his way for nothing else."""
    policy, his = state.area(job.area_id).policy, state.driver(command.beside)
    if his is None or job.driver_id != his.id or not may_change(job, his, policy, state.now_ms):
        raise Refusal("already_assigned")
    if driver is not None and driver.load:
        raise NotHim("full")
    held, offer, busy, why_him = _asked(state, command, job, driver)
    held = replace(held, takeovers=job.takeovers + 1)
    told = offer_fact(replace(held, version=held.version + 1), busy, offer, state.now_ms)
    return Decision(
        answer={"offerId": offer.id, "driverId": busy.id},
        put=(held, offer, busy),
        read=(his,),
        facts=(told, Fact(room=job.room, records=(held, why_him))),
    )


def _asked(
    state: State, command: MakeOffer, job: Job, driver: Driver | None
) -> tuple[Job, Offer, Driver, Choice]:
    """The job held for a driver, his offer, him with it, and why him. Raises NotHim."""
    area = state.area(job.area_id)
    policy = area.policy
    if driver is None:
        raise NotHim("offline")
    if why := why_not(job, driver, policy, state.blocks, state.now_ms, rest_s=command.rest_s):
        raise NotHim(why)
    number = job.offers + 1
    deadline_ms = state.now_ms + int(policy.offer_s * 1000)
    unseen_ms = state.now_ms + int(policy.unseen_s * 1000) if driver.tells_seen else 0
    offer = Offer(
        id=offer_id(job.id, number),
        job_id=job.id,
        kind=job.kind,
        driver_id=driver.id,
        state="open",
        made_ms=state.now_ms,
        deadline_ms=deadline_ms,
        unseen_ms=unseen_ms,
        distance_m=command.distance_m,
        eta_s=command.eta_s,
        finishing=driver.finishing,
        rest_s=command.rest_s or 0.0,
        more_s=command.more_s,
        next_s=command.next_s,
    )
    held = replace(
        job,
        offer_id=offer.id,
        offered_to=driver.id,
        offers=number,
        passed={id_: until_ms for id_, until_ms in job.passed.items() if until_ms > state.now_ms},
        wake_ms=unseen_ms or deadline_ms + int(policy.offer_grace_s * 1000),
    )
    busy = replace(driver, offer_id=offer.id, changed_ms=state.now_ms)
    return held, offer, busy, choice(job, area, command.look, state.now_ms, driver.id)
