"""python-socketio on aiohttp, behind the gate: frames in, frames out, nothing decided.

Stands on these seams of python-socketio 5.18 (pinned): `AsyncServer._engineio_server_class`, `_handle_connect`,
`_handle_eio_message`, `_handle_disconnect`; and `_async["websocket"]` of engineio. What is different from stock:
an event goes to the gate and nowhere else, so no client can call a handler by its name; rubbish is answered a
few times, then its client is closed; who is refused for now is dropped, and so comes back by himself. When very
many come at once, as after the death of another node, a few at a time come in and the others wait for their turn, so
that whoever is in is still heard.
"""

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import socketio
from engineio.async_drivers import aiohttp as driver
from socketio.exceptions import ConnectionRefusedError as Refused

from dispatch.commands import Refusal
from rooms import engine, metrics
from rooms.engine import Engine, WebSocket, Wire
from rooms.gate import Gate, holds_nul, refused
from rooms.session import Frame, Session
from rooms.tasks import Tasks

for _name in ("socketio", "socketio.server"):
    logging.getLogger(_name).setLevel(logging.CRITICAL)  # they log what clients send

ENTERING_AT_ONCE = 16  # a quarter of the connections to Redis: the others are for those who are in
ENTER_S = 20.0  # with the wait for his turn; who is not in by then is dropped, and comes again
RUBBISH_MAX = 10  # so many undecodable frames, and the client is closed

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


class Server(socketio.AsyncServer):  # type: ignore[misc]
    """Socket.IO, default namespace only. `login` makes a session of a handshake or raises Refusal; `opened`
    is told when the client has its CONNECT, `closed` when a session has ended."""

    def __init__(self, gate: Gate, *, frames_max: int, payload_max: int, node: str, **options: Any) -> None:
        super().__init__(
            async_mode="aiohttp",
            async_handlers=False,
            # beyond it a frame closes its client; up to it, it is refused with a code
            max_http_buffer_size=4 * payload_max,
            http_compression=False,
            **options,
        )
        self._gate = gate
        self._frames_max = frames_max
        self._payload_max = payload_max
        self._sessions: dict[str, Session] = {}
        self._rubbish: dict[str, int] = {}
        self._turns = asyncio.Semaphore(ENTERING_AT_ONCE)
        self._entering: set[str] = set()
        self.login: Callable[[str, dict[str, Any], Any, Wire], Awaitable[Session]]
        self.opened: Callable[[Session], Awaitable[None]]
        self.closed: Callable[[Session], None]
        self.eio.on_message = self._handle_eio_message
        self.eio.tasks = Tasks()
        self.eio.opening = asyncio.Semaphore(engine.NEW_A_TURN)
        self.eio.silent = lambda sid: sid not in self._sessions and sid not in self._entering
        self.eio.generate_id = lambda: f"{node}-{secrets.token_urlsafe(15)}"
        self.eio._async = {**driver._async, "websocket": WebSocket}
        self.on("connect", self._connect)

    def _engineio_server_class(self) -> type[Engine]:
        return Engine

    async def _connect(self, sid: str, environ: dict[str, Any], auth: Any = None) -> None:
        eio_sid = self.manager.eio_sid_from_sid(sid, "/")
        socket = self.eio.sockets.get(eio_sid)
        if socket is None:
            raise Refused("unavailable")
        self._entering.add(eio_sid)
        try:
            session = await self._enter(socket, sid, environ, auth)
        except Refusal as refusal:
            if refusal.retry:
                # stock clients take a CONNECT_ERROR for final, and a broken connection for one to make again
                metrics.CLOSED.labels("not now").inc()
                socket.abort()
            # if he stays all the same, he gets as long as who has not come in
            asyncio.get_running_loop().call_later(engine.CONNECT_S, self.eio.drop_silent, eio_sid)
            raise Refused(refusal.message, {"code": refusal.code, "retry": refusal.retry}) from None
        finally:
            self._entering.discard(eio_sid)
        if _has_gone(socket):  # while we looked
            self.closed(session)
            raise Refused("gone")
        self._sessions[eio_sid] = session

    async def _enter(self, socket: engine.Socket, sid: str, environ: dict[str, Any], auth: Any) -> Session:
        """Waits for its turn, then logs in. Raises Refusal."""
        try:
            async with asyncio.timeout(ENTER_S), self._turns:
                if _has_gone(socket):
                    raise Refused("gone")
                return await self.login(sid, environ, auth, Wire(socket, self._frames_max))
        except TimeoutError:
            raise Refusal("unavailable") from None

    async def _handle_connect(self, eio_sid: str, namespace: str | None, data: Any) -> None:
        known = eio_sid in self._sessions
        await super()._handle_connect(eio_sid, namespace, data)
        session = self._sessions.get(eio_sid)
        if session is not None and not known:
            await self.opened(session)

    async def _handle_disconnect(self, eio_sid: str, namespace: str | None, reason: Any = None) -> None:
        if namespace in (None, "/"):
            self._end(eio_sid)
            # who has left and not gone gets as long as who has not come in
            asyncio.get_running_loop().call_later(engine.CONNECT_S, self.eio.drop_silent, eio_sid)
        await super()._handle_disconnect(eio_sid, namespace, reason)

    async def _handle_eio_disconnect(self, eio_sid: str, reason: Any) -> None:
        self._end(eio_sid)
        self._rubbish.pop(eio_sid, None)
        await super()._handle_eio_disconnect(eio_sid, reason)

    def _end(self, eio_sid: str) -> None:
        session = self._sessions.pop(eio_sid, None)
        if session is not None:
            self.closed(session)

    async def _handle_eio_message(self, eio_sid: str, data: Any) -> None:
        kind = data[:1] if isinstance(data, str) else ""
        session = self._sessions.get(eio_sid)
        if kind == "2" and session is not None:
            await self._event(session, eio_sid, data)
        elif kind in ("0", "1") and len(data) <= self._payload_max:
            try:
                await super()._handle_eio_message(eio_sid, data)
            except (ValueError, TypeError, RecursionError):
                self._bad(eio_sid, None, "")
        elif kind != "3":  # acks of ours are wanted by nobody
            self._bad(eio_sid, session, "")

    async def _event(self, session: Session, eio_sid: str, data: str) -> None:
        """`2[id]["event",{…}]`: to the gate, and its answer back, as the ack or as `error`."""
        start = 1
        while start < len(data) and data[start].isdecimal() and start < 12:
            start += 1
        ack, text = data[1:start], data[start:]
        event = ""
        if len(data) > self._payload_max:
            answer: Any = refused(Refusal("too_large"))
        else:
            try:
                heard = _decode(text)
                if not isinstance(heard, list) or not heard or not isinstance(heard[0], str):
                    raise ValueError
                if "\\u0000" in text and holds_nul(heard):
                    raise ValueError
                event, *args = heard
            except (ValueError, RecursionError):
                self._bad(eio_sid, session, ack)
                return
            answer = self._gate.hear(session, event, args)
            if not isinstance(answer, dict):
                await self._answer_later(session, ack, event, answer)
                return
        self._answer(session, ack, event, answer)

    async def _answer_later(
        self, session: Session, ack: str, event: str, answer: Awaitable[dict[str, Any]]
    ) -> None:
        """The answer of a command; of one that gives a snapshot, before the facts that follow it."""
        holds = self._gate.handlers[event].holds
        if holds:
            session.hold_back()
        try:
            self._answer(session, ack, event, await answer)
        finally:
            if holds:
                session.release()

    def _answer(self, session: Session, ack: str, event: str, answer: dict[str, Any]) -> None:
        if session.wire is None:
            return
        if ack:
            session.wire.tell(Frame("3" + ack + _encode([answer]).decode()))
        elif not answer["ok"]:
            error = {**answer["error"], "event": event[:64]}
            session.wire.tell(Frame("2" + _encode(["error", error]).decode()))

    def _bad(self, eio_sid: str, session: Session | None, ack: str) -> None:
        """Something that is no event: said so a few times, then the client is closed."""
        count = self._rubbish[eio_sid] = self._rubbish.get(eio_sid, 0) + 1
        socket = self.eio.sockets.get(eio_sid)
        if session is not None and count < RUBBISH_MAX:
            self._answer(
                session, ack, "", refused(Refusal("bad_request", "This is not a Socket.IO event of JSON."))
            )
        elif socket is not None:
            metrics.CLOSED.labels("rubbish").inc()
            socket.abort()

    @property
    def sessions(self) -> list[Session]:
        return list(self._sessions.values())


def _has_gone(socket: engine.Socket) -> bool:
    return bool(socket.closed or socket.closing or socket.aborted)
