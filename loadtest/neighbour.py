"""A second node beside the stack's own, which a measurement may load and kill; and as many open files as it needs.

The node's standard input is a socket of ours (`--tethered`): it ends by itself when this process is gone, however that
went, and is not left behind with its port, its lease and its part of the rooms.
"""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp

from loadtest.stage import StageError

HOST = "127.0.0.1"
READY_S = 30.0
POLL_S = 0.1
FILES_APART = 500  # of whatever is not a client's socket


class Neighbour:
    """A `dispatch serve` with this process's settings and a port of its own."""

    def __init__(self, url: str, child: asyncio.subprocess.Process) -> None:
        self.url = url
        self._child = child

    @property
    def pid(self) -> int:
        return self._child.pid

    async def kill(self) -> None:
        """SIGKILL: every socket of it breaks at once."""
        await self._end(signal.SIGKILL)

    async def _end(self, number: signal.Signals) -> None:
        if self._child.returncode is None:
            self._child.send_signal(number)
        await self._child.wait()

    async def until_ready(self) -> None:
        """Raises StageError."""
        try:
            async with asyncio.timeout(READY_S), aiohttp.ClientSession() as http:
                while not await self._is_ready(http):
                    if self._child.returncode is not None:
                        raise StageError(f"the second node ended with code {self._child.returncode}")
                    await asyncio.sleep(POLL_S)
        except TimeoutError:
            raise StageError(f"the second node was not ready after {READY_S:g} s") from None

    async def _is_ready(self, http: aiohttp.ClientSession) -> bool:
        try:
            async with http.get(f"{self.url}/ready") as answer:
                return answer.status == 200
        except aiohttp.ClientError:
            return False


@asynccontextmanager
async def neighbour() -> AsyncIterator[Neighbour]:
    """A second node, ready; ended with the block. Raises StageError."""
    port = _free_port()
    env = os.environ | {"DISPATCH_PORT": str(port), "DISPATCH_NODE": "second"}
    argv = (sys.executable, "-m", "server.cli", "serve", "--tethered")
    here, there = socket.socketpair()
    with here:
        with there:
            nowhere = asyncio.subprocess.DEVNULL
            child = await asyncio.create_subprocess_exec(
                *argv, env=env, stdin=there.fileno(), stdout=nowhere, stderr=nowhere
            )
        node = Neighbour(f"http://{HOST}:{port}", child)
        try:
            await node.until_ready()
            yield node
        finally:
            await node._end(signal.SIGTERM)


def open_files_for(clients: int) -> None:
    """Lets this process, and the nodes that it starts, have so many sockets. Raises StageError when it may not."""
    need = clients + FILES_APART
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < need:
        raise StageError(
            f"{clients} clients need {need} open files and the limit is {hard}: raise it (ulimit -n)"
        )
    if soft != resource.RLIM_INFINITY and soft < need:
        resource.setrlimit(resource.RLIMIT_NOFILE, (need, hard))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port
