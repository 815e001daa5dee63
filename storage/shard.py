"""One shard's Redis: its connections, its scripts, and which life of it we are talking to.

Every connection asks Redis for its run id when it is made; where that is another than before (a restart, a
failover), the life is named on this very connection before anything else goes over it. So no commit of ours
can reach a Redis that may have lost something, under the epoch in which that was said. Every call has a
timeout and is never repeated by the client library: a repeated write is a second write. Raises Unavailable
for anything Redis does not answer in time.
"""

import asyncio
import secrets
import time
from collections.abc import Awaitable
from pathlib import Path
from typing import Any, cast

import redis.asyncio as aioredis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import NoScriptError, RedisError

from storage import keys
from storage.where import pool_for

LUA = Path(__file__).parent / "lua"
CONNECTIONS_MAX = 64  # of commands
CONNECTIONS_APART = 2  # of the tail, and of the tick
BACK_MS = 30_000  # so long all who were sent away by a new life have to come back before silence counts
MARGIN_S = 0.2  # so that what the connection itself notices is told as that


class Unavailable(Exception):
    """Redis did not answer, or not in time; what was asked may or may not have happened."""


class Unreplicated(RedisError):
    """Too few replicas have what was written, in the time given."""


class Script:
    """Lua files, sent as one by its SHA; loaded again when a restarted Redis has forgotten it."""

    def __init__(self, client: "aioredis.Redis", *names: str) -> None:
        self._client = client
        self._source = "".join((LUA / f"{name}.lua").read_text() for name in names)
        self._script = client.register_script(self._source)

    async def __call__(self, keys_: list[str], args: list[Any]) -> Any:
        call = cast(Any, self._client).evalsha
        try:
            return await call(self._script.sha, len(keys_), *keys_, *args)
        except NoScriptError:
            await self._load()
            return await call(self._script.sha, len(keys_), *keys_, *args)

    async def replicated(self, keys_: list[str], args: list[Any], replicas: int, wait_ms: int) -> Any:
        """The same, and then not before so many replicas have it. Raises Unreplicated when they have not
        within `wait_ms`: it happened, and may be lost with this Redis."""
        for _ in range(2):
            pipe = self._client.pipeline(transaction=False)  # one connection: WAIT waits for its writes
            pipe.evalsha(self._script.sha, len(keys_), *keys_, *args)
            pipe.wait(replicas, wait_ms)
            reply, reached = await pipe.execute(raise_on_error=False)
            if not isinstance(reply, NoScriptError):
                break
            await self._load()
        for answer in (reply, reached):
            if isinstance(answer, Exception):
                raise answer
        if reached < replicas:
            raise Unreplicated(f"{reached} of {replicas} replicas have it after {wait_ms} ms")
        return reply

    async def _load(self) -> None:
        await cast(Any, self._client).script_load(self._source)


class Shard:
    """The Redis of one shard. The clients are for storage/ only; the floors above use Log and Fleet."""

    def __init__(self, name: str, url: str, timeout_s: float = 1.5, replicas: int = 0) -> None:
        self.name = name
        self.url = url
        self.token = ""
        self.epoch = ""
        self.life_changed = True
        self._run_id = ""
        self._since_s = 0.0
        self._timeout_s = timeout_s
        self._replicas = replicas
        self.client = self._connected(CONNECTIONS_MAX)
        # commands that wait for one another must not keep a node from hearing, nor from telling where it is;
        # each of these asks one thing at a time
        self.tail_client = self._connected(CONNECTIONS_APART, alone=True)
        self._tick_client = self._connected(CONNECTIONS_APART, alone=True)
        self.load_script = Script(self.client, "load")
        self.commit_script = Script(self.client, "epoch", "lives", "commit")
        self.room_script = Script(self.client, "epoch", "room")
        self.tick_script = Script(self._tick_client, "tick")
        self.look_script = Script(self.tail_client, "look")
        self.batch_script = Script(self.client, "batch")
        self.due_script = Script(self.client, "due")
        self.near_script = Script(self.client, "near")
        self.lead_script = Script(self.client, "lead")
        self._life_script = Script(self.client, "life")
        self._settle_script = Script(self.client, "settle")

    def _connected(self, connections_max: int, *, alone: bool = False) -> "aioredis.Redis":
        pool = pool_for(self.url, self.name, connections_max=connections_max, timeout_s=self._timeout_s)
        pool.connection_kwargs["redis_connect_func"] = self._greet
        # `ask` has the time in its eye already; redis-py would start a task for every write to do so
        pool.connection_kwargs["socket_timeout"] = None
        return aioredis.Redis(connection_pool=pool, single_connection_client=alone)

    async def _greet(self, connection: AbstractConnection) -> None:
        await connection.on_connect()
        await connection.send_command("INFO", "server")
        info = cast(bytes, await connection.read_response())
        run_id = next(line[7:].strip() for line in info.decode().splitlines() if line.startswith("run_id:"))
        if run_id != self._run_id:
            life = (LUA / "life.lua").read_text()
            wanted, args = self._naming(run_id)
            await connection.send_command("EVAL", life, len(wanted), *wanted, *args)
            token, epoch = cast(list[bytes], await connection.read_response())
            self._run_id = run_id
            self._is_of(token, epoch)
            self.life_changed = False

    def _naming(self, run_id: str) -> tuple[list[str], list[Any]]:
        """Keys and arguments of life.lua."""
        return [keys.life(self.name), keys.due(self.name)], [run_id, self.name, secrets.token_hex(8), BACK_MS]

    async def ensure_life(self) -> bool:
        """Asks anew which life this is, after a sign that it is another: the token it answered with, or none.
        True when it is not the one known so far."""
        if not self.life_changed:
            return False
        before = self.token
        await self.ask(self.client.ping())  # a connection has been made, and its run id read
        run_id = self._run_id
        token, epoch = await self.ask(self._life_script(*self._naming(run_id)))
        self._is_of(token, epoch)
        if run_id == self._run_id:
            self.life_changed = False
        return before != "" and before != self.token

    def _is_of(self, token: bytes, epoch: bytes) -> None:
        if token.decode() != self.token:
            self._since_s = time.monotonic()
        self.token, self.epoch = token.decode(), epoch.decode()

    def lived_ms(self) -> int:
        """How long this life has been known here."""
        return int((time.monotonic() - self._since_s) * 1000) if self.token and not self.life_changed else 0

    async def ask(self, call: "Awaitable[Any]") -> Any:
        """Awaits a Redis call; every way in which Redis can fail to answer becomes Unavailable. The wait for a
        connection and the answer together take hardly longer than either may alone."""
        try:
            async with asyncio.timeout(self._timeout_s + MARGIN_S):
                return await call
        except (RedisError, OSError, TimeoutError) as error:
            raise Unavailable(f"Redis of shard {self.name}: {type(error).__name__}") from error

    async def kept(self, script: Script, keys_: list[str], args: list[Any]) -> Any:
        """Runs a script whose effect is there to stay when this returns: with `replicas`, when so many have it.
        Raises Unavailable; then it may have happened."""
        if not self._replicas:
            return await self.ask(script(keys_, args))
        wait_ms = int(self._timeout_s * 600)  # within the call's own timeout
        return await self.ask(script.replicated(keys_, args, self._replicas, wait_ms))

    async def settled(self) -> None:
        """Whatever was written before is there to stay: what a first answer that is given again promises."""
        if self._replicas:
            await self.kept(self._settle_script, [keys.settle(self.name)], [])

    async def now_ms(self) -> int:
        seconds, micros = await self.ask(self.client.time())
        return int(seconds) * 1000 + int(micros) // 1000

    async def close(self) -> None:
        for client in (self.client, self.tail_client, self._tick_client):
            await client.aclose()
            await client.connection_pool.disconnect()
