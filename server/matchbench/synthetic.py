"""Cities that nobody recorded: the scarce and the dense one, drawn from a seed.

The scarce city is the simulated Manhattan rush: 3,000 requests, 160 vehicles, a pickup within 300 s or none. Its area
and duration are set so that first-come nearest, and only that, does there what it did in that measurement: .83 served,
.88 km to the pickup. The dense city is the same place and time with three times the requests and 3 x 200 vehicles.
"""

from __future__ import annotations

import numpy as np

from dispatch.assignment import Floats
from dispatch.policy import Policy
from server.matchbench.city import City

LIMIT_S = 300.0
WIDE_M, HIGH_M = 4_400.0, 13_200.0
LASTS_S = 4.0 * 3_600.0
SIZES = {"scarce": (3_000, 160), "dense": (9_000, 600)}  # requests, vehicles
HOT_SHARE = 0.6
HOT_M = ((2_200.0, 4_950.0, 990.0), (1_760.0, 7_700.0, 1_210.0), (2_860.0, 1_650.0, 770.0))  # centre, spread
SHORTEST_TRIP_M = 600.0


def city(name: str, seed: int, size: tuple[int, int], policy: Policy, share: float = 1.0) -> City:
    """So many requests and vehicles; of the time and its requests only the first share."""
    requests, vehicles = round(size[0] * share), size[1]
    chance = np.random.default_rng((seed, requests, vehicles))
    pickup_m, dropoff_m = _places_m(chance, requests), _places_m(chance, requests)
    apart_m = np.hypot(*(dropoff_m - pickup_m).T)
    road_m = np.maximum(apart_m, SHORTEST_TRIP_M) * policy.detour
    return City(
        name=name,
        seed=seed,
        asked_s=np.sort(chance.uniform(0.0, LASTS_S * share, requests)),
        pickup_m=pickup_m,
        dropoff_m=dropoff_m,
        trip_s=road_m / policy.cruise_speed_mps + policy.stop_dwell_s,
        patience_s=np.full(requests, LIMIT_S),
        limit_s=LIMIT_S,
        vehicles_m=_places_m(chance, vehicles),
    )


def _places_m(chance: np.random.Generator, count: int) -> Floats:
    """A share around three hot spots, the rest anywhere on the island."""
    size = np.array([WIDE_M, HIGH_M])
    anywhere = chance.uniform(0.0, 1.0, (count, 2)) * size
    spot = np.array(HOT_M)[chance.integers(0, len(HOT_M), count)]
    hot = np.clip(spot[:, :2] + chance.normal(size=(count, 2)) * spot[:, 2:], 0.0, size)
    return np.asarray(np.where(chance.random((count, 1)) < HOT_SHARE, hot, anywhere))
