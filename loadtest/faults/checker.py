"""What a run's history and PostgreSQL's rows prove: every promise, and where it was broken.

Pure functions; time is in the records. Each yields sentences about what is wrong, so that a count is never
without an example. Promises about the order of rooms and about strangers are judged in `hearing`, those to
drivers in `supply`, those to admins in `hands`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain

from loadtest.faults import hands, hearing, supply
from loadtest.faults.held import Held
from loadtest.faults.history import NO_ANSWER, OK, Attempt, Broken, Command, History
from loadtest.faults.timeline import Stretch, Timelines, doubles, stretches, timelines, wrong_takeovers
from loadtest.spoken import Spoken
from loadtest.words import RETRY_CODES

#: After a repair, phones get so long to come back and to be answered before silence counts against the server.
GRACE_S = 2.0
#: An acknowledgement and what was lost with it are told by two clocks of one machine.
CLOCK_S = 0.1

STATUS_EVENTS = ("ride_status_update", "package_status_update")


@dataclass
class Verdict:
    """Sentences about what was broken, by promise, and the figures of the run."""

    lost: list[str] = field(default_factory=list)
    lost_in_window: list[str] = field(default_factory=list)
    duplicated: list[str] = field(default_factory=list)
    out_of_order: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    double_assignments: list[str] = field(default_factory=list)
    assignments: int = 0
    takeovers: int = 0  # of these
    after_a_ride: int = 0  # of them, with another ride on board
    acked: int = 0
    acked_share_outside_windows: float | None = None
    outside: Counter[str] = field(default_factory=Counter)
    recoveries_s: dict[str, float] = field(default_factory=dict)  # the worst of each kind of fault
    worst_recovery_s: float | None = None


def judge(history: History, held: Held) -> Verdict:
    """All promises of one run."""
    heard_events = {each.said.place: each.said for each in history.heard if each.said is not None}
    events = {each.place: each for each in held.events}
    union = list((heard_events | events).values())
    lines = timelines(union)
    forgets = [(f.forgot_from_s * 1000, f.ended_s * 1000) for f in history.faults if f.forgot_from_s]
    spans = stretches(lines, forgets)
    known = [*spans, *_known_after(lines, sorted(forgets, key=lambda each: each[1]))]
    verdict = Verdict(
        duplicated=[
            *duplicated(history, held),
            *supply.duplicated(history, held),
            *hands.duplicated(history, held),
        ],
        out_of_order=[*hearing.out_of_order(history, held, heard_events)],
        foreign=[*hearing.foreign(history, known, lines)],
        double_assignments=[*doubles(spans), *two_winners(history)],
        takeovers=sum(each.taken_over for each in union),
        assignments=sum(each.event == "driver_assigned" for each in union),
        after_a_ride=len(hearing.after_a_ride(spans)),
        acked=sum(command.acked for command in history.commands),
        outside=outside(history.attempts(), windows(history.faults)),
    )
    if not forgets:
        verdict.double_assignments += wrong_takeovers(lines)
    verdict.lost, verdict.lost_in_window = losses(history, held)
    asked = sum(verdict.outside.values())
    if asked:
        verdict.acked_share_outside_windows = round(verdict.outside[OK] / asked, 5)
    verdict.recoveries_s, verdict.worst_recovery_s = recoveries_s(history)
    return verdict


# -- what was acknowledged


def losses(history: History, held: Held) -> tuple[list[str], list[str]]:
    """What is lost, and what a power loss or a lost disk took in its window."""
    taken = [(f.lost_from_s - CLOCK_S, f.ended_s) for f in history.faults if f.lost_from_s]
    found: tuple[list[str], list[str]] = ([], [])
    for at_s, sentence in chain(lost(history, held), supply.lost(history, held), hands.lost(history, held)):
        found[any(from_s <= at_s <= to_s for from_s, to_s in taken)].append(sentence)
    return found


def lost(history: History, held: Held) -> Iterator[tuple[float, str]]:
    """What somebody was told, by an acknowledgement or an event, and PostgreSQL does not hold; since when."""
    jobs, lines = {row[0] for row in held.jobs}, {*held.lines} | held.refused_lines
    states = {(each.job, each.state) for each in held.events if each.event in STATUS_EVENTS}
    takes = {(each.job, each.driver) for each in held.events if each.event == "driver_assigned"}
    outcomes = {row.id: row.state for row in held.offers}
    drivers = {row.id: row.driver for row in held.offers}
    seen = {row.id for row in held.offers if row.seen}
    for command in history.commands:
        if not command.acked:
            continue
        job, event, user = command.job, command.event, command.user
        if event.startswith("request_"):
            kept = job in jobs
        elif event in STATUS_EVENTS:
            kept = (job, str(command.payload["status"])) in states
        elif event.startswith("cancel_"):
            kept = (job, "cancelled") in states
        elif event == "send_message":
            kept = (job, str(command.payload["id"])) in lines
        elif event == "message_read":
            kept = (job, user) in held.reads
        elif event == "accept_offer":
            offer = str(command.payload["offerId"])
            kept = (job, user) in takes and outcomes.get(offer) == "accepted" and drivers[offer] == user
        elif event == "decline_offer":
            kept = outcomes.get(str(command.payload["offerId"])) == "declined"
        elif event == "offer_seen":
            kept = str(command.payload["offerId"]) in seen
        elif event == "unassign_job":
            kept = (job, "searching") in states or (job, "offered") in states
        else:
            continue
        if not kept:
            yield command.acked_s, f"acked and gone: {event} of job {job or command.payload}"
    yield from _unheld(history, held, outcomes)


def _unheld(history: History, held: Held, offers: dict[str, str]) -> Iterator[tuple[float, str]]:
    places = {*held.places}
    told: set[object] = set()
    for each in history.heard:
        if each.said is not None and each.said.place not in places and each.said.place not in told:
            told.add(each.said.place)
            yield each.at_s, f"told and gone: {each.event} {each.said.place}"
        if each.event == "offer" and each.offer not in offers and each.offer not in told:
            told.add(each.offer)
            yield each.at_s, f"told and gone: offer {each.offer}"
    for room, epoch, missing in _holes(held):
        yield 0.0, f"history of {room} has no {missing} in {epoch}"


def _holes(held: Held) -> Iterator[tuple[str, str, int]]:
    """Numbers that a job's room skipped in history, told or not."""
    seqs: dict[tuple[str, str], set[int]] = defaultdict(set)
    for room, epoch, seq in held.places:
        if not room.startswith("user:"):  # of these only what is about a job is kept
            seqs[room, epoch].add(seq)
    for (room, epoch), seen in seqs.items():
        yield from ((room, epoch, n) for n in range(1, max(seen)) if n not in seen)


def duplicated(history: History, held: Held) -> Iterator[str]:
    """The same id twice, or the same thing said twice under two numbers."""
    forgetful = any(fault.lost_from_s for fault in history.faults)
    parts: list[tuple[str, Iterable[object]]] = [
        ("job", [row[0] for row in held.jobs]),
        ("chat line", held.lines),
        ("offer", [row.id for row in held.offers]),
        ("event", held.places),
        ("meaning", [_meaning(each, forgetful) for each in held.events if each.meaning is not None]),
    ]
    for name, ids in parts:
        yield from (f"{name} twice: {id_}" for id_, count in Counter(ids).items() if count > 1)


def _known_after(lines: Timelines, forgets: Sequence[tuple[float, float]]) -> Iterator[Stretch]:
    """Who had which job by what Redis still knew after each loss: what it forgot was true only until then."""
    for number in range(1, len(forgets) + 1):
        yield from stretches(lines.without(partial(_forgotten, forgets[:number])))


def _forgotten(forgets: Sequence[tuple[float, float]], said: Spoken) -> bool:
    return any(from_ms <= said.at_ms <= at_ms for from_ms, at_ms in forgets)


def _meaning(said: Spoken, forgetful: bool) -> tuple[object, ...]:
    """A Redis that forgot says again what it had said; one that did not may not."""
    return (*(said.meaning or ()), said.epoch if forgetful else "")


def two_winners(history: History) -> Iterator[str]:
    """Offers that two drivers were told of, or were both given. A Redis that forgot an offer may make another of
    its number."""
    forgot_s = [fault.began_s for fault in history.faults if fault.forgot_from_s]
    told: dict[tuple[str, int], set[str]] = defaultdict(set)
    won: dict[tuple[str, int], set[str]] = defaultdict(set)
    for each in history.heard:
        if each.event == "offer" and not each.resumed:
            told[each.offer, sum(at_s < each.at_s for at_s in forgot_s)].add(each.user)
    for command in history.commands:
        if command.event == "accept_offer" and command.acked:
            offer = str(command.payload["offerId"])
            won[offer, sum(at_s < command.acked_s for at_s in forgot_s)].add(command.user)
    for name, found in (("told to", told), ("won by", won)):
        yield from (f"offer {id_} {name} {len(users)}" for (id_, _), users in found.items() if len(users) > 1)


# -- how well it went on


def windows(faults: Sequence[Broken]) -> list[tuple[float, float]]:
    """From the beginning of each fault to GRACE_S after its repair."""
    return [(fault.began_s, fault.ended_s + GRACE_S) for fault in faults]


def outside(attempts: Iterable[Attempt], closed: Sequence[tuple[float, float]]) -> Counter[str]:
    """Outcomes of commands said outside the windows. A refusal of the rules is an answer and none of these."""
    found: Counter[str] = Counter()
    failures = {NO_ANSWER, *RETRY_CODES}
    for each in attempts:
        touches = any(each.sent_s <= to_s and each.ended_s >= from_s for from_s, to_s in closed)
        if not touches and (each.outcome == OK or each.outcome in failures):
            found[each.outcome] += 1
    return found


def recoveries_s(history: History) -> tuple[dict[str, float], float | None]:
    """From a repair to the first acknowledgement of something said after it, on the slowest node; by kind.

    A repair after which another fault began at once is judged by that one.
    """
    by_node: dict[int, list[tuple[float, float]]] = defaultdict(list)
    for each in history.attempts():
        if each.outcome == OK:
            by_node[each.node].append((each.sent_s, each.ended_s))
    worst: dict[str, float] = {}
    for fault in history.faults:
        took = [_first_after(fault.ended_s, acks) for acks in by_node.values()]
        known = [s for s in took if s is not None]
        until_s = fault.ended_s + max(known, default=0.0)
        disturbed = any(
            other is not fault and other.began_s <= until_s and other.ended_s >= fault.ended_s
            for other in history.faults
        )
        if known and not disturbed:
            worst[fault.kind] = round(max(worst.get(fault.kind, 0.0), *known), 2)
    return worst, max(worst.values(), default=None)


def _first_after(at_s: float, acks: Sequence[tuple[float, float]]) -> float | None:
    return min((ended_s - at_s for sent_s, ended_s in acks if sent_s >= at_s), default=None)


def settled(command: Command) -> bool:
    """Whether it has an outcome, was of a moment that is over, or was never said."""
    return bool(command.outcome) or command.given_up or not command.attempts
