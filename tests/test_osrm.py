"""Times from a router: each row of the module's table against a small HTTP server that behaves as it says."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import numpy as np
import pytest
import pytest_asyncio
from aiohttp import web

from dispatch.eta import EtaProvider
from dispatch.etatable import EtaTable
from dispatch.osrm import MAX_PLACES, Osrm
from dispatch.policy import Policy
from tests.support import wait_until

TABLE = EtaTable(Policy())
HERE = np.array([[50.0, 36.2], [50.01, 36.21], [50.02, 36.22]])
THERE = np.array([[50.0, 36.25], [50.03, 36.2]])
WHEN_S = 1_700_438_400.0
SECONDS = [[500.0, 510.0], [520.0, 530.0], [540.0, 550.0]]

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Router:
    """Answers /table/v1/driving as told; `asked` holds what it was asked for."""

    def __init__(self) -> None:
        self.answer: Answer = says({"code": "Ok", "durations": SECONDS})
        self.asked: list[tuple[str, dict[str, str]]] = []

    async def table(self, request: web.Request) -> web.StreamResponse:
        self.asked.append((request.match_info["places"], dict(request.query)))
        return await self.answer(request)


def says(data: Any, status: int = 200) -> Answer:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.json_response(data, status=status)

    return answer


def sends(text: str) -> Answer:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(text=text)

    return answer


async def hangs(_: web.Request) -> web.StreamResponse:
    await asyncio.Event().wait()
    raise AssertionError


async def breaks_off(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def trickles(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    await response.write(b'{"code": "Ok", "durations": [[')
    await asyncio.Event().wait()
    return response


@pytest.fixture
def router() -> Router:
    return Router()


@pytest_asyncio.fixture
async def url(router: Router) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_get("/table/v1/driving/{places}", router.table)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=1.0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


@pytest_asyncio.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
def osrm(session: aiohttp.ClientSession, url: str) -> Osrm:
    return Osrm(session, url, TABLE, top_speed_mps=50.0, budget_s=5.0)


def is_the_tables(found: Any) -> bool:
    return bool(np.array_equal(found, TABLE.seconds(HERE, THERE, WHEN_S)))


async def test_what_it_answers_in_time_counts(osrm: Osrm, router: Router) -> None:
    provider: EtaProvider = osrm
    assert (await provider.matrix(HERE, THERE, WHEN_S)).tolist() == SECONDS
    places, query = router.asked[0]
    assert places.split(";")[0] == "36.20000,50.00000" and places.split(";")[3] == "36.25000,50.00000"
    assert query == {"sources": "0;1;2", "destinations": "3;4", "annotations": "duration"}
    assert osrm.counts == {"answered": 1}


async def test_a_pair_without_a_road_is_the_fallbacks(osrm: Osrm, router: Router) -> None:
    router.answer = says({"code": "Ok", "durations": [[500.0, None], [None, 530.0], [540.0, 550.0]]})
    found, table = await osrm.matrix(HERE, THERE, WHEN_S), TABLE.seconds(HERE, THERE, WHEN_S)
    assert found.tolist() == [[500.0, table[0, 1]], [table[1, 0], 530.0], [540.0, 550.0]]


async def test_nobody_is_faster_than_the_top_speed(osrm: Osrm, router: Router) -> None:
    router.answer = says({"code": "Ok", "durations": [[0.0, 0.0]] * 3})
    found = await osrm.matrix(HERE, THERE, WHEN_S)
    assert found[0, 0] == pytest.approx(3_574.0 / 50.0, rel=0.01)
    assert found.min() > 36.0


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (says({"code": "Ok", "durations": SECONDS}, status=503), "failed"),
        (says({"code": "Ok", "durations": SECONDS}, status=301), "failed"),
        (says({"code": "NoTable", "message": "no"}, status=400), "failed"),
        (says({"code": "NoTable", "durations": SECONDS}), "failed"),
        (says({"code": "Ok", "durations": SECONDS[:2]}), "failed"),
        (says({"code": "Ok", "durations": [[1.0], [1.0, 2.0], []]}), "failed"),
        (says({"code": "Ok", "durations": [["1", "2"]] * 3}), "failed"),
        (says({"code": "Ok", "durations": [[-1.0, 2.0]] * 3}), "failed"),
        (says({"code": "Ok", "durations": []}), "failed"),
        (says([]), "failed"),
        (sends('{"code": "Ok", "durations": [[1e999, 2], [1, 2], [1, 2]]}'), "failed"),
        (sends('{"code": "Ok", "durations": [[NaN, 2], [1, 2], [1, 2]]}'), "failed"),
        (sends('{"code": "Ok", "durations": [[1, 2], [1, 2'), "failed"),
        (sends(" " * (1 << 20) + '{"code": "Ok", "durations": [[1, 2], [1, 2], [1, 2]]}'), "failed"),
        (breaks_off, "failed"),
        (hangs, "late"),
        (trickles, "late"),
    ],
)
async def test_anything_else_is_the_fallbacks(
    session: aiohttp.ClientSession, url: str, router: Router, answer: Answer, outcome: str
) -> None:
    osrm = Osrm(session, url, TABLE, top_speed_mps=50.0, budget_s=0.3 if outcome == "late" else 5.0)
    router.answer = answer
    assert is_the_tables(await osrm.matrix(HERE, THERE, WHEN_S))
    assert osrm.counts == {outcome: 1}


async def test_nobody_there_is_the_fallbacks(session: aiohttp.ClientSession) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        osrm = Osrm(
            session, f"http://127.0.0.1:{unused.getsockname()[1]}", TABLE, top_speed_mps=50.0, budget_s=5.0
        )
        assert is_the_tables(await osrm.matrix(HERE, THERE, WHEN_S))
    assert osrm.counts == {"failed": 1}


async def test_a_dead_router_is_left_alone_and_asked_again_later(osrm: Osrm, router: Router) -> None:
    router.answer = says({}, status=503)
    for _ in range(10):
        assert is_the_tables(await osrm.matrix(HERE, THERE, WHEN_S))
    assert osrm.counts == {"failed": 3, "rested": 7} and len(router.asked) == 3
    router.answer = says({"code": "Ok", "durations": SECONDS})

    async def answered() -> bool:
        return (await osrm.matrix(HERE, THERE, WHEN_S)).tolist() == SECONDS

    await wait_until(answered)
    assert osrm.counts["answered"] == 1 and len(router.asked) == 4


async def test_it_is_not_asked_for_more_than_it_takes(osrm: Osrm, router: Router) -> None:
    many = np.repeat(HERE, MAX_PLACES // 3, axis=0)
    assert (await osrm.matrix(many, THERE, WHEN_S)).shape == (99, 2)
    assert osrm.counts == {"too_many": 1} and not router.asked
    assert (await osrm.matrix(HERE[:0], THERE, WHEN_S)).shape == (0, 2)
