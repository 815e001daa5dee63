"""A small town whose rides and packages are over: what the tests of history and areas read."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from storage.history import History
from storage.postgis import Database
from storage.projection import Row, merge
from storage.records import Job
from storage.sink import Sink
from tests.drainkit import a_job

START = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)


def ms(after: timedelta = timedelta()) -> int:
    return int((START + after).timestamp() * 1000)


class Town:
    """Ann asks, Bob drives, Cy is a stranger, Di an administrator; one ride and one package are over."""

    def __init__(self, conn: Any, db: Database) -> None:
        self.conn, self.db, self.history = conn, db, History(db)
        self.ann, self.bob, self.cy, self.di = "", "", "", ""
        self.car = ""

    async def settle(self) -> None:
        people = [("ann", "passenger"), ("bob", "courier"), ("cy", "driver"), ("di", "admin")]
        sql = """insert into users (email, password_hash, first_name, last_name, role)
                 values ($1, 'x', initcap($2), 'Lee', $3) returning id::text"""
        for name, role in people:
            setattr(self, name, await self.conn.fetchval(sql, f"{name}@example.com", name, role))
        sql = """insert into vehicles (user_id, make, model, year, color, license_plate, type, capacity)
                 values ($1, 'Kia', 'Rio', 2020, 'red', 'ABC 1', 'sedan', 4) returning id::text"""
        self.car = await self.conn.fetchval(sql, self.bob)

    def job(self, kind: str, **fields: Any) -> Job:
        base = {
            "requester_id": self.ann, "driver_id": self.bob, "driver_name": "Bob Lee", "vehicle_id": self.car,
            "created_ms": ms(), "assigned_ms": ms(timedelta(minutes=1)), "ended_ms": ms(timedelta(minutes=20)),
            "state": "completed" if kind == "ride" else "delivered", "code": "9182",
        }  # fmt: skip
        return a_job(kind, **(base | fields))

    async def keep(self, *jobs: Job) -> None:
        rows = [Row(f"{job.kind}s", (job.id,), "1-0", 1, self._values(job)) for job in jobs]
        async with self.db.transaction() as conn:
            sink = Sink(conn, "main", "facts", "one")
            await sink.write_rows(merge(rows))
            assert sink.refused == 0

    def _values(self, job: Job) -> dict[str, Any]:
        return msgspec.structs.asdict(job) | {"shard": "main", "life": "one", "committed_ms": job.created_ms}

    async def say(self, job: Job, room: str, seq: int, event: str, at_s: int) -> None:
        await self.conn.execute(
            f"insert into {job.kind}_events (room, epoch, seq, job_id, event, payload, by_user, at) "
            "values ($1, 'e1', $2, $3, $4, '{\"a\": 1}', $5, $6)",
            room, seq, job.id, event, self.bob, START + timedelta(seconds=at_s),
        )  # fmt: skip

    async def drive(self, job: Job, count: int, driver: str = "") -> None:
        await self.conn.execute("select ensure_location_partitions($1, $1)", START.date())
        await self.conn.execute(
            "insert into locations (driver_id, ts, seq, location, job_id) select $1, $2::timestamptz + n * "
            "interval '1 second', n, ST_SetSRID(ST_MakePoint(-122.4 + n * 1e-5, 37.7), 4326), $3 "
            "from generate_series(1, $4::int) n",
            driver or self.bob, START + timedelta(minutes=2), job.id, count,
        )  # fmt: skip
