"""One batch: all that wait and all who are free, priced, and matched at once.

Pure, over arrays; positions and ETAs of the pairs come from the caller (`candidates.near`, then whatever knows travel
times), so that the server, the simulator and the tests run the same lines. Costs are in seconds: pickup ETA; plus how
much longer than elsewhere a driver waits for work where the job ends; minus a share of the request's age and of the
driver's idle time, both bounded, so that nobody is sent across the city for fairness; plus, where the area says so,
what the driver did with former offers; plus a thousandth of the age of his fix, so that of equals the one is asked
whose position is freshest.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from dispatch import reliability
from dispatch.assignment import Bools, Floats, Ints, Pairs
from dispatch.candidates import Near
from dispatch.eta import in_time
from dispatch.policy import Policy

_FRESHNESS: Final = 1e-3
_SELDOM_PER_S: Final = 1e-9
_NOBODY: Final = np.zeros((0, 2), dtype=np.int64)


class Requests(NamedTuple):
    """n requests, sorted by who comes first among equals."""

    age_s: Floats  # (n,) since they were opened; a booking's since its search began, or its hour
    left_s: Floats  # (n,) a pickup that takes longer than this comes too late
    end_s: Floats  # (n,) how much longer than elsewhere a driver waits for work where the job ends


class Drivers(NamedTuple):
    """m drivers, sorted by who comes first among equals."""

    idle_s: Floats  # (m,) without a job
    fix_age_s: Floats  # (m,) of the newest position
    ready_s: Floats  # (m,) until they are free at their position; 0 for who is idle
    longest_s: Floats  # (m,) a pickup that takes longer than this is not worth their time
    score: Floats  # (m,) what they did with former offers (reliability.py)


def by_freshness(fix_age_s: Floats, ids: Sequence[str]) -> Ints:
    """The order in which drivers are to be given to a batch, so that whoever looks matches the same: (m,)."""
    return np.lexsort((np.asarray(ids), fix_age_s))


def plenty(idle: int, waiting: int, policy: Policy) -> bool:
    """Is nearest-first as good as a batch, with so many idle drivers and waiting requests in reach of a pickup?

    Measured: with ten idle drivers to a request it is within 2 % of the optimum, with one to one 54 % worse.
    """
    return idle >= policy.plenty * max(1, waiting)


def worth_s(rate_per_s: Floats, lost_share: float, idle: Floats, waiting: Floats, policy: Policy) -> Floats:
    """The longest pickup that is worth a driver's time, where a nearer request will come soon: (m,).

    Arguments by driver, counted within reach of `policy.longest_pickup_s`: requests a second that come there, drivers
    idle there (himself among them), and requests waiting there; and of all requests of the area, which share lately
    got nobody. A driver's share s of the demand is the rate over those idle drivers whom nobody waits for. If requests
    come evenly at s a second within the reach T, one who takes the first within p waits for it T^2 / (s p^2) and then
    drives 2/3 p on average; the sum is least, and is p itself, at p = (3 T^2 / s)^(1/3). A pickup beyond p takes him
    longer than the next one that is nearer, its wait included. Only where drivers are short is his time worth anything
    to others: with less than `policy.short_share` of the requests lost, the demand counts so much less.
    """
    reach_s = policy.longest_pickup_s
    short = min(1.0, lost_share / policy.short_share)
    share = np.maximum(short * rate_per_s / (1.0 + np.maximum(0.0, idle - 1.0 - waiting)), _SELDOM_PER_S)
    return np.asarray(np.minimum(reach_s, np.cbrt(3.0 * reach_s * reach_s / share)))


def priced(
    near: Near,
    eta_s: Floats,
    requests: Requests,
    drivers: Drivers,
    policy: Policy,
    *,
    more_s: Floats | None = None,
    barred: Ints = _NOBODY,
) -> Pairs:
    """The pairs that may be matched, with their costs: those who come in time, and were not barred.

    `eta_s` (k,): from the driver's position to the pickup, by pair of `near`, and `more_s` (k,) what a pair
    costs beside that, as a parcel on top of others does. `barred` (b, 2): rows of a request and a
    driver who may not be matched.
    """
    there_s = eta_s + drivers.ready_s[near.driver]
    may: Bools = in_time(there_s, requests.left_s[near.request]) & (eta_s <= drivers.longest_s[near.driver])
    if len(barred):
        width = len(drivers.idle_s)
        may &= ~np.isin(near.request * width + near.driver, barred[:, 0] * width + barred[:, 1])
    request, driver = near.request[may], near.driver[may]
    idle_s = np.minimum(drivers.idle_s, policy.idle_most_s) * policy.idle_weight
    age_s = np.minimum(requests.age_s, policy.age_most_s) * policy.age_weight
    of_driver = _FRESHNESS * drivers.fix_age_s - idle_s + reliability.cost_s(drivers.score, policy)
    of_request = policy.end_weight * requests.end_s - age_s
    cost_s = there_s if more_s is None else there_s + more_s
    return Pairs(request, driver, cost_s[may] + of_driver[driver] + of_request[request])
