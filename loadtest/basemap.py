"""The demo city as a map: its streets, its river and parks, and places that people go to.

    python -m loadtest.basemap > server/console/static/demo/arynov.json

Printed from city.py, so that vehicles drive on what maps show; a test compares. Streets are lines of the same corners
that routes are made of, so a page may find its way along them. All of it is invented.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator
from typing import Any

from loadtest.city import (
    AVENUES,
    BLOCK_EAST_M,
    BLOCK_NORTH_M,
    BLOCKS_EAST,
    BLOCKS_NORTH,
    STREETS,
    Corner,
    place_of,
    point_of,
)
from loadtest.geo import Point

Feature = dict[str, Any]

WIDE_EVERY = 4  # of the streets, and of the avenues, so many are wide and lead out of town
OUT_BLOCKS = 7
RIVER_HALF_M = 75.0
#: As corners: south-west, north-east.
PARKS = (
    (Corner(-9, 3), Corner(-6, 6)),
    (Corner(3, -6), Corner(5, -3)),
    (Corner(7, 5), Corner(9, 9)),
    (Corner(-1, 1), Corner(0, 2)),
    (Corner(-4, -11), Corner(-2, -9)),
    (Corner(10, -10), Corner(12, -8)),
)
#: Where people go; the first of them are those of the seed's history.
PLACES = (
    ("Foundry Bakery", Corner(0, -4)),
    ("Orchard Stadium", Corner(9, 8)),
    ("Arynov Station", Corner(-6, 0)),
    ("Lantern Library", Corner(4, 2)),
    ("Willow Clinic", Corner(9, -13)),
    ("Weaver Market", Corner(-11, -6)),
    ("Harbour Hall", Corner(-2, 7)),
    ("City Museum", Corner(1, 0)),
    ("Glass Theatre", Corner(5, -1)),
    ("North Gate Hotel", Corner(-7, 11)),
)


def base_map() -> dict[str, Any]:
    """A GeoJSON FeatureCollection; `kind` of each feature is water, park, street, avenue or place."""
    features = [_river(), *_parks(), *_streets(), *_places()]
    return {"type": "FeatureCollection", "features": features}


def _river() -> Feature:
    """Winds through the city from west to east; metres in the turned grid."""
    way = [(x, 620.0 * math.sin(x / 1_150.0) - 0.16 * x - 500.0) for x in range(-6_000, 6_001, 200)]
    banks: list[list[tuple[float, float]]] = [[], []]
    for (x0, y0), (x1, y1) in itertools.pairwise(way):
        length = math.hypot(x1 - x0, y1 - y0)
        aside = (-(y1 - y0) / length, (x1 - x0) / length)
        for bank, side in zip(banks, (RIVER_HALF_M, -RIVER_HALF_M), strict=True):
            bank.append((x0 + aside[0] * side, y0 + aside[1] * side))
    ring = [place_of(x, y) for x, y in [*banks[0], *reversed(banks[1])]]
    return _polygon(ring, kind="water", name="Aryn")


def _parks() -> Iterator[Feature]:
    inset_m = 22.0
    for low, high in PARKS:
        west, east = low.east * BLOCK_EAST_M + inset_m, high.east * BLOCK_EAST_M - inset_m
        south, north = low.north * BLOCK_NORTH_M + inset_m, high.north * BLOCK_NORTH_M - inset_m
        ring = [place_of(x, y) for x, y in ((west, south), (east, south), (east, north), (west, north))]
        yield _polygon(ring, kind="park")


def _streets() -> Iterator[Feature]:
    for east in range(-BLOCKS_EAST, BLOCKS_EAST + 1):
        corners = [Corner(east, north) for north in range(-BLOCKS_NORTH, BLOCKS_NORTH + 1)]
        yield _street(corners, f"{AVENUES[east % len(AVENUES)]} Avenue", east % WIDE_EVERY == 0)
    for north in range(-BLOCKS_NORTH, BLOCKS_NORTH + 1):
        corners = [Corner(east, north) for east in range(-BLOCKS_EAST, BLOCKS_EAST + 1)]
        yield _street(corners, f"{STREETS[north % len(STREETS)]} Street", north % WIDE_EVERY == 0)


def _street(corners: list[Corner], name: str, wide: bool) -> Feature:
    if wide:
        first, second, last = corners[0], corners[1], corners[-1]
        step = Corner(second.east - first.east, second.north - first.north)
        out = Corner(step.east * OUT_BLOCKS, step.north * OUT_BLOCKS)
        before = Corner(first.east - out.east, first.north - out.north)
        corners = [before, *corners, Corner(last.east + out.east, last.north + out.north)]
    line = [_position(point_of(corner)) for corner in corners]
    return _feature("LineString", line, kind="avenue" if wide else "street", name=name)


def _places() -> Iterator[Feature]:
    for name, corner in PLACES:
        yield _feature("Point", _position(point_of(corner)), kind="place", name=name)


def _polygon(ring: list[Point], **properties: str) -> Feature:
    return _feature("Polygon", [[_position(point) for point in [*ring, ring[0]]]], **properties)


def _position(point: Point) -> list[float]:
    return [point.longitude, point.latitude]


def _feature(shape: str, coordinates: list[Any], **properties: str) -> Feature:
    return {
        "type": "Feature",
        "geometry": {"type": shape, "coordinates": coordinates},
        "properties": properties,
    }


if __name__ == "__main__":
    print(json.dumps(base_map(), separators=(",", ":")))
