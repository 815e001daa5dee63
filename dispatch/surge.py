"""Too many requests for too few vehicles: the pressure in each cell, and the surge that answers it.

Pure, over arrays with a row for each cell. **Pressure** is requests (waiting, and expected in the next quarter of an
hour) over vehicles (idle, and about to be), both summed over a cell and its neighbours, because a vehicle next door
serves as well: 1 means as many of one as of the other.

**Surge** is a factor on the fare in tenths, between 1 and the area's cap. It rises only when the pressure has asked
for more for `surge_rise_s` without a break, by at most two tenths at a time, and falls, by one, only when the pressure
has been below what the present step needs, and by a margin (`surge_band`), for `surge_fall_s`. So a pressure that
swings within the margin moves nothing, and no price goes up and down again in less than `surge_fall_s`.
"""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import h3.api.basic_int as h3
import numpy as np
from numpy.typing import NDArray

from dispatch.eta import Floats
from dispatch.policy import Policy

Ints = NDArray[np.int64]

STEPS: Final = 10  # of the factor 1: steps of a tenth
_RISE_MOST: Final = 2
_NEVER: Final = np.inf


class Surge(NamedTuple):
    """A row for each cell: the factor in tenths, and since when the pressure asks for another (infinite: not)."""

    tenths: Ints
    up_since_s: Floats
    down_since_s: Floats

    @property
    def factor(self) -> Floats:
        return self.tenths / float(STEPS)


def neighbourhood(cells: Sequence[int]) -> Ints:
    """(n, 7): the rows of each cell and its neighbours; n, one past the last row, where there is none."""
    row: Mapping[int, int] = {cell: at for at, cell in enumerate(cells)}
    found = np.full((len(cells), 7), len(cells), np.int64)
    for at, cell in enumerate(cells):
        near = [row.get(other, len(cells)) for other in h3.grid_disk(cell, 1)]
        found[at, : len(near)] = near
    return found


def pressure(waiting: Floats, forecast: Floats, supply: Floats, near: Ints) -> Floats:
    """Requests over vehicles in each cell's neighbourhood; `near` is `neighbourhood` of the same cells.

    One more than the vehicles that are there divides, so that an empty street with one request has a pressure of 1
    and one without a request none.
    """
    wanted, there = (np.append(each, 0.0)[near].sum(axis=1) for each in (waiting + forecast, supply))
    found: Floats = wanted / (there + 1.0)
    return found


def calm(count: int) -> Surge:
    """No surge anywhere."""
    return Surge(np.full(count, STEPS, np.int64), np.full(count, _NEVER), np.full(count, _NEVER))


def next_surge(surge: Surge, pressures: Floats, now_s: float, policy: Policy) -> Surge:
    """The surge after one look at the pressure (n,); time must not run back between looks."""
    cap = int(policy.surge_cap * STEPS + 1e-9)
    tenths = np.minimum(surge.tenths, cap)  # a lower cap holds at once
    wanted = _asked(pressures, policy, cap)
    wanted_at_most = _asked(pressures + policy.surge_band, policy, cap)
    up_since_s = np.where(wanted > tenths, np.minimum(surge.up_since_s, now_s), _NEVER)
    down_since_s = np.where(wanted_at_most < tenths, np.minimum(surge.down_since_s, now_s), _NEVER)
    up = now_s - up_since_s >= policy.surge_rise_s
    down = now_s - down_since_s >= policy.surge_fall_s
    moved = np.where(up, np.minimum(wanted, tenths + _RISE_MOST), np.where(down, tenths - 1, tenths))
    return Surge(moved, np.where(up, _NEVER, up_since_s), np.where(down, _NEVER, down_since_s))


def _asked(pressures: Floats, policy: Policy, cap: int) -> Ints:
    """The tenths that a pressure asks for: straight from 1 at `surge_from` on, rounded down."""
    raised = policy.surge_slope * np.maximum(pressures - policy.surge_from, 0.0)
    tenths: Ints = np.floor(np.minimum(raised, 100.0) * STEPS + 1e-9).astype(np.int64) + STEPS
    return np.minimum(tenths, cap)
