"""Accounts over HTTP, on a real server and database: the apps' shapes, and what nobody may learn or do."""

import asyncio
import base64
import json
import logging
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from server.http.context import LOGIN_TRIES
from server.http.limits import Limiter
from server.settings import Settings
from tests.support_http import PASSWORD, Client, http_server, refused

NEW = {
    "email": "ada@example.org",
    "password": PASSWORD,
    "firstName": "Ada",
    "lastName": "Byron",
    "phone": "+4915100001",
}


@pytest_asyncio.fixture
async def client(database_url: str, tmp_path: Path) -> AsyncIterator[Client]:
    async with http_server(database_url, tmp_path) as client:
        yield client


async def test_register_login_refresh_verify_logout(client: Client) -> None:
    made = await client.post("/api/auth/register", NEW)
    assert made.status == 201 and made.body["success"] is True
    data = made.body["data"]
    assert set(data) == {"user", "accessToken", "refreshToken", "expiresIn"} and data["expiresIn"] == 86_400
    user = data["user"]
    assert (user["email"], user["role"], user["status"], user["phone"]) == (
        NEW["email"], "passenger", "active", NEW["phone"]
    )  # fmt: skip
    assert "password" not in json.dumps(made.body).lower()

    login = await client.post(
        "/api/auth/login?_t=1", {"email": "ADA@example.org", "password": PASSWORD, "x": {}}
    )
    assert login.status == 200 and login.body["data"]["user"]["id"] == user["id"]
    token, renew = login.body["data"]["accessToken"], login.body["data"]["refreshToken"]
    body = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
    assert body["sub"] == body["userId"] == user["id"] and body["exp"] - body["iat"] == 86_400

    for _ in range(2):  # the apps renew twice with the same one
        fresh = await client.post("/api/auth/refresh", {"refreshToken": renew})
        assert fresh.status == 200 and fresh.body["data"]["refreshToken"] == renew
    token = fresh.body["data"]["accessToken"]
    verified = await client.get("/api/auth/verify", token=token)
    assert verified.body["data"]["tokenValid"] is True and verified.body["data"]["user"]["id"] == user["id"]
    assert set(verified.body["data"]["user"]) == set(user)
    assert (await client.get("/api/auth/profile", token=token)).body["data"]["id"] == user["id"]

    assert (await client.post("/api/auth/logout", token=token)).status == 200
    refused(await client.get("/api/auth/verify", token=token), 401)
    refused(await client.post("/api/auth/refresh", {"refreshToken": renew}), 401)
    other = made.body["data"]["accessToken"]
    assert (await client.get("/api/auth/verify", token=other)).status == 200, "another login lives on"


async def test_the_profile_changes_what_is_ones_own(client: Client) -> None:
    user_id, token = await client.person("ada@example.org")
    for method in ("PATCH", "PUT"):
        answer = await client.ask(
            method, "/api/auth/profile",
            {"firstName": " Augusta ", "phone": "+49123", "lastName": "", "role": "admin", "status": "suspended",
             "email": "root@example.org", "id": "x", "profilePicture": None, "_t": 5},
            token=token,
        )  # fmt: skip
        data = answer.body["data"]
        assert (data["firstName"], data["lastName"], data["phone"]) == ("Augusta", "Byron", "+49123")
        assert (data["role"], data["status"], data["email"]) == ("passenger", "active", "ada@example.org")
        assert data["id"] == user_id
    refused(await client.ask("PATCH", "/api/auth/profile", {"phone": "0800-CALL"}, token=token), 400)


@pytest.mark.parametrize("role", ["admin", "courier", "root", ["driver"], 1])
async def test_nobody_registers_with_a_privileged_role(client: Client, role: Any) -> None:
    answer = await client.post("/api/auth/register", {**NEW, "role": role})
    refused(answer, 400, "VALIDATION_ERROR")
    assert answer.body["details"][0]["field"] == "role"
    assert await client.ctx.accounts.find_by_email(NEW["email"]) is None


async def test_a_driver_may_register(client: Client) -> None:
    made = await client.post("/api/auth/register", {**NEW, "role": "driver", "dateOfBirth": "1990-12-31"})
    assert made.status == 201 and made.body["data"]["user"]["role"] == "driver"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("email", "no address"), ("email", None), ("email", "a" * 300 + "@b.example"), ("email", "a\0@b.example"),
        ("password", "short1@"), ("password", "alllowercase1@"), ("password", "NoDigits@@"), ("password", "NoSign123"),
        ("password", "Aa1@" + "x" * 69), ("password", None), ("password", 12345678),
        ("firstName", ""), ("firstName", "x" * 101), ("firstName", "Ada\0"), ("firstName", ["Ada"]),
        ("lastName", "   "), ("phone", "12345"), ("phone", "+1234567890123456"), ("phone", "+٤٩١٢٣"),
        ("dateOfBirth", "tomorrow"), ("dateOfBirth", "9999-01-01"),
    ],
)  # fmt: skip
async def test_a_wrong_field_is_named(client: Client, field: str, value: Any) -> None:
    answer = await client.post("/api/auth/register", {**NEW, field: value})
    refused(answer, 400, "VALIDATION_ERROR")
    assert [detail["field"] for detail in answer.body["details"]] == [field]


async def test_an_address_is_registered_once(client: Client) -> None:
    assert (await client.post("/api/auth/register", NEW)).status == 201
    refused(await client.post("/api/auth/register", {**NEW, "email": "ADA@EXAMPLE.ORG"}), 409, "EMAIL_EXISTS")


async def test_who_guesses_learns_nothing(client: Client) -> None:
    await client.person("ada@example.org")
    await client.ctx.database.execute(
        "insert into users (email, password_hash, first_name, last_name) values ('load@example.org', '', 'A', 'B')"
    )
    answers = [
        await client.post("/api/auth/login", {"email": email, "password": password})
        for email, password in (
            ("ada@example.org", "Wrong-Horse-7@"),
            ("nobody@example.org", PASSWORD),
            ("load@example.org", ""), ("load@example.org", "-"),
            ("not an address", PASSWORD), ("a\0@example.org", PASSWORD),
            ("ada@example.org", "x" * 5_000),
        )
    ]  # fmt: skip
    assert answers.pop(2).status == 400  # an empty password is no password
    for answer in answers:
        refused(answer, 401, "UNAUTHORIZED")
        assert answer.body["error"] == "Email or password is wrong."


async def test_an_unknown_address_takes_as_long_as_a_known_one(database_url: str, tmp_path: Path) -> None:
    settings = Settings(bcrypt_cost=9)
    async with http_server(database_url, tmp_path, settings=settings) as client:
        await client.person("ada@example.org")

        async def seconds(email: str) -> float:
            best_s = 1e9
            for _ in range(4):
                began_s = time.process_time()  # the server is in this process; others' work is not its own
                await client.post("/api/auth/login", {"email": email, "password": "Wrong-Horse-7@"})
                best_s = min(best_s, time.process_time() - began_s)
            return best_s

        known, unknown = await seconds("ada@example.org"), await seconds("nobody@example.org")
        assert 0.5 < unknown / known < 2


async def test_only_the_right_password_hears_that_an_account_is_blocked(client: Client) -> None:
    user_id, token = await client.person("ada@example.org")
    await client.ctx.database.execute("update users set status = 'suspended' where id = $1", user_id)
    refused(
        await client.post("/api/auth/login", {"email": "ada@example.org", "password": "Wrong-Horse-7@"}), 401
    )
    refused(await client.post("/api/auth/login", {"email": "ada@example.org", "password": PASSWORD}), 403)
    refused(await client.get("/api/auth/profile", token=token), 401)


async def test_tokens_of_one_kind_do_not_pass_for_the_other(client: Client) -> None:
    made = (await client.post("/api/auth/register", NEW)).body["data"]
    refused(await client.get("/api/auth/verify", token=made["refreshToken"]), 401)
    refused(await client.post("/api/auth/refresh", {"refreshToken": made["accessToken"]}), 401)
    for rubbish in (None, 5, "", "x" * 10_000, "\0", {"a": 1}):
        refused(await client.post("/api/auth/refresh", {"refreshToken": rubbish}), 401)


async def test_missing_bad_expired_and_foreign_tokens(client: Client) -> None:
    user_id, token = await client.person("ada@example.org")
    missing = await client.get("/api/auth/verify")
    refused(missing, 401, "UNAUTHORIZED")
    assert missing.headers["WWW-Authenticate"] == "Bearer"
    session_id = client.ctx.keyring.verify(token, time.time()).session_id
    ring = client.ctx.keyring
    old = ring.mint(user_id, "passenger", session_id, now_s=time.time() - 100, life_s=50)
    foreign = ring.mint(
        "01a204ef-0000-7000-8000-000000000000", "admin", session_id, now_s=time.time(), life_s=50
    )
    odd = ring.mint("root", "admin", "'; --", now_s=time.time(), life_s=50)
    for bad in (old, foreign, odd, "x", token[:-3] + "abc", "Bearer " + token, "mock-token"):
        refused(await client.get("/api/auth/verify", token=bad), 401)
    lying = ring.mint(user_id, "admin", session_id, now_s=time.time(), life_s=50)
    refused(await client.get("/api/users", token=lying), 403, "FORBIDDEN")


async def test_guessing_is_limited_per_account_and_address(client: Client) -> None:
    await client.person("ada@example.org")
    await client.person("bob@example.org")
    wrong = {"email": "ada@example.org", "password": "Wrong-Horse-7@"}
    for _ in range(LOGIN_TRIES):
        refused(await client.post("/api/auth/login", wrong), 401)
    for email in ("ada@example.org", "ADA@example.org "):
        limited = await client.post(
            "/api/auth/login", {"email": email, "password": PASSWORD}, headers={"X-Forwarded-For": "10.9.8.7"}
        )
        refused(limited, 429, "LOGIN_RATE_LIMIT_EXCEEDED")
        assert 0 < int(limited.headers["Retry-After"]) <= 900
    assert (
        await client.post("/api/auth/login", {"email": "bob@example.org", "password": PASSWORD})
    ).status == 200


async def test_a_right_password_is_never_counted(client: Client) -> None:
    await client.person("ada@example.org")
    right = {"email": "ada@example.org", "password": PASSWORD}
    for _ in range(LOGIN_TRIES + 2):
        assert (await client.post("/api/auth/login", right)).status == 200


def test_limiters_forget_the_oldest_and_what_is_over() -> None:
    limiter = Limiter(2, 60.0, entries=3)
    for now_s in (0.0, 10.0):
        assert limiter.wait_s("a", now_s) == 0
        limiter.count("a", now_s)
    assert limiter.wait_s("a", 20.0) == 40 and limiter.wait_s("a", 60.0) == 0
    limiter.take_back("a")
    assert limiter.wait_s("a", 20.0) == 0
    for key in ("b", "c", "d"):
        limiter.count(key, 20.0)
    assert len(limiter._seen) == 3
    limiter.take_back("nobody")
    limiter.forget("nobody")


async def test_a_full_queue_of_passwords_says_when_to_come_back(database_url: str, tmp_path: Path) -> None:
    settings = Settings(bcrypt_cost=10, login_queue=2)
    async with http_server(database_url, tmp_path, settings=settings) as client:
        tries = [
            client.post("/api/auth/login", {"email": f"{n}@example.org", "password": PASSWORD})
            for n in range(8)
        ]
        answers = await asyncio.gather(*tries)
        full = [answer for answer in answers if answer.status == 429]
        assert full and {answer.status for answer in answers} == {401, 429}
        for answer in full:
            refused(answer, 429, "RATE_LIMIT_EXCEEDED")
            assert int(answer.headers["Retry-After"]) >= 1


async def test_logins_at_cost_12_leave_the_server_awake(database_url: str, tmp_path: Path) -> None:
    async with http_server(database_url, tmp_path, settings=Settings()) as client:
        await client.person("ada@example.org")
        right = {"email": "ada@example.org", "password": PASSWORD}
        logins = asyncio.gather(*(client.post("/api/auth/login", right) for _ in range(3)))
        waits_s = []
        while not logins.done():
            began_s = time.perf_counter()
            assert (await client.get("/api/websocket/status")).status == 200
            waits_s.append(time.perf_counter() - began_s)
        assert [answer.status for answer in await logins] == [200] * 3
        assert len(waits_s) > 10 and sorted(waits_s)[-2] < 0.2


async def test_nothing_secret_is_logged(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        made = (await client.post("/api/auth/register", NEW)).body["data"]
        await client.post("/api/auth/login", {"email": NEW["email"], "password": "Wrong-Horse-7@"})
        await client.get("/api/auth/verify", token=made["accessToken"] + "x")
    for secret in (PASSWORD, "Wrong-Horse-7@", made["accessToken"], made["refreshToken"], NEW["email"]):
        assert secret not in caplog.text
