"""What can have happened: one fact, as the log keeps it.

A fact is spoken to the members of `room` as the Socket.IO event `event`, with `payload` completed by the
commit script with room, epoch and seq (`event` empty: a silent fact, spoken to nobody, which takes no
number). `records` are the records as this commit left them, one entry per changed record over all facts of
a commit: the drain projects them into tables. `join` and `leave` are the users whose sockets the room gains
before, and loses after, this fact is spoken; `close` empties the room after it.

As a stream entry on `{shard}:facts` (all values text):
    r room · n epoch · s seq ("0" when silent) · e event ("" when silent) · p the ready Socket.IO text
    `["event",{…}]` ("" when silent) · d JSON array of records, each with its `record` tag and `version` ·
    m JSON {"join": […], "leave": […], "close": bool} ("" when nobody moves) ·
    t Redis ms of the commit · a user who caused it
"""

from typing import Any

import msgspec

from storage.records import Drained, Room, UserId


class Fact(msgspec.Struct, frozen=True, kw_only=True):
    room: Room
    event: str = ""
    payload: dict[str, Any] = {}
    records: tuple[Drained, ...] = ()
    join: tuple[UserId, ...] = ()
    leave: tuple[UserId, ...] = ()
    close: bool = False


class Moves(msgspec.Struct, frozen=True, omit_defaults=True):
    """Field `m` of a stream entry."""

    join: tuple[UserId, ...] = ()
    leave: tuple[UserId, ...] = ()
    close: bool = False


class Entry(msgspec.Struct, frozen=True):
    """One entry of the facts stream as read back; `text` and `data` stay undecoded until somebody wants them."""

    id: str
    room: str
    epoch: str
    seq: int
    event: str
    text: bytes
    data: bytes
    moves: bytes
    at_ms: int
    by: str
    fault: str = ""  # what kind of error the reading was; then there is nothing but the id

    def records(self) -> tuple[Drained, ...]:
        return _records.decode(self.data) if self.data else ()


_records = msgspec.json.Decoder(tuple[Drained, ...])


def entry_of(stream_id: bytes, fields: dict[bytes, bytes]) -> Entry:
    """Redis' reply of one stream entry as an Entry."""
    return Entry(
        id=stream_id.decode(),
        room=fields[b"r"].decode(),
        epoch=fields[b"n"].decode(),
        seq=int(fields[b"s"]),
        event=fields[b"e"].decode(),
        text=fields[b"p"],
        data=fields[b"d"],
        moves=fields[b"m"],
        at_ms=int(fields[b"t"]),
        by=fields[b"a"].decode(),
    )


def entry_or_fault(stream_id: bytes, fields: dict[bytes, bytes]) -> Entry:
    """The same, of an entry that may be none of ours."""
    try:
        return entry_of(stream_id, fields)
    except (KeyError, ValueError) as error:
        return Entry(stream_id.decode(), "", "", 0, "", b"", b"", b"", 0, "", fault=type(error).__name__)
