"""How a fact reads on the wire: the payloads of PROTOCOL's server events, from records.

Whatever not every member of a job's room may see (the proof code, the recipient's phone, who else was asked)
is in none of the payloads that go to that room. Status carries the platform's word, state ours.
"""

import functools
from datetime import UTC, datetime
from typing import Any

from msgspec.structs import replace

from dispatch.lifecycle import WORDS
from storage.facts import Fact
from storage.records import Drained, Driver, Job, Message, Offer, Place, Read, Room, UserId

#: Why a job has another driver now.
NEARER = "another driver is nearer"


def iso(ms: int) -> str:
    """Milliseconds as ISO-8601 UTC."""
    second, millis = divmod(ms, 1000)
    return f"{_second(second)}.{millis:03}Z"


@functools.lru_cache(256)
def _second(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).isoformat()[:-6]


def id_field(kind: str) -> str:
    return "rideId" if kind == "ride" else "packageId"


def hour_field(kind: str) -> str:
    """What a job's hour is called that was named when it was asked for."""
    return "scheduledAt" if kind == "ride" else "readyAt"


def place(p: Place) -> dict[str, Any]:
    return {"latitude": p.latitude, "longitude": p.longitude, "address": p.address}


def user_room(user: str) -> Room:
    return Room(f"user:{user}")


def job_card(job: Job, *, finishing: bool = False) -> dict[str, Any]:
    """A job as its parties and its offered driver see it; `finishing`: its driver has another ride on board, after
    which it comes."""
    card: dict[str, Any] = {
        id_field(job.kind): job.id,
        "kind": job.kind,
        "status": WORDS[job.kind][job.state],
        "state": job.state,
        "version": job.version,
        "pickup": place(job.pickup),
        "dropoff": place(job.dropoff),
        "class": job.vehicle_class,
        "fare": {"amount": job.fare_minor, "currency": job.currency},
        "distanceM": round(job.distance_m),
        "durationS": round(job.duration_s),
        "requester": {"id": job.requester_id, "name": job.requester_name},
        "driver": {"id": job.driver_id, "name": job.driver_name, "vehicle": job.vehicle}
        if job.driver_id
        else None,
    }
    if job.needs_person:
        card["needsPerson"] = True
    if finishing:
        card["finishing"] = True
    if job.code:
        card["needsCode"] = True
    if job.stops:
        card["stops"] = [place(stop) for stop in job.stops]
    if job.note:
        card["note"] = job.note
    if job.kind == "ride":
        card["seats"] = job.seats
    if job.scheduled_ms:
        card[hour_field(job.kind)] = iso(job.scheduled_ms)
    if job.parcel:
        card["parcel"] = {
            "size": job.parcel.size,
            "weightKg": job.parcel.weight_kg,
            "fragile": job.parcel.fragile,
            "tier": job.parcel.tier,
            "recipient": {"name": job.parcel.recipient_name},
        }
    return card


def receipt(job: Job) -> dict[str, Any]:
    """The answer to a command that made or moved a job; its version is the one the commit gives it."""
    return {
        id_field(job.kind): job.id,
        "status": WORDS[job.kind][job.state],
        "state": job.state,
        "version": job.version + 1,
    }


def status_fact(
    job: Job,
    now_ms: int,
    by: str,
    *,
    records: tuple[Drained, ...] = (),
    join: tuple[UserId, ...] = (),
    leave: tuple[UserId, ...] = (),
) -> Fact:
    """The job moved (or was opened): told to its room, which a finished job closes."""
    payload = {
        **receipt(job),
        "driverId": job.driver_id,
        "updatedBy": by,
        "timestamp": iso(now_ms),
    }
    if job.reason:
        payload["reason"] = job.reason
    if job.needs_person:
        payload["needsPerson"] = True
    return Fact(
        room=job.room,
        event=f"{job.kind}_status_update",
        payload=payload,
        records=(job, *records),
        join=join,
        leave=leave,
        close=job.ended_ms > 0,
    )


def assigned_fact(
    job: Job, driver: Driver, offer: Offer | None, now_ms: int, *, taken_over: bool = False
) -> Fact:
    """A driver took the job, or was given it without an offer; he joins its room with this fact. From whom he took it
    over is none of his business."""
    payload = {
        **receipt(job),
        "driverId": driver.id,
        "driverName": driver.name,
        "vehicle": driver.vehicle,
        "etaSeconds": _there_s(job, offer, now_ms) if offer else None,
        "distanceM": round(offer.distance_m) if offer else None,
        "timestamp": iso(now_ms),
    }
    if taken_over:
        payload |= {"takenOver": True, "reason": NEARER}
    if driver.has_queued(job.id):
        payload["finishing"] = True
    if job.code:
        payload["needsCode"] = True  # that there is one; only the requester hears which
    records = (job, driver, *((offer,) if offer else ()))
    return Fact(
        room=job.room,
        event="driver_assigned",
        payload=payload,
        records=records,
        join=(driver.id,),
    )


def taken_over_facts(job: Job, driver: Driver, now_ms: int) -> tuple[Fact, ...]:
    """Another driver took the job over from this one, whose it is no longer: he hears so himself, and is out of its
    room before that hears who has it now."""
    told = Fact(
        room=user_room(driver.id),
        event="notification",
        payload={
            "type": "job_taken_over",
            "title": "Another driver is nearer",
            "message": f"He takes this {job.kind} over: you are free for the next one.",
            "data": {id_field(job.kind): job.id, "version": job.version + 1, "reason": NEARER},
            "timestamp": iso(now_ms),
        },
        records=(driver,),
    )
    return told, Fact(room=job.room, leave=(driver.id,))


def offer_fact(job: Job, driver: Driver, offer: Offer, now_ms: int) -> Fact:
    return Fact(
        room=user_room(driver.id),
        event="offer",
        payload={**offer_card(job, offer, now_ms), "timestamp": iso(now_ms)},
        records=(offer, driver),
    )


def offer_card(job: Job, offer: Offer, now_ms: int) -> dict[str, Any]:
    """As it was offered: whoever has it until he takes it over, or had it before, is none of his business, and so is
    the code which that one was to be told."""
    job = replace(job, state="offered", driver_id=None, code="")
    card = {
        "offerId": offer.id,
        "kind": job.kind,
        "job": job_card(job),
        "pickup": place(job.pickup),
        "dropoff": place(job.dropoff),
        "distanceM": round(offer.distance_m),
        "etaSeconds": _there_s(job, offer, now_ms),
        "fare": {"amount": job.fare_minor, "currency": job.currency},
        "expiresInMs": max(0, offer.deadline_ms - now_ms),
    }
    return card | {"finishing": True} if offer.finishing else card


def _there_s(job: Job, offer: Offer, now_ms: int) -> int:
    """Until the driver is at the pickup: at a parcel's not before it is ready, as he has no need to leave sooner."""
    ready_s = (job.scheduled_ms - now_ms) / 1000 if job.kind == "package" else 0.0
    return round(max(offer.eta_s, ready_s))


def withdrawn_fact(offer: Offer, driver: Driver | None, now_ms: int) -> Fact:
    """The offer is over without an assignment: declined, expired, withdrawn or lost. Spoken only where it is
    news to the driver (he knows that he declined)."""
    spoken = offer.state != "declined"
    return Fact(
        room=user_room(offer.driver_id),
        event="offer_withdrawn" if spoken else "",
        payload={"offerId": offer.id, "reason": offer.state, "timestamp": iso(now_ms)} if spoken else {},
        records=(offer, driver) if driver else (offer,),
    )


def code_for(job: Job, user: str) -> dict[str, str]:
    """The secret code as a snapshot repeats it to its requester, who may have missed the telling; else nothing."""
    told = job.kind == "ride" or job.state in ("picked_up", "arrived_dropoff", "failed", "returning")
    return {"code": job.code} if job.code and told and user == job.requester_id else {}


def code_fact(job: Job, now_ms: int) -> Fact:
    """The secret code, for the requester's eyes only."""
    parcel = job.kind == "package"
    return Fact(
        room=user_room(job.requester_id),
        event="notification",
        payload={
            "type": "delivery_code" if parcel else "ride_code",
            "title": "Delivery code" if parcel else "Ride code",
            "message": "Give this code to the recipient only."
            if parcel
            else "Tell the driver this code when you get in.",
            "data": {id_field(job.kind): job.id, "code": job.code},
            "timestamp": iso(now_ms),
        },
    )


def message_fact(message: Message) -> Fact:
    return Fact(
        room=Room(f"{message.kind}:{message.job_id}"),
        event="new_message",
        payload={
            "id": message.id,
            id_field(message.kind): message.job_id,
            "senderId": message.sender_id,
            "senderName": message.sender_name,
            "message": message.text,
            "type": message.type,
            "timestamp": iso(message.sent_ms),
        },
        records=(message,),
    )


def read_fact(read: Read) -> Fact:
    return Fact(
        room=Room(f"{read.kind}:{read.job_id}"),
        event="message_read",
        payload={
            id_field(read.kind): read.job_id,
            "messageId": read.message_id,
            "readerId": read.reader_id,
            "timestamp": iso(read.read_ms),
        },
        records=(read,),
    )
