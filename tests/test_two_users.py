"""Nothing foreign is read or written: every event and route, tried by each role with the ids of others.

The tables are generated from rooms.handlers.HANDLERS and server.http.routes.ROUTES: what has no entry in
tests/matrix.py fails. After each run the victims' records, rooms and rows must be what they were, to the
byte, and nothing of them may have come to the attacker, in an answer or on his socket.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from redis.asyncio import Redis

from rooms.handlers import HANDLERS
from server.http.routes import ROUTES
from tests import matrix
from tests.matrix import World
from tests.phones import Phone, accepted, drive, new_id, offered, online, phone, request, send
from tests.stack import Person, RunningStack
from tests.support import wait_until
from tests.test_package import on_board

ATTACKERS = ["passenger", "driver", "courier", "former driver", "admin"]
#: Written by the server itself, whoever does what.
NOT_OF_PERSONS = ("spatial_ref_sys", "schema_migrations", "audit_log", "drain_cursors")


def test_every_event_and_route_has_an_entry() -> None:
    assert set(matrix.EVENTS) == set(HANDLERS), "tests/matrix.py: an event without its attack, or the reverse"
    served = {(route.method, route.path) for route in ROUTES}
    assert set(matrix.ROUTES) == served, "tests/matrix.py: a route without its tries, or the reverse"


async def _people(stack: RunningStack, mark: str) -> dict[str, Person]:
    roles = {"passenger": "passenger", "sender": "passenger", "waiting": "passenger", "driver": "driver",
             "asked": "driver", "courier": "courier"}  # fmt: skip
    return {
        name: await stack.person(role, first_name=f"{name.title()}{mark}", phone=f"+38099{i}{mark}")
        for i, (name, role) in enumerate(roles.items())
    }


@asynccontextmanager
async def victims(stack: RunningStack) -> AsyncIterator[tuple[World, dict[str, Phone], Phone]]:
    """A ride under way with a past, a parcel on board and an open offer, each with its people, who stay
    connected; and the driver who had the ride before and gave it back."""
    mark, spot, elsewhere = (
        str(secrets.randbelow(10**6) + 10**6),
        stack.spot("patient"),
        stack.spot("patient"),
    )
    people = await _people(stack, mark)
    secret = {
        "note": f"NOTE{mark}",
        "line": f"LINE{mark}",
        "street": f"STREET{mark}",
        "name": f"RECIPIENT{mark}",
    }
    trip = {"pickup": {**spot.at(), "address": secret["street"]}, "note": secret["note"]}
    async with (
        phone(stack, people["passenger"]) as passenger,
        phone(stack, people["sender"]) as sender,
        phone(stack, people["waiting"]) as waiting,
        phone(stack, people["driver"]) as driver,
        phone(stack, people["asked"]) as asked,
        phone(stack, people["courier"]) as courier,
        phone(stack, "driver") as former,
    ):
        quotes = await passenger.call("quote", {"kind": "ride", **spot.trip, "classes": ["economy"]})
        await online(former, spot.at(200.0))
        ride = await request(passenger, spot, **trip)
        await accepted(former, ride)
        await online(driver, spot.at(400.0))
        await former.call("cancel_ride", ride)
        await accepted(driver, ride)
        line = await passenger.call("send_message", {"rideId": ride, "message": secret["line"]})
        await drive(driver, passenger, ride, spot.at(330.0))
        for state in ("arrived", "in_progress"):
            await driver.call("ride_status_update", {"rideId": ride, "status": state})
        await online(courier, spot.at(0.0, 100.0), ("parcel",))
        recipient = {"name": secret["name"], "phone": f"+38077{mark}"}
        package = await send(sender, spot, recipient=recipient, note=secret["note"])
        await accepted(courier, package)
        code = await on_board(sender, courier, package)
        await online(asked, elsewhere.at(100.0))
        waiting_ride = await request(waiting, elsewhere, note=secret["note"])
        offer = (await offered(asked, waiting_ride))["offerId"]
        await waiting.status("offered")
        phones = {"passenger": passenger, "sender": sender, "waiting": waiting, "driver": driver,
                  "asked": asked, "courier": courier}  # fmt: skip
        world = World(
            spot, people, ride, waiting_ride, package, offer, line["id"], quotes["quotes"][0]["quoteId"], code,
            secrets=(mark, *(p.id for p in people.values()), *(p.vehicle_id for p in people.values() if p.vehicle_id),
                     *(p.session_id for p in people.values())),
        )  # fmt: skip
        yield world, phones, former


async def _redis_state(stack: RunningStack, world: World) -> dict[str, Any]:
    """Every key of the shard that names a victim or what is his, with its value."""
    names = [world.ride, world.waiting_ride, world.package, *(person.id for person in world.victims.values())]
    async with Redis.from_url(stack.redis_url) as redis:
        keys = [key async for key in redis.scan_iter(count=1000)]
        mine = [key for key in keys if any(name.encode() in key for name in names)]
        assert len(mine) > 15
        return {key.decode(): await _value(redis, key) for key in mine}


async def _value(redis: Redis, key: bytes) -> Any:
    match (await redis.type(key)).decode():
        case "hash":
            return await redis.hgetall(key)
        case "stream":
            return await redis.xrange(key)
        case "set":
            return await redis.smembers(key)
        case "zset":  # who stands in a room; the leases are renewed by themselves
            return set(await redis.zrange(key, 0, -1))
    return await redis.get(key)


async def _rows(stack: RunningStack, world: World) -> dict[str, list[str]]:
    """Every row of every table in which a victim, or something of his, is named."""
    ids = [world.ride, world.waiting_ride, world.package, world.message]
    ids += [person.id for person in world.victims.values()]
    tables = await stack.rows(
        "select table_name as name from information_schema.tables"
        " where table_schema = 'public' and table_type = 'BASE TABLE' and not table_name = any($1)",
        list(NOT_OF_PERSONS),
    )
    found = {}
    for table in (row["name"] for row in tables):
        query = (
            f"select to_jsonb(t)::text as row from {table} t where to_jsonb(t)::text like any($1) order by 1"
        )
        found[table] = [row["row"] for row in await stack.rows(query, [f"%{id_}%" for id_ in ids])]
    return {table: rows for table, rows in found.items() if rows}


async def _drain_reaches_now(stack: RunningStack) -> None:
    """What was said until now is in PostGIS, once something that is said now is."""
    async with phone(stack, "passenger") as anybody:
        ride = await request(anybody, stack.spot())
        await anybody.call("cancel_ride", ride)
        # his own word comes last: whatever the log had for others they have heard before
        await anybody.status("cancelled")
    await stack.drained("select 1 from rides where id = $1 and state = 'cancelled'", ride)


def _payloads(event: str, world: World, role: str) -> Iterator[Any]:
    """As in the table, with every legacy id; and, where an app may send it, the bare id."""
    message, entry = HANDLERS[event].message, matrix.EVENTS[event]
    for payload in [*entry.payloads(world), *(entry.not_admin(world) if role != "admin" else [])]:
        yield {k: v for k, v in world.legacy.items() if k in message.legacy} | payload
        if message.bare and message.bare in payload:
            yield payload[message.bare]


def _stands_in(secret: str, text: str) -> bool:
    """A secret of digits as such: among the many digits of /metrics any six may follow one another."""
    if not secret.isdigit():
        return secret in text
    return re.search(rf"(?<![\d.]){secret}(?!\d|\.\d)", text) is not None


def _sent_back(answer: str, payload: Any, world: World) -> list[str]:
    """What of the victims' is in the answer, beyond what the attacker has just said himself."""
    said = json.dumps(payload)
    told = [secret for secret in (*world.secrets, world.code) if _stands_in(secret, answer)]
    return [secret for secret in told if secret not in said]


class Run:
    """One attacker's way through both tables; collects everything that is wrong, so that one run shows all."""

    def __init__(self, stack: RunningStack, world: World, attacker: Phone, role: str) -> None:
        self.stack, self.world, self.attacker, self.role = stack, world, attacker, role
        self.wrong: list[str] = []

    def expected(self, event: str) -> frozenset[str]:
        handler, entry = HANDLERS[event], matrix.EVENTS[event]
        if self.attacker.person.role not in handler.who:
            return frozenset({"forbidden"})
        if self.role == "former driver" and event == "cancel_ride":
            return entry.codes | {"ok", "duplicate"}  # his own answer of then, once more
        return entry.admin if self.role == "admin" else entry.codes

    def judge(self, what: str, code: str, answer: str, payload: Any, expected: frozenset[str]) -> None:
        if code not in expected:
            self.wrong.append(f"{what} {payload}: {code}, not {sorted(expected)}")
        if self.role != "admin" and (leaked := _sent_back(answer, payload, self.world)):
            self.wrong.append(f"{what} {payload}: the answer tells {leaked}")

    async def events(self) -> None:
        for event in matrix.EVENTS:
            expected = self.expected(event)
            for payload in _payloads(event, self.world, self.role):
                answer = await self.attacker.ask(event, payload)
                code = "ok" if answer["ok"] else answer["error"]["code"]
                self.judge(event, code, json.dumps(answer), payload, expected)
            for payload in matrix.EVENTS[event].payloads(self.world):
                await self._over_http(event, {**self.world.legacy, **payload}, expected)

    async def _over_http(self, event: str, payload: Any, expected: frozenset[str]) -> None:
        token = self.attacker.person.token
        status, text = await self.stack.http("POST", f"/api/commands/{event}", token, json=payload)
        code = "ok" if status == 200 else json.loads(text)["code"]
        self.judge(f"HTTP {event}", code, text, payload, expected)
        status, text = await self.stack.http("POST", f"/api/commands/{event}", json=payload)
        self.judge(f"HTTP {event}, no token", str(status), text, payload, frozenset({"401"}))

    async def routes(self) -> None:
        token = self.attacker.person.token
        for route in ROUTES:
            base = route.path.partition("{")[0]
            for tried in matrix.ROUTES[route.method, route.path](self.world):
                path, payload = base + tried.path, (tried.path, tried.body)
                status, text = await self.stack.http(route.method, path, json=tried.body)
                self.judge(f"{path}, no token", str(status), text, payload, frozenset({str(tried.anonymous)}))
                if path.startswith("/api/auth/logout"):
                    continue  # it ends the attacker's own login: see below
                status, text = await self.stack.http(route.method, path, token, json=tried.body)
                allowed = tried.admin if self.role == "admin" else tried.user
                self.judge(path, str(status), text, payload, frozenset({str(allowed)}))


@pytest.mark.parametrize("role", ATTACKERS)
async def test_nothing_foreign_is_read_or_written(stack: RunningStack, role: str) -> None:
    async with (
        victims(stack) as (world, phones, former),
        phone(stack, role.rsplit(maxsplit=1)[-1]) as stranger,
    ):
        attacker = former if role == "former driver" else stranger
        if attacker.person.role in ("driver", "courier"):
            await online(attacker, stack.spot("patient").at(), ("economy", "parcel"))
        await _drain_reaches_now(stack)
        rows, records = await _rows(stack, world), await _redis_state(stack, world)
        assert {"rides", "packages", "offers", "chat_messages", "ride_events", "locations"} <= set(rows)
        heard = {name: len(client.log) for name, client in phones.items()}
        own = len(attacker.log)

        run = Run(stack, world, attacker, role)
        await run.events()
        await run.routes()
        await _drain_reaches_now(stack)
        assert not run.wrong, "\n".join(run.wrong)
        assert await _redis_state(stack, world) == records
        assert await _rows(stack, world) == rows
        if role != "admin":
            came = json.dumps(attacker.log[own:])
            hidden = (*world.secrets, world.ride, world.package, world.code)
            assert [secret for secret in hidden if _stands_in(secret, came)] == []
        for name, client in phones.items():
            said = [event for event, _ in client.log[heard[name] :]]
            assert set(said) <= ({"user_joined_ride", "user_left_ride", "user_joined_package", "user_left_package"}
                                 if role == "admin" else set()), f"{name} heard {said}"  # fmt: skip
        # and the victims' lives go on
        await drive(phones["driver"], phones["passenger"], world.ride, world.spot.at(260.0))
        assert role == "admin" or attacker.heard("driver_location") == []


async def test_what_an_admin_may_see_is_what_the_others_did_not(stack: RunningStack) -> None:
    """The search for secrets has eyes: it finds them where they may be."""
    async with victims(stack) as (world, _, _):
        await _drain_reaches_now(stack)
        admin = await stack.person("admin")
        for path in (f"/api/rides/{world.ride}", f"/api/packages/{world.package}", "/api/users?limit=1000"):
            status, text = await stack.http("GET", path, admin.token)
            assert status == 200 and _sent_back(text, None, world), path
            assert not _stands_in(world.code, text)


async def test_logging_out_ends_the_own_login_only(stack: RunningStack) -> None:
    victim, attacker = await stack.person("passenger"), await stack.person("passenger")
    named = {"sessionId": victim.session_id, "userId": victim.id}
    status, _ = await stack.http("POST", "/api/auth/logout", attacker.token, json=named)
    assert status == 200
    assert (await stack.get(attacker, "/api/auth/verify"))[0] == 401
    assert (await stack.get(victim, "/api/auth/verify"))[0] == 200


async def test_a_profile_is_the_own_whatever_the_body_says(stack: RunningStack) -> None:
    victim, attacker = await stack.person("passenger"), await stack.person("passenger")
    body = {"id": victim.id, "userId": victim.id, "role": "admin", "firstName": "Mallory"}
    await stack.http("PATCH", "/api/auth/profile", attacker.token, json=body)
    (changed,) = await stack.rows("select first_name, role from users where id = $1", attacker.id)
    assert changed == {"first_name": "Mallory", "role": "passenger"}
    (kept,) = await stack.rows("select first_name, role from users where id = $1", victim.id)
    assert kept["first_name"] != "Mallory"


async def test_ids_of_another_ride_mean_nothing_in_ones_own(stack: RunningStack) -> None:
    """A stranger's message id, said in the attacker's own chat, touches the attacker's chat only."""
    async with victims(stack) as (world, phones, _):
        spot = stack.spot("patient")
        async with phone(stack, "driver") as driver, phone(stack, "passenger") as attacker:
            await online(driver, spot.at(100.0))
            ride = await request(attacker, spot)
            await accepted(driver, ride)
            line = {"rideId": ride, "id": world.message, "message": "mine now"}
            await attacker.call("send_message", line)
            await attacker.call("message_read", {"rideId": ride, "messageId": world.message})
            assert await attacker.refused("send_message", {"rideId": new_id(), "message": "?"}) == "not_found"
            await _drain_reaches_now(stack)
            rows = await wait_until(
                lambda: stack.rows(
                    "select job_id, text from chat_messages where id = $1 order by text", world.message
                )
            )
            assert {row["job_id"] for row in rows} == {world.ride, ride}
            reads = await stack.rows("select job_id from chat_reads where message_id = $1", world.message)
            assert [read["job_id"] for read in reads] == [ride]
            assert phones["passenger"].heard("message_read") == []
