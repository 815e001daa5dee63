"""`dispatch serve --workers N`: N processes on one port, and the parent that starts them and ends with them.

Each worker is a node of its own, which shares the port (SO_REUSEPORT: the kernel spreads connections over those
that listen) and, with `--own-ports`, listens on port + i alone. The parent serves nobody.

| what happens | outcome |
|---|---|
| settings, keys, schema or a server are not in order, the port is taken | said once, before any worker starts; exit 1 |
| PostgreSQL is away, and Redis has a copy (server/ground.py) | the workers start with that |
| a worker ends before it has listened for the first time | all end; exit 1 |
| a worker dies later | the others go on and take its clients; it comes back after AGAIN_FIRST_S |
| it dies again and again | after twice as long each time, at most AGAIN_MOST_S; STEADY_S of life start anew |
| nobody is up, and one has failed TRIES times in a row | exit 1: whoever supervises the parent shall see it |
| SIGTERM or SIGINT | handed to all; they leave by themselves, or are killed after LEAVE_S; exit 0 |
| the signal comes while a worker starts | it dies of it or leaves at once; nobody is on it |
| the parent is killed | each worker hears its line end (server/tether.py), and leaves as if told |
"""

import asyncio
import logging
import os
import signal
import socket
import sys
import time
from asyncio.subprocess import Process
from contextlib import suppress

import uvloop

from rooms.identity import KeyRing
from rooms.tasks import Tasks
from server.app import node_name
from server.needs import Stop, database_url, redis_url
from server.settings import Settings
from server.tether import came_up
from storage.copied import Copies
from storage.migrate import check
from storage.postgis import DatabaseUnavailable, connect
from storage.shard import Shard

logger = logging.getLogger(__name__)

AGAIN_FIRST_S, AGAIN_MOST_S = 0.5, 10.0
STEADY_S = 30.0
TRIES = 8
LEAVE_S = 12.0  # a worker ends itself after ten


def supervise(settings: Settings, count: int, *, own_ports: bool) -> None:
    """Runs the workers until told to stop; exits with 1 when they cannot run. Raises what is not in order."""
    if not uvloop.run(_supervise(settings, count, own_ports)):
        sys.exit(1)


async def _supervise(settings: Settings, count: int, own_ports: bool) -> bool:
    await _in_order(settings)
    with _reserved(settings) as port:
        last = port.getsockname()[1] + count if own_ports else 0
        if last > 65535:
            raise Stop(f"Port {last} of the last worker is beyond 65535. Take a lower DISPATCH_PORT.")
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        return await Workers(node_name(settings), count, port.getsockname()[1], own_ports).run(stop)


async def _in_order(settings: Settings) -> None:
    """What every worker would find wrong is said once."""
    KeyRing.load(settings.keys_file, issuer=settings.issuer, audience=settings.audience)
    away: DatabaseUnavailable | None = None
    try:
        connection = await connect(database_url(settings), settings.database_timeout_s)
        try:
            await check(connection)
        finally:
            await connection.close(timeout=settings.database_timeout_s)
    except DatabaseUnavailable as error:
        away = error
    shard = Shard(settings.shard, redis_url(settings), settings.redis_timeout_ms / 1000)
    try:
        await shard.now_ms()
        if away is not None and await Copies(shard).find() is None:
            raise away  # server/ground.py
    finally:
        await shard.close()


def _reserved(settings: Settings) -> socket.socket:
    """The port, held for the workers but not listened on. Raises Stop where somebody listens already."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((settings.host, settings.port))
        held = socket.socket(family)
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        held.bind((settings.host, settings.port))
    except OSError as error:
        raise Stop(f"Port {settings.port} of {settings.host} cannot be taken: {error.strerror}.") from None
    return held


class Workers:
    """`name` is the parent's; worker i is the node NAME_i."""

    def __init__(self, name: str, count: int, port: int, own_ports: bool) -> None:
        self._name = name
        self._count = count
        self._port = port
        self._own_ports = own_ports
        self._running: dict[int, Process] = {}
        self._up: set[int] = set()
        self._stop: asyncio.Event
        self._failed = False

    async def run(self, stop: asyncio.Event) -> bool:
        """Until `stop` is set; whether that is why they ended."""
        self._stop = stop
        tasks = Tasks()
        keepers = [tasks.start(self._keep(i), f"worker {i}") for i in range(1, self._count + 1)]
        await self._stop.wait()
        self._tell_all(signal.SIGTERM)
        await asyncio.wait(keepers, timeout=LEAVE_S)
        if self._running:
            logger.error("%d workers do not end, and are killed", len(self._running))
            self._tell_all(signal.SIGKILL)
        await asyncio.wait(keepers)
        return not self._failed

    def _tell_all(self, number: signal.Signals) -> None:
        for process in self._running.values():
            with suppress(ProcessLookupError):  # it has just ended
                process.send_signal(number)

    async def _keep(self, number: int) -> None:
        """One worker after the other in this place."""
        pause_s, tries, ever = AGAIN_FIRST_S, 0, False
        while not self._stop.is_set():
            began_s = time.monotonic()
            code, listened = await self._one(number)
            if self._stop.is_set():
                return
            ever = ever or listened
            if time.monotonic() - began_s > STEADY_S:
                pause_s, tries = AGAIN_FIRST_S, 0
            tries += 1
            if not ever or (tries >= TRIES and not self._up):
                logger.error("worker %d cannot run (it ended with code %d): all end", number, code)
                self._failed = True
                self._stop.set()
                return
            logger.error("worker %d ended with code %d, and comes back in %.1f s", number, code, pause_s)
            try:
                await asyncio.wait_for(self._stop.wait(), pause_s)
            except TimeoutError:
                pause_s = min(AGAIN_MOST_S, 2 * pause_s)

    async def _one(self, number: int) -> tuple[int, bool]:
        """The life of one process: its exit code, and whether it ever listened."""
        here, there = socket.socketpair()
        here.setblocking(False)
        with here:
            with there:
                process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-m", "server.cli", "serve", "--tethered"),
                    stdin=there.fileno(),
                    env=os.environ | self._environment(number),
                )
            self._running[number] = process
            if self._stop.is_set():  # told to while it was made
                self._tell_all(signal.SIGTERM)
            listened = await came_up(here)
            if listened:
                self._up.add(number)
                logger.info("worker %d is up: process %d, port %d", number, process.pid, self._port)
            code = await process.wait()
            del self._running[number]
            self._up.discard(number)
        return code, listened

    def _environment(self, number: int) -> dict[str, str]:
        """What makes this worker differ from `dispatch serve`."""
        own = self._port + number if self._own_ports else 0
        return {
            "DISPATCH_NODE": f"{self._name}_{number}",
            "DISPATCH_PORT": str(self._port),
            "DISPATCH_REUSE_PORT": "true",
            "DISPATCH_OWN_PORT": str(own),
        }
