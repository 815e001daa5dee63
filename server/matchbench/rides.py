"""Reads recorded days for measurements: real rides as arrays, in order of pickup.

Owns the columns of `../shared/data` that the floors above storage are measured on (its README lists them); what
drives a server from outside reads for itself, in loadtest/traces.py. Nothing is repaired; `plausible` says which
rides can be used to measure times of driving.
"""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from dispatch.eta import Floats, Positions
from dispatch.etatable import distances_m

DATA: Final = Path(__file__).resolve().parents[3] / "shared" / "data"
SAN_FRANCISCO: Final = "sf_requests_dev_2008-05-17_05-31.csv.gz"
NEW_YORK_DAY: Final = "nyc_requests_dev_2015-01-15_24h-sample.csv.gz"
NEW_YORK_AFTERNOON: Final = "nyc_requests_dev_2015-01-15_13h-15h.csv.gz"

_COLUMNS: Final = ("pickup_ts", "duration_s", "pickup_lat", "pickup_lon", "dropoff_lat", "dropoff_lon")


class Rides(NamedTuple):
    """n rides: Unix seconds, seconds, and (n, 2) degrees with the latitude first."""

    pickup_s: Floats
    duration_s: Floats
    pickup_deg: Positions
    dropoff_deg: Positions

    def __len__(self) -> int:
        return len(self.pickup_s)

    def where(self, chosen: np.ndarray) -> Rides:
        """Those of a mask or of indexes."""
        return Rides(*(column[chosen] for column in self))


def read_rides(path: Path) -> Rides:
    """All rides of a file. Raises OSError, and ValueError for a file without these columns."""
    with gzip.open(path) as rows:
        header = next(rows).decode().strip().split(",")
        if missing := [name for name in _COLUMNS if name not in header]:
            raise ValueError(f"{path.name} has no column {missing[0]}: ../shared/data/README.md lists them")
        wanted = [header.index(name) for name in _COLUMNS]
        cells = [row.rstrip(b"\n").split(b",") for row in rows]
    table = np.array([[row[column] for column in wanted] for row in cells]).astype(np.float64)
    table = table[np.argsort(table[:, 0], kind="stable")]
    return Rides(table[:, 0], table[:, 1], table[:, 2:4], table[:, 4:6])


def plausible(rides: Rides) -> np.ndarray:
    """Which have a time of driving to speak of: 200 m to go at least, one minute to two hours, below 40 m/s."""
    straight_m = distances_m(rides.pickup_deg, rides.dropoff_deg)
    inside = (rides.duration_s >= 60.0) & (rides.duration_s <= 7_200.0)
    return (straight_m >= 200.0) & inside & (straight_m < 40.0 * rides.duration_s)
