"""From polling to a websocket: nothing is lost or doubled on the way, and only one websocket gets there."""

from __future__ import annotations

import asyncio

import pytest

from rooms.transport import Frame
from rooms.transport.engine import Engine
from tests.support import wait_until
from tests.transportkit import ENGINE_IO, PING, WEBSOCKET, Line, Poller, echo, masked, served


def probing(port: int, poller: Poller, behind: bytes = b"") -> object:
    return Line.opened(port, f"{WEBSOCKET}&sid={poller.sid}", ENGINE_IO, behind=behind)


async def upgraded(line: Line) -> None:
    line.send("2probe")
    assert await line.says() == "3probe"
    line.send("5")


async def polls(server: Engine, poller: Poller) -> asyncio.Task[tuple[int, str]]:
    """A poll that waits at the server."""
    waiting = asyncio.create_task(poller.get())
    await wait_until(lambda: server.sockets[poller.sid].channel.ready)
    return waiting


async def test_step_by_step() -> None:
    server = echo()
    async with served(server, ENGINE_IO) as port, Poller.opened(port, ENGINE_IO) as poller:
        waiting = await polls(server, poller)
        async with probing(port, poller) as line:
            assert not server.sockets[poller.sid].upgraded
            line.send("2probe")
            assert await line.says() == "3probe"
            assert await waiting == (200, "6"), "the poll that waits is ended"
            assert await poller.get() == (200, "6"), "and so is any until he has moved"
            assert await poller.post("4by post") == (200, "ok"), "which is heard"
            line.send("5", "4hello")
            assert [await line.hears(), await line.hears()] == ["4by post", "4hello"]
            assert server.transport(poller.sid) == "websocket"


async def test_in_one_segment_with_the_handshake() -> None:
    """Who does not wait for answers: he has moved before the next request is looked at."""
    async with served(echo(), ENGINE_IO) as port, Poller.opened(port, ENGINE_IO) as poller:
        at_once = masked("2probe") + masked("5") + masked("4a") + masked("4b")
        async with probing(port, poller, at_once) as line:
            assert (await poller.get())[0] == 400
            assert (await poller.post("4c"))[0] == 400
            assert [await line.hears() for _ in range(3)] == ["3probe", "4a", "4b"]
            line.send("4still here")
            assert await line.hears() == "4still here"


async def test_what_waits_comes_over_the_websocket_once_and_in_its_order() -> None:
    server = echo()
    async with served(server, ENGINE_IO) as port, Poller.opened(port, ENGINE_IO) as poller:
        socket = server.sockets[poller.sid]
        for number in range(5):
            socket.tell(Frame(b"4%d" % number))
        async with probing(port, poller) as line:
            line.send("2probe")
            assert await line.says() == "3probe"
            for number in range(5, 10):
                socket.tell(Frame(b"4%d" % number))
            line.send("5")
            assert [await line.hears() for _ in range(10)] == [f"4{number}" for number in range(10)]


WRONG = {
    "a probe that is none": ["2prob"], "5 before the probe": ["5"], "a message before the probe": ["4a"],
    "two probes": ["2probe", "2probe"], "a message instead of 5": ["2probe", "4a"],
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
async def test_a_wrong_word_ends_the_websocket_and_he_goes_on_polling(case: str) -> None:
    async with served(echo(), ENGINE_IO) as port, Poller.opened(port, ENGINE_IO) as poller:
        async with probing(port, poller) as line:
            line.send(*WRONG[case])
            assert await line.ends(1.0)
        assert await poller.post("4hello") == (200, "ok")
        assert await poller.get() == (200, "4hello")
        async with probing(port, poller) as line:
            await upgraded(line)
            line.send("4moved")
            assert await line.hears() == "4moved"


@pytest.mark.parametrize("garbage", [masked("4\xff", 0x3), masked(b"", PING)])
async def test_a_websocket_of_garbage_while_probing_ends_alone(garbage: bytes) -> None:
    async with served(echo(), ENGINE_IO) as port, Poller.opened(port, ENGINE_IO) as poller:
        async with probing(port, poller) as line:
            line.writer.write(garbage)
            assert await line.ends(1.0)
        assert await poller.post("4hello") == (200, "ok")
        assert await poller.get() == (200, "4hello")


async def test_who_hangs_up_while_probing_goes_on_polling() -> None:
    server = echo()
    async with served(server, ENGINE_IO) as port, Poller.opened(port, ENGINE_IO) as poller:
        async with probing(port, poller) as line:
            line.send("2probe")
            assert await line.says() == "3probe"
            socket = server.sockets[poller.sid]
            assert socket.upgrading is not None
        await wait_until(lambda: socket.upgrading is None, 1.0)
        assert await poller.post("4hello") == (200, "ok")
        assert await poller.get() == (200, "4hello")


@pytest.mark.parametrize("words", [[], ["2probe"]])
async def test_a_websocket_that_only_probes_is_given_up_in_time(words: list[str]) -> None:
    server = echo(ping_interval=5, ping_timeout=0.3)
    async with served(server, ENGINE_IO) as port, Poller.opened(port, ENGINE_IO) as poller:
        async with probing(port, poller) as line:
            line.send(*words)
            assert await line.ends(2.0)
        assert await poller.post("4hello") == (200, "ok")
        assert await poller.get() == (200, "4hello")


async def test_of_two_websockets_that_probe_the_first_moves_and_the_second_ends() -> None:
    server = echo()
    async with (
        served(server, ENGINE_IO) as port,
        Poller.opened(port, ENGINE_IO) as poller,
        probing(port, poller) as first,
        probing(port, poller) as second,
    ):
        first.send("2probe")
        assert await first.says() == "3probe"
        second.send("2probe")
        assert await second.ends(1.0)
        first.send("5", "4hello")
        assert await first.hears() == "4hello"


async def test_a_websocket_that_probes_after_another_has_moved_ends_alone() -> None:
    server = echo()
    async with (
        served(server, ENGINE_IO) as port,
        Poller.opened(port, ENGINE_IO) as poller,
        probing(port, poller) as first,
        probing(port, poller) as second,
    ):
        await upgraded(first)
        await wait_until(lambda: server.sockets[poller.sid].upgraded)
        second.send("2probe", "5")
        assert await second.ends(1.0)
        first.send("4hello")
        assert await first.hears() == "4hello"


async def test_a_websocket_for_one_who_has_moved_is_accepted_and_closed() -> None:
    async with (
        served(echo(), ENGINE_IO) as port,
        Poller.opened(port, ENGINE_IO) as poller,
        probing(port, poller) as first,
    ):
        await upgraded(first)
        first.send("4a")
        assert await first.hears() == "4a"
        async with probing(port, poller) as second:
            assert second.status == 101 and await second.ends(1.0)
        first.send("4b")
        assert await first.hears() == "4b"


async def test_who_is_closed_while_probing_loses_both() -> None:
    server = echo()
    async with (
        served(server, ENGINE_IO) as port,
        Poller.opened(port, ENGINE_IO) as poller,
        probing(port, poller) as line,
    ):
        line.send("2probe")
        assert await line.says() == "3probe"
        server.sockets[poller.sid].close("a test")
        assert await line.ends(1.0)
        assert (await poller.get())[0] == 400


async def test_a_post_whose_command_is_at_work_is_answered_though_he_moves() -> None:
    server, begun, release = Engine(async_mode="aiohttp"), asyncio.Event(), asyncio.Event()

    async def message(sid: str, data: str) -> None:
        begun.set()
        await release.wait()
        await server.send(sid, data)

    server.on("message", message)
    async with served(server, ENGINE_IO) as port, Poller.opened(port, ENGINE_IO) as poller:
        post = asyncio.create_task(poller.post("4slow"))
        await begun.wait()
        async with probing(port, poller) as line:
            await upgraded(line)
            line.send("4quick")
            await wait_until(lambda: server.sockets[poller.sid].upgraded)
            release.set()
            assert [await line.hears(), await line.hears()] == ["4slow", "4quick"]
            assert await post == (200, "ok")


async def test_no_upgrade_where_it_is_not_allowed() -> None:
    server = echo(allow_upgrades=False)
    async with served(server, ENGINE_IO) as port, Poller.opened(port, ENGINE_IO) as poller:
        assert poller.opening["upgrades"] == []
        async with probing(port, poller) as line:
            assert line.status == 400
        assert await poller.post("4hello") == (200, "ok")
