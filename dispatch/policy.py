"""The numbers that are rules: what an area promises and demands, one `Policy` per area.

Owns their meaning, unit, default and sane range; no other module of this floor holds a number that an
operator would want to tune. Ranges are checked where a policy comes in from outside (decoding: msgspec
enforces each field's `Meta`), and an unknown field is refused, so that a mistyped rule is not silently
ignored. They are wide enough for a replay, whose policy is `scaled`, and narrow enough to catch one unit
mistaken for another.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from dispatch.cells import MAX_SEARCH_RADIUS_M

Duration = Annotated[float, Meta(ge=0.01, le=86_400.0)]
Delay = Annotated[float, Meta(ge=0.0, le=86_400.0)]
Speed = Annotated[float, Meta(ge=0.1, le=10_000.0)]
Weight = Annotated[float, Meta(ge=0.0, le=10.0)]
Paper = Literal["licence", "insurance", "registration"]
Radius = Annotated[float, Meta(ge=50.0, le=MAX_SEARCH_RADIUS_M)]


class Policy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The rules of one area. What each says is printed as docs/policy.md."""

    # Offers
    offer_s: Duration = 15.0
    """How long a driver may think about an offer (Uber gives 10-15 s)."""
    unseen_s: Annotated[float, Meta(ge=0.1, le=60.0)] = 1.5
    """An offer that was not shown by then goes to the next driver."""
    offer_grace_s: Annotated[float, Meta(ge=0.0, le=30.0)] = 1.0
    """A tap that was on its way still counts for so long after the deadline."""
    max_offers: Annotated[int, Meta(ge=1, le=1_000)] = 20
    """After so many offers a job ends without supply."""

    # Search
    patience_s: Duration = 180.0
    """A search without a taker is given up after this; so long a ride waits when the one before it is late."""
    search_retry_s: Duration = 2.0
    """When nobody was free, the next look comes after this."""
    search_radius_m: Radius = 6_000.0
    """Nobody farther away (straight line) is asked."""
    candidates: Annotated[int, Meta(ge=1, le=100)] = 8
    """So many nearest drivers are ranked in a look."""
    schedule_lead_s: Duration = 900.0
    """A scheduled job starts to search at most so long before its time."""
    schedule_least_s: Duration = 120.0
    """A scheduled job starts to search at least so long before its time, or in time for who is near."""

    # Eligibility (eligibility.py)
    papers: tuple[Paper, ...] = ()
    """What a driver must have registered; what he has registered must not be expired in any case."""
    usual_seats: Annotated[int, Meta(ge=1, le=50)] = 4
    """So many seats for passengers are assumed in a vehicle that nobody registered."""

    # The batch (batch.py, rematch.py, takeover.py)
    plenty: Annotated[float, Meta(ge=0.0, le=1_000.0)] = 3.0
    """From so many idle drivers for each waiting request on, the best is asked at once, without a batch."""
    longest_pickup_s: Duration = 900.0
    """Nobody is sent to a pickup that takes longer to reach."""
    short_share: Annotated[float, Meta(ge=0.001, le=1.0)] = 0.05
    """Where such a share of a class's rides is lost, nobody is sent farther than he would wait for a nearer one."""
    age_weight: Weight = 0.2
    """How much a second of a request's age counts against one of pickup ETA."""
    age_most_s: Delay = 300.0
    """A request's age counts up to this."""
    idle_weight: Weight = 0.05
    """How much a second of a driver's idle time counts against one of pickup ETA."""
    idle_most_s: Delay = 600.0
    """A driver's idle time counts up to this."""
    end_weight: Weight = 0.0
    """How much a second counts that a driver would wait longer for work where the job ends than where others do."""
    history_weight: Annotated[float, Meta(ge=0.0, le=3_600.0)] = 0.0
    """So many seconds of ETA are a unit of a driver's score: his share of refusals plus that of jobs given back."""
    keep_offer_s: Delay = 10.0
    """An open offer goes to another driver only when that saves so much."""
    finishing_s: Annotated[float, Meta(ge=0.0, le=600.0)] = 0.0
    """A driver who is expected at his ride's dropoff within this may be offered one more ride; 0: only who is free."""
    swap_accepted: bool = False
    """May an accepted job get another driver before its pickup, once?"""
    swap_saves_s: Delay = 60.0
    """An accepted job gets another driver only when that saves so much in all, and none waits longer by thrice that."""

    # Positions
    stale_s: Duration = 45.0
    """A driver silent for longer is out of supply until his next fix."""
    stale_fix_s: Duration = 30.0
    """A fix that was taken longer ago than this is refused."""
    top_speed_mps: Speed = 50.0
    """Whoever seems faster has not moved: his GPS has (50 m/s = 180 km/h)."""
    worst_accuracy_m: Annotated[float, Meta(ge=10.0, le=10_000.0)] = 200.0
    """A vaguer fix is refused."""
    jitter_m: Annotated[float, Meta(ge=0.0, le=100.0)] = 3.0
    """A smaller move is noise, not movement."""
    jitter_s: Delay = 10.0
    """Noise is passed on only when nothing was passed on for this long."""

    # Estimates without roads
    cruise_speed_mps: Speed = 7.5
    """Mean speed over the ground of a vehicle under way, stops included."""
    detour: Annotated[float, Meta(ge=1.0, le=5.0)] = 1.31
    """Road over straight line (New York median)."""
    pickup_overhead_s: Delay = 30.0
    """Every approach takes this on top: reading the offer, turning, parking."""
    stop_dwell_s: Delay = 60.0
    """Every stop on the way takes this on top of the driving."""

    # Several parcels on a courier (carrying.py, insertion.py)
    promise_s: Duration = 3_600.0
    """A parcel is promised so long after it is ready, beside its own trip."""
    late_weight: Annotated[float, Meta(ge=0.0, le=100.0)] = 3.0
    """A second late costs so many of driving."""
    bundle_s: Delay = 600.0
    """Parcels of one place go together when they are ready within this."""

    # Surge: a factor on fares where requests outnumber vehicles (surge.py)
    surge_cap: Annotated[float, Meta(ge=1.0, le=5.0)] = 1.0
    """Never more than this factor on a fare; 1 means no surge at all."""
    surge_from: Annotated[float, Meta(ge=0.0, le=100.0)] = 1.0
    """So many requests for each vehicle are where surge begins."""
    surge_slope: Annotated[float, Meta(ge=0.0, le=10.0)] = 0.5
    """So much is added to the factor for one request more for each vehicle."""
    surge_band: Annotated[float, Meta(ge=0.0, le=10.0)] = 0.2
    """So far the pressure must fall short to lower the factor."""
    surge_rise_s: Delay = 60.0
    """The pressure must have asked for more for so long, without a break."""
    surge_fall_s: Delay = 300.0
    """The pressure must have asked for less for so long; a time at which it did not counts twice against it."""

    # The job
    quote_s: Duration = 300.0
    """A quoted fare is kept for this long."""
    no_show_wait_s: Duration = 300.0
    """After so long at the pickup, and after the booked hour, a driver may leave without the passenger."""
    max_trip_m: Annotated[float, Meta(ge=100.0, le=2_000_000.0)] = 100_000.0
    """Longest trip, detour included."""
    max_weight_kg: Annotated[float, Meta(ge=0.1, le=10_000.0)] = 50.0
    """Heaviest parcel (ARYV 4.4)."""
    otp_required: bool = False
    """A ride starts only with the code that the passenger was given."""
    proof_tries: Annotated[int, Meta(ge=1, le=100)] = 5
    """So many wrong codes lock a proof."""


def least_lead_s(policy: Policy) -> float:
    """A scheduled job starts to search no later than so long before its time."""
    return min(policy.schedule_least_s, policy.schedule_lead_s)


def scaled(policy: Policy, n: float) -> Policy:
    """The same rules in a city that runs `n` times as fast, for a replay: its durations / n, its speeds * n.

    `unseen_s`, `offer_grace_s`, `stale_fix_s` and `quote_s` stay: they allow for the network and for phones, which a
    replay does not speed up.
    """
    return msgspec.structs.replace(
        policy,
        offer_s=policy.offer_s / n,
        patience_s=policy.patience_s / n,
        search_retry_s=policy.search_retry_s / n,
        schedule_lead_s=policy.schedule_lead_s / n,
        schedule_least_s=policy.schedule_least_s / n,
        stale_s=policy.stale_s / n,
        longest_pickup_s=policy.longest_pickup_s / n,
        age_most_s=policy.age_most_s / n,
        idle_most_s=policy.idle_most_s / n,
        history_weight=policy.history_weight / n,
        keep_offer_s=policy.keep_offer_s / n,
        finishing_s=policy.finishing_s / n,
        swap_saves_s=policy.swap_saves_s / n,
        top_speed_mps=policy.top_speed_mps * n,
        jitter_s=policy.jitter_s / n,
        cruise_speed_mps=policy.cruise_speed_mps * n,
        pickup_overhead_s=policy.pickup_overhead_s / n,
        stop_dwell_s=policy.stop_dwell_s / n,
        promise_s=policy.promise_s / n,
        bundle_s=policy.bundle_s / n,
        surge_rise_s=policy.surge_rise_s / n,
        surge_fall_s=policy.surge_fall_s / n,
        no_show_wait_s=policy.no_show_wait_s / n,
    )
