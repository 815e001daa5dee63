"""Who is there besides the people of a fault run while PostgreSQL is away: drivers who only stream, and a clerk.

Streamers come to a node past its proxy, and none of them comes back: whoever is disconnected is counted.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Self

import aiohttp
import msgspec

from loadtest.faults.cluster import Cluster
from loadtest.faults.proxy import HOST
from loadtest.geo import Point
from loadtest.light import Light, connect
from loadtest.person import Account

COMING_AT_ONCE = 20
STEP_S = 0.02
STEP_DEG = 1e-5
CLASS = "premium"  # which nobody asks for
ASK_EVERY_S, ASK_S = 2.0, 15.0


class Streamers:
    """Open loop: the next position is sent at its time, whatever became of the one before."""

    def __init__(self, lines: list[Light], here: Point, fixes_s: float) -> None:
        self._lines, self._here, self._fixes_s = lines, here, fixes_s
        self.sent = self.lost = 0

    @classmethod
    async def come(cls, cluster: Cluster, accounts: Sequence[Account], here: Point, fixes_s: float) -> Self:
        """All connected and online. Raises OSError or TimeoutError."""
        turns = asyncio.Semaphore(COMING_AT_ONCE)

        async def one(number: int, account: Account) -> Light:
            node = cluster.nodes[number % len(cluster.nodes)]
            async with turns:
                line = await connect(f"http://{HOST}:{node.port}", account.token)
                place = {"latitude": here.latitude, "longitude": here.longitude}
                answer = await line.call("go_online", {"classes": [CLASS], **place})
                if not answer.get("ok"):
                    raise OSError(f"a driver was not let to work: {answer}")
                return line

        return cls([*await asyncio.gather(*(one(*each) for each in enumerate(accounts)))], here, fixes_s)

    async def keep_on(self) -> None:
        began_s = time.monotonic()
        while True:
            due = int((time.monotonic() - began_s) * self._fixes_s)
            for number in range(self.sent, due):
                round_, who = divmod(number, len(self._lines))
                north_deg = STEP_DEG * (round_ % 2_000)
                place = {"latitude": self._here.latitude + north_deg, "longitude": self._here.longitude}
                self._lines[who].emit(
                    "location_update", {**place, "heading": 0.0, "speed": 11.0, "accuracy": 8.0}
                )
            self.sent = due
            await asyncio.sleep(STEP_S)

    def go(self) -> None:
        """`lost` are those who were disconnected before."""
        self.lost = sum(line.lost for line in self._lines)
        for line in self._lines:
            line.abort()


class Clerk:
    """Asks each node in turn for a login and for somebody's history. `answers` counts statuses by what was asked and
    the phase; a refusal that says what to do is marked."""

    def __init__(self, urls: Sequence[str], token: str) -> None:
        self._urls, self._token = urls, token
        self.phase = "before"
        self.answers: dict[str, Counter[str]] = defaultdict(Counter)
        self.slowest_s = 0.0

    async def keep_on(self) -> None:
        login = {"email": "nobody@load.invalid", "password": "wrong"}
        said = {"Authorization": f"Bearer {self._token}"}
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=ASK_S)) as session:
            number = 0
            while True:
                url = self._urls[number % len(self._urls)]
                # of a wrong password nobody has more than ten tries from one address
                login["email"] = f"nobody{number // 8}@load.invalid"
                await self._ask("login", session.post(f"{url}/api/auth/login", json=login))
                await self._ask("history", session.get(f"{url}/api/rides", headers=said))
                number += 1
                await asyncio.sleep(ASK_EVERY_S)

    async def _ask(self, what: str, asked: aiohttp.client._RequestContextManager) -> None:
        phase, began_s = self.phase, time.monotonic()
        try:
            async with asked as answer:
                status, body = str(answer.status), msgspec.json.decode(await answer.read())
                says_so = (
                    answer.status == 503 and body["success"] is False and "Retry-After" in answer.headers
                )
        except (aiohttp.ClientError, TimeoutError, msgspec.DecodeError) as error:
            status, says_so = type(error).__name__, False
        if phase and phase == self.phase:  # what began before and ended behind an edge may be either
            self.answers[f"{what} {phase}"][f"{status} says so" if says_so else status] += 1
            self.slowest_s = max(self.slowest_s, time.monotonic() - began_s)
