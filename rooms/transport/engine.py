"""Engine.IO over websocket and polling on one port, behind aiohttp: handshakes, heartbeats, and the end of clients.

Stands on these seams of python-engineio 4.15, held by tests/test_transport_seams.py: `handle_request`, `attach`,
`send`, `disconnect` and `shutdown` are replaced; `_cors_allowed_origins`, `_cors_headers`, `translate_request` and
`_get_socket` are used. Its sockets, queues, writer tasks and its service task are not.

No timer and no task belongs to a single client: heartbeats and deadlines are Delay queues of all of them, what is to
be written is flushed at the end of a read or once per turn of the loop, and the ends of clients are told a few a turn,
so that the loss of ten thousand at once leaves room for the others.
"""

import asyncio
import json
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

import engineio
from aiohttp import web
from engineio.async_drivers.aiohttp import translate_request

from rooms import metrics
from rooms.bucket import Bucket
from rooms.faults import fault
from rooms.tasks import Tasks
from rooms.transport.delay import Delay
from rooms.transport.frames import Frame, Rubbish
from rooms.transport.polling import Polling
from rooms.transport.socket import Socket
from rooms.transport.websocket import WebSocket, take_over

logger = logging.getLogger(__name__)

for _name in ("engineio", "engineio.server"):
    logging.getLogger(_name).setLevel(logging.CRITICAL)  # they log what clients send

CONNECT_S = 10.0  # a socket that has not said CONNECT by then is closed
LOOK_S = 0.5  # so often we look whether who waits for his poll's answer is still there
END_S = 1.0  # for a client to take what waits for him before he is closed
NEW_A_TURN = 4  # connections of a crowd that are opened, before those who are in get their turn
# Of new connections; beyond them 503. There is room for the clients of another node that died.
NEW_A_SECOND, NEW_AT_ONCE = 1000.0, 20_000.0
GONE_A_TURN = 64  # ends that are told, before those who are in get their turn
PARTED_MAX = 64  # who said goodbye lately and may have a GET under way
PING = Frame(b"2")
HEAVY = ("aiohttp.request", "wsgi.input")  # of a handshake's environ: they would keep the whole request


class Engine(engineio.AsyncServer):  # type: ignore[misc]
    """Whoever stands above replaces these: `hear`, `hear_binary` are the ear for messages (`4…`, attachments), `opened`
    and `lost` hear of each client's beginning and end, once; `silent` says whether a client has not said CONNECT.
    Alone it calls the handlers given to `on`."""

    hear: Callable[[Socket, str], Awaitable[None] | None]
    hear_binary: Callable[[Socket, bytes], Awaitable[None] | None]
    opened: Callable[[Socket], object]
    lost: Callable[[Socket, str], object]
    silent: Callable[[Socket], bool]

    def __init__(self, *, frames_max: int = 256, bytes_max: int = 256 * 1024, **options: Any) -> None:
        super().__init__(**options)
        self.frames_max = frames_max
        self.bytes_max = bytes_max
        self.sockets: dict[str, Socket] = {}
        self.tasks = Tasks()
        self.hear = lambda socket, text: self._trigger_event("message", socket.sid, text[1:])
        self.hear_binary = lambda socket, data: self._trigger_event("message", socket.sid, data)
        self.opened = lambda socket: self.tasks.start(
            self._trigger_event("connect", socket.sid, socket.environ), "connect"
        )
        self.lost = lambda socket, reason: self.tasks.start(
            self._trigger_event("disconnect", socket.sid, reason), "disconnect"
        )
        self.silent = lambda socket: False
        self._new = Bucket()
        self.unwritten: list[Socket] = []
        self.hearing = 0  # so many messages of one read: whoever sets it flushes
        self._ended: deque[tuple[Socket, str]] = deque()
        self._parted: dict[str, bool] = {}  # by POST, while their next GET was still to come
        self._begun = False

    def begin(self) -> None:
        self._begun = True
        self._loop = asyncio.get_running_loop()
        self._opening = asyncio.Semaphore(NEW_A_TURN)
        self._pings = Delay(self.ping_interval, self._ping)
        self._pongs = Delay(self.ping_timeout, self._look)
        self._connects = Delay(CONNECT_S, self._drop_silent)
        self._probes = Delay(self.ping_timeout, lambda websocket, began_s: websocket.give_up())
        self.polls = Delay(LOOK_S, self._look_at_poll)
        self.ends = Delay(END_S, lambda socket, began_s: socket.lose(self.reason.SERVER_DISCONNECT))

    # HTTP
    def attach(self, app: web.Application, engineio_path: str = "engine.io") -> None:
        app.router.add_route("*", f"/{engineio_path.strip('/')}/", self.handle_request)
        app.on_shutdown.append(self._shut)

    async def handle_request(self, request: web.Request) -> web.StreamResponse:
        if not self._begun:
            self.begin()
        environ = translate_request(request)
        environ["REMOTE_ADDR"] = request.remote or ""
        headers = self._cors_headers(environ)
        try:
            body = await self._answer(request, environ)
        except Refused as refused:
            text = json.dumps({"code": refused.code, "message": refused.message})
            return web.Response(
                text=text, status=refused.status, headers=headers, content_type="application/json"
            )
        except ValueError:
            return web.Response(text="Bad request", status=400, headers=headers)
        return web.Response(text=body, headers=headers)

    async def _answer(self, request: web.Request, environ: dict[str, Any]) -> str:
        """The body of a response. Raises Refused, ValueError."""
        query, method = request.query, request.method
        origins, origin = self._cors_allowed_origins(environ), environ.get("HTTP_ORIGIN")
        if self.cors_allowed_origins != [] and origin and origins is not None and origin not in origins:
            raise Refused(4, "Origin not allowed", 403)
        if method == "OPTIONS":
            return "ok"
        transport = query.get("transport", "")
        if transport not in self.transports:
            raise Refused(0, "Transport unknown")
        if "sid" not in query:
            if query.get("EIO") != "4":
                raise Refused(5, "Unsupported protocol version: this is Engine.IO 4, Socket.IO 5")
            if method != "GET":
                raise Refused(2, "Bad handshake method")
            return await self._open(request, environ, transport)
        socket = self.sockets.get(query["sid"])
        if socket is None:
            if method == "GET" and self._parted.pop(query["sid"], False):
                return "6"  # it was under way when he said goodbye
            raise Refused(1, "Session ID unknown")
        if transport == "websocket" and method == "GET" and self.allow_upgrades:
            self._upgrade(request, socket)
            return ""
        if transport != "polling" or socket.upgraded or method not in ("GET", "POST"):
            raise Refused(3, "Bad request")
        polling: Polling = socket.channel
        if method == "GET":
            return await polling.get(request)
        try:
            await polling.post(request)
        except ValueError:
            socket.lose(self.reason.TRANSPORT_ERROR)
            raise
        if socket.closed:
            if socket.why != self.reason.CLIENT_DISCONNECT:
                raise Rubbish("closed for it")
            if not polling.ended:
                self._parted[socket.sid] = True
                if len(self._parted) > PARTED_MAX:
                    self._parted.pop(next(iter(self._parted)))
        return "ok"

    async def _open(self, request: web.Request, environ: dict[str, Any], transport: str) -> str:
        """A new client; the body is his polling answer."""
        if not self._new.take(time.monotonic(), NEW_A_SECOND, NEW_AT_ONCE):
            metrics.CLOSED.labels("too many new").inc()
            raise Refused(3, "Too many connections at once; try again", 503)
        async with self._opening:
            await asyncio.sleep(0)
        for name in HEAVY:
            environ.pop(name, None)
        socket = Socket(self, self.generate_id(), environ, self._loop.time())
        if transport == "websocket":
            websocket = socket.channel = WebSocket(socket, self.max_http_buffer_size)
            take_over(request, websocket)
        else:
            polling = socket.channel = Polling(socket)
        self.sockets[socket.sid] = socket
        upgrades = ["websocket"] if transport == "polling" and self.allow_upgrades else []
        opening = {
            "sid": socket.sid,
            "upgrades": upgrades,
            "pingInterval": int(self.ping_interval * 1000),
            "pingTimeout": int(self.ping_timeout * 1000),
            "maxPayload": self.max_http_buffer_size,
        }
        socket.tell(Frame(b"0" + json.dumps(opening, separators=(",", ":")).encode()))
        self.opened(socket)
        self._pings.add(socket)
        self._connects.add(socket)
        if transport == "websocket":
            websocket.hear_tail()
            return ""
        return await polling.get(request)

    def _upgrade(self, request: web.Request, socket: Socket) -> None:
        """He moves to a websocket; a second one is closed."""
        websocket = WebSocket(socket, self.max_http_buffer_size, probing=True)
        take_over(request, websocket)
        if socket.upgraded:
            websocket.finish()
            return
        self._probes.add(websocket)
        websocket.hear_tail()

    # What sockets ask for
    def flush_soon(self, socket: Socket) -> None:
        """Written at the end of what is being heard, or in the loop's next turn."""
        if not self.unwritten and not self.hearing:
            self._loop.call_soon(self.flush)
        self.unwritten.append(socket)

    def flush(self) -> None:
        unwritten, self.unwritten = self.unwritten, []
        for socket in unwritten:
            try:
                socket.flush()
            except Exception as error:  # is none of the others', nor his in whose read this is told
                logger.error("what waits for a client cannot be written: %s", fault(error))
                socket.lose(self.reason.TRANSPORT_ERROR)

    def forget(self, socket: Socket) -> None:
        self.sockets.pop(socket.sid, None)

    def gone(self, socket: Socket, reason: str) -> None:
        if not self._ended:
            self._loop.call_soon(self._tell_ends)
        self._ended.append((socket, reason))

    def _tell_ends(self) -> None:
        try:
            for _ in range(min(GONE_A_TURN, len(self._ended))):
                self.lost(*self._ended.popleft())
        finally:
            if self._ended:
                self._loop.call_soon(self._tell_ends)

    def count_closed(self, why: str) -> None:
        metrics.CLOSED.labels(why).inc()

    # Deadlines
    def connect_again_by(self, socket: Socket) -> None:
        """Who has left, or was refused, gets as long as who has not come in."""
        self._connects.add(socket)

    def _drop_silent(self, socket: Socket, began_s: float) -> None:
        if not socket.closed and self.silent(socket):
            socket.close("no CONNECT")

    def _ping(self, socket: Socket, began_s: float) -> None:
        if not socket.closed:
            socket.tell(PING)
            self._pongs.add(socket)
            self._pings.add(socket)

    def _look_at_poll(self, poll: tuple[Polling, asyncio.Future[str], Any], began_s: float) -> None:
        polling, waiting, transport = poll
        if waiting.done():
            return
        if transport is None or transport.is_closing():
            polling.socket.lose(self.reason.TRANSPORT_CLOSE)
        else:
            self.polls.add(poll)

    def overdue(self, socket: Socket) -> bool:
        """Silent for longer than anybody may be; his next poll may be faster than the timers."""
        latest_s: float = socket.heard_s + self.ping_interval + self.ping_timeout
        return not socket.busy and self._loop.time() >= latest_s

    def _look(self, socket: Socket, pinged_s: float) -> None:
        if socket.closed or socket.busy or socket.heard_s >= pinged_s:
            return
        # nobody is there to say goodbye
        socket.lose(self.reason.PING_TIMEOUT)

    # python-engineio's API, for python-socketio
    async def send(self, sid: str, data: str | bytes) -> None:
        socket = self.sockets.get(sid)
        if socket is not None:
            socket.tell(Frame(data, binary=True) if isinstance(data, bytes) else Frame(b"4" + data.encode()))

    async def disconnect(self, sid: str | None = None) -> None:
        for socket in [self.sockets.get(sid)] if sid is not None else list(self.sockets.values()):
            if socket is not None:
                socket.end("disconnect")

    async def shutdown(self) -> None:
        """Drops everybody, and ends what was begun for them and does not end by itself within END_S."""
        for socket in list(self.sockets.values()):
            socket.lose(self.reason.SERVER_DISCONNECT)
        while self._ended:
            self._tell_ends()
        await self.tasks.settle(END_S)
        await self.tasks.stop()
        if self._begun:
            for delay in (self._pings, self._pongs, self._connects, self._probes, self.polls, self.ends):
                delay.stop()

    async def _shut(self, app: web.Application) -> None:
        await self.shutdown()


class Refused(Exception):
    """A request that is answered with Engine.IO's own codes."""

    def __init__(self, code: int, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code, self.message, self.status = code, message, status
