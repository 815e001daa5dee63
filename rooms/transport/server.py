"""Socket.IO 5 with python-socketio's API (`on`, `emit`, rooms, namespaces, sessions), on the direct path.

A message is looked at in the callback that read it: a plain `def` handler runs there, what a coroutine handler returns
is awaited in the client's order. Stands on these seams of python-socketio 5.18, held by
tests/test_transport_seams.py: `_engineio_server_class`, `_handle_eio_connect`, `_handle_connect`, `_trigger_event`,
`_get_event_handler`, `_get_namespace_handler`, `_send_packet`, and the manager's methods. `_handle_eio_message` and
`_handle_event` are not used.

| when | then |
|---|---|
| an event of a namespace the client is not in, a reserved name, JSON that is none | the client is closed |
| attachments, unless `attachments_max` allows them | likewise |
| anything between a packet and its attachments | likewise |
"""

import inspect
import logging
from collections.abc import Awaitable, Coroutine
from typing import Any

import socketio
from socketio import packet

from rooms.faults import fault
from rooms.transport import frames
from rooms.transport.engine import Engine
from rooms.transport.frames import Packet, Rubbish
from rooms.transport.manager import Client, Manager, frames_of
from rooms.transport.socket import Socket

logger = logging.getLogger(__name__)

for _name in ("socketio", "socketio.server"):
    logging.getLogger(_name).setLevel(logging.CRITICAL)  # they log what clients send


class Attachments:
    """What of a packet has come so far."""

    __slots__ = ("packet", "parts", "size")

    def __init__(self, packet: Packet) -> None:
        self.packet = packet
        self.parts: list[bytes] = []
        self.size = 0


class SocketIO(socketio.AsyncServer):  # type: ignore[misc]
    """`attachments_max` of one event, 0 refuses binary; `frames_max` and `bytes_max` may wait for a client who does
    not read; other options are python-socketio's and python-engineio's."""

    def __init__(self, *, attachments_max: int = 0, **options: Any) -> None:
        fixed = {"async_mode": "aiohttp", "async_handlers": False, "monitor_clients": False}
        super().__init__(client_manager=Manager(), **(options | fixed))
        self.attachments_max = attachments_max
        self.eio.hear, self.eio.hear_binary = self.hear, self.hear_binary
        self.eio.opened, self.eio.lost, self.eio.silent = self._opened, self.lost, self.silent

    def _engineio_server_class(self) -> type[Engine]:
        return Engine

    def _opened(self, socket: Socket) -> None:
        self.environ[socket.sid] = socket.environ

    def silent(self, socket: Socket) -> bool:
        return not socket.clients

    async def _handle_connect(self, eio_sid: str, namespace: str | None, data: Any) -> None:
        known = {*self.handlers, *self.namespace_handlers, *self.namespaces}
        socket = self.eio.sockets.get(eio_sid)
        if namespace in known or self.namespaces == "*":
            await super()._handle_connect(eio_sid, namespace, data)
        elif socket is not None:
            error = self.packet_class(
                packet.CONNECT_ERROR, data={"message": "Invalid namespace"}, namespace=namespace
            )
            socket.tell(*frames_of(error))

    # A message
    def hear(self, socket: Socket, text: str) -> Awaitable[None] | None:
        """One Socket.IO packet, with its `4`. Raises ValueError, RecursionError: nothing of the protocol."""
        if socket.parts is not None:
            raise Rubbish("an attachment was to come")
        kind = text[1:2]
        if kind == "2":
            return self.hear_event(socket, text)
        heard = frames.parse(text)
        if kind == "0":
            auth = frames.decode(heard.json) if heard.json else None
            if auth is not None and not isinstance(auth, dict):
                raise Rubbish("not an auth")
            return self._handle_connect(socket.sid, heard.namespace, auth)
        if kind == "1":
            return self.leave(socket, heard.namespace)
        if kind == "3":
            return self._hear_ack(socket, heard, frames.decode(heard.json))
        if kind in ("5", "6") and 0 < heard.attachments <= self.attachments_max:
            self._client(socket, heard)
            socket.parts = Attachments(heard)
            return None
        raise Rubbish("not a packet of a client")

    def hear_event(self, socket: Socket, text: str) -> Awaitable[None] | None:
        """`42…`, as `hear`."""
        heard = frames.parse(text)
        return self._dispatch(self._client(socket, heard), heard.ack, frames.event(heard.json))

    def hear_binary(self, socket: Socket, data: bytes) -> Awaitable[None] | None:
        waiting: Attachments | None = socket.parts
        if waiting is None:
            raise Rubbish("an attachment of nothing")
        heard = waiting.packet
        waiting.parts.append(data)
        waiting.size += len(data)
        if waiting.size > self.eio.max_http_buffer_size:
            raise Rubbish("attachments that long")
        if len(waiting.parts) < heard.attachments:
            return None
        socket.parts = None
        if heard.kind == "6":
            return self._hear_ack(socket, heard, frames.attached(frames.decode(heard.json), waiting.parts))
        event = frames.attached(frames.event(heard.json), waiting.parts)
        return self._dispatch(self._client(socket, heard), heard.ack, event)

    def _client(self, socket: Socket, heard: Packet) -> Client:
        client: Client | None = socket.clients.get(heard.namespace)
        if client is None or not client.connected:
            raise Rubbish("not in this namespace")
        return client

    def _hear_ack(self, socket: Socket, heard: Packet, data: Any) -> Awaitable[None] | None:
        client = self._client(socket, heard)
        if not isinstance(data, list) or int(heard.ack or 0) == 0:  # where python-socketio keeps its counter
            raise Rubbish("not an ack")
        if int(heard.ack) not in self.manager.callbacks.get(client.sid, ()):
            return None
        return self.manager.trigger_callback(client.sid, int(heard.ack), data)  # type: ignore[no-any-return]

    def _dispatch(self, client: Client, ack: str, event: list[Any]) -> Awaitable[None] | None:
        name, *arguments = event
        handler, known = self._get_event_handler(name, client.namespace, (client.sid, *arguments))
        if handler is None:
            namespace, known = self._get_namespace_handler(client.namespace, (client.sid, *arguments))
            if namespace is None:
                return None
            return self._answer_later(client, ack, namespace.trigger_event(name, *known))
        if inspect.iscoroutinefunction(handler):
            return self._answer_later(client, ack, handler(*known))
        try:
            self._answer(client, ack, handler(*known))
        except Exception as error:
            logger.error("the handler of an event failed: %s", fault(error))
        return None

    async def _answer_later(self, client: Client, ack: str, work: Awaitable[Any]) -> None:
        try:
            self._answer(client, ack, await work)
        except Exception as error:
            logger.error("the handler of an event failed: %s", fault(error))

    def _answer(self, client: Client, ack: str, answer: Any) -> None:
        if not ack:
            return
        data = [] if answer is None else list(answer) if isinstance(answer, tuple) else [answer]
        made = self.packet_class(packet.ACK, namespace=client.namespace, id=int(ack), data=data)
        for frame in frames_of(made):
            client.socket.tell(frame)

    # The end
    def leave(self, socket: Socket, namespace: str) -> Awaitable[None] | None:
        """The client left a namespace."""
        client = socket.clients.get(namespace)
        return self._part(client, self.reason.CLIENT_DISCONNECT) if client is not None else None

    def lost(self, socket: Socket, reason: str) -> None:
        """The connection has ended: so has the client, in every namespace."""
        for client in list(socket.clients.values()):
            later = self._part(client, reason)
            if later is not None:
                self.eio.tasks.start(later, "disconnect")
        self.environ.pop(socket.sid, None)

    def _part(self, client: Client, reason: str) -> Coroutine[Any, Any, None] | None:
        if not client.connected:
            self.manager.basic_disconnect(client.sid, client.namespace)
            return None
        self.manager.pre_disconnect(client.sid, client.namespace)
        handler, _ = self._get_event_handler("disconnect", client.namespace, (client.sid, reason))
        namespace, _ = self._get_namespace_handler(client.namespace, (client.sid, reason))
        if handler is None and namespace is None:
            self.manager.basic_disconnect(client.sid, client.namespace)
            return None
        return self._part_later(client, reason)

    async def _part_later(self, client: Client, reason: str) -> None:
        try:
            await self._trigger_event("disconnect", client.namespace, client.sid, reason)
        except Exception as error:
            logger.error("the handler of a disconnect failed: %s", fault(error))
        finally:
            self.manager.basic_disconnect(client.sid, client.namespace)
