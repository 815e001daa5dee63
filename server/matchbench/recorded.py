"""Cities that were recorded: San Francisco with its cabs, New York with its rides only.

Owns how the files of ../shared/data are read for the simulator (its README lists the columns); nothing of them is kept.
Demand is real: pickups, dropoffs, durations. In San Francisco a request is issued 180 to 300 s before its pickup,
because at the pickup the cab that took it stands there; a cab without a job follows its recorded trail, and after a job
drives back to it. New York's file has no cabs: as many are placed at random dropoffs as would be busy for 9/10 of the
time with an approach of three minutes each. Patience was never recorded; it is drawn.
"""

from __future__ import annotations

import gzip
from collections import defaultdict
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from dispatch.assignment import Floats
from dispatch.cells import EARTH_RADIUS_M
from server.matchbench.city import City, Trails
from server.matchbench.rides import Rides, read_rides

HOUR_S: Final = 3_600.0
EVENING_H: Final = (14.0, 16.0)  # after the begin of a service day, at 04:00: 18:00 to 20:00
AFTERNOON_H: Final = (0.0, 1.0)  # after the first request
LEAD_S: Final = (180.0, 300.0)
PATIENCE_S: Final = (120.0, 300.0)
LIMIT_S: Final = 900.0
FARTHEST_M: Final = 60_000.0  # from the median pickup: what lies farther away is a wrong position
STEP_S: Final = 15.0
STALE_S: Final = 200.0  # cabs send a fix a minute, and sometimes miss two
TAIL_S: Final = 2 * HOUR_S  # cabs go on while the last requests are served
APPROACH_S, BUSY_SHARE = 180.0, 0.9


class Recording(NamedTuple):
    """What was asked, in order of time, and where the cabs were, if that was recorded."""

    name: str
    pickup_s: Floats  # (n,)
    trip_s: Floats  # (n,)
    pickup_m: Floats  # (n, 2)
    dropoff_m: Floats  # (n, 2)
    trails: Trails | None


def evening_of(traces: Path) -> tuple[float, float]:
    """When the evening of that service day begins and ends."""
    with gzip.open(traces) as rows:
        next(rows)
        begins_s = float(next(rows).split(b",", 1)[0])
    from_s, to_s = (begins_s + hours * HOUR_S for hours in EVENING_H)
    return from_s, to_s


def evening(name: str, traces: Path, requests: Path) -> Recording:
    """Two hours of the service day that a file of traces holds, with its cabs. Raises ValueError where the requests are
    of other days."""
    from_s, to_s = evening_of(traces)
    rides = _between(read_rides(requests), from_s, to_s)
    if not len(rides):
        raise ValueError(f"{requests.name} has no ride on the evening of {traces.name}: name both of one day")
    trails = _trails(traces, from_s - max(LEAD_S), to_s + TAIL_S, _middle(rides))
    return _recording(name, rides, trails)


def afternoon(name: str, requests: Path) -> Recording:
    """The first hour of a file of rides."""
    rides = read_rides(requests)
    from_s, to_s = (float(rides.pickup_s[0]) + hours * HOUR_S for hours in AFTERNOON_H)
    return _recording(name, _between(rides, from_s, to_s), None)


def _between(rides: Rides, from_s: float, to_s: float) -> Rides:
    return rides.where((rides.pickup_s >= from_s) & (rides.pickup_s < to_s))


def draw(recording: Recording, seed: int, share: float = 1.0) -> City:
    """The recorded city with people's answers, patience and, without trails, the vehicles drawn from a seed; of its
    requests only the first share."""
    chance = np.random.default_rng(seed)
    n, trails = len(recording.pickup_s), recording.trails
    if trails is None:
        asked_s = recording.pickup_s
        rate = n / float(asked_s[-1] - asked_s[0])
        count = round(rate * (float(recording.trip_s.mean()) + APPROACH_S) / BUSY_SHARE)
        vehicles_m = recording.dropoff_m[chance.integers(0, n, count)]
    else:
        asked_s = recording.pickup_s - chance.uniform(*LEAD_S, n)
        vehicles_m = trails.places_m[:, 0]
    order = np.argsort(asked_s, kind="stable")[: round(n * share)]
    return City(
        name=recording.name,
        seed=seed,
        asked_s=asked_s[order],
        pickup_m=recording.pickup_m[order],
        dropoff_m=recording.dropoff_m[order],
        trip_s=recording.trip_s[order],
        patience_s=chance.uniform(*PATIENCE_S, len(order)),
        limit_s=LIMIT_S,
        vehicles_m=vehicles_m,
        trails=trails,
    )


def _recording(name: str, rides: Rides, trails: Trails | None) -> Recording:
    (lat_deg, lng_deg), places_deg = _middle(rides), (rides.pickup_deg, rides.dropoff_deg)
    pickup_m, dropoff_m = (_plane_m(deg[:, 0], deg[:, 1], lat_deg, lng_deg) for deg in places_deg)
    near = (np.hypot(*pickup_m.T) < FARTHEST_M) & (np.hypot(*dropoff_m.T) < FARTHEST_M)
    return Recording(
        name, rides.pickup_s[near], rides.duration_s[near], pickup_m[near], dropoff_m[near], trails
    )


def _plane_m(lat_deg: Floats, lng_deg: Floats, origin_lat_deg: float, origin_lng_deg: float) -> Floats:
    """Positions of one metropolis in metres east and north of an origin within it: (n, 2).

    Equirectangular (Snyder, Map Projections, USGS 1987, p. 90): within 50 km of the origin, up to 60° of latitude,
    distances between neighbours are wrong by less than 1.5 %.
    """
    # across the antimeridian: the short way around
    east_deg = (lng_deg - origin_lng_deg + 540.0) % 360.0 - 180.0
    east = np.radians(east_deg) * np.cos(np.radians(origin_lat_deg))
    return EARTH_RADIUS_M * np.stack([east, np.radians(lat_deg - origin_lat_deg)], axis=-1)


def _middle(rides: Rides) -> tuple[float, float]:
    """Latitude and longitude in degrees."""
    return float(np.median(rides.pickup_deg[:, 0])), float(np.median(rides.pickup_deg[:, 1]))


def _trails(path: Path, from_s: float, to_s: float, origin_deg: tuple[float, float]) -> Trails:
    """Cabs on a grid of time: positions between fixes are interpolated, and say so by being called trails."""
    found: dict[bytes, list[tuple[float, float, float]]] = defaultdict(list)
    with gzip.open(path) as rows:
        next(rows)
        for row in rows:
            if from_s - STALE_S <= int(row[: row.index(b",")]) < to_s:
                ts, cab, lat, lng, _ = row.split(b",", 4)
                found[cab].append((float(ts), float(lat), float(lng)))
    grid_s = np.arange(from_s, to_s, STEP_S)
    places_m, seen = np.zeros((len(found), len(grid_s), 2)), np.zeros((len(found), len(grid_s)), dtype=bool)
    for at, cab in enumerate(sorted(found)):
        fixes = np.array(sorted(found[cab]))
        fixes_m = _plane_m(fixes[:, 1], fixes[:, 2], *origin_deg)
        for axis in (0, 1):
            places_m[at, :, axis] = np.interp(grid_s, fixes[:, 0], fixes_m[:, axis])
        newest = np.searchsorted(fixes[:, 0], grid_s, side="right") - 1
        seen[at] = (newest >= 0) & (grid_s - fixes[newest, 0] <= STALE_S)
    return Trails(from_s, STEP_S, places_m, seen)
