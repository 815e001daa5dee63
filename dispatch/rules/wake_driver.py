"""A driver has been silent too long: out of supply until his next fix.

An offer he holds goes to the next; a job he has not picked up searches again, without him; a job on board
stays with him and is marked for a person.
"""

from msgspec.structs import replace

from dispatch.commands import SYSTEM, WakeDriver
from dispatch.decision import NOTHING, Decision, State
from dispatch.lifecycle import BEFORE_PICKUP, step
from dispatch.rules.release import offer_returned, searching_again, without_job, without_offer
from dispatch.wording import status_fact
from storage.facts import Fact
from storage.records import Driver, Job, Stored


def decide(state: State, command: WakeDriver) -> Decision:
    driver = state.driver(command.driver_id)
    due_ms = state.due_ms.get((Driver, command.driver_id), 0)
    if driver is None or not driver.online or driver.stale or due_ms > state.now_ms:
        return NOTHING
    records: dict[tuple[type, str], Stored] = {}
    facts: list[Fact] = []
    lost = replace(without_offer(driver, state.now_ms), stale=True)
    offer = state.offer(driver.offer_id)
    offered = state.job(offer.job_id) if offer else None
    if offered is not None and offered.offer_id == driver.offer_id:
        put, told = offer_returned(state, offered, "lost", "driver silent")
        records.update(((type(r), r.id), r) for r in put)
        facts += told
    for job_id in driver.load:
        job = state.job(job_id)
        if job is not None and job.driver_id == driver.id:
            lost, changed, told_job = _lose(state, lost, job)
            records[Job, job.id] = changed
            facts.append(told_job)
    records[Driver, driver.id] = lost
    return Decision(put=tuple(records.values()), facts=tuple(facts))


def _lose(state: State, driver: Driver, job: Job) -> tuple[Driver, Job, Fact]:
    if job.state in BEFORE_PICKUP[job.kind]:
        step(job.kind, job.state, "searching", "S")
        area = state.area(job.area_id)
        again = searching_again(job, area, state.now_ms, without=driver.id, restart=True)
        told = status_fact(again, state.now_ms, SYSTEM, leave=(driver.id,))
        return without_job(driver, job.id, state.now_ms), again, told
    held = replace(job, needs_person="driver silent")
    return driver, held, Fact(room=job.room, records=(held,))
