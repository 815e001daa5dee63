"""What an administrator did, judged: each acked command is in the audit log once, and has its effect once.

Pure. A command is found in the log by its reason, which is its own. Its effect on a job is the one fact of his that the
job's room was told in its commit: so lines and facts of a job must be as many. What was so already (the driver had the
job, its passenger had called it off) leaves neither, and is acked all the same; that it is so is judged in `checker`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

from loadtest.faults.held import Held
from loadtest.faults.history import Command, History

#: These are refused where it is so already, or are in the log as it stood.
ALWAYS_NOTED = frozenset({"unassign_job", "block_user", "unblock_user"})
STATUSES = {"block_user": "suspended", "unblock_user": "active"}


def lost(history: History, held: Held) -> Iterator[tuple[float, str]]:
    """What an admin was acked and is not so; since when he was told."""
    lines = Counter(row.reason for row in held.audit)
    takes = {(each.job, each.driver) for each in held.events if each.event == "driver_assigned"}
    for command in history.commands:
        if not command.acked:
            continue
        if command.event in ALWAYS_NOTED and not lines[str(command.payload["reason"])]:
            yield command.acked_s, f"acked and not in the audit log: {command.event} {command.payload}"
        if command.event == "assign_job" and (command.job, command.payload["driverId"]) not in takes:
            yield command.acked_s, f"acked and gone: {command.event} {command.payload}"
    yield from _statuses(history, held)
    of_jobs = Counter(row.subject for row in held.audit if row.subject_type in ("ride", "package"))
    for job, moments in held.deeds.items():
        if of_jobs[job] < len(moments):
            yield (
                max(moments),
                f"job {job}: {len(moments)} facts by an admin, {of_jobs[job]} lines in the log",
            )


def duplicated(history: History, held: Held) -> Iterator[str]:
    """A command with two lines, or a line whose effect came twice. A Redis that forgot may do a command again."""
    if any(fault.lost_from_s for fault in history.faults):
        return
    for reason, count in Counter(row.reason for row in held.audit).items():
        if count > 1 and reason:
            yield f"in the audit log {count} times: {reason}"
    for job, lines in Counter(row.subject for row in held.audit if row.subject_type != "user").items():
        if lines > len(held.deeds.get(job, ())):
            yield f"job {job}: {lines} lines in the log, {len(held.deeds.get(job, ()))} facts by an admin"


def _statuses(history: History, held: Held) -> Iterator[tuple[float, str]]:
    """The last word on each account; one that nobody answered may have been done or not."""
    last: dict[str, list[Command]] = defaultdict(list)
    for command in history.commands:
        if command.event in STATUSES and command.attempts:
            last[str(command.payload["userId"])].append(command)
    for user, said in last.items():
        if said[-1].acked and held.statuses.get(user) != STATUSES[said[-1].event]:
            yield said[-1].acked_s, f"acked and gone: {said[-1].event} {user}, {held.statuses.get(user)}"
