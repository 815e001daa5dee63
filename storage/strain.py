"""Is a shard under strain: is its memory short, or does the drain lag? What is worth less than a fact gives way then.

The drain leaves what it has drained on the log for `kept_ms`, for slow nodes; so a log that reaches back farther holds
what PostgreSQL does not have. Until then it is no longer than it is in health.
"""

from typing import Any, cast

from storage import keys
from storage.shard import Shard

#: Of maxmemory: before positions give way, which is at 0.8 (storage/lua/tick.lua).
MEMORY_SHARE = 0.75
#: How far the log may reach back beyond what is kept of it.
BEHIND_MS = 10_000


class Strain:
    def __init__(self, shard: Shard, kept_ms: int) -> None:
        self._shard = shard
        self._kept_ms = kept_ms

    async def felt(self) -> str:
        """`memory`, `behind`, or nothing. Raises Unavailable."""
        pipe = self._shard.client.pipeline(transaction=False)
        pipe.info("memory")
        pipe.xrange(keys.facts(self._shard.name), count=1)
        pipe.time()
        memory, oldest, (seconds, _) = await self._shard.ask(cast(Any, pipe.execute()))
        if memory["maxmemory"] and memory["used_memory"] > MEMORY_SHARE * memory["maxmemory"]:
            return "memory"
        age_ms = int(seconds) * 1000 - int(oldest[0][0].partition(b"-")[0]) if oldest else 0
        return "behind" if age_ms > self._kept_ms + BEHIND_MS else ""
