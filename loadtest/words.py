"""The protocol's words that the load generator needs: per kind of job its events, fields and states.

Written from PROTOCOL.md, not from the server's code: when the two disagree, the replay finds out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from loadtest.geo import Point

TERMINAL_STATES = frozenset(
    {"completed", "cancelled", "no_driver", "no_show", "delivered", "returned", "no_courier"}
)
UNASSIGNED_STATES = frozenset({"scheduled", "searching", "offered"})
BEFORE_PICKUP_STATES = UNASSIGNED_STATES | {"assigned", "arrived", "arrived_pickup"}
PARCEL = "parcel"  # The class that couriers go online with.
CODE_PREFIX = "Code: "  # How a passenger or a sender writes a code into the chat.
RETRY_CODES = frozenset({"unavailable", "draining"})


@dataclass(frozen=True)
class Kind:
    """How one kind of job is spoken of."""

    name: str
    id_field: str
    request: str
    cancel: str
    join: str
    status_event: str


RIDE = Kind("ride", "rideId", "request_ride", "cancel_ride", "join_ride", "ride_status_update")
PACKAGE = Kind(
    "package", "packageId", "request_package", "cancel_package", "join_package", "package_status_update"
)
KINDS: Mapping[str, Kind] = {"ride": RIDE, "package": PACKAGE}


@dataclass
class Job:
    """What a phone knows of a job."""

    id: str
    kind: Kind
    pickup: Point
    dropoff: Point
    state: str = "searching"
    driver: str | None = None


def place(point: Point, address: str) -> dict[str, Any]:
    """A pickup or dropoff as the protocol writes it."""
    return {"latitude": point.latitude, "longitude": point.longitude, "address": address}


def point_of(payload: Mapping[str, Any]) -> Point:
    """The position in any payload that carries one."""
    return Point(float(payload["latitude"]), float(payload["longitude"]))


def job_of(payload: Mapping[str, Any]) -> tuple[Kind, str] | None:
    """Which job a payload speaks of, if any."""
    for kind in (RIDE, PACKAGE):
        value = payload.get(kind.id_field)
        if isinstance(value, str):
            return kind, value
    return None


def offered_job(payload: Mapping[str, Any]) -> tuple[Kind, str]:
    """Which job an `offer` is about."""
    kind = KINDS[str(payload["kind"])]
    return kind, str(payload["job"][kind.id_field])


def listed_jobs(payload: Mapping[str, Any]) -> list[tuple[Kind, str, str]]:
    """The active jobs in a `connected` message: kind, id, state."""
    found = [(job_of(job), str(job.get("state"))) for job in payload.get("jobs", [])]
    return [(*job, state) for job, state in found if job is not None]
