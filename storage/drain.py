"""The drain: carries facts and positions from one shard's Redis into PostgreSQL, exactly once in effect.

Each stream has a cursor in PostgreSQL (`drain_cursors`), moved by compare-and-set in the transaction that
writes the rows: cursor and rows are one commit. The stream is trimmed only behind a committed cursor. So a
crash at any await repeats or skips nothing, any number of drains may run, and the loser of a race reads the
cursor again. A cursor belongs to one life of the Redis: under another, the whole stream is read again, and
rows that exist are left alone. docs/failures-drain.md lists every await with its outcome and test.

Nothing here waits without bound. What keeps PostgreSQL or Redis from answering is met with a bounded backoff,
for as long as it takes: the streams keep what has not been drained.
"""

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import redis.asyncio as aioredis
from asyncpg import PostgresError
from redis.exceptions import ConnectionError as Refused
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as Silent

from storage import migrate, postgis
from storage.drainfacts import FactsStream
from storage.drainfixes import FixesStream, PastStream
from storage.drainstream import CursorMoved, Stream, Tally
from storage.sink import SQL, is_in_doubt, is_rows_fault
from storage.where import pool_for

log = logging.getLogger("dispatch.drain")

CONNECTIONS_MAX = 4
BACKOFF_MIN_S = 0.1
BACKOFF_MAX_S = 2.0
ROUTE_PAUSE_S = 1.0
ROUTES_A_ROUND = 50
FORGET_PAUSE_S = 60.0
FORGOTTEN_A_ROUND = 2_000
LEAVE_WITHIN_S = 2.5
REPORT_EVERY_S = 10.0


class DrainSettings(Protocol):
    """What the drain must know; the server's settings have all of it."""

    @property
    def database_url(self) -> str: ...
    @property
    def redis_url(self) -> str: ...
    @property
    def shard(self) -> str: ...
    @property
    def drain_batch(self) -> int: ...
    @property
    def drain_idle_ms(self) -> int: ...
    @property
    def facts_max_age_s(self) -> int: ...
    @property
    def decisions_days(self) -> float: ...
    @property
    def route_settle_s(self) -> float: ...
    @property
    def database_timeout_s(self) -> float: ...
    @property
    def redis_timeout_ms(self) -> int: ...


@dataclass
class Stats:
    """What the drain did since it started; the lasting numbers are in the view drain_lag."""

    facts: Tally = field(default_factory=Tally)
    fixes: Tally = field(default_factory=Tally)
    past: Tally = field(default_factory=Tally)
    routes: int = 0
    outages: int = 0


class Drain:
    """One process' drain of one shard. `run` returns when `stop` is set."""

    def __init__(self, settings: DrainSettings) -> None:
        self._settings = settings
        self._stats = Stats()
        self._forget_s = 0.0
        self._told: tuple[str, float] = "", 0.0

    def stats(self) -> dict[str, Any]:
        return asdict(self._stats)

    async def run(self, stop: asyncio.Event) -> None:
        """Raises migrate.StaleSchema; meets everything else with patience. After `stop` the batches at work
        are finished, or dropped whole after LEAVE_WITHIN_S."""
        settings, stats = self._settings, self._stats
        pool = pool_for(
            settings.redis_url,
            settings.shard,
            connections_max=CONNECTIONS_MAX,
            timeout_s=settings.redis_timeout_ms / 1000,
        )
        redis = aioredis.Redis.from_pool(pool)
        facts = FactsStream(
            settings.shard, redis, stats.facts, settings.drain_batch, settings.facts_max_age_s
        )
        fixes = FixesStream(settings.shard, redis, stats.fixes, settings.drain_batch)
        past = PastStream(settings.shard, redis, stats.past, settings.drain_batch)
        works = [
            asyncio.create_task(self._keep_at(lambda conn: self._drain(facts, conn, stop), stop)),
            asyncio.create_task(self._keep_at(lambda conn: self._drain(fixes, conn, stop), stop)),
            asyncio.create_task(self._keep_at(lambda conn: self._drain(past, conn, stop), stop)),
            asyncio.create_task(self._keep_at(lambda conn: self._draw_routes(conn, stop), stop)),
            asyncio.create_task(self._report(stop)),
        ]
        stopped = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait([stopped, *works], return_when=asyncio.FIRST_COMPLETED)
            if stop.is_set():
                await asyncio.wait(works, timeout=LEAVE_WITHIN_S)
            for work in works:
                if work.done():
                    work.result()
        finally:
            for task in (stopped, *works):
                task.cancel()
            await asyncio.gather(stopped, *works, return_exceptions=True)
            await redis.aclose()

    async def _keep_at(self, work: Callable[[Any], Awaitable[None]], stop: asyncio.Event) -> None:
        """Runs `work` on a connection of its own until `stop`, again after every failure."""
        pause_s = BACKOFF_MIN_S
        while not stop.is_set():
            began_s = time.monotonic()
            try:
                async with self._connection() as conn:
                    await work(conn)
            except migrate.StaleSchema:
                raise
            except Exception as error:
                self._stats.outages += 1
                known = isinstance(error, RedisError | postgis.DatabaseUnavailable)
                known = known or postgis.is_outage(error) or is_in_doubt(error)
                known = known or isinstance(
                    error, PostgresError
                )  # whose text quotes the row, as a traceback does
                self._tell(error, known)
            if time.monotonic() - began_s > BACKOFF_MAX_S:
                pause_s = BACKOFF_MIN_S  # it worked for a while
            await _pause(stop, pause_s * random.uniform(0.5, 1.0))
            pause_s = min(BACKOFF_MAX_S, pause_s * 2)

    def _tell(self, error: Exception, known: bool) -> None:
        """Once a pause: what all works meet is said by the first."""
        said, now_s = _said(error).rstrip("."), time.monotonic()
        if said != self._told[0] or now_s - self._told[1] >= BACKOFF_MAX_S:
            self._told = said, now_s
            where = _where(error)
            log.warning("drain of %s pauses: %s%s", self._settings.shard, said, where, exc_info=not known)

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Any]:
        conn = await postgis.connect(self._settings.database_url, self._settings.database_timeout_s)
        try:
            await migrate.check(conn)
            yield conn
        finally:
            conn.terminate()  # an open transaction dies with it

    async def _drain(self, stream: Stream, conn: Any, stop: asyncio.Event) -> None:
        """Round after round: at once while there is more than a batch, else every `drain_idle_ms`."""
        stream.use(conn)
        while not stop.is_set():
            try:
                more = await stream.round()
            except CursorMoved:
                stream.use(conn)  # another drain is at it: read the cursor again
                more = False
            except Exception:
                stream.smaller()
                raise
            if not more:
                await _pause(stop, self._settings.drain_idle_ms / 1000)

    async def _draw_routes(self, conn: Any, stop: asyncio.Event) -> None:
        settings = self._settings
        while not stop.is_set():
            await self._forget(conn)
            drawn = 0
            for jobs in ("rides", "packages"):
                args = settings.shard, settings.route_settle_s, ROUTES_A_ROUND, None
                try:
                    tag = await conn.execute(SQL[f"routes_of_{jobs}"], *args)
                except PostgresError as error:
                    if not is_rows_fault(error):
                        raise
                    drawn += await self._draw_each(conn, jobs)
                else:
                    drawn += int(tag.split()[-1])
            self._stats.routes += drawn
            if drawn < ROUTES_A_ROUND:
                await _pause(stop, ROUTE_PAUSE_S)

    async def _draw_each(self, conn: Any, jobs: str) -> int:
        """One of these is refused: alone it keeps nobody from his route, and has none. Where it may be everybody's
        fault, that is so only if another was drawn; else it waits."""
        args = self._settings.shard, self._settings.route_settle_s
        refused: list[tuple[Any, PostgresError]] = []
        drawn = 0
        for row in await conn.fetch(SQL[f"routeless_{jobs}"], *args, ROUTES_A_ROUND):
            try:
                tag = await conn.execute(SQL[f"routes_of_{jobs}"], *args, 1, row["id"])
                drawn += int(tag.split()[-1])
            except PostgresError as error:
                if not is_rows_fault(error):
                    raise
                refused.append((row["id"], error))
        for id_, why in refused:
            log.warning("the route of %s in %s is refused: %s", id_, jobs, _said(why))
            if drawn or not is_in_doubt(why):
                await conn.execute(SQL[f"without_route_{jobs}"], id_)
        return drawn

    async def _forget(self, conn: Any) -> None:
        """Decisions of the match are kept for so many days."""
        if time.monotonic() >= self._forget_s:
            tag = await conn.execute(
                SQL["forget_decisions"], self._settings.decisions_days, FORGOTTEN_A_ROUND
            )
            if int(tag.split()[-1]) < FORGOTTEN_A_ROUND:
                self._forget_s = time.monotonic() + FORGET_PAUSE_S

    async def _report(self, stop: asyncio.Event) -> None:
        """A line in the log every REPORT_EVERY_S in which something was drained."""
        before = (0, 0, 0)
        while not stop.is_set():
            await _pause(stop, REPORT_EVERY_S)
            facts, fixes, past = self._stats.facts, self._stats.fixes, self._stats.past
            now = (facts.entries, fixes.entries, past.entries)
            if before != now:
                before = now
                log.info("drain of %s: facts %s; fixes %s; past %s", self._settings.shard, facts, fixes, past)


def _said(error: Exception) -> str:
    """An error without the rows that PostgreSQL quotes below its first line."""
    if isinstance(error, PostgresError):
        return f"{type(error).__name__} ({error.sqlstate}): {error.args[0]}"
    return str(error)


def _where(error: Exception) -> str:
    """What to look at when nobody answers."""
    if isinstance(error, Refused | Silent):
        return "; look at DISPATCH_REDIS_URL, and whether Redis runs"
    if isinstance(error, postgis.DatabaseUnavailable):
        return "; look at DISPATCH_DATABASE_URL, and whether PostgreSQL runs"
    return ""


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        pass
