"""Measures the index: memory of a driver, and the nearest of 50,000, beside GEOSEARCH and PostGIS for the same.

A city of 30 km with drivers in crowds and alone, named by UUIDs, all through the tick, as nodes put them. The question
is the K nearest within a radius. Ours asks for cells until nobody unread can be among them; each answer is compared
with a look at all drivers. Redis' own account of its commands' time is compared, so neither wires nor clients count:
GEOSEARCH with the whole radius, which is the same question, and with the farthest that was found, which it could not
know and is told as a favour. PostGIS answers by a GiST index (KNN), and tells the time itself. By turns, on one Redis.
"""

import argparse
import os
import random
import sys
import uuid
from collections.abc import Sequence
from typing import Any, cast

import msgspec
import uvloop

from dispatch.cells import NearestSearch, distance_m
from server.devstack import private_redis
from server.matchbench.entries import enter
from storage import keys
from storage.fleet import Fleet, pack, unpack
from storage.postgis import connect
from storage.shard import Shard

S, CLASS = "bench", "economy"
CENTRE, SIDE_DEG = (50.0, 36.2), 0.27
BYTES_MOST, RATIO_MOST = 75.0, 0.5
TICK = 2_000
OPTIONS: dict[str, Any] = {
    "hash-max-listpack-entries": 512
}  # as deploy/ sets it: a crowd in one cell stays packed
WANT, RADIUS_M = 8, 6_000.0

Place = tuple[float, float]


def city(chance: random.Random, count: int) -> dict[str, Place]:
    """Half of them in forty crowds, half anywhere; as the index rounds positions."""
    crowds = [(chance.uniform(-1, 1), chance.uniform(-1, 1)) for _ in range(40)]

    def one() -> Place:
        north, east = (
            (each + chance.gauss(0, 0.1) for each in chance.choice(crowds))
            if chance.random() < 0.5
            else (chance.uniform(-1, 1), chance.uniform(-1, 1))
        )
        return CENTRE[0] + north * SIDE_DEG / 2, CENTRE[1] + east * SIDE_DEG * 0.75

    made = {str(uuid.UUID(int=chance.getrandbits(128), version=4)): one() for _ in range(count)}
    return {id_: unpack(id_, pack(*at, 0, None))[1:3] for id_, at in made.items()}


async def fill(shard: Shard, drivers: dict[str, Place]) -> None:
    """The index, through the tick, and a GEO set of the same positions."""
    rows = list(drivers.items())
    for first in range(0, len(rows), TICK):
        pipe = shard.client.pipeline(transaction=False)
        for id_, (lat, lng) in rows[first : first + TICK]:
            pipe.execute_command("GEOADD", "geo", lng, lat, id_)
        await pipe.execute()
    await enter(shard, CLASS, drivers, 1_800_000_000_000)


async def bytes_a_driver(shard: Shard, count: int) -> tuple[float, float]:
    """Of a class, in the index: every cell's key with all that Redis needs for it. And, once for all his classes, of
    the hash that says where each of them stands."""
    client, total = cast(Any, shard.client), 0
    names = [key async for key in client.scan_iter(match=keys.index(S, CLASS, "*"), count=5_000)]
    for first in range(0, len(names), TICK):
        pipe = client.pipeline(transaction=False)
        for name in names[first : first + TICK]:
            pipe.execute_command("MEMORY", "USAGE", name, "SAMPLES", 0)
        total += sum(await pipe.execute())
    spot = await client.execute_command("MEMORY", "USAGE", keys.spot(S), "SAMPLES", 0)
    return total / count, spot / count


class Asked:
    """Microseconds of the server for a question, by who was asked."""

    def __init__(self, shard: Shard, database: Any) -> None:
        self._shard, self._fleet, self._database = shard, Fleet(shard), database
        self.us: dict[str, list[float]] = {"ours": [], "geosearch": [], "geosearch_told": [], "postgis": []}
        self.calls: list[int] = []
        self.wrong = 0

    async def ask(self, place: Place, drivers: dict[str, Place]) -> None:
        before = await self._spent("evalsha")
        search: NearestSearch[None] = NearestSearch(*place, WANT, RADIUS_M)
        calls = 0
        while (cells := search.ask()) is not None:
            calls += 1
            found = await self._fleet.read(CLASS, cells)
            search.feed((p.driver_id, p.lat_deg, p.lng_deg, None) for p in found)
        self.us["ours"].append(await self._spent("evalsha") - before)
        self.calls.append(calls)
        best = [(near.distance_m, near.driver_id) for near in search.best()]
        box = [(id_, at) for id_, at in drivers.items() if _in_box(place, at)]
        away = sorted((distance_m(*place, *at), id_) for id_, at in box)
        self.wrong += best != [each for each in away[:WANT] if each[0] <= RADIUS_M]
        await self._geosearch("geosearch", place, RADIUS_M)
        await self._geosearch("geosearch_told", place, best[-1][0] + 1.0 if len(best) == WANT else RADIUS_M)
        await self._postgis(place)

    async def _geosearch(self, name: str, place: Place, radius_m: float) -> None:
        before = await self._spent("geosearch")
        lat, lng = place
        command: list[Any] = ["GEOSEARCH", "geo", "FROMLONLAT", lng, lat, "BYRADIUS", radius_m, "m"]
        await cast(Any, self._shard.client).execute_command(*command, "ASC", "COUNT", WANT, "WITHCOORD")
        self.us[name].append(await self._spent("geosearch") - before)

    async def _postgis(self, place: Place) -> None:
        lat, lng = place
        plan = await self._database.fetchval(
            "explain (analyze, timing off, format json) select id from bench_drivers "
            "where st_dwithin(at, st_setsrid(st_makepoint($2, $1), 4326)::geography, $3) "
            "order by at <-> st_setsrid(st_makepoint($2, $1), 4326)::geography limit $4",
            lat, lng, RADIUS_M, WANT,
        )  # fmt: skip
        plan = msgspec.json.decode(plan) if isinstance(plan, str | bytes) else plan
        self.us["postgis"].append(plan[0]["Execution Time"] * 1_000)

    async def _spent(self, command: str) -> float:
        stats: dict[str, dict[str, float]] = await self._shard.client.info("commandstats")
        return stats.get(f"cmdstat_{command}", {}).get("usec", 0.0)


async def into_postgis(database: Any, drivers: dict[str, Place]) -> None:
    await database.execute("create temp table bench_drivers (id text, at geography(point, 4326))")
    lats, lngs = ([at[axis] for at in drivers.values()] for axis in (0, 1))
    await database.execute(
        "insert into bench_drivers select id, st_setsrid(st_makepoint(lng, lat), 4326)::geography "
        "from unnest($1::text[], $2::float8[], $3::float8[]) as d (id, lng, lat)",
        list(drivers), lngs, lats,
    )  # fmt: skip
    await database.execute("create index on bench_drivers using gist (at)")
    await database.execute("analyze bench_drivers")


def _in_box(place: Place, at: Place) -> bool:
    """Whether it may be within the radius: a degree of latitude is 111 km, one of longitude here 71."""
    return abs(place[0] - at[0]) < RADIUS_M / 110_000 and abs(place[1] - at[1]) < RADIUS_M / 65_000


def _quantile(values: Sequence[float], share: float) -> float:
    return round(sorted(values)[round(share * (len(values) - 1))], 1)


async def _measure(options: argparse.Namespace) -> int:
    chance = random.Random(options.seed)
    drivers = city(chance, options.drivers)
    database = await connect(os.environ["DISPATCH_DATABASE_URL"], 120.0)
    with private_redis(**OPTIONS) as server:
        shard = Shard(S, server.url)
        await fill(shard, drivers)
        await into_postgis(database, drivers)
        asked, places = Asked(shard, database), list(drivers.values())
        for number in range(options.questions):
            at = places[chance.randrange(len(places))] if number % 2 else city(chance, 1).popitem()[1]
            await asked.ask(at, drivers)
        a_driver, spot = await bytes_a_driver(shard, len(drivers))
        await shard.close()
    await database.close()
    mean = {name: sum(us) / len(us) for name, us in asked.us.items()}
    line = {
        "candidates": {
            "to_geosearch": round(mean["ours"] / mean["geosearch"], 3),
            "to_geosearch_told": round(mean["ours"] / mean["geosearch_told"], 3),
            "to_postgis": round(mean["ours"] / mean["postgis"], 3),
            "wrong": asked.wrong,
        },
        "index_bytes": round(a_driver, 1),
        "spot_bytes": round(spot, 1),
        **{
            f"{name}_us": {
                "mean": round(mean[name], 1),
                "p50": _quantile(us, 0.5),
                "p99": _quantile(us, 0.99),
            }
            for name, us in asked.us.items()
        },
        "calls": round(sum(asked.calls) / len(asked.calls), 2),
        "drivers": options.drivers,
        "questions": options.questions,
    }
    wrong = [f"NOT HELD: {asked.wrong} answers are not the nearest"] if asked.wrong else []
    if mean["ours"] > RATIO_MOST * mean["geosearch"]:
        wrong.append(f"NOT HELD: more than {RATIO_MOST:g} of GEOSEARCH's time")
    if a_driver > BYTES_MOST:
        wrong.append(f"NOT HELD: more than {BYTES_MOST:g} bytes a driver")
    text = [f"{name:18} {value}" for name, value in line.items()]
    (sys.stderr if options.json else sys.stdout).write("\n".join([*text, *wrong]) + "\n")
    if options.json:
        sys.stdout.write(msgspec.json.encode(line).decode() + "\n")
    return 1 if wrong else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="index", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--drivers", type=int, default=50_000, help="in the index (50000)")
    parser.add_argument(
        "--questions", type=int, default=300, help="half where drivers are, half anywhere (300)"
    )
    parser.add_argument("--seed", type=int, default=1, help="of the city and of the questions (1)")
    parser.add_argument("--json", action="store_true", help="one line of figures on standard output")
    parser.add_argument("--check", action="store_true", help="nothing is needed but the stack")
    return parser.parse_args()


if __name__ == "__main__":
    chosen = _options()
    sys.exit(0 if chosen.check else uvloop.run(_measure(chosen)))
