"""The transport on a port of its own, and clients that speak bytes: what is in one segment is the test's choice.

async with served(SocketIO(...)) as port, Line.opened(port) as line:
    line.send("40", '42["hello"]')          # both in one segment
    assert (await line.hears())[0] == "0"   # the next text or attachment; None: closed
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from aiohttp import web

from rooms.transport import SocketIO
from rooms.transport.engine import Engine

HOST = "127.0.0.1"
WAIT_S = 5.0
TEXT, BINARY, CLOSE, PING, PONG = 0x1, 0x2, 0x8, 0x9, 0xA
SMALL = 4096  # bytes of a kernel's buffer, where a test wants to see it full
SOCKET_IO, ENGINE_IO = "socket.io", "engine.io"
WEBSOCKET = "EIO=4&transport=websocket"
POLLING = "EIO=4&transport=polling"


@asynccontextmanager
async def served(server: Any, path: str = SOCKET_IO, *, send_buffer: int = 0) -> AsyncIterator[int]:
    """The port on which a server (its Socket.IO or Engine.IO) listens."""
    app = web.Application()
    server.attach(app, path)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    listener = socket.socket()
    if send_buffer:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
    listener.bind((HOST, 0))
    await web.SockSite(runner, listener).start()
    try:
        yield listener.getsockname()[1]
    finally:
        await runner.cleanup()


def echo(**options: Any) -> Engine:
    """Engine.IO that sends each message back."""
    engine = Engine(async_mode="aiohttp", **options)

    async def message(sid: str, data: str | bytes) -> None:
        await engine.send(sid, data)

    engine.on("message", message)
    return engine


def server(**options: Any) -> tuple[SocketIO, list[tuple[Any, ...]]]:
    """Socket.IO in `/` and what it noted: `(event, its arguments)` of all that came, `say` is answered by `said`."""
    sio, noted = SocketIO(**options), []

    def note(event: str, sid: str, *arguments: Any) -> Any:
        noted.append((event, *arguments))
        return arguments

    async def gone(sid: str, reason: str) -> None:
        noted.append(("disconnect", reason))

    sio.on("*", note)
    sio.on("disconnect", gone)
    return sio, noted


#: An event with two attachments.
TWO = '452-["message",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]'


def suite_server(**options: Any) -> SocketIO:
    """What the public suite speaks to."""
    sio = SocketIO(**options)

    async def connect(sid: str, environ: dict[str, Any], auth: Any) -> None:
        sio.auths[sid] = auth

    async def with_ack(sid: str, *arguments: Any) -> tuple[Any, ...]:
        return arguments

    def back(namespace: str) -> Any:
        async def message(sid: str, *arguments: Any) -> None:
            await sio.emit("message-back", arguments, to=sid, namespace=namespace)

        return message

    for namespace in ("/", "/custom"):
        sio.on("connect", connect, namespace=namespace)
        sio.on("message", back(namespace), namespace=namespace)
    sio.on("message-with-ack", with_ack)
    sio.auths = {}
    return sio


def masked(message: str | bytes, opcode: int | None = None, *, last: bool = True) -> bytes:
    """A frame as a client sends it; masked by zeros, as RFC 6455 does not forbid, so that it can be read."""
    body = message.encode() if isinstance(message, str) else message
    kind = opcode if opcode is not None else TEXT if isinstance(message, str) else BINARY
    head, size = kind | (0x80 if last else 0), len(body)
    if size < 126:
        return bytes((head, 0x80 | size)) + bytes(4) + body
    if size < 65_536:
        return struct.pack("!BBH", head, 0xFE, size) + bytes(4) + body
    return struct.pack("!BBQ", head, 0xFF, size) + bytes(4) + body


def handshake(query: str = WEBSOCKET, path: str = SOCKET_IO, *more: str) -> bytes:
    key = base64.b64encode(os.urandom(16)).decode()
    lines = (
        f"GET /{path}/?{query} HTTP/1.1", f"Host: {HOST}", "Connection: Upgrade", "Upgrade: websocket",
        "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {key}", *more,
    )  # fmt: skip
    return "\r\n".join((*lines, "", "")).encode()


class Line:
    """A websocket of bytes. `head` is what the server answered the handshake."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.head = ""

    @classmethod
    @asynccontextmanager
    async def connected(cls, port: int, *, receive_buffer: int = 0, address: str = "") -> AsyncIterator[Line]:
        """TCP and no more."""
        link = socket.socket()
        link.setblocking(False)
        if receive_buffer:
            link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        if address:
            link.bind((address, 0))
        await asyncio.get_running_loop().sock_connect(link, (HOST, port))
        limit = receive_buffer or 2**16
        line = cls(*await asyncio.open_connection(sock=link, limit=limit))
        try:
            yield line
        finally:
            line.writer.transport.abort()

    @classmethod
    @asynccontextmanager
    async def opened(
        cls,
        port: int,
        query: str = WEBSOCKET,
        path: str = SOCKET_IO,
        *more: str,
        behind: bytes = b"",
        **options: Any,
    ) -> AsyncIterator[Line]:
        """A websocket; `behind` goes in the segment of the handshake."""
        async with cls.connected(port, **options) as line:
            line.writer.write(handshake(query, path, *more) + behind)
            await line.reads_head()
            yield line

    @classmethod
    @asynccontextmanager
    async def entered(cls, port: int, namespace: str = "", **options: Any) -> AsyncIterator[Line]:
        """A Socket.IO client in a namespace, its sid read."""
        async with cls.opened(port, **options) as line:
            assert (await line.says())[0] == "0"
            line.send(f"40{namespace}")
            assert (await line.says()).startswith(f'40{namespace}{{"sid":')
            yield line

    async def reads_head(self) -> None:
        async with asyncio.timeout(WAIT_S):
            self.head = (await self.reader.readuntil(b"\r\n\r\n")).decode()

    @property
    def status(self) -> int:
        return int(self.head.split()[1])

    def deafen(self) -> None:
        self.writer.transport.pause_reading()  # type: ignore[attr-defined]

    def listens(self) -> None:
        self.writer.transport.resume_reading()  # type: ignore[attr-defined]

    def send(self, *messages: str | bytes) -> None:
        """All in one segment, as far as it is for us."""
        self.writer.write(b"".join(map(masked, messages)))

    async def frame(self, wait_s: float = WAIT_S) -> tuple[int, bytes] | None:
        """The next frame of any kind; None: the connection has ended. Raises TimeoutError."""
        async with asyncio.timeout(wait_s):
            try:
                head, size = await self.reader.readexactly(2)
                if size > 125:
                    form = "!H" if size == 126 else "!Q"
                    (size,) = struct.unpack(form, await self.reader.readexactly(struct.calcsize(form)))
                return head & 0xF, await self.reader.readexactly(size)
            except (asyncio.IncompleteReadError, ConnectionError):
                return None

    async def hears(self, wait_s: float = WAIT_S) -> str | bytes | None:
        """The next message but for heartbeats; None: closed."""
        while True:
            came = await self.frame(wait_s)
            if came is None or came[0] == CLOSE:
                return None
            if came[0] == BINARY:
                return came[1]
            if came[0] == TEXT and came[1] != b"2":
                return came[1].decode()

    async def says(self, wait_s: float = WAIT_S) -> str:
        heard = await self.hears(wait_s)
        assert isinstance(heard, str), f"{heard!r} is no text"
        return heard

    async def ends(self, wait_s: float = WAIT_S) -> bool:
        """Whether the server closes, whatever else it says before."""
        try:
            async with asyncio.timeout(wait_s):
                while await self.frame(wait_s) is not None:
                    pass
        except TimeoutError:
            return False
        return True


class Poller:
    """A polling client, request by request."""

    def __init__(self, http: aiohttp.ClientSession, url: str, opening: dict[str, Any]) -> None:
        self.http, self.url, self.opening = http, url, opening
        self.sid = opening["sid"]

    @classmethod
    @asynccontextmanager
    async def opened(cls, port: int, path: str = SOCKET_IO) -> AsyncIterator[Poller]:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(WAIT_S)) as http:
            url = f"http://{HOST}:{port}/{path}/?{POLLING}"
            async with http.get(url) as answer:
                text = await answer.text()
                assert answer.status == 200 and text[0] == "0", text
                opening = json.loads(text[1:])
            yield cls(http, f"{url}&sid={opening['sid']}", opening)

    async def get(self) -> tuple[int, str]:
        async with self.http.get(self.url) as answer:
            return answer.status, await answer.text()

    async def post(self, *packets: str) -> tuple[int, str]:
        async with self.http.post(self.url, data="\x1e".join(packets)) as answer:
            return answer.status, await answer.text()

    async def polls(self) -> list[str]:
        """The packets of the next answer but for heartbeats, which are answered."""
        while True:
            status, text = await self.get()
            assert status == 200, text
            packets = [packet for packet in text.split("\x1e") if packet != "2"]
            if packets:
                return packets
            assert (await self.post("3"))[0] == 200
