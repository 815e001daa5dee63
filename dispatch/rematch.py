"""A better match before the pickup: who was asked, or is on his way, makes room for who is nearer now.

Pure. All jobs without a passenger on board yet are matched again together, against what stands: accepted jobs, open
offers, and the batch's own plan for those who wait. Then
- every job that has a driver, or would get one from the batch, has one;
- an accepted job changes its driver only where that saves what its area asks for (`swap_saves_s`), counted over all
  jobs that change with it and once for each accepted one; an open offer is withdrawn only for its `keep_offer_s`;
- a request for whom nobody is free may be served by a change, which then also saves its `spared_s`; but for nobody's
  sake does whoever has a driver wait longer by more than LOSES_MOST times what his change must save;
- nobody else is given a driver who is on his way: he is free only once another has taken his job over, and where he is
  then asked for something else, who lost him has paid for what was not saved.

Which accepted jobs may change at all is the caller's choice: he leaves out, with their drivers, jobs that were changed
before and, where the area does not allow it, all of them.
"""

from typing import Final, NamedTuple

import numpy as np

from dispatch.assignment import Bools, Floats, Ints, Pairs, solve
from dispatch.policy import Policy

PLANNED: Final = 0  # by the batch, or nobody's
OFFERED: Final = 1
ACCEPTED: Final = 2
LOSES_MOST: Final = 3.0  # three minutes by the usual policy: as many are served as without a bound


class Standing(NamedTuple):
    """How things stand, for each of n jobs."""

    driver: Ints  # (n,) who has it, or would get it from the batch; -1: nobody
    cost_s: Floats  # (n,) what that costs from now on, whatever the pairs say; without a driver anything
    bound: Ints  # (n,) PLANNED, OFFERED or ACCEPTED
    saves_s: Floats  # (n,) what it must save to change that
    spared_s: Floats  # (n,) what it is worth that it is served instead of waiting, where nobody has it


def saves_s(bound: int, policy: Policy) -> float:
    """What it must save to change what stands so, by the policy of its area."""
    return (0.0, policy.keep_offer_s, policy.swap_saves_s)[bound]


def rematch(pairs: Pairs, stands: Standing) -> Ints:
    """The driver of each job, or -1: (n,)."""
    before = stands.driver[pairs.request]
    accepted = stands.bound == ACCEPTED
    on_way = np.isin(pairs.driver, stands.driver[accepted])
    most_s = np.where(accepted, stands.cost_s + LOSES_MOST * stands.saves_s, np.inf)
    other = (before != pairs.driver) & (~on_way | (before < 0)) & (pairs.cost_s <= most_s[pairs.request])
    served = np.flatnonzero(stands.driver >= 0)
    all_pairs = Pairs(
        np.concatenate([pairs.request[other], served]),
        np.concatenate([pairs.driver[other], stands.driver[served]]),
        np.concatenate([pairs.cost_s[other], (stands.cost_s - stands.saves_s)[served]]),
    )
    return solve(len(stands.driver), all_pairs, np.where(stands.driver >= 0, np.inf, stands.spared_s))


def now_possible(chosen: Ints, stands: Standing, idle: Bools) -> Bools:
    """Which jobs can be offered to their chosen driver at once: (n,).

    A driver is free for another job when he is `idle` (m,), or when his open offer goes to somebody else at once as
    well. One who is on his way is free only after another has taken his job over: whatever was chosen for him waits
    for the next batch, and every job concerned keeps what it has.
    """
    may: Bools = (chosen >= 0) & ((chosen != stands.driver) | (stands.bound == PLANNED))
    while True:
        free = idle.copy()
        free[stands.driver[may & (stands.bound == OFFERED)]] = True
        less = may.copy()
        less[may] = free[chosen[may]]
        if (less == may).all():
            return may
        may = less
