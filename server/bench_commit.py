"""Measures the commit script: Redis' processor time for one commit, and how soon a member on another node hears.

A commit here is what most are: two records, the answer to the command, and one fact that carries both. Its cost is
measured on a Redis of its own with the settings of production (AOF, everysec), where nothing else happens; in every
other round the fact carries a decision of the match as well, with as many drivers as one holds (`why`). Then a
second node is started beside the first, members connect to both, and commits come at a steady rate, each telling
one member; the clock runs from before the commit is sent until the member has the event. It stands here and not in
loadtest/ because it calls the log itself.
"""

import argparse
import asyncio
import json
import os
import random
import sys
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import msgspec
import uvloop
from msgspec.structs import replace

from dispatch.area import Area
from dispatch.matching import Ranked
from dispatch.why import CONSIDERED_MAX, Seen, choice
from server.chores import keyring, load_people, transaction
from server.devstack import private_redis
from server.devstack.redis import free_port
from server.settings import Settings, load
from storage.enrol import enrol, open_sessions
from storage.facts import Fact
from storage.log import Log, Write
from storage.records import Choice, Driver, Job, JobId, Place, Room, UserId
from storage.shard import Shard

CPU_US_MOST, P99_MS_MOST = 60.0, 5.0
PAIRS, ROUNDS = 16, 5
READY_S, LATE_S = 20.0, 5.0
HOST = "127.0.0.1"
_AREA = Area(id="bench", name="Bench", shard="bench", polygon={}, currency="USD")


class Pair:
    """A job and its driver, whose versions go up with each commit; one at a time."""

    def __init__(self, shard: Shard, log: Log, user: str, number: int) -> None:
        self._shard, self._log, self._one = shard, log, asyncio.Lock()
        driver_id, job_id = UserId(_uuid(user, number)), JobId(_uuid(user, number + 1))
        place = Place(40.1, 20.1, "1 First St")
        self.driver = Driver(
            id=driver_id,
            name="Bob Ray",
            area_id="bench",
            classes=("economy",),
            capacity=1,
            online=False,
            generation=1,
            version=0,
        )
        self.job = Job(
            id=job_id, kind="ride", state="assigned", requester_id=UserId(user), requester_name="Ann Lee",
            driver_id=driver_id, driver_name="Bob Ray", area_id="bench", vehicle_class="economy", pickup=place,
            dropoff=place, fare_minor=1250, currency="USD", distance_m=3100.0, duration_s=600.0,
            created_ms=time.time_ns() // 1_000_000, version=0,
        )  # fmt: skip

    async def commit(self, room: str, why: bool = False, **told: Any) -> None:
        async with self._one:
            await self._commit(room, told, why)

    async def _commit(self, room: str, told: dict[str, Any], why: bool) -> None:
        job, driver = self.job, self.driver
        more = (_why(job, driver.id),) if why else ()
        payload = {"rideId": job.id, "status": "confirmed", "state": "arrived", "driverId": driver.id, **told}
        fact = Fact(
            room=Room(room), event="ride_status_update", payload=payload, records=(job, driver, *more)
        )
        write = Write(
            life=self._shard.token, loaded_ms=time.time_ns() // 1_000_000, room=Room(room), by=driver.id,
            put=(job, driver), facts=(fact,), field=f"c{job.version}", answer=b'{"state":"arrived"}',
        )  # fmt: skip
        await self._log.commit(write)
        self.job = replace(job, version=job.version + 1)
        self.driver = replace(driver, version=driver.version + 1)


def _why(job: Job, driver_id: UserId) -> Choice:
    seen = Seen(_AREA)
    seen.saw(Ranked(f"{driver_id[:-2]}{n:02x}", 100.0 + 80 * n, 40.0 + 11 * n) for n in range(CONSIDERED_MAX))
    return choice(job, _AREA, seen.look(), job.created_ms, UserId(f"{driver_id[:-2]}00"))


def why_us(pair: Pair, times: int = 2_000) -> float:
    """Python's processor time to make and encode the record of one decision."""
    began_s = time.process_time()
    for _ in range(times):
        msgspec.json.encode(_why(pair.job, pair.driver.id))
    return (time.process_time() - began_s) * 1e6 / times


def _uuid(user: str, number: int) -> str:
    return f"{user[:24]}{number:012x}"


@dataclass
class Heard:
    """Milliseconds from sending a commit to its event at a member, by the member's node; and to its answer."""

    sent_s: dict[int, float] = field(default_factory=dict)
    whole: asyncio.Event = field(default_factory=asyncio.Event)
    ms: dict[str, list[float]] = field(default_factory=dict)
    acked_ms: list[float] = field(default_factory=list)

    async def time(self, commit: Awaitable[None]) -> None:
        began_s = time.perf_counter()
        await commit
        self.acked_ms.append((time.perf_counter() - began_s) * 1000)

    def hear(self, node: str, text: str) -> None:
        event, payload = msgspec.json.decode(text[2:])
        if event == "ride_status_update" and (sent_s := self.sent_s.pop(payload["n"], None)) is not None:
            self.ms.setdefault(node, []).append((time.perf_counter() - sent_s) * 1000)
            if not self.sent_s:
                self.whole.set()


async def cost_us(commits: int) -> tuple[dict[bool, list[float]], float]:
    """Redis' processor time a commit, of each round, without a decision of the match and with one; and `why_us`."""
    rounds: dict[bool, list[float]] = {False: [], True: []}
    with private_redis(appendonly="yes", maxmemory="1gb") as server:
        shard = Shard("bench", server.url)
        await shard.ensure_life()
        log, user = Log(shard), "018f0000-0000-7000-8000-000000000000"
        pairs = [Pair(shard, log, user, 2 * i) for i in range(PAIRS)]

        async def some(pair: Pair, why: bool) -> None:
            for n in range(commits // PAIRS):
                await pair.commit(f"ride:{pair.job.id}", why, n=n)

        for why in (False, True) * ROUNDS:
            before_s = await _cpu_s(shard)
            await asyncio.gather(*(some(pair, why) for pair in pairs))
            rounds[why].append((await _cpu_s(shard) - before_s) * 1e6 / (commits // PAIRS * PAIRS))
        python_us = why_us(pairs[0])
        await shard.close()
    return rounds, python_us


async def _cpu_s(shard: Shard) -> float:
    used: dict[str, float] = await shard.client.info("cpu")
    return used["used_cpu_user"] + used["used_cpu_sys"]


@asynccontextmanager
async def another_node() -> AsyncIterator[str]:
    """The URL of a second server process on the same stack."""
    port = free_port()
    env = os.environ | {"DISPATCH_PORT": str(port), "DISPATCH_NODE": "second"}
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "server.cli", "serve", env=env, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        yield f"http://{HOST}:{port}"
    finally:
        child.terminate()
        await child.wait()


@asynccontextmanager
async def member(http: aiohttp.ClientSession, url: str, token: str, heard: Heard) -> AsyncIterator[None]:
    """A connected client; leaves with the block."""
    ws = await http.ws_connect(f"{url}/socket.io/?EIO=4&transport=websocket", compress=0)
    await ws.receive_str()
    await ws.send_str("40" + json.dumps({"token": token}))
    while not (await ws.receive_str(timeout=READY_S)).startswith('42["connected"'):
        pass

    async def listen() -> None:
        async for message in ws:
            if message.data == "2":
                await ws.send_str("3")
            elif message.data.startswith("42"):
                heard.hear(url, message.data)

    async with asyncio.TaskGroup() as tasks:
        listening = tasks.create_task(listen())
        yield
        listening.cancel()
    await ws.close()


async def latencies(settings: Settings, url: str, rate: float, seconds: float, members: int) -> Heard:
    heard = Heard()
    async with AsyncExitStack() as opened:
        urls = [url, await opened.enter_async_context(another_node())]
        http = await opened.enter_async_context(
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        )
        await _ready(http, urls[1])
        shard = Shard(settings.shard, settings.redis_url)
        opened.push_async_callback(shard.close)
        await shard.ensure_life()
        log, pairs = Log(shard), list[tuple[str, Pair]]()
        for number, (user, token) in enumerate(await _people(settings, members)):
            await opened.enter_async_context(member(http, urls[number % 2], token, heard))
            pairs.append((f"user:{user}", Pair(shard, log, user, 2 * number)))
        async with asyncio.TaskGroup() as commits:
            began_s = time.perf_counter()
            for n in range(int(rate * seconds)):
                await asyncio.sleep(began_s + n / rate - time.perf_counter())
                room, pair = pairs[n % len(pairs)]
                heard.whole.clear()
                heard.sent_s[n] = time.perf_counter()
                commits.create_task(heard.time(pair.commit(room, n=n)))
        async with asyncio.timeout(LATE_S):
            await heard.whole.wait()
    return heard


async def _ready(http: aiohttp.ClientSession, url: str) -> None:
    async with asyncio.timeout(READY_S):
        while True:
            try:
                async with http.get(f"{url}/ready") as answer:
                    if answer.status == 200:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.1)


async def _people(settings: Settings, count: int) -> list[tuple[str, str]]:
    """Ids and tokens of new passengers."""
    ring = keyring(settings)
    async with transaction(settings) as conn:
        ids = await enrol(conn, load_people(random.Random(), "passenger", count))
        sessions = await open_sessions(conn, ids, settings.access_s)
    now_s = time.time()
    return [
        (id_, ring.mint(id_, "passenger", session, now_s=now_s, life_s=settings.access_s))
        for id_, session in zip(ids, sessions, strict=True)
    ]


def _quantile(values: list[float], share: float) -> float:
    return round(sorted(values)[round(share * (len(values) - 1))], 2)


async def _measure(options: argparse.Namespace) -> int:
    url, settings = os.environ["DISPATCH_URL"], load()
    costs, python_us = await cost_us(options.commits)
    plain = _quantile(costs[False], 0.5)
    heard = await latencies(settings, url, options.rate, options.seconds, options.members)
    other = [ms for node, each in heard.ms.items() if node != url for ms in each]
    line = {
        "redis_cpu_us_per_commit": plain,
        "why": {"redis_us": round(_quantile(costs[True], 0.5) - plain, 2), "python_us": round(python_us, 1)},
        "member_ms": {"p50": _quantile(other, 0.5), "p99": _quantile(other, 0.99)},
        "first_node_ms": {f"p{n}": _quantile(heard.ms[url], n / 100) for n in (50, 99)},
        "acked_ms": {f"p{n}": _quantile(heard.acked_ms, n / 100) for n in (50, 99)},
        "rate": options.rate,
        "commits": len(other) + len(heard.ms[url]),
        "cpu_rounds": [round(us, 1) for us in costs[False]],
    }
    text = [f"{name:24} {value}" for name, value in line.items()]
    wrong = []
    if plain > CPU_US_MOST:
        wrong.append(f"NOT HELD: more than {CPU_US_MOST:g} µs of Redis a commit")
    if _quantile(other, 0.99) > P99_MS_MOST:
        wrong.append(f"NOT HELD: p99 to a member on the second node is more than {P99_MS_MOST:g} ms")
    (sys.stderr if options.json else sys.stdout).write("\n".join([*text, *wrong]) + "\n")
    if options.json:
        sys.stdout.write(msgspec.json.encode(line).decode() + "\n")
    return 1 if wrong else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="commit", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--commits", type=int, default=8000, help="of one round of the cost (8000)")
    parser.add_argument(
        "--rate", type=float, default=1000.0, help="commits a second while members listen (1000)"
    )
    parser.add_argument("--seconds", type=float, default=10.0, help="so long (10)")
    parser.add_argument("--members", type=int, default=40, help="on both nodes together (40)")
    parser.add_argument("--json", action="store_true", help="one line of figures on standard output")
    parser.add_argument("--check", action="store_true", help="nothing is needed but the stack")
    return parser.parse_args()


if __name__ == "__main__":
    chosen = _options()
    sys.exit(0 if chosen.check else uvloop.run(_measure(chosen)))
