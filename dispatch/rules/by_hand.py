"""An admin's hand on a live job: given to a driver, taken from him, let go on after it waited for a person.

Whether he may is the lifecycle's table (party A), as for everybody. The driver must be able to take the job as if it
had been offered to him, but for one thing: an admin may ask whom the match would not ask again.

| when | then |
|---|---|
| assigned while the job is offered to somebody else | that offer is withdrawn, and he is not asked again |
| assigned to the very driver who is thinking about it | his offer is accepted for him |
| assigned to one who is offline, silent, full, of another class or holds another offer | `no_supply`, with why |
| assigned to the driver who has it | so it is already |
| assigned to one with a passenger on board, where the area has `finishing_s` | it comes after that ride |
| unassigned while it is on board, or nobody has it | `wrong_state` |
| unassigned while another is asked to take it over | he is asked on, as if it had been offered to him at first |
| lifted while it waits for nobody | `wrong_state` |
| lifted while no driver's record speaks of it | `wrong_state`: it would be nobody's; unassign it, or end it |
| two admins at once, or an admin and a phone | one commit holds, the other is decided anew on what it left |
"""

from msgspec.structs import replace

from dispatch.commands import AssignJob, LiftHold, Refusal, UnassignJob
from dispatch.decision import Decision, State
from dispatch.eligibility import REASONS, why_not
from dispatch.lifecycle import OVER, step
from dispatch.rules.release import (
    end_offer,
    gives_up_ms,
    no_show_ms,
    searching_again,
    without_job,
    without_offer,
)
from dispatch.rules.taking import taken
from dispatch.wording import assigned_fact, code_fact, receipt, status_fact
from storage.facts import Fact
from storage.records import Job, JobId, Offer, Stored


def _job(state: State, job_id: JobId, kind: str) -> Job:
    job = state.job(job_id)
    if job is None or job.kind != kind:
        raise Refusal("not_found")
    return job


def decide_assign(state: State, command: AssignJob) -> Decision:
    job = _job(state, command.job_id, command.kind)
    driver = state.driver(command.driver_id)
    if driver is None:
        raise Refusal("not_found", "There is no such driver.")
    if job.driver_id == driver.id and job.state not in OVER[job.kind]:
        return Decision(answer={**receipt(job), "version": job.version, "driverId": driver.id})
    step(job.kind, job.state, "assigned", "A")
    his = driver.offer_id is not None and driver.offer_id == job.offer_id
    free = without_offer(driver, state.now_ms) if his else driver
    # an admin may ask whom the match would not ask again
    area = state.area(job.area_id)
    anew = replace(job, excluded=(), passed={}, moved_from=())
    # how long the ride takes that he has on board is the admin's to judge
    if why := why_not(anew, free, area.policy, state.blocks, state.now_ms, rest_s=0.0):
        raise Refusal("no_supply", f"{driver.name or 'The driver'} {REASONS[why]}.")
    others, told, offer = _offer_over(state, job, his)
    without = () if his or job.offered_to is None else (job.offered_to,)
    asked = tuple(id_ for id_ in (*job.excluded, *without) if id_ != driver.id)
    job = replace(job, excluded=asked, needs_person="", settled=True)
    assigned, busy = taken(job, free, state.now_ms, area, command.code)
    facts = [assigned_fact(assigned, busy, offer, state.now_ms), *told]
    if job.kind == "ride" and assigned.code:
        facts.append(code_fact(assigned, state.now_ms))
    answer = {**receipt(assigned), "driverId": driver.id}
    return Decision(answer=answer, put=(assigned, busy, *others), facts=tuple(facts))


def _offer_over(
    state: State, job: Job, his: bool
) -> tuple[tuple[Stored, ...], tuple[Fact, ...], Offer | None]:
    """What becomes of the job's open offer: records and facts beside those of the job and its new driver."""
    offer = state.offer(job.offer_id)
    if not his or offer is None:
        return *end_offer(state, job, "withdrawn", "assigned by hand"), None
    accepted = replace(offer, state="accepted", ended_ms=state.now_ms, reason="assigned by hand")
    return (accepted,), (), accepted


def decide_unassign(state: State, command: UnassignJob) -> Decision:
    job = _job(state, command.job_id, command.kind)
    his, driver = job.driver_id, state.driver(job.driver_id)
    if his is None:
        raise Refusal("wrong_state", f"Nobody has this {job.kind}.")
    step(job.kind, job.state, "searching", "A")
    job = replace(job, needs_person="", reason=command.reason)
    again = searching_again(job, state.area(job.area_id), state.now_ms, without=his, restart=True)
    freed = () if driver is None else (without_job(driver, job.id, state.now_ms),)
    told = status_fact(again, state.now_ms, command.user, leave=(his,))
    return Decision(answer=receipt(again), put=(again, *freed), facts=(told,))


def decide_lift(state: State, command: LiftHold) -> Decision:
    job = _job(state, command.job_id, command.kind)
    if job.ended_ms or not job.needs_person:
        raise Refusal("wrong_state", f"This {job.kind} waits for nobody.")
    now_ms, area = state.now_ms, state.area(job.area_id)
    driver = state.driver(job.driver_id)
    free = replace(job, needs_person="")
    if job.driver_id is not None and (driver is None or job.id not in driver.load):
        text = f"No driver's record has this {job.kind}: unassign it, or end it."
        raise Refusal("wrong_state", text)
    if job.state == "scheduled":
        lead_ms = int(area.policy.schedule_lead_s * 1000)
        free = replace(free, wake_ms=max(now_ms, job.scheduled_ms - lead_ms))
    elif job.state == "searching":
        free = replace(free, searching_ms=now_ms, wake_ms=gives_up_ms(job, now_ms, area))
    elif driver is not None and driver.has_queued(job.id):
        free = replace(free, wake_ms=now_ms + int(area.policy.patience_s * 1000))
    elif job.state == "arrived":
        free = replace(free, wake_ms=no_show_ms(job, now_ms, area, by_itself=True))
    return Decision(answer=receipt(free), put=(free,), facts=(status_fact(free, now_ms, command.user),))
