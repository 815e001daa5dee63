"""Offers and progress: the driver's answers, and his job's steps."""

import secrets
from collections.abc import Callable
from typing import Any

from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from dispatch import commands as c
from dispatch.wording import user_room
from rooms import messages as m
from rooms.gate import Answer, House, content_of
from rooms.handlers import common
from rooms.session import Session
from storage.records import OfferId


async def _answer_offer(
    house: House, session: Session, message: m.AnswerOffer, kind: Callable[..., c.Command], **more: Any
) -> Answer:
    offer_id = OfferId(message.offer_id)
    c.job_of_offer(offer_id)  # refuses what was never an offer
    command = kind(
        user=session.user_id,
        room=user_room(session.user_id),
        key=common.key(message, f"{kind.__name__}:{offer_id}"),
        content=content_of(message),
        drove=session.drove,
        offer_id=offer_id,
        **more,
    )
    return await house.desk.run(command)


async def offer_seen(house: House, session: Session, message: m.AnswerOffer) -> Answer:
    return await _answer_offer(house, session, message, c.SeeOffer)


async def accept_offer(house: House, session: Session, message: m.AcceptOffer) -> Answer:
    code = f"{secrets.randbelow(1_000_000):06d}"
    thought_ms = None if isinstance(message.thought_ms, UnsetType) else message.thought_ms
    # a second tap is the same answer, however much later
    same = replace(message, thought_ms=UNSET)
    return await _answer_offer(house, session, same, c.AcceptOffer, code=code, thought_ms=thought_ms)


async def decline_offer(house: House, session: Session, message: m.AnswerOffer) -> Answer:
    return await _answer_offer(house, session, message, c.DeclineOffer, reason=message.reason)


#: A parcel can come to these more than once, so saying them again is not a repeat of the first time.
_RECURRING = frozenset({"arrived_dropoff", "failed"})


async def ride_status(house: House, session: Session, message: m.RideStatus) -> Answer:
    job_id = common.job_id(message.ride_id)
    command = c.MoveJob(
        user=session.user_id,
        room=common.room("ride", job_id),
        key=common.key(message, f"status:{job_id}:{message.status}"),
        content=content_of(message),
        drove=session.drove,
        job_id=job_id,
        kind="ride",
        status=message.status,
        admin=session.role == "admin",
        audit=common.audit_id(session.role),
        otp=message.otp,
        reason=message.reason,
    )
    return await house.desk.run(command)


async def package_status(house: House, session: Session, message: m.PackageStatus) -> Answer:
    job_id = common.job_id(message.package_id)
    proof = message.proof
    recurring = message.status in _RECURRING
    command = c.MoveJob(
        user=session.user_id,
        room=common.room("package", job_id),
        key=common.key(message, "" if recurring else f"status:{job_id}:{message.status}"),
        content=content_of(message),
        drove=session.drove,
        job_id=job_id,
        kind="package",
        status=message.status,
        admin=session.role == "admin",
        audit=common.audit_id(session.role),
        proof_code=proof.code,
        has_proof=bool(proof.photo or proof.signature or proof.code),
        has_picture=bool(proof.photo or proof.signature),
        reason=message.reason,
    )
    return await house.desk.run(command)
