"""The drain of fixes, and the count of those that were thinned away before it came.

The stream is bounded and gives way when memory is short (storage/lua/tick.lua). Each entry carries how many fixes
it holds and how many were ever put on the stream up to it, so what is missing between two readings is known.
"""

import asyncio
from typing import Any

from storage import keys
from storage.drainstream import UNKNOWN, Batch, Read, Stream, Tally
from storage.fixrows import Packed, Packer, dates_of
from storage.sink import SQL, Sink

FIXES_A_BATCH = 20_000
FIXES_AT_ONCE = 500


class FixesStream(Stream):
    name = "fixes"

    def __init__(self, shard: str, redis: Any, tally: Tally, batch: int) -> None:
        super().__init__(shard, redis, tally, batch)
        self.key = keys.fixes(shard)
        self._packer = Packer()
        self._days: set[int] = set()
        self._per_entry = 100
        self._count = self._entries_of(FIXES_A_BATCH)

    async def _prepare(self, read: Read) -> Packed:
        packed, step = Packed([], [], set()), self._entries_of(FIXES_AT_ONCE)
        for i in range(0, len(read.entries), step):
            part = self._packer.pack(read.entries[i : i + step], read.now_ms)
            packed.fixes.extend(part.fixes)
            packed.refused.extend(part.refused)
            packed.days.update(part.days)
            await asyncio.sleep(0)  # a COPY may be under way, and wants to be fed
        if read.entries:
            self._per_entry = max(1, len(packed.fixes) // len(read.entries))
            self._count = self._entries_of(FIXES_A_BATCH)
        return packed

    def _entries_of(self, fixes: int) -> int:
        """A tick holds from one to thousands of fixes: as many ticks as make so many rows."""
        return max(1, min(self._batch, fixes // self._per_entry))

    def _missed(self, number: int, batch: Batch) -> tuple[int, int]:
        marks = [
            (int(fields[b"number"]), int(fields[b"count"]))
            for _, fields in batch.read.entries
            if b"number" in fields and b"count" in fields
        ]
        if not marks:
            return number, 0
        last, _ = marks[-1]
        if number == UNKNOWN:
            number = marks[0][0] - marks[0][1]
        # after a restart of Redis some entries are read again: they are not beyond what was seen
        here = sum(count for at, count in marks if at > number)
        return max(number, last), max(0, last - number - here)

    def _gone(self, number: int, read: Read) -> int:
        return 0 if number == UNKNOWN else max(0, read.fixed - number)

    async def _make_room(self, batch: Batch) -> None:
        new = batch.content.days - self._days
        for day in dates_of(new):
            await self._conn.fetchval(SQL["partitions"], day, day)
        self._days |= new

    async def _write(self, sink: Sink, batch: Batch) -> None:
        await sink.write_fixes(batch.content.fixes)
        await sink.refuse(batch.content.refused)


class PastStream(FixesStream):
    """Batches of fixes; acked, so never shed, and not numbered."""

    name = "past"

    def __init__(self, shard: str, redis: Any, tally: Tally, batch: int) -> None:
        super().__init__(shard, redis, tally, batch)
        self.key = keys.past(shard)

    def _gone(self, number: int, read: Read) -> int:
        return 0
