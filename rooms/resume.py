"""`sync`: what a client missed in each of its rooms, whole and in order, or plainly that it cannot be told.

| when | then |
|---|---|
| facts come while we read | they are held back, and told after the answer: none twice, none missing |
| this node reads in the log later what the answer has already | it is not told again (Session.cover) |
| facts were told between `connected` and `sync` | they are in the answer too; who drops what is not new loses nothing |
| the answer is lost, with its connection | the next `sync` asks for the same, here or on another node |
| we die before the answer | likewise: nothing was changed but who is a member here |
| more was missed than is kept, or another epoch was seen | `recovered: false`, and `last` is where things stand |
| the asker joined the job later than what he asks for | likewise: he may hear it from the fact that let him in |
| he is no party any more when we have read | `not_found`; what he heard as a party is told after it |
| he is let in, or again, while we read that he is no party | likewise, from the fact that let him in |
| the rooms together were too much | `unavailable` for those that did not fit: they are asked for again |
| we fail after we have read, or a room did not fit | what was held back is told, as if nobody had asked |
| Redis began another life, or does not answer | `unavailable` for all |
| too many admins watch a job already | `not_found`, as `join_ride` refuses one more |
| Redis lost the end of what it was told, and his phone knows more of a job | the job is held for a person, once |
| two phones say so at once, or one twice | the second finds it held |
| the client does not read his answers | a second long one is refused until the first was written |
"""

from typing import Any

import msgspec

from dispatch.commands import HoldJob, Refusal
from dispatch.rules.hold_job import is_later
from dispatch.wording import user_room
from rooms import metrics, snapshot
from rooms.gate import House, refused
from rooms.session import Session
from storage.log import Conflict
from storage.records import JobId, Room
from storage.roomlog import Asked, Standing
from storage.shard import Unavailable

Seen = tuple[str, str, int]  # room, epoch, seq
KINDS = ("ride", "package")
LATER = "The answer is full; ask for this room again."


async def sync(house: House, session: Session, rooms: tuple[Seen, ...]) -> list[dict[str, Any]]:
    """Per room, in the order asked: `{room, epoch, seq, recovered, events, last}` or `{room, error}`. The session
    holds back what it hears meanwhile. Raises Refusal unavailable, or rate_limited."""
    if session.wire is not None and session.wire.laden():
        raise Refusal("rate_limited", "Read the last answer first.", again_in_s=1)
    try:
        allowed = await _allowed(house, session, rooms)
        async with snapshot.standing(house, session, list(allowed.values())) as standings:
            found = dict(zip(allowed, standings, strict=True))
            return [await _answer(house, session, seen[0], found.get(seen)) for seen in rooms]
    except (Unavailable, Conflict):
        raise Refusal("unavailable") from None


async def compare(house: House, session: Session, seen: dict[str, int]) -> None:
    """Of the session's own jobs, {id: newest version it saw}: where that is later than what Redis knows, a person is
    asked for, by a command of its own. Whoever is no party is not heard. Raises Refusal unavailable."""
    if not seen:
        return
    try:
        jobs = await snapshot.load_jobs(house, list(seen))
    except (Unavailable, Conflict):
        raise Refusal("unavailable") from None
    for job in jobs:
        if session.user_id in (job.requester_id, job.driver_id) and is_later(job, seen[job.id]):
            command = HoldJob(user=session.user_id, room=job.room, job_id=job.id, seen_version=seen[job.id])
            await house.desk.run(command)


async def _allowed(house: House, session: Session, rooms: tuple[Seen, ...]) -> dict[Seen, Asked]:
    """The rooms that the session may be in: its user's own, and those of jobs that it may watch."""
    own = user_room(session.user_id)
    named = {room: room.partition(":")[::2] for room, _, _ in rooms}
    ids = dict.fromkeys(id_ for kind, id_ in named.values() if kind in KINDS)
    jobs = await snapshot.load_jobs(house, list(ids)) if ids else []
    jobs_by_room: dict[str, JobId | None] = {
        job.room: job.id
        for job in jobs
        if snapshot.may_watch(session, job) and not snapshot.crowded(house, session, job.room)
    }
    jobs_by_room[own] = None
    return {
        seen: Asked(Room(seen[0]), jobs_by_room[seen[0]], seen[1], seen[2])
        for seen in rooms
        if seen[0] in jobs_by_room
    }


async def _answer(house: House, session: Session, room: str, standing: Standing | None) -> dict[str, Any]:
    if standing is None or standing.later:
        outcome = "later" if standing else "refused"
        metrics.RESUMED.labels(outcome).inc()
        refusal = Refusal("unavailable", LATER) if standing else Refusal("not_found")
        return {"room": room, "error": refused(refusal)["error"]}
    said = standing.missed or []
    recovered = standing.missed is not None and not _joined_late(session, standing)
    metrics.RESUMED.labels("recovered" if recovered else "snapshot").inc()
    return {
        "room": room,
        "epoch": standing.epoch,
        "seq": standing.seq,
        "recovered": recovered,
        "events": [msgspec.Raw(fact.text) for fact in said] if recovered else [],
        "last": await _last(house, session, standing),
    }


def _joined_late(session: Session, standing: Standing) -> bool:
    """Is there something that was said before he came? A driver is let in by a fact that he may hear,
    and by hand more than once."""
    return any(session.user_id in fact.joined for fact in (standing.missed or [])[1:])


async def _last(house: House, session: Session, standing: Standing) -> dict[str, Any]:
    """Where things stand: a job with its driver's position, or all that concerns the user."""
    if (job := standing.job) is not None:
        (card,) = await snapshot.cards_for(house, [job], session.user_id)
        return {
            "job": card,
            "position": await snapshot.position_of(house, job),
        }
    jobs = await snapshot.jobs_of(house, standing, session.user_id)
    cards = await snapshot.cards_for(house, jobs, session.user_id)
    return {
        "jobs": [{**card, "room": mine.room} for card, mine in zip(cards, jobs, strict=True)],
        "offers": await snapshot.offers_of(house, standing),
    }
