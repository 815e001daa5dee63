"""The lightest client that the protocol allows: a websocket in one asyncio protocol, no task and no timer of its own.

For measurements with thousands of clients, where the load generator must not be what is slow. Owns the frames and
the framing of Engine.IO 4 and Socket.IO 5; text only. Frames are masked with zeros, so what is sent is copied once.
As browsers and stock clients do, it offers to be sent compressed frames, and reads them where a server sends them.
Guarantees: `connected` and every call end with an answer, or with ConnectionResetError when the line breaks.
"""

from __future__ import annotations

import asyncio
import base64
import os
import zlib
from collections.abc import Callable
from typing import Any, cast
from urllib.parse import urlsplit

import msgspec

Payload = dict[str, Any]

_TEXT, _DEFLATED, _CLOSE = 0x81, 0xC1, 0x88
_FLUSH = b"\0\0\xff\xff"  # RFC 7692: what ends a compressed message, and is not sent
_MASKED, _TWO_BYTES, _EIGHT_BYTES = 0x80, 126, 127
_NO_MASK = b"\0\0\0\0"
_encode = msgspec.json.encode
_decode = msgspec.json.decode


class Refused(ConnectionError):
    """The server will not have this client; the argument is what it said."""


class Light(asyncio.Protocol):
    """One client. Made by `connect`; `hear` is told every event, also those before `connected`.

    Where `is_greeted` is false no `connected` follows the CONNECT of the server, which does instead. `raw`, once set,
    gets the text of every event as it came, and nobody else does.
    """

    def __init__(
        self,
        auth: Payload,
        host: str,
        hear: Callable[[str, Payload], None] | None = None,
        *,
        is_greeted: bool = True,
    ) -> None:
        self._auth, self._host, self._hear, self._is_greeted = auth, host, hear, is_greeted
        self.raw: Callable[[bytes], None] | None = None
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._is_upgraded = False
        self._inflater: Any = None
        self._acks: dict[int, asyncio.Future[Payload]] = {}
        self._next_ack = 0
        self.lost = False
        self.on_lost: Callable[[], None] = lambda: None
        self.connected: asyncio.Future[Payload] = self._loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        key = base64.b64encode(os.urandom(16)).decode()
        self._transport.write(
            f"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: {self._host}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n".encode()
        )

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._is_upgraded:
            head, ends, rest = self._buffer.partition(b"\r\n\r\n")
            if not ends:
                return
            if not head.startswith(b"HTTP/1.1 101 "):
                self._end(Refused(head.partition(b"\r\n")[0].decode(errors="replace")))
                return
            self._is_upgraded, self._buffer = True, rest
        while (frame := self._frame()) is not None:
            self._text(frame)

    def _frame(self) -> bytes | None:
        """The next whole text frame; the server does not mask, nor cut messages into pieces."""
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        size, start = buffer[1], 2
        if size == _TWO_BYTES:
            size, start = int.from_bytes(buffer[2:4]), 4
        elif size == _EIGHT_BYTES:
            size, start = int.from_bytes(buffer[2:10]), 10
        if len(buffer) < start + size:
            return None
        self._buffer = buffer[start + size :]
        if buffer[0] == _TEXT:
            return buffer[start : start + size]
        if buffer[0] == _DEFLATED:
            if self._inflater is None:
                self._inflater = zlib.decompressobj(-zlib.MAX_WBITS)
            return bytes(self._inflater.decompress(buffer[start : start + size] + _FLUSH))
        if buffer[0] == _CLOSE:
            self._end(ConnectionResetError("closed by the server"))
        return b""

    def _text(self, text: bytes) -> None:
        kind = text[:2]
        if kind == b"42":
            if self.raw is not None:
                self.raw(text)
                return
            event, *arguments = _decode(text[2:])
            payload = arguments[0] if arguments else {}
            if event == "connected" and not self.connected.done():
                self.connected.set_result(payload)
            if self._hear is not None:
                self._hear(event, payload)
        elif kind == b"43":
            bracket = text.index(b"[")
            answer = self._acks.pop(int(text[2:bracket]), None)
            if answer is not None and not answer.done():
                answer.set_result(_decode(text[bracket:])[0])
        elif text == b"2":
            self.send("3")
        elif kind[:1] == b"0":
            self.send(f"40{_encode(self._auth).decode()}")
        elif kind == b"40":
            if not self._is_greeted and not self.connected.done():
                self.connected.set_result({})
        elif kind in (b"41", b"44"):
            self._end(Refused(text[2:].decode(errors="replace")))

    def send(self, text: str) -> None:
        """One text frame; into nothing when the line is broken."""
        data = text.encode()
        size = len(data)
        if size < _TWO_BYTES:
            head = bytes((_TEXT, _MASKED | size))
        elif size < 1 << 16:
            head = bytes((_TEXT, _MASKED | _TWO_BYTES)) + size.to_bytes(2)
        else:
            head = bytes((_TEXT, _MASKED | _EIGHT_BYTES)) + size.to_bytes(8)
        if self._transport is not None and not self.lost:
            self._transport.write(head + _NO_MASK + data)

    def emit(self, event: str, payload: Payload) -> None:
        self.send(f"42{_encode([event, payload]).decode()}")

    def call(self, event: str, payload: Payload) -> asyncio.Future[Payload]:
        """Sends at once; the acknowledgement, whatever it says."""
        answer: asyncio.Future[Payload] = self._loop.create_future()
        if self.lost:
            answer.set_exception(ConnectionResetError("the line is broken"))
            return answer
        self._next_ack += 1
        self._acks[self._next_ack] = answer
        self.send(f"42{self._next_ack}{_encode([event, payload]).decode()}")
        return answer

    def connection_lost(self, error: Exception | None) -> None:
        self._end(ConnectionResetError("the line broke"))

    def abort(self) -> None:
        self._end(ConnectionResetError("given up"))

    def _end(self, why: ConnectionError) -> None:
        if self.lost:
            return
        self.lost = True
        if self._transport is not None:
            self._transport.abort()
        for waiting in (self.connected, *self._acks.values()):
            if not waiting.done():
                waiting.set_exception(why)
                waiting.exception()  # who no longer waits has not forgotten to look
        self._acks.clear()
        self.on_lost()


async def connect(
    url: str, token: str, hear: Callable[[str, Payload], None] | None = None, *, within_s: float = 15.0
) -> Light:
    """A client that was told `connected`. Raises OSError (Refused among them) or TimeoutError."""
    return await _connect(url, lambda host: Light({"token": token}, host, hear), within_s)


async def connect_peer(url: str, auth: Payload, *, within_s: float = 15.0) -> Light:
    """A client of a server that only relays, and greets nobody. Raises as `connect`."""
    return await _connect(url, lambda host: Light(auth, host, is_greeted=False), within_s)


async def _connect(url: str, made: Callable[[str], Light], within_s: float) -> Light:
    parts = urlsplit(url)
    host, port = parts.hostname or "127.0.0.1", parts.port or 80
    client: Light | None = None
    try:
        async with asyncio.timeout(within_s):
            loop = asyncio.get_running_loop()
            _, client = await loop.create_connection(lambda: made(f"{host}:{port}"), host, port)
            await client.connected
    except BaseException:
        if client is not None:
            client.abort()
        raise
    return client
