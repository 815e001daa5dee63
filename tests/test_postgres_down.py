"""PostgreSQL is away, or does not answer: what needs it says so within a bounded time, and live work goes on."""

import json
import secrets
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from server.http.context import LOGIN_TRIES
from storage import keys
from tests.phones import Phone, assigned_ride, drive, new_id, phone, raw
from tests.postgreskit import OwnPostgres, own_postgres
from tests.stack import ERROR, Person, RunningStack, private_stack
from tests.support import wait_until

QUERY_S = 1.0
AT_ONCE_S = 1.5  # a refused connection
BOUND_S = QUERY_S * 3 + 1.0


@pytest.fixture(scope="module")
def postgres() -> Iterator[OwnPostgres]:
    with own_postgres() as server:
        yield server


@pytest_asyncio.fixture(scope="module")
async def stack(postgres: OwnPostgres) -> AsyncIterator[RunningStack]:
    async with private_stack(database_url=postgres.url, DISPATCH_DATABASE_TIMEOUT_S=str(QUERY_S)) as running:
        yield running
        assert not ERROR.search(running.log_since({"serve": 0, "drain": 0}))


async def login(stack: RunningStack) -> int:
    body = {"email": "nobody@load.invalid", "password": "wrong"}
    return (await stack.http("POST", "/api/auth/login", json=body))[0]


async def are_503(stack: RunningStack, who: Phone, within_s: float) -> None:
    """Login and history say that they cannot, and how soon to ask again."""
    token = who.person.token
    asked = [
        ("POST", "/api/auth/login", "", {"json": {"email": "a@load.invalid", "password": "x"}}),
        ("POST", "/api/auth/refresh", "", {"json": {"refreshToken": "x" * 43}}),
        ("GET", "/api/rides", token, {}),
    ]
    for method, path, said, more in asked:
        began_s = time.monotonic()
        status, text = await stack.http(method, path, said, **more)
        assert (status, '"success":false' in text) == (503, True), f"{path}: {status} {text}"
        assert time.monotonic() - began_s < within_s, f"{path} took {time.monotonic() - began_s:.1f} s"


async def is_ready(stack: RunningStack) -> None:
    """In time for whoever probes: a balancer must not take all nodes out at once."""
    began_s = time.monotonic()
    status, text = await stack.http("GET", "/ready")
    assert (status, json.loads(text)["data"]["postgresql"]) == (200, False)
    assert time.monotonic() - began_s < AT_ONCE_S


async def ride_on(driver: Phone, passenger: Phone, ride: str, place: dict[str, float]) -> None:
    """A fix, a chat line and a step of the ride, each told to the other."""
    await drive(driver, passenger, ride, place)
    await passenger.call("send_message", {"rideId": ride, "message": "still here", "type": "text"})
    await driver.hears("new_message", rideId=ride, message="still here")
    await driver.call("ride_status_update", {"rideId": ride, "status": "arrived"})
    await passenger.status("arrived")


def named(made_ms: float) -> str:
    """A UUID of version 7."""
    return str(
        uuid.UUID(
            int=int(made_ms) << 80 | 7 << 76 | secrets.randbits(12) << 64 | 2 << 62 | secrets.randbits(62)
        )
    )


async def a_fresh_name(passenger: Phone, asked: dict[str, Any]) -> None:
    """An id of just now is taken, once, and so is a request without any; one that may have been used before is not."""
    now_ms = time.time() * 1000
    for made_ms in (now_ms - 20 * 60_000, now_ms + 5 * 60_000):
        assert await passenger.refused("request_ride", {**asked, "rideId": named(made_ms)}) == "unavailable"
    fresh = {**asked, "rideId": named(now_ms)}
    first = await passenger.call("request_ride", fresh)
    assert await passenger.call("request_ride", fresh) == first
    await passenger.call("cancel_ride", {"rideId": fresh["rideId"]})
    named_by_us = await passenger.call("request_ride", {k: v for k, v in asked.items() if k != "rideId"})
    await passenger.call("cancel_ride", {"rideId": named_by_us["rideId"]})


async def who_comes_meanwhile(stack: RunningStack, known: Phone, *others: str) -> None:
    """Who was there when PostgreSQL went comes back; of anybody else nobody can say who he is. None is refused for
    good: their clients try again. A logout that cannot be written did not happen."""
    assert (await stack.http("POST", "/api/auth/logout", known.person.token))[0] == 503
    async with raw(stack.url, known.person.token):
        pass
    for token in others:
        async with raw(stack.url) as late:
            await late.ws.send_str("40" + json.dumps({"token": token}))
            assert await late.frame() is None


async def confirmed(stack: RunningStack, who: Person) -> bool:
    async with Redis.from_url(stack.redis_url) as redis:
        return bool(await redis.exists(keys.confirmed("main", who.session_id)))


async def over_http(stack: RunningStack, who: Person, **payload: Any) -> int:
    return (await stack.http("POST", "/api/commands/request_ride", who.token, json=payload))[0]


async def commands_over_http(stack: RunningStack, spoke: Person, *others: Person) -> None:
    """Of who spoke so when PostgreSQL went. Of who never did, or whose login had ended, nobody can say who he is."""
    asked = {"class": "economy", **stack.spot().trip}
    assert await over_http(stack, spoke, **asked) == 200
    for other in others:
        status, text = await stack.http("POST", "/api/commands/request_ride", other.token, json=asked)
        assert status == 503 and "cannot use its database" in text
    assert (await stack.http("GET", "/api/rides", spoke.token))[0] == 503


@pytest.mark.parametrize("how", ["killed", "frozen"])
async def test_live_work_goes_on(stack: RunningStack, postgres: OwnPostgres, how: str) -> None:
    spot, within_s = stack.spot(), AT_ONCE_S if how == "killed" else BOUND_S
    stranger, gone, spoke = await stack.people("passenger", 3)
    for person in (gone, spoke):
        assert await over_http(stack, person) == 400
        await wait_until(lambda person=person: confirmed(stack, person), 10.0)
    async with raw(stack.url, gone.token):
        assert (await stack.http("POST", "/api/auth/logout", gone.token))[0] == 200
    async with phone(stack, "driver") as driver, phone(stack, "passenger") as passenger:
        ride = await assigned_ride(passenger, driver, spot)
        assert await login(stack) == 401
        postgres.kill() if how == "killed" else postgres.freeze()
        try:
            await are_503(stack, passenger, within_s)
            await is_ready(stack)
            assert (await stack.http("GET", "/health"))[0] == 200, "alive: a restart would not help"
            if how == "killed":
                tries = [await login(stack) for _ in range(LOGIN_TRIES + 1)]
                assert {*tries} == {503}, "nobody is locked out for asking again"
            await ride_on(driver, passenger, ride, spot.at(200.0))
            asked = {"rideId": new_id(), "class": "economy", **spot.trip}
            assert await passenger.refused("request_ride", asked) == "unavailable"
            if how == "killed":
                await a_fresh_name(passenger, asked)
                await commands_over_http(stack, spoke, stranger, gone)
            await who_comes_meanwhile(stack, passenger, stranger.token, gone.token)
        finally:
            postgres.start() if how == "killed" else postgres.thaw()
        await wait_until(lambda: is_401(stack), 10.0)
        async with raw(stack.url, passenger.person.token):
            pass
        for status in ("in_progress", "completed"):
            await driver.call("ride_status_update", {"rideId": ride, "status": status})
        sql = "select state from rides where id = $1 and state = 'completed'"
        assert await stack.drained(sql, ride)
        said = await stack.rows("select text from chat_messages where job_id = $1", ride)
        assert [row["text"] for row in said] == ["still here"]
        passenger.assert_gapless(f"ride:{ride}")


async def is_401(stack: RunningStack) -> bool:
    return await login(stack) == 401
