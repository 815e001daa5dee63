"""How long it takes: what an estimate promises, and the simplest one, straight line x detour / cruise speed.

Pure and deterministic. Measured on 8,860 New York rides this misses the real duration by 34 % on average
(MAPE), with a median detour of 1.31; better models need roads or history. It is monotone in the distance, so
the nearest driver is the one with the least ETA, and an exact search by distance is one by ETA. The learned
table (etatable.py) and a router (osrm.py) are not, and say what an exact search needs then.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from dispatch.cells import distance_m
from dispatch.policy import Policy
from storage.records import Place

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Positions = NDArray[np.float64]  # (n, 2) degrees, latitude first, each `cells.valid_position`


class EtaProvider(Protocol):
    """Whoever knows how long it takes."""

    async def matrix(self, origins_deg: Positions, destinations_deg: Positions, when_s: float) -> Floats:
        """Seconds of driving, (n, m), for n origins and m destinations at a Unix time: finite, and at no place
        faster than the policy's top speed. Answers in bounded time and raises nothing."""
        ...


def pickup_eta_s(straight_m: float, policy: Policy) -> float:
    """Seconds until a driver this far away (straight line) is at the pickup."""
    return policy.pickup_overhead_s + straight_m * policy.detour / policy.cruise_speed_mps


def reach_m(policy: Policy) -> float:
    """Nobody farther away (straight line) is asked: the search radius, or what the longest pickup allows."""
    there_m = (policy.longest_pickup_s - policy.pickup_overhead_s) * policy.cruise_speed_mps / policy.detour
    return max(0.0, min(policy.search_radius_m, there_m))


def in_time(there_s: Floats, longest_s: Floats | float) -> Bools:
    """Who is there in `longest_s`, whatever said how long it takes. Nobody else is sent to a pickup: the straight line
    says who is looked at, and what was learned or a router who comes too late all the same."""
    return np.asarray(there_s <= longest_s)


def trip_estimate(
    pickup: Place, stops: Sequence[Place], dropoff: Place, policy: Policy
) -> tuple[float, float]:
    """(road metres, seconds) from the pickup by way of the stops to the dropoff, with a dwell at each."""
    straight_m = sum(
        distance_m(a.latitude, a.longitude, b.latitude, b.longitude)
        for a, b in pairwise([pickup, *stops, dropoff])
    )
    road_m = straight_m * policy.detour
    return road_m, road_m / policy.cruise_speed_mps + len(stops) * policy.stop_dwell_s
