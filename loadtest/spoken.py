"""What a room said: one reliable event as the checkers compare it, from a socket or from a row of history.

Pure. The same functions judge what clients heard and what PostGIS holds, so that neither side is graded
more kindly.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from loadtest.words import TERMINAL_STATES, UNASSIGNED_STATES, job_of


class Spoken(NamedTuple):
    """One numbered event of a job's room."""

    room: str
    epoch: str
    seq: int
    job: str
    event: str
    state: str
    version: int
    driver: str | None
    message: str
    at_ms: int
    taken_over: bool = False  # this driver took the job over from the one who had it

    @property
    def place(self) -> tuple[str, str, int]:
        """Where it stands: no two events share a place."""
        return self.room, self.epoch, self.seq

    @property
    def meaning(self) -> tuple[Hashable, ...] | None:
        """What it says, without where: a second one with the same meaning is a duplicate."""
        if self.event == "new_message":
            return self.job, "message", self.message
        if self.state:
            return self.job, self.event, self.version
        return None


def spoken_of(event: str, payload: Mapping[str, Any]) -> Spoken | None:
    """A payload as `Spoken`; None for whatever is volatile or of no job's room."""
    found, seq, when = job_of(payload), payload.get("seq"), payload.get("timestamp")
    if (
        found is None
        or not isinstance(seq, int)
        or not str(payload.get("room", "")).startswith(found[0].name)
    ):
        return None
    return Spoken(
        room=str(payload["room"]),
        epoch=str(payload.get("epoch")),
        seq=seq,
        job=found[1],
        event=event,
        state=str(payload.get("state") or ""),
        version=int(payload.get("version") or 0),
        driver=payload.get("driverId") or None,
        message=str(payload.get("id") or ""),
        at_ms=round(datetime.fromisoformat(when).timestamp() * 1000) if isinstance(when, str) else 0,
        taken_over=payload.get("takenOver") is True,
    )


@dataclass(frozen=True)
class Difference:
    """Two sets of ids compared."""

    lost: frozenset[Hashable]
    duplicated: frozenset[Hashable]
    untold: frozenset[Hashable]


def compare(told: Iterable[Hashable], held: Iterable[Hashable]) -> Difference:
    """`lost`: told but not held; `duplicated`: held more than once; `untold`: held, but nobody was told."""
    told_ids, held_ids = frozenset(told), Counter(held)
    return Difference(
        lost=told_ids - held_ids.keys(),
        duplicated=frozenset(each for each, count in held_ids.items() if count > 1),
        untold=frozenset(held_ids.keys() - told_ids),
    )


class Holding(NamedTuple):
    """One driver had one job, from an event of its room to another (`None`: to the end of what is known)."""

    job: str
    driver: str
    from_seq: int
    to_seq: int | None
    from_ms: int
    to_ms: int | None


def holdings(events: Iterable[Spoken]) -> tuple[list[Holding], int]:
    """Who had which job when, by the rooms' own order; and how often a job had two drivers at a time."""
    rooms: dict[tuple[str, str], list[Spoken]] = defaultdict(list)
    for each in events:
        rooms[each.room, each.epoch].append(each)
    found: list[Holding] = []
    twice = 0
    for said in rooms.values():
        open_: Holding | None = None
        for each in sorted(said, key=lambda one: one.seq):
            if not each.state:
                continue
            driver = None if each.state in UNASSIGNED_STATES | TERMINAL_STATES else each.driver
            if open_ is not None and driver != open_.driver:
                twice += driver is not None and not each.taken_over
                found.append(open_._replace(to_seq=each.seq, to_ms=each.at_ms))
                open_ = None
            if open_ is None and driver is not None:
                open_ = Holding(each.job, driver, each.seq, None, each.at_ms, None)
        if open_ is not None:
            found.append(open_)
    return found, twice


def double_assignments(events: Iterable[Spoken]) -> int:
    """Jobs with two drivers at a time, and drivers of capacity 1 with two jobs at a time."""
    held, twice = holdings(events)
    by_driver: dict[str, list[Holding]] = defaultdict(list)
    for each in held:
        by_driver[each.driver].append(each)
    for mine in by_driver.values():
        mine.sort(key=lambda one: one.from_ms)
        busy_until_ms, busy_with = float("-inf"), ""
        for each in mine:
            twice += each.from_ms < busy_until_ms and each.job != busy_with
            until_ms = float("inf") if each.to_ms is None else each.to_ms
            if until_ms > busy_until_ms:
                busy_until_ms, busy_with = until_ms, each.job
    return twice


def strangers(
    events: Iterable[Spoken], heard: Iterable[tuple[str, str, str, int]], owners: Mapping[str, str]
) -> int:
    """How many of the `heard` (user, job, epoch, seq) reached somebody who was no party at that point.

    The owner of a job is a party always; a driver from the event that gives him the job to the one that takes it.
    """
    held, _ = holdings(events)
    spans: dict[tuple[str, str], list[Holding]] = defaultdict(list)
    for each in held:
        spans[each.driver, each.job].append(each)
    return sum(
        owners.get(job) != user
        and not any(
            span.from_seq <= seq and (span.to_seq is None or seq <= span.to_seq) for span in spans[user, job]
        )
        for user, job, _, seq in heard
    )
