"""Breaks a running cluster over and over under load, and proves from what its clients saw that nothing was lost.

Three nodes and two drains on a Redis and a PostgreSQL, every connection through a proxy that can be hurt;
drivers and customers who carry jobs and chat over real sockets, and an admin with a hand in it; a schedule of
faults that the seed makes; and a checker that compares what everybody was told with what PostGIS holds in the
end. With `--fsync everysec` Redis also loses its last second and all it has; what that took is told apart, as
`lost_in_window`. With `--outage 300` nothing breaks but PostgreSQL, which is stopped for that long.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import pickle
import signal
import sys
import time
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import uvloop

from loadtest.faults import held as rows
from loadtest.faults.checker import judge, losses
from loadtest.faults.cluster import Cluster, Place
from loadtest.faults.harm import inflict
from loadtest.faults.held import Held
from loadtest.faults.history import History
from loadtest.faults.outage import Rehearsal
from loadtest.faults.outage_load import Streamers
from loadtest.faults.report import failures, figures, json_line, least, table
from loadtest.faults.schedule import KINDS, POWER_LOSSES, Fault, Kind, kinds_named, plan
from loadtest.faults.town import CENTRE, People, feature
from loadtest.stage import StageError, make_people, put_area

WARM_UP_S = 5.0
STRANGERS = 3
DRAIN_BOUND_S = 60.0
DRAIN_POLL_S = 1.0
PROGRESS_S = 10.0
#: Memory of Redis in which the facts of an outage find room (0.2 MB a second of them come), and not all fixes.
ROOM_MB, ROOM_MB_S = 8.0, 0.28


def main() -> int:
    options = _options()
    try:
        kinds = kinds_named(options.only.split(",")) if options.only else list(KINDS)
    except KeyError as unknown:
        _say(
            f"faults: there is no fault {unknown}; there are {', '.join(k.name for k in (*KINDS, *POWER_LOSSES))}"
        )
        return 2
    if options.check:
        return 0
    if options.fsync == "everysec" and not options.only:
        kinds += POWER_LOSSES
    try:
        place = Place(
            os.environ["DISPATCH_DATABASE_URL"],
            os.environ["DISPATCH_REDIS_PROGRAM"],
            Path(os.environ["DISPATCH_LOGS"]),
            os.environ.get("DISPATCH_POSTGRES_SWITCH", ""),
        )
    except KeyError as unset:
        print(f"faults: {unset} is not set; `./dev bench faults` sets it", file=sys.stderr)
        return 2
    if options.outage and not place.postgres_switch:
        _say("faults: --outage stops PostgreSQL, so it must be the bench's own: unset TEST_DATABASE_URL")
        return 2
    try:
        return uvloop.run(_until_told(_run(options, place, kinds)))
    except (StageError, TimeoutError) as error:
        print(f"faults: {error or 'the cluster or its people were not ready in time'}", file=sys.stderr)
        return 2
    except asyncio.CancelledError:
        return 130


async def _until_told(work: Coroutine[Any, Any, int]) -> int:
    """Runs the work; SIGTERM and SIGINT end it, and with it every process that it started."""
    task = asyncio.ensure_future(work)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    return await task


async def _run(options: argparse.Namespace, place: Place, kinds: Sequence[Kind]) -> int:
    await put_area(feature(options.plenty))
    streaming = options.streamers if options.outage else 0
    drivers = await make_people("driver", options.drivers + options.nodes + streaming)
    riders = await make_people("passenger", options.riders)
    (admin,) = await make_people("admin", 1)
    # whom PostgreSQL lets in or not, nobody can change while it is away
    extra = 0 if options.outage else STRANGERS
    strangers = [each.user_id for each in await make_people("passenger", extra)]
    history, outage = History(), None
    memory_mb = (options.redis_mb or round(ROOM_MB + ROOM_MB_S * options.outage)) if options.outage else 0
    cluster = Cluster(
        place, nodes=options.nodes, drains=options.drains, fsync=options.fsync, redis_memory_mb=memory_mb
    )
    people = People(options.seed, history)
    try:
        await cluster.start()
        await people.come(cluster.urls, drivers[streaming:], riders, admin, strangers)
        async with _progress(history):
            if options.outage:
                streamers = await Streamers.come(cluster, drivers[:streaming], CENTRE, options.fixes_s)
                outage = Rehearsal(cluster, streamers, riders[0].token)
                await outage.run(options.outage)
            else:
                await _break(cluster, _schedule(options, kinds), history, options.minutes * 60)
        await people.fall_silent()
        history.ended_s = time.time()
        await people.go()
        held = await _drained(cluster, history)
        told = {"outage": await outage.told(history)} if outage is not None else {}
    finally:
        await cluster.stop()
    if options.history:
        options.history.write_bytes(pickle.dumps((history, held)))
    line = figures(options.seed, history, held, judge(history, held), cluster.died) | told
    line["least"] = _least(options, kinds)
    line["errors"] = dict(people.tally.errors.most_common(8))
    print(table(line), file=sys.stderr if options.json else sys.stdout, flush=True)
    if options.json:
        print(json_line(line), flush=True)
    return 1 if failures(line) else 0


def _schedule(options: argparse.Namespace, kinds: Sequence[Kind]) -> list[Fault]:
    length_s = options.minutes * 60
    schedule = plan(options.seed, length_s, kinds, WARM_UP_S)
    _say(f"seed {options.seed}: {len(schedule)} faults of {len(kinds)} kinds in {length_s:g} s")
    return schedule


def _least(options: argparse.Namespace, kinds: Sequence[Kind]) -> dict[str, float]:
    crowd = min(options.drivers, options.riders)
    if not options.outage:
        return least(options.minutes, crowd, [kind.name for kind in kinds])
    return least(options.outage / 60, crowd, ()) | {"faults": 0}


async def _break(cluster: Cluster, schedule: Sequence[Fault], history: History, length_s: float) -> None:
    """Does what the schedule says at its times; returns when the time is over and all is repaired."""
    loop = asyncio.get_running_loop()
    started_s = loop.time()
    harms: list[asyncio.Task[None]] = []
    try:
        for fault in schedule:
            await asyncio.sleep(max(0.0, started_s + fault.at_s - loop.time()))
            harms.append(asyncio.create_task(inflict(cluster, fault, history)))
        await asyncio.gather(*harms)
        await asyncio.sleep(max(0.0, started_s + length_s - loop.time()))
    finally:
        for task in harms:
            task.cancel()
        await asyncio.gather(*harms, return_exceptions=True)


async def _drained(cluster: Cluster, history: History) -> Held:
    """Waits for the drain, for a bounded time; what is missing then is lost."""
    _say("comparing with PostGIS ...")
    deadline_s = time.monotonic() + DRAIN_BOUND_S
    batched = {driver for driver, _ in history.batched}
    while True:
        held = await rows.read(cluster.place.database_url, batched)
        if time.monotonic() > deadline_s or not losses(history, held)[0]:
            return held
        await asyncio.sleep(DRAIN_POLL_S)


@asynccontextmanager
async def _progress(history: History) -> AsyncIterator[None]:
    """A line on standard error every PROGRESS_S while the block runs."""
    task = asyncio.create_task(_say_progress(history))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _say_progress(history: History) -> None:
    started_s = time.monotonic()
    while True:
        await asyncio.sleep(PROGRESS_S)
        acked = sum(command.acked for command in history.commands)
        last = history.faults[-1].kind if history.faults else "nothing yet"
        _say(
            f"{time.monotonic() - started_s:5.0f} s  faults {len(history.faults)} (last: {last})  acked {acked}  "
            f"unanswered {history.open_commands()}  heard {len(history.heard)}"
        )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="faults", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seed", type=int, default=1, help="of the schedule, and of what people do (1)")
    parser.add_argument("--minutes", type=float, default=10.0, help="how long things break (10)")
    parser.add_argument("--json", action="store_true", help="one line of figures on standard output")
    parser.add_argument("--nodes", type=int, default=3, help="dispatch serve processes (3)")
    parser.add_argument("--drains", type=int, default=2, help="dispatch drain processes (2)")
    parser.add_argument("--drivers", type=int, default=30, help="drivers, who are couriers as well (30)")
    parser.add_argument("--riders", type=int, default=30, help="passengers, who are senders as well (30)")
    parser.add_argument(
        "--plenty", type=float, default=3.0, help="the area's rule; 1000: every request by the batch (3)"
    )
    parser.add_argument("--only", help="kinds of faults, separated by commas; without it: all")
    parser.add_argument(
        "--fsync",
        choices=("always", "everysec"),
        default="always",
        help="of Redis' file; everysec adds power losses (always)",
    )
    parser.add_argument(
        "--outage",
        type=float,
        default=0.0,
        help="instead of faults PostgreSQL is stopped for so many seconds",
    )
    parser.add_argument(
        "--streamers", type=int, default=300, help="drivers who only stream, with --outage (300)"
    )
    parser.add_argument("--fixes-s", type=float, default=1_000.0, help="their positions a second (1000)")
    parser.add_argument(
        "--redis-mb",
        type=int,
        help="of Redis, with --outage (what the facts of it need, and too little for all fixes)",
    )
    parser.add_argument("--history", type=Path, help="writes what was seen to this file, for a closer look")
    parser.add_argument("--check", action="store_true", help="only say whether it could run")
    return parser.parse_args()


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
