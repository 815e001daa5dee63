"""One round of the batch match: all that wait in a shard and all who are free, matched at once, then offered.

Open offers are matched again with them: one is withdrawn for another driver, in one commit, where that saves the
area's `keep_offer_s` of the way. So are accepted jobs, where their area allows it: another driver is asked beside the
one who is on his way (takeover.py). Every so often one node does a round (rooms/rounds.py says which). It reads hints,
solves on arrays, and commits each pair by the command that any match uses; so rounds of two nodes, or a round beside a
match at once, are harmless: of two commits for one job or driver, the second is refused.

| when | then |
|---|---|
| the leader dies between two commits | those made stand; the next leader finds the others still waiting |
| its lease runs out while it solves or commits, or it hangs | it offers nothing more (`late`): what it read is old |
| two leaders, or a match at once of the same job | the second commit is refused (`already_assigned`, `no_supply`) |
| the job was called off, given up or taken meanwhile | refused; the others go on |
| the driver is gone, asked elsewhere or out of supply | refused; his job is in the next round |
| an area is gone, or was never here | its jobs are left out (`no_area`) |
| Redis hangs, is gone or another life | the round ends; the timers of the jobs stand |
| clocks of nodes differ | nothing: ages are by Redis' clock, the lease is timed where it is held, from its asking |
| more wait than WAITING_MAX | a round takes so many, the next those after them (`waiting`) |
| an offer is answered or runs out while another driver is nearer | the commit that was to move it is refused |
| more offers are open than ASKED_MAX | those with the most time left are looked at again |
| more are on their way than COMING_MAX | a round looks at so many of all areas, the next at those after (`coming`) |
| a parcel may go on top of another of its place | it is left to a later round while that is asked (`bundled`) |
| nobody looked at the demand lately | where a job ends is worth nothing: as with `end_weight` 0 |
| none of the nearest may serve a job | all in reach are looked at; of more than FARTHER pairs, each time others |
| more drivers are in reach than DRIVERS_MAX | the nearest are read, no farther ones (`drivers`) |
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from typing import TypeVar

import msgspec

from dispatch.area import Area
from dispatch.bundles import Going, held_back
from dispatch.commands import Refusal
from dispatch.desk import Desk
from dispatch.eta import reach_m
from dispatch.match import offer_to
from dispatch.notes import Notes
from dispatch.proposal import Offered, Proposal
from dispatch.supply import SupplySearch
from dispatch.takeover import Coming, may_change, worth_a_look
from dispatch.why import choice
from storage.fleet import Position
from storage.keys import soon
from storage.records import Driver, Job, JobId, Offer, Stored, UserId

WAITING_MAX = (
    500  # balanced with as many drivers they are solved in 7 ms, which the solver does not share (GIL)
)
DRIVERS_MAX = 4_000
ASKED_MAX = 100  # open offers that are looked at again
COMING_MAX = 100  # accepted jobs that are
_READ = 100  # records at once
_CELLS = 1_000  # cells at once: a millisecond of Redis
_COMMITS = 8  # at once
_NOTED = 25  # at once: half a millisecond

_OUTCOMES = {"offered": "moved", "assigned": "beside"}  # by what the job was when it was asked for

T = TypeVar("T")


class Done(msgspec.Struct):
    """What a round came to: `asked` counts its pairs by what became of them (`ok` or a refusal's code), `bounds`
    what was left for another round, `noted` what became of the notes about those whom nobody was found for, and
    `longest_s` is the longest it kept the loop to itself."""

    waiting: int = 0
    drivers: int = 0
    pairs: int = 0
    asked: Counter[str] = msgspec.field(default_factory=Counter)
    bounds: Counter[str] = msgspec.field(default_factory=Counter)
    noted: Counter[str] = msgspec.field(default_factory=Counter)
    longest_s: float = 0.0

    def timed(self, step: Callable[[], T]) -> T:
        began_s = time.perf_counter()
        result = step()
        self.longest_s = max(self.longest_s, time.perf_counter() - began_s)
        return result

    async def alone(self, step: Callable[[], T]) -> T:
        """A step that others may run before and after."""
        await asyncio.sleep(0)
        result = self.timed(step)
        await asyncio.sleep(0)
        return result

    async def each(self, steps: Generator[None, None, T]) -> T:
        """What these steps come to, between which others may run."""
        while True:
            began_s = time.perf_counter()
            try:
                next(steps)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]
            finally:
                self.longest_s = max(self.longest_s, time.perf_counter() - began_s)
            await asyncio.sleep(0)


class Rounds:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self.notes = Notes(desk.log)
        self._first = self._coming_next = 0

    async def go(self, within_s: float) -> Done:
        """A round, whose offers all begin `within_s` from now. Raises Unavailable or Conflict."""
        until_s = time.monotonic() + within_s
        done = Done()
        jobs, now_ms = await self._waiting(done)
        asked = await self._asked(now_ms)
        coming = await self._coming(now_ms, done)
        jobs += [(job, area) for job, area, _ in asked] + [(each.job, each.area) for each in coming]
        if not jobs:
            return done
        found: dict[str, dict[str, Position]] = {}
        for vehicle_class in sorted({job.vehicle_class for job, _ in jobs}):
            of_class = [each for each in jobs if each[0].vehicle_class == vehicle_class]
            found[vehicle_class] = await self._free(vehicle_class, of_class, now_ms, done)
            if any(area.policy.finishing_s for _, area in of_class):
                found[soon(vehicle_class)] = await self._free(soon(vehicle_class), of_class, now_ms, done)
        proposal = await done.alone(
            lambda: Proposal(
                jobs,
                found,
                now_ms,
                {job.id: offer for job, _, offer in asked},
                self._desk.heats.ends_s(jobs, now_ms / 1000),
                coming=coming,
                heats=self._desk.heats,
            )
        )
        wanted = await done.each(proposal.candidates())
        records = {
            id_: record
            for id_, record in (await self._load(Driver, wanted))[0].items()
            if isinstance(record, Driver)
        }
        await done.each(proposal.judge(records, self._desk.blocks))
        done.drivers, done.pairs = len(records), proposal.pairs
        if proposal.tries:
            await done.alone(proposal.try_shadow)
        await done.each(proposal.choose())
        offers = await done.alone(proposal.offers)
        going = await self._going(asked)
        chosen = [
            Going(each.job, records[each.to.driver_id], jobs[each.row][1], each.to.eta_s)
            for each in offers
            if each.job.kind == "package" and each.job.state == "searching"
        ]
        held = set[JobId]()
        await done.each(held_back(going, chosen, self._desk.blocks, now_ms, held))
        if held:
            done.bounds["bundled"] += len(held)
        now = [each for each in offers if each.job.id not in held]
        await self._offer(proposal, now, until_s, done)
        served = {each.row for each in offers}
        served |= {row for row, (job, _) in enumerate(jobs) if job.state != "searching"}
        await self._note(proposal, jobs, served, now_ms)
        done.noted, self.notes.told = self.notes.told, Counter()
        return done

    async def _note(
        self, proposal: Proposal, jobs: list[tuple[Job, Area]], served: set[int], now_ms: int
    ) -> None:
        """Why nobody was chosen for the others."""
        left = [row for row in range(len(jobs)) if row not in served]
        due = await self.notes.due([jobs[row][0] for row in left], now_ms)
        rows = [row for row in left if jobs[row][0].id in due]
        for first in range(0, len(rows), _NOTED):
            some = rows[first : first + _NOTED]
            await self.notes.keep(
                [choice(*jobs[row], proposal.look(row), now_ms, None) for row in some], now_ms
            )
            await asyncio.sleep(0)

    async def _waiting(self, done: Done) -> tuple[list[tuple[Job, Area]], int]:
        """Those whose turn it is, and Redis' clock."""
        ids, count = await self._desk.log.waiting.some(self._first, WAITING_MAX)
        if not ids and self._first:
            self._first = 0
            ids, count = await self._desk.log.waiting.some(0, WAITING_MAX)
        self._first = self._first + WAITING_MAX if self._first + len(ids) < count else 0
        if count > len(ids):
            done.bounds["waiting"] += count - len(ids)
        loaded, now_ms = await self._load(Job, ids)
        jobs: list[tuple[Job, Area]] = []
        for job in loaded.values():
            if not isinstance(job, Job) or job.state != "searching" or now_ms >= job.wake_ms:
                continue
            area = self._desk.areas.get(job.area_id)
            if area is None:
                done.bounds["no_area"] += 1
            else:
                jobs.append((job, area))
        done.waiting = len(jobs)
        return jobs, now_ms

    async def _asked(self, now_ms: int) -> list[tuple[Job, Area, Offer]]:
        """Open offers that may go to another driver, those with the most time left first."""
        ids = await self._desk.log.waiting.asked(ASKED_MAX)
        if not ids:
            return []
        loaded, now_ms = await self._load(Job, ids)
        held: list[tuple[Job, Area]] = []
        for job in loaded.values():
            area = self._desk.areas.get(job.area_id) if isinstance(job, Job) else None
            if not isinstance(job, Job) or area is None or job.state != "offered" or now_ms >= job.wake_ms:
                continue
            # each withdrawal costs the job one of its offers: the last are his who has them
            if job.offers - job.unseen < area.policy.max_offers - 1:
                held.append((job, area))
        offers, _ = await self._load(Offer, [job.offer_id for job, _ in held if job.offer_id])
        found = [(job, area, offers.get(job.offer_id or "")) for job, area in held]
        return [
            (job, area, offer)
            for job, area, offer in found
            if isinstance(offer, Offer) and offer.state == "open"
        ]

    async def _coming(self, now_ms: int, done: Done) -> list[Coming]:
        """Accepted jobs that may get another driver, in areas that allow it, and are worth a look."""
        areas = {area.id: area for area in self._desk.areas if area.policy.swap_accepted}
        if not areas:
            return []
        ids, self._coming_next, count = await self._desk.log.waiting.coming(
            list(areas), self._coming_next, COMING_MAX
        )
        if count > len(ids):
            done.bounds["coming"] += count - len(ids)
        found, now_ms = await self._load(Job, ids)
        jobs = {
            job.driver_id: job for job in found.values() if isinstance(job, Job) and job.driver_id is not None
        }
        drivers, _ = await self._load(Driver, list(jobs))
        coming = [
            Coming(job, area, driver, at)
            for at in await self._desk.fleet.last_positions(list(jobs))
            if (job := jobs[UserId(at.driver_id)]) and (area := areas.get(job.area_id))
            if isinstance(driver := drivers[at.driver_id], Driver)
            if now_ms - at.ts_ms <= area.policy.stale_s * 1000
            if may_change(job, driver, area.policy, now_ms)
        ]
        return done.timed(lambda: worth_a_look(coming, now_ms))

    async def _going(self, asked: list[tuple[Job, Area, Offer]]) -> list[Going]:
        """The couriers who think about a parcel."""
        parcels = [(job, area, offer) for job, area, offer in asked if job.kind == "package"]
        drivers, _ = await self._load(Driver, [offer.driver_id for _, _, offer in parcels])
        found = [(job, drivers.get(offer.driver_id), area) for job, area, offer in parcels]
        return [Going(job, driver, area) for job, driver, area in found if isinstance(driver, Driver)]

    async def _load(self, kind: type, ids: Sequence[str]) -> tuple[dict[str, Stored | None], int]:
        found: dict[str, Stored | None] = {}
        now_ms = 0
        for first in range(0, len(ids), _READ):
            loaded = await self._desk.log.load([(kind, id_) for id_ in ids[first : first + _READ]])
            now_ms = now_ms or loaded.now_ms
            found.update((id_, record) for (_, id_), record in loaded.records.items())
        return found, now_ms

    async def _free(
        self, vehicle_class: str, jobs: list[tuple[Job, Area]], now_ms: int, done: Done
    ) -> dict[str, Position]:
        """Drivers of a class who may be the best for one of the jobs, with positions that are not too old."""
        stale_ms = now_ms - int(max(area.policy.stale_s for _, area in jobs) * 1000)
        # where drivers are few, all of them are read sooner than all the empty cells about who waits
        if (occupied := await self._desk.fleet.occupied(DRIVERS_MAX)) is not None:
            return {
                each.driver_id: each
                for first in range(0, len(occupied), _CELLS)
                for each in await self._desk.fleet.read(vehicle_class, occupied[first : first + _CELLS])
                if each.ts_ms >= stale_ms
            }
        places = [job.pickup for job, _ in jobs]
        search = SupplySearch(
            [place.latitude for place in places],
            [place.longitude for place in places],
            [now_ms - job.searching_ms if job.state == "searching" else 0 for job, _ in jobs],
            max(reach_m(area.policy) for _, area in jobs),
        )
        while cells := done.timed(search.ask):
            for first in range(0, len(cells), _CELLS):
                found = await self._desk.fleet.read(vehicle_class, cells[first : first + _CELLS])
                search.feed(each for each in found if each.ts_ms >= stale_ms)
                if len(search.found) > DRIVERS_MAX:
                    done.bounds["drivers"] += 1
                    return search.found
        return search.found

    async def _offer(self, proposal: Proposal, offers: list[Offered], until_s: float, done: Done) -> None:
        waiting = iter(offers)

        async def some() -> None:
            for each in waiting:
                if time.monotonic() > until_s:
                    done.asked["late"] += 1
                    continue
                try:
                    await self._desk.run(offer_to(each.job, each.to, proposal.look(each.row)))
                    done.asked[_OUTCOMES.get(each.job.state, "ok")] += 1
                except Refusal as refusal:
                    done.asked[refusal.code] += 1

        await asyncio.gather(*(some() for _ in range(_COMMITS)))
