"""What a driver's time is worth where requests of his class are lost: the longest pickup that he is sent to, by cell.

Pure: `batch.worth_s` from what one look at an area knows of a class (heat.py). Its requests are its share of what is
forecast, those who wait and who is free are counted by class; all in coarse cells, summed within the reach of a pickup.

| when | then |
|---|---|
| none of the class was lost lately, or nothing is known of its demand | no bound but the policy's own |
| PostgreSQL is away: nobody knows who was lost | likewise |
| a driver stands where the last look saw nothing | likewise |
| the look is old | likewise |
"""

from collections import Counter
from collections.abc import Mapping
from typing import Final, NamedTuple

import h3.api.basic_int as h3
import numpy as np
from msgspec.structs import replace

from dispatch.batch import worth_s
from dispatch.candidates import globe_m
from dispatch.demand import QUARTER_S
from dispatch.eta import pickup_eta_s, reach_m
from dispatch.policy import Policy

RESOLUTION: Final = 7  # 5 km², a sixteenth of what is within reach
CELLS_MAX: Final = 500  # those with the most going on: all pairs of them are looked at


class Asked(NamedTuple):
    """Requests of a class in the last quarter of an hour, and how many of them were lost for want of a driver: what a
    passenger calls off at once is not."""

    requests: int
    lost: int


class OfClass(NamedTuple):
    """A class of an area: which share of all requests are of it, which of these were lost, and who is free and who
    waits, by cells of `demand.RESOLUTION`."""

    share: float
    lost_share: float
    supply: Mapping[int, int]
    waiting: Mapping[int, int]


def longest_s(forecast: Mapping[int, float], of: OfClass, policy: Policy) -> dict[int, float]:
    """By cells of RESOLUTION, where it is less than the policy's longest pickup. `forecast`: requests of all classes in
    the next quarter of an hour, by cells of `demand.RESOLUTION`."""
    sums: dict[int, list[float]] = {}
    for column, counts in enumerate((forecast, of.supply, of.waiting)):
        for cell, count in counts.items():
            sums.setdefault(h3.cell_to_parent(cell, RESOLUTION), [0.0, 0.0, 0.0])[column] += count
    busiest = Counter({cell: sum(counts) for cell, counts in sums.items()}).most_common(CELLS_MAX)
    cells = sorted(cell for cell, _ in busiest)
    if not cells or of.lost_share <= 0.0:
        return {}
    policy = replace(
        policy, longest_pickup_s=min(policy.longest_pickup_s, pickup_eta_s(reach_m(policy), policy))
    )
    middles_m = globe_m(*np.array([h3.cell_to_latlng(cell) for cell in cells]).T)
    apart_m = np.linalg.norm(middles_m[:, None] - middles_m[None, :], axis=-1)
    expected, free, waiting = ((apart_m <= reach_m(policy)) @ np.array([sums[cell] for cell in cells])).T
    rate_per_s = expected * of.share / QUARTER_S
    worth = worth_s(rate_per_s, of.lost_share, np.maximum(free, 1.0), waiting, policy)
    return {
        cell: round(each_s, 1)
        for cell, each_s in zip(cells, worth.tolist(), strict=True)
        if each_s < policy.longest_pickup_s
    }
