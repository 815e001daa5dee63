"""Who gets whom, when drivers are not plenty: one assignment over all that wait, not one request after the other.

Pure. Most requests served first, then least cost: `solve` finds, of all assignments that serve as many requests as
can be served at all, one of the least total cost, exactly. A request may instead carry the price of being left
waiting, and is then left when serving it costs more than that.

**How.** Only pairs that may be matched are known (`Pairs`, sparse). Each row of the smaller side gets a column of its
own for "unmatched", so that a full matching always exists, and scipy's sparse solver (LAPJVsp: Jonker and Volgenant,
Computing 38, 1987) finds the cheapest one. It never leaves the connected component of the row it works on. Serving
counts before cost because a request's price, where it has none of its own, is above everything that an alternating
path can save.

**Exact.** Costs are rounded to 2^-14 s (61 µs), coarser only where sums would not fit in 53 bits (500 requests with
costs of two hours fit with room to spare), so all sums are exact and the outcome does not depend on the order of
addition. Equal totals are decided by the order of rows and columns: who calls sorts them (by freshness, then by id).
"""

import math
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import min_weight_full_bipartite_matching

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

_FINEST: Final = 14  # costs are multiples of 2^-14 s
_EXACT_BITS: Final = 52


class Pairs(NamedTuple):
    """Who may be matched with whom: k pairs, each at most once, in any order."""

    request: Ints  # (k,) row of the request, from 0
    driver: Ints  # (k,) row of the driver, from 0
    cost_s: Floats  # (k,) finite, may be negative


def solve(requests: int, pairs: Pairs, wait_cost_s: Floats | None = None) -> Ints:
    """The driver of each request, or -1: (requests,).

    `wait_cost_s` (requests,): what it costs to leave a request waiting; infinite, as without it, where it is to be
    served if at all possible. Finite prices must be used with costs of one scale: a request is served by a driver at
    that cost or less. Raises ValueError for costs that are not finite.
    """
    chosen = np.full(requests, -1, dtype=np.int64)
    if not len(pairs.request):
        return chosen
    if not np.isfinite(pairs.cost_s).all():
        raise ValueError("costs must be finite")
    waits = np.full(requests, np.inf) if wait_cost_s is None else wait_cost_s
    drivers = int(pairs.driver.max()) + 1
    gain = _gains(pairs, waits, min(requests, drivers))
    if requests <= drivers:
        left, right = _full_matching(pairs.request, pairs.driver, gain, requests, drivers)
        chosen[left] = right
    else:
        left, right = _full_matching(pairs.driver, pairs.request, gain, drivers, requests)
        chosen[right] = left
    return chosen


def _gains(pairs: Pairs, wait_cost_s: Floats, most: int) -> Floats:
    """What a pair adds to the total over leaving its request waiting, in whole quanta."""
    finite = np.isfinite(wait_cost_s)
    priced = np.abs(wait_cost_s[finite]).max(initial=0.0)
    spread_s = float(pairs.cost_s.max() - pairs.cost_s.min() + 2 * priced) + 1.0
    # `most` pairs change at most, each by less than the spread; and a price is more than all of that
    bits = min(_FINEST, _EXACT_BITS - 2 * math.ceil(math.log2(most + 1)) - math.ceil(math.log2(spread_s)))
    quanta = np.rint(np.ldexp(pairs.cost_s, bits))
    price = np.where(finite, np.rint(np.ldexp(np.where(finite, wait_cost_s, 0.0), bits)), 0.0)
    above_all = (most + 1) * math.ceil(math.ldexp(spread_s, bits)) + max(0.0, float(quanta.max()))
    return np.asarray(quanta - np.where(finite, price, above_all)[pairs.request])


def _full_matching(
    rows: Ints, columns: Ints, gain: Floats, row_count: int, column_count: int
) -> tuple[Ints, Ints]:
    """(row, column) of each matched row, given that being unmatched gains 0."""
    own = np.arange(row_count)
    lift = 1.0 - min(
        0.0, float(gain.min())
    )  # the solver wants weights above 0; a constant a row changes nothing
    graph = csr_matrix(
        (
            np.concatenate([gain + lift, np.full(row_count, lift)]),
            (np.concatenate([rows, own]), np.concatenate([columns, column_count + own])),
        ),
        shape=(row_count, column_count + row_count),
    )
    left, right = min_weight_full_bipartite_matching(graph)
    matched = right < column_count
    return np.asarray(left[matched], dtype=np.int64), np.asarray(right[matched], dtype=np.int64)
