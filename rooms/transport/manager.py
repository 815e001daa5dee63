"""Who is in which room, both ways: leaving costs what was joined, and an emit is made once for all.

Replaces what python-socketio 5.18's BaseManager and AsyncManager keep (a bidict a room, a room for each client), behind
the same methods, which AsyncServer calls; callbacks of acks stay theirs.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from socketio import packet
from socketio.async_manager import AsyncManager

from rooms.transport.frames import Frame
from rooms.transport.socket import Socket


class Client:
    """A client in one namespace. `connected` from its CONNECT until its end begins."""

    __slots__ = ("connected", "namespace", "rooms", "sid", "socket")

    def __init__(self, sid: str, namespace: str, socket: Socket) -> None:
        self.sid = sid
        self.namespace = namespace
        self.socket = socket
        self.connected = False
        self.rooms: set[str] | None = None  # beside his own


class Manager(AsyncManager):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.clients: dict[str, dict[str, Client]] = {}
        self._members: dict[tuple[str, str], dict[Client, None]] = {}

    # Clients
    async def pre_connect(self, eio_sid: str, namespace: str) -> str | None:
        socket = self.server.eio.sockets.get(eio_sid)
        if socket is None or namespace in socket.clients:
            return None
        sid: str = self.server.eio.generate_id()
        client = socket.clients[namespace] = Client(sid, namespace, socket)
        self.clients.setdefault(namespace, {})[sid] = client
        return sid

    async def connect(self, sid: str, namespace: str) -> str:
        if client := self._client(sid, namespace):
            client.connected = True
        return sid

    def is_pre_connected(self, sid: str, namespace: str) -> bool:
        client = self._client(sid, namespace)
        return client is not None and not client.connected

    def is_connected(self, sid: str, namespace: str) -> bool:
        client = self._client(sid, namespace)
        return client is not None and client.connected

    def pre_disconnect(self, sid: str, namespace: str) -> str | None:
        client = self._client(sid, namespace)
        if client is None:
            return None
        client.connected = False
        return client.socket.sid

    def basic_disconnect(self, sid: str, namespace: str, **kwargs: Any) -> None:
        client = self.clients.get(namespace, {}).pop(sid, None)
        if client is None:
            return
        if not self.clients[namespace]:
            del self.clients[namespace]
        for room in client.rooms or ():
            self._out_of(client, room)
        self.callbacks.pop(sid, None)
        socket = client.socket
        socket.clients.pop(namespace, None)
        if not socket.clients and not socket.closed:
            self.server.eio.connect_again_by(socket)

    def sid_from_eio_sid(self, eio_sid: str, namespace: str) -> str | None:
        socket = self.server.eio.sockets.get(eio_sid)
        client = socket.clients.get(namespace) if socket is not None else None
        return client.sid if client is not None else None

    def eio_sid_from_sid(self, sid: str, namespace: str) -> str | None:
        socket = self.socket_of(sid, namespace)
        return socket.sid if socket is not None else None

    def get_namespaces(self) -> Iterable[str]:
        return self.clients.keys()

    def socket_of(self, sid: str, namespace: str = "/") -> Socket | None:
        client = self._client(sid, namespace)
        return client.socket if client is not None else None

    def _client(self, sid: str, namespace: str) -> Client | None:
        return self.clients.get(namespace, {}).get(sid)

    # Rooms
    def is_sid_room(self, namespace: str, room: str) -> bool:
        return self._client(room, namespace) is not None

    def basic_enter_room(self, sid: str, namespace: str, room: str, eio_sid: str | None = None) -> None:
        client = self._client(sid, namespace)
        if client is None:
            raise ValueError("sid is not connected to requested namespace")
        if room == sid:
            return
        if self.is_sid_room(namespace, room):
            raise ValueError("cannot enter a sid room")
        client.rooms = client.rooms or set()
        client.rooms.add(room)
        self._members.setdefault((namespace, room), {})[client] = None

    def basic_leave_room(self, sid: str, namespace: str, room: str) -> None:
        client = self._client(sid, namespace)
        if client is not None and client.rooms and room in client.rooms:
            client.rooms.discard(room)
            self._out_of(client, room)

    def basic_close_room(self, room: str, namespace: str) -> None:
        if self.is_sid_room(namespace, room):
            raise ValueError("cannot close a sid room")
        for client in list(self._members.get((namespace, room), ())):
            self.basic_leave_room(client.sid, namespace, room)

    def get_rooms(self, sid: str, namespace: str) -> list[str]:
        client = self._client(sid, namespace)
        return [sid, *(client.rooms or ())] if client is not None else []

    def members(self, namespace: str, room: Any) -> Iterable[Client]:
        """Of a room, a client's own, a list of rooms, or with None all of the namespace."""
        if room is None:
            return self.clients.get(namespace, {}).values()
        if isinstance(room, str):
            own = self._client(room, namespace)
            return (own,) if own is not None else self._members.get((namespace, room), ())
        return dict.fromkeys(client for each in room for client in self.members(namespace, each))

    def get_participants(self, namespace: str, room: Any) -> Iterator[tuple[str, str]]:
        for client in list(self.members(namespace, room)):
            yield client.sid, client.socket.sid

    def _out_of(self, client: Client, room: str) -> None:
        members = self._members[client.namespace, room]
        del members[client]
        if not members:
            del self._members[client.namespace, room]

    async def emit(  # noqa: PLR0917 - python-socketio's
        self,
        event: str,
        data: Any,
        namespace: str,
        room: Any = None,
        skip_sid: Any = None,
        callback: Any = None,
        to: Any = None,
        **kwargs: Any,
    ) -> None:
        """As AsyncManager's, which makes a task for each recipient."""
        arguments = list(data) if isinstance(data, tuple) else [] if data is None else [data]
        skipped = skip_sid if isinstance(skip_sid, list) else [skip_sid]
        made = None if callback else self._frames(namespace, [event, *arguments], None)
        for client in self.members(namespace, to or room):
            if client.sid in skipped:
                continue
            wanted = made
            if wanted is None:
                number = self._generate_ack_id(client.sid, callback)
                wanted = self._frames(namespace, [event, *arguments], number)
            for frame in wanted:
                client.socket.tell(frame)

    def _frames(self, namespace: str, data: list[Any], number: int | None) -> list[Frame]:
        return frames_of(self.server.packet_class(packet.EVENT, namespace=namespace, data=data, id=number))


def frames_of(made: packet.Packet) -> list[Frame]:
    """A packet of python-socketio and its attachments."""
    encoded = made.encode()
    return [
        Frame(bytes(part), binary=True)
        if isinstance(part, bytes | bytearray)
        else Frame(b"4" + part.encode())
        for part in (encoded if isinstance(encoded, list) else [encoded])
    ]
