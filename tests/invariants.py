"""What must hold of live records at every moment, whoever wrote them: sentences about what does not."""

from collections import Counter
from collections.abc import Iterable, Iterator

from storage.records import TAKEOVERS_MAX, Driver, Job, Offer, Stored

#: PROTOCOL's states in which nobody carries a job, and those in which it is over.
NOBODYS = {"scheduled", "searching", "offered"}
OVER = {"completed", "cancelled", "no_driver", "no_show", "delivered", "no_courier", "returned"}
BEFORE_PICKUP = {"assigned", "arrived", "arrived_pickup"}
#: Offers that end without a word of their driver: he may be asked for the same job again.
SPARED = {"unseen", "withdrawn"}
#: Who carries it is for a person to find out: no driver's record speaks of it.
UNCLEAR = "its driver is unclear"


def wrong(records: Iterable[Stored]) -> list[str]:
    """All that contradicts itself in a set of records that were read at one moment."""
    kept = list(records)
    jobs = {r.id: r for r in kept if isinstance(r, Job)}
    drivers = {r.id: r for r in kept if isinstance(r, Driver)}
    offers = {r.id: r for r in kept if isinstance(r, Offer)}
    found: list[str] = []
    for driver in drivers.values():
        found += _wrong_driver(driver, jobs, offers)
    for job in jobs.values():
        found += _wrong_job(job, drivers, offers)
    for offer in offers.values():
        found += _wrong_offer(offer, jobs, drivers)
    open_for = Counter(o.job_id for o in offers.values() if o.state == "open")
    open_to = Counter(o.driver_id for o in offers.values() if o.state == "open")
    asked = Counter((o.job_id, o.driver_id) for o in offers.values() if o.state not in SPARED)
    found += [f"job {id_} has {n} open offers" for id_, n in open_for.items() if n > 1]
    found += [f"driver {id_} has {n} open offers" for id_, n in open_to.items() if n > 1]
    found += [f"driver {who} was asked {n} times for job {id_}" for (id_, who), n in asked.items() if n > 1]
    return found


def _wrong_driver(driver: Driver, jobs: dict[str, Job], offers: dict[str, Offer]) -> Iterator[str]:
    carried = sum(driver.load.values())
    if _has_two_rides(driver, jobs):
        carried -= driver.capacity  # the second comes after the first
    if carried > driver.capacity:
        yield f"driver {driver.id} carries {carried} of {driver.capacity}"
    for job_id, units in driver.load.items():
        job = jobs.get(job_id)
        if job is None or job.driver_id != driver.id or job.state in NOBODYS | OVER:
            yield f"driver {driver.id} carries job {job_id}, which knows nothing of it: {job}"
        elif units != (job.units or driver.capacity):
            yield f"driver {driver.id} counts job {job_id} as {units}"
        elif driver.stale and job.state in BEFORE_PICKUP:
            yield f"silent driver {driver.id} keeps job {job_id}, which is {job.state}"
    if {stop.job_id for stop in driver.plan} != set(driver.load):
        yield f"driver {driver.id} has plan {driver.plan} and load {driver.load}"
    yield from _wrong_plan(driver, jobs)
    if driver.offer_id is not None:
        offer = offers.get(driver.offer_id)
        if offer is None or offer.state != "open" or offer.driver_id != driver.id:
            yield f"driver {driver.id} holds offer {driver.offer_id}, which is {offer}"
        if not driver.online or driver.stale:
            yield f"driver {driver.id} holds an offer and is not in supply"
    if not driver.online and driver.load:
        yield f"driver {driver.id} is offline and carries {driver.load}"


def _has_two_rides(driver: Driver, jobs: dict[str, Job]) -> bool:
    """One on board, as far as its dropoff, and one after it, of which nothing has begun."""
    if len(driver.load) != 2:
        return False
    first, second = (jobs.get(id_) for id_ in driver.load)
    if first is None or second is None or first.kind != second.kind or first.kind != "ride":
        return False
    order = [stop.job_id for stop in driver.plan]
    in_order = order == sorted(order, key=list(driver.load).index)
    return first.state == "in_progress" and second.state == "assigned" and in_order


def _wrong_plan(driver: Driver, jobs: dict[str, Job]) -> Iterator[str]:
    """Each job's stops once and in their order, and never more on board than there is room for."""
    waits = {stop.job_id for stop in driver.plan if stop.what == "pickup"}
    on_board = sum(units for job_id, units in driver.load.items() if job_id not in waits)
    for job_id in driver.load:
        its = [stop.what for stop in driver.plan if stop.job_id == job_id]
        job = jobs.get(job_id)
        if its != ["pickup"] * (job_id in waits) + ["stop"] * its.count("stop") + ["dropoff"]:
            yield f"driver {driver.id} has the stops of {job_id} as {its}"
        elif job is not None and (job_id in waits) != (not job.started_ms):
            yield f"driver {driver.id} has the stops {its} of job {job_id}, which is {job.state}"
    for stop in driver.plan:
        on_board += {"pickup": 1, "dropoff": -1}.get(stop.what, 0) * driver.load.get(stop.job_id, 0)
        if not 0 <= on_board <= driver.capacity:
            yield f"driver {driver.id} has {on_board} on board of {driver.capacity} at {stop.what} {stop.job_id}"


def _wrong_job(job: Job, drivers: dict[str, Driver], offers: dict[str, Offer]) -> Iterator[str]:
    if job.state in NOBODYS and job.driver_id is not None:
        yield f"job {job.id} is {job.state} and has driver {job.driver_id}"
    if job.state not in NOBODYS | OVER and job.needs_person != UNCLEAR:
        driver = drivers.get(job.driver_id or "")
        if driver is None or job.id not in driver.load:
            yield f"job {job.id} is {job.state} with driver {job.driver_id}, who does not carry it"
    if job.driver_id is not None and job.driver_id in job.excluded:
        yield f"job {job.id} is carried by {job.driver_id}, who is excluded"
    if job.state != "assigned" and (job.state == "offered") != (job.offer_id is not None):
        yield f"job {job.id} is {job.state} with offer {job.offer_id}"
    if job.state == "assigned" and job.offer_id is not None:
        yield from _wrong_takeover(job, drivers)
    if job.offer_id is not None:
        offer = offers.get(job.offer_id)
        if offer is None or offer.state != "open" or offer.driver_id != job.offered_to:
            yield f"job {job.id} is held for {job.offered_to} by offer {offer}"
    if (job.state in OVER) != (job.ended_ms > 0):
        yield f"job {job.id} is {job.state} and ended at {job.ended_ms}"
    if len(set(job.excluded)) != len(job.excluded):
        yield f"job {job.id} excludes somebody twice: {job.excluded}"


def _wrong_takeover(job: Job, drivers: dict[str, Driver]) -> Iterator[str]:
    """Another driver is asked beside the one who has it: by the rules of such an offer, and until a timer ends it."""
    asked = drivers.get(job.offered_to or "")
    if job.offered_to == job.driver_id or asked is None or asked.load:
        yield f"job {job.id} of {job.driver_id} is offered to {asked}"
    if job.settled or job.needs_person or not 0 < job.takeovers <= TAKEOVERS_MAX or not job.wake_ms:
        yield f"job {job.id} may not change its driver, and is offered: {job}"


def _wrong_offer(offer: Offer, jobs: dict[str, Job], drivers: dict[str, Driver]) -> Iterator[str]:
    job, driver = jobs.get(offer.job_id), drivers.get(offer.driver_id)
    if (offer.state == "open") == (offer.ended_ms > 0):
        yield f"offer {offer.id} is {offer.state} and ended at {offer.ended_ms}"
    if offer.state == "open":
        if job is None or job.offer_id != offer.id:
            yield f"open offer {offer.id} is not the one of its job {job}"
        if driver is None or driver.offer_id != offer.id:
            yield f"open offer {offer.id} is not held by its driver {driver}"
    elif job is not None and job.state not in OVER and _may_be_asked_again(offer, job):
        yield f"offer {offer.id} was {offer.state}, and its driver may be asked again"


def _may_be_asked_again(offer: Offer, job: Job) -> bool:
    if offer.state in SPARED:
        return False  # he may indeed
    return offer.driver_id not in job.excluded and offer.driver_id != job.driver_id
