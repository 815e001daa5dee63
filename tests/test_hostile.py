"""Frames, handshakes and connections of clients who mean no good: refused or closed, and nobody else notices."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import aiohttp
import jwt
import msgspec
import pytest

from rooms import sockets
from rooms.handlers import HANDLERS
from rooms.identity import KeyRing, Ring
from rooms.transport import engine
from server.app import running
from server.settings import Settings
from tests.hostile import bystanding, connections, outcome
from tests.phones import raw
from tests.stack import HOST, TOKEN_LIFE_S, RunningStack
from tests.support import wait_until

DEEP = "[" * 20_000
#: A frame after CONNECT, and what must come of it.
FRAMES: list[tuple[str | bytes, str]] = [
    ("", "closed"),
    ("1", "closed"), ("2", "closed"), ("2probe", "closed"), ("6", "closed"), ("7", "closed"), ("9", "closed"),
    ("x", "closed"), ("²", "closed"), ("41", "closed"), ("4" + DEEP, "bad_request"), (b"\x00\x01", "closed"),
    ("40{", "closed"), ('42["' + "x" * 300_000 + '"]', "closed"), ("3", "nothing"), ("5", "nothing"),
    ("4", "bad_request"), ("4a", "bad_request"), ("4²", "bad_request"), ("b", "closed"),
    ("bAAAA", "closed"), ("b!!!", "closed"), ("46", "bad_request"), ("49", "bad_request"),
    ("42", "bad_request"), ("42[", "bad_request"), ("42[]", "bad_request"), ("42{}", "bad_request"),
    ("42[1]", "bad_request"), ("42[null]", "bad_request"), ("42[{}]", "bad_request"), ('42["x"', "bad_request"),
    ('42"ping"', "bad_request"), ('42{"ping":1}', "bad_request"), ('42[["ping"]]', "bad_request"),
    ('42["ping"]x', "bad_request"), ('42/admin,["ping"]', "bad_request"), ('44{"message":"x"}', "bad_request"),
    # binary events and attachments that are announced and never come
    ('459999999999-["x",{"_placeholder":true,"num":0}]', "bad_request"),
    ('451-["ping",{"_placeholder":true,"num":0}]', "bad_request"), ("45-", "bad_request"), ("461-[]", "bad_request"),
    # acks that nobody asked for, and ack ids beyond all bounds
    ("43", "nothing"), ("43[]", "nothing"), (f"43{'9' * 50}[]", "nothing"), (f'42{"9" * 40}["ping"]', "bad_request"),
    # values that JSON or the database does not know
    ('421["ping",NaN]', "bad_request"), ('421["ping",{"a":1e999}]', "bad_request"),
    ('421["ping",Infinity]', "bad_request"), ('421["ping",{"a":"\\ud800"}]', "bad_request"),
    ('421["ping",{"a":"\\u0000"}]', "bad_request"), ('421["ping",{"a":"\x00"}]', "bad_request"),
    (f'421["ping",{DEEP}]', "bad_request"), (f'421["ping",{DEEP}{"]" * 20_000}]', "bad_request"),
    ('421["' + "x" * 70_000 + '"]', "too_large"), ('421["ping",{"' + "k" * 60_000 + '":1}]', "bad_request"),
    # names that Socket.IO keeps for itself, or Python might
    *[(f'421["{name}",{{}}]', "bad_request") for name in
      ("connect", "disconnect", "disconnecting", "connect_error", "error", "newListener", "*", "__class__", "",
       "new_message", "driver_assigned", "connected", "catch_all")],
    ('421["ping",{},{}]', "bad_request"), ('421["ping",[]]', "bad_request"), ('421["ping",7]', "bad_request"),
]  # fmt: skip


async def test_rubbish_is_refused_or_closes_its_client_only(stack: RunningStack) -> None:
    async with bystanding(stack) as pair:
        stood = await connections(stack)
        sender = await stack.person("driver")
        wrong = []
        for number, (frame, expected) in enumerate(FRAMES):
            came = await outcome(stack, sender.token, frame)
            if came != expected:
                wrong.append(f"{frame[:60]!r}: {came}, not {expected}")
            if number % 12 == 0:
                await pair.undisturbed()
        came = await outcome(stack, sender.token, b'42["ping","\xff\xfe"]', as_text=True)
        assert came == "closed", "a text frame that is no UTF-8"
        assert not wrong, "\n".join(wrong)
        assert await wait_until(lambda: _are(stack, stood)), "a closed client left its session behind"


async def _are(stack: RunningStack, number: int) -> bool:
    return await connections(stack) == number


async def test_rubbish_again_and_again_closes(stack: RunningStack) -> None:
    async with bystanding(stack):
        person = await stack.person("passenger")
        async with raw(stack.url, person.token) as client:
            for _ in range(sockets.RUBBISH_MAX):
                await client.ws.send_str("42[")
            assert await client.until("49") is None
            errors = [frame for frame in client.frames if frame.startswith('42["error"')]
            assert len(errors) < sockets.RUBBISH_MAX


async def test_shapes_that_no_event_has(stack: RunningStack) -> None:
    """Every event: null, a list, a number … instead of its object, two of them, and fields it does not have."""
    shapes = [
        "[]",
        "[{}]",
        "[[[[]]]]",
        "3.5",
        "true",
        '{"nobody":1}',
        "{},{}",
        '{"userId":{"a":[]},"nobody":[]}',
    ]
    people = {role: await stack.person(role) for role in ("passenger", "driver", "courier", "admin")}
    async with bystanding(stack):
        for event, handler in HANDLERS.items():
            token = people[sorted(handler.who)[0]].token
            for part in (shapes[:4], shapes[4:]):
                async with raw(stack.url, token) as client:
                    for ack, shape in enumerate(part, 1):
                        await client.ws.send_str(f'42{ack}["{event}",{shape}]')
                        answer = await client.answer(ack)
                        assert answer is not None and not answer["ok"], f"{event} {shape}: {answer}"
                        assert answer["error"]["code"] == "bad_request", f"{event} {shape}: {answer}"
                    missing = await client.ask(event, None, 9)
                    assert missing is not None
                    code = missing.get("error", {}).get("code", "ok")
                    required = any(f.required for f in msgspec.structs.fields(handler.message))
                    allowed = (
                        {"bad_request"} if required else {"ok", "bad_request", "wrong_state", "not_found"}
                    )
                    assert code in allowed, f"{event} without an argument: {missing}"


async def test_events_before_connect_and_second_connects(stack: RunningStack) -> None:
    person = await stack.person("passenger")
    async with bystanding(stack) as pair:
        async with raw(stack.url) as client:
            await client.ws.send_str('421["ping"]')
            assert await client.frame() is None
        stood = await connections(stack)
        async with raw(stack.url, person.token) as client:
            for again in ("40", json.dumps({"token": person.token}), json.dumps({"token": "x"})):
                await client.ws.send_str(again if again == "40" else f"40{again}")
                assert await client.until("44") is not None
            await client.ws.send_str("40/admin," + json.dumps({"token": person.token}))
            assert (await client.until("44/admin,")) is not None
            await client.ws.send_str("41/admin,")
            assert await connections(stack) == stood + 1
            assert await client.ask("ping", {}) == {"ok": True}
            pongs = [frame for frame in client.frames if frame == '42["pong"]']
            assert len(pongs) == 1  # one session, told once
        await wait_until(lambda: _are(stack, stood))
        await pair.undisturbed()


async def test_who_says_no_connect_is_closed(
    database_url: str, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither before a CONNECT nor after a DISCONNECT does a socket stay for longer than CONNECT_S."""
    monkeypatch.setattr(engine, "CONNECT_S", 0.3)
    Ring.new().write(tmp_path / "keys.json")
    settings = Settings(
        database_url=database_url,
        redis_url=redis_url,
        port=0,
        keys_file=str(tmp_path / "keys.json"),
        bcrypt_cost=4,
    )
    account = {"firstName": "Ann", "lastName": "Lee", "email": "ann@load.invalid", "phone": "+380501112233"}
    async with running(settings) as node:
        url = f"http://{HOST}:{node.port}"
        async with raw(url) as silent, raw(url) as refused:
            await refused.ws.send_str('40{"token":"nonsense"}')
            assert await refused.until("44") is not None
            assert await silent.frame() is None and await refused.frame() is None
        async with aiohttp.ClientSession() as session:
            body = {**account, "password": "Correct-Horse-7@"}
            async with session.post(f"{url}/api/auth/register", json=body) as welcome:
                token = (await welcome.json())["data"]["accessToken"]
            async with raw(url, token) as leaving:
                opened_s = time.monotonic()
                # beyond the time in which who never comes in is dropped
                await wait_until(lambda: time.monotonic() > opened_s + 2 * engine.CONNECT_S)
                assert await leaving.ask("ping", {}) == {"ok": True}
                await leaving.ws.send_str("41")
                assert await leaving.frame(5.0) is None
            polling = f"{url}/socket.io/?EIO=4&transport=polling"
            async with session.get(polling) as opening:
                sid = json.loads((await opening.text())[1:])["sid"]
            async with session.get(f"{polling}&sid={sid}") as ended:
                assert ended.status in (200, 400)
            async with session.post(f"{polling}&sid={sid}", data="40{}") as gone:
                assert gone.status == 400


def _tokens(stack: RunningStack, person: Any, revoked: Any, other: KeyRing) -> dict[str, Any]:
    now_s = time.time()
    claims = jwt.decode(person.token, options={"verify_signature": False})
    head, body, signature = person.token.split(".")
    kid = jwt.get_unverified_header(person.token)["kid"]
    mint = stack.keyring.mint
    return {
        "missing": None,
        "empty": "",
        "no token": "not-a-token",
        "forged": other.mint(person.id, "admin", person.session_id, now_s=now_s, life_s=TOKEN_LIFE_S),
        "forged under our kid": jwt.encode(claims | {"role": "admin"}, "x" * 32, "HS256", headers={"kid": kid}),
        "alg none": jwt.encode(claims, None, "none", headers={"kid": kid}),
        "alg none, signed": f"{jwt.encode(claims, None, 'none').rstrip('.')}.{signature}",
        "another body": f"{head}.{jwt.encode(claims | {'role': 'admin'}, 'x' * 32).split('.')[1]}.{signature}",
        "expired": mint(person.id, person.role, person.session_id, now_s=now_s - 7200, life_s=3600),
        "not yet": mint(person.id, person.role, person.session_id, now_s=now_s + 7200, life_s=3600),
        "revoked": revoked.token,
        "another's session": mint(person.id, person.role, revoked.session_id, now_s=now_s, life_s=3600),
        "nobody's session": mint(person.id, person.role, person.id, now_s=now_s, life_s=3600),
        "a number": 17, "a list": [person.token], "an object": {"token": person.token}, "huge": "x" * 60_000,
        "cut": person.token[:-2], "body alone": body,
    }  # fmt: skip


async def test_tokens_that_prove_nothing(stack: RunningStack, tmp_path: Path) -> None:
    person, revoked = await stack.person("passenger"), await stack.person("passenger")
    assert (await stack.http("POST", "/api/auth/logout", revoked.token))[0] == 200
    Ring.new().write(tmp_path / "keys.json")
    other = KeyRing.load(tmp_path / "keys.json", issuer=stack.keyring.issuer, audience=stack.keyring.audience)
    mark = stack.log_mark()
    async with bystanding(stack) as pair:
        stood = await connections(stack)
        for name, token in _tokens(stack, person, revoked, other).items():
            async with raw(stack.url) as client:
                await client.ws.send_str("40" + json.dumps({"token": token, "userId": person.id}))
                refusal = await client.until("44")
                assert refusal is not None, name
                said = json.loads(refusal[2:])
                assert said["data"] == {"code": "unauthenticated", "retry": False}, name
                assert said["message"] == "Authentication failed", name
                await client.ws.send_str('421["ping"]')
                assert await client.frame() is None, f"{name}: heard before it came in"
            if isinstance(token, str) and token and len(token) < 8000:
                assert (await stack.http("GET", "/api/auth/verify", token))[0] == 401, name
                assert token not in stack.log_since(mark)
        for auth in ("[]", '"x"', "7", "null", '[{"token":1}]'):
            async with raw(stack.url) as client:
                await client.ws.send_str(f"40{auth}")
                answer = await client.frame()
                assert answer is None or answer.startswith("44"), auth
        assert await connections(stack) == stood
        await pair.undisturbed()
