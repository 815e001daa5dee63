"""What a batch saw of each job, for the record of its decision: from the arrays, for one job at a time.

Pure. A batch holds thousands of pairs, and a record is made of a job only when its offer is committed, or when nobody
was found for it; so nothing is made of the others, and no step takes long.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np

from dispatch.area import Area
from dispatch.assignment import Ints, Pairs
from dispatch.candidates import Near
from dispatch.commands import Look
from dispatch.eta import pickup_eta_s
from dispatch.why import CONSIDERED_MAX
from storage.records import Considered, Job, UserId

_NOBODY: Final = np.zeros(0, np.int64)
_NO_PAIRS: Final = Pairs(_NOBODY, _NOBODY, np.zeros(0))


class Looks:
    """By rows of jobs and of drivers, as in the batch, whose distances and times of pairs `away_m`, `there_s` are."""

    def __init__(
        self,
        jobs: Sequence[tuple[Job, Area]],
        ids: Sequence[str],
        away_m: dict[tuple[int, int], float],
        there_s: dict[tuple[int, int], float],
    ) -> None:
        self._jobs, self._ids = jobs, ids
        self._unfit: dict[int, list[tuple[int, str, float]]] = {}
        self._more = np.zeros(len(jobs), np.int64)
        self._away_m, self._there_s = away_m, there_s
        self._by_job, self._first = _NO_PAIRS, np.zeros(len(jobs) + 1, np.int64)
        self._chosen: Ints = np.full(len(jobs), -1)
        self._taken: frozenset[int] = frozenset()
        self._shadow_s: dict[tuple[int, int], float] = {}
        self._shadow: Ints = np.full(len(jobs), -1)

    def unfit(self, request: int, driver: int, why: str, distance_m: float) -> None:
        """Who could not be asked; the first few of a job are named, the others counted."""
        some = self._unfit.setdefault(request, [])
        if len(some) < CONSIDERED_MAX:
            some.append((driver, why, distance_m))
        else:
            self._more[request] += 1

    def priced(self, allowed: Near, pairs: Pairs) -> None:
        """`pairs` are those of `allowed` that come in time, and in a time that is worth it."""
        if len(pairs.request) == len(allowed.request):
            return
        in_time = set(zip(pairs.request.tolist(), pairs.driver.tolist(), strict=True))
        for request, driver in zip(allowed.request.tolist(), allowed.driver.tolist(), strict=True):
            if (request, driver) not in in_time:
                late = self._there_s[request, driver] > self._jobs[request][1].policy.longest_pickup_s
                why = "too_far" if late else "worth_more"
                self.unfit(request, driver, why, self._away_m[request, driver])

    def tried(self, pairs: Pairs, chosen: Ints) -> None:
        """The costs and the assignment (-1 nobody) by the policies that are tried."""
        rows = zip(pairs.request.tolist(), pairs.driver.tolist(), strict=True)
        self._shadow_s = dict(zip(rows, pairs.cost_s.tolist(), strict=True))
        self._shadow = chosen

    def chosen(self, pairs: Pairs, chosen: Ints) -> None:
        """The outcome, by which `of` goes."""
        order = np.lexsort((pairs.cost_s, pairs.request))
        self._by_job = Pairs(pairs.request[order], pairs.driver[order], pairs.cost_s[order])
        self._first = np.searchsorted(self._by_job.request, np.arange(len(self._jobs) + 1))
        self._chosen, self._taken = chosen, frozenset(chosen[chosen >= 0].tolist())

    def of(self, row: int) -> Look:
        """Whoever was looked at for this job: those who could be asked, the cheapest first; then the others."""
        first, end = int(self._first[row]), int(self._first[row + 1])
        kept = list(range(first, min(end, first + CONSIDERED_MAX)))
        mine = int(self._chosen[row])
        # whoever is asked is among them, however many cost less
        kept += [at for at in range(first + len(kept), end) if self._by_job.driver[at] == mine]
        seen = []
        for at in kept:
            driver, cost_s = int(self._by_job.driver[at]), float(self._by_job.cost_s[at])
            seen.append(self._considered(row, driver, "lost" if driver in self._taken else "farther", cost_s))
        for driver, why, away_m in self._unfit.get(row, ()):
            self._away_m.setdefault((row, driver), away_m)
            seen.append(self._considered(row, driver, why))
        more = end - first - len(kept) + int(self._more[row])
        shadow = int(self._shadow[row])
        path = "batch" if self._jobs[row][0].state == "searching" else "rematch"
        return Look(path, tuple(seen), more, UserId(self._ids[shadow]) if shadow >= 0 else None)

    def _considered(self, row: int, driver: int, why: str, cost_s: float | None = None) -> Considered:
        away_m, area = self._away_m[row, driver], self._jobs[row][1]
        # of those who were not even priced the distance is all that is known
        eta_s = self._there_s.get((row, driver)) or pickup_eta_s(away_m, area.policy)
        shadow_s = self._shadow_s.get((row, driver)) if area.shadow is not None else None
        return Considered(
            UserId(self._ids[driver]),
            why,
            round(away_m),
            round(eta_s),
            round(eta_s if cost_s is None else cost_s),
            None if shadow_s is None else round(shadow_s),
        )
