"""A copy of what nodes read of PostgreSQL to do live work, for one that starts while PostgreSQL is away.

PostgreSQL owns all of it. Every node that has just read it writes it here, over whatever another wrote: both have it
from the same place. It goes by itself (TTL), so nobody begins with what was true a week ago.
"""

from typing import Any, cast

import msgspec

from storage import keys
from storage.areas import AreaRow
from storage.shard import Shard

KEPT_MS = 86_400_000
COPY_MAX_BYTES = 8 * 1024 * 1024


class Copy(msgspec.Struct, frozen=True):
    """`learned` are documents by area, `blocks` pairs of users who shall not meet."""

    rows: list[AreaRow]
    learned: dict[str, bytes]
    blocks: list[tuple[str, str]]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Copy).decode


class Copies:
    """Raises Unavailable."""

    def __init__(self, shard: Shard) -> None:
        self._shard = shard

    async def keep(self, at_ms: int, copy: Copy | None) -> bool:
        """PostgreSQL said so at `at_ms`, by the shard's clock; None: what it said before. False: it is too large, and
        there is none now."""
        body = b"" if copy is None else _encode(copy)
        fits = len(body) <= COPY_MAX_BYTES
        fields = {"at": at_ms} if copy is None else {"at": at_ms, "copy": body if fits else b""}
        key, pipe = keys.copied(self._shard.name), self._shard.client.pipeline(transaction=True)
        pipe.hset(key, mapping=cast(Any, fields))
        pipe.pexpire(key, KEPT_MS)
        await self._shard.ask(pipe.execute())
        return fits

    async def find(self) -> tuple[int, Copy] | None:
        """With when PostgreSQL last said so; None where there is none that this version can read."""
        key = keys.copied(self._shard.name)
        at, body = await self._shard.ask(cast(Any, self._shard.client.hmget(key, ["at", "copy"])))
        try:
            return (int(at), _decode(body)) if at and body else None
        except msgspec.MsgspecError:
            return None
