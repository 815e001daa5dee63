"""The assigned driver moves his job along its lifecycle, with the proofs that some steps ask for.

Saying again where the job is already has no effect and is no error. A wrong code is counted and refused; after
the area's limit only an admin can go on.
"""

import math

from msgspec.structs import replace

from dispatch.area import Area
from dispatch.commands import CancelJob, MoveJob, Refusal, UnassignJob
from dispatch.decision import Decision, State
from dispatch.lifecycle import NEEDS, OVER, WHY, from_client, step
from dispatch.rules import by_hand, cancel_job
from dispatch.rules.release import end_offer, ended, no_show_ms, past_pickup, without_job
from dispatch.wording import code_fact, receipt, status_fact
from storage.records import Driver, Job


def decide(state: State, command: MoveJob) -> Decision:
    job = state.job(command.job_id)
    if job is None or job.kind != command.kind:
        raise Refusal("not_found")
    if not command.admin and command.user not in (job.driver_id, job.requester_id):
        raise Refusal("not_found")
    to = from_client(job.kind, job.state, command.status)
    if to == "cancelled" or (to == "searching" and _party(job, command) == "D"):
        return _cancel(state, command)
    if to == "assigned" and command.admin:
        raise Refusal("bad_request", "Name its driver: assign_job gives a job to one.")
    if to == job.state and command.user == job.driver_id:
        return Decision(answer={**receipt(job), "version": job.version})
    step(job.kind, job.state, to, _party(job, command))
    if command.admin and not command.reason:
        raise Refusal("bad_request", WHY)
    if to == "searching":
        return by_hand.decide_unassign(state, _unassigned(command))
    driver = state.driver(job.driver_id)
    if to == "arrived" and driver is not None and driver.has_queued(job.id):
        raise Refusal("wrong_state", "You have a passenger on board: this ride begins when that one is over.")
    area = state.area(job.area_id)
    if not command.admin:
        if to == "picked_up" and not command.has_picture and _asks_at_pickup(area, job):
            raise Refusal(
                "bad_request", f"{to} needs a proof for this tier: a photo or signature of the parcel."
            )
        refused = _proof_refused(state, job, to, command, area)
        if refused is not None:
            return refused
    return _moved(state, job, to, command, area)


def _party(job: Job, command: MoveJob) -> str:
    if command.admin:
        return "A"
    return "D" if job.driver_id == command.user else "P"


def _asks_at_pickup(area: Area, job: Job) -> bool:
    tier = area.prices.parcel_tiers.get(job.parcel.tier) if job.parcel else None
    return tier is not None and tier.pickup_proof


def _cancel(state: State, command: MoveJob) -> Decision:
    """What `cancel` means for who says it; a driver's "searching" is that he gives the job back."""
    cancel = CancelJob(
        user=command.user,
        room=command.room,
        job_id=command.job_id,
        kind=command.kind,
        admin=command.admin,
        reason=command.reason,
    )
    return cancel_job.decide(state, cancel)


def _unassigned(command: MoveJob) -> UnassignJob:
    return UnassignJob(
        user=command.user,
        room=command.room,
        job_id=command.job_id,
        kind=command.kind,
        reason=command.reason,
    )


def _proof_refused(state: State, job: Job, to: str, command: MoveJob, area: Area) -> Decision | None:
    """None when the step needs no proof, or has it. A Decision with a refusal counts a wrong code."""
    needs = NEEDS.get(to, "")
    if needs == "reason" and not command.reason:
        raise Refusal("bad_request", f"{to} needs a reason.")
    if to == "no_show" and (wait_ms := no_show_ms(job, job.arrived_ms, area) - state.now_ms) > 0:
        raise Refusal("wrong_state", f"Wait at the pickup first, {math.ceil(wait_ms / 1000)} s more.")
    given = command.otp if needs == "otp" else command.proof_code
    if needs == "proof" and not (command.has_proof or given):
        raise Refusal("bad_request", f"{to} needs a proof: its code, photo or signature.")
    if needs not in ("otp", "proof.code") or not job.code:
        return None
    if job.code_tries >= area.policy.proof_tries:
        raise Refusal("forbidden", "Too many wrong codes: ask support to complete this job.")
    if not given:
        raise Refusal("bad_request", f"{to} needs {needs}: the code that the other party was given.")
    if given == job.code:
        return None
    return Decision(
        put=(replace(job, code_tries=job.code_tries + 1),), refusal=Refusal("forbidden", "The code is wrong.")
    )


def _moved(state: State, job: Job, to: str, command: MoveJob, area: Area) -> Decision:
    now_ms = state.now_ms
    if to in OVER[job.kind]:
        moved = ended(job, to, now_ms, by=command.user, reason=command.reason)
    else:
        moved = replace(job, state=to, reason=command.reason)
    if to in ("arrived", "arrived_pickup"):
        wake_ms = no_show_ms(job, now_ms, area, by_itself=True) if to == "arrived" else 0
        moved = replace(moved, arrived_ms=now_ms, wake_ms=wake_ms)
    if to in ("in_progress", "picked_up"):
        moved = replace(moved, started_ms=now_ms, wake_ms=0)
    driver = state.driver(job.driver_id)
    others: tuple[Driver, ...] = ()
    if driver is not None and moved.ended_ms:
        others = (without_job(driver, job.id, now_ms),)
    elif driver is not None and moved.started_ms and not job.started_ms:
        others = (past_pickup(driver, job.id, now_ms),)
    # whoever was asked to take it over is too late
    asked, gone = end_offer(state, job, "withdrawn", "its driver is there")
    moved = replace(moved, offer_id=None, offered_to=None)
    facts = [status_fact(moved, now_ms, command.user), *gone]
    if to == "picked_up":
        facts.append(code_fact(moved, now_ms))
    return Decision(answer=receipt(moved), put=(moved, *others, *asked), facts=tuple(facts))
