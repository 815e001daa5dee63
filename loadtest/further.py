"""What the run of offers looks at beside its sockets: further entries in the index, and when an offer was published.

The entries are put in and taken out by a process of the server's own (server/matchbench/entries.py), which this one
starts. An offer is published with the commit that makes it: PostgreSQL keeps the moment, by Redis' clock, with the
fact that the job is offered, which is of the same commit. It is read after the run, so the run pays nothing for it.
The request's moment is by this machine's clock; Redis' must be the same one. Redis tells whole milliseconds, and the
end of that millisecond is taken: a figure is up to 1 ms too long, and none too short.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import asyncpg

from loadtest.sample import Sample
from loadtest.stage import StageError

THERE_S, GONE_S = 120.0, 60.0
DRAINED_S, POLL_S = 60.0, 0.5
PUBLISHED = """
  select job_id::text, min((extract(epoch from at) * 1000)::float8) as at_ms from ride_events
  where job_id = any($1::uuid[]) and event = 'ride_status_update' and payload ->> 'state' = 'offered'
  group by job_id"""


class Entries:
    """`left`: how many of them were in the index until the end; known after it."""

    left = 0


@asynccontextmanager
async def entries(count: int, box: tuple[float, float, float, float]) -> AsyncIterator[Entries]:
    """So many further drivers in the index of this stack, inside of a box and around it. Raises StageError."""
    found = Entries()
    if count == 0:
        yield found
        return
    argv = (sys.executable, "-m", "server.matchbench.entries", "--count", str(count), "--box")
    pipe = asyncio.subprocess.PIPE
    child = await asyncio.create_subprocess_exec(*argv, *map(str, box), stdin=pipe, stdout=pipe, stderr=pipe)
    assert child.stdin and child.stdout and child.stderr
    try:
        async with asyncio.timeout(THERE_S):
            if await child.stdout.readline() != b"there\n":
                raise StageError(f"the further entries: {(await child.stderr.read()).decode()[-1000:]}")
        yield found
        child.stdin.close()
        async with asyncio.timeout(GONE_S):
            said = await child.stdout.read()
            if await child.wait() != 0:
                raise StageError(f"the further entries: {(await child.stderr.read()).decode()[-1000:]}")
        found.left = int(said)
    finally:
        child.stdin.close()  # it takes them out and ends by itself
        await child.wait()


async def publish_ms(dsn: str, sent_ms: Mapping[str, float]) -> Sample:
    """Of each ride, from its request to the commit of its first offer; waits until the drain has written them."""
    connection = await asyncpg.connect(dsn, timeout=10, command_timeout=DRAINED_S)
    until_s = asyncio.get_running_loop().time() + DRAINED_S
    try:
        while True:
            rows = await connection.fetch(PUBLISHED, list(sent_ms))
            if len(rows) >= len(sent_ms) or asyncio.get_running_loop().time() > until_s:
                return Sample(values=(row["at_ms"] + 1.0 - sent_ms[row["job_id"]] for row in rows))
            await asyncio.sleep(POLL_S)
    finally:
        await connection.close(timeout=5)
