"""Areas as rows: polygons with policy and prices, listed and put. What they mean is the dispatch floor's.

PostgreSQL checks the geometry (a valid, non-empty polygon on the globe) and counts versions; whether policy
and prices make sense is for the caller to find out before he puts them. `db` is a Database or a connection.
"""

from typing import Annotated, Any, Literal, Protocol

import asyncpg
import msgspec

from storage.postgis import queries

SQL = queries("areas")


class Asks(Protocol):
    async def fetch(self, sql: str, *args: Any) -> list[Any]: ...
    async def fetchrow(self, sql: str, *args: Any) -> Any: ...


class BadArea(Exception):
    """The area cannot be put; the text says why."""


class AreaRow(msgspec.Struct, frozen=True, kw_only=True):
    """`polygon` is a GeoJSON MultiPolygon; `policy` and `prices` hold what differs from the defaults."""

    id: str
    name: str
    shard: str
    polygon: dict[str, Any]
    policy: dict[str, Any]
    prices: dict[str, Any]
    currency: str
    paused: bool
    version: int


class Properties(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    id: Annotated[str, msgspec.Meta(pattern="^[a-z0-9][a-z0-9_-]{0,62}$")]
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    shard: Annotated[str, msgspec.Meta(min_length=1, max_length=63)] = "main"
    currency: Annotated[str, msgspec.Meta(pattern="^[A-Z]{3}$")]
    policy: dict[str, Any] = {}
    prices: dict[str, Any] = {}
    paused: bool = False


class _Geometry(msgspec.Struct, frozen=True):
    type: Literal["Polygon", "MultiPolygon"]
    coordinates: list[Any]


class Feature(msgspec.Struct, frozen=True):
    """An area as a GeoJSON Feature, the form in which it is edited."""

    type: Literal["Feature"]
    geometry: _Geometry
    properties: Properties


async def list_areas(db: Asks, shard: str | None = None) -> list[AreaRow]:
    """All areas, or those of one shard, by id."""
    return [_row(row) for row in await db.fetch(SQL["areas"], shard)]


def feature(data: Any) -> Feature:
    """Decoded JSON as a Feature. Raises BadArea."""
    try:
        return msgspec.convert(data, Feature)
    except msgspec.ValidationError as error:
        raise BadArea(f"Not the GeoJSON Feature of an area: {error}.") from None


async def put_area(db: Asks, area: Feature) -> AreaRow:
    """Adds or replaces the area. Raises BadArea when PostGIS does not take the geometry."""
    p = area.properties
    geometry = msgspec.json.encode(area.geometry).decode()
    args = (p.id, p.name, p.shard, geometry, p.policy, p.prices, p.currency, p.paused)
    try:
        return _row(await db.fetchrow(SQL["put"], *args))
    except asyncpg.PostgresError as error:
        # XX is how PostGIS reports geometry that it cannot read
        if (error.sqlstate or "")[:2] not in ("22", "23", "XX"):
            raise
        raise BadArea(f"Area {p.id}: {error}.") from error


def area_feature(row: AreaRow) -> dict[str, Any]:
    """The row as the GeoJSON Feature that would put it again."""
    properties = msgspec.structs.asdict(row)
    geometry = properties.pop("polygon")
    del properties["version"]
    return {"type": "Feature", "geometry": geometry, "properties": properties}


def _row(row: Any) -> AreaRow:
    return AreaRow(**dict(row))
