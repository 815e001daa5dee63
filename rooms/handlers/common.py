"""What several handlers share: reading ids, keys, times and places from messages."""

import uuid
from datetime import datetime
from typing import Any

from msgspec import UNSET

from dispatch.commands import Refusal
from rooms import messages as m
from storage.records import JobId, Place, Room


def place(point: m.Point) -> Place:
    return Place(point.latitude, point.longitude, point.address)


def key(message: m.Reliable, natural: str) -> str:
    return natural if message.command_id is UNSET else f"c:{message.command_id}"


def audit_id(role: str) -> str:
    """Under what the audit log keeps what an admin's command does to a job; empty for others."""
    return str(uuid.uuid4()) if role == "admin" else ""


def moment_ms(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            raise ValueError
        at_ms = int(moment.timestamp() * 1000)
        if at_ms < 0:
            raise ValueError  # what nobody meant, and no calendar can say again
        return at_ms
    except (ValueError, OverflowError):
        raise Refusal(
            "bad_request", "A time is ISO-8601 with its zone, as 2030-01-31T08:00:00.000Z."
        ) from None


def fix_ms(timestamp: str | float | None) -> int | None:
    """The app's own time of a fix: ISO text, milliseconds or seconds."""
    if timestamp is None:
        return None
    if isinstance(timestamp, str):
        return moment_ms(timestamp)
    if not 0 <= timestamp < 1e14:
        raise Refusal("bad_request", "timestamp is out of range.")
    return int(timestamp if timestamp > 1e11 else timestamp * 1000)


def job_ref(ride_id: Any, package_id: Any) -> tuple[str, JobId]:
    """(kind, id) of a message that names exactly one of the two."""
    if (ride_id is UNSET) == (package_id is UNSET):
        raise Refusal("bad_request", "Name either rideId or packageId.")
    return ("ride", job_id(ride_id)) if package_id is UNSET else ("package", job_id(package_id))


def job_id(given: str | int) -> JobId:
    """A job's id as its record has it, however an app spells it (Swift writes UUIDs in capitals)."""
    return JobId(str(given).lower())


def made_ms(id_: str) -> int:
    """When an id says that it was made, Unix ms: a UUID of version 7 (RFC 9562) does, others are of no time at all."""
    try:
        made = uuid.UUID(id_)
    except ValueError:
        return 0
    return made.int >> 80 if made.version == 7 else 0


def room(kind: str, job_id: str) -> Room:
    return Room(f"{kind}:{job_id}")
