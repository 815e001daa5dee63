"""PostgreSQL is stopped for minutes under load: what goes on, what is refused, what piles up, and how it is caught up.

    before (LEAD_S)   PostgreSQL stopped (--outage)   started: the drains catch up   after (TAIL_S)

Beside the people of a fault run there are drivers who only stream, faster than Redis has room for, and a clerk who
asks for logins and history. The outage is no excuse: no window is taken out of what must be acked or heard.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import asyncpg

from loadtest.faults.cluster import Cluster
from loadtest.faults.gauge import Gauge
from loadtest.faults.harm import POSTGRES_GONE
from loadtest.faults.held import Counts, counts
from loadtest.faults.history import History
from loadtest.faults.outage_load import Clerk, Streamers

LEAD_S, TAIL_S = 30.0, 20.0
#: While it stops and starts it may answer or not.
EDGE_S = 1.0
BACK_S, CAUGHT_UP_S, SETTLED_S, POLL_S = 60.0, 120.0, 20.0, 0.05
#: The oldest that a drain has just taken: what is younger is not behind.
LAG_MS = 1_000
RATIO_LEAST = 3.0
GROWS_MOST_MB = 64.0
SLOWEST_S = 2.0

#: What the clerk must be told, by what he asks and when.
WANTED = {
    ("login", "before"): "401",
    ("login", "during"): "503 says so",
    ("login", "after"): "401",
    ("history", "before"): "200",
    ("history", "during"): "503 says so",
    ("history", "after"): "200",
}

LAGS = """
  select stream, lag_ms, entries, rows, thinned, refused, number, updated_at > $1 as moved
  from drain_cursors order by stream"""


@dataclass
class Outage:
    """What was seen; seconds are Unix time."""

    stopped_s: float = 0.0
    started_s: float = 0.0
    back_s: float = 0.0
    caught_up_s: float = 0.0
    before: dict[str, dict[str, int]] = field(default_factory=dict)  # what cursors said when it was back
    after: dict[str, dict[str, int]] = field(default_factory=dict)
    given: list[dict[str, int]] = field(
        default_factory=list
    )  # to Redis, ever, by stream: at the stop, at the start
    waiting: dict[str, int] = field(
        default_factory=dict
    )  # entries on the streams when it was started, also old facts
    waiting_bytes: dict[str, int] = field(default_factory=dict)


class Rehearsal:
    """One outage of a running cluster, with whoever streams and asks meanwhile."""

    def __init__(self, cluster: Cluster, streamers: Streamers, token: str) -> None:
        """`token` is of the person whose history is asked for."""
        self._cluster = cluster
        self._streamers = streamers
        self._gauge = Gauge(cluster)
        self._clerk = Clerk(cluster.urls, token)
        self._seen = Outage()

    async def run(self, length_s: float) -> None:
        """Stops PostgreSQL for `length_s` and sees the drains catch up. Raises OSError, or TimeoutError when it or
        the drains do not come back."""
        seen, gauge, cluster = self._seen, self._gauge, self._cluster
        tasks = [asyncio.create_task(each.keep_on()) for each in (gauge, self._streamers, self._clerk)]
        try:
            await asyncio.sleep(LEAD_S)
            seen.given.append(await gauge.given())
            self._phase("")
            await cluster.turn_postgres("stop")
            seen.stopped_s = time.time()
            await asyncio.sleep(EDGE_S)
            self._phase("during")
            await asyncio.sleep(length_s - EDGE_S)
            self._phase("")
            seen.given.append(await gauge.given())
            seen.waiting, seen.waiting_bytes = await gauge.streams()
            seen.started_s = time.time()
            await cluster.turn_postgres("start")
            await _catch_up(cluster, seen)
            self._phase("after")
            await asyncio.sleep(TAIL_S)
        finally:
            for task in tasks:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
            self._streamers.go()
        for error in ended:
            if isinstance(error, Exception):
                raise error

    async def told(self, history: History) -> dict[str, Any]:
        """The figures, once all is drained or was not in time; `not_held` are sentences."""
        deadline_s = time.monotonic() + SETTLED_S
        while True:
            given = await self._gauge.given()
            kept = await counts(self._cluster.place.database_url)
            fixes = kept.fixes + kept.fixes_thinned + kept.fixes_refused
            if given == {"facts": kept.facts, "fixes": fixes}:
                break
            if time.monotonic() > deadline_s:
                break
            await asyncio.sleep(1.0)
        line = figures(self._seen, history, given, kept)
        line |= of_the_load(self._gauge, self._streamers, self._clerk)
        await self._gauge.close()
        return line | {"not_held": failures(line)}

    def _phase(self, name: str) -> None:
        self._gauge.phase = self._clerk.phase = name


async def _catch_up(cluster: Cluster, seen: Outage) -> None:
    connection = None
    async with asyncio.timeout(BACK_S):
        while connection is None:
            try:
                connection = await asyncpg.connect(cluster.place.database_url, timeout=2, command_timeout=10)
            except POSTGRES_GONE:
                await asyncio.sleep(POLL_S)
    try:
        seen.back_s = time.time()
        since = await connection.fetchval("select now()")
        seen.before = _lags(await connection.fetch(LAGS, since))
        async with asyncio.timeout(CAUGHT_UP_S):
            while True:
                rows = await connection.fetch(LAGS, since)
                if all(row["moved"] and row["lag_ms"] < LAG_MS for row in rows):
                    break
                await asyncio.sleep(POLL_S)
        seen.caught_up_s, seen.after = time.time(), _lags(rows)
    finally:
        await connection.close(timeout=5)


def _lags(rows: Sequence[Any]) -> dict[str, dict[str, int]]:
    return {row["stream"]: {name: row[name] for name in ("entries", "rows", "thinned")} for row in rows}


def figures(seen: Outage, history: History, given: dict[str, int], kept: Counts) -> dict[str, Any]:
    """What is told of the outage. `given`: how many facts and fixes Redis was ever given; `kept`: their end."""
    catching_s = seen.caught_up_s - seen.back_s
    outage_s, (stopped, started) = seen.started_s - seen.stopped_s, seen.given
    came_s = {name: (started[name] - stopped[name]) / outage_s for name in given}
    drained = {
        "facts": seen.after["facts"]["entries"] - seen.before["facts"]["entries"],
        "fixes": seen.after["fixes"]["rows"] - seen.before["fixes"]["rows"],
    }
    ratios = {name: round(drained[name] / catching_s / came_s[name], 1) for name in given}
    return {
        "stopped_s": round(outage_s, 1),
        **_meanwhile(seen, history),
        "came_s": {name: round(rate) for name, rate in came_s.items()},
        "fixes_given": given["fixes"],
        "fixes_in_postgis": kept.fixes,
        "fixes_counted": kept.fixes_counted,
        "fixes_thinned": kept.fixes_thinned,
        "fixes_refused": kept.fixes_refused,
        "facts_given": given["facts"],
        "facts_drained": kept.facts,
        "on_streams": seen.waiting,
        "on_streams_kib": {name: round(size / 1024) for name, size in seen.waiting_bytes.items()},
        "back_after_s": round(seen.back_s - seen.started_s, 2),
        "caught_up_after_s": round(catching_s, 2),
        "caught_up": drained,
        "ratio": ratios,
    }


def _meanwhile(seen: Outage, history: History) -> dict[str, Any]:
    said, away = Counter[str](), Counter[str]()
    for command in history.commands:
        for each in command.attempts:
            if seen.stopped_s <= each.sent_s and each.ended_s <= seen.started_s:
                said[each.outcome] += 1
                away[command.event] += each.outcome == "unavailable"
    assigned = {
        each.place
        for each in history.heard
        if each.event == "driver_assigned" and seen.stopped_s <= each.at_s <= seen.started_s
    }
    return {
        "said_meanwhile": dict(said),
        "unavailable_meanwhile": dict(+away),
        "assigned_meanwhile": len(assigned),
    }


def of_the_load(gauge: Gauge, streamers: Streamers, clerk: Clerk) -> dict[str, Any]:
    """What is told of who was there besides, and of memory."""
    return {
        "disconnected": streamers.lost,
        "asked": {name: dict(counts) for name, counts in sorted(clerk.answers.items())},
        "slowest_answer_s": round(clerk.slowest_s, 2),
        "redis_peak_mb": gauge.redis_peak_mb,
        "redis_most_mb": gauge.redis_most_mb,
        "rss_mb": gauge.resident(),
    }


def failures(line: dict[str, Any]) -> list[str]:
    """What of an outage did not go as promised."""
    found = []
    missing = line["fixes_given"] - line["fixes_in_postgis"] - line["fixes_thinned"] - line["fixes_refused"]
    if missing:
        found.append(f"{missing} fixes are neither in PostGIS nor counted as thinned")
    if not line["fixes_thinned"]:
        found.append("no fix had to be thinned: Redis had too much room, and this outage proves little")
    if line["facts_given"] != line["facts_drained"]:
        found.append(f"{line['facts_given']} facts were given and {line['facts_drained']} drained")
    for name, ratio in line["ratio"].items():
        if ratio < RATIO_LEAST:
            found.append(
                f"{name} were caught up at {ratio} times as fast as they came, less than {RATIO_LEAST:g}"
            )
    if line["redis_peak_mb"] > line["redis_most_mb"]:
        found.append(f"Redis had {line['redis_peak_mb']} MB, more than {line['redis_most_mb']}")
    for name, (before, during, _) in line["rss_mb"].items():
        if not name.startswith("redis") and during - before > GROWS_MOST_MB:
            found.append(f"{name} grew from {before} to {during} MB")
    if line["disconnected"]:
        found.append(f"{line['disconnected']} drivers were disconnected")
    if not line["assigned_meanwhile"]:
        found.append("nobody was assigned meanwhile")
    for (what, phase), wanted in WANTED.items():
        answers = {
            status for name, counts in line["asked"].items() if name == f"{what} {phase}" for status in counts
        }
        if answers != {wanted}:
            found.append(f"{what} {phase} was answered {sorted(answers)}, not {wanted}")
    if line["slowest_answer_s"] > SLOWEST_S:
        found.append(f"an answer over HTTP took {line['slowest_answer_s']} s")
    return found
