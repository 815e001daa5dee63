"""What waits for the next tick, and its way to Redis: one call for all of a node's changes, one at a time.

While Redis is slow the newest position of each driver waits, not a queue; a tick that was not answered is sent
again unchanged under the same (node, boot, number), which Redis applies once. Kept fixes waiting for the fixes
stream are bounded: beyond FIXES_WAITING_MAX the oldest are shed, and counted.
"""

import asyncio
import secrets
import time
from typing import Any

from rooms import metrics
from storage.fleet import Fleet, Update
from storage.shard import Unavailable

FIXES_WAITING_MAX = 50_000
PAUSE_MAX_S = 1.0


class Tick:
    """`updates` and `fixes` are what the next tick carries."""

    def __init__(self, fleet: Fleet, node: str) -> None:
        self._fleet = fleet
        self.node = node
        self._boot = secrets.token_hex(6)
        self._epoch = fleet.epoch
        self._offset_ms = 0
        self.updates: dict[str, Update] = {}
        self.fixes: list[tuple[Any, ...]] = []

    def now_ms(self) -> int:
        """The shard's clock, as the last tick's answer set it."""
        return time.time_ns() // 1_000_000 + self._offset_ms

    def set_clock(self, redis_ms: int) -> None:
        self._offset_ms = redis_ms - time.time_ns() // 1_000_000

    def new_life(self) -> bool:
        """Has Redis come back as another life, without its index, since this was last asked?"""
        before, self._epoch = self._epoch, self._fleet.epoch
        return before not in ("", self._epoch)

    async def deliver(self, number: int) -> None:
        """Sends what waits as tick `number`, until Redis has taken it."""
        updates, self.updates = list(self.updates.values()), {}
        fixes, self.fixes = self.fixes, []
        pause_s = 0.05
        while True:
            try:
                with metrics.TICK_S.time():
                    self.set_clock(await self._fleet.tick(self.node, self._boot, number, updates, fixes))
                return
            except Unavailable:
                await asyncio.sleep(pause_s)
                pause_s = min(PAUSE_MAX_S, pause_s * 2)
                if (excess := len(self.fixes) - FIXES_WAITING_MAX) > 0:
                    del self.fixes[:excess]
                    metrics.SHED.inc(excess)
