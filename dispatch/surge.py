"""Too many requests for too few vehicles: the pressure in each cell, and the surge that answers it.

Pure, over arrays with a row for each cell. **Pressure** is requests (waiting, and expected in the next quarter of an
hour) over vehicles that are free, both of one kind of job and summed over a cell and its neighbours, because a vehicle
next door serves as well: 1 means as many of one as of the other.

**Surge** is a factor on the fare in tenths, between 1 and the area's cap. It rises only when the pressure has asked
for more for `surge_rise_s` without a break, by at most two tenths at a time, and falls only when the pressure has been
below what the present step needs, and by a margin (`surge_band`), for `surge_fall_s`: half of the way to what is asked
for now, and two tenths at least. Counts change from look to look, so a look that asks for no less does not break that
time but takes twice its own from it. So a pressure that swings within the margin moves nothing, no price goes up and
down again in less than `surge_fall_s`, and where there is a vehicle for each request the factor comes to 1.
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
_FALL_LEAST: Final = 2
_AGAINST: Final = 2.0  # a second at which no less is asked for takes so many from those at which it was
_NEVER: Final = np.inf


class Surge(NamedTuple):
    """A row for each cell: the factor in tenths, and since when the pressure asks for another (infinite: not); and when
    the last look was."""

    tenths: Ints
    up_since_s: Floats
    down_since_s: Floats
    at_s: float = _NEVER

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
    banded = np.where(pressures > policy.surge_from, pressures + policy.surge_band, pressures)
    wanted_at_most = _asked(banded, policy, cap)
    less = wanted_at_most < tenths
    up_since_s = np.where(wanted > tenths, np.minimum(surge.up_since_s, now_s), _NEVER)
    later_s = surge.down_since_s + _AGAINST * max(0.0, now_s - surge.at_s)
    not_less_s = np.where(later_s < now_s, later_s, _NEVER)
    down_since_s = np.where(less, np.minimum(surge.down_since_s, now_s), not_less_s)
    up = now_s - up_since_s >= policy.surge_rise_s
    down = less & (now_s - down_since_s >= policy.surge_fall_s)
    fallen = np.maximum(wanted_at_most, tenths - np.maximum(_FALL_LEAST, (tenths - wanted_at_most + 1) // 2))
    moved = np.where(up, np.minimum(wanted, tenths + _RISE_MOST), np.where(down, fallen, tenths))
    return Surge(moved, np.where(up, _NEVER, up_since_s), np.where(up | down, _NEVER, down_since_s), now_s)


def _asked(pressures: Floats, policy: Policy, cap: int) -> Ints:
    """The tenths that a pressure asks for: straight from 1 at `surge_from` on, rounded down."""
    raised = policy.surge_slope * np.maximum(pressures - policy.surge_from, 0.0)
    tenths: Ints = np.floor(np.minimum(raised, 100.0) * STEPS + 1e-9).astype(np.int64) + STEPS
    return np.minimum(tenths, cap)
