"""What areas have learned, kept as documents: travel times and demand, one row for each area and kind.

The documents are the dispatch floor's; here they are bytes. Whoever learns holds the shard's lock (`lead`) until his
transaction ends, and keeps the documents and the marks of the rides that taught them in that transaction: each ride
teaches once, whoever dies when.
"""

from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

from storage.postgis import Database, queries

SQL = queries("models")
NEVER = datetime(1970, 1, 1, tzinfo=UTC)

Kind = Literal["eta", "demand"]


class Model(msgspec.Struct, frozen=True):
    """`learned_s` is the time of the latest job that it has learned from, Unix seconds."""

    area_id: str
    kind: Kind
    document: bytes
    learned_s: float


class Lesson(msgspec.Struct, frozen=True, kw_only=True):
    """A finished ride: from where to where (degrees), when (Unix seconds; None: nobody said), by how many stops; and
    where its driver was when he took it, with when that was and when he was at the pickup (None: not known)."""

    id: str
    area_id: str
    pickup_lat_deg: float
    pickup_lng_deg: float
    dropoff_lat_deg: float
    dropoff_lng_deg: float
    started_s: float | None
    ended_s: float
    stops: int
    from_lat_deg: float | None
    from_lng_deg: float | None
    assigned_s: float | None
    arrived_s: float | None


async def lead(conn: Any, shard: str) -> bool:
    """Whether nobody else is learning for the shard; until the transaction ends nobody will."""
    return bool(await conn.fetchval(SQL["lead"], shard))


async def lessons(conn: Any, shard: str, most: int) -> list[Lesson]:
    """Rides that have not taught yet, oldest first."""
    return [Lesson(**dict(row)) for row in await conn.fetch(SQL["lessons"], shard, most)]


async def taught(conn: Any, ids: list[str]) -> None:
    await conn.execute(SQL["taught"], ids)


async def model_of(conn: Any, area_id: str, kind: Kind) -> bytes | None:
    document: bytes | None = await conn.fetchval(SQL["model"], area_id, kind)
    return document


async def put_model(conn: Any, model: Model) -> None:
    """Keeps it. Its area must exist."""
    await conn.execute(SQL["put"], model.area_id, model.kind, model.document, model.learned_s)


async def models_since(
    db: Database, shard: str, kind: Kind, since: datetime
) -> list[tuple[str, bytes, datetime]]:
    """(area id, document, when it was kept) of what was learned after `since`, oldest first."""
    rows = await db.fetch(SQL["newer"], shard, kind, since)
    return [(row["area_id"], row["document"], row["updated_at"]) for row in rows]
