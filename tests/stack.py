"""A running stack for end-to-end tests: Redis, a migrated database, `dispatch serve` and `dispatch drain`.

One stack serves the whole run (`stack`), with areas of several policies that are there before it starts; each
test takes a spot of its own in one of them, 50 km from the next, so that no test meets another's drivers:

    spot = stack.spot("hasty")  # offers of 0.3 s
    driver = await stack.person("driver")  # enrolled in the database, with a token
    log = stack.log_since(mark)  # what server and drain wrote

Whatever a test does, its stack may log no error: `stack` fails the test in which one appears. Tests that break
things, or need other settings, take `private_stack(DISPATCH_...=...)`: another Redis, another server.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import re
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
import pytest_asyncio

from rooms.identity import KeyRing, Ring
from server.app import Node, running
from server.chores import checked_area, load_people
from server.devstack.app import App, python
from server.devstack.redis import free_port
from server.devstack.stack import Urls
from server.settings import Settings
from storage import areas
from storage.enrol import enrol, open_sessions
from storage.postgis import Database
from tests.support import SQL_TIMEOUT_S, fresh_database, fresh_redis, wait_until

HOST = "127.0.0.1"
TOKEN_LIFE_S = 3600
AREA_DEG = 10.0
SPOT_DEG = 0.5
#: Areas by name: what differs from the default policy. They lie side by side on the equator.
POLICIES: dict[str, dict[str, Any]] = {
    "plain": {"search_retry_s": 0.2},
    "hasty": {"unseen_s": 0.3, "offer_s": 0.3, "offer_grace_s": 0.1, "search_retry_s": 0.2},
    "frail": {"stale_s": 1.0, "search_retry_s": 0.1},
    "impatient": {"patience_s": 0.5, "search_retry_s": 0.1},
    "planned": {"schedule_lead_s": 0.5, "search_retry_s": 0.1},
    "strict": {"otp_required": True, "proof_tries": 2},
    "brief": {"no_show_wait_s": 0.2},
    "patient": {"offer_s": 3600, "stale_s": 3600},
    "halted": {},
    "wild": {"offer_s": 0.3, "patience_s": 5, "search_retry_s": 0.2},
    "nearer": {"swap_accepted": True, "search_retry_s": 0.2},
}
ERROR = re.compile(r"Traceback \(most recent|^\S+ \S+ (ERROR|CRITICAL) |Exception", re.MULTILINE)


@dataclass(frozen=True)
class Person:
    id: str
    role: str
    name: str
    token: str
    session_id: str
    vehicle_id: str


@dataclass(frozen=True)
class Spot:
    """A place that only one test uses."""

    latitude: float
    longitude: float

    def at(self, north_m: float = 0.0, east_m: float = 0.0) -> dict[str, float]:
        """A point this far away, as payloads carry it (near the equator a degree is a degree)."""
        return {
            "latitude": round(self.latitude + north_m / 111_195, 7),
            "longitude": round(self.longitude + east_m / 111_195, 7),
        }

    @property
    def trip(self) -> dict[str, Any]:
        """From here, two kilometres to the north."""
        return {"pickup": {**self.at(), "address": "1 First St"}, "dropoff": self.at(2000.0)}


@dataclass
class RunningStack:
    url: str
    app: App
    folder: Path
    redis_url: str
    database_url: str
    keyring: KeyRing
    database: Database
    _spots: dict[str, Iterator[int]] = field(default_factory=dict)

    def spot(self, area: str = "plain") -> Spot:
        number = next(self._spots.setdefault(area, itertools.count()))
        across = int(AREA_DEG / SPOT_DEG) - 1
        row, column = divmod(number, across)
        west, _ = longitudes_of(area)
        return Spot(SPOT_DEG + row * SPOT_DEG - AREA_DEG / 2, west + SPOT_DEG + column * SPOT_DEG)

    async def people(self, role: str, count: int, **known: str) -> list[Person]:
        """New users of a role, each with a login; drivers and couriers with a vehicle. `known` are fields of
        their accounts that shall not be invented."""
        invented = load_people(random.Random(), role, count)
        newcomers = [msgspec.structs.replace(newcomer, **known) for newcomer in invented]
        async with self.database.transaction() as connection:
            ids = await enrol(connection, newcomers)
            sessions = await open_sessions(connection, ids, TOKEN_LIFE_S)
            rows = await connection.fetch("select user_id, id from vehicles where user_id = any($1)", ids)
        vehicles = {row["user_id"]: row["id"] for row in rows}
        people = []
        for newcomer, id_, session in zip(newcomers, ids, sessions, strict=True):
            token = self.keyring.mint(id_, role, session, now_s=time.time(), life_s=TOKEN_LIFE_S)
            name = f"{newcomer.first_name} {newcomer.last_name}"
            people.append(Person(id_, role, name, token, session, vehicles.get(id_, "")))
        return people

    async def person(self, role: str, **known: str) -> Person:
        return (await self.people(role, 1, **known))[0]

    async def rows(self, sql: str, *values: Any) -> list[dict[str, Any]]:
        return [dict(row) for row in await self.database.fetch(sql, *values)]

    async def drained(self, sql: str, *values: Any) -> list[dict[str, Any]]:
        """The rows of a query, once the drain has written the first of them."""
        return await wait_until(lambda: self.rows(sql, *values), 10.0)

    async def http(self, method: str, path: str, token: str = "", **more: Any) -> tuple[int, str]:
        """Status and text of an HTTP request."""
        headers = more.pop("headers", {}) | ({"Authorization": f"Bearer {token}"} if token else {})
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, self.url + path, headers=headers, **more) as answer,
        ):
            return answer.status, await answer.text()

    def at(self, port: int) -> RunningStack:
        """The same stack, spoken to by way of another node."""
        return replace(self, url=f"http://{HOST}:{port}")

    async def ready(self) -> bool:
        """Whether the node is there and says so."""
        try:
            return (await self.http("GET", "/ready"))[0] == 200
        except (OSError, aiohttp.ClientError):
            return False

    async def get(self, who: Person, path: str) -> tuple[int, dict[str, Any]]:
        """Status and body of what a person reads."""
        status, text = await self.http("GET", path, who.token)
        return status, json.loads(text)

    @property
    def server_pid(self) -> int:
        return self.app.pids()["server"][0]

    def log_mark(self) -> dict[str, int]:
        return {name: len(self._log(name)) for name in ("serve", "drain")}

    def log_since(self, mark: dict[str, int]) -> str:
        return "".join(self._log(name)[mark[name] :].decode(errors="replace") for name in mark)

    def _log(self, name: str) -> bytes:
        return (self.folder / f"{name}.log").read_bytes()


def longitudes_of(area: str) -> tuple[float, float]:
    west = list(POLICIES).index(area) * AREA_DEG
    return west, west + AREA_DEG


async def _put_areas(database: Database) -> None:
    edge = AREA_DEG / 2
    for name, policy in POLICIES.items():
        west, east = longitudes_of(name)
        ring = [[west, -edge], [east, -edge], [east, edge], [west, edge], [west, -edge]]
        feature = {
            "type": "Feature",
            "geometry": {"type": "Polygon", "coordinates": [ring]},
            "properties": {"id": name, "name": name, "currency": "USD", "policy": policy},
        }
        await areas.put_area(database, checked_area(feature))


@contextmanager
def _processes(folder: Path, redis_url: str, database_url: str, settings: dict[str, str]) -> Iterator[App]:
    app = App(folder, Urls(database_url, redis_url), HOST, free_port())
    Ring.new().write(folder / "keys.json")
    app.env = {**app.env, **settings}
    try:
        app.start()
        yield app
    finally:
        app.stop()


@asynccontextmanager
async def private_stack(
    redis_url: str = "", database_url: str = "", **settings: str
) -> AsyncIterator[RunningStack]:
    """A stack of the caller's own; with a `redis_url` or `database_url` on servers that he may kill."""
    defaults = {"DISPATCH_BCRYPT_COST": "4", "DISPATCH_DRAIN_IDLE_MS": "20", "DISPATCH_ROUTE_SETTLE_S": "0.2"}
    defaults["DISPATCH_BATCH_MS"] = "50"
    with ExitStack() as parts:
        folder = Path(parts.enter_context(tempfile.TemporaryDirectory(prefix="aryv-e2e-")))
        url = redis_url or parts.enter_context(fresh_redis()).url
        database_url = database_url or parts.enter_context(fresh_database())
        database = await Database.open(database_url, size=4, timeout_s=SQL_TIMEOUT_S)
        try:
            await _put_areas(database)
            processes = _processes(folder, url, database_url, defaults | settings)
            app = await asyncio.to_thread(parts.enter_context, processes)
            known = Settings()
            keyring = KeyRing.load(folder / "keys.json", issuer=known.issuer, audience=known.audience)
            yield RunningStack(app.url, app, folder, url, database_url, keyring, database)
        finally:
            await database.close()


@pytest_asyncio.fixture(scope="session")
async def shared_stack() -> AsyncIterator[RunningStack]:
    async with private_stack() as running:
        yield running
        refused = await running.rows("select target, reason from dead_letters limit 5")
        assert not refused, f"PostgreSQL refused what the server had accepted: {refused}"


@pytest.fixture
def stack(shared_stack: RunningStack) -> Iterator[RunningStack]:
    """The stack of this run; the test fails if server or drain ended, or logged an error meanwhile."""
    mark = shared_stack.log_mark()
    yield shared_stack
    shared_stack.app.check()
    log = shared_stack.log_since(mark)
    if ERROR.search(log):
        pytest.fail(f"The stack logged an error:\n{log[-4000:]}", pytrace=False)


async def kill_server(stack: RunningStack) -> None:
    """The server of a private stack ends as by a power cut."""
    child = stack.app._children["serve"]
    child.kill()
    await asyncio.to_thread(child.wait)


def start_server(stack: RunningStack) -> None:
    """It is there again, on the same port; who needs it ready waits for that."""
    stack.app.spawn("serve", python("server.cli", "serve"), stack.folder / "serve.log")


@asynccontextmanager
async def a_node(stack: RunningStack, **more: Any) -> AsyncIterator[Node]:
    """A second server of the stack, in this process."""
    known = {"database_url": stack.database_url, "redis_url": stack.redis_url, "port": 0}
    settings = Settings(**known | {"keys_file": str(stack.folder / "keys.json")} | more)
    async with running(settings) as node:
        yield node
