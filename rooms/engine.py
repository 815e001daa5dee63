"""Engine.IO as we want it: one task reads a client's frames in order, what waits for him is bounded.

Stands on these seams of python-engineio 4.15 (pinned): `AsyncServer._handle_connect` (which would make its own
socket class), `AsyncSocket.receive`, `send`, `_websocket_handler`, `queue`. A frame of rubbish or of a binary
kind closes its client, at once; no compression; of volatile values only the newest waits.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

import engineio
from aiohttp import WSMsgType, web
from engineio import async_socket, exceptions, packet, payload

from rooms import metrics
from rooms.session import Bucket, Frame
from rooms.tasks import Tasks

for _name in ("engineio", "engineio.server"):
    logging.getLogger(_name).setLevel(logging.CRITICAL)  # they log what clients send
payload.Payload.max_decode_packets = 128  # a phone that was offline posts its backlog at once

CONTROL_MAX = 16  # characters of a frame that is no message
END_S = 1.0  # for a client to take what waits for him before he is closed
CONNECT_S = 10.0  # a socket that has not said CONNECT by then is closed
# Of one client; beyond either he is closed. A frame costs us its handling, a long one its decoding too.
FRAMES_A_SECOND, FRAMES_AT_ONCE = 200.0, 1000.0
BYTES_A_SECOND, BYTES_AT_ONCE = 128 * 1024.0, 2048 * 1024.0
LONG_FRAME = 64 * 1024  # characters; facts are shorter, answers to `sync` may not be
FRAMES_A_TURN = 32  # of one client, before the others get their turn
NEW_A_TURN = 4  # connections of a crowd that are opened, before those who are in get their turn
RUBBISH = (ValueError, KeyError, IndexError, RecursionError)  # what decoding a frame can raise


class Latest(packet.Packet):  # type: ignore[misc]
    """A frame in the queue that knows when it is written; until then a volatile one's text may be replaced."""

    written = False

    def encode(self, b64: bool = False) -> Any:
        self.written = True
        return super().encode(b64)


class Wire:
    """A client's end, as a session sees it."""

    def __init__(self, socket: "Socket", frames_max: int) -> None:
        self._socket = socket
        self._frames_max = frames_max
        self._latest: dict[str, Latest] = {}
        self._long: Latest | None = None

    def tell(self, frame: Frame) -> None:
        self._latest.clear()  # what is newer than this frame must not take a place before it
        if len(frame.text) > LONG_FRAME:
            self._long = Latest(packet.MESSAGE, data=frame.text)
            self._put(self._long)
            return
        if frame.wire is None:
            frame.wire = packet.Packet(packet.MESSAGE, data=frame.text)
        self._put(frame.wire)

    def laden(self) -> bool:
        """A long frame still waits: whoever asks for another must have read this one."""
        return self._long is not None and not self._long.written

    def tell_latest(self, key: str, text: str) -> None:
        waiting = self._latest.get(key)
        if waiting is not None and not waiting.written:
            waiting.data = text
            return
        if len(self._latest) > 64:
            self._latest = {k: p for k, p in self._latest.items() if not p.written}
        self._latest[key] = latest = Latest(packet.MESSAGE, data=text)
        self._put(latest)

    def _put(self, frame: Any) -> None:
        queue = self._socket.queue
        if self._socket.closed or self._socket.closing or self._socket.aborted:
            return
        if queue.qsize() >= self._frames_max:
            self.close("slow client")
            return
        queue.put_nowait(frame)

    def close(self, why: str) -> None:
        metrics.CLOSED.labels(why).inc()
        self._socket.abort()

    def end(self, why: str) -> None:
        """Closes once everything that waits is written; what is not within END_S is lost."""
        metrics.CLOSED.labels(why).inc()
        self._socket.end()


class Socket(async_socket.AsyncSocket):  # type: ignore[misc]
    """One Engine.IO client."""

    http: web.Request | None = None
    connected: bool
    aborted = False

    def __init__(self, server: "Engine", sid: str) -> None:
        super().__init__(server, sid)
        self._frames = Bucket(FRAMES_AT_ONCE)
        self._bytes = Bucket(BYTES_AT_ONCE)
        self._turn = 0

    def abort(self) -> None:
        """Drops the connection under the client, who so comes back by itself; what he sent and nobody has read
        is heard no more. A polling client has no connection of its own: he is told at his next request."""
        if self.aborted:
            return
        self.aborted = True
        request = self.http
        if request is not None and request.transport is not None:
            request.transport.abort()
        else:
            self.server.tasks.start(self.close(abort=True), "close")

    def end(self) -> None:
        if not self.aborted:
            self.queue.put_nowait(None)  # the writer stops here, and closes
            asyncio.get_running_loop().call_later(END_S, self.abort)

    async def receive(self, pkt: Any) -> None:
        if self.aborted:
            raise exceptions.SocketIsClosedError
        if not self._frames.take(time.monotonic(), FRAMES_A_SECOND, FRAMES_AT_ONCE):
            self._flooded()
        self._turn += 1
        if self._turn % FRAMES_A_TURN == 0:
            await asyncio.sleep(0)
        if pkt.packet_type == packet.MESSAGE:
            await self.server.on_message(self.sid, pkt.data)
        elif pkt.packet_type != packet.UPGRADE:  # which would be answered, and means nothing by now
            await super().receive(pkt)

    def _afford(self, size: int) -> None:
        """Counts what came in, before anybody decodes it. Raises SocketIsClosedError for too much."""
        if not self._bytes.take(time.monotonic(), BYTES_A_SECOND, BYTES_AT_ONCE, size):
            self._flooded()

    def _flooded(self) -> None:
        metrics.CLOSED.labels("flood").inc()
        self.abort()
        raise exceptions.SocketIsClosedError

    async def send(self, pkt: Any) -> None:
        if not self.aborted:  # who polls would otherwise be told, and not just dropped
            await super().send(pkt)

    async def close(self, wait: bool = True, abort: bool = False, reason: Any = None) -> None:
        """Never waits for the client to fetch what is queued; a poll that is under way ends now."""
        await super().close(wait=False, abort=abort, reason=reason)
        self.queue.put_nowait(None)

    async def handle_post_request(self, environ: dict[str, Any]) -> None:
        self._afford(int(environ.get("CONTENT_LENGTH", 0)))
        try:
            await super().handle_post_request(environ)
        except RUBBISH as error:
            raise exceptions.EngineIOError("rubbish") from error  # closes this client with a 400

    async def _websocket_handler(self, ws: "WebSocket") -> None:
        if self.connected:
            if not await self._upgrade(ws):
                return
        else:
            self.connected = self.upgraded = True
        self.http = ws.request
        writer = self.server.tasks.start(self._write(ws), "writer")
        reason = self.server.reason.TRANSPORT_CLOSE
        try:
            while (text := await ws.read(self.server.ping_interval + self.server.ping_timeout)) is not None:
                self._afford(len(text) if text.isascii() else len(text.encode()))
                if len(text) > CONTROL_MAX and text[0] != "4":
                    raise ValueError("a control frame that long")
                await self.receive(packet.Packet(encoded_packet=text))
        except (*RUBBISH, exceptions.EngineIOError):
            reason = self.server.reason.TRANSPORT_ERROR
            self.abort()  # rubbish: closed now, for he might go on and never say goodbye
        except TimeoutError:
            reason = self.server.reason.PING_TIMEOUT
            self.abort()  # nobody is there to say goodbye: to wait for it would keep the connection ten seconds more
        finally:
            await self.close(abort=True, reason=reason)
            await writer

    async def _upgrade(self, ws: "WebSocket") -> bool:
        """The probe handshake of a polling client that moves to this websocket."""
        self.upgrading = True
        try:
            if await ws.read(self.server.ping_timeout) != "2probe":
                return False
            await ws.write("3probe")
            self.queue.put_nowait(packet.Packet(packet.NOOP))  # ends the poll that is under way
            self.upgraded = await ws.read(self.server.ping_timeout) == "5"
            return bool(self.upgraded)
        except TimeoutError:
            return False
        finally:
            self.upgrading = False

    async def _write(self, ws: "WebSocket") -> None:
        try:
            while (pkt := await self.queue.get()) is not None:
                await ws.write(pkt.encode())
        except (ConnectionError, RuntimeError):
            pass  # gone; the reader notices too
        finally:
            await ws.close()


class WebSocket:
    """aiohttp's websocket as Engine.IO's socket wants it: text frames only, no compression."""

    def __init__(self, handler: Callable[["WebSocket"], Awaitable[None]], server: "Engine") -> None:
        self._handler = handler
        self._ws = web.WebSocketResponse(max_msg_size=server.max_http_buffer_size, compress=False)
        self.request: web.Request | None = None

    async def __call__(self, environ: dict[str, Any]) -> web.WebSocketResponse:
        self.request = environ["aiohttp.request"]
        await self._ws.prepare(environ["aiohttp.request"])
        await self._handler(self)
        return self._ws

    async def read(self, timeout_s: float) -> str | None:
        """The next text frame; None when the client has gone. Raises TimeoutError, ValueError for binary."""
        message = await self._ws.receive(timeout_s)
        if message.type is WSMsgType.TEXT:
            return str(message.data)
        if message.type is WSMsgType.BINARY:
            raise ValueError("binary frame")
        return None

    async def write(self, text: str) -> None:
        await self._ws.send_str(text)

    async def close(self) -> None:
        await self._ws.close()


class Engine(engineio.AsyncServer):  # type: ignore[misc]
    """Engine.IO with our socket class. `on_message` is the Socket.IO server's ear."""

    on_message: Callable[[str, Any], Awaitable[None]]
    start_service_task: bool
    tasks: Tasks
    opening: asyncio.Semaphore

    async def _handle_connect(
        self, environ: dict[str, Any], transport: str, jsonp_index: int | None = None
    ) -> Any:
        async with self.opening:
            await asyncio.sleep(0)
        if self.start_service_task:
            self.start_service_task = False
            self.service_task_handle = self.start_background_task(self._service_task)
        sid = self.generate_id()
        socket = self.sockets[sid] = Socket(self, sid)
        opening = {
            "sid": sid,
            "upgrades": self._upgrades(sid, transport),
            "pingTimeout": int(self.ping_timeout * 1000),
            "pingInterval": int(self.ping_interval * 1000),
            "maxPayload": self.max_http_buffer_size,
        }
        await socket.send(packet.Packet(packet.OPEN, opening))
        await self._trigger_event("connect", sid, environ, run_async=False)
        socket.schedule_ping()
        asyncio.get_running_loop().call_later(CONNECT_S, self.drop_silent, sid)
        if transport == "websocket":
            response = await socket.handle_get_request(environ)
            if socket.closed:
                self.sockets.pop(sid, None)
            return response
        socket.connected = True
        try:
            return self._ok(await socket.poll(), jsonp_index=jsonp_index)
        except exceptions.QueueEmpty:
            return self._bad_request()

    silent: Callable[[str], bool]

    def drop_silent(self, sid: str) -> None:
        socket = self.sockets.get(sid)
        if socket is not None and self.silent(sid):
            metrics.CLOSED.labels("no CONNECT").inc()
            socket.abort()
