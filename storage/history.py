"""Reading what happened: one named query, plain dicts for HTTP, keyset pages. Nothing is written here.

Who asks is a parameter of every query, and the query itself decides what he may read: a job, its facts, chat
and track are for its requester, its present or last driver (facts and chat only since his assignment) and
administrators; lists of everybody are for
administrators and empty for all others. Codes are nowhere in these tables. History is behind the live state
by the drain's delay; `lag` says by how much.
"""

import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

from storage import adminshapes, shapes
from storage.keyset import BadCursor, bounded, decode, newest_first, pagination, place_of
from storage.postgis import Database, queries

SQL = queries("history")
KINDS = ("ride", "package")
PAGE_MAX = 1_000
FACTS_MAX = 1_000
MESSAGES_MAX = 1_000
TRACK_POINTS = 1_000

Item = dict[str, Any]
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.I)
_NOBODY = "00000000-0000-0000-0000-000000000000"
_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)


class History:
    """`asker` is always the id of the user who asks, as his token says."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def my_jobs(
        self,
        asker: str,
        kind: str,
        *,
        limit: int = 20,
        cursor: str | None = None,
        status: str | None = None,
        role: str | None = None,
    ) -> Item:
        """{"rides" or "packages": […], "pagination"}: those he asked for or drove (`role` "requester" or
        "driver": only these), newest first; `status` is the platform's word or a state. Raises BadCursor."""
        limit = bounded(limit, PAGE_MAX)
        rows = await self._db.fetch(
            SQL["my_jobs"], asker, kind, *newest_first(cursor), status, role, limit + 1
        )
        page = rows[:limit]
        people, vehicles = await self._behind(page)
        items = [_shape(kind)(row, people, vehicles) for row in page]
        return {f"{kind}s": items, "pagination": pagination(rows, limit, "created_at", "id")}

    async def job(self, asker: str, kind: str, job_id: str) -> Item | None:
        """The ride or package with `facts`, `messages` and `track`, or None where there is none for him."""
        row = await self._row(asker, kind, job_id)
        if row is None:
            return None
        people, vehicles = await self._behind([row])
        job = _shape(kind)(row, people, vehicles)
        job["facts"] = (await self.facts(asker, kind, job_id))["facts"]
        job["messages"] = (await self.messages(asker, kind, job_id))["messages"]
        job["track"] = await self._track(asker, kind, row)
        return job

    async def facts(
        self, asker: str, kind: str, job_id: str, *, limit: int = FACTS_MAX, cursor: str | None = None
    ) -> Item:
        """{"facts": […], "pagination"}: what was said in the job's own room, in order. Raises BadCursor."""
        if not _UUID.fullmatch(job_id):
            return {"facts": [], "pagination": pagination([], limit, "at", "seq")}
        limit = bounded(limit, FACTS_MAX)
        since, seq = decode(cursor) if cursor else (_BEGINNING, "0")
        if not seq.isdecimal():
            raise BadCursor
        rows = await self._db.fetch(SQL["facts"], asker, kind, job_id, since, int(seq), limit + 1)
        items = [shapes.fact(row) for row in rows[:limit]]
        return {"facts": items, "pagination": pagination(rows, limit, "at", "seq")}

    async def messages(
        self, asker: str, kind: str, job_id: str, *, limit: int = MESSAGES_MAX, cursor: str | None = None
    ) -> Item:
        """{"messages": […], "pagination"}: the job's chat in order. Raises BadCursor."""
        if not _UUID.fullmatch(job_id):
            return {"messages": [], "pagination": pagination([], limit, "sent_at", "id")}
        limit = bounded(limit, MESSAGES_MAX)
        since, message_id = place_of(cursor) if cursor else (_BEGINNING, _NOBODY)
        rows = await self._db.fetch(SQL["messages"], asker, kind, job_id, since, message_id, limit + 1)
        items = [shapes.message(row, kind, job_id) for row in rows[:limit]]
        return {"messages": items, "pagination": pagination(rows, limit, "sent_at", "id")}

    async def track(self, asker: str, kind: str, job_id: str) -> Item | None:
        """A GeoJSON FeatureCollection: pickup, dropoff, and the driver's way as a LineString of at most
        TRACK_POINTS + 1 points; None where there is no such job for him."""
        row = await self._row(asker, kind, job_id)
        return None if row is None else await self._track(asker, kind, row)

    async def all_users(self, asker: str, *, limit: int = PAGE_MAX, cursor: str | None = None) -> Item:
        return await self._list("users", adminshapes.admin_user, limit, asker, *newest_first(cursor))

    async def all_couriers(self, asker: str, *, limit: int = PAGE_MAX, cursor: str | None = None) -> Item:
        return await self._list("couriers", adminshapes.admin_courier, limit, asker, *newest_first(cursor))

    async def all_jobs(
        self,
        asker: str,
        kind: str,
        *,
        limit: int = PAGE_MAX,
        cursor: str | None = None,
        status: str | None = None,
    ) -> Item:
        """The admin panel's rides or packages: {"data": […], "pagination"}. Raises BadCursor."""
        shape = adminshapes.admin_ride if kind == "ride" else adminshapes.admin_package
        return await self._list("all_jobs", shape, limit, asker, kind, *newest_first(cursor), status)

    async def courier_analytics(self, asker: str) -> Item | None:
        """{"packages", "couriers", "today"} for administrators, None for others."""
        row = await self._db.fetchrow(SQL["courier_numbers"], asker)
        return None if row is None else adminshapes.courier_numbers(row)

    async def lag(self, shard: str) -> dict[str, Item]:
        """Per stream of the shard: stream, lag_ms, reached_at, silent_s, entries, rows, refused. For metrics."""
        rows = await self._db.fetch(SQL["lag"], shard)
        return {row["stream"]: dict(row) for row in rows}

    async def _row(self, asker: str, kind: str, job_id: str) -> Any | None:
        if kind not in KINDS or not _UUID.fullmatch(job_id):
            return None
        return await self._db.fetchrow(SQL["job"], asker, kind, job_id)

    async def _track(self, asker: str, kind: str, row: Any) -> Item:
        points = await self._db.fetch(SQL["track"], asker, kind, row["id"], TRACK_POINTS)
        return shapes.track(row, points)

    async def _list(self, query: str, shape: Callable[[Any], Item], limit: int, *args: Any) -> Item:
        limit = bounded(limit, PAGE_MAX)
        rows = await self._db.fetch(SQL[query], *args, limit + 1)
        items = [shape(row) for row in rows[:limit]]
        return {"data": items, "pagination": pagination(rows, limit, "created_at", "id")}

    async def _behind(self, rows: Iterable[Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """People and vehicles that the rows name, by id: two queries a page, however long."""
        rows = list(rows)
        users = {row[name] for row in rows for name in ("requester_id", "driver_id") if row[name]}
        vehicles = {row["vehicle_id"] for row in rows if _UUID.fullmatch(row["vehicle_id"] or "")}
        found = await self._db.fetch(SQL["people"], list(users)) if users else []
        cars = await self._db.fetch(SQL["vehicles"], list(vehicles)) if vehicles else []
        return {row["id"]: row for row in found}, {row["id"]: row for row in cars}


def _shape(kind: str) -> Callable[[Any, shapes.People, shapes.People], Item]:
    return shapes.ride if kind == "ride" else shapes.package
