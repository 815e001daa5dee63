"""One stream and its cursor: the round of the drain, from reading to trimming.

A round reads entries between two looks at the shard's life, moves the cursor and writes the rows in one
transaction, and trims behind it. Every await in it may be the last thing this process does; see
docs/failures-drain.md.
"""

import time
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

from storage import keys
from storage.fixrows import Fix, Packer, days_of
from storage.owners import jobs_of, owners_of
from storage.projection import Refused, Row, merge, project
from storage.sink import SQL, Sink

LUA_TRIM = (Path(__file__).parent / "lua" / "trim.lua").read_text()
START = "0-0"
HEARTBEAT_S = 1.0
FIXES_A_BATCH = 20_000

Entries = list[tuple[bytes, dict[bytes, bytes]]]


class CursorMoved(Exception):
    """Another drain has written this batch, or another life has begun."""


class Cursor(NamedTuple):
    life: str
    last_id: str


@dataclass
class Tally:
    entries: int = 0
    rows: int = 0
    refused: int = 0
    lag_ms: int = 0

    def __str__(self) -> str:
        return f"{self.entries} entries, {self.rows} rows, {self.refused} refused, lag {self.lag_ms} ms"


class Read(NamedTuple):
    """Entries after the cursor, and the life and the time of the Redis they were read from."""

    life: str
    now_ms: int
    entries: Entries


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
        self._trim_script = redis.register_script(LUA_TRIM)
        self._heard_s = 0.0

    def use(self, conn: Any) -> None:
        self._conn = conn
        self._cursor: Cursor | None = None

    async def round(self) -> bool:
        """One batch. Whether there is probably more."""
        cursor = self._cursor = self._cursor or await self._read_cursor()
        read = await self._read(cursor)
        if not read.life:
            return False  # nobody has committed anything in this Redis yet
        if read.life != cursor.life:
            await self._move(cursor, Cursor(read.life, START), 0, 0, 0)
            return True
        more = len(read.entries) >= self._count
        if read.entries:
            await self._carry(cursor, read, more)
        elif time.monotonic() - self._heard_s > HEARTBEAT_S:
            await self._move(cursor, cursor, read.now_ms, 0, 0)
            self._tally.lag_ms = 0
            await self._trim(cursor, read.now_ms)
        return more

    async def _read_cursor(self) -> Cursor:
        where = (self._shard, self.name)
        await self._conn.execute(SQL["cursor_make"], *where)
        return Cursor(*await self._conn.fetchrow(SQL["cursor_read"], *where))

    async def _read(self, cursor: Cursor) -> Read:
        # no MULTI: a full Redis refuses even to queue a reading, and only the drain makes room again
        pipe = self._redis.pipeline(transaction=False)
        pipe.hget(keys.life(self._shard), "token")
        pipe.time()
        pipe.xread({self.key: cursor.last_id}, count=self._count)
        pipe.hget(keys.life(self._shard), "token")
        token, (seconds, micros), streams, still = await pipe.execute()
        if token != still:
            raise CursorMoved
        entries: Entries = streams[0][1] if streams else []
        return Read((token or b"").decode(), seconds * 1000 + micros // 1000, entries)

    async def _carry(self, cursor: Cursor, read: Read, more: bool) -> None:
        began_s = time.monotonic()
        first_ms, last_id = _ms(read.entries[0][0]), read.entries[-1][0].decode()
        await self._prepare(read)
        lag_ms = read.now_ms - first_ms + int((time.monotonic() - began_s) * 1000)
        reached_ms = _ms(read.entries[-1][0]) if more else read.now_ms
        async with self._conn.transaction():
            moved = Cursor(cursor.life, last_id)
            await self._move(cursor, moved, reached_ms, max(0, lag_ms), len(read.entries))
            sink = Sink(self._conn, self._shard, self.name, cursor.life)
            await self._write(sink)
            await self._conn.execute(SQL["cursor_count"], self._shard, self.name, sink.rows, sink.refused)
        self._tally.entries += len(read.entries)
        self._tally.rows += sink.rows
        self._tally.refused += sink.refused
        self._tally.lag_ms = max(0, lag_ms)
        await self._trim(moved, read.now_ms)

    async def _move(self, seen: Cursor, to: Cursor, reached_ms: int, lag_ms: int, entries: int) -> None:
        """Compare-and-set. Raises CursorMoved."""
        moved = await self._conn.fetchval(
            SQL["cursor_move"], self._shard, self.name, *seen, *to, reached_ms, lag_ms, entries
        )
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

    async def _prepare(self, read: Read) -> None:
        """Turns entries into rows, and makes what the transaction must find."""
        raise NotImplementedError

    async def _write(self, sink: Sink) -> None:
        raise NotImplementedError


class FactsStream(Stream):
    name = "facts"

    def __init__(self, shard: str, redis: Any, tally: Tally, batch: int, max_age_s: int) -> None:
        super().__init__(shard, redis, tally, batch)
        self.key = keys.facts(shard)
        self._max_age_ms = max_age_s * 1000
        self._rows: list[Row] = []
        self._refused: list[Refused] = []

    async def _prepare(self, read: Read) -> None:
        self._rows, self._refused = [], []
        for stream_id, fields in read.entries:
            good, bad = project(stream_id, fields, self._shard, read.life)
            self._rows += good
            self._refused += bad

    async def _write(self, sink: Sink) -> None:
        # asked behind the cursor's lock, so that what the batch before wrote is seen
        owners = owners_of(await self._conn.fetch(SQL["owners"], jobs_of(self._rows)))
        rows, foreign = owners.sort(self._rows)
        await sink.write_rows(merge(rows))
        await sink.refuse([*self._refused, *foreign])

    def _keep_from(self, cursor: Cursor, now_ms: int) -> str:
        """Drained facts stay for nodes that are slow to read them."""
        old_enough_ms = now_ms - self._max_age_ms
        drained = super()._keep_from(cursor, now_ms)
        return drained if _ms(drained.encode()) < old_enough_ms else f"{old_enough_ms}-0"


class FixesStream(Stream):
    name = "fixes"

    def __init__(self, shard: str, redis: Any, tally: Tally, batch: int) -> None:
        super().__init__(shard, redis, tally, batch)
        self.key = keys.fixes(shard)
        self._packer = Packer()
        self._days: set[date] = set()
        self._fixes: list[Fix] = []
        self._refused: list[Refused] = []
        self._count = min(batch, 100)

    async def _prepare(self, read: Read) -> None:
        self._fixes, self._refused = self._packer.pack(read.entries, read.now_ms)
        for day in days_of(self._fixes):
            if day not in self._days:
                await self._conn.fetchval(SQL["partitions"], day, day)
                self._days.add(day)
        # a tick holds from one to thousands of fixes: read as many ticks as make a batch of rows
        per_entry = max(1, len(self._fixes) // len(read.entries))
        self._count = max(1, min(self._batch, FIXES_A_BATCH // per_entry))

    async def _write(self, sink: Sink) -> None:
        await sink.write_fixes(self._fixes)
        await sink.refuse(self._refused)


class PastStream(FixesStream):
    """Batches of fixes; acked, so never shed."""

    name = "past"

    def __init__(self, shard: str, redis: Any, tally: Tally, batch: int) -> None:
        super().__init__(shard, redis, tally, batch)
        self.key = keys.past(shard)


def _ms(stream_id: bytes) -> int:
    return int(stream_id.partition(b"-")[0])
