"""A passenger or sender opens a job: priced, in an area, and searching; or scheduled, where a ride is booked for later
or a parcel is not ready yet (booking.py says when its search begins)."""

from collections.abc import Sequence

from msgspec.structs import replace

from dispatch.area import Area
from dispatch.commands import OpenJob, Refusal, not_one_of
from dispatch.decision import Decision, State
from dispatch.policy import least_lead_s
from dispatch.pricing import Fare, parcel_fare, ride_fare, surged
from dispatch.rules.release import gives_up_ms
from dispatch.surge import STEPS
from dispatch.travel import goes_somewhere, trip
from dispatch.wording import hour_field, receipt, status_fact
from storage.records import Job, Place

SCHEDULE_MAX_MS = 7 * 86_400_000 // 2  # a live record outlives its job: half of its TTL


def price(area: Area, command: OpenJob, distance_m: float, duration_s: float) -> Fare:
    """The area's fare for what is asked. Raises Refusal for a class, size or tier it does not serve."""
    prices, currency, parcel = area.prices, area.currency, command.parcel
    if parcel is None:
        fare = ride_fare(
            prices, currency, command.vehicle_class, distance_m=distance_m, duration_s=duration_s
        )
        if fare is None:
            raise not_one_of("class", prices.rides)
        return fare
    fare = parcel_fare(
        prices, currency, parcel.tier, parcel.size, fragile=parcel.fragile, distance_m=distance_m
    )
    if fare is None and parcel.size not in prices.parcel_sizes_pct:
        raise not_one_of("size", prices.parcel_sizes_pct)
    if fare is None:
        raise not_one_of("tier", prices.parcel_tiers)
    return fare


def refuse_nowhere(pickup: Place, stops: Sequence[Place], dropoff: Place) -> None:
    """Nobody drives for nothing, and a fare for it would be a trap. Raises Refusal."""
    if not goes_somewhere(pickup, stops, dropoff):
        raise Refusal("bad_request", "Pickup and dropoff are the same place.")


def decide(state: State, command: OpenJob) -> Decision:
    if state.job(command.job_id) is not None:
        raise Refusal("duplicate", "This id is taken.")
    area = state.areas.find(command.pickup.latitude, command.pickup.longitude)
    if area is None:
        raise Refusal("outside_area")
    if area.paused:
        raise Refusal("no_supply", f"{area.name} takes no new jobs at the moment.")
    refuse_nowhere(command.pickup, command.stops, command.dropoff)
    policy, now_ms = area.policy, state.now_ms
    begins_ms = max(now_ms, command.scheduled_ms)
    distance_m, duration_s = trip(area, command.pickup, command.stops, command.dropoff, begins_ms)
    if distance_m > policy.max_trip_m:
        raise Refusal("outside_area", f"The trip is longer than {policy.max_trip_m / 1000:.0f} km.")
    if command.parcel is not None and command.parcel.weight_kg > policy.max_weight_kg:
        raise Refusal("bad_request", f"A parcel may weigh at most {policy.max_weight_kg:.0f} kg.")
    lead_ms = int(policy.schedule_lead_s * 1000)
    if command.scheduled_ms > now_ms + SCHEDULE_MAX_MS:
        raise Refusal("bad_request", f"{hour_field(command.kind)} is too far ahead.")
    later = command.scheduled_ms > now_ms + int(least_lead_s(policy) * 1000)
    # what cannot begin yet has the tariff's fare: nobody knows the demand of then
    unknown = command.scheduled_ms > now_ms + lead_ms
    fare = surged(price(area, command, distance_m, duration_s), STEPS if unknown else command.surge_tenths)
    job = Job(
        id=command.job_id,
        kind=command.kind,
        state="scheduled" if later else "searching",
        requester_id=command.user,
        requester_name=command.name,
        area_id=area.id,
        vehicle_class=command.vehicle_class,
        pickup=command.pickup,
        dropoff=command.dropoff,
        stops=command.stops,
        units=0 if command.kind == "ride" else 1,
        seats=command.seats,
        note=command.note,
        parcel=command.parcel,
        fare_minor=fare.amount_minor if command.quoted_minor is None else command.quoted_minor,
        currency=fare.currency,
        distance_m=distance_m,
        duration_s=duration_s,
        created_ms=now_ms,
        scheduled_ms=command.scheduled_ms,
        searching_ms=now_ms,
    )
    wake_ms = max(now_ms, command.scheduled_ms - lead_ms) if later else gives_up_ms(job, now_ms, area)
    job = replace(job, wake_ms=wake_ms)
    answer = {**receipt(job), "fare": {"amount": job.fare_minor, "currency": job.currency}, "areaId": area.id}
    return Decision(
        answer=answer, put=(job,), facts=(status_fact(job, now_ms, command.user, join=(command.user,)),)
    )
