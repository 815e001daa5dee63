"""Load, commit and tail: the one way in which live records change, and in which anybody hears of it.

`commit` writes a Write whole or not at all (storage/lua/commit.lua): every record is fenced by the version it
was read at, the shard's life by its token, the command by its remembered answer. What follows from a record
(its timer, its place in the waiting list, the index it must leave) is derived here, so that no rule can
forget it.
"""

from typing import Any, cast

import msgspec

from storage import keys
from storage.facts import Fact, Moves
from storage.records import Drained, Driver, Job, Offer, Room, Stored, UserId
from storage.shard import BACK_MS, Shard
from storage.strain import Strain
from storage.tail import Tail
from storage.waiting import Waiting, lng_lat

LIVE_TTL_MS = (
    7 * 86_400_000
)  # far longer than any job; an upper bound on what a lost process can leave behind
OVER_TTL_MS = 15 * 60_000  # a finished job's record and room, for late readers and repeated commands
ANSWERS_KEPT = 128
_NEVER_STALE_MS = 2**53
GIVEN_BACK = 1_000  # timers at a time
FIRST_LOOK_MS = 400  # a searching job is looked at again so soon, should the process that opened it die

_encode = msgspec.json.Encoder().encode
_decoders: dict[type, msgspec.json.Decoder[Any]] = {
    kind: msgspec.json.Decoder(kind) for kind in (Job, Offer, Driver)
}


class Conflict(Exception):
    """Somebody else wrote first, or too much time passed since the reading: load again and decide again."""


class Late(Exception):
    """The commit's deadline had passed by Redis' clock."""


class Full(Exception):
    """The room remembers as many lasting answers as it may."""


class Again(Exception):
    """The command was committed before; `answer` is what it was answered then."""

    def __init__(self, answer: bytes) -> None:
        super().__init__()
        self.answer = answer


class Loaded(msgspec.Struct):
    """Records and timers by (type, id): clients choose their jobs' ids, so an id alone names nothing.
    None where there is no record; `now_ms` is Redis' clock at the reading, `life` the token of its life."""

    life: str
    now_ms: int
    answer: bytes | None
    records: dict[tuple[type, str], Stored | None]
    due_ms: dict[tuple[type, str], int]


class Write(msgspec.Struct, kw_only=True):
    """One decision, ready to commit. `read` are records that must be unchanged, `put` those to store (each with
    the version it was read at; those of `anew` with one of a life that is lost, and there must be none now); `by`
    is who caused it; `latest_ms` refuses a commit after it. `answer` is kept under `field` among the room's last
    ANSWERS_KEPT; with a `lasting_max` for as long as the room lives, and beyond so many of these by one user
    nothing is committed."""

    life: str
    loaded_ms: int
    room: Room
    by: str
    read: tuple[Stored, ...] = ()
    put: tuple[Stored, ...] = ()
    anew: tuple[tuple[type, str], ...] = ()
    facts: tuple[Fact, ...] = ()
    reseat: tuple[UserId, ...] = ()
    latest_ms: int = 0
    field: str = ""
    answer: bytes = b""
    lasting_max: int = 0  # 0: one of the recent


def record_key(shard: str, kind: type, id_: str) -> str:
    if kind is Job:
        return keys.job(shard, id_)
    return keys.driver(shard, id_) if kind is Driver else keys.offer(shard, id_)


def _timer(kind: type, id_: str) -> str:
    if kind is Job:
        return f"job:{id_}"
    return f"driver:{id_}" if kind is Driver else ""


class Log:
    """`node` is whose mail the tail reads beside the log; `waiting` reads the list of who waits, `strain` whether what
    matters less should give way. `kept_s`: so long the drain leaves there what it has drained."""

    def __init__(self, shard: Shard, room_facts: int = 300, node: str = "", kept_s: float = 120.0) -> None:
        self._shard = shard
        self._cap = room_facts
        self.tail = Tail(shard, node)
        self.waiting = Waiting(shard)
        self.strain = Strain(shard, int(kept_s * 1000))

    async def load(self, wanted: list[tuple[type, str]], room: str = "", field: str = "") -> Loaded:
        """Reads records, their timers and the command's first answer at one moment."""
        shard, s = self._shard, self._shard.name
        await shard.ensure_life()
        reply = await shard.ask(
            shard.load_script(
                [keys.life(s), keys.head(s, room), keys.due(s), *(record_key(s, *w) for w in wanted)],
                [field, *(_timer(*w) for w in wanted)],
            )
        )
        token, now_ms, answer = reply[:3]
        if token is None or token.decode() != shard.token:
            shard.life_changed = True
            raise Conflict
        records: dict[tuple[type, str], Stored | None] = {}
        due_ms: dict[tuple[type, str], int] = {}
        for want, (version, body, due) in zip(wanted, reply[3:], strict=True):
            records[want] = cast(Stored, _decoders[want[0]].decode(body)) if version else None
            if due:
                due_ms[want] = int(float(due))
        return Loaded(token.decode(), now_ms, answer, records, due_ms)

    async def commit(self, write: Write) -> int:
        """Commits and returns the moment (Redis ms). Raises Conflict, Late, Full, Again or Unavailable; after
        Unavailable the write may have happened, and a repeat of the same command finds out."""
        shard, s = self._shard, self._shard.name
        wanted = [
            keys.life(s),
            keys.due(s),
            keys.wait(s),
            keys.facts(s),
            keys.spot(s),
            keys.head(s, write.room),
        ]
        args: list[Any] = [write.life, write.loaded_ms, write.latest_ms, write.field, write.answer]
        args += [f"lasting {write.by}", write.lasting_max] if write.lasting_max else ["recent", ANSWERS_KEPT]
        args += [write.by, f"{{{s}}}:", self._cap]
        fenced = (*write.read, *write.put)
        args.append(len(fenced))
        for record in fenced:
            wanted.append(record_key(s, type(record), record.id))
            args.append(0 if _identity(record) in write.anew else record.version)
        stored = {
            (type(record), record.id): msgspec.structs.replace(record, version=record.version + 1)
            for record in write.put
        }
        args.append(len(stored))
        for record in stored.values():
            wanted.append(record_key(s, type(record), record.id))
            args += [record.version, _encode(record), _ttl_ms(record)]
        self._index_changes(write, wanted, args)
        leaving = {d.id for d in write.put if isinstance(d, Driver) and not d.available} | set(write.reseat)
        facts = (*write.facts, *_untold(write))
        args += [len(leaving), *(each for id_ in leaving for each in (id_, keys.entry(id_))), len(facts)]
        over = {r.room for r in fenced if isinstance(r, Job) and r.ended_ms}
        for fact in facts:
            wanted += [keys.head(s, fact.room), keys.log(s, fact.room)]
            args += [*_fact_args(fact, stored), OVER_TTL_MS if fact.room in over else LIVE_TTL_MS]
        reply = await shard.kept(shard.commit_script, wanted, args)
        outcome = reply[0]
        if outcome == b"ok":
            return int(reply[1])
        if outcome == b"again":
            raise Again(reply[1])
        if outcome == b"late":
            raise Late
        if outcome == b"full":
            raise Full
        if outcome == b"life":
            shard.life_changed = True
        raise Conflict

    def _index_changes(self, write: Write, wanted: list[str], args: list[Any]) -> None:
        """Timers, waiting list and "my jobs", as they follow from the records."""
        s, now_ms = self._shard.name, write.loaded_ms
        changes: list[tuple[str, str, tuple[Any, ...]]] = []
        for record in write.put:
            timer = _timer(type(record), record.id)
            if isinstance(record, Job):
                searching = record.state == "searching" and not record.needs_person
                due_ms = now_ms + FIRST_LOOK_MS if searching else record.wake_ms
                changes.append(
                    ("ZADD", keys.due(s), (due_ms, timer)) if due_ms else ("ZREM", keys.due(s), (timer,))
                )
                changes.append(
                    ("ZADD", keys.wait(s), (record.searching_ms, record.id))
                    if searching
                    else ("ZREM", keys.wait(s), (record.id,))
                )
                want = keys.want(s, record.vehicle_class)
                at = (*lng_lat(record.pickup), record.id)
                changes.append(("GEOADD", want, at) if searching else ("ZREM", want, (record.id,)))
                asked = record.state == "offered" and not record.needs_person
                changes.append(
                    ("ZADD", keys.asked(s), (record.wake_ms, record.id))
                    if asked
                    else ("ZREM", keys.asked(s), (record.id,))
                )
                coming = keys.coming(s, record.area_id)
                changes.append(
                    ("ZADD", coming, (record.assigned_ms, record.id))
                    if record.may_change
                    else ("ZREM", coming, (record.id,))
                )
                mine = keys.mine(s, record.requester_id)
                changes.append(("SREM" if record.ended_ms else "SADD", mine, (record.id,)))
                changes.append(("PEXPIRE", mine, (LIVE_TTL_MS,)))
                if record.driver_id is not None and (record.needs_person or record.restored):
                    # the plan of its driver may have lost it
                    his, waits = keys.named(s, record.driver_id), record.needs_person and not record.ended_ms
                    changes.append(("SADD" if waits else "SREM", his, (record.id,)))
                    changes.append(("PEXPIRE", his, (LIVE_TTL_MS,)))
            elif isinstance(record, Driver):
                if record.online and not record.stale:
                    # NX: being written about is no sign of life; fixes move this timer (tick.lua).
                    # Coming online is one.
                    how = () if record.id in write.reseat else ("NX",)
                    changes.append(("ZADD", keys.due(s), (*how, now_ms + record.silence_ms, timer)))
                else:
                    changes.append(("ZREM", keys.due(s), (timer,)))
        args.append(len(changes))
        for command, key, rest in changes:
            wanted.append(key)
            args += [command, len(rest), *rest]

    async def note(self, facts: tuple[Fact, ...]) -> None:
        """Adds facts that change nothing. Raises Conflict or Unavailable."""
        await self._shard.ensure_life()
        # nothing was read for them, so they are never stale
        write = Write(
            life=self._shard.token, loaded_ms=_NEVER_STALE_MS, room=facts[0].room, by="system", facts=facts
        )
        await self.commit(write)

    async def settled(self) -> None:
        """What was committed before is there to stay. Raises Unavailable."""
        await self._shard.settled()

    async def now_ms(self) -> int:
        """The shard's clock."""
        return await self._shard.now_ms()

    def remembers_ms(self) -> int:
        """For how long Redis has kept all that it was given, as far as this process has seen; its life is as old."""
        return self._shard.lived_ms()

    async def jobs_of(self, user: str) -> list[str]:
        """The requester's jobs that are not over."""
        found = await self._shard.ask(
            cast(Any, self._shard.client.smembers(keys.mine(self._shard.name, user)))
        )
        return sorted(job.decode() for job in found)

    async def due(self, limit: int = 100) -> list[str]:
        """Timers that have run out: "job:<id>" and "driver:<id>"."""
        reply = await self._shard.ask(self._shard.due_script([keys.due(self._shard.name)], [limit]))
        return [member.decode() for member in reply]

    async def give_back_time(self, late_ms: int) -> None:
        """Drivers' timers that have stood for so long after they ran out run out anew, BACK_MS from now; so many at a
        time that Redis and this process have others to serve between."""
        client, key = self._shard.client, keys.due(self._shard.name)
        now_ms = await self._shard.now_ms()
        from_ms, late = float("-inf"), list[tuple[bytes, float]]()
        while True:
            page = client.zrangebyscore(key, from_ms, now_ms - late_ms, 0, GIVEN_BACK, withscores=True)
            before, late = late, await self._shard.ask(page)
            if drivers := {timer: now_ms + BACK_MS for timer, _ in late if timer.startswith(b"driver:")}:
                await self._shard.ask(client.zadd(key, drivers, xx=True, gt=True))
            if len(late) < GIVEN_BACK or late == before:
                return
            from_ms = late[-1][1]  # once more: others may have run out in the same millisecond

    async def snooze(self, timer: str, until_ms: int) -> None:
        """Looks again at `until_ms`, if the timer still stands."""
        client, key = self._shard.client, keys.due(self._shard.name)
        await self._shard.ask(client.zadd(key, {timer: until_ms}, xx=True, gt=True))

    async def forget(self, timer: str) -> None:
        """Drops a timer whose record is gone."""
        await self._shard.ask(self._shard.client.zrem(keys.due(self._shard.name), timer))


def _ttl_ms(record: Stored) -> int:
    over = record.ended_ms > 0 if isinstance(record, Job | Offer) else False
    return OVER_TTL_MS if over else LIVE_TTL_MS


def _untold(write: Write) -> list[Fact]:
    """A silent fact for every record that no fact of the decision carries: nodes and history hear of each."""
    told = {_identity(r) for fact in write.facts for r in fact.records}
    return [Fact(room=_room_of(r), records=(r,)) for r in write.put if _identity(r) not in told]


def _identity(record: Drained) -> tuple[type, str]:
    return type(record), getattr(record, "id", "")


def _room_of(record: Stored) -> Room:
    if isinstance(record, Job):
        return record.room
    return Room(f"user:{record.id if isinstance(record, Driver) else record.driver_id}")


def _fact_args(fact: Fact, stored: dict[Any, Stored]) -> list[Any]:
    """room, event, text without its end (the script adds room, epoch and seq), records, moves."""
    text = b""
    if fact.event:
        text = _encode([fact.event, fact.payload])[:-2]  # without "}]"
    records = [stored.get(_identity(r), r) for r in fact.records]
    moves = b""
    if fact.join or fact.leave or fact.close:
        moves = _encode(Moves(fact.join, fact.leave, fact.close))
    return [fact.room, fact.event, text, _encode(records) if records else b"", moves]
