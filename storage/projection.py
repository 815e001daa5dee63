"""What becomes of a fact in PostgreSQL: an entry of the facts stream as rows of tables. Pure; no await here.

Guarantees: every record and every numbered event of an entry becomes exactly one row, or the entry as a
whole is Refused with a reason; projecting an entry again gives the same rows. The secret code of a job is
in no row: it is taken out of records and payloads here, the only door to the tables. What is refused carries
neither codes nor what people said: dead letters are read by operators.

A row's `table` is also the name of the statement in storage/sql/drain.sql that writes it. Rows of one table
with the same key supersede each other: `merge` keeps the last and links the others behind it.
"""

from dataclasses import dataclass
from typing import Any

import msgspec

from storage.facts import Entry, entry_of
from storage.records import Audit, Choice, Drained, Driver, Job, Message, Offer, Read

SECRETS = frozenset({"code", "otp"})
#: Fields of an entry that hold records, spoken texts and codes.
UNSHOWN = frozenset({b"d", b"p"})
#: Values of a row that hold what people said.
SPOKEN = frozenset({"text", "payload", "note"})
EVENTS = {"ride": "ride_events", "package": "package_events"}
JOBS = {"ride": "rides", "package": "packages"}
#: Tables in the order in which a batch is written, always the same: two drains cannot deadlock.
TABLES = (
    "drivers",
    "rides",
    "packages",
    "offers",
    "ride_events",
    "package_events",
    "chat_messages",
    "chat_reads",
    "audit_log",
    "decisions",
)
_SUPERSEDED = frozenset({"drivers", "rides", "packages", "offers", "chat_reads"})


@dataclass(slots=True)
class Row:
    """One row to be. `item` numbers the rows of an entry; `older` is the row of the same key before it."""

    table: str
    key: tuple[str, ...]
    entry_id: str
    item: int
    values: dict[str, Any]
    older: "Row | None" = None


@dataclass(frozen=True, slots=True)
class Refused:
    """What cannot become a row, or was refused as one; goes to dead_letters."""

    entry_id: str
    item: int
    target: str
    sqlstate: str
    reason: str
    content: bytes


def project(
    stream_id: bytes, fields: dict[bytes, bytes], shard: str, life: str
) -> tuple[list[Row], list[Refused]]:
    """The rows of one stream entry; the entry itself as Refused where it cannot be read."""
    try:
        entry = entry_of(stream_id, fields)
        records = entry.records()
        rows = [_record_row(entry, i, record, shard, life) for i, record in enumerate(records, 1)]
        event = _event_row(entry, records)
    except (KeyError, ValueError, msgspec.DecodeError) as error:
        reason = f"{type(error).__name__}: {error}"
        content = b" ".join(b"%s=%s" % pair for pair in fields.items() if pair[0] not in UNSHOWN)
        return [], [Refused(stream_id.decode(), 0, "entry", "", reason, content)]
    return ([event, *rows] if event else rows), []


def shown(values: Any) -> bytes:
    """What a dead letter shows of a row: all but what people said."""
    if isinstance(values, dict):
        values = {key: value for key, value in values.items() if key not in SPOKEN}
    return msgspec.json.encode(values)


def merge(rows: list[Row]) -> dict[str, list[Row]]:
    """Rows by table, in stream order; of rows that supersede each other the last, its elders behind it."""
    tables: dict[str, dict[tuple[str, ...], Row]] = {table: {} for table in TABLES}
    for row in rows:
        same = tables[row.table]
        elder = same.get(row.key)
        if elder is not None and row.table not in _SUPERSEDED:
            continue  # the same event or message twice in one batch
        row.older = elder
        same[row.key] = row
    return {table: list(same.values()) for table, same in tables.items() if same}


def _event_row(entry: Entry, records: tuple[Drained, ...]) -> Row | None:
    """A numbered fact of a job's room, or of a user's room that is about a job."""
    if entry.seq <= 0:
        return None
    kind, _, job_id = entry.room.partition(":")
    if kind not in EVENTS:
        about = next((r for r in records if isinstance(r, Job | Offer)), None)
        if about is None:
            return None
        kind, job_id = about.kind, about.id if isinstance(about, Job) else about.job_id
    values = {
        "room": entry.room,
        "epoch": entry.epoch,
        "seq": entry.seq,
        "job_id": job_id,
        "event": entry.event,
        "payload": _payload(entry.text),
        "by_user": entry.by,
        "at_ms": entry.at_ms,
    }
    return Row(EVENTS[kind], (entry.room, entry.epoch, str(entry.seq)), entry.id, 0, values)


def _payload(text: bytes) -> Any:
    """The object of `["event",{…}]`, without secrets."""
    _, payload = _spoken.decode(text)
    if b'"code"' in text or b'"otp"' in text:
        return _without_secrets(msgspec.json.decode(payload))
    return payload


def _without_secrets(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_secrets(part) for key, part in value.items() if key not in SECRETS}
    if isinstance(value, list):
        return [_without_secrets(part) for part in value]
    return value


def _record_row(entry: Entry, item: int, record: Drained, shard: str, life: str) -> Row:
    values = msgspec.structs.asdict(record)
    match record:
        case Job():
            table = JOBS[record.kind]
            del values["code"]
        case Driver():
            table = "drivers"
            values |= {"state": record.state, "job_ids": list(record.load)}
        case Offer():
            table = "offers"
        case Choice():
            table = "decisions"
        case Audit():
            return Row("audit_log", (record.id,), entry.id, item, values)
        case Message():
            return Row("chat_messages", (record.job_id, record.id), entry.id, item, values)
        case Read():
            # per message: which of them is the last to be read, only the messages can tell (drain.sql)
            return Row(
                "chat_reads", (record.job_id, record.reader_id, record.message_id), entry.id, item, values
            )
    values |= {"shard": shard, "life": life, "committed_ms": entry.at_ms}
    return Row(table, (record.id,), entry.id, item, values)


_spoken = msgspec.json.Decoder(tuple[str, msgspec.Raw])
