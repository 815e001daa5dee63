"""The stock JavaScript client, in Node and in Chromium: a whole ride over each transport; what a bad token tells it."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from aiohttp import web

from tests.stack import HOST, RunningStack, a_node

SCRIPTS = Path(__file__).parent / "js"
NODE_S = 40.0
Client = Callable[[RunningStack, list[str]], Awaitable[Any]]


async def node(script: str, *arguments: str) -> Any:
    """What a script printed, as JSON."""
    program = shutil.which("node")
    assert program, "Node is needed: ./dev test brings it"
    assert (SCRIPTS / "node_modules").is_dir(), "npm ci in tests/js is needed: ./dev test does it"
    child = await asyncio.create_subprocess_exec(
        program,
        str(SCRIPTS / script),
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(NODE_S):
            out, errors = await child.communicate()
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    assert child.returncode == 0, errors.decode()
    return json.loads(out)


def numbers(log: list[list[Any]], room: str) -> list[int]:
    return [payload["seq"] for _, payload in log if payload.get("room") == room]


async def in_node(stack: RunningStack, arguments: list[str]) -> Any:
    return await node("ride.mjs", stack.url, *arguments)


async def in_chromium(stack: RunningStack, arguments: list[str]) -> Any:
    """The page comes from another origin than the server, as an app's pages do."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no Chromium here: install the package chromium")
    told: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    async def hear(request: web.Request) -> web.Response:
        told.set_result(await request.json())
        return web.Response()

    app = web.Application(client_max_size=2**20)
    app.router.add_post("/told", hear)
    app.router.add_static("/", SCRIPTS, follow_symlinks=True)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, HOST, 0).start()
    pages = f"http://{HOST}:{runner.addresses[0][1]}"
    with tempfile.TemporaryDirectory(prefix="aryv-chromium-", ignore_cleanup_errors=True) as profile:
        async with a_node(stack, cors_origins=pages) as server:
            page = f"{pages}/ride.html#{quote(json.dumps([f'http://{HOST}:{server.port}', *arguments]))}"
            child = await asyncio.create_subprocess_exec(
                program, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
                "--disable-background-networking", f"--user-data-dir={profile}", page,
                stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
            try:
                async with asyncio.timeout(NODE_S):
                    return await told
            finally:
                os.killpg(child.pid, signal.SIGKILL)
                await child.wait()
                await runner.cleanup()


@pytest.mark.parametrize("client", [in_node, in_chromium])
@pytest.mark.parametrize("transport", ["websocket", "polling", "upgrade"])
async def test_whole_ride(stack: RunningStack, transport: str, client: Client) -> None:
    spot = stack.spot()
    driver, passenger = await stack.person("driver"), await stack.person("passenger")
    arguments = [transport, driver.token, passenger.token, str(spot.latitude), str(spot.longitude)]
    told = await client(stack, arguments)
    assert "error" not in told, told
    assert told["transports"] == ["polling" if transport == "polling" else "websocket"] * 2
    ride_id, room = told["rideId"], f"ride:{told['rideId']}"
    assert numbers(told["passenger"], room) == list(range(1, 8))
    assert numbers(told["driver"], room) == list(range(3, 8))
    events = [event for event, _ in told["passenger"]]
    assert events[0] == "connected" and "disconnect" not in events and "error" not in events
    states = [payload["state"] for event, payload in told["passenger"] if event == "ride_status_update"]
    assert states == ["searching", "offered", "arrived", "in_progress", "completed"]
    line = next(payload for event, payload in told["driver"] if event == "new_message")
    assert (line["senderId"], line["message"]) == (passenger.id, "Де ви? 🚕")
    rows = await stack.drained("select state from rides where id = $1 and state = 'completed'", ride_id)
    assert rows


async def test_a_bad_token_is_refused_with_a_code(stack: RunningStack) -> None:
    told = await node("refused.mjs", stack.url, "not-a-token")
    assert told == {"message": "Authentication failed", "data": {"code": "unauthenticated", "retry": False}}
