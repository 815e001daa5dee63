"""The log as a node hears it: facts in their order, and whether any was missed.

Redis counts all that was ever added to a stream. Who has read to its end knows that count, and so, one look a
second later, whether it read every fact in between; trimming does not hide what it took away. A look also
names the life of Redis, so that a wiped or replaced one is not taken for one where nothing happens. The
tail has connections of its own: commands that wait cannot starve it.
"""

from typing import NamedTuple, cast

from redis.exceptions import ResponseError

from storage import keys
from storage.facts import Entry, entry_or_fault
from storage.shard import Shard, Unavailable


class Position(NamedTuple):
    """A place in the log of one life of Redis: a fact's stream id, and the how manieth fact it is."""

    life: str
    id: str
    number: int


class Look(NamedTuple):
    """What one moment shows: the life, facts after a stream id, and how many there ever were."""

    life: str
    entries: list[Entry]
    added: int


class Tail:
    def __init__(self, shard: Shard) -> None:
        self._shard = shard
        self._key = keys.facts(shard.name)

    async def newest(self) -> Position:
        """The log's end as it is now."""
        shard = self._shard
        await shard.ensure_life()
        try:
            info = await shard.ask(shard.tail_client.xinfo_stream(self._key))
        except Unavailable as error:
            if not isinstance(error.__cause__, ResponseError):
                raise
            return Position(shard.token, "0-0", 0)  # nobody has said anything in this life
        return Position(shard.token, info["last-generated-id"].decode(), info["entries-added"])

    async def read(self, after: str, count: int = 512, block_ms: int = 500) -> list[Entry]:
        """Facts after the stream id `after`, waiting up to `block_ms` for the first."""
        read = self._shard.tail_client.xread({self._key: after}, count=count, block=block_ms)
        return _entries(await self._shard.ask(read))

    async def look(self, after: str, count: int = 512) -> Look:
        """The same without waiting, and what tells whether we hear all of it."""
        shard = self._shard
        pipe = shard.tail_client.pipeline(transaction=True)
        pipe.hget(keys.life(shard.name), "token")
        pipe.xread({self._key: after}, count=count)
        pipe.xinfo_stream(self._key)
        token, streams, info = await shard.ask(pipe.execute(raise_on_error=False))
        for answer in (token, streams):
            if isinstance(answer, Exception):
                raise Unavailable(f"Redis of shard {shard.name}: {type(answer).__name__}") from answer
        if (token or b"").decode() != shard.token:
            shard.life_changed = True
        await shard.ensure_life()
        added = 0 if isinstance(info, Exception) else cast(int, info["entries-added"])
        return Look(shard.token, _entries(streams), added)


def _entries(streams: list[tuple[bytes, list[tuple[bytes, dict[bytes, bytes]]]]]) -> list[Entry]:
    return [entry_or_fault(id_, fields) for _, entries in streams for id_, fields in entries]
