"""The drain of facts: records, events, messages. Never shed; drained facts stay a while for nodes that read slowly."""

from typing import Any

from storage import keys
from storage.drainstream import Batch, Cursor, Read, Stream, Tally, ms_of
from storage.owners import jobs_of, owners_of
from storage.projection import Refused, Row, merge, project
from storage.sink import SQL, Sink


class FactsStream(Stream):
    name = "facts"

    def __init__(self, shard: str, redis: Any, tally: Tally, batch: int, max_age_s: int) -> None:
        super().__init__(shard, redis, tally, batch)
        self.key = keys.facts(shard)
        self._max_age_ms = max_age_s * 1000

    async def _prepare(self, read: Read) -> tuple[list[Row], list[Refused]]:
        rows: list[Row] = []
        refused: list[Refused] = []
        for stream_id, fields in read.entries:
            good, bad = project(stream_id, fields, self._shard, read.life)
            rows += good
            refused += bad
        return rows, refused

    async def _write(self, sink: Sink, batch: Batch) -> None:
        rows, refused = batch.content
        # asked behind the cursor's lock, so that what the batch before wrote is seen
        owners = owners_of(await self._conn.fetch(SQL["owners"], jobs_of(rows)))
        own, foreign = owners.sort(rows)
        await sink.write_rows(merge(own))
        await sink.refuse([*refused, *foreign])

    def _keep_from(self, cursor: Cursor, now_ms: int) -> str:
        """Drained facts stay for nodes that are slow to read them."""
        old_enough_ms = now_ms - self._max_age_ms
        drained = super()._keep_from(cursor, now_ms)
        return drained if ms_of(drained.encode()) < old_enough_ms else f"{old_enough_ms}-0"
