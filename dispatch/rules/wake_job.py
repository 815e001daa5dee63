"""A job's timer ran out: a scheduled one opens, a search is given up, an offer expires, a no-show ends.

Any node may ask, at any time and as often as it likes: what is not due yet, or was done, is left alone.
"""

from msgspec.structs import replace

from dispatch.commands import SYSTEM, WakeJob
from dispatch.decision import NOTHING, Decision, State
from dispatch.lifecycle import NO_SUPPLY, step
from dispatch.rules.release import ended, gives_up_ms, offer_returned, without_job
from dispatch.wording import status_fact
from storage.records import Job


def decide(state: State, command: WakeJob) -> Decision:
    job = state.job(command.job_id)
    if job is None or job.ended_ms or not job.wake_ms or state.now_ms < job.wake_ms:
        return NOTHING
    if job.offer_id is not None:
        offer = state.offer(job.offer_id)
        unseen = offer is not None and offer.unseen_ms and not offer.seen_ms
        records, facts = offer_returned(state, job, "unseen" if unseen else "expired")
        return Decision(put=records, facts=facts)
    if job.state == "scheduled":
        return _open(state, job)
    if job.state == "searching":
        over = ended(job, step(job.kind, job.state, NO_SUPPLY[job.kind], "S"), state.now_ms, by=SYSTEM)
        return Decision(put=(over,), facts=(status_fact(over, state.now_ms, SYSTEM),))
    if job.state == "arrived":
        over = ended(job, step(job.kind, job.state, "no_show", "S"), state.now_ms, by=SYSTEM)
        driver = state.driver(job.driver_id)
        freed = () if driver is None else (without_job(driver, job.id, state.now_ms),)
        return Decision(put=(over, *freed), facts=(status_fact(over, state.now_ms, SYSTEM),))
    return NOTHING


def _open(state: State, job: Job) -> Decision:
    opened = replace(
        job,
        state=step(job.kind, job.state, "searching", "S"),
        searching_ms=state.now_ms,
        wake_ms=gives_up_ms(job, state.now_ms, state.area(job.area_id)),
    )
    return Decision(put=(opened,), facts=(status_fact(opened, state.now_ms, SYSTEM),))
