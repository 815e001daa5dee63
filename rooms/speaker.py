"""The one mouth: tails the shard's facts and writes each to this node's members of its room.

Gapless and in the log's order, whoever committed the fact; a node without members of a room pays a dictionary
look-up and never decodes the payload, which was stored ready to send. Membership follows the facts: who joins
does so before the fact is told, who leaves after it. Volatile events (positions, typing, presence) are told
here too, but never touch the log. A driver's own record is passed on to the fix path.

| when | then |
|---|---|
| a fact cannot be read | it is counted, its stream id is logged, and the others are told |
| Redis cannot be read | we try again; nobody is told where anybody is meanwhile |
| facts were trimmed before we read them | `on_gap`: everybody here comes anew and gets a snapshot |
| Redis was wiped, replaced or restarted | `on_gap`, and we go on from the end of the new life's log |
"""

import asyncio
import logging
import math
import time
from collections.abc import Callable

import msgspec

from rooms import metrics
from rooms.faults import fault
from rooms.registry import Registry
from rooms.session import Frame, Session
from storage.facts import Entry, Moves
from storage.log import Log
from storage.records import Driver
from storage.shard import Unavailable
from storage.tail import Position

logger = logging.getLogger(__name__)

BATCH = 512
LOOK_S = 1.0  # so often we ask whether we hear everything
BACKOFF_S = (0.05, 0.1, 0.2, 0.5, 1.0)
_moves = msgspec.json.Decoder(Moves)
_DRIVER = b'"record":"driver"'


class Speaker:
    """`on_driver` hears of every change of a driver whose device may be here; `on_gap`, that facts were missed,
    so that what this node told and holds may be wrong."""

    def __init__(self, log: Log, registry: Registry) -> None:
        self._tail = log.tail
        self._registry = registry
        self.on_driver: Callable[[Driver], None] = lambda driver: None
        self.on_gap: Callable[[], None] = lambda: None
        self.read_at_s = -math.inf
        self._looked_s = -math.inf
        self._frames_reliable = metrics.FRAMES.labels("reliable")
        self._frames_volatile = metrics.FRAMES.labels("volatile")

    def fresh(self, within_s: float = 5.0) -> bool:
        """Has the log been read to its end lately? If not, nobody knows who still drives whom."""
        return time.monotonic() - self.read_at_s < within_s

    async def run(self, started: asyncio.Event) -> None:
        """Tails the log from its end as it is now, for ever."""
        at: Position | None = None
        failures = 0
        while True:
            try:
                at = at or await self._tail.newest()
                started.set()
                at = await self._step(at)
            except Unavailable as error:
                if failures == 0:
                    logger.warning("the log cannot be read: %s", error)
                await asyncio.sleep(BACKOFF_S[min(failures, len(BACKOFF_S) - 1)])
                failures += 1
                self._looked_s = -math.inf
                continue
            failures = 0

    async def _step(self, at: Position) -> Position:
        """Hears what comes next; where that leaves us."""
        now_s = time.monotonic()
        if now_s - self._looked_s < LOOK_S:
            entries = await self._tail.read(at.id, BATCH)
            number = at.number + len(entries)
        else:
            look = await self._tail.look(at.id, BATCH)
            if look.life != at.life:
                at = await self._tail.newest()
                self._missed("Redis is another, or has lost what it held")
                return at
            self._looked_s = now_s
            entries = look.entries
            number = at.number + len(entries)
            if len(entries) < BATCH and number != look.added:
                self._missed(f"{look.added - number} facts went by unheard")
                number = look.added
        for entry in entries:
            self.hear(entry)
        metrics.FACTS.inc(len(entries))
        if len(entries) < BATCH:
            self.read_at_s = time.monotonic()
        return Position(at.life, entries[-1].id if entries else at.id, number)

    def _missed(self, why: str) -> None:
        logger.warning("%s: everybody here comes anew", why)
        metrics.GAPS.inc()
        self.on_gap()

    def hear(self, entry: Entry) -> None:
        """Tells one fact to the room's members here; one that cannot be read is passed over."""
        kind = entry.fault
        try:
            self._hear(entry)
        except Exception as error:
            kind = fault(error)
        if kind:
            metrics.UNREADABLE.inc()
            logger.error("fact %s cannot be told: %s", entry.id, kind)

    def _hear(self, entry: Entry) -> None:
        moves = _moves.decode(entry.moves) if entry.moves else None
        if moves is not None:
            for user in moves.join:
                for session in self._registry.of_user(user):
                    self._registry.enter(entry.room, session)
        try:
            self._tell(entry)
        finally:
            if moves is not None:
                self._part(entry.room, moves)
            if _DRIVER in entry.data:
                for record in entry.records():
                    if isinstance(record, Driver):
                        self.on_driver(record)

    def _tell(self, entry: Entry) -> None:
        if not entry.event or not (members := self._registry.members(entry.room)):
            return
        frame = Frame("2" + entry.text.decode())
        told = 0
        for session in members:
            session.tell(entry.room, entry.seq, frame)
            told += 1
        self._frames_reliable.inc(told)

    def _part(self, room: str, moves: Moves) -> None:
        for user in moves.leave:
            for session in self._registry.of_user(user):
                self._registry.leave(room, session)
        if moves.close:
            self._registry.close_room(room)

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
