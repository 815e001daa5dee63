"""What areas have learned, kept as documents: travel times and demand, one row for each area and kind.

The documents are the dispatch floor's; here they are bytes. Several nodes may learn and keep what they know: the
one that has heard of the latest job wins, and an older document never replaces a newer one.
"""

from typing import Literal

import msgspec

from storage.areas import Asks
from storage.postgis import queries

SQL = queries("models")

Kind = Literal["eta", "demand"]


class Model(msgspec.Struct, frozen=True):
    """`learned_s` is the time of the latest job that it has learned from, Unix seconds."""

    area_id: str
    kind: Kind
    document: bytes
    learned_s: float


async def models_of(db: Asks, shard: str) -> list[Model]:
    """All documents of a shard's areas, by area and kind."""
    return [
        Model(row["area_id"], row["kind"], row["document"], row["learned_at"].timestamp())
        for row in await db.fetch(SQL["models"], shard)
    ]


async def put_model(db: Asks, model: Model) -> bool:
    """Keeps it; False when what is kept is as new or newer. Its area must exist."""
    row = await db.fetchrow(SQL["put"], model.area_id, model.kind, model.document, model.learned_s)
    return row is not None
