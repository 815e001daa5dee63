"""One shard's Redis: its connections, its scripts, and which life of it we are talking to.

Every connection asks Redis for its run id when it is made, so a restarted Redis cannot be mistaken for the
one before: `life_changed` is set, and the next reader names a new life (new epoch) before anything is
committed. Every call has a timeout and is never repeated by the client library: a repeated write is a second
write. Raises Unavailable for anything Redis does not answer in time.
"""

import secrets
from collections.abc import Awaitable
from pathlib import Path
from typing import Any, cast

import redis.asyncio as aioredis
from redis.asyncio.connection import AbstractConnection, BlockingConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError

from storage import keys

LUA = Path(__file__).parent / "lua"
CONNECTIONS_MAX = 64  # of commands
CONNECTIONS_APART = 2  # of the tail, and of the tick


class Unavailable(Exception):
    """Redis did not answer, or not in time; what was asked may or may not have happened."""


class Script:
    """A Lua file, sent by its SHA; loaded again when a restarted Redis has forgotten it."""

    def __init__(self, client: "aioredis.Redis", name: str) -> None:
        self._client = client
        self._source = (LUA / f"{name}.lua").read_text()
        self._script = client.register_script(self._source)

    async def __call__(self, keys_: list[str], args: list[Any]) -> Any:
        call = cast(Any, self._client).evalsha
        try:
            return await call(self._script.sha, len(keys_), *keys_, *args)
        except NoScriptError:
            await cast(Any, self._client).script_load(self._source)
            return await call(self._script.sha, len(keys_), *keys_, *args)


class Shard:
    """The Redis of one shard. The clients are for storage/ only; the floors above use Log and Fleet."""

    def __init__(self, name: str, url: str, timeout_s: float = 1.5) -> None:
        self.name = name
        self.url = url
        self.token = ""
        self.epoch = ""
        self.life_changed = True
        self._run_id = ""
        self._timeout_s = timeout_s
        self.client = self._connected(CONNECTIONS_MAX)
        # commands that wait for one another must not keep a node from hearing, nor from telling where it is
        self.tail_client = self._connected(CONNECTIONS_APART)
        self._tick_client = self._connected(CONNECTIONS_APART)
        self.load_script = Script(self.client, "load")
        self.commit_script = Script(self.client, "commit")
        self.tick_script = Script(self._tick_client, "tick")
        self.near_script = Script(self.client, "near")
        self._life_script = Script(self.client, "life")

    def _connected(self, connections_max: int) -> "aioredis.Redis":
        pool = BlockingConnectionPool.from_url(
            self.url,
            max_connections=connections_max,
            timeout=self._timeout_s,  # a burst of commands waits for a connection, but not for long
            socket_timeout=self._timeout_s,
            socket_connect_timeout=self._timeout_s,
            retry=Retry(NoBackoff(), 0),
            redis_connect_func=self._greet,
        )
        return aioredis.Redis(connection_pool=pool)

    async def _greet(self, connection: AbstractConnection) -> None:
        await connection.on_connect()
        await connection.send_command("INFO", "server")
        info = cast(bytes, await connection.read_response())
        run_id = next(line[7:].strip() for line in info.decode().splitlines() if line.startswith("run_id:"))
        if run_id != self._run_id:
            self._run_id = run_id
            self.life_changed = True

    async def ensure_life(self) -> bool:
        """Names the life of the Redis at the other end; True when it is not the one known so far."""
        if not self.life_changed:
            return False
        await self.ask(self.client.ping())  # a connection has been made, and its run id read
        run_id = self._run_id
        token, epoch = await self.ask(
            self._life_script([keys.life(self.name)], [run_id, self.name, secrets.token_hex(8)])
        )
        before = self.token
        self.token, self.epoch = token.decode(), epoch.decode()
        if run_id == self._run_id:
            self.life_changed = False
        return before != "" and before != self.token

    async def ask(self, call: "Awaitable[Any]") -> Any:
        """Awaits a Redis call; every way in which Redis can fail to answer becomes Unavailable."""
        try:
            return await call
        except (RedisError, OSError, TimeoutError) as error:
            raise Unavailable(f"Redis of shard {self.name}: {type(error).__name__}") from error

    async def now_ms(self) -> int:
        seconds, micros = await self.ask(self.client.time())
        return int(seconds) * 1000 + int(micros) // 1000

    async def close(self) -> None:
        for client in (self.client, self.tail_client, self._tick_client):
            await client.aclose()
            await client.connection_pool.disconnect()
