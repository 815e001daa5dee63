"""The areas of this server's shard, as the rules want them, kept up to date.

A row that cannot be an area (a policy field nobody knows, an empty polygon) is left out and said so; the
others go on.
"""

import asyncio
import logging

import msgspec

from dispatch.area import Area, Areas
from dispatch.desk import Desk
from dispatch.policy import Policy
from dispatch.pricing import Prices
from rooms.fixes import Fixes
from storage.areas import AreaRow, list_areas
from storage.postgis import Database, DatabaseUnavailable

logger = logging.getLogger(__name__)

REFRESH_S = 3.0


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


def _with_shadow(area: Area, row: AreaRow) -> Area:
    """A shadow that makes no sense (any more) keeps nobody from the area."""
    try:
        shadow = msgspec.convert(row.shadow, Policy)
    except msgspec.ValidationError as error:
        logger.error("area %s runs without its shadow policy: %s", row.id, error)
        return area
    return msgspec.structs.replace(area, shadow=shadow, shadow_version=row.shadow_version or 0)


async def read_areas(database: Database, shard: str) -> Areas:
    good = []
    for row in await list_areas(database, shard):
        try:
            good.append(area_of(row))
        except (msgspec.ValidationError, ValueError) as error:
            logger.error("area %s is left out: %s", row.id, error)
    return Areas(good)


async def keep_areas(database: Database, shard: str, desk: Desk, fixes: Fixes) -> None:
    """Takes up changed areas every few seconds."""
    known = {(area.id, area.version) for area in desk.areas}
    while True:
        await asyncio.sleep(REFRESH_S)
        try:
            areas = await read_areas(database, shard)
        except DatabaseUnavailable:
            continue  # the last good ones stay
        now = {(area.id, area.version) for area in areas}
        if now != known:
            known = now
            desk.areas = fixes.leases.areas = areas
