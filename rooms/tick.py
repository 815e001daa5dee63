"""What waits for the next tick, and its way to Redis: one call for all of a node's changes, one at a time.

While Redis is slow the newest position of each driver waits, not a queue; a tick that was not answered is sent
again unchanged under the same (node, boot, number), which Redis applies once. Kept fixes waiting for the fixes
stream are bounded: beyond FIXES_WAITING_MAX the oldest are shed, and counted. What members on other nodes are
to be told goes along, the latest of each; where there are no other nodes it costs nothing.
A tick is sent at once when the last one was long enough ago: who has nothing to say is not waked to see that.
"""

import asyncio
import logging
import secrets
import time
from typing import Any, Protocol

from rooms import metrics
from storage.fleet import Fleet, Update
from storage.mail import Relayed, Said
from storage.shard import Unavailable

logger = logging.getLogger(__name__)

FIXES_WAITING_MAX = 50_000
RELAYED_MAX = 20_000
PAUSE_MAX_S = 1.0
CLOCK_WITHIN_S = 0.25  # an answer that took longer says too little of what Redis' clock shows now


class Moved(Protocol):
    """A driver of whom the next tick tells; what it tells is how he is then."""

    def update(self) -> Update: ...


class Tick:
    """`updates`, `fixes` and what was relayed are what the next tick carries; `put`, `keep` and `relay` add to them."""

    def __init__(self, fleet: Fleet, node: str) -> None:
        self._fleet = fleet
        self.node = node
        self._boot = secrets.token_hex(6)
        self._epoch = fleet.epoch
        self._offset_ms = 0
        self.updates: dict[str, Moved] = {}
        self.fixes: list[tuple[Any, ...]] = []
        self._relayed: dict[tuple[str, str], Relayed] = {}
        self.others = 0  # nodes besides this one
        self._stirred, self._sent = asyncio.Event(), asyncio.Event()
        self._sending = False
        self._entering: dict[str, list[asyncio.Event]] = {}

    def __bool__(self) -> bool:
        return bool(self.updates or self.fixes or self._relayed)

    async def wanted(self) -> None:
        """Returns when there is anything to send."""
        self._stirred.clear()
        if not self:
            await self._stirred.wait()

    async def emptied(self, within_s: float) -> None:
        """Returns when Redis has taken all that was put here, or `within_s` later."""
        try:
            async with asyncio.timeout(within_s):
                while self or self._sending:
                    self._sent.clear()
                    await self._sent.wait()
        except TimeoutError:
            pass  # who stands in the index is found to be a ghost

    def put(self, driver_id: str, moved: Moved) -> None:
        """Over what waits of him."""
        self.updates[driver_id] = moved
        self._stirred.set()

    def keep(self, fix: tuple[Any, ...]) -> None:
        self.fixes.append(fix)
        self._stirred.set()

    def relay(self, said: Said, driver_id: str = "", version: int = 0) -> None:
        """Something volatile for members on other nodes, as Relayed; beyond RELAYED_MAX keys a tick new ones are
        dropped."""
        key = said.room, said.key
        if len(self._relayed) < RELAYED_MAX or key in self._relayed:
            self._relayed[key] = Relayed(said, driver_id, version)
            self._stirred.set()
        else:
            metrics.UNRELAYED.inc()

    def expect(self, driver_id: str) -> asyncio.Event:
        """Set when a tick that puts this driver into the index has been taken; the caller says `forget` in the end."""
        entered = asyncio.Event()
        self._entering.setdefault(driver_id, []).append(entered)
        return entered

    def forget(self, driver_id: str, entered: asyncio.Event) -> None:
        self._entering[driver_id].remove(entered)
        if not self._entering[driver_id]:
            del self._entering[driver_id]

    def now_ms(self) -> int:
        """The shard's clock, as the last tick's answer set it; this machine's may be set meanwhile."""
        return time.monotonic_ns() // 1_000_000 + self._offset_ms

    def set_clock(self, redis_ms: int) -> None:
        self._offset_ms = redis_ms - time.monotonic_ns() // 1_000_000

    def new_life(self) -> bool:
        """Has Redis come back as another life, without its index, since this was last asked?"""
        before, self._epoch = self._epoch, self._fleet.epoch
        return before not in ("", self._epoch)

    async def deliver(self, number: int) -> None:
        """Sends what waits as tick `number`, until Redis has taken it."""
        self._sending = True
        moved, self.updates = self.updates, {}
        # not with each fix: in a loop of its own this costs a third
        updates = [each.update() for each in moved.values()]
        fixes, self.fixes = self.fixes, []
        relayed, self._relayed = list(self._relayed.values()), {}
        pause_s, shed = 0.05, 0
        while True:
            try:
                asked_s = time.monotonic()
                with metrics.TICK_S.time():
                    ticked = await self._fleet.tick(
                        self.node, self._boot, number, updates, fixes, relayed=relayed
                    )
                if time.monotonic() - asked_s < CLOCK_WITHIN_S:
                    self.set_clock(ticked.now_ms)
                self.others = ticked.others
                if shed:
                    logger.warning("%d fixes were shed while Redis did not take them", shed)
                if self._entering:
                    self._tell_who_entered(updates)
                self._sending = False
                self._sent.set()
                return
            except Unavailable:
                await asyncio.sleep(pause_s)
                pause_s = min(PAUSE_MAX_S, pause_s * 2)
                if (excess := len(self.fixes) - FIXES_WAITING_MAX) > 0:
                    del self.fixes[:excess]
                    metrics.SHED.inc(excess)
                    shed += excess

    def _tell_who_entered(self, updates: list[Update]) -> None:
        for update in updates:
            if update.flag == "e":
                for entered in self._entering.get(update.driver_id, ()):
                    entered.set()
