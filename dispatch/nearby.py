"""A few free vehicles for a passenger's map, blurred: what is shown follows from how many stand in which cell.

Pure. Nothing else goes into the answer: not where in its cell a vehicle stands, not who it is, and of the asker's
place only the cell. So neither the mean of many answers nor questions from many places (who comes into the nearest few
from where) tell more of a vehicle than its cell of resolution 9, about 350 m across. A vehicle that nobody else is near
can be followed from cell to cell, as from the pavement; that is the price of showing any.
"""

import math
from collections import Counter
from collections.abc import Iterable
from typing import Final

import h3.api.basic_int as h3

from dispatch.cells import cell_of

EVERY_S: Final = 10  # a user asks at most so often
SHOWN_MAX: Final = 8
_RINGS: Final = 8  # 217 cells, 2.5 km around
_APART_M: Final = 60.0  # vehicles of one cell stand so far from its middle, not upon each other
_TURN: Final = math.pi * (3.0 - math.sqrt(5.0))
_METRES_PER_DEGREE: Final = 111_195.0


def cells_near(lat_deg: float, lng_deg: float) -> list[int]:
    """The cells to read, by ring outwards and then by number."""
    middle, cells = cell_of(lat_deg, lng_deg), dict[int, None]()
    for ring in range(_RINGS + 1):  # by disks, for no distance is known beyond a pentagon
        cells |= dict.fromkeys(sorted(h3.grid_disk(middle, ring)))
    return list(cells)


def blurred(cells: Iterable[int], places_deg: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most SHOWN_MAX points (latitude, longitude) for the vehicles at `places_deg`, those of the first of `cells`
    first; as many in each cell as stand in it."""
    standing = Counter(cell_of(lat, lng) for lat, lng in places_deg)
    shown: list[tuple[float, float]] = []
    for cell in cells:
        for number in range(min(standing[cell], SHOWN_MAX - len(shown))):
            shown.append(_point(cell, number))
    return shown


def _point(cell: int, number: int) -> tuple[float, float]:
    lat, lng = h3.cell_to_latlng(cell)
    north_deg = _APART_M * math.cos(_TURN * number) / _METRES_PER_DEGREE
    east_deg = (
        _APART_M * math.sin(_TURN * number) / _METRES_PER_DEGREE / max(0.01, math.cos(math.radians(lat)))
    )
    east = (lng + east_deg + 180.0) % 360.0 - 180.0
    return round(max(-90.0, min(90.0, lat + north_deg)), 6), round(east, 6)
