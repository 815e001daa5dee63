"""What a cluster's processes have in memory, and what waits in Redis: read every second, kept by phase."""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from pathlib import Path

from loadtest.faults.cluster import Cluster

EVERY_S = 1.0
SHARD = "{main}"
FIXED, STREAMS = f"{SHARD}:fixed", {name: f"{SHARD}:{name}" for name in ("facts", "fixes", "past")}
MIB = 1024 * 1024


class Gauge:
    """`phase` is before, during or after; nothing is read in one without a name."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._redis = cluster.redis.client()
        self._resident: dict[str, dict[str, float]] = defaultdict(dict)
        self.phase = "before"
        self.redis_peak_mb = 0.0
        self.redis_most_mb = 0.0

    async def keep_on(self) -> None:
        while True:
            memory = await self._redis.info("memory")
            self.redis_most_mb = round(memory["maxmemory"] / MIB, 1)
            self.redis_peak_mb = max(self.redis_peak_mb, round(memory["used_memory"] / MIB, 1))
            if self.phase:
                for process in (*self._cluster.nodes, *self._cluster.drains, self._cluster.redis):
                    here = self._resident[process.name]
                    here[self.phase] = max(here.get(self.phase, 0.0), _resident_mb(process.pid))
            await asyncio.sleep(EVERY_S)

    async def given(self) -> dict[str, int]:
        """How many facts and fixes Redis was ever given."""
        facts = await self._redis.xinfo_stream(STREAMS["facts"])
        return {"facts": int(facts["entries-added"]), "fixes": int(await self._redis.get(FIXED) or 0)}

    async def streams(self) -> tuple[dict[str, int], dict[str, int]]:
        """Entries that stand on each stream, drained or not, and their bytes."""
        entries = {name: int(await self._redis.xlen(key)) for name, key in STREAMS.items()}
        sizes = {
            name: int(await self._redis.memory_usage(key, samples=0) or 0) for name, key in STREAMS.items()
        }
        return entries, sizes

    def resident(self) -> dict[str, tuple[float, float, float]]:
        """The most MB of each process before, during and after."""
        return {
            name: (by.get("before", 0.0), by.get("during", 0.0), by.get("after", 0.0))
            for name, by in self._resident.items()
        }

    async def close(self) -> None:
        await self._redis.aclose()


def _resident_mb(pid: int) -> float:
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return round(int(line.split()[1]) / 1024, 1)
    return 0.0
