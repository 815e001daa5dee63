"""Measures what idle connections cost this server's transport and Node's: memory, the connecting, and the end of all.

A fresh server of each kind by turns, on a core of its own. Memory is its Pss, before and after: when all are connected
and a heartbeat of all has gone by. `stall_ms` is how long somebody else waits for an answer when all break at once: the
server is held still while the system breaks every line, so that it finds them all in the same moment, and is let go;
a client that stayed asks on an open loop, and its longest wait counts.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from loadtest.cores import Cores, bind, two_sides, used_s
from loadtest.crowd import crowd
from loadtest.light import Light, connect_peer
from loadtest.neighbour import open_files_for
from loadtest.peers.running import Peer, running
from loadtest.stage import StageError
from loadtest.verdict import run, tell

NEEDS = {"node"}
CLIENTS = [5000, 10_000]
SIDES = ("bare", "node")
WARM_CLIENTS = 100  # who load what is loaded at the first need
CALM_S, HELD_S = 1.0, 0.3
ASK_EVERY_S, ANSWER_S = 0.006, 30.0
STALL_MS_MOST = 250.0


class Figures(NamedTuple):
    kib_each: float
    connect_us: float
    stall_ms: float
    calm_ms: float  # the longest wait before
    own_late_ms: float  # by how much the asker himself was late while all broke


def pss_kib(pid: int) -> int:
    """Memory of a process, its share of what it has in common with others."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    raise StageError("this system does not tell the memory of a process")


class Asker:
    """One more client, who wants to be answered while others come and go."""

    def __init__(self, line: Light) -> None:
        self._line = line
        self._number = 0
        self.late_ms = 0.0

    async def longest_ms(self, seconds: float) -> float:
        """Of everything asked in this time. Raises OSError, or TimeoutError without an answer."""
        waits: list[float] = []
        asked: list[asyncio.Future[Any]] = []
        began_s, step, self.late_ms = time.perf_counter(), 0, 0.0
        while (due_s := began_s + step * ASK_EVERY_S) < began_s + seconds:
            await asyncio.sleep(max(0.0, due_s - time.perf_counter()))
            self.late_ms = max(self.late_ms, (time.perf_counter() - due_s) * 1000)
            asked.append(self._ask(due_s, waits))
            step += 1
        async with asyncio.timeout(ANSWER_S):
            await asyncio.gather(*asked)
        return max(waits)

    def _ask(self, due_s: float, waits: list[float]) -> asyncio.Future[Any]:
        self._number += 1
        answer = self._line.call("echo", {"n": self._number})
        answer.add_done_callback(lambda _: waits.append((time.perf_counter() - due_s) * 1000))
        return answer


async def measured(peer: Peer, clients: int, settle_s: float, ask_s: float) -> Figures:
    """Of a fresh server. Raises StageError, OSError or TimeoutError."""
    async with crowd(peer.url, WARM_CLIENTS):
        pass
    line = await connect_peer(peer.url, {"room": "asker"})
    try:
        asker = Asker(line)
        calm_ms = await asker.longest_ms(min(CALM_S, ask_s))
        empty_kib, before_s = pss_kib(peer.pid), used_s(peer.pid)
        async with crowd(peer.url, clients) as many:
            spent_s = used_s(peer.pid) - before_s
            await asyncio.sleep(settle_s)
            full_kib = pss_kib(peer.pid)
            os.kill(peer.pid, signal.SIGSTOP)
            try:
                await many.vanish()
                await asyncio.sleep(HELD_S)
            finally:
                os.kill(peer.pid, signal.SIGCONT)
            stall_ms = await asker.longest_ms(ask_s)
    finally:
        line.abort()
    kib_each = (full_kib - empty_kib) / clients
    return Figures(kib_each, spent_s * 1e6 / clients, stall_ms, calm_ms, asker.late_ms)


async def rounds_of(clients: int, options: argparse.Namespace, cores: Cores) -> dict[str, list[Figures]]:
    found: dict[str, list[Figures]] = {name: [] for name in SIDES}
    for number in range(options.rounds):
        for name in SIDES if number % 2 == 0 else reversed(SIDES):
            async with running(name, cores.measured) as peer:
                found[name].append(await measured(peer, clients, options.settle_s, options.ask_s))
    return found


def figures(found: Mapping[str, Sequence[Figures]]) -> dict[str, float]:
    """Medians: this server's by their names, Node's with `node_` before them."""
    line = {}
    for field in Figures._fields:
        for name, prefix in (("bare", ""), ("node", "node_")):
            values = [getattr(each, field) for each in found[name]]
            line[f"{prefix}{field}"] = round(statistics.median(values), 2)
    return line


def failures(line: Mapping[str, float]) -> list[str]:
    """The promises that did not hold."""
    wrong = []
    if line["kib_each"] > line["node_kib_each"]:
        wrong.append(f"{line['kib_each']:g} KiB each, Node needs {line['node_kib_each']:g}")
    most_ms = min(STALL_MS_MOST, line["node_stall_ms"])
    if line["stall_ms"] > most_ms:
        wrong.append(f"stalls for {line['stall_ms']:g} ms, {most_ms:g} are the most")
    return wrong


async def _measure(options: argparse.Namespace) -> int:
    cores = two_sides()
    open_files_for(max(options.clients))
    bind([os.getpid()], cores.rest)
    line: dict[str, Any] = {}
    wrong = []
    for clients in sorted(options.clients):
        found = figures(await rounds_of(clients, options, cores))
        line[f"clients_{clients}"] = found
        wrong += [f"{clients} clients: {each}" for each in failures(found)]
    line = found | line | {"rounds": options.rounds}
    return tell(line, wrong, as_json=options.json)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="connections", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--clients", type=int, nargs="+", default=CLIENTS, help="one by one (5000 10000)")
    parser.add_argument("--settle-s", type=float, default=12.0, help="before memory is read (12)")
    parser.add_argument("--ask-s", type=float, default=3.0, help="after all have gone (3)")
    parser.add_argument("--rounds", type=int, default=3, help="of both servers (3)")
    parser.add_argument("--json", action="store_true", help="one line of figures on standard output")
    parser.add_argument("--check", action="store_true", help="only say whether so many sockets may be open")
    return parser.parse_args()


def main() -> int:
    options = _options()
    if options.check:
        try:
            open_files_for(max(options.clients))
            return 0
        except StageError as error:
            print(f"connections: {error}", file=sys.stderr)
            return 2
    return run("connections", lambda: _measure(options))


if __name__ == "__main__":
    sys.exit(main())
