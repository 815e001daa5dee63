"""What drivers were promised, judged: leases, going off duty, and the fixes of a time without a connection.

Pure. An acked `go_online` has the lease until the same driver is told otherwise, an acked `go_offline` gets no
offer until he goes online again, both are in history by the version that they were answered; an acked
`location_batch` is in history, each fix that was kept once.

A `go_online` that nobody answered may still be carried out by a node that was frozen meanwhile. Whatever could be
its work is held against nobody.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from loadtest.faults.held import Held
from loadtest.faults.history import NO_ANSWER, OK, Command, History, fix_times

#: A node that was frozen carries out what it had been sent before, within this time after it was given up.
THAWS_WITHIN_S = 10.0
#: By these an answer says that the lease is not this phone's.
WITHOUT_LEASE = frozenset({"superseded", "wrong_state"})
#: The clock of offers has milliseconds, ours has more.
MILLISECOND_S = 0.001


class Said(NamedTuple):
    """One attempt of a driver to change or to use his lease."""

    sent_s: float
    ended_s: float
    link: int
    event: str
    outcome: str
    answer: Mapping[str, Any]


def lost(history: History, held: Held) -> Iterator[tuple[float, str]]:
    """What a driver was acked and is not so; since when he was told."""
    yield from _batches(history, held)
    for command in history.commands:
        if command.acked and command.event in ("go_online", "go_offline"):
            version, kept = int(command.answer.get("version", 0)), held.drivers.get(command.user)
            if version and (kept is None or kept.version < version):
                yield command.acked_s, f"acked and gone: {command.event} of {command.user}, {kept}"
    for user, said in _by_driver(history).items():
        yield from _leases(user, said, _forgot_s(history))
        yield from _offers_off_duty(user, said, held)


def duplicated(history: History, held: Held) -> Iterator[str]:
    """A fix of a batch that history has twice, and a lease that was given twice."""
    for (driver, ts_ms), count in held.fixes.items():
        if count > 1 and (driver, ts_ms) in history.batched:
            yield f"fix twice: {driver} at {ts_ms}"
    forgot_s, leases = _forgot_s(history), Counter[tuple[str, int, int]]()
    for command in history.commands:
        if command.event == "go_online" and command.acked and "generation" in command.answer:
            life = sum(at_s < command.acked_s for at_s in forgot_s)
            leases[command.user, int(command.answer["generation"]), life] += 1
    yield from (f"lease twice: {driver} number {n}" for (driver, n, _), count in leases.items() if count > 1)


def _forgot_s(history: History) -> list[float]:
    return [fault.began_s for fault in history.faults if fault.forgot_from_s]


def _batches(history: History, held: Held) -> Iterator[tuple[float, str]]:
    for command in history.commands:
        if command.event != "location_batch" or not command.acked:
            continue
        times, kept = fix_times(command.payload), int(command.answer["kept"])
        there = sum((command.user, ts_ms) in held.fixes for ts_ms in times)
        if kept + sum(command.answer["refused"].values()) != len(times):
            yield command.acked_s, f"a batch of {len(times)} fixes was answered {command.answer}"
        if there < kept:
            text = f"acked and gone: {kept - there} of {kept} fixes of {command.user}'s batch"
            yield command.acked_s, f"{text} {command.payload['batchId']}"


def _by_driver(history: History) -> dict[str, list[Said]]:
    """All attempts that speak of a lease, in the order in which they were answered or given up."""
    found: dict[str, list[Said]] = defaultdict(list)
    for command in history.commands:
        if command.event in ("go_online", "go_offline", "location_batch"):
            found[command.user] += _attempts(command)
    for said in found.values():
        said.sort(key=lambda each: each.ended_s)
    return found


def _attempts(command: Command) -> Iterator[Said]:
    for each in command.attempts:
        yield Said(each.sent_s, each.ended_s, each.link, command.event, each.outcome, command.answer)


def _leases(user: str, said: Sequence[Said], forgot_s: Sequence[float]) -> Iterator[tuple[float, str]]:
    """A phone that was acked `go_online` and then answered that it is not online, or that another one is."""
    for number, each in enumerate(said):
        if each.event != "location_batch" or each.outcome not in WITHOUT_LEASE:
            continue
        mine = (one for one in reversed(said[:number]) if _is_on(one) and one.link == each.link)
        online = next((one for one in mine if one.ended_s <= each.sent_s), None)
        if online is None or any(online.sent_s <= at_s <= each.ended_s for at_s in forgot_s):
            continue
        if not any(_may_end(other, online, each) for other in said):
            yield online.ended_s, f"acked and gone: go_online of {user}, then {each.outcome}"


def _is_on(said: Said) -> bool:
    return said.event == "go_online" and said.outcome == OK


def _may_end(other: Said, online: Said, until: Said) -> bool:
    """Whether it may have ended the lease that `online` took, before `until` was answered."""
    if other is online or other.event == "location_batch" or other.sent_s > until.ended_s:
        return False
    if other.event == "go_online" and other.link == online.link:
        return False  # the same phone again
    thaws_s = THAWS_WITHIN_S if other.outcome == NO_ANSWER else 0.0
    return other.ended_s + thaws_s >= online.sent_s


def _offers_off_duty(user: str, said: Sequence[Said], held: Held) -> Iterator[tuple[float, str]]:
    """Offers that were made to somebody who had been acked `go_offline` and had not asked for work since."""
    made_s = sorted(row.made_ms / 1000 for row in held.offers if row.driver == user)
    for each in said:
        if each.event != "go_offline" or each.outcome != OK:
            continue
        on = [one for one in said if one.event == "go_online"]
        if any(_may_be_late(one, each) for one in on):
            continue
        until_s = min((one.sent_s for one in on if one.sent_s > each.sent_s), default=float("inf"))
        for at_s in made_s:
            if each.ended_s + MILLISECOND_S < at_s < until_s:
                yield each.ended_s, f"acked and gone: go_offline of {user}, offered a job {at_s:.3f}"


def _may_be_late(online: Said, offline: Said) -> bool:
    late = online.outcome == NO_ANSWER and online.ended_s + THAWS_WITHIN_S >= offline.sent_s
    return online.sent_s <= offline.ended_s and (late or online.ended_s > offline.sent_s)
