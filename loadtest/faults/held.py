"""What PostgreSQL holds after a run: every row that the checker asks about, of the whole database.

Reads only, past every proxy. The database belongs to the run, so nothing is filtered, and what nobody was told
of is seen as well.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import asyncpg
import msgspec

from loadtest.faults.history import FixAt, Place
from loadtest.spoken import Spoken, spoken_of

QUERY_TIMEOUT_S = 60.0

JOBS = """
  select id::text, state, driver_id::text from rides
  union all select id::text, state, courier_id::text from packages"""
EVENTS = """
  select room, epoch, seq, event, payload::text from ride_events
  union all select room, epoch, seq, event, payload::text from package_events"""
LINES = "select job_id::text, id::text from chat_messages"
READS = "select job_id::text, reader_id::text, message_id::text from chat_reads"
OFFERS = """
  select id, state, driver_id::text, job_id::text, round(extract(epoch from made_at) * 1000)::bigint,
         seen_at is not null
  from offers"""
AUDIT = """
  select details ->> 'reason', subject_type, subject_id from audit_log
  where actor_id in (select id from users where role = 'admin')"""
#: What rooms of jobs were told in commits of an admin.
DEEDS = """
  select job_id::text, extract(epoch from at)::float8 from (
    select room, job_id, event, by_user, at from ride_events where room = 'ride:' || job_id
    union all select room, job_id, event, by_user, at from package_events where room = 'package:' || job_id) told
  where by_user in (select id::text from users where role = 'admin')
    and event in ('driver_assigned', 'ride_status_update', 'package_status_update')"""
STATUSES = "select id::text, status from users where role = 'passenger'"
DRIVERS = "select id::text, state, version from drivers"
#: Of those who handed in what they had recorded; the moment as the phone wrote it.
FIXES = """
  select driver_id::text, round(extract(epoch from ts) * 1000)::bigint from locations
  where driver_id = any($1::uuid[])"""
COUNTS = """
  with at as (select stream, sum(entries) entries, sum(rows) rows, sum(thinned) thinned, sum(refused) refused
              from drain_cursors group by stream)
  select (select entries from at where stream = 'facts')::bigint,
         ((select count(*) from locations) - (select rows from at where stream = 'past'))::bigint,
         rows::bigint, thinned::bigint, refused::bigint
  from at where stream = 'fixes'"""
LETTERS = "select target, sqlstate, content from dead_letters"


class OfferRow(NamedTuple):
    id: str
    state: str
    driver: str
    job: str
    made_ms: int = 0
    seen: bool = False


class AuditRow(NamedTuple):
    reason: str
    subject_type: str
    subject: str


class DriverRow(NamedTuple):
    state: str
    version: int


class Counts(NamedTuple):
    """What PostgreSQL counts of each stream; `fixes` are rows of `locations` that no batch brought, `fixes_counted`
    those that the cursor says were written."""

    facts: int
    fixes: int
    fixes_counted: int
    fixes_thinned: int
    fixes_refused: int


@dataclass
class Held:
    """`places` are all numbered events, those of users' rooms too; `events` those of jobs' rooms. `deeds`: by job, when
    its room was told of something that an admin did (Unix seconds); `statuses` of accounts by user."""

    jobs: list[tuple[str, str, str | None]] = field(default_factory=list)
    places: list[Place] = field(default_factory=list)
    events: list[Spoken] = field(default_factory=list)
    lines: list[tuple[str, str]] = field(default_factory=list)
    reads: set[tuple[str, str]] = field(default_factory=set)
    offers: list[OfferRow] = field(default_factory=list)
    drivers: dict[str, DriverRow] = field(default_factory=dict)
    fixes: Counter[FixAt] = field(default_factory=Counter)
    audit: list[AuditRow] = field(default_factory=list)
    deeds: dict[str, list[float]] = field(default_factory=dict)
    statuses: dict[str, str] = field(default_factory=dict)
    refused_lines: set[tuple[str, str]] = field(default_factory=set)
    refused: Counter[str] = field(default_factory=Counter)

    @property
    def rows(self) -> int:
        parts = (self.jobs, self.places, self.lines, self.reads, self.offers, self.drivers, self.audit)
        return sum(len(part) for part in parts)


async def read(dsn: str, batched: Collection[str] = ()) -> Held:
    """All of it at one moment; of the positions, those of the drivers in `batched`. Raises what asyncpg raises."""
    connection = await asyncpg.connect(dsn, timeout=10, command_timeout=QUERY_TIMEOUT_S)
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            return await _read(connection, list(batched))
    finally:
        await connection.close(timeout=5)


async def counts(dsn: str) -> Counts:
    """Raises what asyncpg raises."""
    connection = await asyncpg.connect(dsn, timeout=10, command_timeout=QUERY_TIMEOUT_S)
    try:
        return Counts(*await connection.fetchrow(COUNTS))
    finally:
        await connection.close(timeout=5)


async def _read(connection: Any, batched: list[str]) -> Held:
    rows = await connection.fetch(EVENTS)
    said = [_spoken(row) for row in rows]
    letters = await connection.fetch(LETTERS)
    return Held(
        jobs=[tuple(row) for row in await connection.fetch(JOBS)],
        places=[(row[0], row[1], row[2]) for row in rows],
        events=[each for each in said if each is not None],
        lines=[tuple(row) for row in await connection.fetch(LINES)],
        reads={(row[0], row[1]) for row in await connection.fetch(READS)},
        offers=[OfferRow(*row) for row in await connection.fetch(OFFERS)],
        drivers={row[0]: DriverRow(row[1], row[2]) for row in await connection.fetch(DRIVERS)},
        fixes=Counter((row[0], row[1]) for row in await connection.fetch(FIXES, batched)),
        audit=[AuditRow(row[0] or "", row[1], row[2]) for row in await connection.fetch(AUDIT)],
        deeds=_by_job(await connection.fetch(DEEDS)),
        statuses=dict([tuple(row) for row in await connection.fetch(STATUSES)]),
        refused_lines=set(_refused_lines(letters)),
        refused=Counter(f"{row[0]}: {row[1]}" for row in letters),
    )


def _spoken(row: Any) -> Spoken | None:
    payload = msgspec.json.decode(row[4])
    return spoken_of(row[3], {**payload, "room": row[0], "epoch": row[1], "seq": row[2]})


def _by_job(rows: list[Any]) -> dict[str, list[float]]:
    found: dict[str, list[float]] = defaultdict(list)
    for job, at_s in rows:
        found[job].append(at_s)
    return dict(found)


def _refused_lines(letters: list[Any]) -> list[tuple[str, str]]:
    """Chat lines that PostgreSQL would not take, kept as dead letters: not lost, and an operator's to mend."""
    found = []
    for target, _, content in letters:
        if target == "chat_messages":
            values = msgspec.json.decode(content)
            found.append((str(values["job_id"]), str(values["id"])))
    return found
