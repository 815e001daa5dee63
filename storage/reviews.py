"""Stars: what one party of a finished job says of the other, once. PostgreSQL owns these rows.

Who may is decided by the query: the requester and the last driver of a job that was completed, each about the other.
History is behind the live state by the drain's delay, so a job that has just ended may not be finished here yet.
"""

from typing import Literal

from storage.accounts import is_uuid
from storage.postgis import Database, queries

SQL = queries("reviews")
Outcome = Literal["kept", "other_stars", "not_finished", "never", "not_found"]


async def rate(db: Database, reviewer: str, kind: str, job_id: str, *, rating: int, comment: str) -> Outcome:
    """Keeps `rating` (1 to 5) and `comment`. `kept` also when the same was said before; `other_stars` when other ones
    were; `never`: the job ended without being carried out; `not_found`: he is none of its parties."""
    row = await db.fetchrow(SQL["rate"], reviewer, kind, job_id, rating, comment) if is_uuid(job_id) else None
    if row is None:
        return "not_found"
    if row["status"] != "completed":
        return "never" if row["status"] == "cancelled" else "not_finished"
    return "kept" if row["rating"] == rating else "other_stars"
