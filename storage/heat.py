"""What the looks at demand and supply stand on in Redis, and where the newest of them is kept.

All of it goes by itself (TTL): a Redis that lost it has no surge until somebody has looked again.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any, cast

from storage import keys
from storage.shard import Shard

HEAT_TTL_MS = 120_000


class HeatStore:
    def __init__(self, shard: Shard) -> None:
        self._shard = shard

    async def lead(self, token: str, lease_ms: int) -> bool:
        """Takes or keeps the right to look for so long; with 0 gives it up. Whether `token` has it now."""
        s = self._shard
        return bool(await s.ask(s.lead_script([keys.seer(s.name)], [token, lease_ms])))

    async def free(self) -> Counter[tuple[int, str]]:
        """How many drivers are free in each cell of the index, by their classes ("class,class")."""
        found = await self._shard.ask(cast(Any, self._shard.client.hvals(keys.spot(self._shard.name))))
        spots = (value.decode().split(" ", 2) for value in found)
        return Counter((int(cell), classes) for _, cell, classes in spots if not keys.is_soon(classes))

    async def read(self) -> list[bytes]:
        """The newest looks, one of each area."""
        return list(await self._shard.ask(cast(Any, self._shard.client.hvals(keys.heat(self._shard.name)))))

    async def write(self, looks: Mapping[str, bytes]) -> None:
        """These and no others, by area."""
        key, pipe = keys.heat(self._shard.name), self._shard.client.pipeline(transaction=True)
        pipe.delete(key)
        if looks:
            pipe.hset(key, mapping=cast(Any, dict(looks)))
            pipe.pexpire(key, HEAT_TTL_MS)
        await self._shard.ask(pipe.execute())
