"""Drivers and couriers: in and out of supply, and where they are.

What a driver may carry comes from accounts with his login, so that going online asks PostgreSQL nothing:

| when | then |
|---|---|
| a paper of his expires while he is online | no longer matched, to the moment; a job on board is his to finish |
| he goes online with an expired one, or without one that the area asks for | `forbidden`, unless he carries a job |
| it was renewed since he logged in | accounts are asked once more before he is refused |
| PostgreSQL is away then | `unavailable`; whoever has valid papers does not notice |
| he names a vehicle | accounts are asked for it, with its papers and seats |
| his seats, sizes or papers change while he is logged in | counts from his next login, or when he names the vehicle |
"""

import asyncio

from msgspec import UNSET

from dispatch import commands as c
from dispatch.commands import Refusal
from dispatch.wording import user_room
from rooms import messages as m
from rooms.gate import Answer, House, content_of
from rooms.handlers import common
from rooms.session import Session
from storage.accounts import Carrier

ENTERS_WITHIN_S = 0.3


async def go_online(house: House, session: Session, message: m.GoOnline) -> Answer:
    heard_ms = house.fixes.now_ms()
    if message.vehicle_id is UNSET:
        try:
            return await _enter(house, session, message, session.carrier, heard_ms)
        except Refusal as refusal:
            # his papers may have been renewed since he logged in
            if refusal.code != "forbidden":
                raise
    named = None if message.vehicle_id is UNSET else str(message.vehicle_id)
    carrier = await house.accounts.carrier(session.user_id, named)
    if carrier is None:
        raise Refusal("not_found", "You have no such vehicle.")
    if named is None:
        session.carrier = carrier
    return await _enter(house, session, message, carrier, heard_ms)


async def _enter(
    house: House, session: Session, message: m.GoOnline, carrier: Carrier, heard_ms: int
) -> Answer:
    vehicle = carrier.vehicle
    command = c.GoOnline(
        user=session.user_id,
        room=user_room(session.user_id),
        # never remembered: the first answer of a lost reply would name a lease that is not this device's
        key="",
        content=content_of(message),
        name=session.name,
        node=house.node,
        device=session.device,
        heard_ms=heard_ms,
        classes=tuple(dict.fromkeys(message.classes)),
        capacity=message.capacity,
        latitude=message.latitude,
        tells_seen=message.offer_seen,
        longitude=message.longitude,
        vehicle_id=vehicle.id if vehicle else None,
        vehicle=vehicle.line if vehicle else "",
        seats=vehicle.capacity if vehicle else 0,
        sizes=carrier.sizes,
        max_weight_kg=carrier.max_weight_kg,
        papers=carrier.papers,
    )
    # seated before the commit, so that the log's word of it finds the device here
    seat = house.fixes.leases.seat(session, message.latitude, message.longitude)
    entered = house.fixes.tick.expect(session.user_id)
    try:
        answer = await house.desk.run(command)
        session.drove = session.device
        if answer["state"] == "idle":
            # who asks for a ride as soon as he hears of this ack shall find the driver
            async with asyncio.timeout(ENTERS_WITHIN_S):
                await entered.wait()
    except TimeoutError:
        pass  # online all the same; the index follows when Redis does
    except Refusal as refusal:
        house.fixes.leases.give_up(seat)
        session.superseded = session.superseded or refusal.code == "superseded"
        raise
    finally:
        house.fixes.tick.forget(session.user_id, entered)
    return answer


async def go_offline(house: House, session: Session, message: m.GoOffline) -> Answer:
    command = c.GoOffline(
        user=session.user_id,
        room=user_room(session.user_id),
        key=common.key(message, ""),
        content=content_of(message),
        device=session.device,
    )
    return await house.desk.run(command)


def location_update(house: House, session: Session, message: m.LocationUpdate) -> Answer:
    return house.fixes.hear(session, message, common.fix_ms(message.timestamp))
