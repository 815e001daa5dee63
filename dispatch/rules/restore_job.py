"""A job that Redis has lost comes back as PostgreSQL remembers it; what it cannot know is not guessed.

| PostgreSQL says | then |
|---|---|
| anything, and Redis has the job | it is left alone; held for a person if PostgreSQL knows a later version |
| silent for longer than `max_age_ms` | cancelled as lost; on board, where nobody may cancel: held |
| scheduled | its timer stands again |
| searching | it searches again, and its patience begins anew |
| offered | the offer is lost, and it searches on without that driver |
| assigned, and another was asked to take it over | that offer is lost; as any assigned one |
| assigned or later, and its driver's records agree | he keeps it, and has BACK_WITHIN_MS to go online again |
| assigned or later, and they do not | it keeps its state and is held for a person |
| he has a ride on board and another after it | he keeps both, whichever comes back first; the other waits anew |

Codes are not in PostgreSQL: a new one is made, and told where the old one had been.
"""

from msgspec.structs import replace

from dispatch.area import Area
from dispatch.carrying import stops_of
from dispatch.commands import SYSTEM, RestoreJob
from dispatch.decision import Decision, State
from dispatch.lifecycle import BEFORE_PICKUP, TABLES, step
from dispatch.rules.hold_job import hold
from dispatch.rules.release import ended, gives_up_ms, held, no_show_ms, without_job
from dispatch.wording import code_fact, code_for, status_fact, withdrawn_fact
from storage.facts import Fact
from storage.records import LEAP, Driver, Job, Offer, Stop, Stored

BACK_WITHIN_MS = (
    300_000  # then he is as silent as any other driver, and what he has not picked up searches again
)
LOST = "lost with the server's memory"
UNCLEAR = "its driver is unclear"


def decide(state: State, command: RestoreJob) -> Decision:
    live, was = state.job(command.job.id), command.job
    if live is not None:
        if live.ended_ms or live.needs_person or live.version >= was.version:
            return Decision(answer={"outcome": "lives"})
        return hold(state, live)
    area = state.area(was.area_id)
    offers, told = _offer_lost(state, command)
    asked = command.offer.driver_id if command.offer else None
    lost = replace(
        was,
        version=was.version + LEAP,
        restored=was.version,
        offer_id=None,
        offered_to=None,
        excluded=(*was.excluded, asked) if asked and asked not in was.excluded else was.excluded,
        code_tries=0,
    )
    outcome, job, driver = _again(state, command, lost, area)
    put: tuple[Stored, ...] = (job, *offers, *((driver,) if driver else ()))
    joins = (job.requester_id, *((job.driver_id,) if job.driver_id else ()))
    records = (driver,) if driver else ()
    facts = [status_fact(job, state.now_ms, SYSTEM, records=records, join=joins), *told]
    if job.code and code_for(job, job.requester_id):
        facts.append(code_fact(job, state.now_ms))
    anew = tuple((type(r), r.id) for r in put if state.records.get((type(r), r.id)) is None)
    return Decision(answer={"outcome": outcome}, put=put, anew=anew, facts=tuple(facts))


def _again(state: State, command: RestoreJob, job: Job, area: Area) -> tuple[str, Job, Driver | None]:
    """What becomes of it, its record, and its driver's where he keeps it."""
    now_ms = state.now_ms
    heard_ms = max(command.committed_ms, job.scheduled_ms)
    too_old = now_ms - heard_ms > command.max_age_ms
    if too_old and "A" in TABLES[job.kind][job.state].get("cancelled", ""):
        return "ended", ended(job, "cancelled", now_ms, by=SYSTEM, reason=LOST), None
    if job.state == "scheduled":
        lead_ms = int(area.policy.schedule_lead_s * 1000)
        return "scheduled", replace(job, wake_ms=max(now_ms, job.scheduled_ms - lead_ms)), None
    if job.state in ("searching", "offered"):
        return _searching(job, command, area, now_ms)
    job = replace(job, code=_code(job, command.code, area))
    driver = None if too_old else _carrier(state, command, job)
    if driver is None:
        return "held", held(job, job.needs_person or UNCLEAR), None
    if job.state == "arrived" and not job.needs_person:
        job = replace(job, wake_ms=no_show_ms(job, now_ms, area, by_itself=True))
    elif job.state == "assigned" and job.wake_ms:  # it may come after another ride (wake_job.py)
        job = replace(job, wake_ms=now_ms + BACK_WITHIN_MS + int(area.policy.patience_s * 1000))
    return "kept", job, driver


def _searching(job: Job, command: RestoreJob, area: Area, now_ms: int) -> tuple[str, Job, None]:
    if job.state == "offered":
        job = replace(job, state=step(job.kind, job.state, "searching", "S"))
    if job.needs_person:
        return "held", held(job, job.needs_person), None
    wake_ms = gives_up_ms(job, now_ms, area)
    return "searching", replace(job, searching_ms=now_ms, wake_ms=wake_ms), None


def _offer_lost(state: State, command: RestoreJob) -> tuple[tuple[Offer, ...], tuple[Fact, ...]]:
    offer = command.offer
    if offer is None or state.offer(offer.id) is not None:
        return (), ()
    over = replace(offer, version=offer.version + LEAP, state="lost", ended_ms=state.now_ms, reason=LOST)
    return (over,), (withdrawn_fact(over, None, state.now_ms),)


def _code(job: Job, fresh: str, area: Area) -> str:
    if job.kind == "package" or (area.policy.otp_required and job.state in BEFORE_PICKUP[job.kind]):
        return fresh
    return ""


def _carrier(state: State, command: RestoreJob, job: Job) -> Driver | None:
    """The job's driver with it on his plan; None where his records do not agree that he has it."""
    known, live = command.driver, state.driver(job.driver_id)
    # by a record of the same life, he did not have it; by a later one, he has something else now
    doubted = command.same_life or (live is None and known is not None and known.load)
    if known is not None and job.id not in known.load and doubted:
        return None
    driver = _awaited(live or _remembered(known), fresh=live is None)
    if driver is None:
        return None
    driver = without_job(driver, job.id, state.now_ms)
    units = job.units or driver.capacity
    stops = _stops(job, state)
    if driver.spare >= units and (job.units or not driver.load):
        return replace(driver, load={**driver.load, job.id: units}, plan=(*driver.plan, *stops))
    return _with_two(driver, job, stops)


def _with_two(driver: Driver, job: Job, stops: tuple[Stop, ...]) -> Driver | None:
    """Two rides of his, one on board and one after it: whichever comes back first, they stand in that order."""
    plan, load = driver.plan, {job.id: job.units or driver.capacity}
    if job.kind != "ride" or len(driver.load) != 1 or plan[0].kind != "ride":
        return None
    if job.started_ms and plan[0].what == "pickup":
        return replace(driver, load={**load, **driver.load}, plan=(*stops, *plan))
    if job.state == "assigned" and plan[0].what != "pickup":
        return replace(driver, load={**driver.load, **load}, plan=(*plan, *stops))
    return None


def _remembered(known: Driver | None) -> Driver | None:
    """Without a plan, and with a lease that nobody has, later than any that was written down."""
    if known is None:
        return None
    version = known.version + LEAP
    return replace(known, version=version, generation=version, offer_id=None, load={}, plan=())


def _awaited(driver: Driver | None, *, fresh: bool) -> Driver | None:
    """A driver who is not here is given time to come: from now on he is silent."""
    if driver is None or (driver.online and not driver.stale and not fresh):
        return driver
    silence_ms = max(driver.silence_ms, BACK_WITHIN_MS)
    if driver.online and driver.stale:
        return replace(driver, stale=False, silence_ms=silence_ms)  # his device still has the lease
    return replace(driver, online=True, stale=False, node="", device="", silence_ms=silence_ms)


def _stops(job: Job, state: State) -> tuple[Stop, ...]:
    """What is still before him of it, with what was promised."""
    stops = stops_of(job, state.area(job.area_id).policy)
    return stops[1:] if job.started_ms else stops
