"""Weaknesses of the unmodified python-socketio that this transport does not have.

The same application runs on both, and the same is done to both: a test passes on `stock` when the weakness shows, so
that it stays a test, and on `here` when it does not.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import aiohttp
import psutil
import pytest
import pytest_asyncio

from tests import weakapp
from tests.support import CHECKOUT, wait_until
from tests.transportkit import SMALL, Line, Poller, handshake, masked

KINDS = {"stock": "socketio:AsyncServer", "here": "rooms.transport:SocketIO"}
AT_ONCE_S = 1.0
SILENCE_S = weakapp.PING_INTERVAL_S + weakapp.PING_TIMEOUT_S
GROWTH_BYTES = 2_000_000  # the most that one client may cost
FLOOD_BYTES = 24_000_000


class Peer:
    def __init__(self, kind: str, port: int, process: asyncio.subprocess.Process) -> None:
        self.kind, self.port, self.process = kind, port, process
        self.watch = psutil.Process(process.pid)

    def shows(self, weak: bool) -> None:
        """Of both kinds one is weak."""
        if self.kind == "stock":
            assert weak, "the unmodified server has this weakness no more: the test shows nothing now"
        else:
            assert not weak

    async def state(self, what: str, name: str) -> list[Any]:
        async with (
            aiohttp.ClientSession() as http,
            http.get(f"http://{weakapp.HOST}:{self.port}/state") as answer,
        ):
            return list((await answer.json())[what].get(name, []))

    async def within(self, wait_s: float, what: str, name: str) -> bool:
        """Whether the state has something of this within that time."""
        try:
            await wait_until(lambda: self.state(what, name), wait_s, every_s=0.05)
        except pytest.fail.Exception:
            return False
        return True

    async def shout(self, room: str, count: int, size: int) -> None:
        order = json.dumps({"room": room, "count": count, "size": size})
        async with aiohttp.ClientSession() as http:
            await http.post(f"http://{weakapp.HOST}:{self.port}/shout", data=order)

    def memory(self) -> int:
        return int(self.watch.memory_info().rss)

    def holds(self, line: Line) -> bool:
        """Whether the server's end of this connection is still its own."""
        port = line.writer.get_extra_info("sockname")[1]
        return any(one.raddr and one.raddr.port == port for one in self.watch.net_connections("tcp"))


@asynccontextmanager
async def running(kind: str, *options: str) -> AsyncIterator[Peer]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.weakapp", KINDS[kind], *options,
        cwd=CHECKOUT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        port = int(await asyncio.wait_for(process.stdout.readline(), 20.0))
        yield Peer(kind, port, process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def peers() -> AsyncIterator[dict[str, Peer]]:
    async with AsyncExitStack() as stack:
        yield {kind: await stack.enter_async_context(running(kind)) for kind in KINDS}


@pytest.fixture(params=KINDS)
def peer(request: pytest.FixtureRequest, peers: dict[str, Peer]) -> Peer:
    return peers[request.param]


async def on_both(check: Callable[[str], Awaitable[None]]) -> None:
    """At the same time: most of it is waiting."""
    await asyncio.gather(*map(check, KINDS))


@asynccontextmanager
async def client(peer: Peer, name: str, room: str = "", **options: Any) -> AsyncIterator[Line]:
    async with Line.opened(peer.port, **options) as line:
        await line.says()
        line.send("40" + json.dumps({"name": name} | ({"room": room} if room else {})))
        assert (await line.says()).startswith("40")
        yield line


# What one client can do to others, and to itself


async def test_a_clients_events_are_handled_out_of_their_order(peer: Peer) -> None:
    async with client(peer, "order") as line:
        line.send('42["work",1,0.06]', '42["work",2,0.03]', '42["work",3,0]')

        async def all_done() -> bool:
            return len(await peer.state("done", "order")) == 3

        await wait_until(all_done)
        peer.shows(await peer.state("done", "order") != [1, 2, 3])


async def test_a_client_calls_the_connect_handler_with_what_it_likes(peer: Peer) -> None:
    async with client(peer, "honest") as line:
        line.send('42["connect",{"REMOTE_ADDR":"203.0.113.9"},{"name":"forged"}]', '421["echo",1]')
        await line.hears()
        peer.shows(await peer.state("came", "forged") == ["203.0.113.9"])


async def test_a_client_calls_the_disconnect_handler_and_stays(peer: Peer) -> None:
    async with client(peer, "leaver") as line:
        line.send('42["disconnect","a lie"]', '421["echo",1]')
        answered = await line.hears() == "431[1]"
        peer.shows(answered and await peer.state("gone", "leaver") == ["a lie"])


@pytest.mark.parametrize("number", ["NaN", "1e999", "-Infinity", "[1,-1e999]"])
async def test_a_number_that_javascript_cannot_read_is_relayed(peer: Peer, number: str) -> None:
    async with client(peer, "watcher", f"room {number}") as watcher, client(peer, "liar") as liar:
        liar.send(f'42["relay","room {number}",{{"x":{number}}}]')
        async with client(peer, "honest") as honest:
            honest.send(f'421["relay","room {number}","good"]')
            await honest.says()
        told = await watcher.says()
        peer.shows("NaN" in told or "Infinity" in told)


async def test_events_as_deep_as_one_likes_are_decoded_and_relayed(peer: Peer) -> None:
    deep = "[" * 300 + "]" * 300
    async with client(peer, "watcher", "deep") as watcher, client(peer, "digger") as digger:
        digger.send(f'42["relay","deep",{deep}]')
        async with client(peer, "honest") as honest:
            honest.send('421["relay","deep","good"]')
            await honest.says()
        peer.shows(deep in await watcher.says())


# What one client costs


async def test_who_does_not_read_is_kept_and_everything_for_him() -> None:
    async def check(kind: str) -> None:
        async with running(kind) as peer, AsyncExitStack() as stack:
            if kind == "here":  # what is kept for reuse is filled; the other one may not hide in it
                async with client(peer, "reader", "read") as reader:
                    pending = asyncio.create_task(reader.ends())
                    await peer.shout("read", 300, 20_000)
                    pending.cancel()
            for size in (100, 4_000, 120_000):
                name = f"deaf {size}"
                line = await stack.enter_async_context(client(peer, name, name, receive_buffer=SMALL))
                line.deafen()
                before = peer.memory()
                await peer.shout(name, min(FLOOD_BYTES // size, 12_000), size)
                peer.shows(peer.memory() - before > GROWTH_BYTES)
                gone = await peer.within(AT_ONCE_S, "gone", name)
                if kind == "here":
                    assert gone
                else:  # nothing but his silence ends him
                    assert await peer.state("gone", name) in ([], ["ping timeout"])

    await on_both(check)


async def test_attachments_are_collected_without_end(peer: Peer) -> None:
    async with client(peer, "bomber") as line:
        before = peer.memory()
        line.send('459999999999-["binary",{"_placeholder":true,"num":0}]')
        part = masked(b"x" * 100_000)
        try:
            for _ in range(FLOOD_BYTES // 100_000):
                line.writer.write(part)
                await line.writer.drain()
        except ConnectionError:
            pass
        else:
            line.send('421["echo",1]')
            await asyncio.wait([asyncio.create_task(line.ends(0.3))])
        peer.shows(peer.memory() - before > FLOOD_BYTES // 2)


async def test_compression_is_negotiated_unasked(peer: Peer) -> None:
    offer = "Sec-WebSocket-Extensions: permessage-deflate"
    async with Line.connected(peer.port) as line:
        line.writer.write(handshake("EIO=4&transport=websocket", "socket.io", offer))
        await line.reads_head()
        assert line.status == 101
        peer.shows("permessage-deflate" in line.head.lower())


# Ends that nobody notices


async def test_rubbish_closes_and_leaves_a_ghost(peer: Peer) -> None:
    async with client(peer, "ghost") as line:
        line.send("x")
        assert await line.ends(AT_ONCE_S)
        peer.shows(not await peer.within(AT_ONCE_S, "gone", "ghost"))


async def test_rubbish_over_polling_is_answered_ok(peer: Peer) -> None:
    async with Poller.opened(peer.port) as poller:
        status, _ = await poller.post("x")
        peer.shows(status == 200)


async def test_a_payload_of_many_packets_over_polling_is_answered_ok_and_lost(peer: Peer) -> None:
    """What a phone that was offline has to say comes in one body."""
    async with Poller.opened(peer.port) as poller:
        await poller.post('40{"name":"backlog"}')
        await poller.polls()
        status, _ = await poller.post(*(f'42["work",{number},0]' for number in range(20)))
        assert status == 200
        done = await peer.state("done", "backlog")
        peer.shows(done == [])
        assert done in ([], list(range(20)))


async def test_who_never_says_connect_is_kept(peers: dict[str, Peer]) -> None:
    async def check(kind: str) -> None:
        async with Line.opened(peers[kind].port) as line:
            pongs = asyncio.create_task(answer_pings(line))
            ended, _ = await asyncio.wait([pongs], timeout=weakapp.CONNECT_S + SILENCE_S)
            pongs.cancel()
            peers[kind].shows(not ended)

    await on_both(check)


async def answer_pings(line: Line) -> None:
    while (came := await line.frame(60.0)) is not None:
        if came[1] == b"2":
            line.send("3")


async def test_a_peer_that_fell_silent_while_it_was_written_to_is_held(peers: dict[str, Peer]) -> None:
    """Half-open: it neither reads nor sends any more, and more waits for it than the kernels take."""
    loop = asyncio.get_running_loop()

    async def check(kind: str) -> None:
        peer = peers[kind]
        async with client(peer, "half-open", "half-open", receive_buffer=SMALL) as line:
            line.deafen()
            await peer.shout("half-open", 100, 1000)
            assert peer.holds(line), "it is closed for what waits, not for its silence: another test"
            until_s = loop.time() + SILENCE_S * 1.25 + 0.2
            await wait_until(
                lambda: not peer.holds(line) or loop.time() > until_s, SILENCE_S * 2, every_s=0.05
            )
            peer.shows(peer.holds(line))
            if kind == "here":
                assert await peer.state("gone", "half-open") == ["ping timeout"]

    await on_both(check)


async def test_open_connections_hold_up_the_end_of_the_process() -> None:
    async def check(kind: str) -> None:
        async with running(kind) as peer, client(peer, "a") as first, Poller.opened(peer.port) as poller:
            tasks = [asyncio.create_task(answer_pings(first)), asyncio.create_task(poller.get())]
            peer.process.terminate()
            ended, _ = await asyncio.wait([asyncio.create_task(peer.process.wait())], timeout=2 * AT_ONCE_S)
            peer.shows(not ended)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    await on_both(check)


async def test_a_storm_of_connections_is_let_in_without_a_bound() -> None:
    async def comes(stack: AsyncExitStack, peer: Peer) -> int:
        return (await stack.enter_async_context(Line.opened(peer.port))).status

    async def check(kind: str) -> None:
        async with running(kind, "--crowd", "24") as peer, client(peer, "bystander") as bystander:
            async with AsyncExitStack() as stack:
                statuses = await asyncio.gather(*(comes(stack, peer) for _ in range(60)))
                bystander.send('421["echo","heard"]')
                assert await bystander.says() == '431["heard"]'
            peer.shows(statuses.count(101) == 60)
            if kind == "here":
                assert sorted(statuses) == [101] * 23 + [503] * 37, "the rest is told to come again"

    await on_both(check)


# What the application is told


async def test_the_clients_address_is_not_told(peer: Peer) -> None:
    async with client(peer, "elsewhere", address="127.0.0.77"):
        came = await peer.state("came", "elsewhere")
        peer.shows(came != ["127.0.0.77"])


async def test_the_ping_interval_is_cut_to_whole_seconds(peer: Peer) -> None:
    async with Poller.opened(peer.port) as poller:
        peer.shows(poller.opening["pingInterval"] != weakapp.PING_INTERVAL_S * 1000)
