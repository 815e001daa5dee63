"""Where things are: H3 cells, straight-line distance, and the exact search for the nearest drivers.

Owns the choice of grid (resolution 9, about 200 m edge) and guarantees that `NearestSearch` finds exactly the
K nearest entries of an index by cell, at any place on Earth, in few round trips. Sans-io: it says which cells
to read and is fed what stood in them; who reads, and from where, is not its business.

**Why the stop rule is exact.** Reading rings until K are found is wrong in 9-70 % of queries (measured): a
cell of the next ring can be nearer than a corner of the last. In a flat lattice of hexagons with edge e,
everything within (3k-1)/2 x e of any point of the origin cell lies in rings 0..k, k >= 1: the shortest way
out starts at a corner of the origin cell and takes one e to leave ring 1, and 1.5 e for each further ring.

H3's cells are exactly such a lattice on each face of an icosahedron, drawn on the globe by the gnomonic
projection of that face, which shrinks a length by at most cos² of the angle from the face's centre (Snyder,
Map Projections: A Working Manual, USGS 1987, p. 165). So the local minimum edge is bounded by the flat edge
times cos² of the largest such angle within reach: a bound from geometry that holds for every cell looked at,
takes microseconds, enumerates no cells, and needs no care for poles, the antimeridian and the 12 pentagons
(where the lattice lacks a sector: disks shrink there, but no way out of them is shorter). It lies 0-3 % below
the shortest edge that is really there; tests/test_cells.py measures it.
"""

import heapq
import math
from collections.abc import Iterable
from itertools import combinations
from typing import Final, Generic, NamedTuple, TypeVar

import h3.api.basic_int as h3

RESOLUTION: Final = 9
EARTH_RADIUS_M: Final = 6_371_007.2  # authalic, the one that H3 uses
MAX_RINGS: Final = 64  # 12,481 cells: the bound on what one search may read
MAX_SEARCH_RADIUS_M: Final = 12_000.0  # MAX_RINGS cover 13.2 km at the worst place, beside a pentagon

_FIRST_RINGS: Final = 2  # one trip for 19 cells answers nearly every search in a busy city
_SAFETY: Final = 0.99  # of the covered distance is trusted: room for rounding at the cells' borders
_RADIANS: Final = math.pi / 180.0

# Neighbouring cells' centres on the gnomonic plane of a face are, in Earth radii, RES0_U_GNOMONIC (H3's
# constants.h) apart at resolution 0; each resolution divides that by √7, and a hexagon's edge is 1/√3 of it.
_FLAT_EDGE_M: Final = EARTH_RADIUS_M * 0.381966011250105 / math.sqrt(7.0) ** RESOLUTION / math.sqrt(3.0)

_Vector = tuple[float, float, float]


def valid_position(lat_deg: float, lng_deg: float) -> bool:
    """Finite and on Earth. To be asked first, always: h3 accepts latitude 91, and NaN compares false here."""
    return -90.0 <= lat_deg <= 90.0 and -180.0 <= lng_deg <= 180.0


def cell_of(lat_deg: float, lng_deg: float) -> int:
    """The cell of a valid position."""
    return int(h3.latlng_to_cell(lat_deg, lng_deg, RESOLUTION))


def distance_m(lat1_deg: float, lng1_deg: float, lat2_deg: float, lng2_deg: float) -> float:
    """Great-circle distance (haversine, Sinnott 1984: stable when small, and across the antimeridian)."""
    lat1, lat2 = lat1_deg * _RADIANS, lat2_deg * _RADIANS
    half_lat = math.sin((lat2 - lat1) * 0.5)
    half_lng = math.sin((lng2_deg - lng1_deg) * _RADIANS * 0.5)
    square = half_lat * half_lat + math.cos(lat1) * math.cos(lat2) * half_lng * half_lng
    return 2.0 * EARTH_RADIUS_M * math.asin(math.sqrt(min(1.0, square)))


def _unit_vector(lat_deg: float, lng_deg: float) -> _Vector:
    lat, lng = lat_deg * _RADIANS, lng_deg * _RADIANS
    return math.cos(lat) * math.cos(lng), math.cos(lat) * math.sin(lng), math.sin(lat)


def _cosine(a: _Vector, b: _Vector) -> float:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _face_centres() -> tuple[_Vector, ...]:
    """The middles of the 20 faces: H3's 12 pentagons are the corners, three mutual neighbours make a face."""
    corners = [_unit_vector(*h3.cell_to_latlng(cell)) for cell in h3.get_pentagons(RESOLUTION)]
    faces = []
    for triple in combinations(corners, 3):
        if all(_cosine(a, b) > 0.4 for a, b in combinations(triple, 2)):  # neighbours: 1/√5, others: negative
            total = tuple(sum(axis) for axis in zip(*triple, strict=True))
            length = math.hypot(*total)
            faces.append((total[0] / length, total[1] / length, total[2] / length))
    return tuple(faces)


_FACES: Final = _face_centres()
_CORNER_ANGLE: Final = math.acos(math.sqrt((5.0 + 2.0 * math.sqrt(5.0)) / 15.0))  # 37.38°, the largest


def face_angle(lat_deg: float, lng_deg: float) -> float:
    """Radians from the centre of the icosahedron's face that the position lies on."""
    here = _unit_vector(lat_deg, lng_deg)
    return math.acos(min(1.0, max(_cosine(here, centre) for centre in _FACES)))


def min_edge_m(angle: float, reach_m: float) -> float:
    """A lower bound of the edge of every cell within `reach_m` of a place at this `face_angle`."""
    farthest = min(_CORNER_ANGLE, angle + reach_m / EARTH_RADIUS_M)
    return _FLAT_EDGE_M * math.cos(farthest) ** 2


def covered_m(angle: float, rings: int) -> float:
    """Everything this near is in rings 0..`rings` for certain (module docstring)."""
    edges = (3 * rings - 1) / 2
    return _SAFETY * edges * min_edge_m(angle, edges * _FLAT_EDGE_M)


def zone_covered_m(angle: float, rings: int, resolution: int) -> float:
    """Everything this near to a place is in cells of RESOLUTION whose parents at a coarser `resolution` are in
    rings 0..`rings` about the place's own cell there.

    As `covered_m`, for a coarser lattice; but a cell belongs to the parent that holds its centre, not every point of
    it, so what the centres of all levels between may be away is taken off.
    """
    coarser = math.sqrt(7.0) ** (RESOLUTION - resolution)
    edges = (3 * rings - 1) / 2 * coarser
    away_m = _FLAT_EDGE_M * sum(math.sqrt(7.0) ** level for level in range(RESOLUTION - resolution))
    return _SAFETY * edges * min_edge_m(angle, edges * _FLAT_EDGE_M) - away_m


PayloadT = TypeVar("PayloadT")


class Near(NamedTuple, Generic[PayloadT]):
    """One entry found: sorts by distance, then by id."""

    distance_m: float
    driver_id: str
    payload: PayloadT


class NearestSearch(Generic[PayloadT]):
    """The `want` nearest entries within `radius_m` of a place, exactly.

    Use: while `ask()` gives cells, read them all and `feed()` the entries that are eligible (others would
    take up the K places); then `best()`. One who moves while the search runs may stand in two cells: what was
    fed last wins. Round trips cost more than cells, so it first asks for the disk of 2 rings; as soon as K
    are known, for all that can still matter at once; until then for half as far again.
    """

    def __init__(self, lat_deg: float, lng_deg: float, want: int, radius_m: float) -> None:
        if not valid_position(lat_deg, lng_deg):
            raise ValueError("position out of range")
        if want < 1 or not 0.0 < radius_m <= MAX_SEARCH_RADIUS_M:
            raise ValueError(f"want >= 1 and 0 < radius_m <= {MAX_SEARCH_RADIUS_M:.0f} needed")
        self._lat_deg = lat_deg
        self._lng_deg = lng_deg
        self._want = want
        self._radius_m = radius_m
        self._angle = face_angle(lat_deg, lng_deg)
        self._origin = cell_of(lat_deg, lng_deg)
        self._rings = 0  # rings 0.._rings were asked for
        self._asked: set[int] = set()
        self._found: dict[str, Near[PayloadT]] = {}

    def ask(self) -> list[int] | None:
        """The cells to read next; None when nothing unread can be among the best."""
        rings = self._next_rings()
        if rings is None:
            return None
        self._rings = rings
        new = [cell for cell in h3.grid_disk(self._origin, rings) if cell not in self._asked]
        self._asked.update(new)
        return new

    def feed(self, entries: Iterable[tuple[str, float, float, PayloadT]]) -> None:
        """What stood in the cells: (driver id, latitude, longitude, whatever the caller wants back)."""
        found, lat_deg, lng_deg, radius_m = self._found, self._lat_deg, self._lng_deg, self._radius_m
        for driver_id, lat, lng, payload in entries:
            away_m = distance_m(lat_deg, lng_deg, lat, lng)
            if away_m <= radius_m:
                found[driver_id] = Near(away_m, driver_id, payload)
            else:
                found.pop(driver_id, None)

    def best(self) -> list[Near[PayloadT]]:
        """The nearest so far, at most `want`, by (distance, driver id)."""
        return heapq.nsmallest(self._want, self._found.values())  # ids differ: payloads are never compared

    def _next_rings(self) -> int | None:
        if self._rings == 0:
            return _FIRST_RINGS
        enough = len(self._found) >= self._want
        needed_m = self.best()[-1].distance_m if enough else self._radius_m
        if self._rings >= MAX_RINGS or covered_m(self._angle, self._rings) >= needed_m:
            return None
        farthest = self._rings_covering(needed_m)
        return farthest if enough else min(farthest, self._rings + max(2, self._rings // 2))

    def _rings_covering(self, needed_m: float) -> int:
        rings = self._rings + 1
        while rings < MAX_RINGS and covered_m(self._angle, rings) < needed_m:
            rings += 1
        return rings
