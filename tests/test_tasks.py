"""What goes on by itself: which of it a process cannot live without, and what its failure says."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from pathlib import Path

import pytest

from rooms.identity import Ring
from rooms.tasks import Tasks
from tests.support import CHECKOUT, wait_until

DIES_OF_ITS_SPEAKER = """
import asyncio, sys
from rooms.speaker import Speaker
from server.cli import main

async def dies(self, started):
    started.set()
    await asyncio.sleep(0.3)
    raise ValueError("SECRET")

Speaker.run = dies
sys.exit(main(["serve"]))
"""


async def fails() -> None:
    raise ValueError("SECRET")


async def ends() -> None:
    return None


@pytest.mark.parametrize("work", [fails, ends])
@pytest.mark.parametrize("essential", [True, False])
async def test_the_end_of_an_essential_task_is_told(
    work: object, essential: bool, caplog: pytest.LogCaptureFixture
) -> None:
    tasks = Tasks()
    with caplog.at_level(logging.ERROR):
        task = tasks.start(work(), "one", essential=essential)  # type: ignore[operator]
        await wait_until(task.done)
        await wait_until(lambda: not tasks._running)
    assert tasks.ended.is_set() is essential
    assert ("task one failed: ValueError at " in caplog.text) is (work is fails)
    assert "SECRET" not in caplog.text and "Traceback" not in caplog.text


async def test_being_stopped_is_no_end() -> None:
    tasks = Tasks()
    tasks.start(asyncio.Event().wait(), "one", essential=True)
    await tasks.stop()
    assert not tasks.ended.is_set()


async def test_who_swallows_a_cancellation_is_stopped_all_the_same() -> None:
    waits, swallowed = asyncio.Event(), asyncio.Event()

    async def stubborn() -> None:
        waits.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            swallowed.set()
        await asyncio.Event().wait()

    tasks = Tasks()
    task = tasks.start(stubborn(), "one")
    await waits.wait()
    async with asyncio.timeout(10):
        await tasks.stop()
    assert swallowed.is_set() and task.cancelled()


async def test_a_server_ends_with_its_speaker(database_url: str, redis_url: str, tmp_path: Path) -> None:
    Ring.new().write(tmp_path / "keys.json")
    settings = {
        "DISPATCH_DATABASE_URL": database_url,
        "DISPATCH_REDIS_URL": redis_url,
        "DISPATCH_PORT": "0",
        "DISPATCH_KEYS_FILE": str(tmp_path / "keys.json"),
    }
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", DIES_OF_ITS_SPEAKER,
        env=os.environ | settings, cwd=CHECKOUT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    try:
        async with asyncio.timeout(30):
            out, _ = await child.communicate()
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    log = out.decode()
    assert child.returncode == 1, log
    assert "task speaker failed: ValueError at " in log and "to be started again" in log
    assert "SECRET" not in log and "Traceback" not in log
