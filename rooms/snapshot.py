"""Where somebody stands: the snapshots that `connected` and `joined_ride` give, with the seq they end at.

The order is what makes them gapless: enter the rooms (facts are held back), read where each stands, then read
the records. A fact committed in between is in the records or comes after them, never neither.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from dispatch.commands import SYSTEM, Refusal
from dispatch.wording import code_for, id_field, iso, job_card, offer_card, user_room
from rooms.gate import House
from rooms.session import Session
from storage.log import Conflict
from storage.records import Driver, Job, JobId, Offer, UserId
from storage.roomlog import Asked, Standing
from storage.shard import Unavailable

JOBS_MAX = 50
MEMBERS_MAX = 200  # sessions of a room on one node; only admins can be so many


@asynccontextmanager
async def standing(
    house: House, session: Session, asked: list[Asked]
) -> AsyncIterator[list[Standing | None]]:
    """Where rooms stand, in which the session holds back what it hears; None where it may not be after all. What is
    made of that in the `async with` is the answer: where it fails, the session is where it was before, and nothing
    of what it held back counts as told. Raises Conflict or Unavailable."""
    registry = house.registry
    here = registry.has(session)  # not over HTTP, nor when it has gone meanwhile
    attempts = [registry.attempt(each.room, session) if here else None for each in asked]
    standings: list[Standing | None] = []
    try:
        standings = await house.roomlog.stand(asked)
        for number, (each, found) in enumerate(zip(asked, standings, strict=True)):
            if found is None or (each.job_id and not (found.job and may_watch(session, found.job))):
                standings[number] = None
            else:
                registry.changed(each.room, found.at_ms)
                if found.job is not None:
                    registry.stood(each.room, found.epoch, found.seq, found.job.driver_id)
        yield standings
    except BaseException:
        for each, attempt in zip(asked, attempts, strict=True):
            if attempt is not None:
                registry.give_up(each.room, session, attempt)
        raise
    for each, attempt, found in zip(asked, attempts, standings, strict=True):
        if found is None or found.later:
            if attempt is not None:
                registry.give_up(each.room, session, attempt)
        elif here:
            session.cover(each.room, found.epoch, found.seq)
            if session.attempts.get(each.room) is attempt:
                session.attempts.pop(each.room, None)
            if found.job is not None and found.job.ended_ms:
                registry.leave(each.room, session)  # the fact that ended it has closed its room


async def opening(house: House, session: Session) -> dict[str, Any]:
    """What `connected` says of the user's active jobs and open offers. The session is in its rooms, with its
    facts held back, when this returns. Raises Refusal unavailable."""
    user = session.user_id
    mine = Asked(user_room(user))
    try:
        # the first reading is for which rooms there are; where there are others, the second is the snapshot
        async with standing(house, session, [mine]) as (own,):
            assert own is not None
            jobs = await jobs_of(house, own, user)
            if not jobs:
                return _opened(user, own, [], await offers_of(house, own))
        rooms = [mine, *(Asked(job.room, job.id) for job in jobs)]
        async with standing(house, session, rooms) as (own, *others):
            assert own is not None
            live = [each for each in others if each and each.job and not each.job.ended_ms]
            cards = await cards_for(house, [each.job for each in live if each.job], user)
            announced = [_announced(card, each) for card, each in zip(cards, live, strict=True)]
            return _opened(user, own, announced, await offers_of(house, own))
    except (Unavailable, Conflict):
        raise Refusal("unavailable") from None


def _opened(
    user: str, own: Standing, jobs: list[dict[str, Any]], offers: list[dict[str, Any]]
) -> dict[str, Any]:
    return {"room": user_room(user), "epoch": own.epoch, "seq": own.seq, "jobs": jobs, "offers": offers}


async def jobs_of(house: House, own: Standing, user: str) -> list[Job]:
    """The jobs that are not over to which somebody is a party, of those that he had as `own`, his room, stood so.
    Raises Unavailable or Conflict."""
    ids = list(own.asked)
    if own.driver is not None:
        ids += [stop.job_id for stop in own.driver.plan if stop.job_id not in ids]
    jobs = await load_jobs(house, ids[:JOBS_MAX])
    return [job for job in jobs if user in (job.requester_id, job.driver_id) and not job.ended_ms]


def may_watch(session: Session, job: Job) -> bool:
    return session.role == "admin" or session.user_id in (job.requester_id, job.driver_id)


def _announced(card: dict[str, Any], standing: Standing) -> dict[str, Any]:
    assert standing.job is not None
    return {**card, "room": standing.job.room, "epoch": standing.epoch, "seq": standing.seq}


async def cards_for(house: House, jobs: list[Job], user: str) -> list[dict[str, Any]]:
    """Jobs as one who may watch them sees them; their requester with the code. Raises Unavailable or Conflict."""
    after = await _after_another(house, jobs)
    return [{**job_card(job, finishing=job.id in after), **code_for(job, user)} for job in jobs]


async def _after_another(house: House, jobs: list[Job]) -> set[JobId]:
    """Those whose driver has another ride on board, after which they come: his record says so, not theirs."""
    drivers: dict[JobId, UserId] = {}
    for job in jobs:
        area = house.desk.areas.get(job.area_id)
        may = (
            area is not None
            and area.policy.finishing_s > 0
            and job.kind == "ride"
            and job.state == "assigned"
        )
        if may and job.driver_id is not None:
            drivers[job.id] = job.driver_id
    if not drivers:
        return set()
    found = (await house.desk.log.load([(Driver, id_) for id_ in set(drivers.values())])).records
    queued = set[JobId]()
    for job_id, driver_id in drivers.items():
        driver = found[Driver, driver_id]
        if isinstance(driver, Driver) and driver.has_queued(job_id):
            queued.add(job_id)
    return queued


def crowded(house: House, session: Session, room: str) -> bool:
    """Whether so many watch already that no more can."""
    return room not in session.rooms and house.registry.count(room) >= MEMBERS_MAX


async def load_jobs(house: House, ids: list[Any]) -> list[Job]:
    if not ids:
        return []
    loaded = await house.desk.log.load([(Job, id_) for id_ in ids])
    return [record for record in loaded.records.values() if isinstance(record, Job)]


async def offers_of(house: House, own: Standing) -> list[dict[str, Any]]:
    """The driver's open offer, if he had one as `own`, his room, stood so. Raises Unavailable or Conflict."""
    if own.driver is None or own.driver.offer_id is None:
        return []
    found = await house.desk.log.load([(Offer, own.driver.offer_id)])
    offer = found.records[Offer, own.driver.offer_id]
    if not isinstance(offer, Offer) or offer.state != "open":
        return []
    jobs = await load_jobs(house, [offer.job_id])
    return [offer_card(job, offer, found.now_ms) for job in jobs]


async def joining(house: House, session: Session, kind: str, job_id: str) -> dict[str, Any]:
    """The answer to join_ride and join_package. Raises Refusal not_found for whoever is no party of the job."""
    try:
        jobs = await load_jobs(house, [job_id])
        if not jobs or jobs[0].kind != kind or not may_watch(session, jobs[0]):
            raise Refusal("not_found")
        room = jobs[0].room
        if crowded(house, session, room):
            raise Refusal("rate_limited", "Too many watch this job.")
        async with standing(house, session, [Asked(room, JobId(job_id))]) as (found,):
            if found is None or found.job is None:
                raise Refusal("not_found")
            (card,) = await cards_for(house, [found.job], session.user_id)
            return {
                **_announced(card, found),
                "success": True,
                "job": {name: value for name, value in card.items() if name != "code"},
                "position": await position_of(house, found.job),
                "members": await house.presence.users(room),
                "timestamp": iso(house.fixes.now_ms()),
            }
    except (Unavailable, Conflict):
        raise Refusal("unavailable") from None


async def position_of(house: House, job: Job) -> dict[str, Any] | None:
    """Where the job's driver was last, with its age; None before and after the trip, and while he has another ride on
    board: `job` may be as it was when it was read, so his own record has the last word. Raises Unavailable or
    Conflict."""
    if job.driver_id is None or job.ended_ms or job.driver_id == SYSTEM:
        return None
    last = house.fixes.leases.last(job.driver_id, job.id)
    if last is None:
        found = await house.desk.fleet.last_position(job.driver_id)
        # read after the position: if he is still on the job, that is none of after it
        loaded = await house.desk.log.load([(Driver, job.driver_id)])
        driver = loaded.records[Driver, job.driver_id]
        if not isinstance(driver, Driver) or job.id not in driver.load:
            return None
        since_ms = driver.shown_from_ms(job)
        if found is None or since_ms is None or found.ts_ms < since_ms:
            return None  # what is kept may be of the trip before: nobody's business here
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
