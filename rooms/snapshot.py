"""Where somebody stands: the snapshots that `connected` and `joined_ride` give, with the seq they end at.

The order is what makes them gapless: enter the rooms (facts are held back), read each room's epoch and seq,
then read the records. A fact committed in between is in the records or comes after them, never neither.
"""

from typing import Any

from dispatch.commands import SYSTEM, Refusal
from dispatch.wording import code_for, id_field, iso, job_card, offer_card, user_room
from rooms.gate import House
from rooms.session import Session
from storage.log import Conflict
from storage.records import Driver, Job, Offer
from storage.shard import Unavailable

JOBS_MAX = 50


async def opening(house: House, session: Session) -> tuple[dict[str, Any], dict[str, int]]:
    """What `connected` says of the user's active jobs and open offers, and the seqs it covers. The session is
    in its rooms, with its facts held back, when this returns. Raises Refusal unavailable."""
    log, user = house.desk.log, session.user_id
    try:
        ids = await log.jobs_of(user)
        loaded = await log.load([(Driver, user)])
        driver = loaded.records[Driver, user]
        if isinstance(driver, Driver):
            ids += [stop.job_id for stop in driver.plan if stop.job_id not in ids]
        # an id does not tell its kind: the first reading is for the rooms, the second is the snapshot
        jobs = [job for job in await _jobs(house, ids[:JOBS_MAX]) if _is_party(job, user)]
        rooms = [job.room for job in jobs]
        for room in rooms:
            house.registry.enter(room, session)
        heads = await log.heads([user_room(user), *rooms])
        jobs = await _jobs(house, [job.id for job in jobs])
        for job in jobs:
            if not _is_party(job, user):
                house.registry.leave(job.room, session)
        offers = await _offers(house, driver.id) if isinstance(driver, Driver) else []
    except (Unavailable, Conflict):
        raise Refusal("unavailable") from None
    epoch, seq = heads[user_room(user)]
    said = {
        "room": user_room(user),
        "epoch": epoch,
        "seq": seq,
        "jobs": [
            _standing(job, heads[job.room], user) for job in jobs if _is_party(job, user) and not job.ended_ms
        ],
        "offers": offers,
    }
    return said, {room: head[1] for room, head in heads.items()}


def _is_party(job: Job, user: str) -> bool:
    return user in (job.requester_id, job.driver_id)


def _standing(job: Job, head: tuple[str, int], user: str) -> dict[str, Any]:
    return {**job_card(job), **code_for(job, user), "room": job.room, "epoch": head[0], "seq": head[1]}


async def _jobs(house: House, ids: list[Any]) -> list[Job]:
    loaded = await house.desk.log.load([(Job, id_) for id_ in ids])
    jobs = [record for record in loaded.records.values() if isinstance(record, Job)]
    for job in jobs:
        house.registry.changed(job.room, loaded.now_ms)
    return jobs


async def _offers(house: House, driver_id: str) -> list[dict[str, Any]]:
    """The driver's open offer, if he has one."""
    loaded = await house.desk.log.load([(Driver, driver_id)])
    driver = loaded.records[Driver, driver_id]
    if not isinstance(driver, Driver) or driver.offer_id is None:
        return []
    found = await house.desk.log.load([(Offer, driver.offer_id)])
    offer = found.records[Offer, driver.offer_id]
    if not isinstance(offer, Offer) or offer.state != "open":
        return []
    jobs = await _jobs(house, [offer.job_id])
    return [offer_card(job, offer, found.now_ms) for job in jobs]


async def joining(house: House, session: Session, kind: str, job_id: str) -> dict[str, Any]:
    """The answer to join_ride and join_package. Raises Refusal not_found for whoever is no party of the job."""
    room = f"{kind}:{job_id}"
    try:
        jobs = await _jobs(house, [job_id])
        if not jobs or jobs[0].kind != kind or not _may_watch(session, jobs[0]):
            raise Refusal("not_found")
        outermost = session.hold is None
        if outermost:
            session.hold = []
        seen: dict[str, int] = {}
        try:
            if session.wire is not None:
                house.registry.enter(room, session)
            heads = await house.desk.log.heads([room])
            seen = {room: heads[room][1]}
            job = (await _jobs(house, [job_id]))[0]
            if not _may_watch(session, job):
                house.registry.leave(room, session)
                raise Refusal("not_found")
            position = await _position(house, job)
        finally:
            if outermost:
                session.release(seen)
    except (Unavailable, Conflict, IndexError):
        raise Refusal("unavailable") from None
    return {
        **_standing(job, heads[room], session.user_id),
        "success": True,
        "job": job_card(job),
        "position": position,
        "members": await house.presence.users(room),
        "timestamp": iso(house.fixes.now_ms()),
    }


def _may_watch(session: Session, job: Job) -> bool:
    return session.role == "admin" or _is_party(job, session.user_id)


async def _position(house: House, job: Job) -> dict[str, Any] | None:
    """Where the job's driver was last, with its age; None before and after the trip."""
    if job.driver_id is None or job.ended_ms or job.driver_id == SYSTEM:
        return None
    last = house.fixes.leases.last(job.driver_id)
    if last is None:
        found = await house.desk.fleet.last_position(job.driver_id)
        if found is None:
            return None
        last = (found.lat_deg, found.lng_deg, found.ts_ms, found.heading_deg)
    latitude, longitude, ts_ms, heading = last
    return {
        id_field(job.kind): job.id,
        "latitude": latitude,
        "longitude": longitude,
        "heading": heading,
        "timestamp": iso(ts_ms),
        "ageMs": max(0, house.fixes.now_ms() - ts_ms),
    }
