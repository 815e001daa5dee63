"""The private seams of python-engineio that rooms/transport/ stands on: see tests/seams.py."""

from __future__ import annotations

import asyncio
import inspect
import logging
from typing import Any

import aiohttp
import engineio
import pytest
from aiohttp import web
from engineio.async_drivers.aiohttp import translate_request

from rooms.transport.engine import HEAVY, Engine
from tests.seams import handled, moved
from tests.transportkit import HOST


async def test_environ_and_origins_as_engineio_makes_them() -> None:
    """`translate_request`, `_cors_allowed_origins`, `_cors_headers`: of a real request."""
    environs: list[dict[str, Any]] = []

    async def handler(request: web.Request) -> web.Response:
        assert not inspect.iscoroutinefunction(translate_request)
        environs.append(translate_request(request))
        return web.Response()

    async with handled(handler) as (port, _), aiohttp.ClientSession() as http:
        headers = {"Origin": "https://a.example", "X-Two": "1"}
        async with http.get(f"http://{HOST}:{port}/?EIO=4&sid=x", headers=headers):
            pass
    seam = moved("engine.py", "engineio.async_drivers.aiohttp.translate_request", "python-engineio")
    (environ,) = environs
    wanted = {
        "REQUEST_METHOD": "GET",
        "QUERY_STRING": "EIO=4&sid=x",
        "HTTP_ORIGIN": "https://a.example",
        "HTTP_X_TWO": "1",
    }
    assert wanted.items() <= environ.items() and "REMOTE_ADDR" in environ, seam
    heavy = [name for name, value in environ.items() if not isinstance(value, str | bool | tuple | None)]
    assert sorted({*heavy} - {"wsgi.errors"}) == sorted(HEAVY), (
        f"{seam}: what keeps a request alive is in HEAVY"
    )
    cors = moved("engine.py", "BaseServer._cors_allowed_origins and _cors_headers", "python-engineio")
    here = f"http://{HOST}:{port}"
    for setting, allowed in (
        (None, [here]),
        ("*", None),
        ("https://a.example", ["https://a.example"]),
        ([], []),
    ):
        engine = Engine(async_mode="aiohttp", cors_allowed_origins=setting)
        assert engine._cors_allowed_origins(environ) == allowed, cors
        named = [
            value for name, value in engine._cors_headers(environ) if name == "Access-Control-Allow-Origin"
        ]
        good = setting != [] and (allowed is None or environ["HTTP_ORIGIN"] in allowed)
        assert named == (["https://a.example"] if good else []), cors


def test_sessions_and_transports_ask_get_socket() -> None:
    """`_get_socket(sid)` looks into `sockets` and at `closed`; `session` and `upgraded` are asked of what it finds."""
    seam = moved("engine.py", "BaseServer._get_socket", "python-engineio")

    class Half:
        closed, upgraded, session = False, True, {"a": 1}

    engine = Engine(async_mode="aiohttp")
    engine.sockets["x"] = Half()  # type: ignore[assignment]
    assert engine._get_socket("x") is engine.sockets["x"] and engine.transport("x") == "websocket", seam
    assert asyncio.run(engine.get_session("x")) == {"a": 1}, seam
    Half.closed = True
    with pytest.raises(KeyError):
        engine._get_socket("x")
    with pytest.raises(KeyError):
        engine._get_socket("nobody")


async def test_trigger_event_of_engineio_calls_a_handler_and_survives_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    seam = moved("engine.py", "AsyncServer._trigger_event(event, *arguments)", "python-engineio")
    engine, called = Engine(async_mode="aiohttp"), list[Any]()
    engine.on("message", lambda sid, data: called.append((sid, data)))
    await engine._trigger_event("message", "sid", "text")
    assert called == [("sid", "text")], seam
    assert await engine._trigger_event("disconnect", "sid", "why") is None, seam

    async def fails(sid: str, data: str) -> None:
        raise RuntimeError

    engine.on("message", fails)
    with caplog.at_level(logging.CRITICAL + 1, "engineio.server"):
        await engine._trigger_event("message", "sid", "text")


OPTIONS = [
    "ping_interval",
    "ping_timeout",
    "max_http_buffer_size",
    "allow_upgrades",
    "cors_allowed_origins",
    "transports",
]


@pytest.mark.parametrize("option", OPTIONS)
def test_engineio_keeps_its_options_under_their_names(option: str) -> None:
    value: Any = ["polling"] if option == "transports" else 7
    engine = Engine(async_mode="aiohttp", **{option: value})
    assert getattr(engine, option, None) == value, moved(
        "engine.py", f"the option {option}", "python-engineio"
    )


def test_what_is_replaced_is_there_to_be_replaced() -> None:
    for name in ("handle_request", "attach", "send", "disconnect", "shutdown"):
        assert name in vars(engineio.AsyncServer), moved(
            "engine.py", f"AsyncServer.{name}", "python-engineio"
        )
        assert name in vars(Engine)
    reasons = ("SERVER_DISCONNECT", "CLIENT_DISCONNECT", "PING_TIMEOUT", "TRANSPORT_CLOSE", "TRANSPORT_ERROR")
    for name in reasons:
        assert isinstance(getattr(Engine.reason, name), str), moved(
            "engine.py", f"reason.{name}", "python-engineio"
        )
