"""Who does not want to meet whom: PostgreSQL owns these rows; nodes ask for what has changed.

A user names somebody whom he had a trip with, an administrator anybody. At most BLOCKS_MAX stand of one user, so that
nobody empties the city for himself, and what a node remembers is bounded by its users.
"""

from datetime import UTC, datetime, timedelta
from typing import Any, Literal, NamedTuple

from storage.accounts import is_uuid
from storage.areas import Asks
from storage.postgis import Database, queries

SQL = queries("blocks")
BLOCKS_MAX = 100
PAGE = 5_000
#: A change may commit after a later one: so far back is asked again.
OVERLAP = timedelta(minutes=1)

Outcome = Literal["kept", "not_met", "too_many"]


class Place(NamedTuple):
    """How far the changes were read."""

    at: datetime = datetime(1970, 1, 1, tzinfo=UTC)
    blocker: str = "00000000-0000-0000-0000-000000000000"
    blocked: str = "00000000-0000-0000-0000-000000000000"

    def overlapping(self) -> "Place":
        return Place(max(BEGINNING.at, self.at - OVERLAP))


BEGINNING = Place()


class Change(NamedTuple):
    one: str
    other: str
    stands: bool


async def block(db: Asks, blocker: str, blocked: str, *, by_admin: bool = False) -> Outcome:
    """Said again it is the same. `not_met`: no trip of his had them both, or there is no such person."""
    if not is_uuid(blocker) or not is_uuid(blocked) or blocker.lower() == blocked.lower():
        return "not_met"
    if await db.fetchrow(SQL["block"], blocker, blocked, by_admin, BLOCKS_MAX):
        return "kept"
    row = await db.fetchrow(SQL["standing"], blocker)
    return "too_many" if row[0] >= BLOCKS_MAX else "not_met"


async def unblock(db: Asks, blocker: str, blocked: str, *, by_admin: bool = False) -> None:
    """Whom nobody blocked is not blocked; what an administrator said, only an administrator takes back."""
    if is_uuid(blocker) and is_uuid(blocked):
        await db.fetch(SQL["unblock"], blocker, blocked, by_admin)


async def blocked_by(db: Asks, blocker: str) -> list[dict[str, Any]]:
    """Whom he blocks by himself: id, first_name, changed_at."""
    return [dict(row) for row in await db.fetch(SQL["blocked"], blocker)]


async def changes(db: Database, since: Place) -> tuple[list[Change], Place]:
    """A page of what changed, and where to go on; the same place again when that was all."""
    rows = await db.fetch(SQL["changes"], *since, PAGE)
    found = [Change(row["blocker_id"], row["blocked_id"], row["stands"]) for row in rows]
    return found, Place(*rows[-1][:3]) if rows else since
