"""HTTP when something is wrong: bad input, faults, outages, clients that break off; and what operations ask."""

import asyncio
import gzip
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from server.settings import Settings
from tests.support_http import LOW_COST, Client, http_server, refused


@pytest_asyncio.fixture
async def client(database_url: str, tmp_path: Path) -> AsyncIterator[Client]:
    async with http_server(database_url, tmp_path) as client:
        yield client


async def test_what_is_not_there_is_an_envelope_too(client: Client) -> None:
    for method, path in (
        ("GET", "/api/nothing"), ("POST", "/api/api/nothing"), ("GET", "/api/api/api/health"),
        ("POST", "/api/commands"), ("OPTIONS", "/api/nothing"), ("GET", "/api/"),
    ):  # fmt: skip
        refused(await client.ask(method, path), 404, "ROUTE_NOT_FOUND")


async def test_every_api_route_has_its_doubled_alias(client: Client) -> None:
    health = await client.get("/api/api/health")
    assert health.status == 200 and health.body["database"] == "connected"
    refused(await client.get("/api/api/users"), 403)


@pytest.mark.parametrize(
    "raw", [b"{", b"[]", b"5", b'"x"', b"\xff\xfe", b'{"a": NaN}', b"[" * 60_000, b"null"]
)
async def test_what_is_no_json_object_is_refused(client: Client, raw: bytes) -> None:
    refused(await client.ask("POST", "/api/auth/login", data=raw), 400, "VALIDATION_ERROR")


async def test_a_large_body_is_refused_however_it_comes(client: Client) -> None:
    refused(await client.ask("POST", "/api/auth/login", data=b" " * 70_000), 413)

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(70):
            yield b" " * 1_000

    refused(await client.ask("POST", "/api/auth/login", data=pieces()), 413)


async def test_a_fault_shows_and_logs_neither_trace_nor_value(
    client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*_: Any) -> None:
        raise RuntimeError("the secret is 42")

    monkeypatch.setattr(client.ctx.accounts, "find_by_email", broken)
    answer = await client.post("/api/auth/login", {"email": "a@b.example", "password": "x" * 9})
    refused(answer, 500, "INTERNAL_ERROR")
    assert "secret" not in str(answer.body) + caplog.text and "RuntimeError" in caplog.text


async def test_browsers_of_configured_origins_may_ask(database_url: str, tmp_path: Path) -> None:
    settings = Settings(bcrypt_cost=LOW_COST, cors_origins="https://panel.example, https://b.example")
    async with http_server(database_url, tmp_path, settings=settings) as client:
        asked = await client.ask("OPTIONS", "/api/users", headers={"Origin": "https://panel.example"})
        assert asked.status == 204 and "PATCH" in asked.headers["Access-Control-Allow-Methods"]
        assert "Authorization" in asked.headers["Access-Control-Allow-Headers"]
        answer = await client.get("/api/users", headers={"Origin": "https://b.example"})
        assert answer.headers["Access-Control-Allow-Origin"] == "https://b.example"
        assert "Access-Control-Allow-Credentials" not in answer.headers
        for origin in ("https://evil.example", "null", ""):
            other = await client.get("/api/users", headers={"Origin": origin})
            assert "Access-Control-Allow-Origin" not in other.headers


# Operations


async def test_health_ready_and_metrics(database_url: str, tmp_path: Path) -> None:
    lives = {"redis": True, "log": False}

    def question(name: str) -> Any:
        async def ask() -> bool:
            return lives[name]

        return ask

    ready = {name: question(name) for name in lives}
    async with http_server(database_url, tmp_path, ready=ready) as client:
        health = await client.get("/health")
        assert health.body["success"] is True and health.body["database"] == "Connected"
        assert {"environment", "version", "database", "uptime"} <= set((await client.get("/api/health")).body)
        waiting = await client.get("/ready")
        refused(waiting, 503, "NOT_READY")
        assert waiting.body["details"] == {"redis": True, "log": False, "postgresql": True}
        lives["log"] = True
        assert (await client.get("/ready")).body["data"] == {"redis": True, "log": True, "postgresql": True}
        del lives["redis"]  # a question that fails is a no
        refused(await client.get("/ready"), 503)
        status = await client.get("/api/websocket/status")
        assert status.body["data"] == {"connectedUsers": 0, "activeRooms": [], "totalConnections": 0}
        text = (await client.get("/metrics")).body
        for name in ("http_requests_total", "http_request_duration_seconds_bucket", "login_attempts_total",
                     "login_failures_total", "auth_failures_total"):  # fmt: skip
            assert re.search(rf"^# TYPE {name.removesuffix('_bucket')} ", text, re.M) or name in text
        assert 'http_requests_total{method="GET",route="/health",status="200"}' in text


async def test_without_postgresql_everything_says_so_and_nothing_hangs(
    database_url: str, tmp_path: Path
) -> None:
    """All connections are gone and no new one can be had."""
    async with http_server(
        database_url, tmp_path, settings=Settings(bcrypt_cost=4, database_timeout_s=1.0)
    ) as client:
        _, token = await client.person("ada@example.org")
        await client.ctx.database.close()
        began_s = time.monotonic()
        health, ready, profile, login = await asyncio.gather(
            client.get("/health"),
            client.get("/ready"),
            client.get("/api/auth/profile", token=token),
            client.post("/api/auth/login", {"email": "ada@example.org", "password": "x" * 9}),
        )
        assert time.monotonic() - began_s < 5
        assert health.status == 200 and health.body["database"] == "Disconnected"
        assert ready.status == 200 and ready.body["data"] == {"postgresql": False}, "live work goes on"
        for answer in (profile, login):
            refused(answer, 503, "UNAVAILABLE")
            assert answer.headers["Retry-After"] == "1"


async def test_a_database_that_hangs_is_an_outage_in_time(database_url: str, tmp_path: Path) -> None:
    settings = Settings(bcrypt_cost=4, database_timeout_s=0.5)
    async with http_server(database_url, tmp_path, settings=settings) as client:
        _, token = await client.person("ada@example.org")
        locker = await asyncpg.connect(database_url, timeout=10)
        try:
            async with locker.transaction():
                await locker.execute("lock table users in access exclusive mode")
                began_s = time.monotonic()
                asked = [client.get("/api/auth/profile", token=token) for _ in range(12)]
                for answer in await asyncio.gather(*asked):
                    refused(answer, 503, "UNAVAILABLE")
                assert time.monotonic() - began_s < 5
        finally:
            await locker.close()
        assert (await client.get("/api/auth/profile", token=token)).status == 200


# Clients that do not speak HTTP well


async def spoken(client: Client, text: bytes) -> bytes:
    """What comes back for these bytes, as they are."""
    host, port = client.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(text)
        await writer.drain()
        async with asyncio.timeout(10):
            return await reader.read(2_000)
    finally:
        writer.close()


def post(head: bytes, body: bytes) -> bytes:
    return b"POST /api/auth/login HTTP/1.1\r\nHost: x\r\n" + head + b"\r\n\r\n" + body


BOMB = gzip.compress(b" " * 20_000_000)


@pytest.mark.parametrize(
    ("text", "status"),
    [
        (post(b"Transfer-Encoding: chunked", b"zz\r\nhello"), b"400"),
        (post(b"Content-Encoding: gzip\r\nContent-Length: 5", b"hello"), b"400"),
        (post(b"Content-Encoding: gzip\r\nContent-Length: %d" % len(BOMB), BOMB), b"413"),
        (post(b"Content-Length: many", b"{}"), b"400"),
        (b"GET /api/../etc/passwd HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", b"404"),
        (b"GET /api/%ff%00 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", b"404"),
        (
            b"GET /api/users HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer \xff\xfe\r\nConnection: close\r\n\r\n",
            b"401",
        ),
    ],
)
async def test_bad_http_is_refused_without_a_trace(
    client: Client, caplog: pytest.LogCaptureFixture, text: bytes, status: bytes
) -> None:
    answer = await spoken(client, text)
    assert answer.split(b" ")[1] == status and b"Traceback" not in answer, answer
    assert "Traceback" not in caplog.text
    assert (await client.get("/health")).status == 200


async def test_a_client_that_leaves_in_the_middle_leaves_no_trace(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    host, port = client.url.removeprefix("http://").split(":")
    for _ in range(3):
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(post(b"Content-Length: 100", b"{"))
        await writer.drain()
        writer.close()
        await writer.wait_closed()
    assert (await client.get("/health")).status == 200
    assert caplog.text == ""


async def test_a_client_that_never_sends_its_body_does_not_stay(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.http.call.BODY_S", 0.2)
    half = post(b"Connection: close\r\nContent-Length: 100", b"{")
    host, port = client.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(half)
    async with asyncio.timeout(5):
        assert b" 408 " in await reader.readline()
    writer.close()
