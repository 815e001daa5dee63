"""The one mouth: tails the shard's facts and writes each to this node's members of its room.

Gapless and in the log's order, whoever committed the fact; a node without members of a room pays a dictionary
look-up and never decodes the payload, which was stored ready to send. Membership follows the facts: who joins
does so before the fact is told, who leaves after it. Volatile events (positions, typing, presence) are told
here too, but never touch the log; for members elsewhere they are handed to the tick, and what other nodes say
to ours comes as mail, read together with the log and told in its order. A driver's own record is passed on to
the fix path.

| when | then |
|---|---|
| a fact cannot be read | it is counted, its stream id is logged, and the others are told |
| Redis cannot be read | we try again; nobody is told where anybody is meanwhile |
| facts were trimmed before we read them | `on_gap`: everybody here comes anew and gets a snapshot |
| Redis was wiped, replaced or restarted | `on_gap`, and we go on from the end of the new life's log |
| mail was said before who is on a job changed, or before we read who is | it is not told: whose it is, is unsure |
| somebody read of a room what we have not heard | only the driver of whom he read is told there until we have |
| mail is lost, or waited too long | it is volatile: the next one comes soon |
| it cannot be read: of a node of another version | it is counted, and said once in MUTE_S; the same as lost |
"""

import asyncio
import logging
import math
import time
from collections.abc import Callable
from typing import Protocol

import msgspec

from rooms import metrics
from rooms.faults import fault
from rooms.registry import Registry
from rooms.session import Session, frame_of
from storage.facts import Entry, Moves
from storage.log import Log
from storage.mail import Mail, Said
from storage.records import Driver
from storage.shard import Unavailable
from storage.tail import Heard, Position

logger = logging.getLogger(__name__)

BATCH = 512
LOOK_S = 1.0  # so often we ask whether we hear everything
MUTE_S = 10.0
BACKOFF_S = (0.05, 0.1, 0.2, 0.5, 1.0)
_frames, _VOLATILE = metrics.FRAMES.n, ("volatile",)
_moves = msgspec.json.Decoder(Moves)
_DRIVER = b'"record":"driver"'


class Elsewhere(Protocol):
    """What takes volatile events to the other nodes, of which there are so many."""

    others: int

    def relay(self, said: Said, driver_id: str, version: int) -> None: ...


class Nowhere:
    others = 0

    def relay(self, said: Said, driver_id: str, version: int) -> None:
        pass


class Speaker:
    """`on_driver` hears of every change of a driver whose device may be here; `on_gap`, that facts were missed,
    so that what this node told and holds may be wrong."""

    def __init__(self, log: Log, registry: Registry) -> None:
        self._tail = log.tail
        self._registry = registry
        self.on_driver: Callable[[Driver], None] = lambda driver: None
        self.on_gap: Callable[[], None] = lambda: None
        self.elsewhere: Elsewhere = Nowhere()
        self.read_at_s = -math.inf
        self._looked_s = self._said_s = -math.inf

    def fresh(self, within_s: float = 5.0) -> bool:
        """Has the log been read to its end lately? If not, nobody knows who still drives whom."""
        return time.monotonic() - self.read_at_s < within_s

    async def run(self, started: asyncio.Event) -> None:
        """Tails the log from its end as it is now, for ever; `started` once it was read to its end."""
        at: Position | None = None
        failures = 0
        while True:
            try:
                at = at or await self._tail.newest()
                at = await self._step(at)
                if self.fresh():
                    started.set()
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
        if now_s - self._looked_s < LOOK_S and at.life == self._tail.life:
            heard = await self._tail.read(at.id, at.mail, BATCH)
            number = at.number + len(heard.entries)
        else:
            look = await self._tail.look(at.id, at.mail, BATCH)
            if look.life != at.life:
                at = await self._tail.newest()
                self._missed("Redis is another, or has lost what it held")
                return at
            self._looked_s = now_s
            heard = look.heard
            number = at.number + len(heard.entries)
            if len(heard.entries) < BATCH and number != look.added:
                self._missed(f"{look.added - number} facts went by unheard")
                number = look.added
        return self._hear_all(heard, at._replace(number=number))

    def _hear_all(self, heard: Heard, at: Position) -> Position:
        """Tells facts and mail in the order of their moments, facts first; where that leaves us."""
        entries, mail = heard
        if len(entries) == BATCH:
            # there is more of the log: what was said after its last fact here must wait for the next ones
            mail = [letter for letter in mail if _ms(letter.id) < _ms(entries[-1].id)]
        delivered = 0
        for entry in entries:
            while delivered < len(mail) and _ms(mail[delivered].id) < _ms(entry.id):
                self.deliver(mail[delivered])
                delivered += 1
            self.hear(entry)
        for letter in mail[delivered:]:
            self.deliver(letter)
        metrics.FACTS.inc(len(entries))
        if len(entries) < BATCH:
            self.read_at_s = time.monotonic()
        return at._replace(id=entries[-1].id if entries else at.id, mail=mail[-1].id if mail else at.mail)

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

    def deliver(self, mail: Mail) -> None:
        """Tells our members what another node said in their rooms."""
        try:
            for said in mail.said():
                if _ms(mail.id) > self._registry.since_ms(said.room):
                    self._say(*said)
        except msgspec.DecodeError as error:
            metrics.UNREADABLE.inc()
            if (now_s := time.monotonic()) - self._said_s > MUTE_S:
                self._said_s = now_s
                logger.error("mail %s cannot be told: %s", mail.id, fault(error))

    def _hear(self, entry: Entry) -> None:
        moves = _moves.decode(entry.moves) if entry.moves else None
        if moves is not None:
            for user in moves.join:
                for session in self._registry.of_user(user):
                    self._registry.let_in(entry.room, session)
        try:
            self._tell(entry)
        finally:
            if moves is not None:
                self._part(entry.room, moves)
                self._registry.changed(entry.room, _ms(entry.id))
            if entry.event:  # others have no number in the room
                self._registry.heard(entry.room, entry.epoch, entry.seq)
            if _DRIVER in entry.data:
                for record in entry.records():
                    if isinstance(record, Driver):
                        self.on_driver(record)

    def _tell(self, entry: Entry) -> None:
        if not entry.event or not (members := self._registry.members(entry.room)):
            return
        frame = frame_of(entry.text)
        told = 0
        for session in members:
            session.tell(entry.room, entry.epoch, entry.seq, frame)
            told += 1
        metrics.FRAMES.n["reliable",] += told

    def _part(self, room: str, moves: Moves) -> None:
        for user in moves.leave:
            for session in self._registry.of_user(user):
                self._registry.let_out(room, session)
        if moves.close:
            self._registry.close_room(room)

    def volatile(self, room: str, key: str, json: bytes, but: str, version: int = 0) -> None:
        """Tells the latest value of `key` to the room's members but the user `but`, here and elsewhere. With a
        `version` it is where he drives: elsewhere only while it is that of his record as a driver, here only while
        nobody has read that another does."""
        if version and not self._registry.drives(room, but):
            return
        self._say(room, key, json, but)
        if self.elsewhere.others:
            self.elsewhere.relay(Said(room, key, json, but), but if version else "", version)

    def _say(self, room: str, key: str, json: bytes, but: str) -> None:
        told, frame = 0, frame_of(json)
        for session in self._registry.members(room):
            wire = session.wire
            if session.user_id != but and wire is not None and session.hold is None:
                wire.tell_latest(key, frame)
                told += 1
        _frames[_VOLATILE] += told

    def superseded(self, session: Session, generation: int) -> None:
        """A newer device of the same user went online."""
        session.say("superseded", {"generation": generation})


def _ms(stream_id: str) -> int:
    return int(stream_id.partition("-")[0])
