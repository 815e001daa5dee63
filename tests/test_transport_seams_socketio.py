"""The private seams of python-socketio that rooms/transport/ stands on: see tests/seams.py."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any

import engineio
import pytest
import socketio
from aiohttp import web
from socketio import async_manager, async_server, base_manager, base_server, packet

from rooms.transport import SocketIO
from rooms.transport.engine import Engine
from rooms.transport.manager import Manager
from tests.seams import moved
from tests.transportkit import Line, handshake, served


def asked(pattern: str, *modules: Any) -> set[str]:
    """What is asked of something by its name, in these modules' sources."""
    return {name for module in modules for name in re.findall(pattern, inspect.getsource(module))}


def test_python_socketio_asks_its_engine_for_what_it_has_known() -> None:
    """Each is Engine's own, or one of engineio's that only looks into `sockets`."""
    own = {"attach", "send", "shutdown", "handle_request", "disconnect"}
    engineios = {
        "on",
        "generate_id",
        "get_session",
        "transport",
        "start_background_task",
        "sleep",
        "create_event",
    }
    not_used = {"send_packet", "async_mode"}  # emit is ours; the mode is read once
    found = asked(r"self(?:\.server)?\.eio\.(\w+)", async_server, base_server, async_manager, base_manager)
    assert found <= own | engineios | not_used, moved(
        "engine.py", f"what AsyncServer asks: {found}", "python-socketio"
    )
    for name in own:
        assert name in vars(Engine)


def test_async_server_asks_its_manager_for_what_it_has_known() -> None:
    own = {"emit", "is_connected", "pre_disconnect", "pre_connect", "connect", "sid_from_eio_sid", "eio_sid_from_sid",
           "get_namespaces", "get_rooms"}  # fmt: skip
    stocks = {"enter_room", "leave_room", "close_room", "disconnect", "can_disconnect", "trigger_callback",
              "initialize", "set_server"}  # fmt: skip
    found = asked(r"self\.manager\.(\w+)", async_server, base_server)
    seam = moved(
        "manager.py",
        f"what AsyncServer asks its manager: {sorted(found ^ (own | stocks))}",
        "python-socketio",
    )
    assert found == own | stocks, seam
    for name in own:
        assert name in vars(Manager)


def inherited(kind: type) -> Iterator[tuple[str, str]]:
    for base in (async_manager.AsyncManager, base_manager.BaseManager):
        for name, method in vars(base).items():
            if inspect.isfunction(method) and getattr(kind, name) is method:
                yield name, inspect.getsource(method)


def test_what_our_manager_inherits_keeps_nothing_that_is_ours() -> None:
    """python-socketio's own tables of rooms and of who is coming or going stay empty: nobody may look into them."""
    for name, source in inherited(Manager):
        if name == "__init__":
            continue
        looked = re.findall(r"self\.(rooms|eio_to_sid|pending_connect|pending_disconnect)\b", source)
        assert not looked, moved(
            "manager.py", f"the inherited {name}, which looks into {looked}", "python-socketio"
        )
    for ours in ("enter_room", "leave_room", "close_room", "disconnect"):
        source = inspect.getsource(getattr(async_manager.AsyncManager, ours))
        basic = f"self.basic_{ours}("
        assert basic in source, moved(
            "manager.py", f"AsyncManager.{ours} calling {basic})", "python-socketio"
        )


async def test_callbacks_are_kept_by_client_and_number_and_0_is_the_counter() -> None:
    seam = moved("server.py", "manager.callbacks, _generate_ack_id and trigger_callback", "python-socketio")
    manager, called = Manager(), list[Any]()
    manager.set_server(SocketIO())
    numbers = [manager._generate_ack_id("sid", lambda *answer: called.append(answer)) for _ in range(2)]
    assert numbers == [1, 2] and set(manager.callbacks["sid"]) == {0, 1, 2}, seam
    await manager.trigger_callback("sid", 2, ["a", 1])
    assert called == [("a", 1)] and 2 not in manager.callbacks["sid"], seam


def test_the_engines_class_is_asked_once_and_made_with_the_engines_options() -> None:
    """`_engineio_server_class`."""
    seam = moved("server.py", "AsyncServer._engineio_server_class", "python-socketio")
    made: list[dict[str, Any]] = []

    class Noted(Engine):
        def __init__(self, **options: Any) -> None:
            made.append(options)
            super().__init__(**options)

    class Server(SocketIO):
        def _engineio_server_class(self) -> type[Engine]:
            return Noted

    server = Server(ping_interval=7, frames_max=9)
    assert type(server.eio) is Noted and len(made) == 1, seam
    assert made[0].items() >= {"ping_interval": 7, "frames_max": 9, "async_mode": "aiohttp"}.items(), seam
    assert type(server.manager) is Manager and server.manager.server is server, seam


async def test_handle_connect_asks_in_its_order_and_says_so_itself() -> None:
    """`_handle_connect`: pre_connect, the handler by `_trigger_event`, CONNECT by `_send_packet`, then connect."""
    seam = moved("server.py", "AsyncServer._handle_connect", "python-socketio")
    calls: list[Any] = []

    class Noted(SocketIO):
        async def _trigger_event(self, event: str, namespace: str, *arguments: Any) -> Any:
            calls.append((event, namespace, arguments[1]["QUERY_STRING"], *arguments[2:]))
            return await super()._trigger_event(event, namespace, *arguments)

        async def _send_packet(self, eio_sid: str, made: packet.Packet) -> None:
            calls.append(("send", made.packet_type, made.namespace, eio_sid in self.eio.sockets))
            await super()._send_packet(eio_sid, made)

    server = Noted()
    for name in ("pre_connect", "connect"):
        method = getattr(server.manager, name)

        async def noted(*arguments: Any, name: str = name, method: Any = method) -> Any:
            calls.append(name)
            return await method(*arguments)

        setattr(server.manager, name, noted)
    async with served(server) as port, Line.opened(port) as line:
        await line.says()
        line.send('40{"token":1}')
        await line.says()
        query = "EIO=4&transport=websocket"
        wanted = [
            "pre_connect",
            ("connect", "/", query, {"token": 1}),
            ("send", packet.CONNECT, "/", True),
            "connect",
        ]
        assert calls == wanted, seam


async def test_a_connect_handler_without_auth_is_called_without_it() -> None:
    seam = moved("server.py", "AsyncServer._handle_connect's two signatures", "python-socketio")
    server, called = SocketIO(), list[str]()

    async def connect(sid: str, environ: dict[str, Any]) -> None:
        called.append(sid)

    server.on("connect", connect)
    async with served(server) as port, Line.entered(port):
        assert called == list(server.manager.clients["/"]), seam


def test_handlers_are_found_as_python_socketio_finds_them() -> None:
    """`_get_event_handler(event, namespace, arguments)` and `_get_namespace_handler(namespace, arguments)`."""
    seam = moved("server.py", "BaseServer._get_event_handler", "python-socketio")
    server = SocketIO()
    named, any_event = lambda *_: None, lambda *_: None
    assert server._get_event_handler("x", "/", ("sid", 1)) == (None, ("sid", 1)), seam
    server.on("x", named)
    server.on("*", any_event)
    assert server._get_event_handler("x", "/", ("sid", 1)) == (named, ("sid", 1)), seam
    assert server._get_event_handler("y", "/", ("sid", 1)) == (any_event, ("y", "sid", 1)), seam
    for reserved in ("connect", "disconnect"):
        assert server._get_event_handler(reserved, "/", ("sid",))[0] is None, seam
    seam = moved("server.py", "BaseServer._get_namespace_handler", "python-socketio")
    assert server._get_namespace_handler("/shop", ("sid",)) == (None, ("sid",)), seam
    shop = socketio.AsyncNamespace("/shop")
    server.register_namespace(shop)
    assert server._get_namespace_handler("/shop", ("sid",)) == (shop, ("sid",)), seam


async def test_trigger_event_leaves_the_reason_out_where_a_handler_takes_none() -> None:
    seam = moved("server.py", "AsyncServer._trigger_event", "python-socketio")
    server, called = SocketIO(), list[Any]()
    server.on("disconnect", called.append)
    await server._trigger_event("disconnect", "/", "sid", "why")
    server.on("disconnect", lambda sid, reason: called.append((sid, reason)))
    await server._trigger_event("disconnect", "/", "sid", "why")
    assert called == ["sid", ("sid", "why")], seam


def test_packets_are_encoded_as_text_or_text_and_attachments() -> None:
    seam = moved("manager.py", "socketio.packet.Packet.encode", "python-socketio")
    make = SocketIO().packet_class
    assert make(packet.EVENT, namespace="/", data=["x", {"a": 1}]).encode() == '2["x",{"a":1}]', seam
    assert make(packet.EVENT, namespace="/n", data=["x"], id=7).encode() == '2/n,7["x"]', seam
    encoded = make(packet.ACK, namespace="/", data=[b"\x01"], id=7).encode()
    assert encoded == ['61-7[{"_placeholder":true,"num":0}]', b"\x01"], seam
    assert [packet.CONNECT, packet.CONNECT_ERROR] == [0, 4], seam


async def test_nothing_of_theirs_runs_that_is_said_not_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """`_handle_eio_message`, `_handle_event`, `_service_task`, engineio's sockets and aiohttp's WebSocketResponse."""
    used: list[str] = []

    def forbid(kind: Any, name: str) -> None:
        assert hasattr(kind, name), (
            f"{kind.__name__} has no {name} any more: what took its place is to be shut out here"
        )

        def call(*arguments: Any, **options: Any) -> None:
            used.append(f"{kind.__name__}.{name}")

        monkeypatch.setattr(kind, name, call)

    for kind, name in (
        (socketio.AsyncServer, "_handle_eio_message"), (socketio.AsyncServer, "_handle_event"),
        (socketio.AsyncServer, "_handle_disconnect"), (socketio.AsyncServer, "_handle_ack"),
        (socketio.AsyncServer, "_handle_eio_connect"), (socketio.AsyncServer, "_send_eio_packet"),
        (engineio.AsyncServer, "_service_task"), (engineio.AsyncServer, "_handle_connect"),
        (engineio.async_socket.AsyncSocket, "__init__"), (web.WebSocketResponse, "__init__"),
        (async_manager.AsyncManager, "emit"),
    ):  # fmt: skip
        forbid(kind, name)
    server = SocketIO()
    server.on("hello", lambda sid, *arguments: arguments)
    async with served(server) as port:
        async with Line.entered(port) as line:
            line.send('421["hello",1]')
            assert await line.says() == "431[1]"
            await server.emit("news", 1)
            assert await line.says() == '42["news",1]'
            line.send("41", "1")
            assert await line.ends()
        async with Line.connected(port) as line:
            line.writer.write(handshake())
            await line.reads_head()
    assert used == []
