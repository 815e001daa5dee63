"""Measures what one position relayed to a driver's watchers costs this server, Node's Socket.IO and python-socketio.

Four servers stand side by side and take turns on one core: `bare`, the shipped transport and gate with a handler that
only relays; `full`, a `dispatch serve` with drivers on rides, with all that a fix is there; `node` and `stock`, the
unmodified servers, websocket only. The load generator, Redis, the drain and PostgreSQL have the rest of the machine.
All get the same positions at the same rate from the same client, which offers compression as stock clients do: of the
four only `stock` takes it. The rate keeps the slowest at a quarter to a third of its core, so that nobody queues, and
is paid for by the batch. Processor time is the kernel's account of the server's process; ratios are each round's own,
so that a busy machine's moods cancel.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any

from loadtest.accounting import cpu_s, pids_of
from loadtest.bystanders import feature
from loadtest.cores import bind, two_sides, used_s
from loadtest.neighbour import open_files_for
from loadtest.peers.running import running
from loadtest.rounds import Round, Turn, about, in_order, sound, voids
from loadtest.stage import StageError, make_people, put_area
from loadtest.stream import Side
from loadtest.verdict import run, spread, tell

NEEDS = {"stack", "node"}
WATCHERS = (1, 4)
SIDES = ("bare", "full", "node", "stock")
RATIOS = (("bare", "node"), ("full", "node"), ("bare", "stock"))
MOST = {
    "watchers_1": {"bare_to_node": 0.5, "full_to_node": 0.8, "bare_to_stock": 0.2},
    "watchers_4": {"bare_to_node": 0.7, "bare_to_stock": 0.2},
}
WARM_S = 0.5


class Relay:
    """The four, with their drivers, from `begin` to `end`."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._cores = two_sides()
        self._beside = pids_of(os.environ["DISPATCH_PIDS"])
        (self._node_pid,) = self._beside.pop("server")
        self._sides: dict[str, Side] = {}
        self._pids: dict[str, int] = {"full": self._node_pid}

    async def begin(self, closing: AsyncExitStack) -> None:
        """Raises StageError, OSError or TimeoutError."""
        open_files_for(len(SIDES) * self._options.rooms * (1 + max(WATCHERS)))
        bind([self._node_pid], self._cores.measured)
        bind([os.getpid(), *(pid for pids in self._beside.values() for pid in pids)], self._cores.rest)
        await put_area(feature())
        people = [await make_people(role, self._options.rooms) for role in ("driver", "passenger")]
        for name in SIDES:
            if name == "full":
                side = Side(os.environ["DISPATCH_URL"])
                await side.on_rides(*people)
            else:
                peer = await closing.enter_async_context(running(name, self._cores.measured))
                self._pids[name], side = peer.pid, Side(peer.url)
                await side.relayed(self._options.rooms)
            self._sides[name] = side

    async def rounds(self, watchers: int) -> list[Round]:
        """The first of a round is another each time."""
        rate = self._options.rate / (1 if watchers == 1 else 2)
        for side in self._sides.values():
            await side.watch(watchers)
            await side.stream(rate, self._options.wind_up_s)
        found = list[Round]()
        for number in range(self._options.rounds):
            found.append({name: await self._turn(name, rate) for name in in_order(SIDES, number)})
        return found

    async def _turn(self, name: str, rate: float) -> Turn:
        side = self._sides[name]
        await side.stream(rate, min(WARM_S, self._options.seconds))
        before = self._used(name)
        streamed = await side.stream(rate, self._options.seconds)
        us = {part: (now_s - before[part]) * 1e6 / streamed.sent for part, now_s in self._used(name).items()}
        return Turn(streamed, us)

    def _used(self, name: str) -> dict[str, float]:
        used = {"server": used_s(self._pids[name])}
        if name == "full":
            used |= cpu_s(self._beside)
        return used

    def end(self) -> None:
        for side in self._sides.values():
            side.leave()


def figures(rounds: Sequence[Round], rate: float) -> dict[str, Any]:
    """The agreed keys first."""
    whole = sound(rounds)
    us = {name: [turns[name].us["server"] for turns in whole] for name in SIDES}
    line: dict[str, Any] = {f"{name}_us": spread(us[name], 1) for name in SIDES}
    for a, b in RATIOS:
        line[f"{a}_to_{b}"] = spread([x / y for x, y in zip(us[a], us[b], strict=True)], 3)
    beside = [part for part in whole[0]["full"].us if part != "server"]
    line["full_beside_us"] = {part: _median([t["full"].us[part] for t in whole], 1) for part in beside}
    for share in (0.5, 0.99):
        line[f"p{share * 100:g}_ms"] = {
            name: _median([turns[name].streamed.quantile_ms(share) for turns in whole], 2) for name in SIDES
        }
    return line | {"rate": rate} | about(rounds)


def _median(values: Sequence[float], digits: int) -> float:
    return round(statistics.median(values), digits)


def failures(line: Mapping[str, Any]) -> list[str]:
    """The promises that did not hold."""
    return [
        f"{key}: {ratio} is {line[key][ratio]['median']:g}, {most:g} is the most"
        for key, ratios in MOST.items()
        for ratio, most in ratios.items()
        if line[key][ratio]["median"] > most
    ]


async def _measure(options: argparse.Namespace) -> int:
    relay, line, wrong = Relay(options), dict[str, Any](), list[str]()
    async with AsyncExitStack() as closing:
        closing.callback(relay.end)
        await relay.begin(closing)
        for watchers in WATCHERS:
            rounds = await relay.rounds(watchers)
            line[f"watchers_{watchers}"] = figures(rounds, options.rate / (1 if watchers == 1 else 2))
            wrong += [f"watchers_{watchers}: a round is void: {why}" for why in voids(rounds)]
    return tell(line, failures(line) + wrong, as_json=options.json)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="relay", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rooms", type=int, default=250, help="drivers (250)")
    parser.add_argument(
        "--rate", type=float, default=2000.0, help="positions a second; half of it for 4 watchers (2000)"
    )
    parser.add_argument("--seconds", type=float, default=4.0, help="of one turn (4)")
    # Node makes machine code of what runs often
    parser.add_argument("--wind-up-s", type=float, default=3.0, help="of each server before all rounds (3)")
    parser.add_argument("--rounds", type=int, default=5, help="of all four (5)")
    parser.add_argument("--json", action="store_true", help="one line of figures on standard output")
    parser.add_argument("--check", action="store_true", help="only say whether there are two cores")
    return parser.parse_args()


def main() -> int:
    options = _options()
    if options.check:
        try:
            two_sides()
            return 0
        except StageError as error:
            print(f"relay: {error}", file=sys.stderr)
            return 2
    return run("relay", lambda: _measure(options))


if __name__ == "__main__":
    sys.exit(main())
