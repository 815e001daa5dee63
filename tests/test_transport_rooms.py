"""Rooms, namespaces and sessions through python-socketio's API; random moves against its own manager, step by step."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

import pytest
import socketio
from socketio.async_manager import AsyncManager

from rooms.transport import SocketIO
from rooms.transport.manager import Manager
from tests.support import wait_until
from tests.transportkit import HOST, Line, Poller, served, server
from tests.wirekit import a_socket

SEEDS, STEPS = 60, 80
NAMESPACES, ROOMS = ("/", "/other"), ("a", "b", "c")


class Ids:
    """As much of a server as a manager asks; `next_id` is the test's."""

    def __init__(self, sockets: dict[str, Any] | None = None) -> None:
        self.eio, self.sockets, self.next_id = self, sockets or {}, ""
        self.packet_class = socketio.packet.Packet

    def generate_id(self) -> str:
        return self.next_id

    def connect_again_by(self, socket: Any) -> None:
        pass


def managers() -> tuple[AsyncManager, Manager]:
    stock, here = AsyncManager(), Manager()
    sockets = {}
    for number in range(6):
        socket, _ = a_socket()
        socket.sid = f"eio{number}"
        sockets[socket.sid] = socket
    stock.set_server(Ids())
    here.set_server(Ids(sockets))
    return stock, here


def answer(call: Callable[[], Any]) -> Any:
    try:
        found = call()
    except (ValueError, KeyError) as error:
        return type(error)
    return sorted(found) if isinstance(found, list) else found


async def both(managers: tuple[AsyncManager, Manager], name: str, *arguments: Any) -> Any:
    answers = []
    for manager in managers:
        found = answer(lambda manager=manager: getattr(manager, name)(*arguments))  # type: ignore[misc]
        answers.append(await found if asyncio.iscoroutine(found) else found)
    return answers


async def test_random_moves_end_as_with_python_socketios_own_manager() -> None:
    first = random.randrange(2**30)
    for seed in range(first, first + SEEDS):
        chance, pair = random.Random(seed), managers()
        sids: list[tuple[str, str]] = []
        for step in range(STEPS):
            pair[0].server.next_id = pair[1].server.next_id = f"sid{step}"
            namespace, eio = chance.choice(NAMESPACES), f"eio{chance.randrange(6)}"
            sid, within = chance.choice(sids) if sids else ("nobody", "/")
            room = chance.choice([*ROOMS, sid] if chance.random() < 0.1 else ROOMS)
            move = chance.choice(
                ["in", "in", "enter", "enter", "enter", "leave", "close", "out", "elsewhere"]
            )
            if move == "in":
                stock, here = await both(pair, "pre_connect", eio, namespace)
                assert stock == here, f"seed {seed}"
                if here is not None:
                    sids.append((here, namespace))
                    if chance.random() < 0.8:
                        assert same(await both(pair, "connect", here, namespace))
            elif move == "enter":
                assert same(await both(pair, "basic_enter_room", sid, within, room)), (
                    f"seed {seed}: {sid} {room}"
                )
            elif move == "leave" and room != sid:  # his own, which python-socketio lets him leave
                await both(pair, "basic_leave_room", sid, within, room)
            elif move == "close":
                assert same(await both(pair, "basic_close_room", room, within)), f"seed {seed}: {room}"
            elif move == "out" and sids:
                if pair[0].is_connected(sid, within):
                    assert same(await both(pair, "pre_disconnect", sid, within))
                    assert same(await both(pair, "is_connected", sid, within))
                await both(pair, "basic_disconnect", sid, within)
                sids.remove((sid, within))
            await compare(pair, sids, seed)


def same(answers: list[Any]) -> bool:
    return bool(answers[0] == answers[1])


async def compare(pair: tuple[AsyncManager, Manager], sids: list[tuple[str, str]], seed: int) -> None:
    stock, here = pair
    for sid, namespace in sids:
        for question in ("is_connected", "is_pre_connected", "eio_sid_from_sid", "get_rooms"):
            answers = await both(pair, question, sid, namespace)
            assert same(answers), f"seed {seed}: {question} {sid} {namespace}: {answers}"
    for namespace in NAMESPACES:
        for room in (None, *ROOMS, *(sid for sid, _ in sids), ["a", "b"], ["c", "nobody", "a"]):
            got = [sorted(manager.get_participants(namespace, room)) for manager in pair]
            assert got[0] == got[1], f"seed {seed}: {namespace} {room}"
        for number in range(6):
            assert same(await both(pair, "sid_from_eio_sid", f"eio{number}", namespace)), f"seed {seed}"
    assert set(stock.get_namespaces()) == set(here.get_namespaces()), f"seed {seed}"
    members = {member for room in here._members.values() for member in room}
    assert all(room for room in here._members.values()), f"seed {seed}: an empty room is kept"
    assert {sid for sid, _ in sids} >= {member.sid for member in members}, (
        f"seed {seed}: one who left is kept"
    )


async def test_a_thousand_rooms_of_one_are_left_by_leaving_his_own() -> None:
    """Leaving looks at what was joined, not at all rooms there are."""
    _, here = managers()
    sid, other = "sid1", "sid2"
    for here.server.next_id, eio in ((sid, "eio1"), (other, "eio2")):
        assert await here.pre_connect(eio, "/") == here.server.next_id
    for number in range(1000):
        here.basic_enter_room(other, "/", f"room{number}")
    here.basic_enter_room(sid, "/", "mine")
    looked: list[Any] = []

    class Watched(dict[Any, Any]):
        def __getitem__(self, key: Any) -> Any:
            looked.append(key)
            return super().__getitem__(key)

    here._members = Watched(here._members)
    here.basic_disconnect(sid, "/")
    assert looked == [("/", "mine")] and ("/", "mine") not in here._members


async def test_emit_reaches_whom_it_names_once() -> None:
    sio, _ = server()
    async with (
        served(sio) as port,
        Line.entered(port) as first,
        Line.entered(port) as second,
        Line.entered(port) as third,
    ):
        lines = [first, second, third]
        sids = list(sio.manager.clients["/"])
        for sid in sids[:2]:
            await sio.enter_room(sid, "pair")
        await sio.enter_room(sids[1], "single")
        cases: list[tuple[dict[str, Any], list[int]]] = [
            ({}, [0, 1, 2]), ({"to": "pair"}, [0, 1]), ({"room": "pair"}, [0, 1]), ({"to": sids[2]}, [2]),
            ({"to": ["pair", "single"]}, [0, 1]), ({"to": "pair", "skip_sid": sids[0]}, [1]),
            ({"skip_sid": sids[:2]}, [2]), ({"to": "nobody"}, []), ({"namespace": "/other"}, []),
        ]  # fmt: skip
        for number, (options, wanted) in enumerate(cases):
            await sio.emit("news", number, **options)
            for at in wanted:
                assert await lines[at].says() == f'42["news",{number}]'
        await sio.leave_room(sids[0], "pair")
        await sio.close_room("single")
        await sio.emit("left", to="pair")
        await sio.emit("closed", to="single")
        await sio.send("last")
        heard = [[await line.says()] for line in lines]
        heard[1].append(await second.says())
        assert heard == [
            ['42["message","last"]'],
            ['42["left"]', '42["message","last"]'],
            ['42["message","last"]'],
        ]
        assert sio.rooms(sids[1]) == [sids[1], "pair"]


async def test_sessions_transports_and_environ() -> None:
    sio, _ = server()
    async with served(sio) as port, Line.entered(port) as line, Poller.opened(port) as poller:
        await poller.post("40")
        await poller.polls()
        first, second = sio.manager.clients["/"]
        assert [sio.transport(first), sio.transport(second)] == ["websocket", "polling"]
        assert sio.get_environ(first)["REMOTE_ADDR"] == HOST
        assert "aiohttp.request" not in sio.get_environ(first)
        await sio.save_session(first, {"name": "Ann"})
        async with sio.session(second) as session:
            session["name"] = "Bob"
        assert [await sio.get_session(first), await sio.get_session(second)] == [
            {"name": "Ann"},
            {"name": "Bob"},
        ]
        line.send("1")
        assert await line.ends()
        await wait_until(lambda: first not in sio.manager.clients["/"])
        assert len(sio.environ) == 1


async def test_a_namespace_of_a_class_and_catch_all_handlers() -> None:
    sio = SocketIO()
    noted: list[tuple[Any, ...]] = []

    class Shop(socketio.AsyncNamespace):  # type: ignore[misc]
        async def on_connect(self, sid: str, environ: dict[str, Any]) -> None:
            noted.append(("connect",))

        async def on_buy(self, sid: str, what: str) -> str:
            noted.append(("buy", what))
            return f"one {what}"

        async def on_disconnect(self, sid: str, reason: str) -> None:
            noted.append(("disconnect", reason))

    sio.register_namespace(Shop("/shop"))
    sio.on("*", lambda event, sid, *arguments: noted.append(("/", event, *arguments)))
    async with served(sio) as port, Line.entered(port, "/shop,") as line:
        line.send('42/shop,1["buy","tea"]', "40", '42["any",1]', "41/shop,")
        assert await line.says() == '43/shop,1["one tea"]'
        await wait_until(lambda: len(noted) == 4)
    assert noted == [("connect",), ("buy", "tea"), ("/", "any", 1), ("disconnect", "client disconnect")]


async def test_a_handler_of_disconnect_may_take_no_reason() -> None:
    sio = SocketIO()
    gone: list[str] = []

    async def disconnect(sid: str) -> None:
        gone.append(sid)

    sio.on("disconnect", disconnect)
    async with served(sio) as port:
        async with Line.entered(port):
            (sid,) = sio.manager.clients["/"]
        await wait_until(lambda: gone == [sid])


@pytest.mark.parametrize("transports", [["websocket"], ["polling"], ["polling", "websocket"]])
async def test_python_socketios_own_client(transports: list[str]) -> None:
    sio, noted = server(attachments_max=4)
    client = socketio.AsyncClient(reconnection=False)
    heard: list[Any] = []
    client.on("news", lambda *arguments: heard.append(arguments))
    async with served(sio) as port:
        await client.connect(f"http://{HOST}:{port}", auth={"a": 1}, transports=transports)
        assert await client.call("question", {"a": [1, 2.5, None, "\u20ac"]}) == {
            "a": [1, 2.5, None, "\u20ac"]
        }
        assert await client.call("binary", b"\x00\xff") == b"\x00\xff"
        await sio.emit("news", ({"b": 1}, "two", b"\x01"))
        await wait_until(lambda: heard == [({"b": 1}, "two", b"\x01")])
        assert client.transport() == transports[-1]
        await client.disconnect()
        await client.eio.disconnect()
        await wait_until(lambda: noted[-1][0] == "disconnect")
        assert [event for event, *_ in noted] == ["question", "binary", "disconnect"]


async def test_handlers_of_every_namespace() -> None:
    sio = SocketIO(namespaces="*")
    noted: list[tuple[Any, ...]] = []
    sio.on("*", lambda event, namespace, sid, *rest: noted.append((event, namespace, *rest)), namespace="*")
    sio.on("named", lambda namespace, sid, *rest: noted.append((namespace, *rest)), namespace="*")
    async with served(sio) as port, Line.entered(port, "/x,") as line:
        line.send('42/x,["any",1]', '42/x,2["named",2]')
        assert await line.says() == "43/x,2[]"
    assert noted == [("any", "/x", 1), ("/x", 2)]
