"""What phones heard, judged: each room's facts in one gapless order, and nobody hears what is not his.

Pure. A connection knows where a room stands from the snapshot it began with, from `sync`, or from the fact by
which it joined; from there every number comes once and in turn. A new life of Redis begins a room anew at 1.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from loadtest.faults.held import Held
from loadtest.faults.history import Broken, Heard, History, Place
from loadtest.faults.timeline import Stretch, Timelines
from loadtest.spoken import Spoken
from loadtest.tally import FixKey
from loadtest.words import TERMINAL_STATES, UNASSIGNED_STATES

#: A member who stays connected hears a fact within this, or for so long after the repair of what was broken.
HEARS_WITHIN_S = 5.0
#: A server knows to so much, and no better, when a position was taken that came to it late.
BEFORE_MS = 2_000.0
#: A room's owner can be told at least so many of its facts again: fewer than the server keeps.
KEPT = 200


def out_of_order(history: History, held: Held, heard_events: Mapping[Place, Spoken]) -> Iterator[str]:
    by_link: dict[int, list[Heard]] = defaultdict(list)
    for each in history.heard:
        by_link[each.link].append(each)
    for link, heard in by_link.items():
        yield from _gaps(link, heard, history.owners, heard_events)
    yield from _resumes(history)
    yield from _stories(history, held, heard_events)
    yield from _unheard(history, held, by_link)


def _gaps(
    link: int, heard: Sequence[Heard], owners: Mapping[str, str], told: Mapping[Place, Spoken]
) -> Iterator[str]:
    """Numbers that one connection heard twice, backwards, or not at all. Whose job was taken from him is out of its
    room, and hears nothing of its being taken over; given it again, he hears on from there."""
    known: dict[str, tuple[str, int]] = {}
    for each in heard:
        for stand in each.stands:
            room, epoch, seq = stand.place
            before = known.get(room)
            # a snapshot may come behind facts that it does not cover yet
            if before is None or before[0] != epoch or before[1] < seq:
                known[room] = epoch, seq
        if each.place is None or each.resumed:
            continue
        room, epoch, seq = each.place
        before = known.get(room)
        expected = before[1] + 1 if before is not None and before[0] == epoch else 1
        missed = told.get((room, epoch, expected))
        let_out = before is None or (missed is not None and missed.taken_over)
        joins = let_out and each.said is not None and each.said.driver == each.user
        if seq != expected and not joins:
            role = owners.get(each.job) == each.user
            yield (
                f"link {link} of {each.user} heard {each.event} {each.place} where {expected} was next"
                f" ({'his own job' if role else 'not his own'}; it was {missed}; this is {each.said})"
            )
        known[room] = epoch, max(seq, expected - 1)
        gone = each.said is not None and each.said.state in UNASSIGNED_STATES
        if gone and owners.get(each.job) != each.user:
            del known[room]


def _resumes(history: History) -> Iterator[str]:
    """`sync` that told something else than all of what was missed, or gave up what it could have told."""
    for each in history.resumes:
        about = f"sync of {each.user} for {each.room} after {each.asked}: {each.epoch} {each.seq}"
        epoch, seq = each.asked
        if each.recovered:
            if not each.whole or each.epoch != epoch or each.seqs != tuple(range(seq + 1, each.seq + 1)):
                yield f"{about}, with {each.seqs}"
            continue
        own = each.room == f"user:{each.user}" or history.owners.get(each.room.partition(":")[2]) == each.user
        if own and each.epoch == epoch and 0 <= each.seq - seq <= KEPT:
            yield f"{about}, not recovered though it was kept"


def _stories(history: History, held: Held, heard_events: Mapping[Place, Spoken]) -> Iterator[str]:
    """Members, or members and history, were told different things under one number."""
    for each in history.heard:
        if each.said is not None and heard_events[each.said.place] != each.said:
            yield f"two stories of {each.said.place}: {each.said} and {heard_events[each.said.place]}"
    for said in held.events:
        told = heard_events.get(said.place)
        if told is not None and told != said:
            yield f"history differs from what was told of {said.place}: {said} and {told}"


def _unheard(history: History, held: Held, by_link: Mapping[int, Sequence[Heard]]) -> Iterator[str]:
    """Facts that a job's owner never heard though he was connected when they came and long enough after."""
    facts: dict[str, list[Spoken]] = defaultdict(list)
    ends_ms: dict[str, int] = {}
    for each in held.events:
        if each.state in TERMINAL_STATES:
            ends_ms[each.room] = each.at_ms
        owner = history.owners.get(each.job)
        if owner is not None:
            facts[owner].append(each)
    for told in facts.values():
        told.sort(key=_at_ms)
    faults = sorted(history.faults, key=lambda one: one.began_s)
    for link in history.links:
        heard = by_link.get(link.number, ())
        greeted_s = next((each.at_s for each in heard if each.event == "connected"), None)
        if greeted_s is None:
            continue
        until_s = (link.closed_s or history.ended_s) - HEARS_WITHIN_S
        mine = facts[link.user]
        first = bisect_right(mine, greeted_s * 1000, key=_at_ms)
        places, covered = {each.place for each in heard}, _covered(heard)
        for fact in mine[first : bisect_left(mine, until_s * 1000, key=_at_ms)]:
            if fact.at_ms > ends_ms.get(fact.room, fact.at_ms):
                continue  # a room is closed by the fact that ends its job
            if fact.place in places or covered.get((fact.room, fact.epoch), 0) >= fact.seq:
                continue
            if _due_s(faults, fact.at_ms / 1000) < until_s + HEARS_WITHIN_S:
                yield f"link {link.number} of {link.user} never heard {fact.event} {fact.place}"


def _at_ms(fact: Spoken) -> int:
    return fact.at_ms


def _covered(heard: Sequence[Heard]) -> dict[tuple[str, str], int]:
    """How far snapshots say where a room stands."""
    found: dict[tuple[str, str], int] = {}
    for each in heard:
        for stand in each.stands:
            room, epoch, seq = stand.place
            found[room, epoch] = max(found.get((room, epoch), 0), seq)
    return found


def _due_s(faults: Sequence[Broken], at_s: float) -> float:
    """When a member who stays connected must have heard a fact."""
    due_s = at_s + HEARS_WITHIN_S
    for fault in faults:
        if fault.began_s <= due_s and fault.ended_s >= at_s:
            due_s = max(due_s, fault.ended_s + HEARS_WITHIN_S)
    return due_s


def foreign(history: History, spans: Sequence[Stretch], lines: Timelines) -> Iterator[str]:
    """Whatever reached somebody who was no party at that point."""
    mine: dict[tuple[str, str], list[Stretch]] = defaultdict(list)
    for span in spans:
        mine[span.driver, span.job].append(span)
    for each in history.heard:
        if each.place is not None and each.place[0].startswith("user:"):
            if each.place[0] != f"user:{each.user}":
                yield f"{each.user} heard {each.event} of {each.place[0]}"
        elif each.said is not None and history.owners.get(each.job) != each.user:
            now = lines.moment(each.said.epoch, each.said.seq)
            party = (s.from_ <= now and (s.to is None or now <= s.to) for s in mine[each.user, each.job])
            if not any(party) or (each.said.taken_over and each.said.driver != each.user):
                yield f"{each.user} heard {each.event} {each.place}, no party of {each.job}"
        if each.secret and history.owners.get(each.job) != each.user:
            yield f"{each.user} was told the code of {each.job}"
    yield from _positions(history, spans)


def _positions(history: History, spans: Sequence[Stretch]) -> Iterator[str]:
    """Positions, told or in snapshots, judged by what the same connection had heard of the job by then, by which ride
    was on board, and by when they were taken."""
    hidden_until_ms = after_a_ride(spans)
    since_ms: dict[tuple[str, str], float] = {}
    for span in spans:
        since_ms[span.driver, span.job] = min(
            span.from_ms, since_ms.get((span.driver, span.job), float("inf"))
        )
    carrier: dict[tuple[int, str], str | None] = {}
    for each in history.heard:
        for stand in each.stands:
            if stand.job:
                over = stand.state in UNASSIGNED_STATES | TERMINAL_STATES
                carrier[each.link, stand.job] = None if over else stand.driver
        if each.said is not None and each.said.state and not each.resumed:
            over = each.said.state in UNASSIGNED_STATES | TERMINAL_STATES
            carrier[each.link, each.job] = None if over else each.said.driver
        if each.fix is None:
            continue
        driver = carrier.get((each.link, each.job))
        if driver is None:
            yield f"{each.user} saw a position of {each.job}, which nobody carried by what he knew"
        elif each.at_s * 1000 < hidden_until_ms.get((driver, each.job), 0):
            yield f"{each.user} saw a position of {each.job} while {driver} had another ride on board"
        elif each.user not in (driver, history.owners.get(each.job)):
            yield f"{each.user} saw a position of {each.job}, no party of it"
        elif each.user != driver and _taken_ms(each.fix) < since_ms.get((driver, each.job), 0.0) - BEFORE_MS:
            yield f"{each.user} saw where {driver} was at {each.fix[0]}, before he had {each.job}"
        elif not history.is_of(each.fix, driver, rounded=each.event != "driver_location"):
            sender = history.sent_fixes.get(each.fix, "nobody")
            there = [
                f"{who} at {at}"
                for (at, *place), who in history.sent_fixes.items()
                if (*place,) == each.fix[1:]
            ]
            yield (
                f"{each.user} saw a position of {each.job}, of {each.fix[0]}, that {sender} sent and not {driver}"
                f" (there were: {', '.join(there) or 'none'})"
            )


def _taken_ms(fix: FixKey) -> float:
    return datetime.fromisoformat(fix[0]).timestamp() * 1000


def after_a_ride(spans: Sequence[Stretch]) -> dict[tuple[str, str], float]:
    """When the ride was over that a driver had on board as he took another, by him and that other."""
    by_driver: dict[str, list[Stretch]] = defaultdict(list)
    for span in spans:
        by_driver[span.driver].append(span)
    found: dict[tuple[str, str], float] = {}
    for driver, mine in by_driver.items():
        for span in mine:
            for other in mine:
                over_ms = float("inf") if other.to_ms is None else other.to_ms
                if (
                    other.job != span.job
                    and other.on_board_ms
                    and other.on_board_ms <= span.from_ms < over_ms
                ):
                    found[driver, span.job] = max(found.get((driver, span.job), 0.0), over_ms)
    return found
