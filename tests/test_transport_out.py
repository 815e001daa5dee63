"""What is told a client on a real wire: joined, held while he does not read, bounded, and how it ends.

tests/test_wire.py has the rules on a channel that only notes; here the kernel's buffers are small, so that they fill.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from rooms.transport import Frame, Socket, engine
from rooms.transport.engine import Engine
from rooms.transport.socket import LONG_FRAME
from tests.support import wait_until
from tests.transportkit import (
    CLOSE,
    ENGINE_IO,
    POLLING,
    SMALL,
    TEXT,
    WEBSOCKET,
    Line,
    Poller,
    handshake,
    masked,
    served,
)


def numbered(number: int, size: int = 0) -> Frame:
    return Frame(b"4%d:" % number + b"x" * size)


def number_of(message: str | bytes | None) -> int:
    assert isinstance(message, str)
    return int(message[1:].partition(":")[0])


@asynccontextmanager
async def one(
    *, deaf: bool = False, **options: Any
) -> AsyncIterator[tuple[Engine, Socket, Line, list[bytes]]]:
    """A websocket client and his end; `writes` is what was given to his connection. Deaf: both kernels are full."""
    server, writes = Engine(async_mode="aiohttp", **options), list[bytes]()
    small = SMALL if deaf else 0
    async with (
        served(server, ENGINE_IO, send_buffer=small) as port,
        Line.opened(port, WEBSOCKET, ENGINE_IO, receive_buffer=small) as line,
    ):
        await line.says()
        (client,) = server.sockets.values()
        if deaf:
            line.deafen()
            await fill(client)
        write = client.channel._transport.write

        class Noted:
            def __getattr__(self, name: str) -> Any:
                return getattr(transport, name)

            def write(self, data: bytes) -> None:
                writes.append(data)
                write(data)

        transport, client.channel._transport = client.channel._transport, Noted()
        yield server, client, line, writes


async def fill(client: Socket) -> None:
    """Far more than the kernels take; its number is 0."""
    client.channel.write([numbered(0, 500_000)])
    await turn()
    assert not client.channel.ready


async def turn() -> None:
    """Whatever was to happen in this turn of the loop has happened."""
    done = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(done.set_result, None)
    await done


async def rest(line: Line) -> list[int]:
    """The numbers of all that still comes, but for 0."""
    line.listens()
    numbers = []
    while (came := await line.hears()) is not None:
        numbers.append(number_of(came))
        if numbers[-1] == -1:
            break
    return [number for number in numbers if number]


async def test_what_is_told_in_one_turn_is_written_in_one_piece() -> None:
    async with one() as (_, client, line, writes):
        for number in range(4):
            client.tell(numbered(number))
            client.tell_latest("a", numbered(10 + number))
        await turn()
        assert len(writes) == 1
        assert [number_of(await line.hears()) for _ in range(5)] == [0, 1, 2, 3, 13]
        client.tell(numbered(5))
        await turn()
        assert len(writes) == 2


async def test_what_is_told_in_one_read_is_written_at_its_end() -> None:
    async with one() as (server, client, line, writes):
        after: list[int] = []

        def hear(_: Socket, text: str) -> None:
            asyncio.get_running_loop().call_soon(lambda: after.append(len(writes)))
            client.tell(numbered(int(text[1:])))

        server.hear = hear
        line.send("41", "42", "43")
        assert [number_of(await line.hears()) for _ in range(3)] == [1, 2, 3]
        assert len(writes) == 1 and after == [1, 1, 1], "in the turn of the read"


async def test_one_frame_serves_all_its_members() -> None:
    server = Engine(async_mode="aiohttp")
    async with (
        served(server, ENGINE_IO) as port,
        Line.opened(port, WEBSOCKET, ENGINE_IO) as first,
        Line.opened(port, WEBSOCKET, ENGINE_IO) as second,
        Poller.opened(port, ENGINE_IO) as poller,
    ):
        for frame in (Frame("4\u20ac".encode()), Frame(b"\x00\xff", binary=True)):
            for client in server.sockets.values():
                client.tell(frame)
            for line in (first, second):
                if not frame.binary:
                    await line.says()
                assert await line.hears() == (frame.body if frame.binary else frame.text)
            assert await poller.get() == (200, frame.text)


async def test_who_reads_late_gets_all_facts_in_their_order_and_of_values_the_newest() -> None:
    async with one(deaf=True) as (_server, client, line, _):
        told = []
        for number in range(1, 201):
            if number % 4:
                client.tell_latest(f"ride:{number % 3}", numbered(number))
            else:
                client.tell(numbered(number))
            told.append(number)
            await turn()
        assert not client.closed and not client.channel.ready
        last = {number % 3: number for number in told if number % 4}
        client.tell(numbered(-1))
        heard = await rest(line)
        facts, values = [n for n in heard if not n % 4], [n for n in heard if n % 4 and n > 0]
        assert facts == [number for number in told if not number % 4]
        assert set(values) == set(last.values())
        for value in values:  # no fact was overtaken
            before = heard[: heard.index(value)]
            assert [n for n in before if not n % 4] == [n for n in told if not n % 4 and n < value]


async def test_who_does_not_read_is_closed_at_the_bound_and_no_sooner() -> None:
    for options, size in (({"frames_max": 50}, 1), ({"bytes_max": 50_000}, 1000 - len("4100:"))):
        async with one(deaf=True, **options) as (server, client, _line, writes):
            for _ in range(50):
                client.tell(numbered(100, size))
                await turn()
            assert not client.closed
            client.tell(numbered(100, size))
            assert client.closed and not writes
            await wait_until(lambda: not server.sockets)


async def test_of_long_frames_one_is_free_and_the_others_count() -> None:
    async with one(deaf=True, bytes_max=3 * LONG_FRAME) as (_, client, _, _):
        for number in range(2):
            client.tell(numbered(number, 2 * LONG_FRAME))
        assert client.laden() and not client.closed
        client.tell(numbered(2, 2 * LONG_FRAME))
        assert client.closed


@pytest.mark.parametrize("moves", [False, True])
async def test_who_read_nothing_before_his_handshake_is_no_better_off(moves: bool) -> None:
    """The answers to what he asked for before fill his connection when it becomes a websocket: it is not written to."""
    server = Engine(async_mode="aiohttp", frames_max=64)
    async with (
        served(server, ENGINE_IO, send_buffer=SMALL) as port,
        Poller.opened(port, ENGINE_IO) as poller,
        Line.connected(port, receive_buffer=SMALL) as line,
    ):
        polled = server.sockets[poller.sid]
        asked = f"GET /{ENGINE_IO}/?{POLLING}&sid=nobody HTTP/1.1\r\nHost: a\r\n\r\n".encode()
        query, behind = WEBSOCKET, b""
        if moves:
            query, behind = f"{WEBSOCKET}&sid={poller.sid}", masked("2probe") + masked("5")
        line.writer.write(asked * 300 + handshake(query, ENGINE_IO) + behind)
        if moves:
            await wait_until(lambda: polled.upgraded)
            client = polled
        else:
            await wait_until(lambda: len(server.sockets) == 2)
            (client,) = set(server.sockets.values()) - {polled}
        transport = client.channel._transport
        assert transport.get_write_buffer_size() > 0, "the kernel was not full: not the case to be shown"
        stood = transport.get_write_buffer_size()
        for number in range(64):
            assert not client.closed or number > 60, number
            client.tell(numbered(number, 1000))
            await turn()
            assert client.closed or transport.get_write_buffer_size() <= stood
        client.tell(numbered(64, 1000))
        assert client.closed


async def test_end_lets_him_have_what_waits_and_close_does_not() -> None:
    for call, comes in ((Socket.end, True), (Socket.close, False)):
        async with one() as (server, client, line, _):
            client.tell(numbered(7))
            call(client, "a test")
            assert client.closed
            came = [await line.frame(), await line.frame()]
            assert came == ([(TEXT, b"47:"), (CLOSE, (1000).to_bytes(2))] if comes else [None, None])
            assert await line.ends(0.5) and not server.sockets


async def test_end_waits_for_one_who_reads_slowly_and_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "END_S", 0.3)
    async with one(deaf=True) as (server, client, line, _):
        client.tell(numbered(7))
        client.end("a test")
        assert not client.closed
        assert (await rest(line))[-1:] == [7] and client.closed
    async with one(deaf=True) as (server, client, line, writes):
        client.tell(numbered(7))
        client.end("a test")
        await wait_until(lambda: client.closed and not server.sockets)
        assert not writes
        assert 7 not in await rest(line)


async def test_nothing_is_told_to_one_who_is_gone_and_no_end_comes_twice() -> None:
    lost: list[str] = []
    async with one() as (server, client, _, writes):
        server.lost = lambda client, reason: lost.append(reason)
        calls: list[Callable[[], Any]] = [
            lambda: client.close("a test"), lambda: client.end("a test"), lambda: client.lose("a test"),
            lambda: client.tell(numbered(1)), lambda: client.tell_latest("a", numbered(1)), client.flush,
        ]  # fmt: skip
        for call in calls * 2:
            call()
        await wait_until(lambda: lost)
        for call in calls:
            call()
        await turn()
    assert lost == ["server disconnect"] and not writes


async def test_a_websocket_ping_is_answered_unless_he_does_not_read() -> None:
    async with one(deaf=True) as (_, _, line, writes):
        line.writer.write(masked(b"alive?", 0x9) * 100)
        line.send("3")
        await turn()
        assert not writes


async def test_over_polling_what_is_told_waits_for_the_next_poll_in_its_order() -> None:
    server = Engine(async_mode="aiohttp", frames_max=8)
    async with served(server, ENGINE_IO) as port, Poller.opened(port, ENGINE_IO) as poller:
        (client,) = server.sockets.values()
        for number in range(1, 9):
            client.tell(numbered(number))
            client.tell_latest("a", numbered(10 + number))
            await turn()
        assert [number_of(packet) for packet in await poller.polls()] == [*range(1, 9), 18]
        client.tell(numbered(1))
        client.end("a test")
        assert await poller.get() == (200, "41:")
        assert (await poller.get())[0] == 400
    async with served(server, ENGINE_IO) as port, Poller.opened(port, ENGINE_IO) as poller:
        (client,) = server.sockets.values()
        for number in range(9):
            client.tell(numbered(number))
        assert client.closed and (await poller.get())[0] == 400


async def test_a_fault_of_one_is_none_of_the_others() -> None:
    """Neither when it is written, be it in another's read, nor in what is done at an end."""
    server, lost = Engine(async_mode="aiohttp"), list[Socket]()
    faults: list[str] = []
    loop = asyncio.get_running_loop()
    before = loop.get_exception_handler()
    async with (
        served(server, ENGINE_IO) as port,
        Line.opened(port, WEBSOCKET, ENGINE_IO),
        Line.opened(port, WEBSOCKET, ENGINE_IO) as second,
        Line.opened(port, WEBSOCKET, ENGINE_IO) as third,
    ):
        loop.set_exception_handler(lambda _, context: faults.append(repr(context["exception"])))
        try:
            clients = list(server.sockets.values())
            broken, *sound = clients

            def note(client: Socket, reason: str) -> None:
                lost.append(client)
                if client is broken:
                    raise RuntimeError("lost")

            def hear(client: Socket, text: str) -> None:
                broken._out[:] = [None]
                for each in clients:
                    each.tell(numbered(7))
                broken._out[:] = [None]

            server.lost, server.hear = note, hear
            await second.says()
            second.send("4tell all")
            await third.says()
            for line in (second, third):
                assert number_of(await line.hears()) == 7
            assert broken.closed and not sound[0].closed
            for client in sound:
                client.close("a test")
            await wait_until(lambda: lost == clients)
        finally:
            loop.set_exception_handler(before)
        assert len(faults) == 1, faults
