"""Which pairs the batch looks at: the nearest of each, from both sides.

Pure. Drivers nearest to each request alone are not enough: where requests outnumber drivers, many ask for the same
few and the rest would be left with nobody, though somebody reaches them. So a pair is a candidate when the driver is
among the `k` nearest of the request or the request among the `k` nearest of the driver, `k` being less for the larger
side. Against the assignment over all pairs 16 lose nothing where one side is the larger, and one request in 10,000 and
1 % of the cost where both are equal (`./dev bench match --only solve`), at a tenth of the work.

Where few drivers may serve a request (a heavy parcel among bicycles), none of its nearest may be one of them; so who
is left without any is looked at once more, with all who are in reach (`farther_in_steps`).
"""

import math
from collections.abc import Generator
from typing import Final, NamedTuple, TypeVar

import numpy as np
from scipy.spatial import KDTree

from dispatch.assignment import Floats, Ints
from dispatch.cells import EARTH_RADIUS_M

EACH: Final = 16
SMALL: Final = (
    4_096  # up to so many pairs all are candidates: measuring them takes less time than building trees
)
FARTHER: Final = 4_000  # pairs of those whom none of their nearest may serve: 10 ms, in steps

T = TypeVar("T")


class Near(NamedTuple):
    """k pairs by row of request, then of driver; straight-line metres."""

    request: Ints
    driver: Ints
    distance_m: Floats


def globe_m(lat_deg: Floats, lng_deg: Floats) -> Floats:
    """Positions anywhere in metres from the middle of the earth, a sphere: (n, 3). The straight line between two is
    shorter than the arc by the cube of it / 24 R²: 1 mm at 10 km, 1 m at 100 km."""
    lat, lng = np.radians(lat_deg), np.radians(lng_deg)
    circle = np.cos(lat)
    return EARTH_RADIUS_M * np.stack([circle * np.cos(lng), circle * np.sin(lng), np.sin(lat)], axis=-1)


def at_once(steps: Generator[None, None, T]) -> T:
    """What the steps come to, for who lets nobody run between them."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]


def near(requests_m: Floats, drivers_m: Floats, reach_m: float, each: int = EACH) -> Near:
    """The `each` nearest of every request (n, d) and of every driver (m, d), not farther than `reach_m`."""
    return at_once(near_in_steps(requests_m, drivers_m, reach_m, each))


def near_in_steps(
    requests_m: Floats, drivers_m: Floats, reach_m: float, each: int = EACH
) -> Generator[None, None, Near]:
    """The same in steps, each as long as a tree of 4,000 takes."""
    n, m = len(requests_m), len(drivers_m)
    if not n or not m:
        return Near(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))
    if n * m <= SMALL:
        apart = requests_m[:, None] - drivers_m[None, :]
        away_m = np.linalg.norm(apart, axis=-1)
        request, driver = np.nonzero(away_m <= reach_m)
        return Near(request, driver, away_m[request, driver])
    fewer = min(n, m)
    request, driver = _nearest(drivers_m, requests_m, reach_m, math.ceil(each * fewer / n))
    yield
    other_driver, other_request = _nearest(requests_m, drivers_m, reach_m, math.ceil(each * fewer / m))
    yield
    both = np.unique(np.concatenate([request * m + driver, other_request * m + other_driver]))
    request, driver = np.divmod(both, m)
    apart = requests_m[request] - drivers_m[driver]
    return Near(request, driver, np.linalg.norm(apart, axis=-1))


def farther_in_steps(
    near: Near, requests: Ints, requests_m: Floats, drivers_m: Floats, reach_m: float
) -> Generator[None, None, Near]:
    """All other pairs in reach of these rows of requests, or of so many of the first that with the last of them FARTHER
    or more are in reach. Whoever is in reach of one of `near` is in it: his own nearest are."""
    drivers, width, count = np.unique(near.driver), len(drivers_m), 0
    found = [np.zeros(0, np.int64)]
    for number, request in enumerate(requests.tolist()):
        away_m = np.linalg.norm(drivers_m[drivers] - requests_m[request], axis=-1)
        found.append(request * width + drivers[away_m <= reach_m])
        count += len(found[-1])
        if count >= FARTHER:
            break
        if number % EACH == EACH - 1:
            yield
    yield
    new = np.setdiff1d(np.concatenate(found), near.request * width + near.driver)
    request, driver = np.divmod(new, width)
    return Near(request, driver, np.linalg.norm(requests_m[request] - drivers_m[driver], axis=-1))


def _nearest(places_m: Floats, of_m: Floats, reach_m: float, each: int) -> tuple[Ints, Ints]:
    """(row of `of_m`, row of `places_m`) of the nearest places of each."""
    k = min(each, len(places_m))
    _, found = KDTree(places_m).query(of_m, k=k, distance_upper_bound=np.nextafter(reach_m, np.inf))
    found = found.reshape(len(of_m), k)
    of, rank = np.nonzero(found < len(places_m))  # what is not there has the index past the last
    return of, np.asarray(found[of, rank], dtype=np.int64)
