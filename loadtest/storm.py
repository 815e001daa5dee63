"""Kills a node under thousands of clients, who all come to the other at once, and times how soon each is synced.

Phones stand on the second node, some with a ride ahead; people on rides stream and chat on the first. Then the
second is killed. Every phone connects to the first at once, with its token, and asks `sync` for its rooms from
where it was; one that is dropped comes again after the stock client's back-off. What the people of the first node
had to wait meanwhile is measured by a process of their own.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import sys
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import uvloop

from loadtest.accounting import cpu_s, pids_of
from loadtest.bystanders import Bystanders, Wait, feature, place
from loadtest.light import Light, Payload, connect
from loadtest.neighbour import neighbour, open_files_for
from loadtest.person import Account
from loadtest.sample import Sample
from loadtest.stage import StageError, make_people, put_area
from loadtest.verdict import tell

ALL_BACK_S_MOST, P99_MS_MOST = 15.0, 250.0
BOUND_S = 60.0
ANSWER_S = 15.0
COMING_AT_ONCE = 40  # while they come to the second node, which is not measured
BACKOFF_FIRST_S, BACKOFF_MOST_S = 1.0, 5.0  # socket.io-client's, with its randomization of a half


class Phone:
    """One client; `back_s` after the storm began it was synced again."""

    def __init__(self, account: Account, source: random.Random, tally: Counter[str]) -> None:
        self._account, self._source, self._tally = account, source, tally
        self._rooms: list[list[Any]] = []
        self._line: Light | None = None
        self.back_s: float | None = None
        self.lost_s = 0.0

    async def come(self, url: str, *, has_ride: bool) -> None:
        """Raises OSError or TimeoutError."""
        self._line = await connect(url, self._account.token, within_s=BOUND_S)
        if has_ride:
            ahead = (datetime.now(UTC) + timedelta(hours=3)).isoformat(timespec="milliseconds")
            trip = {"pickup": place(), "dropoff": place(0.05), "class": "economy", "scheduledAt": ahead}
            answer = await self._line.call("request_ride", {"rideId": str(uuid.uuid4()), **trip})
            if not answer["ok"]:
                raise StageError(f"request_ride: {answer['error']['code']}")
            self._line.abort()
            self._line = await connect(url, self._account.token, within_s=BOUND_S)
        self._note(await self._line.connected)

    def _note(self, greeting: Payload) -> None:
        self._rooms = [[each["room"], each["epoch"], each["seq"]] for each in (greeting, *greeting["jobs"])]

    def when_lost(self, then: Any) -> None:
        assert self._line is not None
        self._line.on_lost = then

    async def come_back(self, url: str) -> None:
        """Until synced."""
        began_s, attempt = time.monotonic(), 0
        while not await self._try(url):
            self._tally["tries_again"] += 1
            pause_s = min(BACKOFF_MOST_S, BACKOFF_FIRST_S * 2.0**attempt)
            await asyncio.sleep(pause_s * self._source.uniform(0.5, 1.5))
            attempt += 1
        self.back_s = time.monotonic() - began_s

    async def _try(self, url: str) -> bool:
        try:
            self._line = await connect(url, self._account.token, within_s=ANSWER_S)
            async with asyncio.timeout(ANSWER_S):
                answer = await self._line.call("sync", {"rooms": self._rooms})
        except (OSError, TimeoutError) as error:
            self._tally[f"lost: {type(error).__name__}"] += 1
            if self._line is not None:
                self._line.abort()
            return False
        if not answer["ok"]:
            self._tally[f"refused: {answer['error']['code']}"] += 1
            self._line.abort()
            return False
        self._tally["rooms_lost"] += sum(not room.get("recovered") for room in answer["rooms"])
        self._tally["rooms"] += len(answer["rooms"])
        return True

    def leave(self) -> None:
        if self._line is not None:
            self._line.on_lost = lambda: None
            self._line.abort()


class Storm:
    """Many phones. `moment_s` is when it broke loose."""

    def __init__(self, accounts: Sequence[Account], seed: int) -> None:
        self.tally: Counter[str] = Counter()
        self.phones = [
            Phone(account, random.Random(f"{seed}/{n}"), self.tally) for n, account in enumerate(accounts)
        ]
        self.moment_s = self.over_s = 0.0
        self.lag_ms = 0.0  # the longest that this process itself was behind
        self.own_cpu_s = 0.0

    async def gather(self, url: str, rides: float) -> None:
        """All come to the second node. Raises OSError, TimeoutError or StageError."""
        turns = asyncio.Semaphore(COMING_AT_ONCE)

        async def come(phone: Phone, *, has_ride: bool) -> None:
            async with turns:
                await phone.come(url, has_ride=has_ride)

        with_ride = round(len(self.phones) * rides)
        async with asyncio.TaskGroup() as tasks:
            for number, phone in enumerate(self.phones):
                tasks.create_task(come(phone, has_ride=number < with_ride))

    async def break_loose(self, kill: Any, url: str) -> None:
        """`kill` breaks every line; returns when all are synced at `url`, or at the bound."""
        coming: list[asyncio.Task[None]] = []
        for phone in self.phones:
            phone.when_lost(lambda phone=phone: coming.append(asyncio.create_task(phone.come_back(url))))
        watch = asyncio.create_task(self._watch_lag())
        cpu_before_s, self.moment_s = time.process_time(), time.monotonic()
        await kill()
        while time.monotonic() < self.moment_s + BOUND_S:
            if len(coming) == len(self.phones) and all(task.done() for task in coming):
                break
            await asyncio.sleep(0.05)
        self.over_s, self.own_cpu_s = time.monotonic(), time.process_time() - cpu_before_s
        watch.cancel()
        for task in coming:
            task.cancel()
        for result in await asyncio.gather(*coming, watch, return_exceptions=True):
            if isinstance(result, Exception):
                raise result

    async def _watch_lag(self) -> None:
        while True:
            at_s = time.monotonic() + 0.02
            await asyncio.sleep(0.02)
            self.lag_ms = max(self.lag_ms, (time.monotonic() - at_s) * 1000)

    @property
    def back_s(self) -> list[float]:
        return [phone.back_s for phone in self.phones if phone.back_s is not None]

    def leave(self) -> None:
        for phone in self.phones:
            phone.leave()


def _waited(waits: Sequence[Wait], what: str, from_s: float, to_s: float) -> dict[str, float | None]:
    """Of those who wanted to speak in this time; one without an answer counts as the longest wait there is."""
    ms = [
        ANSWER_S * 1000 if w.ms is None else w.ms for w in waits if w.what == what and from_s <= w.at_s < to_s
    ]
    return {"count": len(ms), **Sample(values=ms).quantiles(1, p50=0.5, p99=0.99, most=1.0)}


def figures(storm: Storm, waits: Sequence[Wait], spent_s: dict[str, float]) -> dict[str, Any]:
    """The JSON line as a dict."""
    length_s = storm.over_s - storm.moment_s
    kinds = ("fix", "line", "heard")
    return {
        "clients": len(storm.phones),
        "back": len(storm.back_s),
        "all_back_s": round(length_s, 2),
        "back_s": Sample(values=storm.back_s).quantiles(2, p50=0.5, p99=0.99, most=1.0),
        "others_ms": {what: _waited(waits, what, storm.moment_s, storm.over_s) for what in kinds},
        "others_before_ms": {what: _waited(waits, what, 0.0, storm.moment_s) for what in kinds},
        **{name: storm.tally[name] for name in ("rooms", "rooms_lost", "tries_again")},
        "trouble": {name: n for name, n in storm.tally.items() if ": " in name},
        "cpu_s": {part: round(s, 2) for part, s in spent_s.items()},
        "own_cpu_s": round(storm.own_cpu_s, 2),
        "own_lag_ms": round(storm.lag_ms, 1),
    }


def failures(line: dict[str, Any]) -> list[str]:
    """The promises that did not hold."""
    wrong = []
    if line["back"] < line["clients"]:
        wrong.append(f"{line['clients'] - line['back']} clients were not back after {BOUND_S:g} s")
    if line["all_back_s"] > ALL_BACK_S_MOST:
        wrong.append(f"the last was back after {line['all_back_s']:g} s, {ALL_BACK_S_MOST:g} are the most")
    if line["rooms_lost"]:
        wrong.append(f"{line['rooms_lost']} rooms were not recovered")
    wrong += [
        f"{what} of others: p99 {waited['p99']} ms, {P99_MS_MOST:g} are the most"
        for what, waited in line["others_ms"].items()
        if waited["p99"] is not None and waited["p99"] > P99_MS_MOST
    ]
    return wrong


async def _measure(options: argparse.Namespace) -> int:
    url, pids = os.environ["DISPATCH_URL"], pids_of(os.environ.get("DISPATCH_PIDS", ""))
    open_files_for(options.clients)
    await put_area(feature())
    storm = Storm(await make_people("passenger", options.clients), options.seed)
    drivers = await make_people("driver", options.pairs)
    others = Bystanders(url, drivers, await make_people("passenger", options.pairs))
    try:
        async with neighbour() as second:
            await storm.gather(second.url, options.rides)
            await others.begin()
            await asyncio.sleep(options.calm_s)
            before_s = cpu_s(pids)
            await storm.break_loose(second.kill, url)
            spent_s = {part: now_s - before_s[part] for part, now_s in cpu_s(pids).items()}
            await asyncio.sleep(options.calm_s)
            waits = await others.end()
    finally:
        others.kill()
        storm.leave()
    line = figures(storm, waits, spent_s)
    return tell(line, failures(line), as_json=options.json)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="storm", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--clients", type=int, default=5000, help="on the node that is killed (5000)")
    parser.add_argument("--rides", type=float, default=0.2, help="share of them with a ride ahead (0.2)")
    parser.add_argument("--pairs", type=int, default=25, help="rides on the node that stays (25)")
    parser.add_argument("--calm-s", type=float, default=5.0, help="so long before and after the storm (5)")
    parser.add_argument("--seed", type=int, default=1, help="of the clients' back-off (1)")
    parser.add_argument("--json", action="store_true", help="one line of figures on standard output")
    parser.add_argument("--check", action="store_true", help="only say whether so many sockets may be open")
    return parser.parse_args()


def main() -> int:
    options = _options()
    try:
        if options.check:
            open_files_for(options.clients)
            return 0
        return uvloop.run(_measure(options))
    except KeyError as unset:
        print(f"storm: {unset} is not set; `./dev bench storm` sets it", file=sys.stderr)
    except (StageError, OSError, TimeoutError) as error:
        print(f"storm: {error or type(error).__name__}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
