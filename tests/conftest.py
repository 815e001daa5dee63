"""Fixtures and the rules of a run: any order, no skip but for missing data or a missing browser, no
exception nobody awaited.

`redis` and `database_url` are each test's own for as long as it runs. The servers behind them come from
`./dev test` through the environment, or are started at the first need when pytest is called directly.
"""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Generator, Iterator
from typing import Any

import hypothesis
import pytest
import pytest_asyncio
from redis.asyncio import Redis

from server.devstack.scratch import Scratch
from tests.support import MAY_BE_MISSING, fresh_database, session_redis_url, stop_session_servers

# The running stack of the end-to-end tests; nothing starts before it is asked.
pytest_plugins = ("tests.stack",)

# A shared machine is no reason to fail, so no deadlines; a failure prints what repeats it.
hypothesis.settings.register_profile(
    "default-run",
    deadline=None,
    print_blob=True,
    max_examples=int(os.environ.get("HYPOTHESIS_EXAMPLES", "100")),
    suppress_health_check=[hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.function_scoped_fixture],
)
hypothesis.settings.load_profile("default-run")

TEST_MAX_S = 300.0
LONG_RUNS = {"TWO_DESKS_EXAMPLES", "RACES"}

# Exceptions that the session's event loop was left with: of tasks nobody awaited, and of callbacks.
_left_over: list[str] = []


@pytest_asyncio.fixture(scope="session", autouse=True)
async def _listen_for_left_over_exceptions() -> AsyncIterator[None]:
    def note(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        _left_over.append(f"{context.get('message')}: {context.get('exception')!r}")

    loop = asyncio.get_running_loop()
    loop.set_exception_handler(note)
    yield
    loop.set_exception_handler(None)


@pytest.fixture(autouse=True)
def _no_test_hangs() -> Iterator[None]:
    """One that hangs ends the run, and says where; long runs that somebody asked for may take their time."""
    if not LONG_RUNS & os.environ.keys():
        faulthandler.dump_traceback_later(TEST_MAX_S, exit=True, file=sys.__stderr__)
    yield
    faulthandler.cancel_dump_traceback_later()


@pytest.fixture(autouse=True)
def _nothing_is_left_over(_listen_for_left_over_exceptions: None) -> Iterator[None]:
    """A task that failed unseen is reported only when it is collected: collect what this test made."""
    _left_over.clear()
    yield
    gc.collect(1)
    if _left_over:
        pytest.fail("An exception that nobody awaited:\n" + "\n".join(_left_over), pytrace=False)


@pytest.fixture(scope="session")
def redis_url() -> str:
    return session_redis_url()


@pytest_asyncio.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    """A client of an empty Redis. What outlives a test may not stand in this one: take `fresh_redis`."""
    client = Redis.from_url(redis_url)
    await client.flushall()
    yield client
    await client.aclose()


@pytest.fixture
def database_url() -> Iterator[str]:
    """A database of this test alone, with PostGIS and every migration."""
    with fresh_database() as url:
        yield url


# The rules of a run.

_scratch = pytest.StashKey[Scratch]()


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Files that nobody keeps lie in a folder of this run, and so do those of all that it starts; what `tmp_path` gives
    is kept for a while by pytest."""
    if not hasattr(config, "workerinput"):  # a worker has it from the run that it is part of
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())
        config.stash[_scratch] = Scratch()
        os.environ["TMPDIR"] = tempfile.tempdir = str(config.stash[_scratch].folder)


def _forbidden_skip(report: pytest.TestReport | pytest.CollectReport) -> str | None:
    """The reason of a skip that is not the one allowed; an expected failure is no skip."""
    if not report.skipped or hasattr(report, "wasxfail"):
        return None
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return None if any(missing in reason for missing in MAY_BE_MISSING) else reason


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    reason = _forbidden_skip(report)
    if reason is not None:
        report.outcome = "failed"
        report.longrepr = (
            f"Nothing may skip but for missing data or a missing browser, and this did: {reason}"
        )
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    reason = _forbidden_skip(report)
    if reason is not None:
        report.outcome = "failed"
        report.longrepr = (
            f"Nothing may skip but for missing data or a missing browser, and this module did: {reason}"
        )
    return report


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    seed = config.getoption("randomly_seed", None)
    if seed is not None:
        terminalreporter.write_line(f"repeat this order and these random numbers: --randomly-seed={seed}")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """After the session's fixtures, which end only here when the run was cut short (-x, Ctrl-C)."""
    stop_session_servers()


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """The last line of all, so that whoever reads only one line reads what was not tested."""
    if scratch := config.stash.get(_scratch, None):
        scratch.close()
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or config.option.collectonly:
        return
    count = {name: len(reporter.stats.get(name, [])) for name in ("passed", "failed", "error", "skipped")}
    failed = count["failed"] + count["error"]
    print(f"{count['passed']} passed, {failed} failed, {count['skipped']} skipped")
