"""How long it takes in an area: by what it has learned (etatable.py), or where nothing is known of that, by distance.

The one door to times of travel for whoever quotes, matches, offers or tells. Distances stay the straight line times
the policy's detour; only times are learned.
"""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from dispatch.area import Area
from dispatch.cells import distance_m
from dispatch.eta import Floats, Positions, pickup_eta_s, trip_estimate
from dispatch.etatable import Drives, distances_m
from dispatch.policy import Policy
from storage.records import Place

SAME_PLACE_M = 1.0  # a degree of six decimals is rounded by a tenth of it
Degrees = tuple[float, float]  # latitude, longitude


def trip(
    area: Area, pickup: Place, stops: Sequence[Place], dropoff: Place, at_ms: int
) -> tuple[float, float]:
    """(road metres, seconds) from the pickup by way of the stops to the dropoff, begun at `at_ms`."""
    road_m, constant_s = trip_estimate(pickup, stops, dropoff, area.policy)
    if area.eta is None:
        return road_m, constant_s
    deg = _deg([pickup, *stops, dropoff])
    legs_s = area.eta.legs(deg[:-1], deg[1:], np.full(len(deg) - 1, at_ms / 1000))
    return road_m, float(legs_s.sum()) + len(stops) * area.policy.stop_dwell_s


def goes_somewhere(pickup: Place, stops: Sequence[Place], dropoff: Place) -> bool:
    """Whether any of it is another place than the pickup; a round trip goes where its stops are."""
    deg = _deg([pickup, *stops, dropoff])
    return bool((distances_m(deg[:1], deg[1:]) >= SAME_PLACE_M).any())


def late_s(area: Area, pickup: Place, dropoff: Place, duration_s: float) -> float:
    """Four of five trips that are said to take `duration_s` take no longer than this."""
    if area.eta is None:
        return duration_s
    straight_m = distances_m(_deg([pickup]), _deg([dropoff]))
    return duration_s * float(area.eta.late_factor(straight_m)[0])


def pickups_s(area: Area, drivers_deg: Positions, pickup: Place, at_ms: int) -> Floats:
    """Seconds until each driver at (n, 2) degrees is at the pickup: (n,)."""
    if area.eta is None:
        away_m = distances_m(drivers_deg, _deg([pickup]))
        return np.asarray([pickup_eta_s(each_m, area.policy) for each_m in away_m.tolist()])
    driving_s = area.eta.seconds(drivers_deg, _deg([pickup]), at_ms / 1000)[:, 0]
    return np.asarray(area.policy.pickup_overhead_s + driving_s)


def pickup_late_s(area: Area, straight_m: float, eta_s: float) -> float:
    """Four of five drivers who are said to be at a pickup in `eta_s` need no longer than this."""
    if area.eta is None:
        return eta_s
    still_s = min(eta_s, area.policy.pickup_overhead_s)
    return still_s + (eta_s - still_s) * float(area.eta.late_factor(np.array([straight_m]))[0])


def drives_s(area: Area, places: Sequence[Place], at_ms: int) -> Floats:
    """Seconds of driving from each place to each, (n, n); 0 from one to itself and to another at the same spot."""
    deg = _deg(places)
    straight_m = distances_m(deg[:, None], deg[None, :])
    if area.eta is None:
        return straight_m * (area.policy.detour / area.policy.cruise_speed_mps)
    return np.where(straight_m > 0.0, area.eta.seconds(deg, deg, at_ms / 1000), 0.0)


def pairs_s(area: Area, drives: Drives, at_ms: int) -> Floats:
    """Seconds of many pairs of a driver and a pickup, (k,), as `pickups_s`."""
    if area.eta is None:
        return np.asarray(pickup_eta_s(drives.straight_m, area.policy))  # type: ignore[arg-type]
    return np.asarray(area.policy.pickup_overhead_s + area.eta.pairs(drives, at_ms / 1000))


Seconds = TypeVar("Seconds", float, Floats)


def as_if(there_s: Seconds, rest_s: Seconds, area: Area, tried: Policy) -> Seconds:
    """What a pickup takes by the policy that is tried, where by the area's own it takes `there_s`. What was learned of
    real drives is the same by both, else the pace is that of either (etatable.py). The `rest_s` of it until the ride on
    board is over was foretold with the fix, by the policy that holds."""
    holds, pace = area.policy, 1.0
    if area.eta is None or not area.eta.learned.trips:
        pace = (tried.detour / tried.cruise_speed_mps) / (holds.detour / holds.cruise_speed_mps)
    return (there_s - rest_s - holds.pickup_overhead_s) * pace + rest_s + tried.pickup_overhead_s


def pace_s_per_m(area: Area | None, from_deg: Degrees, to_deg: Degrees, at_ms: int) -> float | None:
    """Seconds of driving for each metre of the straight line; None where nothing was learned. For who asks with every
    fix: it changes slowly on the way, so that it may be kept for a while."""
    if area is None or area.eta is None:
        return None
    straight_m = max(1.0, distance_m(*from_deg, *to_deg))
    return area.eta.drive_s(straight_m, from_deg, to_deg, at_ms / 1000) / straight_m


def _deg(places: Sequence[Place]) -> Positions:
    return np.array([(place.latitude, place.longitude) for place in places])
