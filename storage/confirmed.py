"""Logins that PostgreSQL confirmed lately, for the time in which it cannot be asked: one key each, which expires.

A hint that lets somebody in, never one that keeps somebody out. It holds who he is, and nothing by which one could log
in: a token has been verified before anybody looks here.
"""

from collections.abc import Collection, Sequence
from typing import Any, cast

import msgspec

from storage import keys
from storage.accounts import Who
from storage.shard import Shard

KEPT_MS = 3_600_000
AT_ONCE = 200


class Confirmation(msgspec.Struct, frozen=True, array_like=True):
    """`at_ms` is the shard's clock."""

    at_ms: int
    who: Who


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Confirmation).decode


class Confirmed:
    """Raises Unavailable."""

    def __init__(self, shard: Shard) -> None:
        self._shard = shard

    async def keep(self, whos: Sequence[Who], now_ms: int) -> None:
        """They were confirmed now."""
        for first in range(0, len(whos), AT_ONCE):
            pipe = self._shard.client.pipeline(transaction=False)
            for who in whos[first : first + AT_ONCE]:
                key = keys.confirmed(self._shard.name, who.session_id)
                pipe.set(key, _encode(Confirmation(now_ms, who)), px=KEPT_MS)
            await self._shard.ask(pipe.execute())

    async def find(self, sessions: Sequence[str]) -> dict[str, Confirmation]:
        """By session id; those of whom nothing is known are left out."""
        wanted = [keys.confirmed(self._shard.name, session) for session in sessions]
        found = await self._shard.ask(cast(Any, self._shard.client.mget(wanted))) if wanted else []
        return {id_: _decode(body) for id_, body in zip(sessions, found, strict=True) if body}

    async def forget(self, sessions: Collection[str]) -> None:
        if sessions:
            wanted = [keys.confirmed(self._shard.name, session) for session in sessions]
            await self._shard.ask(cast(Any, self._shard.client.delete(*wanted)))
