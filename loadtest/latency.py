"""Measures how long a position takes to its watcher at rising load, until the server breaks, on one core.

Drivers on rides stream on an open loop, each to his passenger, through the whole path of a `dispatch serve` on a core
of its own: each level so many positions a second, timed from when they were due. A level is broken when its p99 is more
than 100 ms or when a hundredth was not told; then nothing more is tried. A level at which the load generator itself was
saturated says nothing about the server, and is told as such.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Mapping
from typing import Any

from loadtest.accounting import cpu_s, pids_of
from loadtest.bystanders import feature
from loadtest.cores import bind, two_sides, used_s
from loadtest.neighbour import open_files_for
from loadtest.stage import make_people, put_area
from loadtest.stream import HEARD_LEAST, Side
from loadtest.verdict import run, tell

LEVELS = [1000, 2000, 5000, 7500, 10_000, 12_500, 15_000, 20_000]
FIXES_S_OF_ONE = 8.0  # a driver may send 10
BROKEN_MS = 100.0
GATE, P99_MS_MOST = 10_000, 25.0
WARM_S = 0.5


async def level(side: Side, fixes_s: float, seconds: float, pids: Mapping[str, list[int]]) -> dict[str, Any]:
    """What one level came to; `core` is the share of a core that each part used."""
    await side.stream(fixes_s, min(WARM_S, seconds))
    server_s, before_s = used_s(pids["server"][0]), cpu_s(pids)
    streamed = await side.stream(fixes_s, seconds)
    core = {part: round((now_s - before_s[part]) / seconds, 2) for part, now_s in cpu_s(pids).items()}
    return {
        "p50_ms": round(streamed.quantile_ms(0.5), 2),
        "p99_ms": round(streamed.quantile_ms(0.99), 2),
        "told_share": round(streamed.heard_share, 4),
        "server_us": round((used_s(pids["server"][0]) - server_s) * 1e6 / streamed.sent, 1),
        "core": core,
        "own_share": round(streamed.own_share, 2),
        "own_late_ms": round(streamed.late_ms, 1),
        "void": streamed.void(),
    }


def is_broken(found: Mapping[str, Any]) -> bool:
    return bool(found["p99_ms"] > BROKEN_MS or found["told_share"] < HEARD_LEAST)


def failures(levels: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The promise that did not hold, where its level was reached at all."""
    wrong = [f"{name}/s: {found['void']}" for name, found in levels.items() if found["void"]]
    broken = [int(name) for name, found in levels.items() if is_broken(found)]
    gate = levels.get(str(GATE))
    if broken and min(broken) <= GATE:
        wrong.append(f"it breaks at {min(broken)} fixes/s")
    elif gate is not None and gate["p99_ms"] > P99_MS_MOST:
        wrong.append(f"p99 {gate['p99_ms']:g} ms at {GATE} fixes/s, {P99_MS_MOST:g} are the most")
    return wrong


async def _measure(options: argparse.Namespace) -> int:
    cores, pids = two_sides(), pids_of(os.environ["DISPATCH_PIDS"])
    drivers = math.ceil(max(options.levels) / FIXES_S_OF_ONE)
    open_files_for(2 * drivers)
    bind([os.getpid(), *(pid for part, of in pids.items() if part != "server" for pid in of)], cores.rest)
    bind(pids["server"], cores.measured)
    await put_area(feature())
    side, levels = Side(os.environ["DISPATCH_URL"]), dict[str, dict[str, Any]]()
    try:
        await side.on_rides(await make_people("driver", drivers), await make_people("passenger", drivers))
        for fixes_s in sorted(options.levels):
            found = levels[str(fixes_s)] = await level(side, fixes_s, options.seconds, pids)
            if is_broken(found):
                break
    finally:
        side.leave()
    broken = [int(name) for name, found in levels.items() if is_broken(found)]
    gate = levels.get(str(GATE), {})
    line = {
        "levels": levels,
        "p99_ms_at_10000": gate.get("p99_ms"),
        "breaks_at": min(broken) if broken else None,
        "drivers": drivers,
    }
    return tell(line, failures(levels), as_json=options.json)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="latency", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--levels", type=int, nargs="+", default=LEVELS, help="positions a second, one by one"
    )
    parser.add_argument("--seconds", type=float, default=6.0, help="of each level (6)")
    parser.add_argument("--json", action="store_true", help="one line of figures on standard output")
    parser.add_argument("--check", action="store_true", help="nothing is needed but the stack")
    return parser.parse_args()


def main() -> int:
    options = _options()
    return 0 if options.check else run("latency", lambda: _measure(options))


if __name__ == "__main__":
    sys.exit(main())
