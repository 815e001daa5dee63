"""Servers that do the same small job, to be compared: a driver's `location_update` is told to his room.

`bare` is this server's own transport and gate, `node` and `stock` are the unmodified servers of Node and Python.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

from loadtest.cores import born_on
from loadtest.stage import StageError

HERE = Path(__file__).parent
ARGV = {
    "bare": (sys.executable, "-m", "server.bare_relay"),
    "node": ("node", str(HERE / "node.mjs")),
    "stock": (sys.executable, "-m", "loadtest.peers.stock"),
}
START_S = 20.0


class Peer(NamedTuple):
    name: str
    url: str
    pid: int


@asynccontextmanager
async def running(name: str, cores: frozenset[int]) -> AsyncIterator[Peer]:
    """A peer on these cores; ended with the block. Raises StageError."""
    env = os.environ | {"NODE_ENV": "production"}
    pipe = asyncio.subprocess.PIPE  # its standard input ends with us, however we end
    with born_on(cores):
        child = await asyncio.create_subprocess_exec(
            *ARGV[name], env=env, cwd=HERE.parents[1], stdin=pipe, stdout=pipe
        )
    try:
        assert child.stdout is not None
        async with asyncio.timeout(START_S):
            said = await child.stdout.readline()
        if not said.strip().isdigit():
            raise StageError(f"the server {name} did not start; `./dev bench` installs what it needs")
        yield Peer(name, f"http://127.0.0.1:{int(said)}", child.pid)
    finally:
        if child.returncode is None:
            child.kill()  # nothing of it is kept
        await child.wait()
