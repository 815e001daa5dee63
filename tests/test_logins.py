"""A login that ends closes its sockets on every node within seconds, and an outage of PostgreSQL closes nobody's."""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path

import pytest
from redis.asyncio import Redis

from rooms.logins import ASK_EVERY_S, ENDED
from storage import keys
from tests.line import line_to
from tests.phones import Phone, online, phone, raw
from tests.stack import HOST, Person, RunningStack
from tests.support import wait_until
from tests.test_coming_back import Returning, a_node
from tests.test_js_client import node as javascript

WITHIN_S = 5.0


async def closed(one: Phone) -> None:
    """It hears why, and is let go."""
    await wait_until(lambda: not one.sio.connected, WITHIN_S)
    (told,) = one.heard("error")
    assert told == {"code": "unauthenticated", "message": ENDED, "retry": False, "event": ""}


async def set_user(stack: RunningStack, person: Person, **values: str) -> None:
    for name, value in values.items():
        await stack.database.execute(f"update users set {name} = $2 where id = $1", person.id, value)


async def revoke(stack: RunningStack, person: Person) -> None:
    await stack.database.execute("update sessions set revoked_at = now() where id = $1", person.session_id)


async def test_sockets_on_both_nodes(stack: RunningStack) -> None:
    """Logout on one node; somebody else, and the same user's other login, stay."""
    person, other = await stack.people("passenger", 2)
    async with (
        a_node(stack) as node,
        phone(stack, person) as here,
        phone(stack.at(node.port), person) as there,
        phone(stack.at(node.port), person, "polling") as polling,
        phone(stack.at(node.port), other) as stays,
    ):
        status, _ = await stack.http("POST", "/api/auth/logout", person.token)
        assert status == 200
        await asyncio.gather(*map(closed, (here, there, polling)))
        assert stays.sio.connected and not stays.heard("error")
        assert (await stays.call("ping"))["ok"]


async def test_the_stock_client_stops(stack: RunningStack) -> None:
    """It comes back once, is told CONNECT_ERROR, and tries no more."""
    person = await stack.person("passenger")
    async with a_node(stack) as other:
        script = asyncio.ensure_future(javascript("ended.mjs", f"http://{HOST}:{other.port}", person.token))
        await wait_until(lambda: other.registry.sessions or script.done(), 10.0)
        await revoke(stack, person)
        told = await script
    assert told == {
        "heard": [["connected", None], ["error", "unauthenticated"]],
        "reason": "transport close",
        "refused": {"code": "unauthenticated", "retry": False},
        "active": False,
    }


async def test_block(stack: RunningStack) -> None:
    person = await stack.person("driver")
    async with (
        a_node(stack) as node,
        phone(stack, person) as here,
        phone(stack.at(node.port), person) as there,
    ):
        await set_user(stack, person, status="suspended")
        await asyncio.gather(closed(here), closed(there))
    await set_user(stack, person, status="active")
    async with phone(stack, person) as back:
        assert back.sio.connected


async def test_role(stack: RunningStack) -> None:
    """The client comes back by itself, as what he now is, and is not closed for what he was."""
    person = await stack.person("driver")
    one = Returning(person)
    try:
        await one.connect(stack.url)
        await online(one, stack.spot().at())
        await set_user(stack, person, role="passenger")
        await one.back(1)
        assert await one.refused("go_online", {"classes": ["economy"], **stack.spot().at()}) == "forbidden"
        before = len(one.heard("connected"))
        await a_question_later()
        assert one.sio.connected and len(one.heard("connected")) == before
    finally:
        await one.close()


async def a_question_later() -> None:
    until_s = time.monotonic() + 1.5 * ASK_EVERY_S
    await wait_until(lambda: time.monotonic() > until_s, 2 * ASK_EVERY_S)


async def test_a_deleted_session(stack: RunningStack) -> None:
    """As when the oldest login goes because there are too many."""
    async with phone(stack, "passenger") as one:
        await stack.database.execute("delete from sessions where id = $1", one.person.session_id)
        await closed(one)


async def test_no_handshake_slips_through(stack: RunningStack) -> None:
    """Logins that end while their clients come in: none is left open."""
    people = await stack.people("passenger", 20)
    phones = [Phone(person) for person in people]

    async def come(one: Phone) -> None:
        try:
            await one.connect(stack.url)
        except Exception as refused:  # too late already
            assert "Connection" in type(refused).__name__ or isinstance(refused, TimeoutError)

    try:
        await asyncio.gather(*map(come, phones), *(revoke(stack, person) for person in people))
        await wait_until(lambda: not any(one.sio.connected for one in phones), WITHIN_S)
    finally:
        await asyncio.gather(*(one.close() for one in phones))


async def test_http(stack: RunningStack) -> None:
    """A driver over HTTP alone: his login ends, and he is offered nothing more."""
    person = await stack.person("driver")
    async with a_node(stack) as other:
        there, leases = stack.at(other.port), other.gate.house.fixes.leases
        body = {"classes": ["economy"], **stack.spot().at()}
        status, _ = await there.http("POST", "/api/commands/go_online", person.token, json=body)
        assert status == 200 and other.gate.http_sessions and len(leases) == 1
        await revoke(stack, person)
        await wait_until(lambda: not other.gate.http_sessions and not len(leases), WITHIN_S)
        status, _ = await there.http("POST", "/api/commands/ping", person.token, json={})
        assert status == 401


async def test_an_http_login_with_a_new_role(stack: RunningStack) -> None:
    """The driver that it was is moved by nobody, from the next request on."""
    person = await stack.person("driver")
    async with a_node(stack) as other:
        there, leases = stack.at(other.port), other.gate.house.fixes.leases
        body = {"classes": ["economy"], **stack.spot().at()}
        await there.http("POST", "/api/commands/go_online", person.token, json=body)
        assert len(leases) == 1
        await set_user(stack, person, role="passenger")
        status, _ = await there.http("POST", "/api/commands/ping", person.token, json={})
        assert status == 200 and not len(leases)
        assert [session.role for session in other.gate.http_sessions] == ["passenger"]


async def test_who_does_not_read(stack: RunningStack) -> None:
    """His socket is closed though what he is told cannot be written."""
    person = await stack.person("passenger")
    async with a_node(stack) as other, raw(f"http://{HOST}:{other.port}", person.token):
        (session,) = other.registry.all()
        for _ in range(200):
            session.say("notification", {"text": "x" * 60_000})
        await revoke(stack, person)
        await wait_until(lambda: not other.registry.sessions, WITHIN_S + 1.0)


async def test_who_has_left_is_asked_about(stack: RunningStack) -> None:
    """His login ends when he is gone: nobody lets him in by what was known of it."""
    person = await stack.person("passenger")
    async with Redis.from_url(stack.redis_url) as redis:
        known = keys.confirmed("main", person.session_id)
        async with a_node(stack) as node:
            async with phone(stack.at(node.port), person):
                await wait_until(lambda: redis.exists(known), WITHIN_S)
                await a_question_later()
            await set_user(stack, person, status="suspended")
            await wait_until(lambda: _is_gone(redis, known), WITHIN_S)


async def test_who_speaks_over_http_is_known_until_his_login_ends(stack: RunningStack) -> None:
    person = await stack.person("passenger")
    async with Redis.from_url(stack.redis_url) as redis, a_node(stack) as node:
        known = keys.confirmed("main", person.session_id)
        await stack.at(node.port).http("POST", "/api/commands/ping", person.token, json={})
        await wait_until(lambda: redis.exists(known), WITHIN_S)
        await set_user(stack, person, status="suspended")
        await wait_until(lambda: _is_gone(redis, known), WITHIN_S)


async def _is_gone(redis: Redis, key: str) -> bool:
    return not await redis.exists(key)


@pytest.mark.parametrize("how", ["hold", "cut"])
async def test_database_paused(stack: RunningStack, how: str) -> None:
    """Nobody is closed because PostgreSQL cannot be asked; what happened meanwhile is caught up."""
    person, other = await stack.people("passenger", 2)
    with tempfile.TemporaryDirectory(prefix="aryv-line-") as folder:
        async with (
            line_to(stack.database_url, Path(folder)) as (line, url),
            a_node(stack, database_url=url, database_timeout_s=1.0) as node,
            phone(stack.at(node.port), person) as goes,
            phone(stack.at(node.port), other) as stays,
        ):
            getattr(line, how)()
            await wait_until(lambda: line.stopped, WITHIN_S)
            async with phone(stack.at(node.port), person) as back:  # he is known
                await revoke(stack, person)
                await a_question_later()
                assert goes.sio.connected and stays.sio.connected
                line.mend()
                await asyncio.gather(closed(goes), closed(back))
            assert stays.sio.connected
