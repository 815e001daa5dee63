"""A room's own log: where the room stands now, and what was said in it after a number.

One script (storage/lua/room.lua) reads a room's head and its log, and what they are about, at one moment: a job's
record, or a user's own as a driver and which jobs he has asked for. What was said
is given whole or not at all: a number of another epoch, one that was never given, one whose followers the log no
longer holds or that are too many get nothing. Asking is announcing: a room without a head gets one, and a
live one is kept for as long as if it had been spoken in.
"""

from typing import Any, NamedTuple

import msgspec

from storage import keys
from storage.facts import Moves
from storage.log import LIVE_TTL_MS, Conflict
from storage.records import Driver, Job, JobId, Room, UserId
from storage.shard import Shard

BYTES_MAX = (
    2 * 1024 * 1024
)  # of all that one answer tells; a phone on a thin line must get it before it is given up


class Asked(NamedTuple):
    """A room, and the last that was heard there; without a `job_id` it is a user's own."""

    room: Room
    job_id: JobId | None = None
    epoch: str = ""
    seq: int = 0


class Said(NamedTuple):
    """A fact as it was told, `["event",{…}]`, and who joined the room with it."""

    text: bytes
    joined: tuple[UserId, ...]


class Standing(NamedTuple):
    """How it stood at `at_ms` of Redis' clock. `missed` is all that was said after what was heard, up to `seq`; None
    when that cannot be told, and `later` when it only was too much for this answer. A user's room has no `job`, but
    his record as a `driver`, if he is one, and the jobs that he has `asked` for and that were not over."""

    at_ms: int
    epoch: str
    seq: int
    job: Job | None
    missed: list[Said] | None
    later: bool
    driver: Driver | None = None
    asked: tuple[str, ...] = ()


_jobs = msgspec.json.Decoder(Job)
_drivers = msgspec.json.Decoder(Driver)
_moves = msgspec.json.Decoder(Moves)


class RoomLog:
    def __init__(self, shard: Shard, room_facts: int = 300) -> None:
        self._shard = shard
        self._facts_max = room_facts

    async def stand(self, asked: list[Asked]) -> list[Standing | None]:
        """Where each room stands, at one moment; None for a job's room whose job is gone. Raises Conflict,
        when Redis began another life meanwhile, or Unavailable."""
        shard, s = self._shard, self._shard.name
        await shard.ensure_life()
        wanted, args = [keys.life(s)], [shard.token, self._facts_max, BYTES_MAX, LIVE_TTL_MS]
        for room, job_id, epoch, seq in asked:
            wanted += [keys.head(s, room), keys.log(s, room)]
            if job_id is None:
                user = room.partition(":")[2]
                wanted += [keys.driver(s, user), keys.mine(s, user), keys.named(s, user)]
            else:
                wanted += [keys.job(s, job_id), keys.life(s), keys.life(s)]
            args += [epoch, seq]
        token, at_ms, *found = await shard.ask(shard.room_script(wanted, args))
        if token is None or token.decode() != shard.token:
            shard.life_changed = True
            raise Conflict
        return [
            _standing(at_ms, each, of_job=one.job_id is not None) if each else None
            for one, each in zip(asked, found, strict=True)
        ]


def _standing(at_ms: int, found: list[Any], *, of_job: bool) -> Standing:
    epoch, seq, record, said, asked = found
    missed = None
    if isinstance(said, list):
        missed = [Said(text, _joined(moves)) for text, moves in zip(said[::2], said[1::2], strict=True)]
    at = Standing(at_ms, epoch.decode(), seq, None, missed, later=said == b"later")
    if of_job:
        return at._replace(job=_jobs.decode(record))
    driver = _drivers.decode(record) if record else None
    return at._replace(driver=driver, asked=tuple(sorted(job.decode() for job in asked)))


def _joined(moves: bytes) -> tuple[UserId, ...]:
    return _moves.decode(moves).join if moves else ()
