"""Too much, too fast, too slow: floods and clients who do not read cost themselves, and nobody else."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import socket
import struct
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import psutil
import pytest

from rooms.handlers import HANDLERS
from tests.hostile import bystanding, connections
from tests.phones import assigned_ride, phone, raw
from tests.stack import RunningStack, private_stack
from tests.support import wait_until

GROWTH_MAX_BYTES = 2_000_000
ENDS_WITHIN_S = 10.0
LATENCY_MAX_S = 1.0


def masked(text: str) -> bytes:
    """A text frame as a client sends it."""
    body, mask = text.encode(), os.urandom(4)
    size = len(body)
    head = bytes([0x81, 0x80 | size]) if size < 126 else struct.pack(">BBH", 0x81, 0xFE, size)
    return head + mask + bytes(byte ^ mask[i % 4] for i, byte in enumerate(body))


@asynccontextmanager
async def deaf(stack: RunningStack, token: str) -> AsyncIterator[asyncio.StreamWriter]:
    """A websocket that has said CONNECT and never reads again."""
    link = socket.socket()
    link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    link.setblocking(False)
    at = urlsplit(stack.url)
    await asyncio.get_running_loop().sock_connect(link, (at.hostname, at.port))
    _, writer = await asyncio.open_connection(sock=link, limit=512)
    key = base64.b64encode(os.urandom(16)).decode()
    writer.write(
        f"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: {at.netloc}\r\nUpgrade: websocket\r\n"
        f"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode()
    )
    writer.write(masked("40" + json.dumps({"token": token})))
    try:
        yield writer
    finally:
        writer.transport.abort()


@asynccontextmanager
async def polling(stack: RunningStack, token: str) -> AsyncIterator[tuple[aiohttp.ClientSession, str]]:
    """A polling client that has said CONNECT and has no poll under way; its HTTP session and address."""
    async with aiohttp.ClientSession() as session:
        url = f"{stack.url}/socket.io/?EIO=4&transport=polling"
        async with session.get(url) as opening:
            url += "&sid=" + json.loads((await opening.text())[1:])["sid"]
        async with session.post(url, data="40" + json.dumps({"token": token})) as connect:
            assert connect.status == 200
        try:
            yield session, url
        finally:
            await session.post(url, data="1")  # goodbye, if he is still there


async def flood(writer: asyncio.StreamWriter, frame: str) -> bool:
    """Sends as fast as it can; True when the server ended it."""
    block = masked(frame) * 100
    try:
        async with asyncio.timeout(ENDS_WITHIN_S):
            while True:
                writer.write(block)
                await writer.drain()
    except ConnectionError:
        return True
    except TimeoutError:
        return False


FLOODS = {
    "answered events": '421["ping"]',
    "refused events": '42["nothing"]',
    "long refusals": '421["ping",{"' + "k" * 30_000 + '":1}]',
    "connects": "40{}",
    "connects elsewhere": "40/elsewhere,{}",
    "acks": "437[]",
    "pongs": "3",
    "rubbish": "42[",
    "long pongs": "3[" + "1," * 20_000 + "1]",
    "upgrades": "5",
}


@pytest.mark.parametrize("name", FLOODS)
async def test_a_flood_by_one_who_does_not_read(stack: RunningStack, name: str) -> None:
    """He is closed, the server keeps nothing of it, and others are answered as quickly as ever."""
    async with bystanding(stack) as pair:
        person = await stack.person("passenger")
        server, stood = psutil.Process(stack.server_pid), await connections(stack)
        async with deaf(stack, person.token) as writer:
            await flood(writer, FLOODS[name])  # the first one fills what is kept for reuse
        await wait_until(lambda: _are(stack, stood))
        before = server.memory_info().rss
        async with deaf(stack, person.token) as writer:
            attack = asyncio.create_task(flood(writer, FLOODS[name]))
            began_s = time.monotonic()
            await pair.undisturbed()
            assert time.monotonic() - began_s < 3 * LATENCY_MAX_S
            assert await attack, "the server went on listening to it"
        await wait_until(lambda: _are(stack, stood))
        growth = server.memory_info().rss - before
        assert growth < GROWTH_MAX_BYTES, f"{growth} bytes"


async def _are(stack: RunningStack, number: int) -> bool:
    return await connections(stack) == number


async def test_a_member_who_does_not_read_is_closed_and_the_room_goes_on() -> None:
    """What waits for him is bounded, whoever it comes from; the one who talks to him notices nothing."""
    async with private_stack(DISPATCH_QUEUE_FRAMES="16") as stack, phone(stack, "driver") as driver:
        spot = stack.spot("patient")
        async with phone(stack, "passenger") as passenger:
            ride = await assigned_ride(passenger, driver, spot)
            line = {"rideId": ride, "message": "🚕" * 4000}
            for _ in range(6):  # to one who reads: what is kept for reuse is filled, as in the floods above
                said = await driver.call("send_message", line)
                await passenger.hears("new_message", id=said["id"])
        driver.log.clear()
        server = psutil.Process(stack.server_pid)
        before = server.memory_info().rss
        await wait_until(lambda: _are(stack, 1))
        token = passenger.person.token
        async with deaf(stack, token), polling(stack, token):
            await wait_until(lambda: _are(stack, 3))
            told: list[str] = []

            async def closed() -> bool:
                answer = await driver.ask("send_message", line)
                assert answer["ok"] or answer["error"]["code"] == "rate_limited"
                told.extend([answer["id"]] if answer["ok"] else [])
                return await connections(stack) == 1

            # not faster than he may: 48 KB at every try is a flood of the driver's own
            await wait_until(closed, ENDS_WITHIN_S, every_s=0.1)
        assert server.memory_info().rss - before < GROWTH_MAX_BYTES
        _, metrics = await stack.http("GET", "/metrics")
        assert 'dispatch_sockets_closed_total{reason="slow client"} 2.0' in metrics
        await driver.hears("new_message", id=told[-1])
        assert [line["id"] for line in driver.heard("new_message")] == told
        async with phone(stack, passenger.person) as back:
            (job,) = back.heard("connected")[0]["jobs"]
            assert job["seq"] == driver.assert_gapless(f"ride:{ride}")[-1]


async def test_a_polling_client_who_never_polls_is_closed(stack: RunningStack) -> None:
    async with bystanding(stack) as pair:
        person = await stack.person("passenger")
        stood = await connections(stack)
        async with polling(stack, person.token) as (session, url):
            await wait_until(lambda: _are(stack, stood + 1))

            async def refused() -> bool:
                async with session.post(url, data="\x1e".join(['421["ping"]'] * 100)) as answer:
                    return answer.status == 400

            await wait_until(refused)
            await wait_until(lambda: _are(stack, stood))
        await pair.undisturbed()


@pytest.mark.parametrize(
    "body", [b"\xff\xfe", b"9", b"4[" + b"[" * 20_000, b"\x1e\x1e", b"x" * 300_000, b"b!!"]
)
async def test_rubbish_over_polling(stack: RunningStack, body: bytes) -> None:
    async with bystanding(stack):
        person = await stack.person("passenger")
        stood = await connections(stack)
        async with polling(stack, person.token) as (session, url):
            async with asyncio.timeout(5.0), session.post(url, data=body) as answer:
                assert answer.status == (200 if body[:2] == b"4[" else 400)
            if answer.status == 400:
                await wait_until(lambda: _are(stack, stood))


async def test_engine_io_requests_that_make_no_sense(stack: RunningStack) -> None:
    queries = ["", "EIO=3&transport=polling", "EIO=4&transport=carrier-pigeon", "EIO=4&transport=websocket",
               "EIO=4&transport=polling&sid=nobody", "EIO=4&transport=polling&sid=..%2F..%00", "EIO=4&j=x"]  # fmt: skip
    async with bystanding(stack):
        for query in queries:
            status, _ = await stack.http("GET", f"/socket.io/?{query}")
            assert status == 400 or query == "EIO=4&j=x", query
            assert (await stack.http("POST", f"/socket.io/?{query}", data=b"4"))[0] == 400, query
        for method in ("PUT", "DELETE", "PATCH"):
            status, _ = await stack.http(method, "/socket.io/?EIO=4&transport=polling")
            assert status == 400, method


async def test_more_than_the_limit_of_an_event(stack: RunningStack) -> None:
    """Each event has its own bucket: what is beyond it is refused, what is within is done, others are free."""
    async with bystanding(stack):
        person = await stack.person("passenger")
        async with raw(stack.url, person.token) as client:
            burst = int(HANDLERS["ping"].burst)
            for ack in range(burst + 20):
                await client.ws.send_str(f'42{ack}["ping"]')
            codes = []
            for ack in range(burst + 20):
                answer = await client.answer(ack)
                assert answer is not None
                codes.append("ok" if answer["ok"] else answer["error"]["code"])
            assert codes[:burst] == ["ok"] * burst
            assert "rate_limited" in codes[burst:] and set(codes) == {"ok", "rate_limited"}
            assert (await client.ask("join_user_room", {}, 999)) == {"ok": True}
            refused = {"ok": False, "error": {"code": "rate_limited", "retry": False, "againInS": 1}}
            last: Any = await client.ask("ping", {}, 1000)
            assert last["error"].pop("message") and last == refused


async def test_fixes_out_of_order_twice_and_too_many(stack: RunningStack) -> None:
    """The watcher sees time go forward only, whatever order a phone sends its fixes in."""
    spot = stack.spot("patient")
    async with bystanding(stack), phone(stack, "driver") as driver, phone(stack, "passenger") as passenger:
        ride = await assigned_ride(passenger, driver, spot)
        now_ms = int(time.time() * 1000)
        order = [3, 1, 2, 3, 5, 4, 5, 7, 6, 8]
        verdicts = []
        for number in order:
            fix = {**spot.at(300.0 - number * 20.0), "timestamp": now_ms + number * 100}
            verdicts.append(await driver.call("location_update", fix))
        kept = [n for n, verdict in zip(order, verdicts, strict=True) if verdict["kept"]]
        assert kept == [3, 5, 7, 8]
        assert {v["reason"] for v in verdicts if not v["kept"]} == {"late"}
        await passenger.hears("driver_location", rideId=ride, **spot.at(140.0))
        times = [place["timestamp"] for place in passenger.heard("driver_location")]
        assert times == sorted(set(times))
        for reason, wrong in (
            ("stale", {"timestamp": now_ms - 600_000}),
            ("future", {"timestamp": now_ms + 600_000}),
            ("teleport", spot.at(90_000.0)),
            ("inaccurate", {"accuracy": 5000.0}),
        ):
            verdict = await driver.call(
                "location_update", {**spot.at(130.0), "timestamp": now_ms + 900, **wrong}
            )
            assert verdict["kept"] is False and verdict["reason"] == reason
        answers = [await driver.ask("location_update", spot.at(100.0 - n)) for n in range(60)]
        codes = {a.get("error", {}).get("code", "ok") for a in answers}
        assert codes == {"ok", "rate_limited"}
