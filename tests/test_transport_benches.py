"""The benches of the transport as a whole, small, and the judgements that they end with."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from loadtest import conformance, relay
from loadtest.cores import bind, born_on, two_sides, used_s
from loadtest.rounds import Turn, voids
from loadtest.stage import StageError
from loadtest.stream import Streamed
from tests.benchkit import alone, bench
from tests.stack import private_stack
from tests.support import CHECKOUT

SMALL = ("--rate", "24", "--seconds", "0.2", "--wind-up-s", "0.1", "--rounds", "1")


async def test_a_short_relay_and_a_short_climb() -> None:
    async with private_stack() as stack:  # the bench has an area of its own
        _, line, said = await bench(stack, "loadtest.relay", "--rooms", "3", *SMALL)
        _, climb, climb_said = await bench(
            stack, "loadtest.latency", "--levels", "8", "16", "--seconds", "0.3"
        )
    for watchers in ("watchers_1", "watchers_4"):
        found = line[watchers]
        for name in ("bare", "full", "node", "stock"):
            assert 0 < found[f"{name}_us"]["min"] <= found[f"{name}_us"]["median"], said
            assert found["p99_ms"][name] is not None, said
        for ratio in ("bare_to_node", "full_to_node", "bare_to_stock"):
            assert 0 < found[ratio]["median"] <= found[ratio]["max"], said
        assert set(found["full_beside_us"]) == {"drain"}, said
    assert [level["told_share"] for level in climb["levels"].values()] == [1.0, 1.0], climb_said
    assert climb["breaks_at"] is None, climb_said


async def test_a_small_fan_out() -> None:
    _, line, said = await alone("loadtest.fanout", "--rooms", "2", "--members", "5", *SMALL)
    assert all(line[f"{name}_us"]["median"] > 0 for name in ("bare", "node", "stock")), said
    assert line["to_node"]["median"] > 0 and line["members"] == 5


async def test_few_idle_connections() -> None:
    words = ("--clients", "40", "--settle-s", "0.1", "--ask-s", "0.3", "--rounds", "1")
    _, line, said = await alone("loadtest.connections", *words)
    for name in ("kib_each", "connect_us", "stall_ms"):
        assert line[name] == line["clients_40"][name], said
        assert line[f"node_{name}"] == line["clients_40"][f"node_{name}"], said
    assert line["connect_us"] > 0 and line["stall_ms"] > 0


def _turn(us: float, heard_share: float = 1.0, own_share: float = 0.1) -> Turn:
    return Turn(Streamed(100, [1.0, 2.0], heard_share, own_share, 0.1), {"server": us, "redis": 4.0})


def _round(bare: float, node: float, **more: Any) -> dict[str, Turn]:
    return {"bare": _turn(bare, **more), "full": _turn(40.0), "node": _turn(node), "stock": _turn(200.0)}


def test_a_ratio_is_its_rounds_own_and_void_rounds_do_not_count() -> None:
    rounds = [_round(20, 40), _round(60, 100), _round(30, 60), _round(5, 500, heard_share=0.5)]
    line = relay.figures(rounds, 1000.0)
    assert line["bare_to_node"] == {"median": 0.5, "min": 0.5, "max": 0.6}
    assert line["bare_us"] == {"median": 30, "min": 20, "max": 60}
    assert (line["void_rounds"], voids(rounds)) == (1, ["bare: only 50.0% were told"])
    saturated = _round(20, 40, own_share=0.95)
    assert "the load generator was saturated" in voids([saturated])[0]


def test_what_is_too_dear_is_named() -> None:
    cheap = relay.figures([_round(20, 60)], 1000.0) | {"full_to_node": {"median": 0.7}}
    dear = relay.figures([_round(59, 60)], 1000.0)
    assert relay.failures({"watchers_1": cheap, "watchers_4": cheap}) == []
    found = relay.failures({"watchers_1": cheap, "watchers_4": dear})
    assert [each.partition(" is ")[0] for each in found] == [
        "watchers_4: bare_to_node",
        "watchers_4: bare_to_stock",
    ]


def test_the_kernels_account_of_a_process() -> None:
    before_s, own_s = used_s(os.getpid()), time.process_time()
    while time.process_time() < own_s + 0.02:
        pass
    assert used_s(os.getpid()) - before_s == pytest.approx(time.process_time() - own_s, abs=0.01)
    with pytest.raises(OSError):
        used_s(2**22 + 1)


async def test_who_works_where() -> None:
    cores = two_sides()
    assert len(cores.measured) == 1 and not cores.measured & cores.rest
    own = os.sched_getaffinity(0)
    with born_on(cores.measured):
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-c", "input()", stdin=asyncio.subprocess.PIPE
        )
    try:
        assert os.sched_getaffinity(child.pid) == cores.measured
        assert os.sched_getaffinity(0) == own
        bind([child.pid], cores.rest)
        assert os.sched_getaffinity(child.pid) == cores.rest
    finally:
        child.kill()
        await child.wait()


async def _app(suite: str) -> tuple[asyncio.subprocess.Process, str]:
    argv = (sys.executable, "-m", "loadtest.peers.suiteapp", suite, "socketio:AsyncServer", "--port", "0")
    pipe = asyncio.subprocess.PIPE
    child = await asyncio.create_subprocess_exec(*argv, cwd=CHECKOUT, stdin=pipe, stdout=pipe)
    assert child.stdout is not None
    port = int(await child.stdout.readline())
    return child, f"ws://localhost:{port}/{suite}/?EIO=4&transport=websocket"


async def test_the_app_of_the_socket_io_suite() -> None:
    child, url = await _app("socket.io")
    try:
        async with aiohttp.ClientSession() as http, http.ws_connect(url) as ws:

            async def says(text: str) -> str:
                await ws.send_str(text)
                return (await ws.receive_str(timeout=5)).partition('{"sid"')[0]

            await ws.receive_str(timeout=5)
            assert await says('40{"token":"1"}') == "40"
            assert await ws.receive_str(timeout=5) == '42["auth",{"token":"1"}]'
            assert await says("40/custom,") == "40/custom,"
            assert await ws.receive_str(timeout=5) == '42/custom,["auth",{}]'
            assert await says('42["message",1,"2"]') == '42["message-back",1,"2"]'
            assert await says('427["message-with-ack",1,{"a":[]}]') == '437[1,{"a":[]}]'
    finally:
        child.kill()
        await child.wait()


async def test_the_app_of_the_engine_io_suite() -> None:
    child, url = await _app("engine.io")
    try:
        async with aiohttp.ClientSession() as http, http.ws_connect(url) as ws:
            await ws.receive_str(timeout=5)
            await ws.send_str("4hello")
            assert await ws.receive_str(timeout=5) == "4hello"
            await ws.send_bytes(b"\1\2")
            assert await ws.receive_bytes(timeout=5) == b"\1\2"
    finally:
        child.kill()
        await child.wait()


def test_a_suite_is_judged() -> None:
    def ran(title: str, ms: int, **error: str) -> dict[str, Any]:
        return {"fullTitle": title, "duration": ms, "err": error}

    tests = [
        ran("message should send", 3),
        ran("heartbeat should close upon ping timeout", 505),
        ran("should close the connection upon invalid format (ack id)", 40),
        ran("should close the connection upon invalid format (payload)", 505),
        ran("close", 2000, message="Timeout of 2000ms exceeded. For async tests and hooks, …"),
    ]
    result = conformance.judged({"tests": tests}, 5)
    assert (result.passed, result.of) == (3, 5)
    assert result.failed[0].endswith("(payload): only after 505 ms, by the ping timeout")
    assert result.failed[1:] == ["close: Timeout of 2000ms exceeded"]
    assert conformance.judged({"tests": tests}, 6).failed[-1].startswith("the suite has 5 tests")


def test_a_folder_without_a_suite(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="holds neither suite"):
        conformance.suites_in(tmp_path)
    (tmp_path / "package.json").write_text('{"name": "socket.io-protocol-test-suite"}')
    with pytest.raises(StageError, match="npm ci"):
        conformance.suites_in(tmp_path)
