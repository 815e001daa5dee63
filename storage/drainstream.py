"""One stream and its cursor: the round of the drain, from reading to trimming.

A round takes entries between two looks at the shard's life, moves the cursor and writes the rows in one
transaction, and trims behind it. While PostgreSQL writes, the next entries are taken already; they are
forgotten with the session if the commit fails. Every await here may be the last thing this process does; see
docs/failures-drain.md.
"""

import asyncio
import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from storage import keys
from storage.sink import SQL, Sink

log = logging.getLogger("dispatch.drain")

LUA_TRIM = (Path(__file__).parent / "lua" / "trim.lua").read_text()
START = "0-0"
UNKNOWN = -1
HEARTBEAT_S = 1.0
LEAST_SHARE, GROWTH = 1 / 1024, 1.1  # of a batch; from the least to all of it in 73 batches

Entries = list[tuple[bytes, dict[bytes, bytes]]]


class CursorMoved(Exception):
    """Another drain has written this batch, or another life has begun."""


class Cursor(NamedTuple):
    """How far a stream has been drained. `number`: how many fixes had ever been put on it up to there."""

    life: str
    last_id: str
    number: int


@dataclass
class Tally:
    entries: int = 0
    rows: int = 0
    refused: int = 0
    thinned: int = 0
    lag_ms: int = 0

    def __str__(self) -> str:
        said = f"{self.entries} entries, {self.rows} rows, {self.refused} refused, lag {self.lag_ms} ms"
        return f"{said}, {self.thinned} thinned" if self.thinned else said


class Read(NamedTuple):
    """Entries after the cursor, and the life and the time of the Redis they were read from. `fixed`: how many
    fixes had ever been put on its stream; `more`: whether there are probably more entries."""

    life: str
    now_ms: int
    fixed: int
    entries: Entries
    more: bool


class Progress(NamedTuple):
    """What a moved cursor says beside its place; `entries` and `thinned` are added to what it said before."""

    reached_ms: int = 0
    lag_ms: int = 0
    entries: int = 0
    thinned: int = 0


class Batch(NamedTuple):
    """A reading, and what its entries come to; `began_s` is this process' clock before it."""

    read: Read
    content: Any
    began_s: float


class Stream:
    """What the streams have in common. `use` gives it a connection and forgets the cursor."""

    name = ""
    key = ""

    def __init__(self, shard: str, redis: Any, tally: Tally, batch: int) -> None:
        self._shard = shard
        self._redis = redis
        self._tally = tally
        self._batch = batch
        self._count = batch
        self._share = 1.0
        self._trim_script = redis.register_script(LUA_TRIM)
        self._heard_s = 0.0
        self._alone: dict[str, set[tuple[str, int]]] = {}

    def use(self, conn: Any) -> None:
        self._conn = conn
        self._cursor: Cursor | None = None
        self._ahead: Batch | None = None

    def smaller(self) -> None:
        """A round failed: maybe it was too much for the time that it had, and so would be the same again."""
        self._share = max(LEAST_SHARE, self._share / 2)

    async def round(self) -> bool:
        """One batch. Whether there is probably more."""
        cursor = self._cursor = self._cursor or await self._read_cursor()
        batch, self._ahead = self._ahead or await self._take(cursor), None
        read = batch.read
        if not read.life:
            return False  # nobody has committed anything in this Redis yet
        if read.life != cursor.life:
            # one that has put less than we have seen counts anew; what it thinned before this look, nobody knows
            number = cursor.number if read.fixed >= cursor.number else UNKNOWN
            await self._move(cursor, Cursor(read.life, START, number), Progress())
            return True
        if read.entries:
            await self._carry(cursor, batch)
        elif time.monotonic() - self._heard_s > HEARTBEAT_S:
            thinned = self._gone(cursor.number, read)
            here = cursor._replace(number=cursor.number + thinned)
            await self._move(cursor, here, Progress(read.now_ms, thinned=thinned))
            self._tally.lag_ms = 0
            self._count_thinned(thinned)
            await self._trim(here, read.now_ms)
        return read.more

    async def _read_cursor(self) -> Cursor:
        where = (self._shard, self.name)
        await self._conn.execute(SQL["cursor_make"], *where)
        return Cursor(*await self._conn.fetchrow(SQL["cursor_read"], *where))

    async def _take(self, cursor: Cursor) -> Batch:
        began_s = time.monotonic()
        read = await self._read(cursor)
        return Batch(read, await self._prepare(read), began_s)

    async def _read(self, cursor: Cursor) -> Read:
        # no MULTI: a full Redis refuses even to queue a reading, and only the drain makes room again
        count = max(1, int(self._count * self._share))
        pipe = self._redis.pipeline(transaction=False)
        pipe.hget(keys.life(self._shard), "token")
        pipe.time()
        pipe.get(keys.fixed(self._shard))
        pipe.xread({self.key: cursor.last_id}, count=count)
        pipe.hget(keys.life(self._shard), "token")
        token, (seconds, micros), fixed, streams, still = await pipe.execute()
        if token != still:
            raise CursorMoved
        entries: Entries = streams[0][1] if streams else []
        now_ms = seconds * 1000 + micros // 1000
        return Read((token or b"").decode(), now_ms, int(fixed or 0), entries, len(entries) >= count)

    async def _carry(self, cursor: Cursor, batch: Batch) -> None:
        """Commits the batch; meanwhile the next one is taken, if there is one."""
        read = batch.read
        number, thinned = self._missed(cursor.number, batch)
        moved = Cursor(cursor.life, read.entries[-1][0].decode(), number)
        await self._make_room(batch)
        ahead = [self._take(moved)] if read.more else []
        sink, *taken = await asyncio.gather(
            self._commit(cursor, moved, batch, thinned), *ahead, return_exceptions=True
        )
        if isinstance(sink, BaseException):
            raise sink
        self._count_in(sink, read, thinned)
        self._share = min(1.0, self._share * GROWTH)
        await self._trim(moved, read.now_ms)
        for next_one in taken:
            if isinstance(next_one, BaseException):
                raise next_one
            self._ahead = next_one

    async def _commit(self, cursor: Cursor, moved: Cursor, batch: Batch, thinned: int) -> Sink:
        read = batch.read
        waited = int((time.monotonic() - batch.began_s) * 1000)
        self._tally.lag_ms = lag_ms = max(0, read.now_ms - ms_of(read.entries[0][0]) + waited)
        reached_ms = ms_of(read.entries[-1][0]) if read.more else read.now_ms
        async with self._conn.transaction():
            await self._move(cursor, moved, Progress(reached_ms, lag_ms, len(read.entries), thinned))
            sink = Sink(self._conn, self._shard, self.name, cursor.life, self._alone)
            await self._write(sink, batch)
            await self._conn.execute(SQL["cursor_count"], self._shard, self.name, sink.rows, sink.refused)
        return sink

    def _count_in(self, sink: Sink, read: Read, thinned: int) -> None:
        self._tally.entries += len(read.entries)
        self._tally.rows += sink.rows
        self._tally.refused += sink.refused
        self._count_thinned(thinned)

    def _count_thinned(self, thinned: int) -> None:
        self._tally.thinned += thinned
        if thinned:
            text = "%s of %s: %d were thinned before they could be drained"
            log.warning(text, self.name, self._shard, thinned)

    async def _move(self, seen: Cursor, to: Cursor, progress: Progress) -> None:
        """Compare-and-set. Raises CursorMoved."""
        where = (self._shard, self.name, seen.life, seen.last_id)
        moved = await self._conn.fetchval(SQL["cursor_move"], *where, *to, *progress, seen.number)
        if not moved:
            raise CursorMoved
        self._cursor = to  # if the transaction fails, so does the session that holds this
        self._heard_s = time.monotonic()

    async def _trim(self, cursor: Cursor, now_ms: int) -> None:
        await self._trim_script(
            keys=[keys.life(self._shard), self.key], args=[cursor.life, self._keep_from(cursor, now_ms)]
        )

    def _keep_from(self, cursor: Cursor, now_ms: int) -> str:
        """The first stream id that must stay."""
        ms, _, n = cursor.last_id.partition("-")
        return f"{ms}-{int(n) + 1}"

    def _missed(self, number: int, batch: Batch) -> tuple[int, int]:
        """The number that the batch ends at, and how many between `number` and there are on no stream."""
        return number, 0

    def _gone(self, number: int, read: Read) -> int:
        """How many after `number` were put on the stream and are not there any more, which has nothing after the
        cursor."""
        return 0

    async def _prepare(self, read: Read) -> Any:
        """What the entries come to. The connection is not to be used: it may be writing."""
        raise NotImplementedError

    async def _make_room(self, batch: Batch) -> None:
        """Makes what the transaction must find."""

    async def _write(self, sink: Sink, batch: Batch) -> None:
        raise NotImplementedError


def ms_of(stream_id: bytes) -> int:
    """The moment in a stream id."""
    return int(stream_id.partition(b"-")[0])
