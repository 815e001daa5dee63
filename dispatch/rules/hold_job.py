"""Somebody knows a later state of a job than its record has: Redis has lost what came between. A person decides.

Which of the two is true cannot be told from here, so nothing is guessed: the job keeps its state, an open offer
is taken back, and it is neither offered nor ended by itself.
"""

from msgspec.structs import replace

from dispatch.commands import SYSTEM, HoldJob
from dispatch.decision import NOTHING, Decision, State
from dispatch.lifecycle import step
from dispatch.rules.release import end_offer, held
from dispatch.wording import status_fact
from storage.records import LEAP, Job

LATER_IS_KNOWN = "a later version is known"


def is_later(job: Job, seen_version: int) -> bool:
    """Was this version seen of the job in a time that its record knows nothing of?"""
    return seen_version > job.version or 0 < job.restored < seen_version <= job.restored + LEAP


def decide(state: State, command: HoldJob) -> Decision:
    """Only a party is believed; a second word has no effect."""
    job = state.job(command.job_id)
    if job is None or command.user not in (job.requester_id, job.driver_id):
        return NOTHING
    if job.ended_ms or job.needs_person or not is_later(job, command.seen_version):
        return NOTHING
    return hold(state, job)


def hold(state: State, job: Job) -> Decision:
    records, facts = end_offer(state, job, "withdrawn", LATER_IS_KNOWN)
    waiting = replace(held(job, LATER_IS_KNOWN), offer_id=None, offered_to=None)
    if job.state == "offered":
        to = step(job.kind, job.state, "searching", "S")
        excluded = (*job.excluded, *((job.offered_to,) if job.offered_to else ()))
        waiting = replace(waiting, state=to, excluded=excluded)
    return Decision(
        answer={"outcome": "held"},
        put=(waiting, *records),
        facts=(status_fact(waiting, state.now_ms, SYSTEM), *facts),
    )
