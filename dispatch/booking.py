"""When a booked ride, or a parcel that is not ready yet, begins to search: so long before its hour that a driver can be
there, and no longer. Until then it is nobody's; from then on every round matches it anew, until somebody takes it.

Between the area's `schedule_lead_s` and `schedule_least_s` before its hour a booking is looked at again and again: it
begins when the slower of the nearest few who may be asked would, in four of five cases, just be there in time after
each of them had let his offer run out. Drivers who come nearer let it wait, drivers who go away let it begin; each look
halves what is left until then, so that a booking costs few looks.

| when | then |
|---|---|
| nobody who may be asked is in reach, or many are nearer | it begins at once: whoever comes into reach is asked |
| those nearby are taken or gone while it waits | the next look sees it; there are more of them the nearer its hour is |
| those nearby lack the seats, the papers or the room for it | it begins in time for those farther away who do not |
| they are nearer than they need to be | it begins `schedule_least_s` before its hour, not later |
| the node dies after a look | nothing was written but when to look again; any node looks then |
| two nodes look at once | both see the same; its begin is one commit, the second finds nothing to do |
| Redis is gone while it looks | its timer stands |
| its hour has come, or an admin let it go on late | it begins without a look |
"""

from collections.abc import Sequence
from typing import Final

from dispatch.area import Area
from dispatch.desk import Desk
from dispatch.eligibility import why_not
from dispatch.match import LOOKS, nearest
from dispatch.matching import Ranked
from dispatch.policy import least_lead_s
from dispatch.travel import pickup_late_s
from storage.records import Driver, Job

BEST: Final = 3  # whose offers may all run out


def lead_s(best: Sequence[Ranked], area: Area) -> float:
    """How long before its hour a job begins to search, where these would be asked first."""
    policy = area.policy
    if not best:
        return policy.schedule_lead_s
    there_s = max(pickup_late_s(area, each.distance_m, each.eta_s) for each in best)
    return min(policy.schedule_lead_s, max(least_lead_s(policy), there_s + len(best) * policy.offer_s))


async def look_again_ms(desk: Desk, job: Job, area: Area, now_ms: int) -> int:
    """When to look at a booking again that could begin by now; `now_ms` or before: it is to begin. Raises Unavailable
    or Conflict."""
    policy = area.policy
    if now_ms >= job.scheduled_ms - int(least_lead_s(policy) * 1000):
        return now_ms
    best = await _first(desk, job, area, now_ms)
    begins_ms = job.scheduled_ms - int(lead_s(best, area) * 1000)
    if begins_ms <= now_ms:
        return now_ms
    return min(begins_ms, now_ms + max(int(policy.search_retry_s * 1000), (begins_ms - now_ms) // 2))


async def _first(desk: Desk, job: Job, area: Area, now_ms: int) -> list[Ranked]:
    """The BEST who are there first of those who may be asked: whoever has too few seats is in time for nobody."""
    best, skip = list[Ranked](), {str(job.requester_id)}
    for _ in range(LOOKS):
        found = await nearest(desk, job.vehicle_class, job.pickup, area, now_ms=now_ms, skip=skip)
        loaded = await desk.log.load([(Driver, each.driver_id) for each in found])
        for each in found:
            driver = loaded.records[Driver, each.driver_id]
            if isinstance(driver, Driver) and not why_not(job, driver, area.policy, desk.blocks, now_ms):
                best.append(each)
        if len(best) >= BEST or len(found) < area.policy.candidates:
            break
        skip.update(each.driver_id for each in found)
    return best[:BEST]
