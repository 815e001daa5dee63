"""The areas of this server's shard, as the rules want them, kept up to date.

A row that cannot be an area (a policy field nobody knows, an empty polygon) is left out and said so; the
others go on. What areas have learned of their travel times comes with them (learner.py writes it).
"""

import asyncio
import logging
import time

import msgspec
from msgspec.structs import replace

from dispatch.area import Area, Areas
from dispatch.desk import Desk
from dispatch.etatable import EtaTable
from dispatch.policy import Policy
from dispatch.pricing import Prices
from rooms.fixes import Fixes
from storage import models
from storage.areas import AreaRow, list_areas
from storage.postgis import Database, DatabaseUnavailable

logger = logging.getLogger(__name__)

REFRESH_S = 3.0
LEARNED_EVERY_S = 60.0  # a table changes little with each ride


def area_of(row: AreaRow) -> Area:
    """Raises msgspec.ValidationError or ValueError for a row that makes no sense."""
    area = Area(
        id=row.id,
        name=row.name,
        shard=row.shard,
        polygon=row.polygon,
        currency=row.currency,
        policy=msgspec.convert(row.policy, Policy),
        prices=msgspec.convert(row.prices, Prices),
        paused=row.paused,
        version=row.version,
        policy_version=row.policy_version,
    )
    if row.shadow is not None:
        area = _with_shadow(area, row)
    Areas([area])  # proves the polygon
    return area


def _made(row: AreaRow) -> Area | None:
    try:
        return area_of(row)
    except (msgspec.ValidationError, ValueError) as error:
        logger.error("area %s is left out: %s", row.id, error)
        return None


def _with_shadow(area: Area, row: AreaRow) -> Area:
    """A shadow that makes no sense (any more) keeps nobody from the area."""
    try:
        shadow = msgspec.convert(row.shadow, Policy)
    except msgspec.ValidationError as error:
        logger.error("area %s runs without its shadow policy: %s", row.id, error)
        return area
    return replace(area, shadow=shadow, shadow_version=row.shadow_version or 0)


def table_of(area_id: str, policy: Policy, document: bytes | None) -> EtaTable:
    """The area's travel times; those of the policy alone where nothing that can be read was learned."""
    try:
        return EtaTable.loads(policy, document) if document else EtaTable(policy)
    except ValueError as error:
        logger.warning("area %s learns its travel times anew: %s", area_id, error)
        return EtaTable(policy)


class Atlas:
    """The areas of a shard, each with what it has learned."""

    def __init__(self, database: Database, shard: str) -> None:
        self._database = database
        self._shard = shard
        self._documents: dict[str, bytes] = {}
        self._since = models.NEVER
        self._looked_s = -LEARNED_EVERY_S
        self._areas: Areas | None = None
        # a border of thousands of corners takes a hundredth of a second to prove
        self._made: dict[tuple[str, int], Area | None] = {}

    async def read(self) -> Areas | None:
        """All of them; None when nothing has changed since. Raises DatabaseUnavailable."""
        rows = {(row.id, row.version): row for row in await list_areas(self._database, self._shard)}
        self._made = {key: self._made[key] if key in self._made else _made(row) for key, row in rows.items()}
        good = [area for area in self._made.values() if area is not None]
        learned = await self._look()
        before, now = self._areas, {(area.id, area.version) for area in good}
        same = before is not None and now == {(area.id, area.version) for area in before}
        if same and not learned:
            return None
        areas = [
            replace(area, eta=table_of(area.id, area.policy, self._documents.get(area.id))) for area in good
        ]
        # what was learned moves no border
        self._areas = before.with_areas(areas) if before is not None and same else Areas(areas)
        return self._areas

    async def _look(self) -> bool:
        """Whether anything was learned since the last look."""
        if time.monotonic() - self._looked_s < LEARNED_EVERY_S:
            return False
        newer = await models.models_since(self._database, self._shard, "eta", self._since)
        self._looked_s = time.monotonic()
        for area_id, document, self._since in newer:
            self._documents[area_id] = document
        return bool(newer)

    async def keep(self, desk: Desk, fixes: Fixes) -> None:
        """Takes up what has changed, every few seconds."""
        while True:
            await asyncio.sleep(REFRESH_S)
            try:
                areas = await self.read()
            except DatabaseUnavailable:
                continue  # the last good ones stay
            if areas is not None:
                desk.areas = fixes.leases.areas = areas
