"""The processes of a fault run: nodes, drains and a Redis of its own, each behind a proxy, and PostgreSQL behind
another. Started, frozen, thawed, told to go, killed and started again, as an operator or the kernel would.

    phones → proxy → node → proxy → Redis, PostgreSQL ← proxy ← drain

Guarantees: a process that was meant to run and ended by itself is a finding (`died`), not an accident; whatever
was started is ended with the run, at once. PostgreSQL is the stack's: only its sessions are ours to end.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import shutil
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import parse_qs, unquote, urlsplit

import aiohttp
import asyncpg
import redis.asyncio as aioredis

from loadtest.faults.proxy import HOST, Address, Proxy, quiet_port

CHECKOUT = Path(__file__).resolve().parents[2]
READY_S = 30.0
POLL_S = 0.03
GOES_WITHIN_S = 12.0
AOF_SIZE_EVERY_S = 0.1
# Where the system can do it, a bench that is killed takes its children with it.
DIES_WITH_US = ["setpriv", "--pdeathsig", "KILL", "--"] if shutil.which("setpriv") else []


@dataclass(frozen=True)
class Place:
    """What the stack gives: a database with the schema, a key ring, the program of Redis, a folder for logs, and
    the command that turns PostgreSQL off and on, where it is ours."""

    database_url: str
    redis_program: str
    folder: Path
    postgres_switch: str = ""


class Process:
    """One child: `argv` and `env` stay the same over all of its lives."""

    def __init__(self, name: str, argv: list[str], env: Mapping[str, str], folder: Path) -> None:
        self.name = name
        self._argv = argv
        self._env = dict(env)
        self._log = folder / f"{name}.log"
        self._child: asyncio.subprocess.Process | None = None
        self.wanted = False
        self.lock = asyncio.Lock()  # one fault at a time has this process

    @property
    def pid(self) -> int:
        """0 when it has never run."""
        return self._child.pid if self._child is not None else 0

    @property
    def runs(self) -> bool:
        return self._child is not None and self._child.returncode is None

    async def start(self) -> None:
        out: IO[bytes] = self._log.open("ab")
        try:
            self._child = await asyncio.create_subprocess_exec(
                *DIES_WITH_US,
                *self._argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env=self._env,
                start_new_session=True,
                cwd=CHECKOUT,
            )
        finally:
            out.close()
        self.wanted = True

    def send(self, number: signal.Signals) -> None:
        if self._child is not None and self.runs:
            with suppress(ProcessLookupError):
                self._child.send_signal(number)

    async def end(self, number: signal.Signals) -> int:
        """Sends a signal and waits for the end; the exit code. What does not go is killed, and that is -9."""
        self.wanted = False
        if self._child is None:
            return 0
        self.send(number)
        with suppress(TimeoutError):
            async with asyncio.timeout(GOES_WITHIN_S):
                return await self._child.wait()
        self.send(signal.SIGKILL)
        return await self._child.wait()


class Redis(Process):
    """The shard's Redis, with an append-only file below `folder`."""

    def __init__(self, place: Place, fsync: str, memory_mb: int = 0) -> None:
        folder = place.folder / "redis"
        folder.mkdir(mode=0o700, exist_ok=True)
        self.port = quiet_port()
        self.fsync = fsync
        options: dict[str, object] = {
            "port": self.port,
            "bind": HOST,
            "dir": folder,
            "appendfsync": fsync,
            "daemonize": "no",
        }
        if memory_mb:
            options["maxmemory"] = f"{memory_mb}mb"
        argv = [place.redis_program, str(CHECKOUT / "deploy" / "redis.conf")]
        for name, value in options.items():
            argv += [f"--{name}", str(value)]
        super().__init__("redis", argv, os.environ, place.folder)
        self._aof = folder / "appendonlydir"
        self.sizes: list[tuple[float, int]] = []

    def client(self) -> Any:
        """A connection past the proxies, for whoever breaks it."""
        return aioredis.Redis(host=HOST, port=self.port, socket_timeout=5, socket_connect_timeout=2)

    async def until_answers(self) -> None:
        """Raises TimeoutError."""
        await _until(self._answers)

    async def _answers(self) -> bool:
        client = self.client()
        try:
            return bool(await client.ping())
        except (aioredis.RedisError, OSError):
            return False
        finally:
            await client.aclose()

    @property
    def tail(self) -> Path:
        """The file that is being appended to."""
        return max(self._aof.glob("*.incr.aof"), key=lambda file: file.stat().st_mtime_ns)

    def forget_all(self) -> None:
        """The disk is lost. Only while it does not run."""
        for file in self._aof.iterdir():
            file.unlink()

    async def watch_size(self) -> None:
        """Remembers how long the file was when: what a power loss would have left of it."""
        while True:
            with suppress(OSError, ValueError):
                self.sizes.append((time.time(), self.tail.stat().st_size))
                del self.sizes[:-100]
            await asyncio.sleep(AOF_SIZE_EVERY_S)


class Node(Process):
    """A `dispatch serve`. `front` is where phones reach it."""

    def __init__(self, name: str, port: int, env: Mapping[str, str], folder: Path) -> None:
        argv = [sys.executable, "-m", "server.cli", "serve"]
        super().__init__(name, argv, {**env, "DISPATCH_PORT": str(port), "DISPATCH_NODE": name}, folder)
        self.port = port
        self.front = Proxy(f"phones-{name}", Address(port=port))

    async def ready(self, session: aiohttp.ClientSession) -> bool:
        try:
            timeout = aiohttp.ClientTimeout(total=2.0)
            async with session.get(f"http://{HOST}:{self.port}/ready", timeout=timeout) as answer:
                return answer.status == 200
        except (aiohttp.ClientError, OSError, TimeoutError):
            return False


class Cluster:
    """Everything that runs; `links` are the proxies that a fault may hurt."""

    def __init__(
        self, place: Place, *, nodes: int, drains: int, fsync: str, redis_memory_mb: int = 0
    ) -> None:
        self.place = place
        self.redis = Redis(place, fsync, redis_memory_mb)
        self._database = _address_of(place.database_url)
        self._by_name: dict[str, Proxy] = {}
        self.nodes = [
            Node(name, quiet_port(), self._env(name), place.folder)
            for name in (f"node{n}" for n in range(nodes))
        ]
        self.drains = [
            Process(name, [sys.executable, "-m", "server.cli", "drain"], self._env(name), place.folder)
            for name in (f"drain{n}" for n in range(drains))
        ]
        self.links = [*self._by_name.values(), *(node.front for node in self.nodes)]
        self.died: list[str] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._session: aiohttp.ClientSession | None = None

    def _env(self, name: str) -> dict[str, str]:
        to_redis = Proxy(f"{name}-redis", Address(port=self.redis.port))
        to_database = Proxy(f"{name}-postgres", self._database)
        self._by_name |= {to_redis.name: to_redis, to_database.name: to_database}
        user_and_name = urlsplit(self.place.database_url)
        user = user_and_name.netloc.rpartition("@")[0]
        database_url = f"postgresql://{user}@{HOST}:{to_database.port}{user_and_name.path}"
        return {
            **os.environ,
            "DISPATCH_DATABASE_URL": database_url,
            "DISPATCH_REDIS_URL": f"redis://{HOST}:{to_redis.port}/0",
            "DISPATCH_HOST": HOST,
        }

    @property
    def database_links(self) -> list[Proxy]:
        return [link for link in self.links if link.name.endswith("-postgres")]

    @property
    def urls(self) -> list[str]:
        """Where phones come in, by node."""
        return [f"http://{HOST}:{node.front.port}" for node in self.nodes]

    async def start(self) -> None:
        """Returns when every node says that it is ready. Raises TimeoutError."""
        self._session = aiohttp.ClientSession()
        for link in self.links:
            await link.start()
        await self.redis.start()
        await self.redis.until_answers()
        self._tasks = [asyncio.create_task(self.redis.watch_size()), asyncio.create_task(self._watch())]
        for process in (*self.drains, *self.nodes):
            await process.start()
        for node in self.nodes:
            await self.until_ready(node)

    async def until_ready(self, node: Node) -> None:
        """Raises TimeoutError. A node that finds no Redis or PostgreSQL when it starts says so and ends; then it is
        started again, as its supervisor would."""
        assert self._session is not None
        session = self._session

        async def is_well() -> bool:
            if not node.runs:
                await node.start()
            return await node.ready(session)

        await _until(is_well)

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        processes = [*self.nodes, *self.drains, self.redis]
        for process in processes:
            process.send(signal.SIGCONT)
        await asyncio.gather(*(process.end(signal.SIGKILL) for process in processes))
        await asyncio.gather(*(link.close() for link in self.links))
        if self._session is not None:
            await self._session.close()

    async def turn_postgres(self, word: str) -> None:
        """`stop` or `start`, to its end. Raises OSError when that is not done."""
        argv = shlex.split(self.place.postgres_switch)
        child = await asyncio.create_subprocess_exec(
            *argv, word, cwd=CHECKOUT, stdin=asyncio.subprocess.DEVNULL
        )
        if await child.wait() != 0:
            raise OSError(f"PostgreSQL could not be told to {word}")

    async def sql(self, statement: str, *values: Any) -> list[Any]:
        """One statement past the proxies, for whoever breaks or judges."""
        connection = await asyncpg.connect(self.place.database_url, timeout=10, command_timeout=30)
        try:
            return list(await connection.fetch(statement, *values))
        finally:
            await connection.close(timeout=5)

    async def _watch(self) -> None:
        """Who ended and was not meant to. A node that gives up is started again, as its supervisor would."""
        while True:
            for process in (*self.nodes, *self.drains):
                if process.wanted and not process.runs and not process.lock.locked():
                    self.died.append(f"{process.name} ended by itself at {time.strftime('%H:%M:%S')}")
                    await process.start()
            await asyncio.sleep(AOF_SIZE_EVERY_S)


async def _until(well: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(READY_S):
        while True:
            if await well():
                return
            await asyncio.sleep(POLL_S)


def _address_of(database_url: str) -> Address:
    parts = urlsplit(database_url)
    given = parse_qs(parts.query)
    port = int(given.get("port", [parts.port or 5432])[0])
    host = unquote(given.get("host", [parts.hostname or HOST])[0])
    return Address(path=f"{host}/.s.PGSQL.{port}") if host.startswith("/") else Address(port=port)
