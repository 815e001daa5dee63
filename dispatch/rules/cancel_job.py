"""A party calls a job off. The requester (or an admin) ends it; a driver gives it back, and it searches on."""

from msgspec.structs import replace

from dispatch.commands import CancelJob, Refusal
from dispatch.decision import Decision, State
from dispatch.lifecycle import WHY, step
from dispatch.reliability import after
from dispatch.rules.release import end_offer, ended, searching_again, without_job
from dispatch.wording import receipt, status_fact
from storage.records import Job


def decide(state: State, command: CancelJob) -> Decision:
    job = state.job(command.job_id)
    if job is None or job.kind != command.kind:
        raise Refusal("not_found")
    if job.driver_id == command.user and not command.admin:
        return _given_back(state, job, command)
    if job.requester_id != command.user and not command.admin:
        raise Refusal("not_found")
    to = step(job.kind, job.state, "cancelled", "A" if command.admin else "P")
    if command.admin and not command.reason:
        raise Refusal("bad_request", WHY)
    over = ended(job, to, state.now_ms, by=command.user, reason=command.reason)
    told = status_fact(over, state.now_ms, command.user)
    records, facts = end_offer(state, job, "withdrawn", "cancelled")
    driver = state.driver(job.driver_id)
    freed = () if driver is None else (without_job(driver, job.id, state.now_ms),)
    return Decision(answer=receipt(over), put=(over, *records, *freed), facts=(told, *facts))


def _given_back(state: State, job: Job, command: CancelJob) -> Decision:
    step(job.kind, job.state, "searching", "D")
    area = state.area(job.area_id)
    job = replace(job, needs_person="")  # whose it is, is clear now
    again = searching_again(job, area, state.now_ms, without=command.user, restart=True)
    driver = state.driver(command.user)
    if driver is not None and not job.settled:
        driver = after(driver, state.now_ms, given_back=1.0)
    freed = () if driver is None else (without_job(driver, job.id, state.now_ms),)
    told = status_fact(again, state.now_ms, command.user, leave=(command.user,))
    return Decision(answer=receipt(again), put=(again, *freed), facts=(told,))
