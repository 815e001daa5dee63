"""The match at once: where drivers are plenty, a searching job is offered to the best who can take it now.

Plenty is `policy.plenty` idle drivers for each job that waits in reach of the same ones; where they are fewer, and for
parcels, which may go on top of others, who gets whom is decided for all of them together (rounds.py).

It reads a hint (the index) and commits by commands, which look at the records; so it may be wrong, late, or done by
two nodes at once, and nobody is asked twice for it.

| when | then |
|---|---|
| nobody matches a job that was opened (its node died) | its timer is due at once: any node's sweep matches it |
| the driver is not free any more, or was never | the next of the ranking, then a further look |
| who was to be free soon is free by now, or took another | he is offered it, or not, as he is then |
| the job was taken, called off or given up meanwhile | the command is refused, and nobody else is asked |
| Redis is gone, hung or full | nothing; its timer stands, and a sweep comes back to it |
"""

import asyncio
import math
from collections.abc import Collection
from typing import NamedTuple

import numpy as np

from dispatch.area import Area
from dispatch.batch import plenty
from dispatch.cells import Near, NearestSearch
from dispatch.commands import SYSTEM, Look, MakeOffer, NotHim, Refusal
from dispatch.desk import Desk
from dispatch.eta import in_time, reach_m
from dispatch.matching import Candidate, Ranked, by_cost, rank
from dispatch.policy import Policy
from dispatch.reliability import counts, score
from dispatch.why import Seen
from storage.fleet import Fleet, Position
from storage.keys import soon
from storage.log import Conflict
from storage.records import Driver, Job, Place, UserId
from storage.shard import Unavailable

LOOKS = 4  # a look reads the policy's `candidates` nearest; those who do not fit must not hide the others for ever
FARTHER_MAX = 100  # who are looked at because they may be sooner from farther away
COUNTED_MAX = 100  # drivers who are counted before the batch is asked instead
WAITING_COUNTED_MAX = 100


async def nearest(
    desk: Desk,
    vehicle_class: str,
    place: Place,
    area: Area,
    *,
    now_ms: int,
    want: int = 0,
    skip: Collection[str] = frozenset(),
) -> list[Ranked]:
    """The `want` (0: the policy's `candidates`) drivers of a class who are there first, from the index, within the
    policy's reach and in time for it. Exact by learned times too, as etatable.py says how, unless more than FARTHER_MAX
    stand nearer than the farthest who could be as soon. Where there is a router, it says who of the nearest is there
    first: how fast roads may be is not known, so nobody is looked for beyond them."""
    policy = area.policy
    reach = max(1.0, reach_m(policy))
    want = want or policy.candidates
    asked = Asked(vehicle_class, place, now_ms - int(policy.stale_s * 1000), skip)
    found = await _within(desk.fleet, asked, want, reach)
    ranked = await _ranked(desk, found, place, area, now_ms)
    if area.eta is None or desk.roads.known or len(found) < want:
        return ranked
    # where some of the nearest come too late, others may be in time from farther away
    last_s = ranked[-1].eta_s if len(ranked) == want else policy.longest_pickup_s
    farthest_m = area.eta.reach_m(
        last_s - policy.pickup_overhead_s, (place.latitude, place.longitude), now_ms / 1000
    )
    if farthest_m > found[-1].distance_m * 1.001 + 1.0:
        wider = await _within(desk.fleet, asked, FARTHER_MAX, min(reach, farthest_m))
        ranked = (await _ranked(desk, wider, place, area, now_ms))[:want]
    return ranked


async def finishing(
    desk: Desk,
    vehicle_class: str,
    place: Place,
    area: Area,
    *,
    now_ms: int,
    skip: Collection[str] = frozenset(),
) -> list[Ranked]:
    """The policy's `candidates` drivers whose rides end soon, the nearest of them; each comes when his is over."""
    policy = area.policy
    asked = Asked(soon(vehicle_class), place, now_ms - int(policy.stale_s * 1000), skip)
    asked = asked._replace(until_ms=now_ms + int(policy.finishing_s * 1000))
    found = await _within(desk.fleet, asked, policy.candidates, max(1.0, reach_m(policy)))
    if not found:
        return []
    places = np.array([(near.payload.lat_deg, near.payload.lng_deg) for near in found])
    rest_s = np.array([max(0.0, (near.payload.ts_ms - now_ms) / 1000) for near in found])
    eta_s = rest_s + await desk.roads.pickups_s(area, places, place, now_ms)
    may = in_time(eta_s, policy.longest_pickup_s)
    return [
        Ranked(near.driver_id, near.distance_m, each_s, rest)
        for near, each_s, rest, soon_enough in zip(found, eta_s.tolist(), rest_s.tolist(), may, strict=True)
        if soon_enough
    ]


class Asked(NamedTuple):
    """Who is looked for: of a class, near a place, none of these, and there as of a moment between these."""

    vehicle_class: str
    place: Place
    since_ms: int
    skip: Collection[str]
    until_ms: float = math.inf


async def _within(fleet: Fleet, asked: Asked, want: int, radius_m: float) -> list[Near[Position]]:
    place = asked.place
    search: NearestSearch[Position] = NearestSearch(place.latitude, place.longitude, want, radius_m)
    while (cells := search.ask()) is not None:
        found = await fleet.read(asked.vehicle_class, cells)
        # ghosts and the excluded never count towards K, or the search would stop too early
        search.feed(
            (p.driver_id, p.lat_deg, p.lng_deg, p)
            for p in found
            if asked.since_ms <= p.ts_ms <= asked.until_ms and p.driver_id not in asked.skip
        )
    return search.best()


async def _ranked(
    desk: Desk, found: list[Near[Position]], place: Place, area: Area, now_ms: int
) -> list[Ranked]:
    if not found:
        return []
    places = np.array([(near.payload.lat_deg, near.payload.lng_deg) for near in found])
    eta_s = await desk.roads.pickups_s(area, places, place, now_ms)
    may = in_time(eta_s, area.policy.longest_pickup_s)
    return rank(
        (
            Candidate(near.driver_id, near.distance_m, now_ms - near.payload.ts_ms, there_s)
            for near, there_s, soon_enough in zip(found, eta_s.tolist(), may, strict=True)
            if soon_enough
        ),
        area.policy,
    )


class Match:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def at_once(self, job_id: str) -> bool:
        """Offers a searching job to the best driver who can take it now, where drivers are plenty. False when nobody
        was found, or it is for the batch to say who is best."""
        try:
            loaded = await self._desk.log.load([(Job, job_id)])
            job = loaded.records[Job, job_id]
            if not isinstance(job, Job) or job.state != "searching" or loaded.now_ms >= job.wake_ms:
                return False
            if job.kind == "package":
                return False
            area = self._desk.areas.get(job.area_id)
            return area is not None and await self._offer(job, area, loaded.now_ms)
        except (Unavailable, Conflict):
            return False  # its timer stands; the sweep comes back to it

    async def _offer(self, job: Job, area: Area, now_ms: int) -> bool:
        policy, seen = area.policy, Seen(area)
        passed = {id_ for id_, until_ms in job.passed.items() if until_ms > now_ms}
        skip: set[str] = {*job.excluded, *passed, job.requester_id}
        ranked, waiting = await asyncio.gather(
            self._ranked(job, area, now_ms, skip), self._waiting(job, policy)
        )
        if not plenty(_idle(ranked), waiting, policy):
            wanted = math.ceil(policy.plenty * waiting)
            if _idle(ranked) < policy.candidates or wanted > COUNTED_MAX:
                return False
            ranked = await self._ranked(job, area, now_ms, skip, wanted)
            if not plenty(_idle(ranked), waiting, policy):
                return False
        for _ in range(LOOKS):
            seen.saw(ranked)
            for best in ranked:
                try:
                    await self._desk.run(offer_to(job, best, seen.look()))
                except NotHim as refusal:
                    # not free any more, or not for this job: farther ones may be
                    skip.add(best.driver_id)
                    seen.refused(best.driver_id, refusal.why)
                    continue
                except Refusal:
                    pass
                return True
            ranked = await self._ranked(job, area, now_ms, skip)
            if not ranked:
                break
        return False

    async def _ranked(self, job: Job, area: Area, now_ms: int, skip: set[str], want: int = 0) -> list[Ranked]:
        """Who is free, and who will be soon, in the order in which to ask them."""
        of = self._desk, job.vehicle_class, job.pickup, area
        free = nearest(*of, now_ms=now_ms, want=want, skip=skip)
        if not area.policy.finishing_s:
            return await self._by_cost(await free, area, now_ms)
        found = await asyncio.gather(free, finishing(*of, now_ms=now_ms, skip=skip))
        both = sorted((each for part in found for each in part), key=lambda each: each.eta_s)
        return await self._by_cost(both, area, now_ms)

    async def _by_cost(self, ranked: list[Ranked], area: Area, now_ms: int) -> list[Ranked]:
        """The nearest, by what each costs: their records are read only where it is more than the way."""
        if not ranked or not (counts(area.policy) or counts(area.shadow)):
            return ranked
        loaded = await self._desk.log.load([(Driver, each.driver_id) for each in ranked])
        scores = {
            id_: score(driver, now_ms)
            for (_, id_), driver in loaded.records.items()
            if isinstance(driver, Driver)
        }
        return by_cost(ranked, scores, area.policy)

    async def _waiting(self, job: Job, policy: Policy) -> int:
        """How many wait in reach of the same drivers, the job among them."""
        if not policy.plenty:
            return 1
        return await self._desk.log.waiting.near(
            job.vehicle_class, job.pickup, reach_m(policy), WAITING_COUNTED_MAX
        )


def _idle(ranked: list[Ranked]) -> int:
    return sum(each.rest_s is None for each in ranked)


def offer_to(job: Job, best: Ranked, look: Look) -> MakeOffer:
    """Of a job that another thinks about: instead of his offer; of one that another has: beside him."""
    return MakeOffer(
        user=SYSTEM,
        room=job.room,
        job_id=job.id,
        driver_id=UserId(best.driver_id),
        distance_m=best.distance_m,
        eta_s=best.eta_s,
        rest_s=best.rest_s,
        more_s=best.more_s,
        next_s=best.next_s,
        instead=job.offer_id,
        instead_of=job.offered_to,
        beside=job.driver_id,
        look=look,
    )
