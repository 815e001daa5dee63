"""A job's timer ran out: a scheduled one opens, a search is given up, an offer expires, a no-show ends, and a ride that
waits for another of its driver waits no more.

Any node may ask, at any time and as often as it likes: what is not due yet, or was done, is left alone.

| a ride that comes after another | then |
|---|---|
| that one is not over `patience_s` after it was to be | it is searched for again, without its driver, who has no mark |
| that one is over in time | its driver keeps it, and it has no timer any more |
| that one ends in the same moment | one commit wins by the driver's version; this is decided again |
| an admin gave it to its driver, or it waits for a person | it has no timer |
| Redis lost it | its driver has BACK_WITHIN_MS more (restore_job.py) |
"""

from msgspec.structs import replace

from dispatch.commands import SYSTEM, WakeJob
from dispatch.decision import NOTHING, Decision, State
from dispatch.lifecycle import NO_SUPPLY, step
from dispatch.rules.release import ended, gives_up_ms, offer_returned, searching_again, without_job
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
    if job.state == "assigned":
        return _waited(state, job)
    if job.state == "arrived":
        over = ended(job, step(job.kind, job.state, "no_show", "S"), state.now_ms, by=SYSTEM)
        driver = state.driver(job.driver_id)
        freed = () if driver is None else (without_job(driver, job.id, state.now_ms),)
        return Decision(put=(over, *freed), facts=(status_fact(over, state.now_ms, SYSTEM),))
    return NOTHING


def _waited(state: State, job: Job) -> Decision:
    """Its driver had another ride on board when he took it."""
    driver = state.driver(job.driver_id)
    if driver is None or not driver.has_queued(job.id):
        return Decision(put=(replace(job, wake_ms=0),))
    step(job.kind, job.state, "searching", "S")
    area = state.area(job.area_id)
    again = searching_again(job, area, state.now_ms, without=driver.id, restart=True)
    told = status_fact(again, state.now_ms, SYSTEM, leave=(driver.id,))
    return Decision(put=(again, without_job(driver, job.id, state.now_ms)), facts=(told,))


def _open(state: State, job: Job) -> Decision:
    opened = replace(
        job,
        state=step(job.kind, job.state, "searching", "S"),
        searching_ms=state.now_ms,
        wake_ms=gives_up_ms(job, state.now_ms, state.area(job.area_id)),
    )
    return Decision(put=(opened,), facts=(status_fact(opened, state.now_ms, SYSTEM),))
