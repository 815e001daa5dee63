"""The one mouth: tails the shard's facts and writes each to this node's members of its room.

Gapless and in the log's order, whoever committed the fact; a node without members of a room pays a dictionary
look-up and never decodes the payload, which was stored ready to send. Membership follows the facts: who joins
does so before the fact is told, who leaves after it. Volatile events (positions, typing, presence) are told
here too, but never touch the log. A driver's own record is passed on to the fix path.
"""

import asyncio
import logging
import time
from collections.abc import Callable

import msgspec

from rooms import metrics
from rooms.registry import Registry
from rooms.session import Frame, Session
from storage.facts import Entry, Moves
from storage.log import Log
from storage.records import Driver
from storage.shard import Unavailable

logger = logging.getLogger(__name__)

BACKOFF_S = (0.05, 0.1, 0.2, 0.5, 1.0)
_moves = msgspec.json.Decoder(Moves)
_DRIVER = b'"record":"driver"'


class Speaker:
    """`on_driver` hears of every change of a driver whose device may be here."""

    def __init__(self, log: Log, registry: Registry) -> None:
        self._log = log
        self._registry = registry
        self.on_driver: Callable[[Driver], None] = lambda driver: None
        self.read_at_s = 0.0
        self._frames_reliable = metrics.FRAMES.labels("reliable")
        self._frames_volatile = metrics.FRAMES.labels("volatile")

    def fresh(self, within_s: float = 5.0) -> bool:
        """Has the log been read lately? If not, nobody knows who still drives whom."""
        return time.monotonic() - self.read_at_s < within_s

    async def run(self, started: asyncio.Event) -> None:
        """Tails the log from its end as it is now, for ever."""
        after, failures = "", 0
        while True:
            try:
                after = after or await self._log.newest()
                started.set()
                entries = await self._log.tail(after)
            except Unavailable as error:
                if failures == 0:
                    logger.warning("the log cannot be read: %s", error)
                await asyncio.sleep(BACKOFF_S[min(failures, len(BACKOFF_S) - 1)])
                failures += 1
                continue
            failures = 0
            self.read_at_s = time.monotonic()
            for entry in entries:
                self.hear(entry)
                after = entry.id
            metrics.FACTS.inc(len(entries))

    def hear(self, entry: Entry) -> None:
        """Tells one fact to the room's members here."""
        registry = self._registry
        moves = _moves.decode(entry.moves) if entry.moves else None
        if moves is not None:
            for user in moves.join:
                for session in registry.of_user(user):
                    registry.enter(entry.room, session)
        if entry.event and (members := registry.members(entry.room)):
            frame = Frame("2" + entry.text.decode())
            told = 0
            for session in members:
                session.tell(entry.room, entry.seq, frame)
                told += 1
            self._frames_reliable.inc(told)
        if moves is not None:
            for user in moves.leave:
                for session in registry.of_user(user):
                    registry.leave(entry.room, session)
            if moves.close:
                registry.close_room(entry.room)
        if _DRIVER in entry.data:
            for record in entry.records():
                if isinstance(record, Driver):
                    self.on_driver(record)

    def volatile(self, room: str, key: str, text: str, but: str = "") -> int:
        """Tells the latest value of `key` to the room's members, except to the user `but`."""
        told = 0
        for session in self._registry.members(room):
            if session.user_id != but and session.wire is not None and session.hold is None:
                session.wire.tell_latest(key, text)
                told += 1
        self._frames_volatile.inc(told)
        return told

    def superseded(self, session: Session, generation: int) -> None:
        """A newer device of the same user went online."""
        session.say("superseded", {"generation": generation})
