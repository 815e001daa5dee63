"""Further drivers' entries in a live index, for as long as a measurement wants them: in by the tick, as nodes put them.

Run as `python -m server.matchbench.entries --count N --box SOUTH WEST NORTH EAST` beside a node. Half of them stand in
the box, in a class that nobody asks for; half around it, in the class that is asked for, farther than any search
reaches: so no request is offered to one of them, and whatever grows with the index is there to be paid for.

| when | then |
|---|---|
| all are in | it says `there` |
| its standard input ends: the measurement is over, or was killed | it says how many still were in, and takes them out |
| it is killed itself | their cells go after ten minutes; `spot` keeps them: use a stack that is thrown away |
| Redis is gone | it ends with an error, and so does the measurement |
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import sys
import time
import uuid
from collections.abc import Mapping
from typing import Any, Final, cast

import uvloop

from dispatch.cells import MAX_SEARCH_RADIUS_M, cell_of
from storage import keys
from storage.fleet import Fleet, Update, pack
from storage.shard import Shard

ASKED_FOR, OTHER = "economy", "comfort"
TICK: Final = 2_000
NODE: Final = "entries"
#: Degrees of latitude: beyond any search's reach, and a belt so wide.
APART_DEG: Final = 1.1 * MAX_SEARCH_RADIUS_M / 111_195
BELT_DEG: Final = 0.3

Place = tuple[float, float]
Box = tuple[float, float, float, float]


def made(count: int, box: Box, seed: int) -> dict[str, dict[str, Place]]:
    """By class, where each of them is."""
    chance, (south, west, north, east) = random.Random(seed), box

    def inside() -> Place:
        return chance.uniform(south, north), chance.uniform(west, east)

    def around() -> Place:
        away = APART_DEG + chance.uniform(0.0, BELT_DEG)
        lat = north + away if chance.random() < 0.5 else south - away
        return lat, chance.uniform(west, east)

    places = {OTHER: inside, ASKED_FOR: around}
    shares = {OTHER: count // 2, ASKED_FOR: count - count // 2}
    return {
        name: {str(uuid.UUID(int=chance.getrandbits(128), version=4)): place() for _ in range(shares[name])}
        for name, place in places.items()
    }


async def enter(shard: Shard, vehicle_class: str, drivers: Mapping[str, Place], ts_ms: int) -> None:
    """Through the tick. Only who has a record enters, so each has one meanwhile."""
    await _tick(shard, "e", vehicle_class, drivers, ts_ms)


async def leave(shard: Shard, vehicle_class: str, drivers: Mapping[str, Place]) -> None:
    await _tick(shard, "l", vehicle_class, drivers, 0)


async def _tick(
    shard: Shard, flag: str, vehicle_class: str, drivers: Mapping[str, Place], ts_ms: int
) -> None:
    client, fleet, boot, rows = shard.client, Fleet(shard), uuid.uuid4().hex, list(drivers.items())
    for tick, first in enumerate(range(0, len(rows), TICK), 1):
        some = rows[first : first + TICK]
        records = [keys.driver(shard.name, id_) for id_, _ in some]
        if flag == "e":
            pipe = client.pipeline(transaction=False)
            for record in records:
                pipe.hset(record, "v", "1")
            await pipe.execute()
        updates = [
            Update(id_, flag, 1, 1, cell_of(*at), vehicle_class, pack(*at, ts_ms, 90.0), 0, False)
            for id_, at in some
        ]
        await fleet.tick(NODE, boot, tick, updates, [])
        if flag == "e":
            await cast(Any, client).unlink(*records)


async def still_in(shard: Shard, vehicle_class: str, drivers: Mapping[str, Place]) -> int:
    """How many of them a reader of the index finds."""
    fleet, cells = Fleet(shard), sorted({cell_of(*at) for at in drivers.values()})
    found = 0
    for first in range(0, len(cells), TICK):
        some = await fleet.read(vehicle_class, cells[first : first + TICK])
        found += sum(each.driver_id in drivers for each in some)
    return found


async def _stay(options: argparse.Namespace) -> None:
    shard = Shard(os.environ.get("DISPATCH_SHARD", "main"), os.environ["DISPATCH_REDIS_URL"], 5.0)
    by_class = made(options.count, tuple(options.box), options.seed)
    try:
        for name, drivers in by_class.items():
            await enter(shard, name, drivers, int(time.time() * 1000))
        sys.stdout.write("there\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.buffer.read)
        found = sum([await still_in(shard, name, drivers) for name, drivers in by_class.items()])
        for name, drivers in by_class.items():
            await leave(shard, name, drivers)
        sys.stdout.write(f"{found}\n")
    finally:
        await shard.close()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="entries", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--count", type=int, required=True, help="so many")
    parser.add_argument("--box", type=float, nargs=4, required=True, help="south, west, north, east; degrees")
    parser.add_argument("--seed", type=int, default=1, help="of places and names (1)")
    return parser.parse_args()


if __name__ == "__main__":
    uvloop.run(_stay(_options()))
