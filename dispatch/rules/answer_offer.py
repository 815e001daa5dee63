"""The driver's answers to his offer: seen, declined, accepted.

An accept counts until the deadline plus the area's grace, by Redis' clock at the commit (without the grace where the
phone itself says that he took longer than he may), and only while job,
offer and driver still belong together; a second one of the same driver is told what he has, anybody else's is
`offer_gone`. So a job never has two drivers, however late or often anybody taps. Who takes a job over from the one who
is on his way gets it in the commit that lets that one go (takeover.py).
"""

from msgspec.structs import replace

from dispatch.commands import AcceptOffer, DeclineOffer, Refusal, SeeOffer
from dispatch.decision import Decision, State
from dispatch.eligibility import too_heavy
from dispatch.lifecycle import step
from dispatch.reliability import after
from dispatch.rules.release import offer_returned, without_job
from dispatch.rules.taking import taken
from dispatch.wording import assigned_fact, code_fact, receipt, taken_over_facts
from storage.facts import Fact
from storage.records import Driver, Job, Offer, UserId


def _open_offer(state: State, offer_id: str, user: str) -> tuple[Offer, Job, Driver]:
    """The offer with its job and driver, all still bound to one another. Raises Refusal offer_gone."""
    offer = state.offer(offer_id)
    if offer is None or offer.driver_id != user:
        raise Refusal("offer_gone")
    job, driver = state.job(offer.job_id), state.driver(user)
    if offer.state != "open" or job is None or driver is None:
        raise Refusal("offer_gone")
    if job.state not in ("offered", "assigned") or job.offer_id != offer.id or driver.offer_id != offer.id:
        raise Refusal("offer_gone")
    return offer, job, driver


def decide_seen(state: State, command: SeeOffer) -> Decision:
    """A phone that said it would tell starts the driver's clock with this; another one's clock began with the offer."""
    offer, job, _ = _open_offer(state, command.offer_id, command.user)
    starts = bool(offer.unseen_ms) and not offer.seen_ms
    policy = state.area(job.area_id).policy
    deadline_ms = state.now_ms + int(policy.offer_s * 1000) if starts else offer.deadline_ms
    answer = {"offerId": offer.id, "expiresInMs": max(0, deadline_ms - state.now_ms)}
    if offer.seen_ms:
        return Decision(answer=answer)
    seen = replace(offer, seen_ms=state.now_ms, deadline_ms=deadline_ms)
    if not starts:
        return Decision(answer=answer, put=(seen,))
    held = replace(job, wake_ms=deadline_ms + int(policy.offer_grace_s * 1000))
    return Decision(answer=answer, put=(seen, held))


def decide_decline(state: State, command: DeclineOffer) -> Decision:
    offer, job, _ = _open_offer(state, command.offer_id, command.user)
    records, facts = offer_returned(state, job, "declined", command.reason)
    return Decision(answer={"offerId": offer.id, "outcome": "declined"}, put=records, facts=facts)


def _has_it(state: State, command: AcceptOffer) -> Decision | None:
    """What a driver is told who accepted this offer already, and still carries its job."""
    offer = state.offer(command.offer_id)
    job = state.job(offer.job_id) if offer and offer.state == "accepted" else None
    if offer is None or job is None or offer.driver_id != command.user or job.driver_id != command.user:
        return None
    answer = {**receipt(job), "version": job.version, "offerId": offer.id, "outcome": "accepted"}
    return Decision(answer=answer)


def decide_accept(state: State, command: AcceptOffer) -> Decision:
    if (already := _has_it(state, command)) is not None:
        return already
    offer, job, driver = _open_offer(state, command.offer_id, command.user)
    area = state.area(job.area_id)
    policy = area.policy
    too_late = command.thought_ms is not None and command.thought_ms > policy.offer_s * 1000
    latest_ms = offer.deadline_ms + (0 if too_late else int(policy.offer_grace_s * 1000))
    if state.now_ms > latest_ms:
        raise Refusal("offer_gone", "The offer has expired.")
    units = job.units or driver.capacity
    full = driver.spare < units and not (job.kind == "ride" and driver.finishing)
    if full or too_heavy(job, driver):
        # he came online with a smaller vehicle since he was asked
        raise Refusal("wrong_state", "Your vehicle has no room for this job.")
    before = job.driver_id
    if before is None:
        step(job.kind, job.state, "assigned", "D")
    else:
        job = replace(job, settled=True, excluded=(*job.excluded, before))
    willing = after(driver, state.now_ms, taken=1.0)
    # what every approach takes on top (`pickup_overhead_s`) is room for times that have changed since he was asked
    latest_s = offer.eta_s - offer.next_s
    assigned, busy = taken(job, willing, state.now_ms, area, command.code, latest_s=latest_s)
    if busy.has_queued(job.id):  # until the ride on board is over, but not for ever (wake_job.py)
        assigned = replace(assigned, wake_ms=offer.rest_over_ms + int(policy.patience_s * 1000))
    accepted = replace(offer, state="accepted", ended_ms=state.now_ms)
    told = assigned_fact(assigned, busy, accepted, state.now_ms, taken_over=before is not None)
    free, let_go = _let_go(state, assigned, before)
    # a ride's code is for the start; a parcel's is issued once the parcel is on board
    secret = (code_fact(assigned, state.now_ms),) if job.kind == "ride" and assigned.code else ()
    return Decision(
        answer={**receipt(assigned), "offerId": offer.id, "outcome": "accepted"},
        put=(assigned, accepted, busy, *free),
        facts=(*let_go, told, *secret),
        latest_ms=latest_ms,
    )


def _let_go(state: State, job: Job, before: UserId | None) -> tuple[tuple[Driver, ...], tuple[Fact, ...]]:
    """Whoever had the job until now, free of it. He hears so first: then nobody is shown any more where he is."""
    driver = state.driver(before)
    if before is None or driver is None:
        return (), (Fact(room=job.room, leave=(before,)),) if before else ()
    free = without_job(driver, job.id, state.now_ms)
    return (free,), taken_over_facts(job, free, state.now_ms)
