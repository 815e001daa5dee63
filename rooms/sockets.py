"""The clients of this node: the transport's frames to the gate, and its answers back.

An event goes to the gate and nowhere else, so no client can call a handler by its name; rubbish is answered a few
times, then its client is closed; who is refused for now is dropped, and so comes back by himself. When very many come
at once, as after the death of another node, a few at a time come in and the others wait for their turn, so that whoever
is in is still heard.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from socketio.exceptions import ConnectionRefusedError as Refused

from dispatch.commands import Refusal
from rooms.gate import UNKEPT, Gate, holds_nul, refused, straight
from rooms.session import Session, event_frame
from rooms.transport import Frame, Socket, SocketIO, frames

ENTERING_AT_ONCE = 16  # a quarter of the connections to Redis: the others are for those who are in
ENTER_S = 20.0  # with the wait for his turn; who is not in by then is dropped, and comes again
RUBBISH_MAX = 10  # so many undecodable events, and the client is closed

_encode = msgspec.json.Encoder().encode


class Sockets(SocketIO):
    """Socket.IO, default namespace only. `login` makes a session of a handshake or raises Refusal; `opened`
    is told when the client has its CONNECT, `closed` when a session has ended."""

    def __init__(self, gate: Gate, *, payload_max: int, node: str, **options: Any) -> None:
        # beyond the buffer a frame closes its client; up to it, it is refused with a code
        super().__init__(max_http_buffer_size=4 * payload_max, **options)
        self._gate = gate
        self._payload_max = payload_max
        self._sessions: dict[Socket, Session] = {}
        self._rubbish: dict[Socket, int] = {}
        self._volatile = {f'["{name}"': name for name, each in gate.handlers.items() if not each.awaits}
        self._turns = asyncio.Semaphore(ENTERING_AT_ONCE)
        self.login: Callable[[str, dict[str, Any], Any, Socket], Awaitable[Session]]
        self.opened: Callable[[Session], Awaitable[None]]
        self.closed: Callable[[Session], None]
        self.eio.generate_id = lambda: f"{node}-{secrets.token_urlsafe(15)}"
        self.on("connect", self._connect)

    @property
    def sessions(self) -> list[Session]:
        return list(self._sessions.values())

    # Coming in
    async def _connect(self, sid: str, environ: dict[str, Any], auth: Any = None) -> None:
        socket = self.manager.socket_of(sid)
        if socket is None:
            raise Refused("unavailable")
        try:
            session = await self._enter(socket, sid, environ, auth)
        except Refusal as refusal:
            if refusal.retry:
                # stock clients take a CONNECT_ERROR for final, and a broken connection for one to make again
                socket.close("not now")
            raise Refused(refusal.message, {"code": refusal.code, "retry": refusal.retry}) from None
        self.environ.pop(socket.sid, None)
        socket.environ = {}
        if socket.closed:  # while we looked
            self.closed(session)
            raise Refused("gone")
        self._sessions[socket] = socket.user = session

    async def _enter(self, socket: Socket, sid: str, environ: dict[str, Any], auth: Any) -> Session:
        """Waits for its turn, then logs in. Raises Refusal."""
        try:
            async with asyncio.timeout(ENTER_S), self._turns:
                if socket.closed:
                    raise Refused("gone")
                return await self.login(sid, environ, auth, socket)
        except TimeoutError:
            raise Refusal("unavailable") from None

    async def _handle_connect(self, eio_sid: str, namespace: str | None, data: Any) -> None:
        socket = self.eio.sockets.get(eio_sid)
        known = socket is None or socket.user is not None
        await super()._handle_connect(eio_sid, namespace, data)
        if not known and socket.user is not None:
            await self.opened(socket.user)

    # Going
    def leave(self, socket: Socket, namespace: str) -> Awaitable[None] | None:
        if namespace == "/":
            self._end(socket)
        return super().leave(socket, namespace)

    def lost(self, socket: Socket, reason: str) -> None:
        self._end(socket)
        self._rubbish.pop(socket, None)
        super().lost(socket, reason)

    def _end(self, socket: Socket) -> None:
        session = self._sessions.pop(socket, None)
        if session is not None:
            socket.user = None
            self.closed(session)

    # Events
    def hear(self, socket: Socket, text: str) -> Awaitable[None] | None:
        kind = text[1:2]
        if kind == "2":
            return self._hear_event(socket, text)
        if kind == "3":
            return None  # acks of ours are wanted by nobody
        if kind not in ("0", "1") or len(text) > self._payload_max:
            self._bad(socket, "")
            return None
        return super().hear(socket, text)

    def _hear_event(self, socket: Socket, text: str) -> Awaitable[None] | None:
        """`42[id]["event",{…}]`: to the gate, and its answer back, as the ack or as `error`."""
        session: Session | None = socket.user
        start = 2 if text[2:3] == "[" else _end_of_ack(text)
        ack = text[2:start]
        if session is None:
            self._bad(socket, ack)
            return None
        if len(text) > self._payload_max:
            self._reply(session, ack, "", refused(Refusal("too_large")))
            return None
        comma = text.find(",", start)
        known = self._volatile.get(text[start:comma])
        if known is not None and text[-2:] == "}]":
            message = straight(self._gate.handlers[known], text[comma + 1 : -1])
            if message is not None:
                return self._heard(session, ack, known, self._gate.hear(session, known, (), True, message))
        body = text[start:]
        try:
            heard = frames.decode(body)
            if not isinstance(heard, list) or not heard or not isinstance(heard[0], str):
                raise ValueError
        except (ValueError, RecursionError):
            self._bad(socket, ack)
            return None
        event, *args = heard
        if "\\u0000" in body and holds_nul(heard):
            self._reply(session, ack, event, refused(UNKEPT))
            return None
        return self._heard(session, ack, event, self._gate.hear(session, event, args))

    def _heard(
        self, session: Session, ack: str, event: str, answer: dict[str, Any] | Awaitable[dict[str, Any]]
    ) -> Awaitable[None] | None:
        if isinstance(answer, dict):
            if ack or not answer["ok"]:
                self._reply(session, ack, event, answer)
            return None
        return self._reply_later(session, ack, event, answer)

    async def _reply_later(
        self, session: Session, ack: str, event: str, answer: Awaitable[dict[str, Any]]
    ) -> None:
        """The answer of a command; of one that gives a snapshot, before the facts that follow it."""
        holds = self._gate.handlers[event].holds
        if holds:
            session.hold_back()
        try:
            self._reply(session, ack, event, await answer)
        finally:
            if holds:
                session.release()

    def _reply(self, session: Session, ack: str, event: str, answer: dict[str, Any]) -> None:
        if session.wire is None:
            return
        if ack:
            session.wire.tell(Frame(b"43" + ack.encode() + _encode([answer])))
        elif not answer["ok"]:
            session.wire.tell(event_frame("error", {**answer["error"], "event": event[:64]}))

    def _bad(self, socket: Socket, ack: str) -> None:
        """Something that is no event: said so a few times, then the client is closed."""
        count = self._rubbish[socket] = self._rubbish.get(socket, 0) + 1
        if socket.user is not None and count < RUBBISH_MAX:
            refusal = Refusal("bad_request", "This is not a Socket.IO event of JSON.")
            self._reply(socket.user, ack, "", refused(refusal))
        else:
            socket.close("rubbish")


def _end_of_ack(text: str) -> int:
    end = 2
    while end < min(len(text), 13) and text[end] in "0123456789":
        end += 1
    return end
