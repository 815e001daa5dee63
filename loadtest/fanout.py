"""Measures what one recipient of a room of 100 costs this server's transport, Node's Socket.IO and python-socketio.

They take turns on one core, as in `./dev bench relay`; each position of a driver is told to the hundred who watch him.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any

from loadtest.cores import bind, two_sides, used_s
from loadtest.neighbour import open_files_for
from loadtest.peers.running import Peer, running
from loadtest.rounds import Round, Turn, about, in_order, sound, voids
from loadtest.stream import Side
from loadtest.verdict import run, spread, tell

NEEDS = {"node"}
SIDES = ("bare", "node", "stock")
TO_NODE_MOST = 0.7
WARM_S = 0.5


async def turn(side: Side, peer: Peer, rate: float, seconds: float) -> Turn:
    await side.stream(rate, min(WARM_S, seconds))
    before_s = used_s(peer.pid)
    streamed = await side.stream(rate, seconds)
    us = (used_s(peer.pid) - before_s) * 1e6 / max(1, len(streamed.heard_ms))
    return Turn(streamed, {"server": us})


def figures(rounds: Sequence[Round]) -> dict[str, Any]:
    whole = sound(rounds)
    us = {name: [turns[name].us["server"] for turns in whole] for name in SIDES}
    line: dict[str, Any] = {f"{name}_us": spread(us[name], 2) for name in SIDES}
    for name in SIDES[1:]:
        line[f"to_{name}"] = spread([a / b for a, b in zip(us["bare"], us[name], strict=True)], 3)
    p99_ms = {name: spread([turns[name].streamed.quantile_ms(0.99) for turns in whole], 2) for name in SIDES}
    return line | {"p99_ms": p99_ms} | about(rounds)


async def _measure(options: argparse.Namespace) -> int:
    cores = two_sides()
    open_files_for(len(SIDES) * options.rooms * (1 + options.members))
    bind([os.getpid()], cores.rest)
    sides, rounds = dict[str, tuple[Side, Peer]](), list[Round]()
    async with AsyncExitStack() as closing:
        for name in SIDES:
            peer = await closing.enter_async_context(running(name, cores.measured))
            side = Side(peer.url)
            closing.callback(side.leave)
            await side.relayed(options.rooms)
            await side.watch(options.members)
            await side.stream(options.rate, options.wind_up_s)
            sides[name] = side, peer
        for number in range(options.rounds):
            order = in_order(SIDES, number)
            rounds.append({name: await turn(*sides[name], options.rate, options.seconds) for name in order})
    line = figures(rounds) | {"members": options.members, "rate": options.rate}
    wrong = [f"a round is void: {why}" for why in voids(rounds)]
    if line["to_node"]["median"] > TO_NODE_MOST:
        wrong.insert(0, f"to_node is {line['to_node']['median']:g}, {TO_NODE_MOST:g} is the most")
    return tell(line, wrong, as_json=options.json)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="fanout", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rooms", type=int, default=20, help="each with its driver (20)")
    parser.add_argument("--members", type=int, default=100, help="of each room (100)")
    parser.add_argument("--rate", type=float, default=80.0, help="positions a second of all drivers (80)")
    parser.add_argument("--seconds", type=float, default=4.0, help="of one turn (4)")
    # Node makes machine code of what runs often
    parser.add_argument("--wind-up-s", type=float, default=3.0, help="of each server before all rounds (3)")
    parser.add_argument("--rounds", type=int, default=5, help="of all three (5)")
    parser.add_argument("--json", action="store_true", help="one line of figures on standard output")
    parser.add_argument("--check", action="store_true", help="Node is installed by ./dev")
    return parser.parse_args()


def main() -> int:
    options = _options()
    return 0 if options.check else run("fanout", lambda: _measure(options))


if __name__ == "__main__":
    sys.exit(main())
