"""One address that forwards to another and can be hurt: cut, delayed, black-holed, refused.

Stands between phones and nodes, and between nodes or drains and Redis or PostgreSQL. Guarantees: bytes are
forwarded in order and unchanged or not at all; a direction whose reader is slow is read no faster; what a
black hole has swallowed is never followed by later bytes of the same connection (it is cut when it heals).

| when | then |
|---|---|
| nobody listens behind it | the connection is cut, as a machine without that service would |
| it is hurt in the middle of a transfer | what was read and not yet written goes the way of the hurt |
| it heals while a connection is half made | the connection is forwarded, or cut if it was swallowed |
| `close` with connections open | they are aborted, and their tasks awaited |
"""

from __future__ import annotations

import asyncio
import random
import socket
from dataclasses import dataclass
from typing import Literal

CHUNK_BYTES = 64 * 1024
CONNECT_S = 5.0
HOST = "127.0.0.1"
# Below the range that outgoing connections are given: a port that is closed for a moment is ours when it comes back.
PORTS = (20_000, 32_000)
PORTS_TRIED = 200

Mode = Literal["open", "refuse", "black_hole"]


@dataclass(frozen=True)
class Address:
    """A TCP port of this machine, or a unix socket."""

    port: int = 0
    path: str = ""


class _Pair:
    """One connection through the proxy."""

    def __init__(self, near: asyncio.StreamWriter, far: asyncio.StreamWriter) -> None:
        self.near = near
        self.far = far
        self.swallowed = False

    def abort(self) -> None:
        self.near.transport.abort()
        self.far.transport.abort()


class Proxy:
    """Listens on `port`, forwards to `upstream`."""

    def __init__(self, name: str, upstream: Address) -> None:
        self.name = name
        self.upstream = upstream
        self.port = quiet_port()
        self.mode: Mode = "open"
        self.delay_s = 0.0
        self._pairs: set[_Pair] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    @property
    def connections(self) -> int:
        return len(self._pairs)

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, HOST, self.port, limit=CHUNK_BYTES)

    async def close(self) -> None:
        await self._stop_listening()
        self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        """Ends every connection there is, with a reset."""
        for pair in list(self._pairs):
            pair.abort()

    def delay(self, seconds: float) -> None:
        """Every piece of every connection waits so long, in both directions."""
        self.delay_s = seconds

    def black_hole(self) -> None:
        """Connections are taken and stay, and nothing that is said over them arrives."""
        self.mode = "black_hole"

    async def refuse(self) -> None:
        """Nobody is at home: what there is is cut, and new connections are refused by the kernel."""
        self.mode = "refuse"
        await self._stop_listening()
        self.cut()

    async def heal(self) -> None:
        """As if nothing had been, but for the connections that lost something."""
        was, self.mode, self.delay_s = self.mode, "open", 0.0
        if was == "refuse":
            await self.start()
        for pair in list(self._pairs):
            if pair.swallowed:
                pair.abort()

    async def _stop_listening(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, near_in: asyncio.StreamReader, near: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(CONNECT_S):
                far_in, far = await self._connect()
        except (OSError, TimeoutError):
            near.transport.abort()
            return
        pair = _Pair(near, far)
        self._pairs.add(pair)
        try:
            await asyncio.gather(self._pump(near_in, far, pair), self._pump(far_in, near, pair))
        finally:
            self._pairs.discard(pair)
            pair.abort()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self.upstream.path:
            return await asyncio.open_unix_connection(self.upstream.path, limit=CHUNK_BYTES)
        return await asyncio.open_connection(HOST, self.upstream.port, limit=CHUNK_BYTES)

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, pair: _Pair) -> None:
        try:
            while data := await source.read(CHUNK_BYTES):
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                if self.mode == "black_hole" or pair.swallowed:
                    pair.swallowed = True
                    continue
                sink.write(data)
                await sink.drain()
            if not pair.swallowed:
                sink.write_eof()
        except (OSError, RuntimeError):
            pair.abort()  # one end is gone, and so is the other


def quiet_port() -> int:
    """A free port that the kernel gives to nobody by itself."""
    for _ in range(PORTS_TRIED):
        port = random.SystemRandom().randrange(*PORTS)
        with socket.socket() as probe:
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
        return port
    raise OSError(f"no free port among {PORTS_TRIED} tried of {PORTS[0]}-{PORTS[1]}")
