"""Rooms: joining, leaving, talking, typing, who is here."""

import uuid

from msgspec import UNSET

from dispatch import commands as c
from dispatch.commands import Refusal
from dispatch.wording import id_field, iso
from rooms import messages as m
from rooms import resume, snapshot
from rooms.gate import Answer, House, content_of
from rooms.handlers import common
from rooms.session import Session, event_frame, event_json, frame_of
from storage.shard import Unavailable

PONG = frame_of(b'["pong"]')


async def _join(house: House, session: Session, kind: str, job_id: str) -> Answer:
    snap = await snapshot.joining(house, session, kind, job_id)
    if session.wire is not None:
        session.wire.tell_latest(f"joined:{job_id}", event_frame(f"joined_{kind}", snap))
        if snap["position"] is not None:
            # the apps draw the car from this event, not from the snapshot
            session.wire.tell_latest(snap["room"], event_frame("driver_location", snap["position"]))
        _tell_presence(house, session, f"user_joined_{kind}", kind, job_id)
    return snap


async def sync(house: House, session: Session, message: m.Sync) -> Answer:
    await resume.compare(house, session, dict(message.jobs))
    return {"rooms": await resume.sync(house, session, message.rooms)}


def _tell_presence(house: House, session: Session, event: str, kind: str, job_id: str) -> None:
    if session.looks_on:
        return
    payload = {
        "userId": session.user_id,
        "userName": session.name,
        id_field(kind): job_id,
        "timestamp": iso(house.fixes.now_ms()),
    }
    room = common.room(kind, job_id)
    # joined and left are one thing's values: of somebody who did both, the later is told
    key = f"presence:{room}:{session.user_id}"
    house.speaker.volatile(room, key, event_json(event, payload), session.user_id)


async def join_ride(house: House, session: Session, message: m.RideRef) -> Answer:
    return await _join(house, session, "ride", common.job_id(message.ride_id))


async def join_package(house: House, session: Session, message: m.PackageRef) -> Answer:
    return await _join(house, session, "package", common.job_id(message.package_id))


def _leave(house: House, session: Session, kind: str, job_id: str) -> Answer:
    room = common.room(kind, job_id)
    if room not in session.rooms:
        raise Refusal("not_found")
    house.registry.leave(room, session)
    if not house.registry.stands(room, session.user_id):  # no other device of his is left
        _tell_presence(house, session, f"user_left_{kind}", kind, job_id)
    left = {id_field(kind): job_id, "timestamp": iso(house.fixes.now_ms())}
    if session.wire is not None:
        session.wire.tell_latest(f"left:{job_id}", event_frame(f"left_{kind}", left))
    return left


def leave_ride(house: House, session: Session, message: m.RideRef) -> Answer:
    return _leave(house, session, "ride", common.job_id(message.ride_id))


def leave_package(house: House, session: Session, message: m.PackageRef) -> Answer:
    return _leave(house, session, "package", common.job_id(message.package_id))


async def send_message(house: House, session: Session, message: m.SendMessage) -> Answer:
    kind, job_id = common.job_ref(message.ride_id, message.package_id)
    given = message.id is not UNSET
    message_id = message.id.lower() if isinstance(message.id, str) else str(uuid.uuid4())
    command = c.SendMessage(
        user=session.user_id,
        room=common.room(kind, job_id),
        # a line that has its own id is known by it: under two commandIds it would be acked twice and kept once
        key=f"message:{message_id}" if given else common.key(message, ""),
        content=content_of(message),
        message_id=message_id,
        job_id=job_id,
        kind=kind,
        name=session.name,
        type=message.type,
        text=message.message,
    )
    return await house.desk.run(command)


async def message_read(house: House, session: Session, message: m.MessageRead) -> Answer:
    kind, job_id = common.job_ref(message.ride_id, message.package_id)
    message_id = message.message_id.lower()
    command = c.ReadMessages(
        user=session.user_id,
        room=common.room(kind, job_id),
        key=common.key(message, f"read:{message_id}"),
        content=content_of(message),
        job_id=job_id,
        kind=kind,
        message_id=message_id,
    )
    return await house.desk.run(command)


def _typing(house: House, session: Session, message: m.JobRef, is_typing: bool) -> Answer:
    kind, job_id = common.job_ref(message.ride_id, message.package_id)
    room = common.room(kind, job_id)
    if room not in session.rooms:
        raise Refusal("not_found")
    payload = {
        "userId": session.user_id,
        "userName": session.name,
        "isTyping": is_typing,
        id_field(kind): job_id,
    }
    key = f"typing:{room}:{session.user_id}"
    house.speaker.volatile(room, key, event_json("user_typing", payload), session.user_id)
    return {}


def typing_start(house: House, session: Session, message: m.JobRef) -> Answer:
    return _typing(house, session, message, True)


def typing_stop(house: House, session: Session, message: m.JobRef) -> Answer:
    return _typing(house, session, message, False)


async def get_online_users(house: House, session: Session, message: m.JobRef) -> Answer:
    kind, job_id = common.job_ref(message.ride_id, message.package_id)
    room = common.room(kind, job_id)
    if room not in session.rooms:
        raise Refusal("not_found")
    try:
        users = await house.presence.users(room)
    except Unavailable:
        raise Refusal("unavailable") from None
    payload = {id_field(kind): job_id, "userIds": users, "count": len(users)}
    if session.wire is not None:
        session.wire.tell_latest(f"online:{room}", event_frame("online_users", payload))
    return payload


def join_user_room(house: House, session: Session, message: m.Nothing) -> Answer:
    return {}


def ping(house: House, session: Session, message: m.Nothing) -> Answer:
    if session.wire is not None:
        session.wire.tell_latest("pong", PONG)
    return {}
