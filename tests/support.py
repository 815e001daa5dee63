"""What tests take from outside a fixture: waiting, real data, and servers and databases of their own.

    await wait_until(lambda: client.connected)  # instead of a sleep
    path = shared_data("traces_sf_dev_2008-05-30fri.csv.gz")  # the only reason that may skip
    with fresh_redis(appendonly="yes", appendfsync="always") as server:
        server.url, server.kill(), server.start()
    with fresh_database() as url:  # PostGIS and all migrations; template=False: PostGIS only
        ...

All of it is blocking and short, so it works in any fixture of any scope, in a coroutine or outside.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest

from server.devstack import Stack, private_redis

CHECKOUT = Path(__file__).resolve().parents[1]
SHARED_DATA = CHECKOUT.parent / "shared" / "data"
NO_SHARED_DATA = "no ../shared/data"
NO_CHROMIUM = "no Chromium here: install the package chromium to test the pages"
MAY_BE_MISSING = (NO_SHARED_DATA, NO_CHROMIUM)
POLL_S = 0.005
SQL_TIMEOUT_S = 60.0

fresh_redis = private_redis


async def wait_until(predicate: Callable[[], Any], timeout_s: float = 5.0, every_s: float = POLL_S) -> Any:
    """The first true value of the predicate, sync or async; fails the test after the timeout."""
    deadline_s = time.monotonic() + timeout_s
    while True:
        value = predicate()
        if inspect.isawaitable(value):
            value = await value
        if value:
            return value
        if time.monotonic() > deadline_s:
            source = inspect.getsource(getattr(predicate, "func", predicate)).strip()  # a partial has none
            pytest.fail(f"Not true within {timeout_s:g} s: {source}", pytrace=False)
        await asyncio.sleep(every_s)


def shared_data(name: str) -> Path:
    """A file of the real days; where the whole folder is missing the test is skipped, and the run says so."""
    if not SHARED_DATA.is_dir():
        pytest.skip(NO_SHARED_DATA)
    return SHARED_DATA / name


@cache
def session_stack() -> Stack:
    """The stack of a run without `./dev test`; nothing of it runs before it is asked."""
    return Stack.first_free("test", "test")


_of_this_process = ExitStack()


def stop_session_servers() -> None:
    _of_this_process.close()
    if session_stack.cache_info().currsize:
        session_stack().stop()


@cache
def session_redis_url() -> str:
    """Of this process alone, because `redis` empties it."""
    if "PYTEST_XDIST_WORKER" in os.environ:  # one of several
        return _of_this_process.enter_context(fresh_redis()).url
    return os.environ.get("TEST_REDIS_URL") or session_stack().start_redis()


@cache
def server_database_url() -> str:
    """Any database of the PostgreSQL server under test: a place to say CREATE DATABASE from."""
    return os.environ.get("TEST_DATABASE_URL") or session_stack().start_postgres()


def with_database(url: str, database: str) -> str:
    return urlsplit(url)._replace(path=f"/{database}").geturl()


def _in_a_loop_of_its_own(work: Callable[[], Awaitable[None]]) -> None:
    """The caller may stand inside the session's event loop, where a second one cannot run: a thread can."""
    with ThreadPoolExecutor(1) as thread:
        thread.submit(lambda: asyncio.run(_await(work()))).result()


async def _await(work: Awaitable[None]) -> None:
    await work


def run_sql(url: str, *statements: str) -> None:
    async def work() -> None:
        connection = await asyncpg.connect(url, timeout=SQL_TIMEOUT_S, command_timeout=SQL_TIMEOUT_S)
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    _in_a_loop_of_its_own(work)


@cache
def _template(migrated: bool) -> str:
    """Made once a run: a database with PostGIS, and one that has the migrations as well."""
    name = f"template_{'migrated' if migrated else 'bare'}_{secrets.token_hex(4)}"
    if not migrated:
        run_sql(server_database_url(), f"CREATE DATABASE {name}")
        run_sql(with_database(server_database_url(), name), "CREATE EXTENSION postgis")
        return name
    run_sql(server_database_url(), f"CREATE DATABASE {name} TEMPLATE {_template(False)}")
    url = with_database(server_database_url(), name)
    done = subprocess.run(
        [sys.executable, "-m", "server.cli", "migrate"],
        env=os.environ | {"DISPATCH_DATABASE_URL": url},
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        pytest.fail(f"`dispatch migrate` failed:\n{done.stdout}{done.stderr}", pytrace=False)
    return name


@contextmanager
def fresh_database(template: bool = True) -> Iterator[str]:
    """The URL of a database that only the caller uses; dropped afterwards, whoever is connected."""
    name = f"test_{secrets.token_hex(6)}"
    run_sql(server_database_url(), f"CREATE DATABASE {name} TEMPLATE {_template(template)}")
    try:
        yield with_database(server_database_url(), name)
    finally:
        run_sql(server_database_url(), f"DROP DATABASE {name} WITH (FORCE)")
