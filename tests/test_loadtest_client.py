"""The load generator's client against the stock Socket.IO server: connect, events both ways, acks, refusals, ends."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
import socketio
from aiohttp import web
from aiohttp.test_utils import TestServer

from loadtest.client import CallTimeout, ConnectRefused, Gone, Pool
from tests.support import wait_until


@pytest_asyncio.fixture
async def stock() -> AsyncIterator[tuple[str, Any]]:
    """URL and the stock server, which knows one token."""
    sio = socketio.AsyncServer(async_mode="aiohttp", ping_interval=1, ping_timeout=1)

    async def connect(sid: str, environ: dict[str, Any], auth: Any) -> None:
        if (auth or {}).get("token") != "good":
            raise socketio.exceptions.ConnectionRefusedError("no")
        await sio.emit("connected", {"userId": "me"}, to=sid)

    async def echo(sid: str, data: Any) -> Any:
        await sio.emit("echoed", data, to=sid)
        return {"ok": True, "data": data}

    async def bye(sid: str, data: Any) -> None:
        await sio.disconnect(sid)

    for name, handler in {"connect": connect, "echo": echo, "bye": bye}.items():
        sio.on(name, handler)
    app = web.Application()
    sio.attach(app)
    server = TestServer(app)
    await server.start_server()
    yield str(server.make_url("")), sio
    await sio.shutdown()
    await server.close()


async def test_events_and_acks_go_both_ways(stock: tuple[str, Any]) -> None:
    async with Pool(stock[0]) as pool:
        heard: list[dict[str, Any]] = []
        client = await pool.connect("good", [("echoed", heard.append)], log_length=10)
        assert await client.call("echo", {"n": 1, "text": 'ü "[] 1'}) == {
            "ok": True,
            "data": {"n": 1, "text": 'ü "[] 1'},
        }
        await client.emit("echo", {"n": 2})
        await wait_until(lambda: len(heard) == 2)
        assert heard[1] == {"n": 2}
        assert [event for _, event, _ in client.log] == ["connected", "echoed", "echoed"]


async def test_it_answers_heartbeats(stock: tuple[str, Any]) -> None:
    async with Pool(stock[0]) as pool:
        client = await pool.connect("good")
        before_s = client.heard_at
        await wait_until(lambda: client.heard_at > before_s + 2.5)
        assert not client.closed.is_set()


async def test_a_refused_token_is_said_so(stock: tuple[str, Any]) -> None:
    async with Pool(stock[0]) as pool:
        with pytest.raises(ConnectRefused):
            await pool.connect("bad")


async def test_no_server_is_gone() -> None:
    async with Pool("http://127.0.0.1:9") as pool:
        with pytest.raises(Gone):
            await pool.connect("good")


async def test_a_frozen_server_does_not_keep_anybody() -> None:
    thaws, app = asyncio.Event(), web.Application()

    async def frozen(request: web.Request) -> web.WebSocketResponse:
        ws = web.WebSocketResponse(autoclose=False, autoping=False)
        await ws.prepare(request)
        await ws.send_str('0{"sid":"a","pingInterval":25000,"pingTimeout":20000,"upgrades":[]}')
        await ws.receive()
        await ws.send_str('40{"sid":"b"}')
        await thaws.wait()
        return ws

    app.router.add_get("/socket.io/", frozen)
    server = TestServer(app)
    await server.start_server()
    async with Pool(str(server.make_url(""))) as pool:
        for _ in range(20):
            await pool.connect("good")
        begun_s = time.monotonic()
    assert time.monotonic() - begun_s < 1.5
    thaws.set()
    await server.close()


async def test_a_call_ends_with_the_connection_or_its_time(stock: tuple[str, Any]) -> None:
    async with Pool(stock[0]) as pool:
        client = await pool.connect("good")
        with pytest.raises(CallTimeout):
            await client.call("nobody_hears_this", {}, timeout_s=0.1)
        with pytest.raises(Gone):
            await client.call("bye", {}, timeout_s=5)
        await wait_until(client.closed.is_set)
        with pytest.raises(Gone):
            await client.emit("echo", {})
