"""Which pairs the batch looks at: the nearest of each, from both sides.

Pure. Drivers nearest to each request alone are not enough: where requests outnumber drivers, many ask for the same
few and the rest would be left with nobody, though somebody reaches them. So a pair is a candidate when the driver is
among the `k` nearest of the request or the request among the `k` nearest of the driver, `k` being less for the larger
side. Against the assignment over all pairs 16 lose nothing where one side is the larger, and one request in 10,000 and
1 % of the cost where both are equal (`./dev bench match --only solve`), at a tenth of the work.
"""

import math
from typing import Final, NamedTuple

import numpy as np
from scipy.spatial import KDTree

from dispatch.assignment import Floats, Ints
from dispatch.cells import EARTH_RADIUS_M

EACH: Final = 16
SMALL: Final = (
    4_096  # up to so many pairs all are candidates: measuring them takes less time than building trees
)


class Near(NamedTuple):
    """k pairs by row of request, then of driver; straight-line metres."""

    request: Ints
    driver: Ints
    distance_m: Floats


def plane_m(lat_deg: Floats, lng_deg: Floats, origin_lat_deg: float, origin_lng_deg: float) -> Floats:
    """Positions of one metropolis in metres east and north of an origin within it: (n, 2).

    Equirectangular (Snyder, Map Projections, USGS 1987, p. 90): within 50 km of the origin, up to 60° of latitude,
    distances between neighbours are wrong by less than 1.5 %.
    """
    # across the antimeridian: the short way around
    east_deg = (lng_deg - origin_lng_deg + 540.0) % 360.0 - 180.0
    east = np.radians(east_deg) * np.cos(np.radians(origin_lat_deg))
    return EARTH_RADIUS_M * np.stack([east, np.radians(lat_deg - origin_lat_deg)], axis=-1)


def near(requests_m: Floats, drivers_m: Floats, reach_m: float, each: int = EACH) -> Near:
    """The `each` nearest of every request (n, 2) and of every driver (m, 2), not farther than `reach_m`."""
    n, m = len(requests_m), len(drivers_m)
    if not n or not m:
        return Near(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))
    if n * m <= SMALL:
        apart = requests_m[:, None] - drivers_m[None, :]
        away_m = np.hypot(apart[..., 0], apart[..., 1])
        request, driver = np.nonzero(away_m <= reach_m)
        return Near(request, driver, away_m[request, driver])
    fewer = min(n, m)
    request, driver = _nearest(drivers_m, requests_m, reach_m, math.ceil(each * fewer / n))
    other_driver, other_request = _nearest(requests_m, drivers_m, reach_m, math.ceil(each * fewer / m))
    both = np.unique(np.concatenate([request * m + driver, other_request * m + other_driver]))
    request, driver = np.divmod(both, m)
    apart = requests_m[request] - drivers_m[driver]
    return Near(request, driver, np.hypot(apart[:, 0], apart[:, 1]))


def _nearest(places_m: Floats, of_m: Floats, reach_m: float, each: int) -> tuple[Ints, Ints]:
    """(row of `of_m`, row of `places_m`) of the nearest places of each."""
    k = min(each, len(places_m))
    _, found = KDTree(places_m).query(of_m, k=k, distance_upper_bound=np.nextafter(reach_m, np.inf))
    found = found.reshape(len(of_m), k)
    of, rank = np.nonzero(found < len(places_m))  # what is not there has the index past the last
    return of, np.asarray(found[of, rank], dtype=np.int64)
