"""A measurement's second node does not outlive the measurement, however that ends."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import suppress

import pytest

from server.devstack.procs import is_alive
from tests.stack import RunningStack
from tests.support import CHECKOUT, wait_until

MEASUREMENT = """
import asyncio
from loadtest.neighbour import neighbour

async def measure():
    async with neighbour() as node:
        print(node.pid, flush=True)
        await asyncio.Event().wait()

asyncio.run(measure())
"""


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL], ids=["SIGTERM", "SIGKILL"])
async def test_it_ends_with_who_started_it(stack: RunningStack, how: signal.Signals) -> None:
    argv, pipe = (sys.executable, "-c", MEASUREMENT), asyncio.subprocess.PIPE
    child = await asyncio.create_subprocess_exec(*argv, env=stack.app.env, cwd=CHECKOUT, stdout=pipe)
    try:
        assert child.stdout is not None
        async with asyncio.timeout(40.0):
            node = int(await child.stdout.readline())
        assert is_alive(node)
    finally:
        child.send_signal(how)
        await child.wait()
    try:
        await wait_until(lambda: not is_alive(node), 15.0)
    finally:
        with suppress(ProcessLookupError):
            os.kill(node, signal.SIGKILL)
