"""`dispatch serve --workers`: one port, several processes, and a parent that keeps them there and takes them along."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import pytest

from server import workers
from server.devstack.redis import free_port
from tests.phones import phone
from tests.stack import HOST, RunningStack
from tests.support import CHECKOUT, fresh_database, wait_until
from tests.test_coming_back import Returning

START_S, LEAVE_S, AGAIN_S = 60.0, 10.0, 20.0  # the first is patience: 1 s where nothing else runs
SERVE = ("-m", "server.cli", "serve")
UP = re.compile(r"worker (\d+) is up: process (\d+)")


class Parent:
    """`dispatch serve --workers …` and what it wrote."""

    def __init__(self, process: asyncio.subprocess.Process, url: str) -> None:
        self.process, self.url = process, url
        self.log = ""

    async def listen(self) -> None:
        assert self.process.stderr is not None
        while line := await self.process.stderr.readline():
            self.log += line.decode()

    def pids(self) -> dict[int, int]:
        """The newest process of each worker."""
        return {int(number): int(pid) for number, pid in UP.findall(self.log)}

    async def ended(self, within_s: float = LEAVE_S) -> int:
        async with asyncio.timeout(within_s):
            return await self.process.wait()


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def port_with_room(count: int) -> int:
    """A free port with so many free ones behind it."""
    while True:
        port = free_port()
        try:
            for number in range(1, count + 1):
                with taken(port + number):
                    pass
        except OSError:
            continue
        return port


@contextmanager
def taken(port: int) -> Iterator[None]:
    with socket.socket() as holder:
        holder.bind((HOST, port))
        holder.listen()
        yield


@asynccontextmanager
async def parent(
    stack: RunningStack, *words: str, port: int = 0, program: tuple[str, ...] = SERVE, **env: str
) -> AsyncIterator[Parent]:
    port = port or free_port()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, *program, *words),
        cwd=CHECKOUT,
        env={**stack.app.env, "DISPATCH_PORT": str(port), "DISPATCH_NODE": "w", **env},
        stderr=asyncio.subprocess.PIPE,
    )
    made = Parent(process, f"http://{HOST}:{port}")
    listening = asyncio.ensure_future(made.listen())
    try:
        yield made
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            await made.ended()
        await listening
        await wait_until(lambda: not any(map(alive, made.pids().values())), LEAVE_S)


async def test_two_workers_on_one_port(stack: RunningStack) -> None:
    """Both take clients; the clients of a killed one are with the other, and it comes back, later each time."""
    people = await stack.people("passenger", 12)
    async with parent(stack, "--workers", "2") as made:
        await wait_until(lambda: len(made.pids()) == 2, START_S)
        phones = [Returning(person) for person in people]
        try:
            for one in phones:
                await one.connect(made.url)
            at = {one: one.heard("connected")[0]["node"] for one in phones}
            assert set(at.values()) == {"w_1", "w_2"}
            first = made.pids()
            os.kill(first[1], signal.SIGKILL)
            for one in phones:
                if at[one] == "w_1":
                    await one.back(1)
                assert one.sio.connected and len(one.heard("connected")) == 1 + (at[one] == "w_1")
            await wait_until(lambda: made.pids()[1] != first[1], AGAIN_S)
            again = made.pids()
            os.kill(again[1], signal.SIGKILL)
            await wait_until(lambda: made.pids()[1] != again[1], AGAIN_S)
            assert re.findall(r"comes back in (\S+) s", made.log) == ["0.5", "1.0"]
            assert made.pids()[2] == first[2]
        finally:
            for one in phones:
                await one.close()
        made.process.send_signal(signal.SIGTERM)
        assert await made.ended() == 0
        assert not any(map(alive, made.pids().values()))


async def test_workers_leave_when_their_parent_is_killed(stack: RunningStack) -> None:
    async with parent(stack, "--workers", "2") as made:
        await wait_until(lambda: len(made.pids()) == 2, START_S)
        made.process.kill()
        await made.ended()
        await wait_until(lambda: not any(map(alive, made.pids().values())), LEAVE_S)


async def test_each_worker_has_a_port_of_its_own(stack: RunningStack) -> None:
    """Where polling clients, whose requests must all come to one process, can be sent."""
    port = port_with_room(2)
    async with parent(stack, "--workers", "2", "--own-ports", port=port) as made:
        await wait_until(lambda: len(made.pids()) == 2, START_S)
        for number in (1, 2):
            async with phone(stack.at(port + number), "passenger", "polling") as one:
                assert one.heard("connected")[0]["node"] == f"w_{number}"
                assert one.sio.sid and one.sio.eio.sid.startswith(f"w_{number}-")
                assert (await one.call("ping"))["ok"]


async def sentence(made: Parent) -> str:
    """The one line that it ended with."""
    assert await made.ended(START_S) == 1
    await wait_until(lambda: made.log.endswith("\n"))
    assert made.log.startswith("dispatch: ") and made.log.count("\n") == 1, made.log
    assert not made.pids()
    return made.log


async def test_what_is_not_in_order_is_said_once(stack: RunningStack) -> None:
    with fresh_database(template=False) as url:
        async with parent(stack, "--workers", "3", DISPATCH_DATABASE_URL=url) as made:
            assert "dispatch migrate" in await sentence(made)
    async with parent(stack, "--workers", "3", DISPATCH_TICK_MS="soon") as made:
        assert "dispatch settings" in await sentence(made)
    async with parent(stack, "--workers", "3", DISPATCH_KEYS_FILE="/nowhere/keys") as made:
        assert "dispatch keys init" in await sentence(made)
    async with parent(stack, "--workers", "3", DISPATCH_REDIS_URL="redis://127.0.0.1:1") as made:
        assert "Redis does not answer" in await sentence(made)
    port = free_port()
    with taken(port):
        async with parent(stack, "--workers", "3", port=port) as made:
            assert f"Port {port}" in await sentence(made)
    async with parent(stack, "--workers", "9", "--own-ports", port=65530) as made:
        assert "65539" in await sentence(made)
    async with parent(stack, "--own-ports") as made:
        assert "--workers" in await sentence(made)


async def test_a_worker_that_cannot_start_ends_all(stack: RunningStack) -> None:
    port = port_with_room(2)
    with taken(port + 2):
        async with parent(stack, "--workers", "2", "--own-ports", port=port) as made:
            assert await made.ended(START_S) == 1
            assert "worker 2 cannot run" in made.log and "Traceback" not in made.log


async def test_when_nobody_can_come_up_again_all_end(
    stack: RunningStack, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Each is tried so often, and no longer; as long as one is up, they are tried without end."""
    monkeypatch.setattr(workers, "AGAIN_FIRST_S", 0.01)
    monkeypatch.setattr(workers, "AGAIN_MOST_S", 0.02)
    for name, value in stack.app.env.items():
        if name.startswith("DISPATCH_"):
            monkeypatch.setenv(name, value)
    caplog.set_level("INFO")
    running = asyncio.ensure_future(workers.Workers("w", 2, free_port(), False).run(asyncio.Event()))
    await wait_until(lambda: len(UP.findall(caplog.text)) == 2, START_S)
    monkeypatch.setenv("DISPATCH_KEYS_FILE", "/nowhere/keys")
    first, second = (int(pid) for _, pid in sorted(UP.findall(caplog.text)))
    os.kill(first, signal.SIGKILL)
    await wait_until(lambda: caplog.text.count("worker 1 ended") > workers.TRIES, START_S)
    assert alive(second) and not running.done()
    os.kill(second, signal.SIGKILL)
    assert await running is False
    assert "cannot run" in caplog.text


async def test_told_to_stop_while_they_start(stack: RunningStack) -> None:
    async with parent(stack, "--workers", "2") as made:
        await wait_until(lambda: made.pids() or made.process.returncode is not None, START_S)
        made.process.send_signal(signal.SIGINT)
        made.process.send_signal(signal.SIGTERM)
        assert await made.ended() == 0
