"""Volatile events on their way to another node: one entry a tick on that node's own stream.

A tick carries what a node told its own members of a room (tick.lua); whoever has members of that room
elsewhere, by the leases of storage/presence.py, finds it in his mail. The mail is short and dies young: it is
read together with the log (storage/tail.py), whose order it keeps, or not at all.
"""

from typing import NamedTuple

import msgspec

MAIL_MAX = 100  # ticks waiting for a node; the older ones are not news
MAIL_TTL_MS = 10_000

_packed = msgspec.msgpack.Encoder().encode


class Said(NamedTuple):
    """A volatile event: the latest value of `key` in the room, for all members but the user `but`."""

    room: str
    key: str
    json: bytes
    but: str


class Relayed(NamedTuple):
    """One to be told elsewhere too. With a `driver_id` only while his record still has this version."""

    said: Said
    driver_id: str = ""
    version: int = 0

    def row(self) -> tuple[str, str, str, bytes]:
        """As the tick carries it; the version as Redis has it, which is text."""
        return self.said.room, self.driver_id, str(self.version), _packed(self.said)


class Mail(NamedTuple):
    """An entry of a node's mail: everything of one tick of another node."""

    id: str
    body: bytes

    def said(self) -> list[Said]:
        """Raises msgspec.DecodeError for what is no mail of ours."""
        return _unpacked(self.body)


_unpacked = msgspec.msgpack.Decoder(list[Said]).decode
