"""A job that has a driver, on his way to the pickup, is taken over by one who is nearer by so much: once.

In an area with `swap_accepted` every round of the batch looks at such jobs together with those who wait (rematch.py),
and asks the other driver *beside* the one who has the job: an ordinary offer, while nothing changes for anybody else.
His word moves the job in one commit, which lets the first driver go: free for other work, without a mark.

| when | then |
|---|---|
| the other declines, is silent or is lost | the first keeps it; the other is not asked again |
| the other's phone does not show it | the first keeps it; the other may be asked again, as for any job; it counts not |
| TAKEOVERS_MAX were asked in vain, or it changed once | it keeps its driver |
| UNSEEN_MAX offers of it were not shown | it keeps its driver |
| an admin chose its driver, or it waits for a person | it keeps him |
| its driver is there, and says so while the other thinks | he keeps it; the offer is withdrawn in that commit |
| both say so in the same moment | one commit wins by the job's version; the other is `offer_gone` or `not_found` |
| its driver gives it back, falls silent or has it taken from him by hand | the other is asked on, as for any job |
| its requester or an admin calls it off | the offer is withdrawn in that commit |
| its driver takes a parcel on top, or thinks about one | he is not asked beside; who was asked already goes on |
| the other accepts twice, or the reply is lost | he is told what he has |
| a round of another node does the same | the second commit is refused (`already_assigned`) |
| the driver's phone says something of the job later | he is no party: `not_found` |
| Redis lost the job | it is its driver's; the offer is lost, and it changes its driver no more |
| who waits is nearest to him, and another is free | that one is asked; nobody's ride is changed for it (rematch.py) |
| it would wait longer by over LOSES_MOST times `swap_saves_s` for another's sake | it keeps its driver |
| nobody knows where the driver is | his job is left alone |
| it is booked for later | it is left alone until its hour: nobody waits yet |
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from msgspec.structs import replace

from dispatch.area import Area
from dispatch.etatable import Drives, distances_m
from dispatch.policy import Policy
from dispatch.travel import pairs_s
from storage.fleet import Position
from storage.records import Driver, Job


class Coming(NamedTuple):
    """A job that may change its driver, who he is, where, and how long he still needs to its pickup."""

    job: Job
    area: Area
    driver: Driver
    at: Position
    arrives_s: float = 0.0

    @property
    def as_if_free(self) -> Driver:
        """The driver as he would be without it."""
        return replace(self.driver, load={}, plan=())


def may_change(job: Job, driver: Driver, policy: Policy, now_ms: int) -> bool:
    """Whether another may be asked to take the job over from its driver. The last offers that a job may make are for
    who is asked should it be nobody's again."""
    alone = driver.load.keys() == {job.id} and driver.offer_id is None and not driver.stale
    left = job.offers - job.unseen < policy.max_offers - 1
    return policy.swap_accepted and job.may_change and alone and left and job.scheduled_ms <= now_ms


def worth_a_look(coming: Sequence[Coming], now_ms: int) -> list[Coming]:
    """Those whose driver needs so long that a change could save what it must. Of what every approach takes on top
    (reading, turning, parking) as much is over as he has had the job."""
    drivers_deg = np.array([(each.at.lat_deg, each.at.lng_deg) for each in coming]).reshape(-1, 2)
    places_deg = np.array([(c.job.pickup.latitude, c.job.pickup.longitude) for c in coming]).reshape(-1, 2)
    straight_m = distances_m(drivers_deg, places_deg)
    found = list[Coming]()
    for area_id in sorted({each.area.id for each in coming}):
        rows = np.array([row for row, each in enumerate(coming) if each.area.id == area_id])
        area = coming[rows[0]].area
        had_s = np.array([(now_ms - coming[row].job.assigned_ms) / 1000 for row in rows])
        there_s = pairs_s(area, Drives(straight_m[rows], drivers_deg, rows, places_deg, rows), now_ms)
        left_s = there_s - np.clip(had_s, 0.0, area.policy.pickup_overhead_s)
        found += [
            coming[row]._replace(arrives_s=each_s)
            for row, each_s in zip(rows.tolist(), left_s.tolist(), strict=True)
            if each_s > area.policy.swap_saves_s
        ]
    return found
