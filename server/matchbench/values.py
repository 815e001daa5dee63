"""What it is worth for a driver to be somewhere at some time, learned from what drivers did.

Pure, over arrays. The value of (slot of the day, cell) is the expected discounted reward from there to the end of the
day, by temporal differences over past moves, each either a job or a slot of waiting (Xu et al., Large-Scale Order
Dispatch in On-Demand Ride-Hailing Platforms, KDD 2018, doi 10.1145/3219819.3219824, section 4). A job then is worth to
a driver what it pays, plus the value of where and when it ends, minus that of staying. Because moves go forward in
time, one sweep from the last slot to the first is exact: each value is the mean of its moves' targets.
"""

from typing import NamedTuple

import numpy as np

from dispatch.assignment import Floats, Ints


class Moves(NamedTuple):
    """k moves: from (slot, cell) to (later slot, cell), with what they paid."""

    slot: Ints  # (k,)
    cell: Ints  # (k,)
    next_slot: Ints  # (k,) > slot; from the number of slots on, the day is over
    next_cell: Ints  # (k,)
    reward: Floats  # (k,)


def learn(moves: Moves, slots: int, cells: int, discount: float) -> Floats:
    """The values (slots + 1, cells); the last row is the end of the day, and what nobody visited is worth 0."""
    values = np.zeros((slots + 1, cells))
    order = np.argsort(moves.slot, kind="stable")
    starts = np.searchsorted(moves.slot[order], np.arange(slots + 1))
    for slot in range(slots - 1, -1, -1):
        now = _some(moves, order[starts[slot] : starts[slot + 1]])
        count = np.bincount(now.cell, minlength=cells)
        total = np.bincount(now.cell, weights=_targets(values, now, discount), minlength=cells)
        values[slot] = total / np.maximum(count, 1)
    return values


def gains(values: Floats, moves: Moves, discount: float) -> Floats:
    """How much better each move is than what its driver has to expect (k,): the advantage."""
    return np.asarray(_targets(values, moves, discount) - values[moves.slot, moves.cell])


def _some(moves: Moves, rows: Ints) -> Moves:
    slot, cell, next_slot, next_cell, reward = moves
    return Moves(slot[rows], cell[rows], next_slot[rows], next_cell[rows], reward[rows])


def _targets(values: Floats, moves: Moves, discount: float) -> Floats:
    steps = moves.next_slot - moves.slot
    later = discount**steps
    # what a move pays is earned in equal parts over its slots
    earned = moves.reward * ((1.0 - later) / (1.0 - discount) / steps if discount < 1.0 else 1.0)
    end = np.minimum(moves.next_slot, len(values) - 1)
    return np.asarray(earned + later * values[end, moves.next_cell])
