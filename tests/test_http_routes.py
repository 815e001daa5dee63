"""Every route of the table: who may, whose things he sees, and what it says when something is wrong."""

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import pytest_asyncio

from dispatch.commands import CODES
from server.http.commands import STATUS
from server.http.routes import ROUTES, Route
from server.seed import LOGINS, seed
from server.settings import Settings
from tests.support_http import LOW_COST, Answer, Client, http_server, refused

NOBODY = "00000000-0000-7000-8000-000000000000"
BAD_TOKEN = "eyJhbGciOiJub25lIn0.e30."


@pytest_asyncio.fixture
async def client(database_url: str, tmp_path: Path) -> AsyncIterator[Client]:
    async with http_server(database_url, tmp_path) as client:
        yield client


class Town(NamedTuple):
    """The seed's people with tokens, and a ride and a parcel of theirs; `stranger` has part in nothing."""

    client: Client
    tokens: dict[str, str]
    ids: dict[str, str]
    ride: str
    package: str


@pytest_asyncio.fixture
async def town(database_url: str, tmp_path: Path) -> AsyncIterator[Town]:
    settings = Settings(database_url=database_url, bcrypt_cost=LOW_COST)
    await seed(settings)
    async with http_server(database_url, tmp_path, settings=settings) as client:
        database, ctx = client.ctx.database, client.ctx
        rows = await database.fetch("select id, split_part(email, '@', 1) as name, role from users")
        ids = {row["name"]: row["id"] for row in rows}
        tokens = {}
        for row in rows:
            session = await ctx.accounts.open_session(row["id"], life_s=600)
            tokens[row["name"]] = ctx.keyring.mint(
                row["id"], row["role"], session.session_id, now_s=time.time(), life_s=600
            )
        ids["stranger"], tokens["stranger"] = await client.person("stranger@example.org")
        ride = await database.fetchval("select id from rides where state = 'completed' limit 1")
        package = await database.fetchval("select id from packages where state = 'delivered' limit 1")
        yield Town(client, tokens, ids, ride, package)


def fill(route: Route, town: Town) -> str:
    """The route's path with ids of things that exist and are not the stranger's."""
    path = route.path.replace("{event}", "cancel_ride").replace("{other}", town.ids["driver"])
    if "users" in path:
        return path.replace("{id}", town.ids["passenger"])
    return path.replace("{id}", town.ride if "rides" in path else town.package)


# Who may


async def test_strangers_are_kept_out_of_every_route_that_is_not_public(town: Town) -> None:
    for route in ROUTES:
        answer = await town.client.ask(route.method, fill(route, town))
        if route.who == "public":
            assert answer.status not in (401, 403) or route.path == "/api/auth/refresh", route
            continue
        refused(answer, route.no_token)
        for bad in (BAD_TOKEN, "x", town.tokens["admin"][:-4] + "AAAA"):
            refused(await town.client.ask(route.method, fill(route, town), token=bad), 401)


async def test_only_administrators_reach_what_is_theirs(town: Town) -> None:
    admin_only = [route for route in ROUTES if route.who == "admin"]
    elsewhere = {route.path for route in admin_only if not route.path.startswith("/api/admin/")}
    assert elsewhere == {"/api/users", "/api/couriers", "/api/courier/analytics"}
    for route in admin_only:
        for name in ("passenger", "driver", "courier", "stranger"):
            refused(await town.client.ask(route.method, fill(route, town), token=town.tokens[name]), 403)
        assert (
            await town.client.ask(route.method, fill(route, town), token=town.tokens["admin"])
        ).status == 200


def own(_: Town, answer: Answer) -> None:
    """The stranger sees his own account."""
    data = answer.body["data"]
    assert data.get("user", data)["email"] == "stranger@example.org"


def empty(_: Town, answer: Answer) -> None:
    assert answer.status == 200 and answer.body["data"] == []


def missing(_: Town, answer: Answer) -> None:
    refused(answer, 404)


def to_the_gate(town: Town, answer: Answer) -> None:
    """The gate hears who really asks, and decides."""
    assert answer.status == 200
    who, event, _ = town.client.gate.heard[-1]
    assert (who.user_id, who.role, event) == (town.ids["stranger"], "passenger", "cancel_ride")


def done(_: Town, answer: Answer) -> None:
    assert answer.status == 200


def unrated(_: Town, answer: Answer) -> None:
    """A job of others takes no stars of his: he does not even get to hear that it is there."""
    refused(answer, 404)


def places(_: Town, answer: Answer) -> None:
    """Areas as everybody sees them, without prices and policy."""
    data = answer.body["data"]
    assert data["areas"]["type"] == "FeatureCollection" and (data["tiles"], data["base"]) == (None, False)
    assert "prices" not in str(data) and "policy" not in str(data)


# What a second user meets on each route that lets him in; a new route without an entry fails the test below.
SECOND_USER: dict[tuple[str, str], Any] = {
    ("GET", "/api/auth/verify"): own,
    ("GET", "/api/auth/profile"): own,
    ("PATCH", "/api/auth/profile"): own,
    ("PUT", "/api/auth/profile"): own,
    ("POST", "/api/commands/{event}"): to_the_gate,
    ("GET", "/api/rides"): empty,
    ("GET", "/api/rides/{id}"): missing,
    ("GET", "/api/packages"): empty,
    ("GET", "/api/packages/{id}"): missing,
    ("POST", "/api/rides/{id}/rate"): unrated,
    ("POST", "/api/packages/{id}/rate"): unrated,
    ("POST", "/api/users/{id}/block"): missing,
    ("DELETE", "/api/users/{id}/block"): done,
    ("GET", "/api/users/blocked"): empty,
    ("GET", "/api/drivers/me/decisions"): empty,
    ("GET", "/api/map"): places,
    ("GET", "/api/map/base"): missing,
    ("POST", "/api/auth/logout"): done,
}


async def test_a_second_user_meets_nothing_foreign(town: Town) -> None:
    mine = {(route.method, route.path): route for route in ROUTES if route.who == "user"}
    assert set(mine) == set(SECOND_USER), "a route without an entry in SECOND_USER"
    lies = dict.fromkeys(("userId", "id", "senderId", "reviewerId"), town.ids["passenger"]) | {"rating": 1}
    for key, check in SECOND_USER.items():
        route = mine[key]
        body = lies if route.method != "GET" else None
        path = fill(route, town) + "?userId=" + town.ids["passenger"]
        check(town, await town.client.ask(route.method, path, body, token=town.tokens["stranger"]))
    assert (await town.client.get("/api/auth/verify", token=town.tokens["passenger"])).status == 200


async def test_the_parties_see_their_job_and_an_administrator_sees_it_too(town: Town) -> None:
    for name, path in (
        ("passenger", f"/api/rides/{town.ride}"),
        ("driver", f"/api/rides/{town.ride}"),
        ("admin", f"/api/rides/{town.ride}"),
        ("sender", f"/api/packages/{town.package}"),
        ("courier", f"/api/packages/{town.package}"),
        ("admin", f"/api/packages/{town.package}"),
    ):
        answer = await town.client.get(path, token=town.tokens[name])
        assert answer.status == 200 and {"facts", "messages", "track"} <= set(answer.body["data"])
        assert answer.body["data"]["track"]["type"] == "FeatureCollection" and "historyLagMs" in answer.body
        assert '"code"' not in str(answer.body)
    for wrong in (NOBODY, "R001", "'", "%00", "temp_1"):
        refused(
            await town.client.get(f"/api/rides/{wrong}", token=town.tokens["admin"]), 404, "RIDE_NOT_FOUND"
        )
    refused(
        await town.client.get(f"/api/packages/{town.ride}", token=town.tokens["admin"]),
        404,
        "PACKAGE_NOT_FOUND",
    )


# Lists


async def test_own_history_comes_in_pages(town: Town) -> None:
    token, seen, cursor = town.tokens["passenger"], [], ""
    for _ in range(10):
        answer = await town.client.get(f"/api/rides?limit=2&_t=1{cursor}", token=token)
        seen += [ride["id"] for ride in answer.body["data"]]
        if not answer.body["pagination"]["hasMore"]:
            break
        cursor = "&cursor=" + answer.body["pagination"]["nextCursor"]
    everything = (await town.client.get("/api/rides?limit=1000", token=token)).body["data"]
    assert seen == [ride["id"] for ride in everything] and len(set(seen)) == len(seen) > 2
    driven = await town.client.get("/api/rides?role=requester", token=town.tokens["driver"])
    assert driven.body["data"] == []
    cancelled = await town.client.get("/api/rides?status=cancelled", token=token)
    assert {ride["status"] for ride in cancelled.body["data"]} == {"cancelled"}


@pytest.mark.parametrize("query", ["limit=0", "limit=x", "limit=-1", "limit=٣", "limit=9999999999", "cursor=x",
                                   "cursor=%00", "cursor=MDAwMQ", "status=%00", "status=a'b", "status=flying",
                                   "status=picked_up", "role=king"])  # fmt: skip
async def test_a_wrong_query_is_refused(town: Town, query: str) -> None:
    refused(
        await town.client.get(f"/api/rides?{query}", token=town.tokens["passenger"]), 400, "VALIDATION_ERROR"
    )


async def test_the_administrators_lists_have_the_panels_rows(town: Town) -> None:
    token = town.tokens["admin"]
    users = (await town.client.get("/api/users", token=token)).body["data"]
    assert len(users) == len(LOGINS) + 1
    assert {"id", "name", "email", "role", "status", "verified", "joinDate", "lastActive"} <= set(users[0])
    couriers = (await town.client.get("/api/couriers", token=token)).body["data"]
    assert [courier["name"] for courier in couriers] == ["Olena Bondar"]
    rides = (await town.client.get("/api/rides", token=token)).body["data"]
    assert {"id", "driverName", "route", "status", "passengers", "price"} <= set(rides[0])
    packages = (await town.client.get("/api/packages", token=token)).body["data"]
    assert {"id", "title", "pickup", "dropoff", "trackingCode", "sender"} <= set(packages[0])
    figures = (await town.client.get("/api/courier/analytics", token=token)).body
    assert figures["packages"] == figures["data"]["packages"] and figures["packages"]["total"] == 3
    assert isinstance(figures["packages"]["totalRevenue"], int | float) and "today" in figures


# What no route serves


@pytest.mark.parametrize(
    ("method", "path", "status", "allowed"),
    [
        ("GET", "/api/auth/login", 405, "POST"),
        ("GET", "/api/api/auth/login", 405, "POST"),
        ("DELETE", "/api/auth/profile", 405, "GET, PATCH, PUT"),
        ("GET", "/api/commands/ping", 405, "POST"),
        ("POST", "/api/rides/some", 405, "GET"),
        ("POST", "/health", 405, "GET"),
        ("OPTIONS", "/api/users", 405, "GET"),
        ("GET", "/favicon.ico", 404, None),
        ("GET", "/api/nothing", 404, None),
        ("GET", "/api/commands/a/b", 404, None),
    ],
)
async def test_what_no_route_serves(
    client: Client, method: str, path: str, status: int, allowed: str | None
) -> None:
    answer = await client.ask(method, path)
    refused(answer, status, "METHOD_NOT_ALLOWED" if allowed else "ROUTE_NOT_FOUND")
    assert answer.headers.get("Allow") == allowed


async def test_a_counter_has_one_series(client: Client) -> None:
    await client.get("/health")
    assert "_created" not in (await client.get("/metrics")).body


# Commands


async def test_a_command_goes_to_the_gate_as_it_is(town: Town) -> None:
    town.client.gate.ack = {"ok": True, "rideId": "r1", "state": "searching"}
    body = {"rideId": "r1", "userId": "somebody", "anything": [1, None]}
    answer = await town.client.post("/api/commands/request_ride", body, token=town.tokens["passenger"])
    assert answer.status == 200 and answer.body["data"] == {"rideId": "r1", "state": "searching"}
    who, event, heard = town.client.gate.heard[-1]
    assert (who.user_id, who.name, event, heard) == (
        town.ids["passenger"], "Mira Okafor", "request_ride", body
    )  # fmt: skip
    assert (await town.client.post("/api/commands/ping", token=town.tokens["passenger"])).status == 200
    assert town.client.gate.heard[-1][2] == {}


async def test_every_refusal_has_its_status(town: Town) -> None:
    assert set(STATUS) == set(CODES), "a refusal of the protocol without an HTTP status"
    for code, (meaning, retry) in CODES.items():
        town.client.gate.ack = {"ok": False, "error": {"code": code, "message": meaning, "retry": retry}}
        answer = await town.client.post("/api/commands/accept_offer", {}, token=town.tokens["driver"])
        refused(answer, STATUS[code], code)
        assert answer.body["error"] == meaning and answer.body["details"] == {"retry": retry}
        assert ("Retry-After" in answer.headers) == (answer.status in (429, 503))
