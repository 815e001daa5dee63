"""Thousands of connected clients who say nothing, in a process of their own: so that all can be gone in one moment, and
that whoever asks the server meanwhile is not busy himself."""

from __future__ import annotations

import asyncio
import multiprocessing
import multiprocessing.connection
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvloop

from loadtest.light import Light, connect_peer
from loadtest.neighbour import open_files_for
from loadtest.stage import StageError

COMING_AT_ONCE = 50
COME_S, GO_S = 120.0, 20.0


class Crowd:
    def __init__(self, process: multiprocessing.process.BaseProcess) -> None:
        self._process = process

    async def vanish(self) -> None:
        """Every line is broken by the system, as when a machine's process is killed; returns when all are."""
        assert self._process.pid is not None
        os.kill(self._process.pid, signal.SIGKILL)
        await asyncio.to_thread(self._process.join, GO_S)


@asynccontextmanager
async def crowd(url: str, count: int) -> AsyncIterator[Crowd]:
    """All connected, each in a room of his own, until the block ends. Raises StageError."""
    context = multiprocessing.get_context("spawn")
    pipe, far = context.Pipe()
    process = context.Process(target=_live, args=(far, url, count), daemon=True)
    process.start()
    far.close()
    try:
        yield await _when_there(pipe, Crowd(process))
    finally:
        if process.is_alive():
            process.kill()
        await asyncio.to_thread(process.join, GO_S)


async def _when_there(pipe: multiprocessing.connection.Connection, found: Crowd) -> Crowd:
    if not await asyncio.to_thread(pipe.poll, COME_S):
        raise StageError(f"the crowd was not connected after {COME_S:g} s")
    try:
        said = pipe.recv()
    except EOFError:
        said = "its process has ended"
    if said != "there":
        raise StageError(f"the crowd could not come: {said}")
    return found


def _live(pipe: multiprocessing.connection.Connection, url: str, count: int) -> None:
    try:
        open_files_for(count)
        uvloop.run(_lives(pipe, url, count))
    except Exception as error:
        pipe.send(f"{type(error).__name__}: {error}")


async def _lives(pipe: multiprocessing.connection.Connection, url: str, count: int) -> None:
    turns = asyncio.Semaphore(COMING_AT_ONCE)

    async def come(number: int) -> Light:
        async with turns:
            return await connect_peer(url, {"room": f"idle:{number}"}, within_s=COME_S)

    lines = await asyncio.gather(*(come(number) for number in range(count)))
    ended = asyncio.Event()
    for line in lines:
        line.on_lost = ended.set
    asyncio.get_running_loop().add_reader(pipe.fileno(), ended.set)  # whoever wanted us is gone
    pipe.send("there")
    await ended.wait()
