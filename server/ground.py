"""What a node stands on: the areas and blocks that PostgreSQL has, kept up to date, with a copy in Redis.

PostgreSQL is the authority. The copy is read at a start at which PostgreSQL cannot be reached, and never else, so that
nodes which die in its outage come back to the live work.

| when | then |
|---|---|
| PostgreSQL is away at the start, and there is a copy | the node starts with it; its log says so, and of when it is |
| there is none (Redis is new or was wiped), it is a day old, or of another format | the node does not start |
| PostgreSQL is back | all is read anew within REFRESH_S |
| its schema is not of this code then | the node says so and ends, as it would have at its start |
| PostgreSQL goes away later | what was read counts; it is asked again |
| an area or a block changes in the last moments before PostgreSQL goes | it is in the copy REFRESH_S later, or not |
| Redis does not take the copy | the one before stays, until it is too old |
| it is too large (COPY_MAX_BYTES) | there is none, and the log says so |
| two nodes write at once | the later one stands: both have just read it |
"""

import asyncio
import logging
import time
from datetime import UTC, datetime

from dispatch.desk import Desk
from rooms.fixes import Fixes
from server.areas import Atlas
from server.blocks import read_blocks
from storage.blocks import BEGINNING
from storage.copied import Copies, Copy
from storage.migrate import StaleSchema, check
from storage.postgis import Database, DatabaseUnavailable
from storage.shard import Unavailable

logger = logging.getLogger(__name__)

REFRESH_S = 3.0
WHOLE_EVERY_S = 60.0  # also when nothing has changed: Redis may have been wiped


class Ground:
    """`away` says why PostgreSQL could not be asked at the start."""

    def __init__(self, database: Database, copies: Copies, atlas: Atlas) -> None:
        self.away: DatabaseUnavailable | None = None
        self._database, self._copies, self._atlas = database, copies, atlas
        self._checked = self._changed = False
        self._since = BEGINNING
        self._whole_s = -WHOLE_EVERY_S

    async def check(self) -> None:
        """The schema, unless PostgreSQL is away. Raises StaleSchema."""
        try:
            await self._check()
        except DatabaseUnavailable as away:
            self.away = away

    async def open(self, desk: Desk, fixes: Fixes) -> int:
        """Gives them what PostgreSQL or the copy says; answers until when, at most, PostgreSQL was heard. Raises
        DatabaseUnavailable where neither says anything, Unavailable."""
        if self.away is None:
            try:
                await self._read(desk, fixes)
                return fixes.now_ms()
            except DatabaseUnavailable as away:
                self.away = away
        found = await self._copies.find()
        if found is None:
            raise self.away
        at_ms, copy = found
        desk.areas = fixes.leases.areas = self._atlas.recall(copy.rows, copy.learned)
        for pair in copy.blocks:
            desk.blocks.put(*pair, stands=True)
        at = datetime.fromtimestamp(at_ms / 1000, UTC)
        logger.warning("PostgreSQL is away: this node starts with its areas and blocks of %s", at.isoformat())
        return at_ms + int(REFRESH_S * 1000)

    async def keep(self, desk: Desk, fixes: Fixes, ended: asyncio.Event) -> None:
        """Takes up what has changed, every few seconds."""
        while True:
            await asyncio.sleep(REFRESH_S)
            try:
                await self._read(desk, fixes)
            except DatabaseUnavailable:
                continue  # what was read counts
            except StaleSchema as stale:
                logger.error("PostgreSQL is back, and not as this node needs it: %s", stale)
                ended.set()
                return

    async def _check(self) -> None:
        async with self._database.connection() as connection:
            await check(connection)
        self._checked = True

    async def _read(self, desk: Desk, fixes: Fixes) -> None:
        if not self._checked:
            await self._check()
        areas = await self._atlas.read()
        if areas is not None:
            desk.areas = fixes.leases.areas = areas
            self._changed = True
        since = await read_blocks(self._database, desk.blocks, self._since)
        self._changed = self._changed or since != self._since
        self._since = since
        await self._copy(desk, fixes.now_ms())

    async def _copy(self, desk: Desk, now_ms: int) -> None:
        now_s = time.monotonic()
        whole = self._changed or now_s - self._whole_s >= WHOLE_EVERY_S
        copy = Copy(*self._atlas.told(), [*desk.blocks.pairs()]) if whole else None
        try:
            if not await self._copies.keep(now_ms, copy):
                logger.warning("areas and blocks are too large for a copy: no node starts without PostgreSQL")
        except Unavailable:
            return
        if whole:
            self._changed, self._whole_s = False, now_s
