"""Passengers and senders: what it would cost, asking for it, calling it off."""

import uuid
from typing import Any

from msgspec import UNSET, UnsetType

from dispatch import commands as c
from dispatch import travel
from dispatch.area import Area
from dispatch.commands import Refusal, not_one_of
from dispatch.match import nearest
from dispatch.nearby import EVERY_S, blurred, cells_near
from dispatch.pricing import parcel_fare, ride_fare, surged
from dispatch.rules.go_online import PARCEL_CLASS
from dispatch.rules.open_job import refuse_nowhere
from dispatch.surge import STEPS
from dispatch.wording import iso
from rooms import messages as m
from rooms.gate import Answer, House, content_of
from rooms.handlers import common
from rooms.quotes import Quoted, trip_digest
from rooms.session import Session
from storage.log import OVER_TTL_MS, Conflict
from storage.postgis import DatabaseUnavailable
from storage.records import OPEN_JOBS_MAX, Job, JobId, Parcel, Place
from storage.shard import Unavailable

SKEW_MS = 5_000  # what a phone's clock may be ahead of ours
JOB_IDS = uuid.UUID("6f1c7c0e-4c3b-4c1a-9a57-0d8f3f6f2b11")  # the namespace of ids made of a commandId


async def quote(house: House, session: Session, message: m.Quote) -> Answer:
    pickup, dropoff = common.place(message.pickup), common.place(message.dropoff)
    stops = tuple(common.place(stop) for stop in message.stops)
    area = house.desk.areas.find(pickup.latitude, pickup.longitude)
    if area is None:
        raise Refusal("outside_area")
    refuse_nowhere(pickup, stops, dropoff)
    now_ms = house.fixes.now_ms()
    distance_m, duration_s = await house.desk.roads.trip(area, pickup, stops, dropoff, now_ms)
    tenths = house.desk.heats.tenths(area, message.kind, pickup.latitude, pickup.longitude, now_ms / 1000)
    served = tuple(area.prices.rides if message.kind == "ride" else area.prices.parcel_tiers)
    if message.kind == "package" and message.size not in area.prices.parcel_sizes_pct:
        raise not_one_of("size", area.prices.parcel_sizes_pct)
    quotes: list[Answer] = []
    nearest_s: dict[str, int | None] = {}
    for name in message.classes or served:
        if message.kind == "ride":
            fare = ride_fare(area.prices, area.currency, name, distance_m=distance_m, duration_s=duration_s)
            trip = _ride_trip(name, message.pickup, message.dropoff, message.stops)
        else:
            fare = parcel_fare(
                area.prices, area.currency, name, message.size, fragile=message.fragile, distance_m=distance_m
            )
            trip = _parcel_trip(name, message.size, message.fragile, message.pickup, message.dropoff)
        if fare is None:
            continue
        fare = surged(fare, tenths)
        vehicle_class = name if message.kind == "ride" else PARCEL_CLASS
        if vehicle_class not in nearest_s:
            nearest_s[vehicle_class] = await _pickup_eta_s(house, vehicle_class, pickup, area, now_ms)
        until_ms = now_ms + int(area.policy.quote_s * 1000)
        quotes.append(
            {
                "class" if message.kind == "ride" else "tier": name,
                "fare": {"amount": fare.amount_minor, "currency": fare.currency},
                "surge": tenths / 10,
                "pickupEtaSeconds": nearest_s[vehicle_class],
                "durationS": round(duration_s),
                "durationLateS": round(travel.late_s(area, pickup, dropoff, duration_s)),
                "distanceM": round(distance_m),
                "quoteId": house.quotes.issue(Quoted(session.user_id, trip, fare.amount_minor, until_ms)),
                "validUntil": iso(until_ms),
            }
        )
    if not quotes:
        raise not_one_of("each of classes", served)
    return {"kind": message.kind, "areaId": area.id, "quotes": quotes}


async def _pickup_eta_s(
    house: House, vehicle_class: str, pickup: Place, area: Area, now_ms: int
) -> int | None:
    """Of the driver who is there first; None when nobody is near. Raises Refusal."""
    try:
        near = await nearest(house.desk, vehicle_class, pickup, area, now_ms=now_ms)
    except Unavailable:
        raise Refusal("unavailable") from None
    return round(near[0].eta_s) if near else None


async def nearby(house: House, session: Session, message: m.Nearby) -> Answer:
    """A few free vehicles of a class, blurred; no more often than every EVERY_S. Raises Refusal."""
    area = house.desk.areas.find(message.latitude, message.longitude)
    if area is None:
        raise Refusal("outside_area")
    served = {*area.prices.rides, PARCEL_CLASS}
    if message.vehicle_class not in served:
        raise not_one_of("class", served)
    cells = cells_near(message.latitude, message.longitude)
    fleet, stale_ms = house.desk.fleet, house.fixes.now_ms() - int(area.policy.stale_s * 1000)
    try:
        if not await fleet.may_look(session.user_id, EVERY_S):
            text = f"Ask for vehicles nearby every {EVERY_S} seconds at most."
            raise Refusal("rate_limited", text, again_in_s=EVERY_S)
        found = await fleet.read(message.vehicle_class, cells)
    except Unavailable:
        raise Refusal("unavailable") from None
    shown = blurred(cells, ((each.lat_deg, each.lng_deg) for each in found if each.ts_ms >= stale_ms))
    vehicles = [{"latitude": lat, "longitude": lng} for lat, lng in shown]
    return {"class": message.vehicle_class, "vehicles": vehicles, "againInS": EVERY_S}


def _ride_trip(vehicle_class: str, pickup: m.Point, dropoff: m.Point, stops: tuple[m.Point, ...]) -> str:
    return trip_digest("ride", vehicle_class, *(_lat_lng(p) for p in (pickup, *stops, dropoff)))


def _parcel_trip(tier: str, size: str, fragile: bool, pickup: m.Point, dropoff: m.Point) -> str:
    return trip_digest("package", tier, size, fragile, _lat_lng(pickup), _lat_lng(dropoff))


def _lat_lng(point: m.Point) -> tuple[float, float]:
    return point.latitude, point.longitude


def _surge_tenths(house: House, kind: str, pickup: m.Point) -> int:
    area = house.desk.areas.find(pickup.latitude, pickup.longitude)
    if area is None:
        return STEPS  # the rule says what is wrong
    now_s = house.fixes.now_ms() / 1000
    return house.desk.heats.tenths(area, kind, pickup.latitude, pickup.longitude, now_s)


def _quoted_minor(house: House, session: Session, quote_id: str | UnsetType, trip: str) -> int | None:
    if isinstance(quote_id, UnsetType):
        return None
    return house.quotes.fare_minor(quote_id, session.user_id, trip, house.fixes.now_ms())


def _name(message: m.Reliable, given: str | UnsetType) -> str:
    """By what the client can ask for the same job again; nothing if it cannot."""
    said = given if given is not UNSET else message.command_id
    return "" if isinstance(said, UnsetType) else said


def _job_id(session: Session, message: m.Reliable, given: str | UnsetType) -> JobId:
    """The id the client chose; else one that the same `commandId` of the same user gives again, so that its
    repeat finds the room where the first answer is; else a new one."""
    if not isinstance(given, UnsetType):
        return JobId(given.lower())
    if not isinstance(message.command_id, UnsetType):
        return JobId(str(uuid.uuid5(JOB_IDS, f"{session.user_id}:{message.command_id}")))
    return JobId(str(uuid.uuid4()))


def _begins_ms(given: str | UnsetType) -> int:
    """0: now. Raises Refusal for what is no time."""
    return 0 if isinstance(given, UnsetType) else common.moment_ms(given)


async def _open(house: House, command: c.OpenJob, name: str) -> Answer:
    """Opens the job, unless its id was used before or its requester has too many. A job that lives is the
    desk's to answer for, whatever these say of it: it knows repeats from thefts.

    The number of open jobs is read here, before the commit and not in it: one connection's commands are in
    order, so only requests that race over several can exceed it, by as many as there are. That bounds what
    one account can cost; exactness would need another key and argument in every commit.
    """
    refusal = None
    try:
        if name and await _is_taken(house, command, name):
            # the live record is gone some time after the end, and no longer guards the id
            refusal = Refusal("duplicate", "This id is taken.")
        elif len(await house.desk.log.jobs_of(command.user)) >= OPEN_JOBS_MAX:
            refusal = Refusal("rate_limited", f"You have {OPEN_JOBS_MAX} open jobs; end one of them first.")
        if refusal and name and await _lives(house, command.job_id):
            refusal = None
    except (Unavailable, Conflict):
        raise Refusal("unavailable") from None
    if refusal:
        raise refusal
    return await house.desk.run(command)


async def _is_taken(house: House, command: c.OpenJob, name: str) -> bool:
    """Whether history has the id. While nobody can be asked, a name that was made a moment ago is believed to be new:
    had it been used since it was made, Redis would still know, if it is the same Redis as then."""
    try:
        return await house.accounts.id_taken(command.job_id, command.user)
    except DatabaseUnavailable:
        made_ms, now_ms = common.made_ms(name), house.fixes.now_ms()
        remembered_ms = min(house.desk.log.remembers_ms(), OVER_TTL_MS - SKEW_MS)
        if not now_ms - remembered_ms <= made_ms <= now_ms + SKEW_MS:
            raise
        return False


async def _lives(house: House, job_id: JobId) -> bool:
    loaded = await house.desk.log.load([(Job, job_id)])
    return loaded.records[Job, job_id] is not None


async def request_ride(house: House, session: Session, message: m.RequestRide) -> Answer:
    job_id = _job_id(session, message, message.ride_id)
    trip = _ride_trip(message.vehicle_class, message.pickup, message.dropoff, message.stops)
    command = c.OpenJob(
        user=session.user_id,
        room=common.room("ride", job_id),
        key=common.key(message, f"open:{job_id}"),
        content=content_of(message),
        job_id=job_id,
        kind="ride",
        name=session.name,
        pickup=common.place(message.pickup),
        dropoff=common.place(message.dropoff),
        stops=tuple(common.place(stop) for stop in message.stops),
        vehicle_class=message.vehicle_class,
        seats=message.seats,
        scheduled_ms=_begins_ms(message.scheduled_at),
        note=message.note,
        quoted_minor=_quoted_minor(house, session, message.quote_id, trip),
        surge_tenths=_surge_tenths(house, "ride", message.pickup),
    )
    return await _open(house, command, _name(message, message.ride_id))


async def request_package(house: House, session: Session, message: m.RequestPackage) -> Answer:
    job_id = _job_id(session, message, message.package_id)
    trip = _parcel_trip(message.tier, message.size, message.fragile, message.pickup, message.dropoff)
    command = c.OpenJob(
        user=session.user_id,
        room=common.room("package", job_id),
        key=common.key(message, f"open:{job_id}"),
        content=content_of(message),
        job_id=job_id,
        kind="package",
        name=session.name,
        pickup=common.place(message.pickup),
        dropoff=common.place(message.dropoff),
        vehicle_class=PARCEL_CLASS,
        scheduled_ms=_begins_ms(message.ready_at),
        note=message.note,
        parcel=Parcel(
            size=message.size,
            weight_kg=message.weight_kg,
            fragile=message.fragile,
            tier=message.tier,
            recipient_name=message.recipient.name,
            recipient_phone=message.recipient.phone,
        ),
        quoted_minor=_quoted_minor(house, session, message.quote_id, trip),
        surge_tenths=_surge_tenths(house, "package", message.pickup),
    )
    return await _open(house, command, _name(message, message.package_id))


async def _cancel(house: House, session: Session, message: Any, kind: str, job_id: str) -> Answer:
    command = c.CancelJob(
        user=session.user_id,
        room=common.room(kind, job_id),
        key=common.key(message, f"cancel:{job_id}"),
        content=content_of(message),
        drove=session.drove,
        job_id=JobId(job_id),
        kind=kind,
        admin=session.role == "admin",
        audit=common.audit_id(session.role),
        reason=message.reason,
    )
    return await house.desk.run(command)


async def cancel_ride(house: House, session: Session, message: m.CancelRide) -> Answer:
    return await _cancel(house, session, message, "ride", common.job_id(message.ride_id))


async def cancel_package(house: House, session: Session, message: m.CancelPackage) -> Answer:
    return await _cancel(house, session, message, "package", common.job_id(message.package_id))
