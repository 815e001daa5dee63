"""A client's events in their order, however they are cut into reads; his end told once, after what he asked for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from rooms.transport import Socket, SocketIO, socket
from rooms.transport.engine import Engine
from tests.support import wait_until
from tests.transportkit import ENGINE_IO, WEBSOCKET, Line, Poller, echo, masked, served, server

MANY = 3 * socket.FRAMES_A_TURN


class Work:
    """A server whose `slow` handler goes on when it is let; `done` is what was done, in its order."""

    def __init__(self, **options: Any) -> None:
        self.sio, self.done = SocketIO(**options), list[Any]()
        self.begun, self.release = asyncio.Event(), asyncio.Event()

        async def slow(sid: str, number: int) -> int:
            self.begun.set()
            await self.release.wait()
            self.done.append(number)
            return number

        async def later(sid: str, number: int) -> int:
            await asyncio.get_running_loop().run_in_executor(None, int)
            self.done.append(number)
            return number

        def now(sid: str, number: int) -> int:
            self.done.append(number)
            return number

        async def gone(sid: str, reason: str) -> None:
            self.done.append("disconnect")

        for handler in (slow, later, now):
            self.sio.on(handler.__name__, handler)
        self.sio.on("disconnect", gone)


@asynccontextmanager
async def working(**options: Any) -> AsyncIterator[tuple[Work, int, Line]]:
    work = Work(**options)
    async with served(work.sio) as port, Line.entered(port) as line:
        yield work, port, line
        work.release.set()


async def test_many_frames_in_one_read_keep_their_order() -> None:
    async with working() as (_work, _, line):
        line.send(*(f'42{number}["now",{number}]' for number in range(MANY)))
        answers = [await line.says() for _ in range(MANY)]
        assert answers == [f"43{number}[{number}]" for number in range(MANY)]


async def test_others_get_their_turn_among_many_frames_of_one() -> None:
    """Of a read of many only FRAMES_A_TURN are heard before whoever else has something to do."""
    engine, heard = Engine(async_mode="aiohttp"), list[str]()
    turns: list[int] = []

    def hear(client: Socket, text: str) -> None:
        if not heard:
            asyncio.get_running_loop().call_soon(note)
        heard.append(text)

    def note() -> None:
        turns.append(len(heard))
        if len(heard) < MANY:
            asyncio.get_running_loop().call_soon(note)

    engine.hear = hear
    async with served(engine, ENGINE_IO) as port, Line.opened(port, WEBSOCKET, ENGINE_IO) as line:
        await line.says()
        line.send(*(f"4{number}" for number in range(MANY)))
        await wait_until(lambda: len(heard) == MANY)
        assert heard == [f"4{number}" for number in range(MANY)]
        steps = [b - a for a, b in zip([0, *turns], turns, strict=False)]
        assert max(steps) <= socket.FRAMES_A_TURN, steps


@pytest.mark.parametrize("names", [("later", "now"), ("now", "later"), ("later", "later", "now", "now")])
async def test_coroutine_handlers_keep_the_order(names: tuple[str, ...]) -> None:
    async with working() as (work, _, line):
        for number in range(MANY):
            line.send(f'42["{names[number % len(names)]}",{number}]')
        await wait_until(lambda: len(work.done) == MANY)
        assert work.done == list(range(MANY))


async def test_one_who_waits_for_a_command_waits_alone() -> None:
    async with working() as (work, port, line), Line.entered(port) as other:
        line.send('421["slow",1]', '422["now",2]')
        await work.begun.wait()
        other.send('427["now",7]')
        assert await other.says() == "437[7]"
        assert work.done == [7]
        work.release.set()
        assert [await line.says(), await line.says()] == ["431[1]", "432[2]"]


async def test_byte_by_byte_and_all_at_once_are_the_same() -> None:
    """However a conversation is cut into segments."""
    async with working() as (work, _port, line):
        said = b"".join(masked(f'42["now",{number}]') for number in range(8))
        for size in (1, 2, 3, 7, 13, len(said)):
            work.done.clear()
            for start in range(0, len(said), size):
                line.writer.write(said[start : start + size])
                await line.writer.drain()
                if size > 2:
                    continue
                await asyncio.get_running_loop().run_in_executor(None, int)
            await wait_until(lambda: len(work.done) == 8)
            assert work.done == list(range(8))


async def test_what_follows_the_handshake_in_its_segment_is_heard() -> None:
    work = Work()
    behind = b"".join(map(masked, ("40", '421["now",1]', '422["later",2]', '423["now",3]')))
    async with served(work.sio) as port:
        for cut in (0, 1, 7, len(behind) - 1, len(behind)):
            async with Line.opened(port, behind=behind[:cut]) as line:
                line.writer.write(behind[cut:])
                assert (await line.says())[0] == "0"
                assert (await line.says()).startswith("40")
                assert [await line.says() for _ in range(3)] == ["431[1]", "432[2]", "433[3]"]


async def test_more_behind_the_handshake_than_a_read_takes() -> None:
    work = Work(max_http_buffer_size=1_000_000)
    async with served(work.sio) as port:
        behind = masked("40") + masked(f'421["now","{"x" * 900_000}"]') + masked('422["now",2]')
        async with Line.opened(port, behind=behind) as line:
            await line.says()
            await line.says()
            assert len(await line.says()) > 900_000
            assert await line.says() == "432[2]"


async def test_who_goes_while_a_command_is_at_work_is_told_gone_after_it_and_heard_no_more() -> None:
    for goodbye in (b"", masked("1"), masked("rubbish"), masked((1000).to_bytes(2), 0x8), masked("41")):
        async with working() as (work, _, line):
            line.writer.write(
                masked('42["slow",1]') + masked('42["now",2]') + goodbye + masked('42["now",3]')
            )
            await work.begun.wait()
            if not goodbye:
                line.writer.transport.abort()
                await wait_until(lambda: not work.sio.eio.sockets)
            assert work.done == []
            work.release.set()
            await wait_until(lambda: "disconnect" in work.done)
            expected: list[Any] = [1, "disconnect"] if not goodbye else [1, 2, "disconnect"]
            assert work.done == expected
            await wait_until(lambda: not work.sio.manager.clients)


async def test_a_command_at_work_keeps_him_alive_and_silence_after_it_does_not() -> None:
    soon = {"ping_interval": 0.15, "ping_timeout": 0.2}
    async with working(**soon) as (work, port, line), Poller.opened(port) as poller:
        line.send('42["slow",1]')
        await work.begun.wait()
        post = asyncio.create_task(poller.post("40", '421["slow",2]'))
        pings = 0
        while pings < 4:
            pings += (await line.frame()) == (1, b"2")
            assert (await poller.get())[0] == 200
        assert len(work.sio.eio.sockets) == 2
        work.release.set()
        assert await post == (200, "ok")
        assert (await poller.get())[0] == 200, "whose first word after it could not come sooner"
        assert await line.ends(2.0)
        await wait_until(lambda: not work.sio.eio.sockets)


async def test_beyond_a_backlog_no_more_is_read_and_nothing_is_lost() -> None:
    async with working() as (work, _, line):
        line.send('42["slow",0]')
        await work.begun.wait()
        (client,) = work.sio.eio.sockets.values()
        total = 4 * socket.BACKLOG_MAX
        for number in range(1, total):
            line.send(f'42["now",{number}]')
            await line.writer.drain()
        transport = client.channel._transport
        await wait_until(lambda: not transport.is_reading())
        work.release.set()
        await wait_until(lambda: len(work.done) == total)
        assert work.done == list(range(total)) and transport.is_reading()


@pytest.mark.parametrize("place", [0, 5, socket.FRAMES_A_TURN - 1, socket.FRAMES_A_TURN, MANY - 1])
@pytest.mark.parametrize("end", ["rubbish", "1"])
async def test_an_end_within_many_frames_is_told_once_and_nothing_behind_it_is_heard(
    place: int, end: str
) -> None:
    engine, heard, lost = Engine(async_mode="aiohttp"), list[str](), list[str]()
    engine.hear = lambda client, text: heard.append(text)
    engine.lost = lambda client, reason: lost.append(reason)
    async with served(engine, ENGINE_IO) as port, Line.opened(port, WEBSOCKET, ENGINE_IO) as line:
        await line.says()
        texts = [f"4{number}" for number in range(MANY)]
        line.send(*texts[:place], end, *texts[place:])
        assert await line.ends(1.0)
        await wait_until(lambda: lost)
    assert heard == texts[:place]
    assert lost == ["transport error" if end == "rubbish" else "client disconnect"]


async def test_who_is_closed_by_what_he_asks_for_is_told_gone_once() -> None:
    engine, lost = Engine(async_mode="aiohttp"), list[str]()
    finished = asyncio.Event()

    def hear(client: Socket, text: str) -> Any:
        async def work() -> None:
            finished.set()

        client.close("a test")
        return work()

    engine.hear = hear
    engine.lost = lambda client, reason: lost.append(reason)
    async with served(engine, ENGINE_IO) as port, Line.opened(port, WEBSOCKET, ENGINE_IO) as line:
        await line.says()
        line.send("4close me")
        assert await line.ends(1.0)
        await finished.wait()
        await wait_until(lambda: lost)
    assert lost == ["server disconnect"]


async def test_two_posts_at_once_are_both_answered() -> None:
    work = Work()
    async with served(work.sio) as port, Poller.opened(port) as poller:
        await poller.post("40")
        posts = [asyncio.create_task(poller.post('42["slow",0]'))]
        await work.begun.wait()
        posts += [asyncio.create_task(poller.post(f'42["now",{number}]')) for number in (1, 2, 3)]
        (client,) = work.sio.eio.sockets.values()
        await wait_until(lambda: len(client._backlog or ()) == 3)
        work.release.set()
        assert await asyncio.gather(*posts) == [(200, "ok")] * 4
        assert work.done[0] == 0 and sorted(work.done) == [0, 1, 2, 3]


async def test_too_many_frames_or_bytes_close_before_anything_is_decoded() -> None:
    floods = [
        [masked("4" + "x" * 100)] * (int(socket.FRAMES_AT_ONCE) + 500),
        [masked("4" + "x" * 60_000)] * (int(socket.BYTES_AT_ONCE) // 60_000 + 10),
    ]
    for flood in floods:
        engine, heard = Engine(async_mode="aiohttp"), list[str]()
        engine.hear = lambda client, text, heard=heard: heard.append(text)  # type: ignore[misc]
        async with served(engine, ENGINE_IO) as port, Line.opened(port, WEBSOCKET, ENGINE_IO) as line:
            await line.says()
            line.writer.write(b"".join(flood))
            assert await line.ends(2.0)
        assert len(heard) < len(flood)


async def test_disconnect_handlers_run_when_the_server_ends() -> None:
    sio, noted = server()
    async with served(sio) as port, Line.entered(port), Poller.opened(port) as poller:
        await poller.post("40")
        await wait_until(lambda: len(sio.manager.clients.get("/", ())) == 2)
        await sio.shutdown()
        assert noted == [("disconnect", "server disconnect")] * 2 and not sio.manager.clients


async def test_an_engine_alone_tells_its_handlers_of_each_client() -> None:
    engine, told = echo(), list[tuple[str, ...]]()

    async def connect(sid: str, environ: dict[str, Any]) -> None:
        told.append(("connect", sid))

    engine.on("connect", connect)
    engine.on("disconnect", lambda sid, reason: told.append(("disconnect", sid)))
    async with served(engine, ENGINE_IO) as port:
        async with Line.opened(port, WEBSOCKET, ENGINE_IO):
            (sid,) = engine.sockets
            await wait_until(lambda: told == [("connect", sid)])
        await wait_until(lambda: told == [("connect", sid), ("disconnect", sid)])
