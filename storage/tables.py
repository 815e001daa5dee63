"""The console's tables: searched, filtered, a page at a time, as plain dicts for HTTP. Nothing is written here.

Every query knows who asks and is empty for whoever is no administrator. What it shows of live jobs and drivers lags by
the drain's delay. There is no code, token or chat line in any of it.
"""

import re
from collections.abc import Callable
from datetime import datetime
from typing import Any, NamedTuple

from storage.accounts import is_uuid
from storage.drainrows import is_whole
from storage.keyset import bounded, newest_first, pagination
from storage.postgis import Database, queries
from storage.shapes import iso

SQL = queries("tables")
_SEARCH = re.compile(r"/\* text \*/.*?/\* id: (.*?) \*/", re.DOTALL)
PAGE_MAX = 200
AREAS_MAX = 500
FIGURES_MAX = 20_000
LAST_JOBS = 10

Item = dict[str, Any]


class Table(NamedTuple):
    """`filters` in the order of the query's parameters."""

    name: str
    filters: tuple[str, ...]
    shape: Callable[[Any], Item]


def _user(row: Any) -> Item:
    return {
        **_plain(row, "id", "name", "email", "phone", "role", "status", "sessions"),
        **_times(row, createdAt="created_at", lastActiveAt="last_active_at"),
    }


def _driver(row: Any) -> Item:
    return {
        **_plain(row, "id", "name", "state", "classes", "capacity", "vehicle", "email", "phone", "account"),
        "areaId": row["area_id"],
        "jobIds": row["job_ids"],
        **_times(row, changedAt="changed_at"),
    }


def _job(row: Any) -> Item:
    return {
        **_plain(row, "id", "state", "status", "class", "offers", "reason"),
        "requester": {"id": row["requester_id"], "name": row["requester_name"]},
        "driver": {"id": row["driver_id"], "name": row["driver_name"]} if row["driver_id"] else None,
        "areaId": row["area_id"],
        "pickup": row["pickup_address"],
        "dropoff": row["dropoff_address"],
        "fare": _fare(row),
        "distanceM": round(row["distance_m"]),
        "needsPerson": row["needs_person"],
        **_times(
            row,
            createdAt="created_at",
            scheduledAt="scheduled_at",
            assignedAt="assigned_at",
            endedAt="ended_at",
        ),
    }


def _letter(row: Any) -> Item:
    return {
        **_plain(row, "id", "stream", "item", "target", "sqlstate", "reason", "content"),
        "entryId": row["entry_id"],
        "canRetry": is_whole(row["target"]),
        **_times(row, at="at"),
    }


def _line(row: Any) -> Item:
    actor = {"id": row["actor_id"], "name": row["actor_name"] or ""} if row["actor_id"] else None
    return {
        **_plain(row, "id", "action", "details"),
        "actor": actor,
        "subject": {
            "type": row["subject_type"],
            "id": row["subject_id"],
            "name": row["subject_name"] or "",
        },
        **_times(row, at="at"),
    }


def _area(row: Any) -> Item:
    return {
        **_plain(
            row, "id", "name", "shard", "currency", "paused", "version", "policy", "prices", "drivers", "jobs"
        ),
        **_times(row, updatedAt="updated_at"),
    }


def _fare(row: Any) -> Item:
    return {"amount": row["fare_minor"], "currency": row["currency"]}


def _plain(row: Any, *names: str) -> Item:
    return {name: row[name] for name in names}


def _times(row: Any, **names: str) -> Item:
    return {name: iso(row[column]) for name, column in names.items()}


TABLES = {
    table.name: table
    for table in (
        Table("users", ("role", "status"), _user),
        Table("drivers", ("state", "area", "class"), _driver),
        Table("rides", ("status", "area", "held"), _job),
        Table("packages", ("status", "area", "held"), _job),
        Table("letters", ("target", "stream"), _letter),
        Table("audit", ("action", "actor"), _line),
    )
}
#: The same queries where an id is looked for.
BY_ID = {name: _SEARCH.sub(r"\1", SQL[name]) for name in TABLES}


class Tables:
    """`asker` is always the id of the user who asks, as his token says."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def page(
        self,
        asker: str,
        table: str,
        *,
        q: str | None = None,
        filters: dict[str, str | None],
        limit: int = 50,
        cursor: str | None = None,
    ) -> Item:
        """{"data": […], "pagination"} of one of TABLES. Raises BadCursor."""
        found = TABLES[table]
        limit = bounded(limit, PAGE_MAX)
        wanted = [filters.get(name) for name in found.filters]
        sql = BY_ID[table] if q and is_uuid(q) else SQL[table]
        rows = await self._db.fetch(
            sql, asker, *newest_first(cursor), q.lower() if q else None, *wanted, limit + 1
        )
        items = [found.shape(row) for row in rows[:limit]]
        return {"data": items, "pagination": pagination(rows, limit, "order_at", "id")}

    async def areas(self, asker: str, q: str | None = None) -> list[Item]:
        rows = await self._db.fetch(SQL["areas"], asker, q.lower() if q else None, AREAS_MAX)
        return [_area(row) for row in rows]

    async def driver(self, asker: str, driver_id: str, since: datetime) -> Item:
        """His last finished jobs, and per currency what he has completed since then."""
        jobs = await self._db.fetch(SQL["driver_jobs"], asker, driver_id, LAST_JOBS)
        earned = await self._db.fetch(SQL["driver_earned"], asker, driver_id, since)
        return {
            "jobs": [
                {
                    **_plain(row, "kind", "id", "state"),
                    "pickup": row["pickup_address"],
                    "dropoff": row["dropoff_address"],
                    "fare": _fare(row),
                    **_times(row, createdAt="created_at", endedAt="ended_at"),
                }
                for row in jobs
            ],
            "earned": [{"jobs": row["jobs"], "fare": _fare(row)} for row in earned],
        }

    async def figures(self, asker: str, since: datetime) -> list[Item]:
        """By hour and area: requests, served, unserved, ended, waitS (until a driver), earnings (in major units)."""
        rows = await self._db.fetch(SQL["figures"], asker, since, FIGURES_MAX)
        return [
            {
                **_plain(row, "currency", "requests", "served", "unserved", "ended", "assigned", "earnings"),
                **_times(row, hour="hour"),
                "areaId": row["area_id"],
                "waitS": round(row["wait_s"], 1),
            }
            for row in reversed(rows)
        ]

    async def database(self, asker: str) -> Item | None:
        """bytes, connections, connectionsMax, letters (10001: more than 10000)."""
        row = await self._db.fetchrow(SQL["database"], asker)
        if row is None:
            return None
        return {**_plain(row, "bytes", "connections", "letters"), "connectionsMax": row["connections_max"]}
