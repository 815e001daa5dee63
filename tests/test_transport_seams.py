"""The private seams that rooms/transport/ stands on: which versions they are of, and those of aiohttp and the loops.

When a library moves, these tests say which seam is another and which file stands on it; tests/seams.py says what to do.
tests/test_transport_seams_engineio.py and _socketio.py have the others.
"""

from __future__ import annotations

import ast
import asyncio
import re
import tomllib
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import uvloop
from aiohttp import web
from aiohttp._websocket.reader import WebSocketDataQueue
from aiohttp.http import WebSocketReader
from aiohttp.web_protocol import RequestHandler

from rooms.transport.websocket import WebSocket
from tests.seams import KNOWN, handled, moved
from tests.support import CHECKOUT, wait_until
from tests.transportkit import HOST, Line, masked

TRANSPORT = CHECKOUT / "rooms" / "transport"
REQUEST = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"


@pytest.mark.parametrize("library", KNOWN)
def test_the_minor_version_is_the_one_whose_seams_are_known(library: str) -> None:
    have = version(library)
    assert have.startswith(f"{KNOWN[library]}."), (
        f"{library} is {have}; rooms/transport/ stands on private seams of {library} {KNOWN[library]}, "
        "which tests/test_transport_seams*.py name: read them anew, then change tests/seams.py"
    )
    pins = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert f"{library}=={have}" in pins, f"{library} {have} is installed, and pyproject.toml wants another"


def test_the_docstrings_name_these_versions_and_only_seams_that_are_held_here() -> None:
    here = "".join(path.read_text() for path in Path(__file__).parent.glob("test_transport_seams*.py"))
    for path in TRANSPORT.glob("*.py"):
        said = ast.get_docstring(ast.parse(path.read_text())) or ""
        for library, minor in re.findall(r"(aiohttp|python-engineio|python-socketio) (\d+\.\d+)", said):
            assert KNOWN[library] == minor, f"{path.name} speaks of {library} {minor}"
        for seam in re.findall(r"`(?:\w+\.)?(_\w+)`", said):
            assert seam in here, f"rooms/transport/{path.name} stands on {seam}, and no test here holds it"


# aiohttp


async def test_what_follows_a_handshake_waits_in_the_message_tail() -> None:
    """`RequestHandler._message_tail`: bytes, of the handshake's own segment and of those that come later."""
    seam = moved("websocket.py", "RequestHandler._message_tail", "aiohttp")
    tails: list[Any] = []
    more = asyncio.Event()

    async def handler(request: web.Request) -> web.Response:
        assert type(request.protocol) is RequestHandler, seam
        tails.append(getattr(request.protocol, "_message_tail", seam))
        more.set()
        await wait_until(lambda: len(request.protocol._message_tail) == 6)
        tails.append(request.protocol._message_tail)
        request.protocol._message_tail = b""
        return web.Response()

    async with handled(handler) as (port, _), Line.connected(port) as line:
        line.writer.write(REQUEST + b"one")
        await more.wait()
        line.writer.write(b"two")
        await line.reads_head()
    assert tails == [b"one", b"onetwo"], seam


class Taken(asyncio.Protocol):
    """A connection that was taken over: what it hears."""

    def __init__(self) -> None:
        self.heard, self.calls = b"", list[str]()

    def data_received(self, data: bytes) -> None:
        self.heard += data

    def connection_lost(self, error: Exception | None) -> None:
        self.calls.append("lost")

    def pause_writing(self) -> None:
        self.calls.append("pause")

    def resume_writing(self) -> None:
        self.calls.append("resume")


class Deaf(asyncio.Protocol):
    def __init__(self, made: list[Any]) -> None:
        self.made = made

    def connection_made(self, transport: Any) -> None:
        transport.pause_reading()
        self.made.append(transport)


async def test_a_connection_can_be_taken_from_aiohttp_by_hand(caplog: pytest.LogCaptureFixture) -> None:
    """`handler.transport = None; handler.connection_lost(None)`: for aiohttp it is over, and the connection lives."""
    seam = moved(
        "websocket.py", "RequestHandler.connection_lost by hand, with `transport` None before", "aiohttp"
    )
    taken, transports = Taken(), list[Any]()

    async def handler(request: web.Request) -> web.Response:
        protocol, transport = request.protocol, request.transport
        assert transport is protocol.transport and transport is not None, seam
        transports.append(transport)
        tail, protocol._message_tail = protocol._message_tail, b""
        protocol.transport = None
        protocol.connection_lost(None)
        transport.set_protocol(taken)
        transport.resume_reading()
        taken.data_received(tail)
        assert request.transport is None, seam
        return web.Response(text="nobody reads this")

    async with handled(handler) as (port, server), Line.connected(port) as line:
        line.writer.write(REQUEST + b"one ")
        await wait_until(lambda: transports)
        transports[0].write(b"HTTP/1.1 101 x\r\n\r\n")
        await line.reads_head()
        line.writer.write(b"two")
        await wait_until(lambda: taken.heard == b"one two")
        assert not transports[0].is_closing() and server.connections == [], seam
        tasks = [task for task in asyncio.all_tasks() if "RequestHandler" in repr(task.get_coro())]
        assert tasks == [], f"{seam}: a task of aiohttp's stays"
        transports[0].write(b"still open")
        assert await line.reader.readexactly(10) == b"still open", seam
        line.writer.transport.abort()
        await wait_until(lambda: taken.calls == ["lost"])
    assert [record for record in caplog.records if record.name.startswith("aiohttp")] == [], seam


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
async def test_a_transport_says_at_once_what_the_kernel_did_not_take(new_loop: Callable[[], Any]) -> None:
    """With high=0 `pause_writing` is called within `write`, or all of it is gone."""

    async def talk() -> list[Any]:
        loop, taken = asyncio.get_running_loop(), Taken()
        ends: list[Any] = []
        listener = await loop.create_server(lambda: Deaf(ends), HOST, 0)
        async with listener:
            transport, _ = await loop.create_connection(asyncio.Protocol, *listener.sockets[0].getsockname())
            transport.set_protocol(taken)
            transport.set_write_buffer_limits(high=0)
            transport.resume_reading()  # though it was not paused
            transport.write(b"x")
            first = list(taken.calls), transport.get_write_buffer_size()
            transport.write(b"x" * 20_000_000)
            second = list(taken.calls), transport.get_write_buffer_size() > 0
            transport.abort()
            transport.resume_reading()  # though it is closing
            await wait_until(lambda: "lost" in taken.calls and ends)
            ends[0].abort()
            return [first, second]

    def run() -> list[Any]:
        with asyncio.Runner(loop_factory=new_loop) as runner:
            return runner.run(talk())

    first, second = await asyncio.get_running_loop().run_in_executor(None, run)
    sentence = (
        "rooms/transport/websocket.py trusts `ready`: a transport must say pause_writing from within write"
    )
    assert first == ([], 0) and second == (["pause"], True), sentence


class Queue(WebSocketDataQueue):
    """Both dispatches: the reader, be it in C, must find what a subclass defines."""

    def __init__(self) -> None:
        super().__init__(None, 2**30, loop=asyncio.get_running_loop())  # type: ignore[arg-type]
        self.got: list[Any] = []
        self.errors: list[BaseException] = []

    def feed_data(self, message: Any, size: int) -> None:
        self.got.append(message)

    def set_exception(self, exc: BaseException, exc_cause: BaseException | None = None) -> None:
        self.errors.append(exc)


def a_reader(size_max: int = 1000) -> tuple[Queue, WebSocketReader]:
    seam = moved("websocket.py", "the arguments of WebSocketDataQueue and WebSocketReader", "aiohttp")
    try:
        queue = Queue()
        return queue, WebSocketReader(queue, size_max, False, True)
    except TypeError as error:
        raise AssertionError(seam) from error


async def test_the_reader_is_aiohttps_in_c_and_gives_messages_to_a_subclass_of_its_queue() -> None:
    """`WebSocketReader(queue, max_msg_size, compress, decode_text)`, `WebSocketDataQueue(protocol, limit, loop=)`."""
    seam = moved("websocket.py", "WebSocketReader's dispatch to WebSocketDataQueue.feed_data", "aiohttp")
    assert WebSocketReader.__module__.endswith("reader_c"), (
        "aiohttp was installed without its C reader: all that ./dev bench says of frames is measured with it"
    )
    queue, reader = a_reader()
    frames = [masked("text \u20ac"), masked(b"\x00\xff"), masked(b"p", 0x9), masked(b"q", 0xA)]
    halves = masked("4he", 0x1, last=False) + masked(b"", 0x9) + masked("llo", 0x0)
    reader.feed_data(b"".join(frames) + halves + masked((1001).to_bytes(2) + b"bye", 0x8))
    got = [(int(message[0]), message[1]) for message in queue.got]
    assert got == [
        (1, "text \u20ac"),
        (2, b"\x00\xff"),
        (9, b"p"),
        (10, b"q"),
        (9, b""),
        (1, "4hello"),
        (8, 1001),
    ], seam
    assert type(queue.got[0][1]) is str and type(queue.got[1][1]) is bytes, seam
    assert queue._size == 0, (
        f"{seam}: what a subclass takes counts as waiting, so the reader would stall at 2**30"
    )


async def test_the_reader_takes_bytes_cut_anywhere() -> None:
    seam = moved("websocket.py", "WebSocketReader.feed_data", "aiohttp")
    said = masked("4" + "x" * 300) + masked(b"\x01\x02") + masked("5")
    for size in (1, 2, 5, 100):
        queue, reader = a_reader()
        for start in range(0, len(said), size):
            reader.feed_data(said[start : start + size])
        assert [message[1] for message in queue.got] == ["4" + "x" * 300, b"\x01\x02", "5"], seam


RUBBISH = {
    "not UTF-8": masked(b"\xff", 0x1), "a reserved opcode": masked(b"", 0x3), "a reserved bit": b"\xc1\x80" + bytes(4),
    "too long": masked("x" * 1000), "a continuation of nothing": masked(b"", 0x0),
    "too long in fragments": masked("x" * 600, 0x1, last=False) + masked("x" * 600, 0x0),
    "a long ping": masked(b"x" * 126, 0x9), "a close code nobody has": masked((1).to_bytes(2), 0x8),
}  # fmt: skip


@pytest.mark.parametrize("case", RUBBISH)
async def test_the_reader_tells_rubbish_by_set_exception_after_what_came_before(case: str) -> None:
    seam = moved("websocket.py", "WebSocketReader's call of WebSocketDataQueue.set_exception", "aiohttp")
    queue, reader = a_reader()
    reader.feed_data(masked("before") + RUBBISH[case] + masked("behind"))  # raises nothing
    assert [message[1] for message in queue.got] == ["before"] and len(queue.errors) == 1, seam
    reader.feed_data(masked("behind"))
    assert len(queue.got) == 1 and len(queue.errors) == 1, seam


async def test_the_readers_limit_is_the_first_length_that_is_too_long() -> None:
    seam = moved("websocket.py", "WebSocketReader's max_msg_size, to which one is added", "aiohttp")
    queue, reader = a_reader(1000)
    reader.feed_data(masked("x" * 999) + masked("x" * 999, 0x1, last=False) + masked("", 0x0))
    assert [len(message[1]) for message in queue.got] == [999, 999] and not queue.errors, seam
    reader.feed_data(masked("x" * 1000))
    assert len(queue.got) == 2 and len(queue.errors) == 1, seam


def test_our_websocket_defines_what_the_reader_and_the_loop_call() -> None:
    for name in ("feed_data", "set_exception"):
        assert name in vars(WebSocket) and name in vars(WebSocketDataQueue), moved(
            "websocket.py", name, "aiohttp"
        )
    for name in ("data_received", "eof_received", "connection_lost", "pause_writing", "resume_writing"):
        assert name in vars(WebSocket)
