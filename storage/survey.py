"""What the whole shard looks like, for operators: everybody online, every open job, and what changed since.

It reads what others keep: the timers name who is online and which jobs wait (PostgreSQL those who have no timer), the
records say the rest, and the facts tell every change, whatever node it came through. Where everybody is stands in the
index and in the last fixes of who is not in it; the stream of fixes would tell more, but what was drained is gone from
it within a moment. All of it is read by whoever shows it, and costs nothing while nobody does.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple, TypeVar, cast

from storage import keys
from storage.facts import Entry, entry_or_fault
from storage.fleet import Fleet, Position, unpack
from storage.postgis import Database, queries
from storage.shard import Shard

T = TypeVar("T")
SQL = queries("survey")
ASIDE_MAX = 1_000  # of each kind
FACTS_MAX = 1_000  # at a look
TIMERS_MAX = 50_000
_CELLS, _IDS = 1_000, 1_000  # at once: a millisecond of Redis


class Changes(NamedTuple):
    """Facts in their order, and the place in the stream after them."""

    entries: list[Entry]
    after: str


class Survey:
    def __init__(self, shard: Shard, fleet: Fleet, database: Database) -> None:
        self._shard = shard
        self._fleet = fleet
        self._database = database

    @property
    def life(self) -> str:
        """Names the life of Redis that answered last."""
        return self._shard.token

    async def newest(self) -> str:
        """The end of the facts as it is now."""
        read = self._shard.client.xrevrange(keys.facts(self._shard.name), count=1)
        end = await self._shard.ask(cast(Any, read))
        return end[0][0].decode() if end else "0-0"

    async def timers(self) -> tuple[list[str], list[str]]:
        """(drivers, jobs) somebody will look at: everybody in supply, every job that nobody has yet."""
        key = keys.due(self._shard.name)
        found = await self._shard.ask(cast(Any, self._shard.client.zrange(key, 0, TIMERS_MAX - 1)))
        drivers: list[str] = []
        jobs: list[str] = []
        for member in found:
            what, _, id_ = member.decode().partition(":")
            (drivers if what == "driver" else jobs).append(id_)
        return drivers, jobs

    async def without_timers(self) -> tuple[list[str], list[str]]:
        """(drivers, jobs) nobody will look at by himself: the silent, and jobs that wait for a person, the newest of
        them, as PostgreSQL has them. Raises DatabaseUnavailable."""
        rows = await self._database.fetch(SQL["without_timers"], self._shard.name, ASIDE_MAX)
        drivers = [row["id"] for row in rows if row["what"] == "driver"]
        return drivers, [row["id"] for row in rows if row["what"] == "job"]

    async def positions(self, driver_ids: list[str]) -> list[Position]:
        """Where these are, as far as the index or the last fix of a job says."""
        s, client = self._shard.name, self._shard.client
        cells: dict[str, set[int]] = {}
        absent: list[str] = []
        for some in _parts(driver_ids, _IDS):
            spots = await self._shard.ask(cast(Any, client.hmget(keys.spot(s), some)))
            for id_, spot in zip(some, spots, strict=True):
                _, cell, classes = spot.decode().split(" ") if spot else ("", "0", "")
                if spot is None or keys.is_soon(classes):
                    absent.append(id_)
                else:
                    cells.setdefault(classes.partition(",")[0], set()).add(int(cell))
        found: list[Position] = []
        for vehicle_class, wanted in cells.items():
            for each in _parts(sorted(wanted), _CELLS):
                found += await self._fleet.read(vehicle_class, each)
        for some in _parts(absent, _IDS):
            packed = await self._shard.ask(client.mget([keys.pos(s, id_) for id_ in some]))
            found += [unpack(id_, each) for id_, each in zip(some, packed, strict=True) if each]
        return found

    async def since(self, after: str) -> Changes:
        """What was said after a place in the stream, a bounded part of it."""
        read = self._shard.client.xread({keys.facts(self._shard.name): after}, count=FACTS_MAX)
        found = await self._shard.ask(cast(Any, read))
        entries = found[0][1] if found else []
        end = entries[-1][0].decode() if entries else after
        return Changes([entry_or_fault(id_, fields) for id_, fields in entries], end)


def _parts(many: list[T], count: int) -> Iterator[list[T]]:
    return (many[first : first + count] for first in range(0, len(many), count))
