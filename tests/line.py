"""A line to PostgreSQL that a test may hold or cut, for one node alone: others speak to the server as before."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

PORT = 5432


class Line:
    """`hold`: nothing passes, and nobody is told. `cut`: connections break, and new ones do too. `stopped` counts
    what was tried meanwhile."""

    def __init__(self, url: str) -> None:
        self._to = url
        self._passing = asyncio.Event()
        self._passing.set()
        self._open: set[asyncio.StreamWriter] = set()
        self._cut = False
        self.stopped = 0

    def hold(self) -> None:
        self._passing.clear()

    def cut(self) -> None:
        self._cut = True
        for writer in self._open:
            writer.transport.abort()

    def mend(self) -> None:
        self._cut = False
        self._passing.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._cut:
            self.stopped += 1
            writer.transport.abort()
            return
        parts = urlsplit(self._to)
        host = parse_qs(parts.query).get("host", [parts.hostname or "127.0.0.1"])[0]
        port = parts.port or PORT
        opening = (
            asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}")
            if host.startswith("/")
            else asyncio.open_connection(host, port)
        )
        far_reader, far_writer = await opening
        await asyncio.gather(self._pass(reader, far_writer), self._pass(far_reader, writer))

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        with suppress(ConnectionError):
            while data := await reader.read(65536):
                self.stopped += not self._passing.is_set()
                await self._passing.wait()
                writer.write(data)
                await writer.drain()
        self._open.discard(writer)
        writer.close()


@asynccontextmanager
async def line_to(url: str, folder: Path) -> AsyncIterator[tuple[Line, str]]:
    """A line to the database of this URL, and the URL that goes by way of it."""
    line = Line(url)
    server = await asyncio.start_unix_server(line.serve, folder / f".s.PGSQL.{PORT}")
    parts = urlsplit(url)
    user = f"{parts.username or ''}{':' + parts.password if parts.password else ''}"
    by_way = f"postgresql://{user}@{parts.path}?host={quote(str(folder), safe='')}"
    try:
        yield line, by_way
    finally:
        line.mend()
        line.cut()
        server.close()
        await server.wait_closed()
