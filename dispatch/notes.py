"""Decisions of the match that made no offer: nobody was near, or nobody could be asked.

They change nothing and are on nobody's way: a waiting job is looked at again and again, so only what is new about it
is noted.

| when | then |
|---|---|
| nobody is found again, for the same reasons | it is not noted twice by this node (`same`) |
| nobody is found again within AGAIN_MS | it is not even asked why: reasons change with every move of a driver |
| another node found that too | noted by both, at their times |
| more jobs wait than KNOWN_MAX | the one noted longest ago is forgotten, and noted once more |
| Redis is away, full or another life | the note is lost, and counted (`lost`); the next look tries again |
| we die before it is written | so is the look: the next one, of whatever node, makes its own |
| it is written, and its answer lost | counted as lost, and written again under its own moment |
"""

from collections import Counter, OrderedDict
from collections.abc import Sequence

from dispatch.why import same
from storage.facts import Fact
from storage.log import Conflict, Log
from storage.records import Choice, Room
from storage.shard import Unavailable

KNOWN_MAX = 10_000
AGAIN_MS = 10_000
AT_ONCE = 50  # a kilobyte each, in one commit


class Notes:
    """`told` counts what became of them: kept, same, lost."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._known: OrderedDict[str, Choice] = OrderedDict()
        self.told: Counter[str] = Counter()

    async def keep(self, choices: Sequence[Choice]) -> None:
        """Raises nothing: what cannot be written is counted."""
        new = [each for each in choices if not self._is_known(each)]
        self.told["same"] += len(choices) - len(new)
        for first in range(0, len(new), AT_ONCE):
            await self._write(new[first : first + AT_ONCE])

    def wants(self, job_id: str, now_ms: int) -> bool:
        """Is it time to say something of this job again?"""
        before = self._known.get(job_id)
        return before is None or now_ms - before.at_ms >= AGAIN_MS

    def _is_known(self, one: Choice) -> bool:
        before = self._known.get(one.job_id)
        return before is not None and same(before, one)

    async def _write(self, some: Sequence[Choice]) -> None:
        facts = tuple(Fact(room=Room(f"{each.kind}:{each.job_id}"), records=(each,)) for each in some)
        try:
            await self._log.note(facts)
        except (Unavailable, Conflict):
            self.told["lost"] += len(some)
            return
        self.told["kept"] += len(some)
        for each in some:
            self._known[each.job_id] = each
            self._known.move_to_end(each.job_id)
        while len(self._known) > KNOWN_MAX:
            self._known.popitem(last=False)
