"""The way to PostgreSQL: one pool per process, named queries, and one kind of failure.

Every wait is bounded: for a connection, for an answer, and on the server for a statement or a transaction
that nobody comes back to. Whatever keeps PostgreSQL from answering is raised as DatabaseUnavailable; what it
answers (a violated constraint, say) stays asyncpg's own exception, for the caller to understand. Ids are
text on this side and uuid on that one, jsonb is plain Python values, times are aware datetimes.
"""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import asyncpg
import msgspec

SQL = Path(__file__).parent / "sql"
CONNECT_S = 5.0
CLOSE_S = 3.0

# What PostgreSQL says when it cannot work now, by class of SQLSTATE: connection, a lost race of
# transactions, resources, operator, system.
_OUTAGE_CLASSES = ("08", "40", "53", "57", "58")
_LOCK_NOT_AVAILABLE = "55P03"
_IDLE_IN_TRANSACTION = "25P03"

_NAMED = re.compile(r"^-- name: (\w+)\n((?:--[^\n]*\n)+)(.+?)(?=^-- name: |\Z)", re.M | re.S)


class DatabaseUnavailable(Exception):
    """PostgreSQL did not answer, or not in time; a write may or may not have happened."""


def queries(name: str) -> dict[str, str]:
    """The queries of storage/sql/<name>.sql by name. Each is written as

    -- name: ride_by_id
    -- One line that says what it is for.
    select ...
    """
    text = (SQL / f"{name}.sql").read_text()
    found = {match[1]: match[3].strip() for match in _NAMED.finditer(text)}
    if len(found) != text.count("-- name: "):
        raise ValueError(f"storage/sql/{name}.sql: a query lacks its purpose, or two share a name")
    return found


def is_outage(error: BaseException) -> bool:
    """Whether the error means "not now" and says nothing about what was asked."""
    if isinstance(error, asyncpg.PostgresError):
        code = error.sqlstate or ""
        return code[:2] in _OUTAGE_CLASSES or code in (_LOCK_NOT_AVAILABLE, _IDLE_IN_TRANSACTION)
    # InterfaceError is how asyncpg reports a connection or pool that has been closed under us
    return isinstance(error, OSError | TimeoutError | asyncpg.InterfaceError | asyncpg.InternalClientError)


async def connect(database_url: str, timeout_s: float) -> Any:
    """One connection outside any pool, with the same codecs and bounds."""
    try:
        conn = await asyncpg.connect(
            database_url,
            timeout=CONNECT_S,
            command_timeout=timeout_s,
            server_settings=_server_settings(timeout_s),
        )
        await _prepare(conn)
    except Exception as error:
        raise _translated(error) from error
    return conn


def _server_settings(timeout_s: float) -> dict[str, str]:
    """Bounds that hold on the server too, should this process vanish without a word."""
    milliseconds = str(int(timeout_s * 1000))
    return {
        "application_name": "dispatch",
        "timezone": "UTC",
        "statement_timeout": milliseconds,
        "idle_in_transaction_session_timeout": milliseconds,
        "synchronous_commit": "on",  # what is acked, or trimmed from Redis, is on disk here
    }


async def _prepare(conn: Any) -> None:
    for name in ("json", "jsonb"):
        await conn.set_type_codec(name, schema="pg_catalog", encoder=_json_text, decoder=msgspec.json.decode)
    await conn.set_type_codec("uuid", schema="pg_catalog", encoder=str, decoder=str)


def _json_text(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _translated(error: Exception) -> Exception:
    if is_outage(error):
        return DatabaseUnavailable(f"PostgreSQL: {type(error).__name__}: {error}")
    return error


class Database:
    """A pool with bounded waits. Open it with `Database.open` (the first query connects), close it with `close`."""

    def __init__(self, pool: Any, timeout_s: float) -> None:
        self._pool = pool
        self._timeout_s = timeout_s

    @classmethod
    async def open(cls, database_url: str, *, size: int = 8, timeout_s: float = 10.0) -> "Database":
        try:
            pool = await asyncpg.create_pool(
                database_url,
                min_size=0,  # else it logs a traceback every second of an outage, to have one again
                max_size=size,
                timeout=CONNECT_S,
                command_timeout=timeout_s,
                server_settings=_server_settings(timeout_s),
                init=_prepare,
            )
        except Exception as error:
            raise _translated(error) from error
        return cls(pool, timeout_s)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Any]:
        """A connection for a few statements."""
        try:
            async with self._pool.acquire(timeout=self._timeout_s) as conn:
                yield conn
        except Exception as error:
            translated = _translated(error)
            if translated is error:
                raise
            raise translated from error

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Any]:
        """A connection inside a transaction: all of the block is kept, or nothing."""
        async with self.connection() as conn, conn.transaction():
            yield conn

    async def fetch(self, sql: str, *args: Any) -> list[Any]:
        async with self.connection() as conn:
            return list(await conn.fetch(sql, *args))

    async def fetchrow(self, sql: str, *args: Any) -> Any | None:
        async with self.connection() as conn:
            return await conn.fetchrow(sql, *args)

    async def fetchval(self, sql: str, *args: Any) -> Any:
        async with self.connection() as conn:
            return await conn.fetchval(sql, *args)

    async def execute(self, sql: str, *args: Any) -> str:
        """Runs a statement; answers its tag, such as `UPDATE 1`."""
        async with self.connection() as conn:
            return str(await conn.execute(sql, *args))

    async def now(self) -> datetime:
        """The database's clock: also the cheapest proof that it answers."""
        moment: datetime = await self.fetchval("select clock_timestamp()")
        return moment

    async def close(self) -> None:
        try:
            async with asyncio.timeout(CLOSE_S):
                await self._pool.close()
        except Exception:
            self._pool.terminate()
