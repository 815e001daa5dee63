"""One timer for all who wait equally long: who began first is due first, so a queue is all it takes."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

TOGETHER = 0.02  # of the delay: who is due within it is served in one go, ...
AT_ONCE = 256  # ... and so many at most before others get their turn


class Delay:
    """Calls `due(item, began_s)` once, `delay_s` after `add(item)`, at most TOGETHER of it later. An item that needs
    it no more stays until then: `due` looks."""

    def __init__(self, delay_s: float, due: Callable[[Any, float], object]) -> None:
        self._loop = asyncio.get_running_loop()
        self._delay_s = delay_s
        self._due = due
        self._waiting: deque[tuple[float, Any]] = deque()
        self._timer: asyncio.Handle | None = None

    def add(self, item: Any) -> None:
        self._waiting.append((self._loop.time(), item))
        if self._timer is None:
            self._timer = self._loop.call_later(self._delay_s, self._fire)

    def _fire(self) -> None:
        waiting, before_s = self._waiting, self._loop.time() - self._delay_s
        try:
            for _ in range(AT_ONCE):
                if not waiting or waiting[0][0] > before_s:
                    break
                began_s, item = waiting.popleft()
                self._due(item, began_s)
        finally:
            if not waiting:
                self._timer = None
            elif waiting[0][0] <= before_s:
                self._timer = self._loop.call_soon(self._fire)
            else:
                self._timer = self._loop.call_at(waiting[0][0] + self._delay_s * (1 + TOGETHER), self._fire)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._waiting.clear()
