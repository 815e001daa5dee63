"""Reading why the match chose whom it chose: all of it for an administrator, his own part for a driver.

The queries decide what the asker may read. It is behind the live state by the drain's delay, and goes after
DISPATCH_DECISIONS_DAYS.
"""

from typing import Any

from storage.accounts import is_uuid
from storage.adminshapes import decision
from storage.keyset import bounded, newest_first_by_text, pagination
from storage.postgis import Database, queries
from storage.shapes import my_decision

SQL = queries("decisions")
PAGE, PAGE_MAX = 100, 1_000

Item = dict[str, Any]


async def of_job(
    db: Database, asker: str, job_id: str, *, limit: int = PAGE, cursor: str | None = None
) -> Item:
    """{"data": […], "pagination"}: the decisions about a job, the newest first, for administrators; none for others.
    Raises BadCursor."""
    limit = bounded(limit, PAGE_MAX)
    rows = (
        await db.fetch(SQL["of_job"], asker, job_id, limit + 1, *newest_first_by_text(cursor))
        if is_uuid(job_id)
        else []
    )
    return {
        "data": [decision(row) for row in rows[:limit]],
        "pagination": pagination(rows, limit, "at", "id"),
    }


async def of_driver(db: Database, asker: str, *, limit: int = PAGE, cursor: str | None = None) -> Item:
    """The same of what came of a driver each time that the match looked at him."""
    limit = bounded(limit, PAGE_MAX)
    rows = await db.fetch(SQL["of_driver"], asker, limit + 1, *newest_first_by_text(cursor))
    return {
        "data": [my_decision(row) for row in rows[:limit]],
        "pagination": pagination(rows, limit, "at", "id"),
    }
