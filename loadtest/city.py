"""The demo city's streets: an invented grid, the people's names for it, and vehicles that wander through
it.

No real street is meant. The grid is turned by a few degrees and lies inside the seed data's area "Arynov";
all positions on it are made up, and the demo says so.
"""

from __future__ import annotations

import math
import random
from typing import NamedTuple

from loadtest.geo import Point, Route

CENTRE = Point(49.9935, 36.2304)
TURNED_DEG = 12.0
BLOCK_EAST_M = 240.0
BLOCK_NORTH_M = 180.0
BLOCKS_EAST = 13  # to either side of the centre
BLOCKS_NORTH = 14
METRES_PER_DEGREE = 111_195.0

AVENUES = ("Willow", "Harbour", "Mill", "Chestnut", "Foundry", "Lantern", "Orchard", "Station", "Weaver")
STREETS = ("Bell", "Clay", "Dover", "Elm", "Fern", "Glass", "Hazel", "Iron", "Juniper", "Kiln", "Lark")


class Corner(NamedTuple):
    """A crossing of the grid, counted in blocks from the centre."""

    east: int
    north: int


def point_of(corner: Corner) -> Point:
    """Where a crossing lies."""
    return place_of(corner.east * BLOCK_EAST_M, corner.north * BLOCK_NORTH_M)


def place_of(x_m: float, y_m: float) -> Point:
    """Where something lies that is so far along the streets, and so far along the avenues, from the centre."""
    turn = math.radians(TURNED_DEG)
    east_m = x_m * math.cos(turn) - y_m * math.sin(turn)
    north_m = x_m * math.sin(turn) + y_m * math.cos(turn)
    shrink = math.cos(math.radians(CENTRE.latitude))
    return Point(
        round(CENTRE.latitude + north_m / METRES_PER_DEGREE, 6),
        round(CENTRE.longitude + east_m / METRES_PER_DEGREE / shrink, 6),
    )


def nearest_corner(point: Point) -> Corner:
    """The crossing that a position is nearest to, within the city."""
    turn = math.radians(TURNED_DEG)
    shrink = math.cos(math.radians(CENTRE.latitude))
    east_m = (point.longitude - CENTRE.longitude) * METRES_PER_DEGREE * shrink
    north_m = (point.latitude - CENTRE.latitude) * METRES_PER_DEGREE
    x_m = east_m * math.cos(turn) + north_m * math.sin(turn)
    y_m = north_m * math.cos(turn) - east_m * math.sin(turn)
    return Corner(
        _within(round(x_m / BLOCK_EAST_M), BLOCKS_EAST), _within(round(y_m / BLOCK_NORTH_M), BLOCKS_NORTH)
    )


def some_corner(source: random.Random, near: Corner | None = None, blocks: int = BLOCKS_NORTH) -> Corner:
    """Any crossing, or one at most so many blocks away in both directions."""
    middle = near or Corner(0, 0)
    return Corner(
        _within(middle.east + source.randint(-blocks, blocks), BLOCKS_EAST),
        _within(middle.north + source.randint(-blocks, blocks), BLOCKS_NORTH),
    )


def address_of(corner: Corner) -> str:
    """What people call a crossing."""
    return f"{AVENUES[corner.east % len(AVENUES)]} Avenue and {STREETS[corner.north % len(STREETS)]} Street"


def along_streets(a: Point, b: Point) -> Route:
    """From a to b along the grid, with one turn."""
    start, end = nearest_corner(a), nearest_corner(b)
    turn = Corner(end.east, start.north)
    return Route([a, point_of(start), point_of(turn), point_of(end), b])


class Wandering:
    """See `carrying.Motion`: drives to a corner nearby, waits there, drives on; a position every few seconds."""

    def __init__(self, source: random.Random, fix_every_s: float, speed_mps: float) -> None:
        self._source = source
        self._every_s = fix_every_s
        self._speed_mps = speed_mps
        self._here = point_of(some_corner(source))
        self._route: Route | None = None
        self._leg_starts_s = 0.0
        self._leg_ends_s = 0.0

    def next_fix(self, after_s: float) -> tuple[float, Point] | None:
        at_s = after_s + self._every_s * self._source.uniform(0.9, 1.1)
        return at_s, self.position(at_s)

    def position(self, at_s: float) -> Point:
        if at_s >= self._leg_ends_s:
            self._begin_leg(at_s)
        if self._route is None:
            return self._here
        return self._route.at((at_s - self._leg_starts_s) / (self._leg_ends_s - self._leg_starts_s))[0]

    def moved(self, to: Point, at_s: float) -> None:
        self._here, self._route = to, None
        self._leg_ends_s = at_s + self._source.uniform(5, 30)

    def route(self, a: Point, b: Point) -> Route:
        return along_streets(a, b)

    def _begin_leg(self, at_s: float) -> None:
        """A drive after a stand, and a stand after a drive."""
        self._leg_starts_s = at_s
        if self._route is not None:
            self._here, self._route = self._route.at(1.0)[0], None
            self._leg_ends_s = at_s + self._source.uniform(10, 60)
            return
        goal = point_of(some_corner(self._source, nearest_corner(self._here), blocks=5))
        self._route = along_streets(self._here, goal)
        self._leg_ends_s = at_s + max(1.0, self._route.length_m / self._speed_mps)


def _within(value: int, most: int) -> int:
    return min(max(value, -most), most)
