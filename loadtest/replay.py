"""Replays a recorded day of a real taxi fleet over sockets against the server, and checks every promise.

Every cab of the recording is a driver's socket that streams its real fixes, mapped to now at rate N; every
real ride is a passenger's socket that asks 240 s before its pickup, one in five as a parcel. A matched cab
leaves its trace: from there on it is simulation, counted as such, until it rejoins. The recorded `occupied`
flag is not used: the rides it stands for are asked again here, so every cab is supply until this replay
gives it a job. All cabs take rides and parcels, one job at a time. The load is open loop: no fix and no
request waits for the server.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import uvloop

from loadtest import replay_area
from loadtest.accounting import counters, cpu_s, increase, per_fix_us, pids_of
from loadtest.client import Pool
from loadtest.oracle import Served, serve
from loadtest.replay_run import TAIL_S, WARM_UP_S, Day, ReplayRun
from loadtest.report import Outcome, failures, figures, json_line, table
from loadtest.stage import StageError, make_people, put_area
from loadtest.traces import first_time_s, read_rides, read_traces, window_s
from loadtest.verify import Run, verify

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
TRACES = DATA / "traces_sf_dev_2008-05-30fri.csv.gz"
REQUESTS = DATA / "sf_requests_dev_2008-05-17_05-31.csv.gz"
LOOK_BACK_S = 600.0
SETTLE_WALL_S = 1.0
BELIEVED = ("kept", "jitter")  # outcomes of a fix that goes into history


@dataclass(frozen=True)
class Place:
    """Where the running server is, and what may be looked at behind it."""

    url: str
    database_url: str
    pids: dict[str, list[int]]


def main() -> int:
    options = _options()
    if missing := [file.name for file in (options.traces, options.requests) if not file.exists()]:
        _say(
            "replay needs the San Francisco recording, which is not part of this repository: put "
            f"{' and '.join(missing)} into ../shared/data or name it with --traces and --requests."
        )
        return 2
    if options.check:
        return 0
    try:
        place = Place(
            os.environ["DISPATCH_URL"],
            os.environ["DISPATCH_DATABASE_URL"],
            pids_of(os.environ.get("DISPATCH_PIDS", "")),
        )
    except KeyError as unset:
        print(f"replay: {unset} is not set; `./dev bench replay` sets it", file=sys.stderr)
        return 2
    try:
        return uvloop.run(_replay(options, place))
    except (StageError, TimeoutError) as error:
        print(f"replay: {error or 'not all cabs could connect in time'}", file=sys.stderr)
        return 2


async def _replay(options: argparse.Namespace, place: Place) -> int:
    day = _load(options)
    if not day.traces or not day.rides:
        _say("replay: nothing happens between these times in these files")
        return 2
    _say(f"{len(day.traces)} cabs, {len(day.rides)} rides; {replay_area.scaling(options.speed)}")
    await put_area(
        replay_area.feature(options.speed, [point for trace in day.traces for point in trace.points])
    )
    drivers = await make_people("driver", len(day.traces))
    customers = await make_people("passenger", len(day.rides))
    since_s = time.time()
    async with Pool(place.url) as pool:
        run = ReplayRun(day, options.speed, options.seed, pool)
        await run.connect_cabs(drivers)
        fixes_before, cpu_before, started_s = await _fixes(pool, place), cpu_s(place.pids), time.monotonic()
        await run.run(customers)
        wall_s = time.monotonic() - started_s
        await run.disconnect()
        await asyncio.sleep(SETTLE_WALL_S)
        cpu_after = cpu_s(place.pids)
        kept = increase(fixes_before, await _fixes(pool, place))
    _say("comparing with PostGIS and with brute force ...")
    believed = sum(kept.get(outcome, 0) for outcome in BELIEVED)
    whose = Run([each.user_id for each in drivers], [each.user_id for each in customers], since_s, believed)
    findings = await verify(place.database_url, run.ledger, whose)
    out = Outcome(options.speed, len(drivers), run.ledger, _brute_force(run), findings, {}, kept, wall_s)
    out.cpu_us_per_fix.update(per_fix_us(cpu_before, cpu_after, out.fixes_sent))
    return _tell(out, options)


def _load(options: argparse.Namespace) -> Day:
    started_s = time.monotonic()
    from_s, to_s = window_s(first_time_s(options.traces), options.start, options.end)
    traces = read_traces(options.traces, from_s - LOOK_BACK_S, to_s + TAIL_S)
    # Only who is on duty while requests come is in this replay.
    on_duty = [each for each in traces if each.ts[-1] >= from_s - WARM_UP_S and each.ts[0] < to_s]
    ahead_s = replay_area.ASK_BEFORE_PICKUP_S
    rides = read_rides(options.requests, from_s + ahead_s, to_s + ahead_s)
    _say(f"read {sum(len(each.points) for each in on_duty)} fixes in {time.monotonic() - started_s:.1f} s")
    return Day(on_duty, rides, from_s, to_s)


def _brute_force(run: ReplayRun) -> Served:
    return serve(run.day.traces, run.day.rides, replay_area.rules(), run.temper, run.job_ids.__getitem__)


async def _fixes(pool: Pool, place: Place) -> dict[str, float]:
    async with pool.session.get(f"{place.url}/metrics") as answer:
        return counters(await answer.text(), "dispatch_fixes_total", "outcome")


def _tell(out: Outcome, options: argparse.Namespace) -> int:
    line = figures(out)
    wrong = failures(line)
    notes = [
        replay_area.scaling(out.speed),
        "positions between offer and end of a job are simulated; all others are the recording's own",
        "pickup_m: from where the cab that took the job was when it was asked",
        "nearest_pickup_m: to the nearest free cab at the request, over the jobs that were matched",
        "acked: ids that clients were told, by acks and by events; rows: of jobs, facts, chat and offers in PostGIS",
        "an acked change is told as an event as well, so acked is larger; lost and untold_rows compare id by id",
        "offer_ms: requests that had a free cab in reach; offer_any_ms: all",
        *(f"NOT HELD: {each}" for each in wrong),
    ]
    print(table(line, notes), file=sys.stderr if options.json else sys.stdout, flush=True)
    if options.json:
        print(json_line(line), flush=True)
    return 1 if wrong else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="replay", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--speed", type=float, default=20.0, help="how many times as fast as the day was (20)"
    )
    parser.add_argument("--traces", type=Path, default=TRACES, help=f"cabs' fixes, CSV ({_shown(TRACES)})")
    parser.add_argument(
        "--requests", type=Path, default=REQUESTS, help=f"real rides, CSV ({_shown(REQUESTS)})"
    )
    parser.add_argument("--from", dest="start", default="18:00", metavar="HH:MM", help="local time (18:00)")
    parser.add_argument("--to", dest="end", default="19:00", metavar="HH:MM", help="local time (19:00)")
    parser.add_argument("--seed", type=int, default=1, help="of what people do by chance (1)")
    parser.add_argument("--json", action="store_true", help="one line of figures on standard output")
    parser.add_argument("--check", action="store_true", help="only say whether the recording is there")
    return parser.parse_args()


def _shown(file: Path) -> str:
    return f"../shared/data/{file.name}"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
