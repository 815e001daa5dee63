"""The areas of this server's shard, as the rules want them.

A row that cannot be an area (a policy field nobody knows, an empty polygon) is left out and said so; the
others go on. What areas have learned of their travel times comes with them (learner.py writes it).
"""

import logging
import time

import msgspec
from msgspec.structs import replace

from dispatch.area import Area, Areas
from dispatch.etatable import EtaTable
from dispatch.policy import Policy
from dispatch.pricing import Prices
from storage import models
from storage.areas import AreaRow, list_areas
from storage.postgis import Database

logger = logging.getLogger(__name__)

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
        self._rows: list[AreaRow] = []
        self._documents: dict[str, bytes] = {}
        self._since = models.NEVER
        self._looked_s = -LEARNED_EVERY_S
        self._areas: Areas | None = None
        # a border of thousands of corners takes a hundredth of a second to prove
        self._made: dict[tuple[str, int], Area | None] = {}

    async def read(self) -> Areas | None:
        """All of them; None when nothing has changed since. Raises DatabaseUnavailable."""
        rows = await list_areas(self._database, self._shard)
        learned = await self._look()
        return self._drawn(rows, learned)

    def told(self) -> tuple[list[AreaRow], dict[str, bytes]]:
        """The rows and what their areas have learned, as they were read."""
        return self._rows, self._documents

    def recall(self, rows: list[AreaRow], learned: dict[str, bytes]) -> Areas:
        """What another node was told, until this one can ask."""
        self._documents = dict(learned)
        return self._drawn(rows, True) or Areas([])

    def _drawn(self, told: list[AreaRow], learned: bool) -> Areas | None:
        self._rows, rows = told, {(row.id, row.version): row for row in told}
        self._made = {key: self._made[key] if key in self._made else _made(row) for key, row in rows.items()}
        good = [area for area in self._made.values() if area is not None]
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
