"""Who is to be offered what, of all that wait and all who are free: the arrays of a batch, from records and positions.

Pure, in steps, none of which takes longer than a few milliseconds at the bounds of a round (rounds.py), so that the
caller can let others run between them. Jobs of several areas and classes are matched at once, each pair by the rules
of its job's area; a driver of two classes is one driver.
"""

from collections.abc import Generator, Sequence
from typing import Final, NamedTuple

import numpy as np

from dispatch.area import Area
from dispatch.assignment import Bools, Floats, Ints, Pairs, solve
from dispatch.batch import Drivers, Requests, by_freshness, priced
from dispatch.blocks import Blocks
from dispatch.candidates import Near, farther_in_steps, globe_m, near_in_steps
from dispatch.carrying import NO_WAY, latest_pickup_s, ready_ms, ways
from dispatch.commands import Look
from dispatch.eligibility import why_not
from dispatch.eta import reach_m
from dispatch.etatable import Drives
from dispatch.heat import Heats
from dispatch.looks import Looks
from dispatch.matching import Ranked
from dispatch.reliability import cost_s, counts, score
from dispatch.rematch import ACCEPTED, OFFERED, PLANNED, Standing, now_possible, rematch, saves_s
from dispatch.takeover import Coming
from dispatch.travel import as_if, pairs_s
from storage.fleet import Position
from storage.keys import is_soon, soon
from storage.records import Driver, Job, JobId, Offer, Place

_AT_ONCE: Final = 400  # pairs looked at before others may run
BUSY_MAX: Final = 16  # couriers with parcels who are looked at for one more: half a millisecond


class _Ways(NamedTuple):
    """How long each pair takes to the pickup, and what it costs beside that: (k,) by pair."""

    pairs: Near
    eta_s: Floats
    more_s: Floats


class _Known(NamedTuple):
    """What a pair is judged by."""

    records: dict[str, Driver]
    blocks: Blocks
    requests: Requests
    drivers: Drivers


class Offered(NamedTuple):
    """A pair of the outcome."""

    job: Job
    to: Ranked
    row: int


class Proposal:
    """Use: `candidates()`, `judge(records, blocks)` and `choose()`, which say between their steps that others may run;
    then `offers()`. `found` are the drivers of each class, as the index showed them at `now_ms`; `asked`
    the open offers of those jobs that do not wait but are thought about; `ends_s` as `Requests.end_s`; `coming` those
    of the jobs whose driver is on his way and may be another (takeover.py); `heats` say where drivers are short."""

    def __init__(
        self,
        jobs: Sequence[tuple[Job, Area]],
        found: dict[str, dict[str, Position]],
        now_ms: int,
        asked: dict[JobId, Offer],
        ends_s: Floats,
        *,
        coming: Sequence[Coming] = (),
        heats: Heats | None = None,
    ) -> None:
        self._jobs = jobs
        coming_s = {each.job.id: each.arrives_s for each in coming}
        standing_s = coming_s | {id_: offer.eta_at(now_ms) + offer.more_s for id_, offer in asked.items()}
        self._standing_s = np.array([standing_s.get(job.id, np.nan) for job, _ in jobs])
        self._bound = np.array(
            [OFFERED if j.id in asked else ACCEPTED if j.id in coming_s else PLANNED for j, _ in jobs]
        )
        self._ends_s = ends_s
        self._heats = heats or Heats()
        self._now_ms = now_ms
        seen = {id_: each for of_class in found.values() for id_, each in of_class.items()}
        # who is on his way may be another's next, once he is let go; a courier with room is asked as he is
        self._let_go: dict[str, Driver] = {
            each.driver.id: each.as_if_free for each in coming if each.driver.id not in seen
        }
        seen |= {each.driver.id: each.at for each in coming if each.driver.id in self._let_go}
        rest_s: dict[str, float | None] = {}
        for name, of_class in found.items():
            for id_, each in of_class.items():
                rest_s[id_] = max(0.0, (each.ts_ms - now_ms) / 1000) if is_soon(name) else None
        age_s = np.array([max(0, now_ms - each.ts_ms) / 1000 for each in seen.values()])
        names = list(seen)
        order = by_freshness(age_s, names)
        self._ids = [names[at] for at in order]
        self._fix_age_s = age_s[order]
        self._rest_s = [rest_s.get(id_) for id_ in self._ids]  # until the ride is over that he has on board
        self._resting_s = np.array([each or 0.0 for each in self._rest_s])
        self._row = {id_: row for row, id_ in enumerate(self._ids)}
        self._free = np.array([id_ not in self._let_go for id_ in self._ids], dtype=np.bool_)
        self._of_class = {vehicle_class: [*of_class] for vehicle_class, of_class in found.items()}
        for id_, driver in self._let_go.items():
            for vehicle_class in driver.classes:
                self._of_class.setdefault(vehicle_class, []).append(id_)
        self._places_deg = np.array([(j.pickup.latitude, j.pickup.longitude) for j, _ in jobs])
        self._drivers_deg = np.array([(seen[id_].lat_deg, seen[id_].lng_deg) for id_ in self._ids]).reshape(
            -1, 2
        )
        self._places_m, self._drivers_m = globe_m(*self._places_deg.T), globe_m(*self._drivers_deg.T)
        self._near: list[tuple[Area, Near]] = []
        self._pairs = Pairs(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))
        self._distance_m: dict[tuple[int, int], float] = {}
        self._eta_s: dict[tuple[int, int], float] = {}
        self._more_s: dict[tuple[int, int], float] = {}
        self._next_s: dict[int, float] = {}  # until the next stop begins of those who carry parcels
        self._looks = Looks(jobs, self._ids, self._distance_m, self._eta_s)
        self._chosen = np.full(len(jobs), -1, dtype=np.int64)
        self._tried: list[Pairs] = []
        self.tries = any(area.shadow is not None for _, area in jobs)

    def candidates(self) -> Generator[None, None, list[str]]:
        """The drivers whose records are wanted."""
        groups: dict[tuple[str, str], list[int]] = {}
        for row, (job, area) in enumerate(self._jobs):
            groups.setdefault((area.id, job.vehicle_class), []).append(row)
        wanted: set[int] = set()
        for (_, vehicle_class), rows in groups.items():
            area = self._jobs[rows[0]][1]
            policy = area.policy
            names = (vehicle_class, soon(vehicle_class)) if policy.finishing_s else (vehicle_class,)
            ids = {id_ for name in names for id_ in self._of_class.get(name, ())}
            of_class = np.array([self._row[id_] for id_ in ids], dtype=np.int64)
            fresh = np.sort(of_class[self._fix_age_s[of_class] <= policy.stale_s])
            local = yield from near_in_steps(self._places_m[rows], self._drivers_m[fresh], reach_m(policy))
            yield
            pairs = Near(np.asarray(rows)[local.request], fresh[local.driver], local.distance_m)
            # who is on his way is for who waits (rematch.py)
            of_use = self._free[pairs.driver] | (self._bound[pairs.request] == PLANNED)
            pairs = Near(*(part[of_use] for part in pairs))
            self._near.append((area, pairs))
            wanted.update(pairs.driver[self._free[pairs.driver]].tolist())
        return [self._ids[row] for row in sorted(wanted)]

    def judge(self, records: dict[str, Driver], blocks: Blocks) -> Generator[None, None, None]:
        """Leaves out who may not be offered what, and prices the rest."""
        records = {**records, **self._let_go}
        known = _Known(records, blocks, self._requests(), self._drivers(records))
        yield
        some: list[Pairs] = []
        for area, pairs in self._near:
            some.append((yield from self._judged(area, pairs, known)))
            rest = yield from self._farther(area, pairs, some[-1])
            if len(rest.request):
                some.append((yield from self._judged(area, rest, known)))
        self._pairs = Pairs(*(np.concatenate(parts) for parts in zip(*some, strict=True)))

    def _farther(self, area: Area, pairs: Near, priced: Pairs) -> Generator[None, None, Near]:
        """Who else is in reach of those who wait and may have none of their nearest. His record is here, for he is
        among the nearest of somebody. Where that is too much, every round draws others."""
        waits = pairs.request[self._bound[pairs.request] == PLANNED]
        left = np.setdiff1d(waits, priced.request[self._free[priced.driver]])
        left = np.random.default_rng(self._now_ms).permutation(left)
        return (
            yield from farther_in_steps(pairs, left, self._places_m, self._drivers_m, reach_m(area.policy))
        )

    def _judged(self, area: Area, pairs: Near, known: _Known) -> Generator[None, None, Pairs]:
        """Those of a group's pairs that may be matched."""
        policy = area.policy
        may = np.zeros(len(pairs.request), dtype=np.bool_)
        rows = zip(pairs.request.tolist(), pairs.driver.tolist(), strict=True)
        for at, (request, driver) in enumerate(rows):
            job, record = self._jobs[request][0], known.records.get(self._ids[driver])
            why = "offline"
            if record is not None:
                why = why_not(job, record, policy, known.blocks, self._now_ms, rest_s=self._rest_s[driver])
                if record.load and self._bound[request] == ACCEPTED:
                    why = why or "full"  # only who is free takes a job over
            may[at] = not why
            if why and self._free[driver]:
                self._looks.unfit(request, driver, why, float(pairs.distance_m[at]))
            if at % _AT_ONCE == _AT_ONCE - 1:
                yield
        yield
        allowed = Near(pairs.request[may], pairs.driver[may], pairs.distance_m[may])
        way = yield from self._ways(area, allowed, known.records)
        allowed, eta_s = way.pairs, way.eta_s
        drivers = known.drivers._replace(longest_s=self._worth_s(area, allowed))
        found = priced(allowed, eta_s, known.requests, drivers, policy, more_s=way.more_s)
        yield
        both = list(zip(allowed.request.tolist(), allowed.driver.tolist(), strict=True))
        self._distance_m.update(zip(both, allowed.distance_m.tolist(), strict=True))
        self._eta_s.update(zip(both, eta_s.tolist(), strict=True))
        yield
        more_s = way.more_s + cost_s(drivers.score[allowed.driver], policy)
        self._more_s.update(zip(both, more_s.tolist(), strict=True))
        yield
        free = self._free[allowed.driver]
        named = Near(allowed.request[free], allowed.driver[free], allowed.distance_m[free])
        self._looks.priced(named, self._of_free(found))
        if self.tries:
            self._tried.append(self._of_free(self._by_shadow(area, way, found, known.requests, drivers)))
        yield
        return found

    def _ways(self, area: Area, pairs: Near, records: dict[str, Driver]) -> Generator[None, None, "_Ways"]:
        """How each would come: who is free straight to the pickup, who has a ride on board when that is over, who
        carries parcels by his plan with it in it (carrying.py), of whom the nearest are looked at."""
        policy, now_ms = area.policy, self._now_ms
        eta_s, distance_m = self._there_s(area, pairs), pairs.distance_m.copy()
        latest_s = np.array([latest_pickup_s(job, policy, now_ms) for job, _ in self._jobs])
        more_s = policy.late_weight * np.maximum(0.0, eta_s - latest_s[pairs.request])
        carriers = [records[self._ids[driver]] for driver in pairs.driver.tolist()]
        busy = np.array([bool(each.plan) and not each.finishing for each in carriers], dtype=np.bool_)
        keep = ~busy
        for request in np.unique(pairs.request[busy]).tolist():
            at = np.flatnonzero(busy & (pairs.request == request))
            at = at[np.argsort(distance_m[at], kind="stable")]
            for left_out in at[BUSY_MAX:].tolist():
                self._looks.unfit(
                    request, int(pairs.driver[left_out]), "farther", float(distance_m[left_out])
                )
            at = at[:BUSY_MAX]
            couriers = [
                (records[self._ids[driver]], self._place(driver)) for driver in pairs.driver[at].tolist()
            ]
            latest_way_s = policy.longest_pickup_s - policy.pickup_overhead_s
            found = ways(self._jobs[request][0], couriers, area, now_ms, latest_way_s)
            for each, way in zip(at.tolist(), found, strict=True):
                if way is NO_WAY:
                    self._looks.unfit(request, int(pairs.driver[each]), "full", float(distance_m[each]))
                    continue
                keep[each], distance_m[each] = True, way.distance_m
                self._next_s[int(pairs.driver[each])] = way.next_s
                eta_s[each] = policy.pickup_overhead_s + way.eta_s
                more_s[each] = way.cost_s - way.eta_s
            yield
        kept = Near(pairs.request[keep], pairs.driver[keep], distance_m[keep])
        return _Ways(kept, eta_s[keep], more_s[keep])

    def _worth_s(self, area: Area, pairs: Near) -> Floats:
        """The longest pickup that is worth the time of each driver: (m,). Pairs are of one class."""
        longest_s = np.full(len(self._ids), np.inf)
        if len(pairs.request):
            vehicle_class = self._jobs[int(pairs.request[0])][0].vehicle_class
            rows, now_s = np.unique(pairs.driver), self._now_ms / 1000
            longest_s[rows] = self._heats.longest_s(area.id, vehicle_class, self._drivers_deg[rows], now_s)
        # the rest of a ride that he has on board is no time that he loses
        return np.asarray(longest_s + self._resting_s)

    def _place(self, driver: int) -> Place:
        latitude, longitude = self._drivers_deg[driver].tolist()
        return Place(latitude, longitude)

    def _there_s(self, area: Area, pairs: Near) -> Floats:
        drives = Drives(pairs.distance_m, self._drivers_deg, pairs.driver, self._places_deg, pairs.request)
        return np.asarray(pairs_s(area, drives, self._now_ms) + self._resting_s[pairs.driver])

    def _by_shadow(
        self, area: Area, way: "_Ways", real: Pairs, requests: Requests, drivers: Drivers
    ) -> Pairs:
        """The same pairs priced by the policy that is tried, where there is one."""
        if (shadow := area.shadow) is None:
            return real
        eta_s = as_if(way.eta_s, self._resting_s[way.pairs.driver], area, shadow)
        left_s = np.full(len(self._jobs), shadow.longest_pickup_s)
        requests = requests._replace(left_s=left_s)
        return priced(way.pairs, eta_s, requests, drivers, shadow, more_s=way.more_s)

    def try_shadow(self) -> None:
        """The assignment of those who wait, as it would be with the tried policies: only for what decisions say."""
        tried = Pairs(*(np.concatenate(parts) for parts in zip(*self._tried, strict=True)))
        waits = self._bound == PLANNED
        planned = solve(len(waits), Pairs(*(part[waits[tried.request]] for part in tried)))
        self._looks.tried(tried, planned)

    def look(self, row: int) -> Look:
        """What the batch saw of a job, once it has chosen."""
        return self._looks.of(row)

    @property
    def pairs(self) -> int:
        """How many pairs may be matched."""
        return len(self._pairs.request)

    def choose(self) -> Generator[None, None, None]:
        """The assignment: of those who wait, and of an open offer or an accepted job where another driver is so much
        nearer that it is worth asking him instead (rematch.py)."""
        waits = self._bound == PLANNED
        pairs = self._of_free(self._pairs)
        chosen = solve(len(waits), Pairs(*(part[waits[pairs.request]] for part in pairs)))
        if not waits.all():
            yield
            moves = self._moves()
            yield
            chosen = self._rematched(chosen, waits, moves)
        yield
        self._chosen = np.where(chosen < len(self._ids), chosen, -1)
        self._looks.chosen(pairs, self._chosen)

    def offers(self) -> list[Offered]:
        """What was chosen, the cheapest pair first."""
        found = [
            self._offered(row, int(self._chosen[row])) for row in np.flatnonzero(self._chosen >= 0).tolist()
        ]
        return sorted(found, key=lambda each: (each.to.eta_s, each.job.id))

    def _moves(self) -> Pairs:
        """The pairs, as what stands is compared to them: a takeover must save of the way, which was driven in vain, and
        who was asked goes by what his offer cost. Idle time says who of the free is asked, and moves nothing."""
        cost_s = self._pairs.cost_s.copy()
        for at in np.flatnonzero(self._bound[self._pairs.request] != PLANNED).tolist():
            request, driver = int(self._pairs.request[at]), int(self._pairs.driver[at])
            cost_s[at] = self._eta_s[request, driver]
            if self._bound[request] == OFFERED:
                cost_s[at] += self._more_s[request, driver]
        return self._pairs._replace(cost_s=cost_s)

    def _rematched(self, planned: Ints, waits: Bools, moves: Pairs) -> Ints:
        """The same with the open offers and the accepted jobs. Each driver who was asked has a row behind those of the
        others, so that nobody else is given to him, nor he to another job: he is free only once this round is over.
        One who is on his way may be chosen for whom nobody is free, and who then waits until he is let go."""
        held = np.arange(len(waits)) + len(self._ids)
        for row in np.flatnonzero(self._bound == ACCEPTED).tolist():
            driver_id = self._jobs[row][0].driver_id
            held[row] = self._row[driver_id] if driver_id in self._let_go else held[row]
        policies = [area.policy for _, area in self._jobs]
        rows = zip(self._bound.tolist(), policies, strict=True)
        standing = Standing(
            np.where(waits, planned, held),
            np.where(waits, self._cost_of(planned), self._standing_s),
            self._bound,
            np.array([saves_s(bound, policy) for bound, policy in rows]),
            np.array([policy.longest_pickup_s for policy in policies]),
        )
        chosen = rematch(moves, standing)
        idle = np.concatenate([self._free, np.zeros(len(waits), dtype=np.bool_)])
        return np.where(now_possible(chosen, standing, idle), chosen, -1)

    def _of_free(self, pairs: Pairs) -> Pairs:
        """Those whose driver can be asked now."""
        free = self._free[pairs.driver]
        return Pairs(pairs.request[free], pairs.driver[free], pairs.cost_s[free])

    def _cost_of(self, planned: Ints) -> Floats:
        cost_s = np.zeros(len(planned))
        taken = planned[self._pairs.request] == self._pairs.driver
        cost_s[self._pairs.request[taken]] = self._pairs.cost_s[taken]
        return cost_s

    def _offered(self, row: int, driver: int) -> Offered:
        away_m, there_s = self._distance_m[row, driver], self._eta_s[row, driver]
        more_s, next_s = self._more_s[row, driver], self._next_s.get(driver, 0.0)
        there = Ranked(self._ids[driver], away_m, there_s, self._rest_s[driver], more_s=more_s, next_s=next_s)
        return Offered(self._jobs[row][0], there, row)

    def _requests(self) -> Requests:
        # since its requester waits: whoever had it and gave it back makes him no newer, as `searching_ms` alone would
        since_ms = (min(job.searching_ms, ready_ms(job)) for job, _ in self._jobs)
        age_s = np.array([(self._now_ms - each_ms) / 1000 for each_ms in since_ms])
        left_s = np.array([area.policy.longest_pickup_s for _, area in self._jobs])
        return Requests(np.maximum(age_s, 0.0), left_s, self._ends_s)

    def _drivers(self, records: dict[str, Driver]) -> Drivers:
        def idle_s(id_: str) -> float:
            driver = records.get(id_)
            if driver is None or driver.load or id_ in self._let_go:
                return 0.0
            return (self._now_ms - driver.free_since_ms) / 1000

        idle = np.maximum([idle_s(id_) for id_ in self._ids], 0.0)
        none = np.zeros(len(self._ids))
        longest_s = np.full(len(self._ids), np.inf)
        return Drivers(idle, self._fix_age_s, none, longest_s, self._scores(records))

    def _scores(self, records: dict[str, Driver]) -> Floats:
        scores = np.zeros(len(self._ids))
        if any(counts(policy) for _, area in self._jobs for policy in (area.policy, area.shadow)):
            found = [(row, records[id_]) for row, id_ in enumerate(self._ids) if id_ in records]
            for row, driver in found:
                scores[row] = score(driver, self._now_ms)
        return scores
