"""The minor versions whose private seams rooms/transport/ stands on, and the sentence when one has moved.

To move a pin: read what the library changed at the seams that tests/test_transport_seams*.py name, make these files
pass, then change KNOWN here, pyproject.toml and the docstrings.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib.metadata import version

from aiohttp import web

from tests.transportkit import HOST

KNOWN = {"aiohttp": "3.14", "python-engineio": "4.15", "python-socketio": "5.18"}


def moved(file: str, seam: str, library: str) -> str:
    return (
        f"rooms/transport/{file} stands on {seam}, as {library} {KNOWN[library]} has it; "
        f"in {version(library)} it is another: read it, then mend {file}"
    )


@asynccontextmanager
async def handled(
    handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
) -> AsyncIterator[tuple[int, web.Server]]:
    """The port of an aiohttp server of one handler, and aiohttp's own server."""
    app = web.Application()
    app.router.add_get("/", handler)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, HOST, 0)
    await site.start()
    try:
        yield runner.addresses[0][1], runner.server
    finally:
        await runner.cleanup()
