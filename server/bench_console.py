"""Measures the live map: the page's work for a frame, bytes a second to a console, and what consoles cost the server.

5,000 vehicles, each moving every 4 s. The page is the real one in a real browser (server/cityplay.py) and hears
recorded frames, far away and near. Then they drive in Redis, by the ticks of a node that stands in, and by turns
nobody, one console and ten watch the real server. A console's coming is counted apart: the look at the whole city,
which comes again every minute, and the base.
"""

import argparse
import asyncio
import os
import random
import statistics
import sys
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import uvloop

from rooms.tasks import Tasks
from server import cityplay
from server.chores import keyring, load_people, transaction
from server.citytraffic import Traffic, recorded, vehicles
from server.devstack.find import find_chromium
from server.settings import load
from storage.enrol import enrol, open_sessions
from storage.fleet import Fleet
from storage.log import Log
from storage.shard import Shard

FRAME_MS_MOST, KB_S_MOST, SHARE_MOST = 33.0, 150.0, 0.05
MANY = 10
ROUNDS = 2  # of none, one, ten
BASE_S, REST_S = 30.0, 2.5
_TICKS_S = os.sysconf("SC_CLK_TCK")


class Console:
    """A socket that watches; counts the text that comes."""

    def __init__(self) -> None:
        self.frames = self.frame_bytes = self.base_bytes = 0
        self.has_base = asyncio.Event()

    async def watch(self, http: aiohttp.ClientSession, url: str, token: str) -> None:
        async with http.ws_connect(f"{url}/socket.io/?EIO=4&transport=websocket") as ws:
            await ws.receive_str()
            await ws.send_str("40" + msgspec.json.encode({"token": token}).decode())
            async for message in ws:
                text: str = message.data
                if text == "2":
                    await ws.send_str("3")
                elif text.startswith('42["connected"'):
                    await ws.send_str('42["watch_city",{}]')
                elif text.startswith('42["city_base"'):
                    self.base_bytes += len(text.encode())
                    if msgspec.json.decode(text[2:])[1]["left"] == 0:
                        self.has_base.set()
                elif text.startswith('42["city"'):
                    self.frames += 1
                    self.frame_bytes += len(text.encode())


def cpu_s(pids: list[int]) -> float:
    """Processor time so far, by the kernel's account."""
    fields = [Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split() for pid in pids]
    return sum(int(each[11]) + int(each[12]) for each in fields) / _TICKS_S


class Watched:
    """The server with so many consoles: its share of a core, and what one of them is sent."""

    def __init__(self, url: str, pids: list[int], tokens: list[str], seconds: float) -> None:
        self._url, self._pids, self._tokens, self._seconds = url, pids, tokens, seconds
        self.shares: dict[int, list[float]] = {}
        self.coming_s: dict[int, list[float]] = {}
        self.kb_s: list[float] = []
        self.base_kb: list[float] = []
        self.frames_s: list[float] = []

    async def by(self, count: int) -> None:
        tasks, began_s = Tasks(), cpu_s(self._pids)
        consoles = [Console() for _ in range(count)]
        async with aiohttp.ClientSession() as http:
            for console, token in zip(consoles, self._tokens, strict=False):
                tasks.start(console.watch(http, self._url, token), "console")
            async with asyncio.timeout(BASE_S):
                for console in consoles:
                    await console.has_base.wait()
            self.coming_s.setdefault(count, []).append(cpu_s(self._pids) - began_s)
            await asyncio.sleep(REST_S)
            before = [(console.frames, console.frame_bytes) for console in consoles]
            began_s, from_s = cpu_s(self._pids), time.monotonic()
            await asyncio.sleep(self._seconds)
            lasted_s = time.monotonic() - from_s
            self.shares.setdefault(count, []).append((cpu_s(self._pids) - began_s) / lasted_s)
            for console, (frames, frame_bytes) in zip(consoles, before, strict=True):
                self.kb_s.append((console.frame_bytes - frame_bytes) / 1000 / lasted_s)
                self.frames_s.append((console.frames - frames) / lasted_s)
                self.base_kb.append(console.base_bytes / 1000)
            await tasks.stop()


async def feed(options: argparse.Namespace, tokens: list[str]) -> dict[str, Any]:
    settings = load()
    shard = Shard(settings.shard, settings.redis_url)
    async with AsyncExitStack() as opened:
        opened.push_async_callback(shard.close)
        await shard.ensure_life()
        city = vehicles(options.vehicles, options.jobs, options.seed)
        traffic = Traffic(Log(shard), Fleet(shard), city, shard.token)
        await traffic.come()
        tasks = Tasks()
        opened.push_async_callback(tasks.stop)
        driving = tasks.start(traffic.run(), "traffic")
        pids = msgspec.json.decode(os.environ["DISPATCH_PIDS"])["server"]
        watched = Watched(os.environ["DISPATCH_URL"], pids, tokens, options.seconds / ROUNDS)
        for _ in range(ROUNDS):
            for count in (0, 1, MANY):
                await watched.by(count)
        if driving.done():
            await driving
    names = {0: "none", 1: "one", MANY: "ten"}
    return {
        "kb_s": round(max(watched.kb_s), 1),
        "base_kb": round(max(watched.base_kb), 1),
        "frames_s": round(statistics.mean(watched.frames_s), 2),
        "cpu_share": {
            names[count]: round(statistics.mean(each), 4) for count, each in watched.shares.items()
        },
        "coming_ms": {names[n]: round(statistics.mean(s) * 1e3) for n, s in watched.coming_s.items() if n},
    }


async def people() -> list[tuple[str, str]]:
    """Ids and tokens of new administrators."""

    settings = load()
    ring = keyring(settings)
    async with transaction(settings) as conn:
        ids = await enrol(conn, load_people(random.Random(), "admin", MANY))
        sessions = await open_sessions(conn, ids, settings.access_s)
    now_s = time.time()
    return [
        (id_, ring.mint(id_, "admin", session, now_s=now_s, life_s=settings.access_s))
        for id_, session in zip(ids, sessions, strict=True)
    ]


def failures(line: dict[str, Any]) -> list[str]:
    """The promises that did not hold."""
    wrong = [
        f"p95 of a frame's work {name} is {figures['p95']} ms, {FRAME_MS_MOST:g} are the most"
        for name, figures in line.get("frame_ms", {}).items()
        if figures["p95"] > FRAME_MS_MOST
    ]
    if line.get("kb_s", 0.0) > KB_S_MOST:
        wrong.append(f"{line['kb_s']} kB/s to a console, {KB_S_MOST:g} are the most")
    if "cpu_share" in line and line["cpu_share"]["ten"] - line["cpu_share"]["none"] > SHARE_MOST:
        wrong.append(f"ten consoles cost more than {SHARE_MOST:.0%} of a core")
    return wrong


async def _measure(options: argparse.Namespace) -> int:
    admins = await people()
    line: dict[str, Any] = {}
    if options.only != "feed":
        user = {"id": admins[0][0], "firstName": "Ada", "lastName": "Lee"}
        city = vehicles(options.vehicles, options.jobs, options.seed)
        frames = list(recorded(city, options.seconds, options.seed))
        login = {"token": admins[0][1], "user": user}
        line["frame_ms"] = await cityplay.play(
            os.environ["DISPATCH_URL"], login, {"far": frames, "near": frames}
        )
    if options.only != "page":
        line |= await feed(options, [token for _, token in admins])
    line |= {"vehicles": options.vehicles, "jobs": options.jobs}
    wrong = [f"NOT HELD: {each}" for each in failures(line)]
    text = [f"{name:12} {value}" for name, value in line.items()]
    (sys.stderr if options.json else sys.stdout).write("\n".join([*text, *wrong]) + "\n")
    if options.json:
        sys.stdout.write(msgspec.json.encode(line).decode() + "\n")
    return 1 if wrong else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="console", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--vehicles", type=int, default=5000, help="each moves every 4 s (5000)")
    parser.add_argument("--jobs", type=int, default=300, help="so many of them carry one (300)")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each figure (20)")
    parser.add_argument("--only", choices=("page", "feed"), help="one part of it (both)")
    parser.add_argument("--seed", type=int, default=1, help="of the city (1)")
    parser.add_argument("--json", action="store_true", help="one line of figures on standard output")
    parser.add_argument("--check", action="store_true", help="only say whether there is a browser")
    return parser.parse_args()


def main() -> int:
    options = _options()
    if options.only != "feed" and find_chromium() is None:
        sys.stderr.write(
            "console: the page is measured in Chromium, which is not here; --only feed does without\n"
        )
        return 2
    return 0 if options.check else uvloop.run(_measure(options))


if __name__ == "__main__":
    sys.exit(main())
