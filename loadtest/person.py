"""One simulated phone and its owner's account: holds the connection, asks and says.

Guarantees: a lost connection is taken up again with jittered back-off for as long as the person lives; a
question is repeated only where the server called it worth repeating, and a bounded number of times; every
event that arrives is shown to the tally before anyone acts on it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

import aiohttp
import msgspec

from loadtest.client import CallTimeout, Client, ConnectRefused, Gone, Pool
from loadtest.pace import Pace, wait_event
from loadtest.tally import Tally
from loadtest.temper import Temper
from loadtest.words import RETRY_CODES

BACKOFF_FIRST_S = 0.25
BACKOFF_MOST_S = 15.0
ASK_TRIES = 6
ASK_TIMEOUT_S = 15.0


class Account(msgspec.Struct, frozen=True):
    """One line of the tokens file."""

    user_id: str
    role: str
    token: str
    name: str = ""


@dataclass(frozen=True)
class Town:
    """What all people of one run share."""

    pool: Pool
    pace: Pace
    tally: Tally
    temper: Temper


class Person:
    """Base of carriers and customers."""

    def __init__(self, town: Town, account: Account) -> None:
        self.town = town
        self.account = account
        self.id = account.user_id
        self.client: Client | None = None
        self.ready = asyncio.Event()
        self._random = town.temper.source(account.user_id)
        self._tasks: set[asyncio.Task[None]] = set()
        self._handlers = {"server_draining": self._draining}

    @property
    def pool(self) -> Pool:
        """Where this person connects and reads."""
        return self.town.pool

    def start(self) -> None:
        """Connects, and stays connected until `stop`."""
        self._spawn(self._keep_connected())

    async def stop(self) -> None:
        """Ends every task of this person and closes the socket."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self.client is not None:
            await self.client.close()

    async def say(self, event: str, payload: dict[str, Any]) -> bool:
        """Sends without waiting for an answer; False when there is no connection just now."""
        if self.client is None or not self.ready.is_set():
            return False
        try:
            await self.client.emit(event, payload)
        except Gone:
            return False
        return True

    async def ask(self, event: str, payload: dict[str, Any]) -> dict[str, Any]:
        """Asks until answered; `{}` when the server never was. A refusal is counted and handed back."""
        for attempt in range(ASK_TRIES):
            answer = await self._ask_once(event, payload)
            if answer.get("ok"):
                self.town.tally.told(self.id, event, payload, answer)
                return answer
            error = answer.get("error") or {"code": "no_answer"}
            code = str(error.get("code"))
            self.town.tally.error(event, code)
            if answer and not (error.get("retry") or code in RETRY_CODES):
                return answer
            await asyncio.sleep(self._backoff_s(attempt))
        return {}

    async def read(self, path: str) -> dict[str, Any]:
        """What HTTP tells this person of something of his; `{}` where it cannot be had just now."""
        pool, said = self.pool, {"Authorization": f"Bearer {self.account.token}"}
        within = aiohttp.ClientTimeout(total=ASK_TIMEOUT_S)
        try:
            async with pool.session.get(pool.url + path, headers=said, timeout=within) as answer:
                body = msgspec.json.decode(await answer.read())
        except (aiohttp.ClientError, TimeoutError, msgspec.DecodeError):
            return {}
        data: dict[str, Any] = body.get("data") or {}
        return data

    async def welcome(self, payload: dict[str, Any]) -> None:
        """Called after each connection with the server's `connected` message."""

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self.town.tally.error("loadtest", repr(task.exception()))

    async def _ask_once(self, event: str, payload: dict[str, Any]) -> dict[str, Any]:
        if not await wait_event(self.ready, ASK_TIMEOUT_S) or self.client is None:
            return {}
        try:
            return await self.client.call(event, payload, ASK_TIMEOUT_S)
        except (Gone, CallTimeout):
            return {}

    async def _keep_connected(self) -> None:
        attempt = 0
        while True:
            hello: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
            try:
                client = await self._connect(hello)
                async with asyncio.timeout(ASK_TIMEOUT_S):
                    greeting = await hello
            except (Gone, ConnectRefused, TimeoutError) as error:
                self.town.tally.error("connect", type(error).__name__)
                await asyncio.sleep(self._backoff_s(attempt))
                attempt += 1
                continue
            attempt = 0
            self.client = client
            self.ready.set()
            self.town.tally.counts["connections"] += 1
            await self.welcome(greeting)
            await client.closed.wait()
            if client.fault is not None:
                self.town.tally.error("loadtest", repr(client.fault))
            self.ready.clear()
            self.town.tally.counts["connections_lost"] += 1
            await asyncio.sleep(self._backoff_s(0))

    async def _connect(self, hello: asyncio.Future[dict[str, Any]]) -> Client:
        def tap(event: str, payload: dict[str, Any]) -> None:
            self.town.tally.heard(self.id, event, payload)
            if event == "connected" and not hello.done():
                hello.set_result(payload)

        return await self.pool.connect(self.account.token, self._handlers.items(), tap)

    def _backoff_s(self, attempt: int) -> float:
        return self._random.uniform(0.5, 1.0) * min(BACKOFF_MOST_S, BACKOFF_FIRST_S * 2.0**attempt)

    def _draining(self, payload: dict[str, Any]) -> None:
        if self.client is not None:
            self._spawn(self._leave_within(self.client, float(payload.get("reconnectWithin_s", 5))))

    async def _leave_within(self, client: Client, window_s: float) -> None:
        await asyncio.sleep(self._random.uniform(0.0, window_s / 2))
        await client.close()
