"""Reads the recorded day: cabs' fixes and real rides, one window of time of them.

Owns the CSV formats of `../shared/data` (gzip; its README lists the columns). The window is cut while
reading, so that an hour out of half a million rows costs a quarter of a second. Nothing is repaired:
teleports and gaps reach the server as they were recorded.
"""

from __future__ import annotations

import gzip
import math
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from loadtest.geo import Point

DAY_S = 86_400
SERVICE_DAY_STARTS_S = 4 * 3600  # A service day runs from 04:00 to 04:00 local time.
SAN_FRANCISCO_UTC_S = -7 * 3600


@dataclass(frozen=True)
class Trace:
    """One cab's fixes in time order, `ts` in seconds."""

    vehicle: str
    ts: NDArray[np.float64]
    points: list[Point]

    def last_before(self, at_s: float) -> int:
        """Index of the newest fix at or before an instant; -1 when there is none."""
        return int(np.searchsorted(self.ts, at_s, side="right")) - 1


@dataclass(frozen=True)
class Ride:
    """One real ride of the recorded fleet."""

    trip: str
    pickup_s: float
    duration_s: float
    pickup: Point
    dropoff: Point


def window_s(first_ts: float, clock_from: str, clock_to: str) -> tuple[float, float]:
    """Unix times of two local clock times within the service day that contains `first_ts`."""
    local_s = first_ts + SAN_FRANCISCO_UTC_S
    midnight_s = math.floor((local_s - SERVICE_DAY_STARTS_S) / DAY_S) * DAY_S - SAN_FRANCISCO_UTC_S
    start_s, end_s = (_seconds_of_day(clock) for clock in (clock_from, clock_to))
    start_s += DAY_S if start_s < SERVICE_DAY_STARTS_S else 0
    end_s += DAY_S if end_s <= SERVICE_DAY_STARTS_S or end_s <= start_s else 0
    return midnight_s + start_s, midnight_s + end_s


def first_time_s(path: Path) -> float:
    """The first row's time of a trace file."""
    with _open(path) as rows:
        next(rows)
        return float(next(rows).split(b",", 1)[0])


def read_traces(path: Path, from_s: float, to_s: float) -> list[Trace]:
    """All cabs with at least one fix in [from_s, to_s), sorted by name."""
    found: dict[bytes, list[bytes]] = defaultdict(list)
    with _open(path) as rows:
        next(rows)
        for row in rows:
            if from_s <= int(row[: row.index(b",")]) < to_s:
                found[row.split(b",", 2)[1]].append(row)
    return [_trace(vehicle.decode(), found[vehicle]) for vehicle in sorted(found)]


def read_rides(path: Path, from_s: float, to_s: float) -> list[Ride]:
    """All rides picked up in [from_s, to_s), in order of pickup."""
    with _open(path) as rows:
        place = {name: i for i, name in enumerate(next(rows).decode().strip().split(","))}
        when = place["pickup_ts"]
        found = [
            _ride(cells, place)
            for cells in (row.decode().rstrip("\n").split(",") for row in rows)
            if from_s <= float(cells[when]) < to_s
        ]
    return sorted(found, key=lambda ride: (ride.pickup_s, ride.trip))


def _open(path: Path) -> gzip.GzipFile:
    return gzip.GzipFile(path)


def _seconds_of_day(clock: str) -> int:
    hours, minutes = clock.split(":")
    return int(hours) * 3600 + int(minutes) * 60


def _trace(vehicle: str, rows: list[bytes]) -> Trace:
    cells = [row.split(b",", 4) for row in rows]
    ts = np.array([float(cell[0]) for cell in cells])
    order = np.argsort(ts, kind="stable")
    return Trace(vehicle, ts[order], [Point(float(cells[i][2]), float(cells[i][3])) for i in order])


def _ride(cells: list[str], place: dict[str, int]) -> Ride:
    def number(name: str) -> float:
        return float(cells[place[name]])

    return Ride(
        trip=cells[place["trip_id"]],
        pickup_s=number("pickup_ts"),
        duration_s=number("duration_s"),
        pickup=Point(number("pickup_lat"), number("pickup_lon")),
        dropoff=Point(number("dropoff_lat"), number("dropoff_lon")),
    )
