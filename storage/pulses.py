"""What every node says of itself, by lease in Redis, and what Redis says of itself: any node can tell of all.

| when | then |
|---|---|
| a node dies | its word runs out after PULSE_MS; it is alive no more after its own lease (storage/presence.py) |
| Redis does not answer | Unavailable: nobody knows of the others, and the page says so |
| Redis lost all | each node says it anew with its next beat |
| a node of the same name starts again | every start has a name of its own; the older one runs out |
"""

from typing import Any, NamedTuple, cast

import msgspec

from storage import keys
from storage.shard import Shard

PULSE_MS = 7_000


class Heard(NamedTuple):
    """`nodes`: the name of each node that counts as alive, with what it last said (None: nothing lately)."""

    now_ms: int
    nodes: dict[str, dict[str, Any] | None]


class Pulses:
    def __init__(self, shard: Shard, node: str) -> None:
        self._shard = shard
        self._node = node

    async def say(self, status: dict[str, Any]) -> None:
        """Raises Unavailable."""
        key = keys.pulse(self._shard.name, self._node)
        await self._shard.ask(self._shard.client.set(key, msgspec.json.encode(status), px=PULSE_MS))

    async def all(self) -> Heard:
        """Raises Unavailable."""
        s, client = self._shard.name, self._shard.client
        leases = await self._shard.ask(client.zrange(keys.nodes(s), 0, -1, withscores=True))
        now_ms = await self._shard.now_ms()
        alive = sorted(name.decode() for name, until_ms in leases if until_ms >= now_ms)
        said = await self._shard.ask(client.mget([keys.pulse(s, name) for name in alive])) if alive else []
        words = [msgspec.json.decode(word) if word else None for word in said]
        return Heard(now_ms, dict(zip(alive, words, strict=True)))

    async def redis(self) -> dict[str, Any]:
        """Memory in bytes, clients, operations a second, and how much waits on the shard's streams and lists.
        Raises Unavailable."""
        s = self._shard.name
        pipe = self._shard.client.pipeline(transaction=False)
        for section in ("memory", "stats", "clients", "server", "persistence"):
            pipe.info(section)
        for stream in (keys.facts(s), keys.fixes(s), keys.past(s)):
            pipe.xlen(stream)
        pipe.zcard(keys.wait(s))
        pipe.zcard(keys.due(s))
        pipe.hlen(keys.spot(s))
        *infos, facts, fixes, past, waiting, timers, indexed = await self._shard.ask(pipe.execute())
        info = cast(dict[str, Any], {name: value for section in infos for name, value in section.items()})
        return {
            "usedBytes": info["used_memory"],
            "maxBytes": info["maxmemory"],
            "operationsPerS": info["instantaneous_ops_per_sec"],
            "clients": info["connected_clients"],
            "uptimeS": info["uptime_in_seconds"],
            "version": info["redis_version"],
            "appendOnly": bool(info["aof_enabled"]),
            "streams": {"facts": facts, "fixes": fixes, "past": past},
            "waitingJobs": waiting,
            "timers": timers,
            "indexedDrivers": indexed,
        }
