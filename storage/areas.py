"""Areas as rows: polygons with policy and prices, listed and put. What they mean is the dispatch floor's.

PostgreSQL checks the geometry (a valid, non-empty polygon on the globe) and counts versions, of the whole and of the
policy: whoever writes one, it is kept in area_policies. Whether policy and prices make sense is for the caller to find
out before he puts them. `db` is a Database or a connection.
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
    """`polygon` is a GeoJSON MultiPolygon; `policy`, `prices` and `shadow` (the policy that is tried beside) hold what
    differs from the defaults. `version` counts all changes, `policy_version` names the policy."""

    id: str
    name: str
    shard: str
    polygon: dict[str, Any]
    policy: dict[str, Any]
    prices: dict[str, Any]
    currency: str
    paused: bool
    version: int
    policy_version: int = 1
    shadow_version: int | None = None
    shadow: dict[str, Any] | None = None


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


async def policies(db: Asks, area_id: str) -> list[dict[str, Any]]:
    """The area's policies, the newest first: version, made_at, policy, and whether it `holds` or is the `shadow`."""
    return [dict(row) for row in await db.fetch(SQL["policies"], area_id)]


async def try_policy(db: Asks, area_id: str, policy: dict[str, Any]) -> int | None:
    """Runs a policy beside the one that holds; its version, or None where there is no such area."""
    return _version(await db.fetchrow(SQL["shadow"], area_id, policy))


async def change_policy(
    db: Asks, area_id: str, what: Literal["promote", "rollback", "drop_shadow"]
) -> int | None:
    """The version that holds then: the shadow; the one that held before; or the present one, without a shadow. None:
    there is no such area, or none to change to, and nothing was changed."""
    return _version(await db.fetchrow(SQL[what], area_id))


def _version(row: Any) -> int | None:
    return None if row is None else row[0]


def area_feature(row: AreaRow) -> dict[str, Any]:
    """The row as the GeoJSON Feature that would put it again."""
    properties = msgspec.structs.asdict(row)
    geometry = properties.pop("polygon")
    for name in ("version", "policy_version", "shadow_version", "shadow"):
        del properties[name]
    return {"type": "Feature", "geometry": geometry, "properties": properties}


def _row(row: Any) -> AreaRow:
    return AreaRow(**dict(row))
