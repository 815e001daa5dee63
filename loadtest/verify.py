"""Compares what the clients were told with what PostGIS holds, after the drain has caught up.

Reads only. Guarantees: the wait for the drain is bounded, and what is missing then is lost; rows are found
by the people and jobs of this run, so that rows nobody was told of are seen as well.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import msgspec

from loadtest.ledger import Ledger
from loadtest.spoken import Spoken, compare, double_assignments, spoken_of

DRAIN_BOUND_S = 60.0
POLL_S = 0.5
QUERY_TIMEOUT_S = 60.0
SHOWN = 5

JOBS = """
  select id::text, state from rides where passenger_id = any($1::uuid[])
  union all select id::text, state from packages where sender_id = any($1::uuid[])"""
EVENTS = """
  select room, epoch, seq, event, payload::text, at from ride_events where job_id = any($1::uuid[])
  union all
  select room, epoch, seq, event, payload::text, at from package_events where job_id = any($1::uuid[])"""
LINES = "select job_id::text, id::text from chat_messages where job_id = any($1::uuid[])"
OFFERS = "select id, state from offers where job_id = any($1::uuid[])"
LOCATIONS = "select count(*) from locations where driver_id = any($1::uuid[])"
REFUSED = """
  select count(*)::int, target, sqlstate, min(reason) from dead_letters where at >= to_timestamp($1)
  group by target, sqlstate order by 1 desc"""


@dataclass
class Held:
    """What PostGIS holds of one run."""

    jobs: list[tuple[str, str]] = field(default_factory=list)
    events: list[Spoken] = field(default_factory=list)
    lines: list[tuple[str, str]] = field(default_factory=list)
    offers: list[str] = field(default_factory=list)
    locations: int = 0
    refused: list[tuple[int, str]] = field(default_factory=list)  # how many rows, and which and why

    @property
    def rows(self) -> int:
        return len(self.jobs) + len(self.events) + len(self.lines) + len(self.offers)


@dataclass
class Findings:
    """The comparison, and a few examples of each thing that is wrong."""

    rows: int
    locations: int
    refused: int
    lost: int
    duplicated: int
    untold: int
    positions_missing: int  # believed, and not there; a driver on several jobs has a row for each of them
    double_assignments: int
    drained_s: float
    examples: list[str]


@dataclass(frozen=True)
class Run:
    """Whose rows belong to this run, and since when (Unix time)."""

    drivers: Sequence[str]
    customers: Sequence[str]
    since_s: float
    locations: int  # positions that the server says it kept


async def verify(dsn: str, ledger: Ledger, run: Run) -> Findings:
    """Waits until everything told is held, or for `DRAIN_BOUND_S`; then compares."""
    loop = asyncio.get_running_loop()
    started_s = loop.time()
    connection = await asyncpg.connect(dsn, timeout=10, command_timeout=QUERY_TIMEOUT_S)
    try:
        while True:
            held = await _read(connection, ledger, run)
            findings = judge(ledger, held, run.locations, loop.time() - started_s)
            caught_up = findings.lost == 0 and findings.positions_missing <= 0
            if caught_up or findings.drained_s > DRAIN_BOUND_S:
                return findings
            await asyncio.sleep(POLL_S)
    finally:
        await connection.close(timeout=5)


def judge(ledger: Ledger, held: Held, believed: int = 0, drained_s: float = 0.0) -> Findings:
    """The set differences by id, and how many of the believed positions are not there. Pure."""
    states = {(each.job, each.state) for each in held.events if each.event.endswith("_status_update")}
    takes = {(each.job, each.driver) for each in held.events if each.event == "driver_assigned"}
    meanings: list[Hashable] = [each.meaning for each in held.events if each.meaning is not None]
    by_name = {
        "job": compare(ledger.acked_jobs, [job_id for job_id, _ in held.jobs]),
        "status change": compare(ledger.acked_states, states),
        "assignment": compare(ledger.acked_accepts, takes),
        "chat line": compare(ledger.acked_lines, held.lines),
        "offer": compare(ledger.offer_of, held.offers),
        "event": compare(ledger.events, [each.place for each in held.events]),
        "meaning": compare((), meanings),
        "content": compare(*_same_places(ledger.events, held.events)),
    }
    wrong = [f"lost {name}: {each}" for name, diff in by_name.items() for each in diff.lost]
    wrong += [f"duplicated {name}: {each}" for name, diff in by_name.items() for each in diff.duplicated]
    return Findings(
        rows=held.rows,
        locations=held.locations,
        refused=sum(count for count, _ in held.refused),
        lost=sum(len(diff.lost) for diff in by_name.values()),
        duplicated=sum(len(diff.duplicated) for diff in by_name.values()) + ledger.heard_twice,
        untold=sum(len(by_name[name].untold) for name in ("job", "chat line", "offer", "event")),
        positions_missing=believed - held.locations,
        double_assignments=double_assignments(held.events),
        drained_s=round(drained_s, 1),
        examples=wrong[:SHOWN] + [f"refused {count} × {why}" for count, why in held.refused[:SHOWN]],
    )


def _same_places(
    told: Mapping[tuple[str, str, int], Spoken], held: Sequence[Spoken]
) -> tuple[list[Spoken], list[Spoken]]:
    """Both sides of the events that stand on both: what was told, and what history says was told."""
    both = [each for each in held if each.place in told]
    return [told[each.place] for each in both], both


async def _read(connection: Any, ledger: Ledger, run: Run) -> Held:
    jobs = [(row[0], row[1]) for row in await connection.fetch(JOBS, run.customers)]
    ids = sorted({job_id for job_id, _ in jobs} | ledger.acked_jobs)
    events = [_event(row) for row in await connection.fetch(EVENTS, ids)]
    return Held(
        jobs=jobs,
        events=[each for each in events if each is not None],
        lines=[(row[0], row[1]) for row in await connection.fetch(LINES, ids)],
        offers=[row[0] for row in await connection.fetch(OFFERS, ids)],
        locations=await connection.fetchval(LOCATIONS, run.drivers),
        refused=[
            (row[0], f"{row[1]}: {row[2]} {row[3]}") for row in await connection.fetch(REFUSED, run.since_s)
        ],
    )


def _event(row: Any) -> Spoken | None:
    payload = msgspec.json.decode(row[4])
    return spoken_of(row[3], {**payload, "room": row[0], "epoch": row[1], "seq": row[2]})
