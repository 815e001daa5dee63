"""Whose job it is: rows of a batch that speak of a job of somebody else under the same id are refused. Pure.

A job's id is chosen by its client, and the live record that guards it goes OVER_TTL_MS after the job's end.
The door asks history before it opens a job; where history lagged then, the same id may stand for two jobs in
the log. Guarantees: the first requester keeps the id; records of another are refused alone, and so is
whatever was said about the job in the same fact, after such a record in the same batch, or later than the
first job can have been spoken of. Nothing of it is attached to the first one's history.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from storage.log import OVER_TTL_MS
from storage.projection import Refused, Row, shown

#: A job is spoken of while its live record lasts, which begins at a commit a little after its end.
SPEAKABLE_MS = OVER_TTL_MS + 5_000
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.I)
#: Tables of what is said about a job, with the field that says when.
SAID = {
    "ride_events": "at_ms",
    "package_events": "at_ms",
    "chat_messages": "sent_ms",
    "chat_reads": "read_ms",
    "offers": "committed_ms",
    "decisions": "at_ms",
}
RECORDS = {"rides": "ride", "packages": "package"}


@dataclass(slots=True)
class Owner:
    """The one an id belongs to; `ended_ms` 0 while his job is not over."""

    kind: str
    requester_id: str
    ended_ms: int = 0


@dataclass(slots=True)
class Owners:
    """The owners of a batch's jobs, as history has them, and then as the batch itself goes on."""

    known: dict[str, Owner] = field(default_factory=dict)
    usurped: set[str] = field(default_factory=set)

    def sort(self, rows: list[Row]) -> tuple[list[Row], list[Refused]]:
        """Rows that may be written, in their order, and the others as dead letters."""
        good: list[Row] = []
        letters: list[Refused] = []
        for entry in _by_entry(rows):
            for row in entry:
                if row.table in RECORDS:
                    self._meet(row)
            for row in entry:
                if reason := self._fault(row):
                    letters.append(Refused(row.entry_id, row.item, row.table, "", reason, shown(row.values)))
                else:
                    good.append(row)
        return good, letters

    def _meet(self, row: Row) -> None:
        job_id, ended_ms = row.values["id"], row.values["ended_ms"]
        owner = self.known.setdefault(job_id, Owner(RECORDS[row.table], row.values["requester_id"]))
        if (owner.kind, owner.requester_id) != (RECORDS[row.table], row.values["requester_id"]):
            self.usurped.add(job_id)
        else:
            self.usurped.discard(job_id)
            owner.ended_ms = ended_ms

    def _fault(self, row: Row) -> str:
        job_id = job_of(row)
        owner = self.known.get(job_id)
        if owner is None or (row.table not in RECORDS and row.table not in SAID):
            return ""
        if job_id in self.usurped:
            return f"{owner.kind} {job_id} belongs to another requester"
        moment = SAID.get(row.table)
        if moment and owner.ended_ms and row.values[moment] > owner.ended_ms + SPEAKABLE_MS:
            return f"{owner.kind} {job_id} was over too long ago for this to be about it"
        return ""


def job_of(row: Row) -> str:
    """The id of the job that a row is or speaks of; empty for a row of a driver."""
    if row.table in RECORDS:
        return str(row.values["id"])
    return str(row.values["job_id"]) if row.table in SAID else ""


def jobs_of(rows: list[Row]) -> list[str]:
    """The ids of the jobs in a batch; what is no id PostgreSQL refuses alone, later."""
    return sorted({job_id for row in rows if _UUID.fullmatch(job_id := job_of(row))})


def owners_of(found: Iterable[Any]) -> Owners:
    """From the rows of the statement `owners`."""
    known = {}
    for row in found:
        ended_ms = int(row["ended_at"].timestamp() * 1000) if row["ended_at"] else 0
        known[row["id"]] = Owner(row["kind"], row["requester_id"], ended_ms)
    return Owners(known)


def _by_entry(rows: list[Row]) -> Iterable[list[Row]]:
    entry: list[Row] = []
    for row in rows:
        if entry and row.entry_id != entry[0].entry_id:
            yield entry
            entry = []
        entry.append(row)
    if entry:
        yield entry
