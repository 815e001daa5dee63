"""Plain geometry of the load generator: distances, headings and routes driven at a steady pace.

Flat-earth arithmetic around each pair of points: within a metropolis it differs from the great circle by
less than 0.1 %. Nothing here is shared with the server, so that the two can disagree and be caught at it.
"""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

EARTH_RADIUS_M = 6_371_008.8


class Point(NamedTuple):
    """A WGS84 position in degrees."""

    latitude: float
    longitude: float


def distance_m(a: Point, b: Point) -> float:
    """Metres between two points of one metropolis."""
    middle = math.radians((a.latitude + b.latitude) / 2)
    east = math.radians(b.longitude - a.longitude) * math.cos(middle)
    return EARTH_RADIUS_M * math.hypot(math.radians(b.latitude - a.latitude), east)


def heading_deg(a: Point, b: Point) -> float:
    """Compass direction from a to b, 0 ≤ h < 360."""
    east = (b.longitude - a.longitude) * math.cos(math.radians(a.latitude))
    return math.degrees(math.atan2(east, b.latitude - a.latitude)) % 360


class Route:
    """A polyline that can be asked where one is after a share of its length."""

    def __init__(self, points: Sequence[Point]) -> None:
        self._points = list(points)
        self._upto_m = [0.0]
        for a, b in itertools.pairwise(points):
            self._upto_m.append(self._upto_m[-1] + distance_m(a, b))

    @property
    def length_m(self) -> float:
        return self._upto_m[-1]

    def at(self, share: float) -> tuple[Point, float]:
        """The interpolated position after `share` (0..1) of the way, and the heading there."""
        along_m = min(max(share, 0.0), 1.0) * self.length_m
        leg = min(max(bisect.bisect_left(self._upto_m, along_m), 1), len(self._points) - 1)
        a, b = self._points[leg - 1], self._points[leg]
        leg_m = self._upto_m[leg] - self._upto_m[leg - 1]
        part = (along_m - self._upto_m[leg - 1]) / leg_m if leg_m > 0 else 1.0
        here = Point(
            round(a.latitude + (b.latitude - a.latitude) * part, 6),
            round(a.longitude + (b.longitude - a.longitude) * part, 6),
        )
        return here, heading_deg(a, b)
