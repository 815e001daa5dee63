"""Who is where: the packed live index, its one writer (the tick) and its one reader.

The index is a hint, never the truth: it holds drivers with spare capacity, one packed entry per class and
cell, each with the moment of its fix, so that a reader can tell a ghost. Only the lease holder's node adds a
driver, and only while his record has the version that node knows; any commit may remove him.

A driver whose ride ends soon stands in classes of their own (`keys.soon`), at its dropoff, as of the moment at which he
is expected there; whoever looks for free vehicles does not see him.
"""

import struct
from collections.abc import Collection, Iterable, Sequence
from typing import Any, NamedTuple, cast

import msgpack
import msgspec

from storage import keys
from storage.mail import MAIL_MAX, MAIL_TTL_MS, Relayed
from storage.shard import Shard

# lat and lng in 1e-7 degrees (1 cm), fix time in ms, heading in degrees (65535: unknown)
_POSITION = struct.Struct("<iiqH")
NO_HEADING = 65_535
BATCHES_MAX = 5_000  # that wait for the drain, 150 MB; live fixes are thinned then, these are not taken
BATCH_TTL_MS = 86_400_000  # so long the same batch again gets its first answer
INDEX_TTL_MS = 600_000  # a cell nobody writes to any more goes by itself


class Position(NamedTuple):
    driver_id: str
    lat_deg: float
    lng_deg: float
    ts_ms: int
    heading_deg: float | None


class Update(msgspec.Struct):
    """One driver's part of a tick. `flag`: e enters the index, m is still in it, l leaves it, - is not in it.
    `stale_ms` 0 sends no sign of life; `carries` keeps the position for those who join his job's room. `soon` is what
    the index shows instead of the position: where his ride ends, and when."""

    driver_id: str
    flag: str
    generation: int
    version: int
    cell: int
    classes: str
    position: bytes
    stale_ms: int
    carries: bool
    soon: bytes = b""


class Batch(msgspec.Struct):
    """Fixes that were recorded while a phone was away; `generation` is the lease it has now, `content` a digest
    of what was sent, `answer` what it is answered, the first time and every other."""

    driver_id: str
    id: str
    generation: int
    content: str
    answer: bytes
    fixes: list[tuple[Any, ...]]


def pack(lat_deg: float, lng_deg: float, ts_ms: int, heading_deg: float | None) -> bytes:
    heading = NO_HEADING if heading_deg is None else int(heading_deg) % 360
    return _POSITION.pack(round(lat_deg * 1e7), round(lng_deg * 1e7), ts_ms, heading)


def unpack(driver_id: str, packed: bytes) -> Position:
    lat, lng, ts_ms, heading = _POSITION.unpack(packed)
    return Position(driver_id, lat / 1e7, lng / 1e7, ts_ms, None if heading == NO_HEADING else float(heading))


class Ticked(NamedTuple):
    """Redis' clock, and how many nodes there are besides this one."""

    now_ms: int
    others: int


class Fleet:
    def __init__(self, shard: Shard, fixes_max: int = 200_000) -> None:
        self._shard = shard
        self._fixes_max = fixes_max

    @property
    def epoch(self) -> str:
        """Names the life of Redis; with another one the index may have lost entries."""
        return self._shard.epoch

    async def tick(
        self,
        node: str,
        boot: str,
        tick: int,
        updates: Collection[Update],
        fixes: list[tuple[Any, ...]],
        *,
        relayed: Iterable[Relayed] = (),
    ) -> Ticked:
        """Applies a tick in one call. A repeat of the same tick does nothing, so after Unavailable the caller
        sends it again unchanged."""
        s = self._shard.name
        packed = msgpack.packb(fixes) if fixes else b""
        args: list[Any] = [f"{{{s}}}:", node, boot, tick, packed, len(fixes), self._fixes_max]
        # numbers as text, for Lua's are not exact beyond 2**53
        moves = [
            (
                *(u.driver_id, u.flag, str(u.generation), str(u.version), str(u.cell), u.classes or "-"),
                *(u.stale_ms, u.carries, u.position, keys.entry(u.driver_id), u.soon),
            )
            for u in updates
        ]
        rows = [event.row() for event in relayed]
        args += [INDEX_TTL_MS, MAIL_MAX, MAIL_TTL_MS]
        args += [msgpack.packb(each, use_bin_type=False) for each in (moves, rows)]  # Redis has no binary
        wanted = [keys.tick(s, node), keys.spot(s), keys.due(s), keys.fixes(s)]
        wanted += [keys.fixed(s), keys.nodes(s)]
        return Ticked(*await self._shard.ask(self._shard.tick_script(wanted, args)))

    async def keep(self, batch: Batch, node: str) -> tuple[str, bytes]:
        """Keeps a batch of fixes, once, and returns what became of it and the answer: `kept` or `again`, with
        the first answer, `duplicate`, `superseded`, or `full` when too many wait for the drain. After
        Unavailable a repeat finds out."""
        s = self._shard.name
        wanted = [keys.batch(s, batch.driver_id, batch.id), keys.driver(s, batch.driver_id), keys.past(s)]
        packed = msgpack.packb(batch.fixes) if batch.fixes else b""
        args = [batch.generation, batch.content, batch.answer, packed, BATCHES_MAX, BATCH_TTL_MS, node]
        outcome, *first = await self._shard.kept(self._shard.batch_script, wanted, args)
        if outcome == b"again":
            await self._shard.settled()
        return outcome.decode(), first[0] if first else batch.answer

    async def read(self, vehicle_class: str, cells: list[int]) -> list[Position]:
        """All entries of these cells, one call; the caller looks at their age."""
        prefix = keys.index(self._shard.name, vehicle_class, "")
        found = await self._shard.ask(
            self._shard.near_script([keys.spot(self._shard.name)], [prefix, *cells])
        )
        return [
            unpack(keys.entered(name), packed) for name, packed in zip(found[::2], found[1::2], strict=True)
        ]

    async def occupied(self, at_most: int) -> list[int] | None:
        """The cells with anybody in them, of whatever class; None when more drivers than `at_most` are in the index."""
        client, spot = cast(Any, self._shard.client), keys.spot(self._shard.name)
        if await self._shard.ask(client.hlen(spot)) > at_most:
            return None
        return sorted({int(held.split(b" ")[1]) for held in await self._shard.ask(client.hvals(spot))})

    async def may_look(self, user: str, every_s: int) -> bool:
        """Whether this user has not looked for so long, on whatever node; then he has now."""
        key = keys.looked(self._shard.name, user)
        return bool(await self._shard.ask(self._shard.client.set(key, 1, nx=True, px=every_s * 1000)))

    async def last_position(self, driver_id: str) -> Position | None:
        """The last fix of a driver who is not in the index, from whatever node it came through."""
        packed = await self._shard.ask(self._shard.client.get(keys.pos(self._shard.name, driver_id)))
        return unpack(driver_id, cast(bytes, packed)) if packed else None

    async def last_positions(self, driver_ids: Sequence[str]) -> list[Position]:
        """The same of several, of those who have one."""
        if not driver_ids:
            return []
        wanted = [keys.pos(self._shard.name, id_) for id_ in driver_ids]
        found = cast("list[bytes | None]", await self._shard.ask(cast(Any, self._shard.client.mget(wanted))))
        return [unpack(id_, packed) for id_, packed in zip(driver_ids, found, strict=True) if packed]
