"""A real HTTP server on a real database, with a gate that only repeats what it heard; and a client for it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from rooms.acquaintances import Acquaintances
from rooms.identity import KeyRing, Ring
from server.http.context import Context
from server.http.endpoint import build_http
from server.settings import Settings
from storage.accounts import Accounts, NewUser, Who
from storage.confirmed import Confirmed
from storage.history import History
from storage.passwords import Passwords
from storage.postgis import Database
from storage.shard import Shard, Unavailable
from storage.tables import Tables

PASSWORD = "Correct-Horse-7@"
LOW_COST = 4


class EchoGate:
    """Remembers what it was asked and answers what it was told to."""

    def __init__(self) -> None:
        self.heard: list[tuple[Who, str, dict[str, Any]]] = []
        self.ack: dict[str, Any] = {"ok": True}

    async def hear_http(self, who: Who, event: str, body: dict[str, Any]) -> dict[str, Any]:
        self.heard.append((who, event, body))
        return self.ack


class NoPulses:
    """A server without Redis."""

    async def all(self) -> None:
        raise Unavailable

    redis = all


@dataclass
class Nobody:
    users: int = 0
    sessions: int = 0


@dataclass
class Answer:
    status: int
    headers: Any
    body: Any


def refused(answer: Answer, status: int, code: str | None = None) -> None:
    """The envelope of every failure; nothing of the server's inside is in it."""
    assert answer.status == status, answer.body
    assert answer.body["success"] is False and answer.body["timestamp"].endswith("Z")
    assert answer.body["error"] == answer.body["message"] and "Traceback" not in str(answer.body)
    if code:
        assert answer.body["code"] == code


@dataclass
class Client:
    """Speaks JSON to one server; `token` goes along unless a request says otherwise."""

    session: aiohttp.ClientSession
    url: str
    ctx: Context
    gate: EchoGate
    token: str | None = None
    extra: dict[str, str] = field(default_factory=dict)

    async def ask(
        self, method: str, path: str, body: Any = None, *, token: str | None = None, **more: Any
    ) -> Answer:
        token = token or self.token
        headers = {**self.extra, **more.pop("headers", {})}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        if body is not None:
            more["json"] = body
        async with self.session.request(method, self.url + path, headers=headers, **more) as answer:
            raw = await answer.read()
            is_json = answer.content_type == "application/json" and raw
            return Answer(answer.status, answer.headers, await answer.json() if is_json else raw.decode())

    async def get(self, path: str, **more: Any) -> Answer:
        return await self.ask("GET", path, **more)

    async def post(self, path: str, body: Any = None, **more: Any) -> Answer:
        return await self.ask("POST", path, body, **more)

    async def person(self, email: str, role: str = "passenger") -> tuple[str, str]:
        """A user of any role with PASSWORD; his id and a token."""
        hashed = await self.ctx.passwords.hash(PASSWORD)
        user = await self.ctx.accounts.register(
            NewUser(email=email, password_hash=hashed, first_name="Ada", last_name="Byron", role=role)
        )
        answer = await self.post("/api/auth/login", {"email": email, "password": PASSWORD})
        assert answer.status == 200, answer.body
        return user.id, answer.body["data"]["accessToken"]


@asynccontextmanager
async def http_server(
    database_url: str, folder: Path, *, settings: Settings | None = None, ready: Any = None
) -> AsyncIterator[Client]:
    """The whole HTTP layer on a port of its own."""
    settings = settings or Settings(bcrypt_cost=LOW_COST, database_timeout_s=5.0)
    Ring.new().write(folder / "keys.json")
    ring = KeyRing.load(folder / "keys.json", issuer=settings.issuer, audience=settings.audience)
    database = await Database.open(database_url, size=4, timeout_s=settings.database_timeout_s)
    gate = EchoGate()
    passwords = Passwords(settings.bcrypt_cost, settings.login_queue)
    ctx = Context(
        settings=settings,
        database=database,
        accounts=Accounts(database),
        known=Acquaintances(Confirmed(Shard("nobody", "unix:///nowhere/redis.sock")), lambda: 0),
        history=History(database),
        tables=Tables(database),
        pulses=NoPulses(),  # type: ignore[arg-type]
        passwords=passwords,
        keyring=ring,
        gate=gate,
        registry=Nobody(),
        ready=ready or {},
    )
    app = web.Application()
    build_http(app, ctx)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    timeout = aiohttp.ClientTimeout(total=30)
    try:
        async with aiohttp.ClientSession(timeout=timeout) as session:
            yield Client(session, f"http://127.0.0.1:{port}", ctx, gate)
    finally:
        await runner.cleanup()
        passwords.close()
        await database.close()
