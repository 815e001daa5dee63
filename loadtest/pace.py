"""The load generator's time: a simulated clock that runs `speed` times as fast as the wall.

Every behaviour is written in simulated seconds; only this file knows the wall. Waits are towards absolute
instants, so lateness never adds up, and whoever is late goes on at once (open loop: the server cannot slow
the schedule).
"""

from __future__ import annotations

import asyncio
import time


class Pace:
    """Simulated seconds since `origin_s`, started by `start`."""

    def __init__(self, speed: float, origin_s: float = 0.0) -> None:
        self.speed = speed
        self.origin_s = origin_s
        self._loop_zero_s = float("inf")  # before the start no time passes
        self._epoch_zero_s = 0.0

    def start(self, in_wall_s: float = 0.0) -> None:
        """The origin is now, or so many wall seconds from now."""
        self._loop_zero_s = asyncio.get_running_loop().time() + in_wall_s
        self._epoch_zero_s = time.time() + in_wall_s

    def now_s(self) -> float:
        """The simulated instant; the origin until the start."""
        return self.origin_s + max(0.0, asyncio.get_running_loop().time() - self._loop_zero_s) * self.speed

    def epoch_ms(self, at_s: float) -> int:
        """The wall's Unix time in ms at a simulated instant: what a phone writes into a fix."""
        return round((self._epoch_zero_s + (at_s - self.origin_s) / self.speed) * 1000)

    def wall_s(self, simulated_s: float) -> float:
        """How long a simulated span takes on the wall."""
        return simulated_s / self.speed

    async def until(self, at_s: float) -> float:
        """Waits for a simulated instant; returns by how many wall seconds it was missed."""
        loop = asyncio.get_running_loop()
        due_s = self._loop_zero_s + (at_s - self.origin_s) / self.speed
        if due_s > loop.time():
            await asyncio.sleep(due_s - loop.time())
        return loop.time() - due_s

    async def pause(self, simulated_s: float) -> None:
        """Waits a simulated span."""
        await asyncio.sleep(simulated_s / self.speed)


async def wait_event(event: asyncio.Event, timeout_wall_s: float) -> bool:
    """Waits for an event for so long; says whether it came."""
    try:
        async with asyncio.timeout(timeout_wall_s):
            await event.wait()
    except TimeoutError:
        return False
    return True


def iso_utc(epoch_ms: int) -> str:
    """ISO-8601 UTC with milliseconds, as the protocol writes times."""
    whole_s, ms = divmod(epoch_ms, 1000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(whole_s))}.{ms:03d}Z"
