"""The log as a node hears it: facts in their order, and whether any was missed.

Redis counts all that was ever added to a stream. Who has read to its end knows that count, and so, one look a
second later, whether it read every fact in between; trimming does not hide what it took away. A look also
names the life of Redis, so that a wiped or replaced one is not taken for one where nothing happens. The
tail has connections of its own: commands that wait cannot starve it.
"""

from typing import Any, NamedTuple

from redis.exceptions import ResponseError

from storage import keys
from storage.facts import Entry, entry_or_fault
from storage.mail import Mail
from storage.shard import Shard, Unavailable

Streams = list[tuple[bytes, list[tuple[bytes, dict[bytes, bytes]]]]]


class Position(NamedTuple):
    """A place in the log of one life of Redis: a fact's stream id, and the how manieth fact it is; and the id
    of the last mail that was read (storage/mail.py)."""

    life: str
    id: str
    number: int
    mail: str


class Heard(NamedTuple):
    """Facts and mail after a position, each in its order; their ids are moments of one clock."""

    entries: list[Entry]
    mail: list[Mail]


class Look(NamedTuple):
    """What one moment shows: the life, what came after a position, and how many facts there ever were."""

    life: str
    heard: Heard
    added: int


class Tail:
    """`node` is whose mail is read beside the log; "" for nobody's."""

    def __init__(self, shard: Shard, node: str = "") -> None:
        self._shard = shard
        self._key = keys.facts(shard.name)
        self._mail = keys.mail(shard.name, node) if node else ""

    @property
    def life(self) -> str:
        """The life that the node's newest connection found."""
        return self._shard.token

    async def newest(self) -> Position:
        """The log's end as it is now; mail from before is nobody's news."""
        shard = self._shard
        await shard.ensure_life()
        seconds, micros = await shard.ask(shard.tail_client.time())
        mail = f"{seconds * 1000 + micros // 1000}-0"
        try:
            info = await shard.ask(shard.tail_client.xinfo_stream(self._key))
        except Unavailable as error:
            if not isinstance(error.__cause__, ResponseError):
                raise
            return Position(shard.token, "0-0", 0, mail)  # nobody has said anything in this life
        return Position(shard.token, info["last-generated-id"].decode(), info["entries-added"], mail)

    async def read(self, after: str, mail: str = "0-0", count: int = 512, block_ms: int = 500) -> Heard:
        """Facts after the stream id `after` and mail after `mail`, waiting up to `block_ms` for the first."""
        client = self._shard.tail_client
        read = client.xread(self._streams(after, mail), count=count, block=block_ms)
        return self._heard(await self._shard.ask(read))

    async def look(self, after: str, mail: str = "0-0", count: int = 512) -> Look:
        """The same without waiting, and what tells whether we hear all of it."""
        shard = self._shard
        streams = self._streams(after, mail)
        reply = await shard.ask(
            shard.look_script([keys.life(shard.name), *streams], [count, *streams.values()])
        )
        token, added, found = reply
        if (token or b"").decode() != shard.token:
            shard.life_changed = True
        await shard.ensure_life()
        return Look(shard.token, self._heard(_parsed(found)), int(added))

    def _streams(self, after: str, mail: str) -> dict[Any, Any]:
        return {self._key: after, self._mail: mail} if self._mail else {self._key: after}

    def _heard(self, streams: Streams) -> Heard:
        heard = Heard([], [])
        for key, entries in streams:
            if key.decode() == self._mail:
                heard.mail.extend(Mail(id_.decode(), fields.get(b"b", b"")) for id_, fields in entries)
            else:
                heard.entries.extend(entry_or_fault(id_, fields) for id_, fields in entries)
        return heard


def _parsed(found: Any) -> Streams:
    """What XREAD says inside a script, as redis-py gives it outside: fields and values by turns become a dict."""
    return [
        (key, [(id_, dict(zip(flat[::2], flat[1::2], strict=True))) for id_, flat in entries])
        for key, entries in found or []
    ]
