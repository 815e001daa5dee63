"""`location_batch`: what a driver's phone recorded while it was away becomes history, once; only the newest is told.

Each fix is judged by those before it in the same batch and by nothing else, so that the same batch is judged
the same way on every node. Its rows are numbered by the batch and their place in it.

| when | then |
|---|---|
| we die before Redis has the batch | nothing was acked; the phone sends it again, here or elsewhere |
| the reply is lost, the phone's or Redis' | the same `batchId` again gets the first answer and adds no row, |
| | also before the phone, back on another connection, is online again |
| it comes to two nodes at once | one script keeps it; the other is given the first answer |
| another device took over meanwhile | `superseded`, by the generation in the driver's own record; no row |
| a job was given to him after a fix was taken | that fix is nobody's: where he was before is not for its parties |
| the clock of his phone is fast or slow, as his fixes here have told | the same by a clock that is right |
| he had a ride on board, and this one comes after it | likewise, until that one was over |
| a job is over before the batch comes | likewise |
| Redis forgot the batch, and it comes again | its rows have the same numbers, whatever jobs he has by then: |
| | PostgreSQL has them once |
| the watchers were told a newer position | the batch's newest is not told |
| the same `batchId` with other fixes | `duplicate` |
| Redis does not answer | `unavailable`; a repeat finds out |
| the drain is away for long | `unavailable` beyond BATCHES_MAX that wait: what was acked is never shed |
"""

import hashlib
from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec

from dispatch.commands import Refusal
from dispatch.policy import Policy
from dispatch.track import Verdict, judge_past
from rooms import metrics
from rooms.gate import Answer, House, content_of
from rooms.handlers import common
from rooms.messages import LocationBatch, PastFix
from rooms.session import Session
from rooms.snapshot import load_jobs
from storage.fleet import Batch
from storage.log import Conflict
from storage.records import Driver, JobId
from storage.shard import Unavailable

_OUT_OF_RANGE, _NO_TIME = "out_of_range", "no_time"
_JOBS_MAX = 32  # at once; more than any vehicle takes
_ROWS_MAX_BITS = 14  # 500 fixes, each with so many jobs
_OF_BATCH = 1 << 62  # keeps these numbers apart from those that leases give


class Timed(NamedTuple):
    """`place` is the fix's own in its batch."""

    ts_ms: int
    place: int
    fix: PastFix


class Lease(NamedTuple):
    """The lease of a device, and the jobs its driver is on, each with the ms from which on his positions are its own;
    or none, which no record's generation is."""

    generation: int = -1
    area_id: str = ""
    jobs: Mapping[JobId, int] = MappingProxyType({})
    refusal: Refusal | None = None


async def location_batch(house: House, session: Session, message: LocationBatch) -> Answer:
    """Answers `{batchId, kept, refused: {reason: how many}}` once Redis has what was kept. Raises Refusal."""
    try:
        lease = await _leased(house, session)
        # by the phone's clock, which is all that a fix says
        behind_ms = house.fixes.leases.clock_ms(session)
        jobs = {job_id: from_ms - behind_ms for job_id, from_ms in lease.jobs.items()}
        area = house.desk.areas.get(lease.area_id)
        kept, refused = _judged(message.fixes, house.fixes.now_ms(), area.policy if area else Policy())
        answer = {"batchId": message.batch_id, "kept": len(kept), "refused": dict(refused)}
        batch = Batch(
            session.user_id,
            message.batch_id,
            lease.generation,
            content_of(message),
            msgspec.json.encode(answer),
            _rows(session.user_id, message.batch_id, kept, jobs),
        )
        outcome, first = await house.desk.fleet.keep(batch, house.node)
    except (Unavailable, Conflict):
        raise Refusal("unavailable") from None
    if outcome == "kept":
        _count(len(kept), refused)
        if kept:
            _tell(house, session, kept[-1], jobs)
    elif outcome == "superseded":
        raise lease.refusal or Refusal("superseded")
    elif outcome != "again":
        raise Refusal("unavailable" if outcome == "full" else outcome)
    return msgspec.json.decode(first)  # type: ignore[no-any-return]


async def _leased(house: House, session: Session) -> Lease:
    """What lease this device has; without one, what to refuse it with unless the batch was kept before."""
    loaded = await house.desk.log.load([(Driver, session.user_id)])
    driver = loaded.records[Driver, session.user_id]
    if not isinstance(driver, Driver) or not driver.online:
        return Lease(refusal=Refusal("wrong_state", "Go online first."))
    if driver.device != session.device:
        return Lease(refusal=Refusal("superseded"))
    jobs = await load_jobs(house, list(driver.load)) if driver.load else []
    mine = [job for job in jobs if job.driver_id == driver.id and not job.ended_ms]
    since = {job.id: driver.shown_from_ms(job) for job in mine}
    return Lease(driver.generation, driver.area_id, {id_: ms for id_, ms in since.items() if ms is not None})


def _judged(fixes: tuple[PastFix, ...], now_ms: int, policy: Policy) -> tuple[list[Timed], Counter[str]]:
    """What is believed, in the order of its times, and how many were refused why."""
    refused: Counter[str] = Counter()
    timed = []
    for place, fix in enumerate(fixes):
        if not _in_range(fix):
            refused[_OUT_OF_RANGE] += 1
            continue
        try:
            ts_ms = common.fix_ms(fix.timestamp)
        except Refusal:
            ts_ms = None
        if ts_ms is None:
            refused[_NO_TIME] += 1
        else:
            timed.append(Timed(ts_ms, place, fix))
    timed.sort(key=lambda each: each.ts_ms)
    asked = [(ts_ms, fix.latitude, fix.longitude, fix.accuracy) for ts_ms, _, fix in timed]
    kept = []
    for each, verdict in zip(timed, judge_past(asked, now_ms=now_ms, policy=policy), strict=True):
        if verdict <= Verdict.JITTER:
            kept.append(each)
        else:
            refused[verdict.name.lower()] += 1
    return kept, refused


def _in_range(fix: PastFix) -> bool:
    """As LocationUpdate has it."""
    return (
        -90.0 <= fix.latitude <= 90.0
        and -180.0 <= fix.longitude <= 180.0
        and (fix.heading is None or -360.0 <= fix.heading <= 360.0)
        and (fix.speed is None or -1.0 <= fix.speed <= 500.0)
        and (fix.accuracy is None or -1.0 <= fix.accuracy <= 100_000.0)
    )


def _rows(
    driver_id: str, batch_id: str, kept: list[Timed], jobs: Mapping[JobId, int]
) -> list[tuple[Any, ...]]:
    """A row of history for each fix and job that he was on then, or one of nobody's; numbered alike whatever jobs he
    has when the batch comes again, and whatever of it is believed by then."""
    digest = hashlib.blake2b(batch_id.encode(), digest_size=6).digest()
    batch = _OF_BATCH | int.from_bytes(digest) << _ROWS_MAX_BITS
    rows = []
    for ts_ms, place, fix in kept:
        at = (fix.latitude, fix.longitude, fix.heading, fix.speed, fix.accuracy)
        job_ids: list[str | None] = [*_jobs_at(jobs, ts_ms)[:_JOBS_MAX]]
        for number, job_id in enumerate(job_ids or [None], batch + place * _JOBS_MAX):
            rows.append((driver_id, ts_ms, number, *at, job_id))
    return rows


def _jobs_at(jobs: Mapping[JobId, int], ts_ms: int) -> list[str]:
    return [job_id for job_id, from_ms in jobs.items() if from_ms <= ts_ms]


def _count(kept: int, refused: Counter[str]) -> None:
    metrics.FIXES.n["kept",] += kept
    for reason, count in refused.items():
        metrics.FIXES.n[reason,] += count


def _tell(house: House, session: Session, newest: Timed, jobs: Mapping[JobId, int]) -> None:
    try:
        house.fixes.tell_past(session, newest.fix, newest.ts_ms, _jobs_at(jobs, newest.ts_ms))
    except Refusal:
        return  # his device is not here any more: kept it is, all the same
