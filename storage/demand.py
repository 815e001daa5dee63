"""Requests by cell and quarter of an hour, counted from the jobs themselves once the drain has all of them.

A quarter is counted when the drain has reached its end, and kept in one transaction with what was learned from it:
counts and documents follow from the jobs and the documents before, so whoever counts again writes the same. `learned_s`
of the documents is the cursor; one at a time moves it (`lead`).
"""

from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec

from storage.postgis import queries

SQL = queries("demand")
#: Who calls it off by himself before that changed his mind; after it, nobody came. So long the least patient wait in
#: the simulator by which it was chosen what is done where requests are lost.
GIVES_UP_S = 120.0
REQUESTS_MAX = 50_000  # of one quarter: 55 a second; what is beyond is not counted


class Request(NamedTuple):
    area_id: str
    lat_deg: float
    lng_deg: float


class Count(msgspec.Struct, frozen=True):
    """Of one cell and quarter; `supply` is how many vehicles were free on average, None where nobody looked."""

    area_id: str
    cell: int
    requests: int
    supply: float | None


def _at(unix_s: float) -> datetime:
    return datetime.fromtimestamp(unix_s, UTC)


async def lead(conn: Any, shard: str) -> bool:
    """Whether nobody else counts for this shard; nobody will until the transaction ends."""
    return bool(await conn.fetchval(SQL["lead"], shard))


async def reached_s(conn: Any, shard: str) -> float:
    """Up to when PostgreSQL has all that was committed, Unix seconds; 0 when nothing was drained yet."""
    at = await conn.fetchval(SQL["reached"], shard)
    return float(at.timestamp()) if at else 0.0


async def learned_s(conn: Any, shard: str) -> dict[str, float]:
    """For each area that has learned, the end of the last quarter in it."""
    return {row["area_id"]: row["learned_at"].timestamp() for row in await conn.fetch(SQL["learned"], shard)}


async def document(conn: Any, area_id: str) -> bytes | None:
    found: bytes | None = await conn.fetchval(SQL["document"], area_id)
    return found


async def first_s(conn: Any, shard: str, since_s: float) -> float | None:
    """When the first request came since then."""
    at = await conn.fetchval(SQL["first"], shard, _at(since_s))
    return None if at is None else float(at.timestamp())


async def requests(conn: Any, shard: str, from_s: float, to_s: float) -> list[Request]:
    rows = await conn.fetch(SQL["requests"], shard, _at(from_s), _at(to_s), REQUESTS_MAX)
    return [Request(row["area_id"], row["lat"], row["lng"]) for row in rows]


async def ended(conn: Any, shard: str, since_s: float) -> list[tuple[str, str, int, int]]:
    """Of each area and class: requests since then for at once, and how many of them were lost for want of a driver."""
    rows = await conn.fetch(SQL["ended"], shard, _at(since_s), GIVES_UP_S)
    return [(row["area_id"], row["vehicle_class"], row["requests"], row["lost"]) for row in rows]


async def keep(conn: Any, from_s: float, counts: list[Count]) -> None:
    rows = [msgspec.structs.asdict(count) for count in counts]
    await conn.execute(SQL["keep"], _at(from_s), rows)


async def keep_document(conn: Any, area_id: str, document: bytes, learned_s: float) -> None:
    await conn.execute(SQL["keep_document"], area_id, document, _at(learned_s))


async def forget(conn: Any, shard: str, before_s: float) -> None:
    await conn.execute(SQL["forget"], shard, _at(before_s))
