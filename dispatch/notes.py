"""Decisions of the match that made no offer: nobody was near, or nobody could be asked.

They change nothing and are on nobody's way, and no client was promised one; so they are written seldom, and give way
to what was promised. A waiting job is looked at every second: after a note it is asked why again after a gap.

| when | then |
|---|---|
| a job waits on | the gap doubles, from GAP_MS to GAP_MAX_MS: five times are asked in three minutes |
| nobody is found again, for the same reasons | not noted twice by this node (`same`); the gap grows all the same |
| it was offered meanwhile, and came back | that is new: asked at once, with the first gap |
| another node found that too | noted by both, at their times |
| more jobs wait than KNOWN_MAX | the one asked longest ago is forgotten, and noted once more |
| the drain lags, or memory is short (storage/strain.py) | not made but counted (`held`): it comes after its gap again |
| it cannot be asked whether that is so | the same |
| Redis is away, full or another life | the note is lost, and counted (`lost`); its next look tries again |
| one was lost | all are held for PAUSE_MS, twice as long with each loss in a row, up to PAUSE_MAX_MS |
| we die before it is written | so is the look: the next one, of whatever node, makes its own |
| it is written, and its answer lost | counted as lost, and written again under its own moment |
"""

from collections import Counter, OrderedDict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from dispatch.why import same
from storage.facts import Fact
from storage.log import Conflict, Log
from storage.records import Choice, Job, JobId, Room
from storage.shard import Unavailable

KNOWN_MAX = 10_000
GAP_MS = 10_000
GAP_MAX_MS = 320_000
PAUSE_MS = 1_000
PAUSE_MAX_MS = 60_000
AT_ONCE = 50  # a kilobyte each, in one commit


@dataclass(slots=True)
class _Turns:
    """When a job is asked why again, and what was noted of it last."""

    offers: int
    next_ms: int = 0
    gap_ms: int = GAP_MS
    last: Choice | None = None


class Notes:
    """`told` counts what became of them: kept, same, held, lost."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._known: OrderedDict[JobId, _Turns] = OrderedDict()
        self._pause_ms = 0
        self._paused_until_ms = 0
        self.told: Counter[str] = Counter()

    async def due(self, jobs: Iterable[Job], now_ms: int) -> set[JobId]:
        """Of those whom nobody was found for: whose turn it is, and may be noted."""
        turns = {job.id: self._turns(job) for job in jobs}
        due = {id_: turn for id_, turn in turns.items() if now_ms >= turn.next_ms}
        if due and await self._must_wait(now_ms):
            self._hold(due, now_ms)
            return set()
        return set(due)

    async def keep(self, choices: Sequence[Choice], now_ms: int) -> None:
        """Notes what is new. Raises nothing: what cannot be written is counted."""
        new = []
        for each in choices:
            if self._is_known(each):
                self.told["same"] += 1
                self._asked(each, now_ms)
            else:
                new.append(each)
        for first in range(0, len(new), AT_ONCE):
            some = new[first : first + AT_ONCE]
            if now_ms < self._paused_until_ms:
                self._hold([each.job_id for each in some], now_ms)
            else:
                await self._write(some, now_ms)

    def _turns(self, job: Job) -> _Turns:
        turns = self._known.get(job.id)
        if turns is None or turns.offers != job.offers:
            turns = self._known[job.id] = _Turns(job.offers)
            self._known.move_to_end(job.id)
            while len(self._known) > KNOWN_MAX:
                self._known.popitem(last=False)
        return turns

    async def _must_wait(self, now_ms: int) -> bool:
        if now_ms < self._paused_until_ms:
            return True
        try:
            return bool(await self._log.strain.felt())
        except Unavailable:
            return True

    def _hold(self, jobs: Collection[JobId], now_ms: int) -> None:
        self.told["held"] += len(jobs)
        for id_ in jobs:
            if (turns := self._known.get(id_)) is not None:
                turns.next_ms = now_ms + turns.gap_ms

    def _is_known(self, one: Choice) -> bool:
        before = self._known.get(one.job_id)
        return before is not None and before.last is not None and same(before.last, one)

    def _asked(self, one: Choice, now_ms: int) -> None:
        turns = self._known.get(one.job_id)
        if turns is not None:
            turns.next_ms, turns.last = now_ms + turns.gap_ms, one
            turns.gap_ms = min(2 * turns.gap_ms, GAP_MAX_MS)
            self._known.move_to_end(one.job_id)

    async def _write(self, some: Sequence[Choice], now_ms: int) -> None:
        facts = tuple(Fact(room=Room(f"{each.kind}:{each.job_id}"), records=(each,)) for each in some)
        try:
            await self._log.note(facts)
        except (Unavailable, Conflict):
            self.told["lost"] += len(some)
            self._pause_ms = min(max(PAUSE_MS, 2 * self._pause_ms), PAUSE_MAX_MS)
            self._paused_until_ms = now_ms + self._pause_ms
            return
        self._pause_ms = 0
        self.told["kept"] += len(some)
        for each in some:
            self._asked(each, now_ms)
