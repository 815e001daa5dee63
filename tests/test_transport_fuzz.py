"""Whatever clients send, in whatever pieces, and whenever the server ends them: each is begun once and ended once.

Nothing is left of them then: no socket, no room, no task, no timer's fault. Seeds are in what fails.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest

from rooms.transport import Frame, Socket, SocketIO, engine
from tests.support import wait_until
from tests.transportkit import HOST, POLLING, WEBSOCKET, Line, handshake, masked, served

CLIENTS, AT_ONCE = 240, 24
WORDS = [
    "40", "40{}", '40{"a":1}', "40/n,", "40/nobody,", "41", "41/n,", '42["now"]', '421["now",1]',
    '42["later",{"a":[]}]', '422["later"]', '42/n,["now"]', '42["fails"]', '423["fails"]', '423["object"]', "431[]",
    "430[]", "43", "44", "4", "3", "5",
    "2probe", "1", "", "x", "6", '42["x",NaN]', '42["connect"]', '451-["now",{"_placeholder":true,"num":0}]',
    '452-["later",{"_placeholder":true,"num":1}]', "4\u20ac", '42["' + "k" * 3000 + '"]',
]  # fmt: skip
LIKELY = ["40", '421["now",1]', '42["later"]', "3"]


class Fuzzed:
    """The server, and what became of each client."""

    def __init__(self) -> None:
        self.sio = SocketIO(
            ping_interval=0.3, ping_timeout=0.2, attachments_max=2, max_http_buffer_size=20_000
        )
        self.begun, self.ended = Counter[str](), Counter[str]()
        self.entered, self.left = Counter[str](), Counter[str]()
        opened, lost = self.sio.eio.opened, self.sio.eio.lost

        def begin(socket: Socket) -> None:
            self.begun[socket.sid] += 1
            opened(socket)

        def end(socket: Socket, reason: str) -> None:
            self.ended[socket.sid] += 1
            lost(socket, reason)

        self.sio.eio.opened, self.sio.eio.lost = begin, end
        for namespace in ("/", "/n"):
            self.sio.on("connect", self.connect, namespace=namespace)
            self.sio.on("disconnect", self.disconnect, namespace=namespace)
            for handler in (self.now, self.later, self.fails, self.object):
                self.sio.on(handler.__name__, handler, namespace=namespace)

    async def connect(self, sid: str, environ: dict[str, Any], auth: Any) -> None:
        await turns(random.randrange(3))
        self.entered[sid] += 1

    async def disconnect(self, sid: str, reason: str) -> None:
        await turns(random.randrange(3))
        self.left[sid] += 1

    def now(self, sid: str, *arguments: Any) -> Any:
        for socket in list(self.sio.eio.sockets.values()):
            socket.tell_latest("now", Frame(b'42["place"]'))
        return list(arguments)

    async def later(self, sid: str, *arguments: Any) -> Any:
        await turns(random.randrange(20))
        return len(arguments)

    async def fails(self, sid: str, *arguments: Any) -> Any:
        raise RuntimeError("a fault of the application")

    def object(self, sid: str, *arguments: Any) -> Any:
        return object()


async def turns(number: int) -> None:
    for _ in range(number):
        done = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(lambda done=done: done.done() or done.set_result(None))  # type: ignore[misc]
        await done


def word(chance: random.Random) -> str:
    return chance.choice(LIKELY if chance.random() < 0.6 else WORDS)


def piece(chance: random.Random) -> bytes:
    said, kind = word(chance), chance.random()
    if kind < 0.85:
        return masked(said)
    if kind < 0.9:
        return masked(said.encode())
    if kind < 0.93:
        return masked(said[:2], 0x1, last=False) + masked(said[2:], 0x0)
    if kind < 0.96:
        return masked(b"p", chance.choice([0x9, 0xA]))
    if kind < 0.98:
        return masked((1000).to_bytes(2), 0x8)
    return chance.randbytes(chance.randrange(1, 30))


async def over_websocket(port: int, chance: random.Random, sid: str = "") -> None:
    said = b"".join(piece(chance) for _ in range(chance.randrange(0, 60)))
    if chance.random() < 0.7:
        said = masked("40") + said
    if sid:
        said = (masked("2probe") + masked("5") if chance.random() < 0.7 else b"") + said
    said = handshake(f"{WEBSOCKET}&sid={sid}" if sid else WEBSOCKET) + said
    async with Line.connected(port) as line:
        if chance.random() < 0.3:
            line.deafen()
        while said and not line.writer.is_closing():
            size = chance.choice([1, 10, 100, 1000, 100_000])
            line.writer.write(said[:size])
            said = said[size:]
            await turns(chance.randrange(4))
        if chance.random() < 0.3:
            await line.ends(0.2)


async def over_polling(port: int, chance: random.Random) -> None:
    url = f"http://{HOST}:{port}/socket.io/?{POLLING}"
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(2.0)) as http:
        async with http.get(url) as answer:
            sid = (await answer.text()).split('"')[3]
        url += f"&sid={sid}"

        async def request(call: Callable[[], Any]) -> None:
            try:
                async with call() as answer:
                    await answer.read()
            except (aiohttp.ClientError, TimeoutError):
                pass

        work: list[asyncio.Task[None]] = []
        for _ in range(chance.randrange(1, 8)):
            kind = chance.random()
            if kind < 0.5:
                body = "\x1e".join(word(chance) for _ in range(chance.randrange(1, 5)))
                coroutine = request(lambda body=body: http.post(url, data=body))  # type: ignore[misc]
            elif kind < 0.8:
                coroutine = request(lambda: http.get(url))
            else:
                coroutine = over_websocket(port, chance, sid)
            task = asyncio.create_task(coroutine)
            work.append(task)
            if chance.random() < 0.5:
                await asyncio.wait([task], timeout=0.05)
            elif chance.random() < 0.2:
                task.cancel()
        await asyncio.gather(*work, return_exceptions=True)


async def ends_some(fuzzed: Fuzzed, chance: random.Random) -> None:
    """What the server does to its clients meanwhile."""
    sio = fuzzed.sio
    while True:
        await turns(chance.randrange(1, 30))
        for socket in list(sio.eio.sockets.values()):
            kind = chance.random()
            if kind < 0.3:
                socket.tell(Frame(b'42["news"]'))
            elif kind < 0.5:
                socket.tell_latest("a", Frame(b'42["place"]'))
            elif kind < 0.503:
                chance.choice([socket.close, socket.end])("a test")
            elif kind < 0.506:
                for sid in [client.sid for client in socket.clients.values()]:
                    await sio.disconnect(sid)
            elif kind < 0.51:
                for client in list(socket.clients.values()):
                    await sio.emit("ask", to=client.sid, callback=lambda: None)
                    sio.manager.basic_enter_room(client.sid, client.namespace, "room")


async def test_whatever_is_sent_each_ends_once_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "CONNECT_S", 0.5)
    monkeypatch.setattr(engine, "END_S", 0.2)
    seed = random.randrange(2**30)
    chance, fuzzed = random.Random(seed), Fuzzed()
    sio = fuzzed.sio
    async with served(sio) as port:
        meanwhile = asyncio.create_task(ends_some(fuzzed, chance))
        for _ in range(CLIENTS // AT_ONCE):
            kinds = [chance.choice([over_websocket, over_websocket, over_polling]) for _ in range(AT_ONCE)]
            await asyncio.gather(*(kind(port, random.Random(chance.random())) for kind in kinds))
        meanwhile.cancel()
        await wait_until(lambda: not sio.eio.sockets, 5.0)
        await wait_until(lambda: not sio.eio.tasks._running, 5.0)
    note = f"seed {seed}"
    assert len(fuzzed.begun) >= CLIENTS // 2, note
    assert set(fuzzed.begun.values()) == {1}, note
    assert fuzzed.ended == fuzzed.begun, (
        f"{note}: {(fuzzed.ended - fuzzed.begun) or (fuzzed.begun - fuzzed.ended)}"
    )
    assert fuzzed.entered and set(fuzzed.entered.values()) == {1}, note
    assert fuzzed.left == fuzzed.entered, (
        f"{note}: {(fuzzed.left - fuzzed.entered) or (fuzzed.entered - fuzzed.left)}"
    )
    assert not sio.manager.clients and not sio.manager._members and not sio.environ, note
    assert not sio.manager.callbacks, note
