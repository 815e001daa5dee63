"""What PostgreSQL remembers of live work, as records: where `dispatch rehydrate` begins.

All of a record is there but what is worked out anew: timers, a driver's plan and lease, and codes, which are
deliberately not in PostgreSQL. What a driver can carry, and his papers, are as his account says by now.
"""

from datetime import datetime
from typing import Any

import msgspec

from storage.areas import Asks
from storage.postgis import queries
from storage.records import Driver, Job, JobId, Offer, Parcel, Place, UserId
from storage.sink import SQL as DRAIN

SQL = queries("rehydrate")
KINDS = ("rides", "packages")
FIRST_ID = "00000000-0000-0000-0000-000000000000"


class Remembered(msgspec.Struct, frozen=True):
    """A job that is not over, with its open offer and its driver; of the driver `load` names the jobs (with 0
    units), he is offline and has no plan. `same_life`: job and driver were written by one life of Redis."""

    job: Job
    offer: Offer | None
    driver: Driver | None
    same_life: bool
    committed_ms: int


async def live_jobs(db: Asks, table: str, shard: str, after: str, limit: int) -> list[Remembered]:
    """The shard's jobs that are not over, by id, of one of KINDS; at most `limit` after the id `after`."""
    return [_remembered(row) for row in await db.fetch(SQL[table], shard, after, limit)]


async def drained_to(db: Asks, shard: str) -> tuple[str, str]:
    """How far the facts are in PostgreSQL: the life of Redis, and the id of the last one."""
    row = await db.fetchrow(DRAIN["cursor_read"], shard, "facts")
    return (row["life"], row["last_id"]) if row else ("", "0-0")


def _remembered(row: Any) -> Remembered:
    offer, driver = row["offer"], row["driver"]
    return Remembered(
        _job(row),
        _offer(offer) if offer else None,
        _driver(driver, row["carrier"] or {}) if driver else None,
        driver is not None and driver["life"] == row["life"],
        _ms(row["committed_at"]),
    )


def _job(row: Any) -> Job:
    parcel = None
    if row["kind"] == "package":
        parcel = Parcel(
            **{name: row[name] for name in ("size", "weight_kg", "fragile", "tier")},
            recipient_name=row["recipient_name"],
            recipient_phone=row["recipient_phone"],
        )
    same = (
        *("id", "kind", "state", "requester_id", "requester_name", "area_id", "vehicle_class", "units"),
        *("seats", "note", "fare_minor", "currency", "distance_m", "duration_s", "driver_id", "driver_name"),
        *("vehicle_id", "vehicle", "offers", "unseen", "reason", "needs_person", "version"),
    )
    return Job(
        **{name: row[name] for name in same},
        **_moments(row, "created", "scheduled", "searching", "assigned", "arrived", "started"),
        pickup=Place(row["pickup_lat"], row["pickup_lng"], row["pickup_address"]),
        dropoff=Place(row["dropoff_lat"], row["dropoff_lng"], row["dropoff_address"]),
        stops=msgspec.convert(row["stops"], tuple[Place, ...]),
        parcel=parcel,
        excluded=tuple(UserId(each) for each in row["excluded"]),
    )


def _offer(row: dict[str, Any]) -> Offer:
    same = ("id", "job_id", "kind", "driver_id", "state", "distance_m", "eta_s", "reason", "version")
    times = _moments(row, "made", "deadline", "seen", "ended")
    return Offer(**{name: row[name] for name in same}, **times)


def _driver(row: dict[str, Any], carrier: dict[str, Any]) -> Driver:
    same = ("id", "name", "area_id", "capacity", "vehicle_id", "vehicle", "version")
    return Driver(
        **{name: row[name] for name in same},
        classes=tuple(row["classes"]),
        seats=carrier.get("seats") or 0,
        sizes=tuple(carrier.get("sizes") or ()),
        max_weight_kg=carrier.get("max_weight_kg") or 0.0,
        papers=carrier.get("papers") or {},
        online=False,
        generation=0,
        load={JobId(job_id): 0 for job_id in row["job_ids"]},
        changed_ms=_ms(row["changed_at"]),
    )


def _moments(row: Any, *names: str) -> dict[str, Any]:
    return {f"{name}_ms": _ms(row[f"{name}_at"]) for name in names}


def _ms(moment: datetime | str | None) -> int:
    """Milliseconds; inside jsonb a time is text."""
    if moment is None:
        return 0
    if isinstance(moment, str):
        moment = datetime.fromisoformat(moment)
    return round(moment.timestamp() * 1000)
