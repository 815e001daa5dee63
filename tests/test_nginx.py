"""deploy/nginx.conf before two workers: every request of a session comes to the worker that has it."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from server.devstack.find import find_nginx
from server.devstack.redis import free_port
from tests.phones import Phone, assigned_ride, phone
from tests.stack import HOST, RunningStack
from tests.support import CHECKOUT, wait_until
from tests.test_js_client import node as javascript
from tests.test_workers import START_S, parent, port_with_room

CONF = CHECKOUT / "deploy" / "nginx.conf"


@asynccontextmanager
async def nginx(workers_port: int) -> AsyncIterator[int]:
    """The file as it is, but for ports and the places of a private run; the port it listens on."""
    program, port = await asyncio.to_thread(find_nginx), free_port()
    text = CONF.read_text()
    for ours, there in (
        ("listen 80;", f"listen {HOST}:{port};"),
        ("127.0.0.1:8081", f"127.0.0.1:{workers_port + 1}"),
        ("127.0.0.1:8082", f"127.0.0.1:{workers_port + 2}"),
        ("worker_processes auto;", "worker_processes 2; pid nginx.pid;"),
        ("worker_rlimit_nofile 65536;", ""),
        ("worker_connections 16384;", "worker_connections 512;"),
    ):
        assert ours in text
        text = text.replace(ours, there)
    places = "".join(f"{what}_temp_path {what}; " for what in TEMPORARY)
    text = text.replace("http {", f"http {{ {places}", 1)
    with tempfile.TemporaryDirectory(prefix="aryv-nginx-") as folder:
        (Path(folder) / "nginx.conf").write_text(text)
        process = await asyncio.create_subprocess_exec(
            *(str(program.path), "-p", folder, "-c", "nginx.conf", "-e", "stderr", "-g", "daemon off;"),
            env={**os.environ, **program.env},
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            yield port
        finally:
            process.terminate()
            _, said = await process.communicate()
        assert b"[emerg]" not in said and b"[alert]" not in said, said.decode()


TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


@asynccontextmanager
async def balanced(stack: RunningStack) -> AsyncIterator[RunningStack]:
    """The stack as it is seen through nginx and two workers."""
    port = port_with_room(2)
    async with parent(stack, "--workers", "2", "--own-ports", port=port, DISPATCH_NODE="aryv") as made:
        await wait_until(lambda: len(made.pids()) == 2, START_S)
        async with nginx(port) as by_way:
            there = stack.at(by_way)
            await wait_until(there.ready, START_S)
            yield there


async def test_every_session_stays_with_its_worker(stack: RunningStack) -> None:
    people = await stack.people("passenger", 12)
    async with balanced(stack) as there:
        phones = [Phone(person) for person in people]
        try:
            for number, one in enumerate(phones):
                await one.connect(there.url, ("websocket", "polling", "upgrade")[number % 3])
            assert {one.heard("connected")[0]["node"] for one in phones} == {"aryv_1", "aryv_2"}
            for _ in range(3):
                for one in phones:
                    assert (await one.call("ping"))["ok"]
            assert all(one.sio.connected and len(one.heard("connected")) == 1 for one in phones)
        finally:
            for one in phones:
                await one.close()
        assert (await there.http("GET", "/metrics"))[0] == 404


async def test_a_ride_between_two_workers(stack: RunningStack) -> None:
    """By polling and by upgrade; the one is on this worker, the other on that."""
    spot, people = stack.spot("patient"), await stack.people("passenger", 8)
    async with (
        balanced(stack) as there,
        phone(there, "driver", "polling") as driver,
        AsyncExitStack() as others,
    ):
        for person in people:
            passenger = await others.enter_async_context(phone(there, person, "upgrade"))
            if passenger.heard("connected")[0]["node"] != driver.heard("connected")[0]["node"]:
                break
        else:
            pytest.fail("nginx sends everybody to one worker")
        ride = await assigned_ride(passenger, driver, spot)
        for status in ("arrived", "in_progress", "completed"):
            await driver.call("ride_status_update", {"rideId": ride, "status": status})
            await passenger.status(status)
        passenger.assert_gapless(f"ride:{ride}")


@pytest.mark.parametrize("transport", ["polling", "upgrade"])
async def test_a_whole_ride_of_the_stock_client(stack: RunningStack, transport: str) -> None:
    driver, passenger, spot = await stack.person("driver"), await stack.person("passenger"), stack.spot()
    async with balanced(stack) as there:
        place = str(spot.latitude), str(spot.longitude)
        told = await javascript("ride.mjs", there.url, transport, driver.token, passenger.token, *place)
    assert told["transports"] == ["polling" if transport == "polling" else "websocket"] * 2
