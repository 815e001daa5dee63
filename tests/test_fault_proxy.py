"""The proxy of the fault bench: faithful while it is well, and hurt exactly as it was told to be."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from loadtest.faults.proxy import HOST, Address, Proxy, quiet_port
from tests.support import wait_until

ANSWER_S = 5.0
End = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


@asynccontextmanager
async def echoing() -> AsyncIterator[Proxy]:
    """A proxy in front of a server that says again what it hears."""
    port = quiet_port()
    server = await asyncio.start_server(_echo, HOST, port)
    proxy = Proxy("test", Address(port=port))
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.close()
        server.close()


@asynccontextmanager
async def speaking(proxy: Proxy) -> AsyncIterator[End]:
    reader, writer = await asyncio.open_connection(HOST, proxy.port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def says(end: End, data: bytes) -> bytes:
    """What comes back, in full; b"" when the connection ends instead."""
    end[1].write(data)
    try:
        async with asyncio.timeout(ANSWER_S):
            return await end[0].readexactly(len(data))
    except (ConnectionError, asyncio.IncompleteReadError):
        return b""


async def ends(end: End) -> bool:
    try:
        async with asyncio.timeout(ANSWER_S):
            return await end[0].read(1) == b""
    except ConnectionError:
        return True


async def test_bytes_go_through_unchanged_in_any_amount() -> None:
    async with echoing() as proxy, speaking(proxy) as end:
        data = os.urandom(3_000_000)
        assert await says(end, data) == data


async def test_an_end_is_passed_on() -> None:
    async with echoing() as proxy, speaking(proxy) as end:
        assert await says(end, b"x") == b"x"
        end[1].write_eof()
        assert await ends(end)
        await wait_until(lambda: proxy.connections == 0)


async def test_a_cut_ends_what_there_is_and_lets_new_ones_in() -> None:
    async with echoing() as proxy, speaking(proxy) as end:
        assert await says(end, b"x") == b"x"
        proxy.cut()
        assert await ends(end)
        async with speaking(proxy) as other:
            assert await says(other, b"y") == b"y"


async def test_a_delay_holds_back_both_ways_until_it_heals() -> None:
    async with echoing() as proxy, speaking(proxy) as end:
        proxy.delay(0.1)
        began_s = time.monotonic()
        assert await says(end, b"x") == b"x"
        assert time.monotonic() - began_s >= 0.2
        await proxy.heal()
        began_s = time.monotonic()
        assert await says(end, b"x") == b"x"
        assert time.monotonic() - began_s < 0.1


async def test_a_black_hole_takes_and_keeps_and_what_lost_something_is_cut_when_it_heals() -> None:
    async with echoing() as proxy, speaking(proxy) as lost, speaking(proxy) as silent:
        assert await says(lost, b"x") == b"x" and await says(silent, b"x") == b"x"
        proxy.black_hole()
        lost[1].write(b"swallowed")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await lost[0].read(1)
        async with speaking(proxy):  # it is let in all the same
            await proxy.heal()
        assert await ends(lost)
        assert await says(silent, b"whole") == b"whole"


async def test_a_refusal_is_the_kernels_until_it_heals() -> None:
    async with echoing() as proxy, speaking(proxy) as end:
        assert await says(end, b"x") == b"x"
        await proxy.refuse()
        assert await ends(end)
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(HOST, proxy.port)
        await proxy.heal()
        async with speaking(proxy) as other:
            assert await says(other, b"y") == b"y"


async def test_nobody_at_home_is_a_cut() -> None:
    proxy = Proxy("test", Address(port=quiet_port()))
    await proxy.start()
    async with speaking(proxy) as end:
        assert await ends(end)
    await proxy.close()


async def test_a_unix_socket_may_stand_behind_it(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    server = await asyncio.start_unix_server(_echo, path)
    proxy = Proxy("test", Address(path=path))
    await proxy.start()
    async with speaking(proxy) as end:
        assert await says(end, b"x") == b"x"
    await proxy.close()
    server.close()
