"""The only place that starts background tasks: each is kept, and an error nobody awaits is logged.

Without an essential task this process only seems to work: when one ends, for whatever reason, `ended` is set.
"""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

from rooms.faults import fault

logger = logging.getLogger(__name__)

STOP_TRIES = 20
STOP_TRY_S = 0.25


class Tasks:
    def __init__(self) -> None:
        self._running: set[asyncio.Task[Any]] = set()
        self._essential: set[asyncio.Task[Any]] = set()
        self._stopping = False
        self.ended = asyncio.Event()

    def start(
        self, work: Coroutine[Any, Any, Any], name: str, *, essential: bool = False
    ) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._running.add(task)
        if essential:
            self._essential.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("task %s failed: %s", task.get_name(), fault(error))
        if task in self._essential and not self._stopping:
            self.ended.set()

    async def settle(self, wait_s: float) -> None:
        """Lets what runs come to its end, for so long."""
        if self._running:
            await asyncio.wait(tuple(self._running), timeout=wait_s)

    async def stop(self) -> None:
        """Cancels all and waits for them; asks again, for a library may swallow the first cancellation."""
        self._stopping = True
        for _ in range(STOP_TRIES):
            running = tuple(self._running)
            if not running:
                return
            for task in running:
                task.cancel()
            await asyncio.wait(running, timeout=STOP_TRY_S)
        logger.error("tasks do not end: %s", ", ".join(sorted(task.get_name() for task in self._running)))
