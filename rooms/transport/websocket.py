"""A websocket: the connection that an aiohttp handler got, taken over.

Stands on these seams, all held by tests/test_transport_seams.py: the transport's `set_protocol` (asyncio, public);
aiohttp 3.14's `RequestHandler._message_tail`, what the client sent right behind his handshake; its WebSocketReader,
which parses in C and puts messages into a WebSocketDataQueue, which this class is. After `take_over` aiohttp knows the
connection no more: its parser, request and task are free, and every read comes here, without a task.
"""

import asyncio
import base64
import binascii
import hashlib
from typing import TYPE_CHECKING, Any

from aiohttp import web
from aiohttp._websocket.reader import WebSocketDataQueue
from aiohttp.http import WebSocketReader

from rooms.transport import frames
from rooms.transport.frames import Frame, Rubbish, websocket_frame

if TYPE_CHECKING:
    from rooms.transport.socket import Message, Socket

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, section 1.3
_NEVER = 2**30  # bytes in the queue before the reader stalls: it is emptied after every read
_SWITCHING = (
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Accept: {}\r\n\r\n"
)
CLOSING = websocket_frame(frames.CLOSE, (1000).to_bytes(2))
PROBE, PROBED, UPGRADE = "2probe", Frame(b"3probe"), "5"


class WebSocket(WebSocketDataQueue):
    """The transport's protocol and the reader's queue in one. `ready`: what is written goes to the kernel now."""

    is_websocket = True

    def __init__(self, socket: "Socket", size_max: int, *, probing: bool = False) -> None:
        loop = asyncio.get_running_loop()
        super().__init__(None, _NEVER, loop=loop)  # type: ignore[arg-type]
        self.socket = socket
        self.ready = False
        self.probing = probing
        self._now = loop.time
        self._got: list[Message] = []
        self._tail = b""
        self._broken = self._full = False
        self._transport: Any = None
        self._reader: Any = WebSocketReader(self, size_max + 1, False, True)  # the first that is too long

    def start(self, transport: Any, tail: bytes) -> None:
        """The connection is ours; what came right behind the handshake waits for `hear_tail`."""
        self._transport, self._tail = transport, tail
        transport.set_protocol(self)
        transport.set_write_buffer_limits(high=0)  # we know at once what the kernel did not take
        self._full = transport.get_write_buffer_size() > 0  # of answers that he has not read
        self.ready = not (self.probing or self._full)
        transport.resume_reading()

    def hear_tail(self) -> None:
        tail, self._tail = self._tail, b""
        if tail:
            self.data_received(tail)

    # asyncio calls these
    def data_received(self, data: bytes) -> None:
        socket = self.socket
        if socket.closed or not socket.afford(self._now(), len(data)):
            return
        self._reader.feed_data(data)
        got = self._got
        if got:
            self._got, engine = [], socket.engine
            engine.hearing = len(got)
            try:
                if self.probing:
                    self._probe(got)
                else:
                    socket.receive(got)
            finally:
                # a turn of the loop for it would be a third of what a message costs
                engine.hearing = 0
                if engine.unwritten:
                    engine.flush()
        if self._broken:
            self._fail()

    def pause_writing(self) -> None:
        self._full, self.ready = True, False

    def resume_writing(self) -> None:
        self._full = False
        if not self.probing and self._transport is not None:
            self.ready = True
            # not from within this call: asyncio's transport does not bear to be closed in it
            self.socket.engine.flush_soon(self.socket)

    def eof_received(self) -> None:
        return None

    def connection_lost(self, error: Exception | None) -> None:
        self._let_go()
        if self.socket.channel is self:
            self.socket.lose(self.socket.engine.reason.TRANSPORT_CLOSE)
        else:
            self.give_up()

    # the reader calls these
    def feed_data(self, message: Any, size: int) -> None:
        self._got.append(message)

    def set_exception(self, exc: BaseException, exc_cause: BaseException | None = None) -> None:
        self._broken = True

    # a socket calls these
    def write(self, out: list[Frame | None]) -> None:
        if len(out) == 1:
            self._transport.write(out[0].wire)  # type: ignore[union-attr]
        else:
            self._transport.write(b"".join([frame.wire for frame in out if frame is not None]))

    def write_now(self, frame: Frame) -> None:
        self._transport.write(frame.wire)

    def pong(self, payload: bytes) -> None:
        if self.ready:  # who does not read is answered nothing
            self._transport.write(websocket_frame(frames.PONG, payload))

    def pause_reading(self) -> None:
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        if self._transport is not None:
            self._transport.resume_reading()

    def finish(self) -> None:
        """Says goodbye; the transport closes when that is written."""
        if self._transport is not None and not self._transport.is_closing():
            if self.ready:
                self._transport.write(CLOSING)
            self.ready = False
            self._transport.close()

    def abort(self) -> None:
        """Closed now; what was not written is lost."""
        self.ready = False
        if self._transport is not None:
            self._transport.abort()

    def _let_go(self) -> None:
        self.ready = False
        self._transport = self._reader = None  # a circle, and with it the buffers

    def _fail(self) -> None:
        if self.socket.channel is self:
            self.socket.lose(self.socket.engine.reason.TRANSPORT_ERROR)
        else:
            self.give_up()

    def _probe(self, got: "list[Message]") -> None:
        """The handshake of a polling client that moves to this websocket."""
        socket = self.socket
        if socket.upgraded:
            self.give_up()  # another was faster
            return
        for number, message in enumerate(got, 1):
            if message[0] == frames.TEXT and message[1] == PROBE and socket.upgrading is None:
                socket.upgrading = self
                self.write([PROBED])
                socket.channel.end_poll()
            elif message[0] == frames.TEXT and message[1] == UPGRADE and socket.upgrading is self:
                self.probing, self.ready = False, not self._full
                polling, socket.upgrading, socket.channel = socket.channel, None, self
                polling.resume_reading()
                socket.flush()
                if got[number:]:
                    socket.receive(got[number:])
                return
            else:
                self.give_up()
                return

    def give_up(self) -> None:
        """Not upgraded, or not in time: he goes on polling."""
        if self.probing:
            if self.socket.upgrading is self:
                self.socket.upgrading = None
            self.abort()


def take_over(request: web.Request, websocket: WebSocket) -> None:
    """Answers a handshake and moves the connection from aiohttp to `websocket`. Raises Rubbish."""
    headers, transport, handler = request.headers, request.transport, request.protocol
    key = headers.get("Sec-WebSocket-Key", "")
    try:
        good = len(base64.b64decode(key, validate=True)) == 16
    except binascii.Error:
        good = False
    if (
        not good
        or "upgrade" not in headers.get("Connection", "").lower()
        or headers.get("Upgrade", "").lower() != "websocket"
        or headers.get("Sec-WebSocket-Version") != "13"
        or transport is None
    ):
        raise Rubbish("not a websocket's handshake")
    accept = base64.b64encode(hashlib.sha1(key.encode() + _GUID, usedforsecurity=False).digest()).decode()
    transport.write(_SWITCHING.format(accept).encode())
    tail, handler._message_tail = handler._message_tail, b""
    handler.transport = None
    handler.connection_lost(None)  # for aiohttp it is over
    websocket.start(transport, tail)
