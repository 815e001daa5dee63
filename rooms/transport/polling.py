"""HTTP long-polling: frames wait for the next GET, packets come by POST.

| when | then |
|---|---|
| a second GET while one waits | both end and the client is closed (the protocol allows one) |
| the client goes while his GET waits | noticed within the engine's LOOK_S |
| a body is too long, or holds what is no packet | 400, and the client is closed |
| he moves to a websocket | the waiting GET ends with a NOOP, and so does any that comes until he has |
"""

import asyncio
import base64
import binascii
from typing import TYPE_CHECKING

from aiohttp import web

from rooms.transport import frames
from rooms.transport.frames import SEPARATOR, Frame, Rubbish

if TYPE_CHECKING:
    from rooms.transport.socket import Message, Socket

PACKETS_MAX = 128  # in one body: a phone that was offline posts its backlog at once
CLOSE, NOOP = Frame(b"1"), Frame(b"6")


class Polling:
    """`ready`: a GET waits."""

    is_websocket = False

    def __init__(self, socket: "Socket") -> None:
        self.socket = socket
        self._waiting: asyncio.Future[str] | None = None
        self._served: asyncio.Event | None = None
        self.ended = False

    @property
    def ready(self) -> bool:
        return self._waiting is not None and not self._waiting.done()

    def write(self, out: list[Frame | None]) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(SEPARATOR.join([frame.text for frame in out if frame is not None]))

    def write_now(self, frame: Frame) -> None:
        self.write([frame])

    async def get(self, request: web.Request) -> str:
        """What waits, or the next that comes. Raises Rubbish when nobody may wait here."""
        socket = self.socket
        if socket.upgrading is not None:
            return NOOP.text
        if self.ready:
            self.write([CLOSE])
            socket.lose(socket.engine.reason.TRANSPORT_ERROR)
            raise Rubbish("two polls at once")
        if socket.engine.overdue(socket):
            socket.lose(socket.engine.reason.PING_TIMEOUT)
            raise Rubbish("too late")
        waiting = self._waiting = asyncio.get_running_loop().create_future()
        socket.flush()
        if not waiting.done():
            socket.engine.polls.add((self, waiting, request.transport))
        text: str = await waiting
        return text

    async def post(self, request: web.Request) -> None:
        """Hears a body, and returns when all in it has been heard. Raises Rubbish."""
        socket = self.socket
        size = request.content_length
        now_s = asyncio.get_running_loop().time()
        if size is None or size > socket.engine.max_http_buffer_size:
            raise Rubbish("too long")
        if socket.afford(now_s, size):
            socket.receive(_packets(await request.content.read(-1)))
        while socket.busy and socket.channel is self:
            self._served = self._served or asyncio.Event()
            await self._served.wait()

    def end_poll(self) -> None:
        if self.ready:
            self.write([NOOP])

    def pause_reading(self) -> None:
        """The next POST comes after this one's answer."""

    def resume_reading(self) -> None:
        """Only now can he say more."""
        self.socket.heard_s = asyncio.get_running_loop().time()
        if self._served is not None:
            self._served.set()
            self._served = None

    def finish(self) -> None:
        """He hears of it by his next request, which is refused; `ended`: by the one that waits."""
        self.ended = self.ready
        self.end_poll()

    def abort(self) -> None:
        self.end_poll()
        self.resume_reading()


def _packets(body: bytes) -> "list[Message]":
    texts = body.decode().split(SEPARATOR)
    if len(texts) > PACKETS_MAX:
        raise Rubbish("too many packets")
    return [_message(text) for text in texts]


def _message(text: str) -> "Message":
    if not text:
        raise Rubbish("an empty packet")
    if text[0] != "b":
        return frames.TEXT, text
    try:
        return frames.BINARY, base64.b64decode(text[1:], validate=True)
    except binascii.Error:
        raise Rubbish("not base64") from None
