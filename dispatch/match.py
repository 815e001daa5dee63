"""The match at once: a searching job is offered to the best driver who can take it now.

It reads a hint (the index) and commits by commands, which look at the records; so it may be wrong, late, or done by
two nodes at once, and nobody is asked twice for it.

| when | then |
|---|---|
| nobody matches a job that was opened (its node died) | its timer is due at once; any node's sweep matches it |
| the driver is not free any more, or was never | the next of the ranking, then a further look |
| the job was taken, called off or given up meanwhile | the command is refused, and nobody else is asked |
| Redis is gone, hung or full | nothing; its timer stands, and a sweep comes back to it |
"""

from collections.abc import Collection

from dispatch.cells import NearestSearch
from dispatch.commands import SYSTEM, MakeOffer, Refusal
from dispatch.desk import Desk
from dispatch.matching import Candidate, Ranked, rank
from dispatch.policy import Policy
from storage.fleet import Fleet
from storage.log import Conflict
from storage.records import Job, Place, UserId
from storage.shard import Unavailable

LOOKS = 4  # a look reads the policy's `candidates` nearest; those who do not fit must not hide the others for ever


async def nearest(
    fleet: Fleet,
    vehicle_class: str,
    place: Place,
    policy: Policy,
    *,
    now_ms: int,
    skip: Collection[str] = frozenset(),
) -> list[Ranked]:
    """The drivers of a class nearest by ETA, from the index; exact within the policy's search radius."""
    stale_ms = now_ms - int(policy.stale_s * 1000)
    search: NearestSearch[int] = NearestSearch(
        place.latitude, place.longitude, policy.candidates, policy.search_radius_m
    )
    while (cells := search.ask()) is not None:
        found = await fleet.read(vehicle_class, cells)
        # ghosts and the excluded never count towards K, or the search would stop too early
        search.feed(
            (p.driver_id, p.lat_deg, p.lng_deg, p.ts_ms)
            for p in found
            if p.ts_ms >= stale_ms and p.driver_id not in skip
        )
    return rank((Candidate(n.driver_id, n.distance_m, now_ms - n.payload) for n in search.best()), policy)


class Match:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def at_once(self, job_id: str) -> bool:
        """Offers a searching job to the best driver who can take it now. False when nobody was found."""
        desk = self._desk
        try:
            loaded = await desk.log.load([(Job, job_id)])
            job = loaded.records[Job, job_id]
            if not isinstance(job, Job) or job.state != "searching" or loaded.now_ms >= job.wake_ms:
                return False
            skip: set[str] = {*job.excluded, job.requester_id}
            area = desk.areas.get(job.area_id)
            if area is None:
                return False
            for _ in range(LOOKS):
                ranked = await nearest(
                    desk.fleet, job.vehicle_class, job.pickup, area.policy, now_ms=loaded.now_ms, skip=skip
                )
                for best in ranked:
                    try:
                        await desk.run(offer_to(job, best))
                    except Refusal as refusal:
                        if refusal.code == "no_supply":
                            # not free any more, or not for this job: farther ones may be
                            skip.add(best.driver_id)
                            continue
                    return True
                if not ranked:
                    break
        except (Unavailable, Conflict):
            pass  # its timer stands; the sweep comes back to it
        return False


def offer_to(job: Job, best: Ranked) -> MakeOffer:
    return MakeOffer(
        user=SYSTEM,
        room=job.room,
        job_id=job.id,
        driver_id=UserId(best.driver_id),
        distance_m=best.distance_m,
        eta_s=best.eta_s,
    )
