"""Passwords: hashed and checked with bcrypt, off the event loop, by a queue that cannot grow.

One thread does all the work (0.3 s of CPU at cost 12), so that a storm of logins costs the server one core's
share and the loop nothing. What does not fit into the queue is refused with `TooManyChecks`, which says when
to come back. Checking against no hash (an unknown email, an account without a password) takes as long as
checking against a real one, and a password that bcrypt could not take is checked like a wrong one.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import bcrypt

MIN_BYTES = 8
MAX_BYTES = 72  # bcrypt reads no more, and bcrypt 5 raises instead of cutting the rest off
THREADS = 1
COST_12_S = 0.3

T = TypeVar("T")


class TooManyChecks(Exception):
    """The queue is full; try again after `retry_after_s`."""

    def __init__(self, retry_after_s: int) -> None:
        super().__init__("Too many password checks are waiting.")
        self.retry_after_s = retry_after_s


class Passwords:
    """`queue` checks may be at work or waiting at once. Close it when the server ends."""

    def __init__(self, cost: int, queue: int) -> None:
        self._cost = cost
        self._queue = queue
        self._pending = 0
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="passwords")
        # A hash that no password has: verifying against it costs what a real one costs.
        self._nobody = f"$2b${cost:02d}$" + "." * 53

    async def hash(self, password: str) -> str:
        """For a password that `fits`; raises TooManyChecks."""
        return await self._run(hash_now, password, self._cost)

    async def check(self, password: str, hashed: str | None) -> bool:
        """Whether the password belongs to the hash; None or "" is checked against one that nothing fits."""
        right = await self._run(_check, password, hashed or self._nobody)
        return right and bool(hashed)

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _run(self, work: Callable[..., T], *args: object) -> T:
        if self._pending >= self._queue:
            raise TooManyChecks(max(1, round(self._pending * COST_12_S * 2 ** (self._cost - 12))))
        self._pending += 1
        future = asyncio.get_running_loop().run_in_executor(self._threads, work, *args)
        # The place in the queue is free when the work is done, not when the caller stops waiting for it.
        future.add_done_callback(self._done)
        return await asyncio.shield(future)

    def _done(self, future: "asyncio.Future[T]") -> None:
        self._pending -= 1
        if not future.cancelled():
            future.exception()  # a caller who went away does not read it; that is no news for the log


def fits(password: str) -> bool:
    """Long enough, and short enough to count in full. Lengths are in bytes of UTF-8."""
    return MIN_BYTES <= len(password.encode(errors="surrogatepass")) <= MAX_BYTES


def hash_now(password: str, cost: int) -> str:
    """Blocks for the whole work: for commands of the shell and for the thread, never on the loop."""
    return bcrypt.hashpw(password.encode(errors="surrogatepass"), bcrypt.gensalt(cost)).decode()


def _check(password: str, hashed: str) -> bool:
    raw = password.encode(errors="surrogatepass")
    usable = 0 < len(raw) <= MAX_BYTES
    return bcrypt.checkpw(raw if usable else b"-", hashed.encode()) and usable
