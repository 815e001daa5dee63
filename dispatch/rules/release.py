"""The steps that several rules share: a driver let go of an offer or a job, a job back to searching.

Each returns new records; none decides whether the step may happen (lifecycle.py does).
"""

from msgspec.structs import replace

from dispatch.area import Area
from dispatch.commands import SYSTEM
from dispatch.decision import State
from dispatch.lifecycle import step
from dispatch.reliability import after
from dispatch.wording import status_fact, withdrawn_fact
from storage.facts import Fact
from storage.records import Driver, Job, Offer, UserId

REFUSED = ("declined", "expired")  # outcomes of an offer that are the driver's own
PASSED_MAX = 100  # of a job: 5 KB of its record


def without_offer(driver: Driver, now_ms: int) -> Driver:
    return replace(driver, offer_id=None, changed_ms=now_ms)


def without_job(driver: Driver, job_id: str, now_ms: int) -> Driver:
    """He is idle from now on where it was his last; an offer that comes to nothing does not begin that anew."""
    over = any(stop.job_id == job_id and stop.kind == "ride" for stop in driver.plan[:1])
    load = {j: units for j, units in driver.load.items() if j != job_id}
    return replace(
        driver,
        load=load,
        plan=tuple(stop for stop in driver.plan if stop.job_id != job_id),
        ride_over_ms=now_ms if over else driver.ride_over_ms,
        idle_since_ms=now_ms if driver.load and not load else driver.idle_since_ms,
        changed_ms=now_ms,
    )


def past_pickup(driver: Driver, job_id: str, now_ms: int) -> Driver:
    plan = tuple(stop for stop in driver.plan if stop.job_id != job_id or stop.what != "pickup")
    return replace(driver, plan=plan, changed_ms=now_ms)


def gives_up_ms(job: Job, since_ms: int, area: Area) -> int:
    """When a search that began at `since_ms` is given up: a booking may be searched for until its hour, and
    then as long as any other."""
    return max(job.scheduled_ms, since_ms) + int(area.policy.patience_s * 1000)


def no_show_ms(job: Job, since_ms: int, area: Area, *, by_itself: bool = False) -> int:
    """When a ride whose driver stands at the pickup since `since_ms` may end without its passenger, who is not late
    before the hour he booked; it ends `by_itself` after half as long again, for the driver to do it himself."""
    wait_ms = int(area.policy.no_show_wait_s * (1_500 if by_itself else 1_000))
    return max(job.scheduled_ms, since_ms) + wait_ms


def searching_again(
    job: Job, area: Area, now_ms: int, *, without: UserId, restart: bool, unseen: bool = False
) -> Job:
    """The same job, never again for the driver `without`. `restart` begins its patience anew: a driver who
    had accepted and is gone again is not the requester's fault. Who waits for a person goes on waiting.
    With `unseen` nobody said no: the driver may be asked again, once there was time to ask others. Another who was
    asked to take it over from `without` is asked on: his offer is an ordinary one from now on."""
    beside = job.driver_id is not None and job.offer_id is not None
    since_ms = now_ms if restart else job.searching_ms
    job = _not_him(job, area, now_ms, without, unseen=unseen)
    tired = job.offers - job.unseen >= area.policy.max_offers
    again = replace(
        job,
        state=step(job.kind, "searching", "offered", "S") if beside else "searching",
        driver_id=None,
        driver_name="",
        vehicle_id=None,
        vehicle="",
        offer_id=job.offer_id if beside else None,
        offered_to=job.offered_to if beside else None,
        moved_from=(),
        searching_ms=since_ms,
        assigned_ms=0,
        arrived_ms=0,
        # asked so often in vain: the timer that gives up runs out now
        wake_ms=job.wake_ms if beside else now_ms if tired else gives_up_ms(job, since_ms, area),
    )
    return held(again, job.needs_person) if job.needs_person else again


def _not_him(job: Job, area: Area, now_ms: int, without: UserId, *, unseen: bool) -> Job:
    """Without a driver for good; or, where his phone did not show him his offer, for as long as all who are passed over
    with him may think: however many phones show nothing, they take a tenth of the search and not all of it, and one
    alone is soon asked again."""
    if not unseen:
        return replace(job, excluded=(*job.excluded, without))
    passed = {id_: until_ms for id_, until_ms in job.passed.items() if until_ms > now_ms and id_ != without}
    soonest = sorted(passed, key=passed.__getitem__)
    passed = {id_: passed[id_] for id_ in soonest[-(PASSED_MAX - 1) :]}
    passed[without] = now_ms + int(area.policy.offer_s * 1000) * (len(passed) + 1)
    return replace(job, unseen=job.unseen + 1, passed=passed)


def stays(job: Job, area: Area, now_ms: int, *, without: UserId, unseen: bool) -> Job:
    """Its driver keeps it: `without` was asked to take it over; who was not shown that was not asked."""
    job = _not_him(job, area, now_ms, without, unseen=unseen)
    return replace(job, offer_id=None, offered_to=None, takeovers=job.takeovers - unseen, wake_ms=0)


def held(job: Job, why: str) -> Job:
    """The job waits for a person: nothing happens to it by itself; its parties may go on, or call it off."""
    return replace(job, needs_person=why, wake_ms=0)


def ended(job: Job, state: str, now_ms: int, *, by: UserId, reason: str = "") -> Job:
    """`ended_by` names a person; it is empty when the system ended the job."""
    return replace(
        job,
        state=state,
        offer_id=None,
        offered_to=None,
        ended_ms=now_ms,
        ended_by=None if by == SYSTEM else by,
        wake_ms=0,
        reason=reason,
    )


def end_offer(
    state: State, job: Job, outcome: str, reason: str = ""
) -> tuple[tuple[Offer | Driver, ...], tuple[Fact, ...]]:
    """The job's open offer is over as `outcome`: the records to put and the facts to tell. The driver is let
    go only where he still holds this very offer."""
    offer, driver = state.offer(job.offer_id), state.driver(job.offered_to)
    if offer is None or offer.state != "open":
        return (), ()
    over = replace(offer, state=outcome, ended_ms=state.now_ms, reason=reason)
    if driver is None or driver.offer_id != offer.id:
        return (over,), (withdrawn_fact(over, None, state.now_ms),)
    freed = without_offer(driver, state.now_ms)
    if outcome in REFUSED:
        freed = after(freed, state.now_ms, refused=1.0)
    return (over, freed), (withdrawn_fact(over, freed, state.now_ms),)


def offer_returned(
    state: State, job: Job, outcome: str, reason: str = ""
) -> tuple[tuple[Offer | Driver | Job, ...], tuple[Fact, ...]]:
    """The open offer is over and its job searches on, without that driver (for a while, where he is `unseen`); or stays
    with the driver who has it, and nobody else hears of it."""
    records, facts = end_offer(state, job, outcome, reason)
    area, without, unseen = state.area(job.area_id), job.offered_to or UserId(""), outcome == "unseen"
    if job.driver_id is not None:
        kept = stays(job, area, state.now_ms, without=without, unseen=unseen)
        return (kept, *records), facts
    again = searching_again(job, area, state.now_ms, without=without, restart=False, unseen=unseen)
    return (again, *records), (status_fact(again, state.now_ms, "system"), *facts)
