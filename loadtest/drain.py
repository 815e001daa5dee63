"""Measures the drain: fixes a second from the stream into PostGIS, against raw binary COPY into the same table.

Three things are measured in turn, for some rounds: a COPY of packed rows by one connection into `locations`, its
partitions and indexes as they are; the drain with as many fixes on the stream, alone; and the same while the node
serves drivers who stream their positions. Medians are told, the ratio's is over the rounds. The backlog is put on
the stream at one blow, in ticks as nodes send them, and the clock runs until PostgreSQL has counted it whole.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
import time
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import uvloop
from redis.asyncio import Redis

from loadtest.accounting import cpu_s, pids_of
from loadtest.client import Pool
from loadtest.fixload import FILL, Backlog, Served, copy_of
from loadtest.stage import StageError
from loadtest.verdict import tell

SHARD = os.environ.get("DISPATCH_SHARD", "main")
ROUND_S = 120.0
POLL_S = 0.005
ALONE_LEAST, BESIDE_LEAST, RATIO_LEAST = 50_000, 20_000, 0.5


@dataclass
class Rates:
    """Rows a second of each round, and processor time a row of the drain's rounds alone."""

    copy: list[float] = field(default_factory=list)
    alone: list[float] = field(default_factory=list)
    beside: list[float] = field(default_factory=list)
    cpu_us: dict[str, list[float]] = field(default_factory=dict)


class Bench:
    def __init__(self, options: argparse.Namespace, conn: Any, redis: Redis) -> None:
        self._options = options
        self._conn = conn
        self._redis = redis
        self._backlog = Backlog(options.drivers, options.rows, options.per_tick)
        self._pids = pids_of(os.environ.get("DISPATCH_PIDS", ""))
        self.rates = Rates()

    async def copy(self) -> float:
        """Rows a second of one COPY of everything."""
        source = copy_of(self._backlog.fixes())
        began_s = time.monotonic()
        await self._conn.copy_to_table("locations", source=source, format="binary")
        return float(self._options.rows / (time.monotonic() - began_s))

    async def drained(self) -> float:
        """Rows a second of the drain, from the moment when the backlog is there."""
        ticks = self._backlog.ticks()
        before = await self._rows()
        keys = [f"{{{SHARD}}}:fixes", f"{{{SHARD}}}:fixed"]
        await self._redis.eval(FILL, len(keys), *keys, *ticks)
        began_s = time.monotonic()
        while await self._rows() < before + self._options.rows:
            if time.monotonic() - began_s > ROUND_S:
                raise StageError(f"the drain had not come to its end after {ROUND_S:g} s; look at its log")
            await asyncio.sleep(POLL_S)
        return float(self._options.rows / (time.monotonic() - began_s))

    async def _rows(self) -> int:
        sql = "select coalesce(sum(rows + refused), 0)::bigint from drain_cursors where stream = 'fixes'"
        return int(await self._conn.fetchval(sql))

    async def rounds(self, served: Served) -> None:
        await self.drained()  # makes the partition
        await self.copy()
        for _ in range(self._options.rounds):
            self.rates.copy.append(await self.copy())
            before = cpu_s(self._pids)
            self.rates.alone.append(await self.drained())
            for part, spent_s in cpu_s(self._pids).items():
                us = (spent_s - before[part]) * 1e6 / self._options.rows
                self.rates.cpu_us.setdefault(part, []).append(us)
            async with served:
                self.rates.beside.append(await self.drained())


def figures(options: argparse.Namespace, rates: Rates, served: Served) -> dict[str, Any]:
    """The JSON line as a dict: the agreed keys first."""
    copy, alone, beside = (statistics.median(each) for each in (rates.copy, rates.alone, rates.beside))
    return {
        "drain_rows_s": round(alone),
        "beside_rows_s": round(beside),
        "copy_rows_s": round(copy),
        "ratio": round(statistics.median(a / c for a, c in zip(rates.alone, rates.copy, strict=True)), 3),
        "served_fixes_s": round(served.rate()),
        "served_ack_ms": served.acks.quantiles(1, p50=0.5, p99=0.99),
        "cpu_us_per_row": {part: round(statistics.median(us), 1) for part, us in rates.cpu_us.items()},
        "rows": options.rows,
        "per_tick": options.per_tick,
        "drivers": options.drivers,
        "rounds": options.rounds,
        "drain_rounds": [round(rate) for rate in rates.alone],
        "beside_rounds": [round(rate) for rate in rates.beside],
        "copy_rounds": [round(rate) for rate in rates.copy],
    }


def failures(line: dict[str, Any]) -> list[str]:
    """The promises that did not hold."""
    least = {"drain_rows_s": ALONE_LEAST, "beside_rows_s": BESIDE_LEAST, "ratio": RATIO_LEAST}
    return [
        f"{name} {line[name]:g} is less than {most:g}" for name, most in least.items() if line[name] < most
    ]


async def _measure(options: argparse.Namespace) -> int:
    database_url, redis_url = os.environ["DISPATCH_DATABASE_URL"], os.environ["DISPATCH_REDIS_URL"]
    conn = await asyncpg.connect(database_url, timeout=10, command_timeout=ROUND_S)
    redis = Redis.from_url(redis_url, socket_timeout=30)
    try:
        async with Pool(os.environ["DISPATCH_URL"]) as pool:
            served = await Served.ready(pool, options.served_drivers, options.served_fixes_s)
            bench = Bench(options, conn, redis)
            await bench.rounds(served)
    finally:
        await redis.aclose()
        await conn.close()
    line = figures(options, bench.rates, served)
    return tell(line, failures(line), as_json=options.json)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="drain", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=7, help="of each of the three (7)")
    parser.add_argument("--rows", type=int, default=300_000, help="fixes of one round (300000)")
    parser.add_argument("--per-tick", type=int, default=100, help="fixes of one tick (100)")
    parser.add_argument("--drivers", type=int, default=20_000, help="whose fixes they are (20000)")
    parser.add_argument("--served-drivers", type=int, default=400, help="drivers on the node meanwhile (400)")
    parser.add_argument("--served-fixes-s", type=float, default=1000.0, help="their fixes a second (1000)")
    parser.add_argument("--json", action="store_true", help="one line of figures on standard output")
    parser.add_argument("--check", action="store_true", help="nothing is needed but the stack")
    return parser.parse_args()


def main() -> int:
    options = _options()
    if options.check:
        return 0
    try:
        return uvloop.run(_measure(options))
    except KeyError as unset:
        print(f"drain: {unset} is not set; `./dev bench drain` sets it", file=sys.stderr)
    except StageError as error:
        print(f"drain: {error}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
