"""The writing side of the drain: rows into tables, inside the caller's transaction.

Guarantees: whatever PostgreSQL refuses because of the row itself (data, constraints, limits) is found by
halving and goes to dead_letters alone; all other rows are written. A failure that is not a row's fault is
raised, so that the caller's transaction rolls back as a whole. Rows that exist already are left alone.

Two SQLSTATEs may be either: 42501 is a policy that refuses this row, or a GRANT that nobody made; XX000 is a geometry
that PostGIS gives up on, or a server that is broken. Such a row is at fault if another one got into the same table in
the same batch; where none did, all wait for the operator, because a dead letter does not keep what people said.
"""

import io
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import asyncpg

from storage.fixrows import COLUMNS, Fix, copy_bytes, describe
from storage.postgis import queries
from storage.projection import TABLES, Refused, Row, shown

SQL = queries("drain")
#: Classes of SQLSTATE that speak of the row: data exception, integrity, a view's check, a limit of the program,
#: and what a trigger raises.
_ROWS_FAULT = ("22", "23", "44", "54", "P0")

_IN_DOUBT = ("42501", "XX000")
#: So many refused one by one and none let in are enough to see that it is not theirs.
DOUBTS_MAX = 64

T = TypeVar("T", Row, Fix)


def is_in_doubt(error: BaseException) -> bool:
    """Whether it may be the row's fault or everybody's."""
    return isinstance(error, asyncpg.PostgresError) and error.sqlstate in _IN_DOUBT


def is_rows_fault(error: asyncpg.PostgresError) -> bool:
    return (error.sqlstate or "")[:2] in _ROWS_FAULT or is_in_doubt(error)


class Sink:
    """One batch of one stream. `rows` and `refused` count what was written and what was not."""

    def __init__(self, conn: Any, shard: str, stream: str, life: str) -> None:
        self._conn = conn
        self._origin = (shard, life, stream)
        self.rows = 0
        self.refused = 0

    async def write_rows(self, tables: dict[str, list[Row]]) -> None:
        """Rows by table, as projection.merge gives them."""
        for table in TABLES:
            statement = SQL[table]

            async def put(rows: list[Row], statement: str = statement) -> int:
                await self._conn.execute(statement, [row.values for row in rows])
                return len(rows)

            await self._write(tables.get(table, []), put)

    async def write_fixes(self, fixes: list[Fix]) -> None:
        """By COPY; if some of the fixes exist already, by COPY beside the table and INSERT of what is new."""
        if not fixes:
            return
        try:
            async with self._conn.transaction():
                await self._copy("locations", fixes)
            self.rows += len(fixes)
        except asyncpg.UniqueViolationError:
            await self._write(fixes, self._insert_new)
        except asyncpg.PostgresError as error:
            if not is_rows_fault(error):
                raise
            await self._write(fixes, self._insert_new)

    async def refuse(self, letters: list[Refused]) -> None:
        """Rows nobody could even ask PostgreSQL about, or that it would not take."""
        self.refused += len(letters)
        await self._conn.executemany(
            SQL["refuse"],
            [
                (*self._origin, x.entry_id, x.item, x.target, x.sqlstate, _storable(x.reason), x.content)
                for x in letters
            ],
        )

    async def _copy(self, table: str, fixes: list[Fix]) -> None:
        source = io.BytesIO(copy_bytes(fixes))
        await self._conn.copy_to_table(table, source=source, columns=COLUMNS, format="binary")

    async def _insert_new(self, fixes: list[Fix]) -> int:
        await self._conn.execute(SQL["fixes_staging"])
        await self._copy("fixes_staging", fixes)
        tag = await self._conn.execute(SQL["fixes_from_staging"])
        return int(tag.split()[-1])

    async def _write(self, rows: list[T], put: Callable[[list[T]], Awaitable[int]]) -> None:
        """Puts all rows, each try in a savepoint, halving what is refused: about 2 log2(n) tries a bad row. `put`
        answers how many it wrote. Raises the error of rows in doubt when no other row was let in."""
        parts, is_let_in = [rows] if rows else [], False
        doubts: list[tuple[T, asyncpg.PostgresError]] = []
        while parts:
            part = parts.pop()
            try:
                async with self._conn.transaction():
                    written = await put(part)
                self.rows += written
                is_let_in = True
            except asyncpg.PostgresError as error:
                if not is_rows_fault(error):
                    raise
                half = len(part) // 2
                if half:
                    parts += [part[half:], part[:half]]
                elif is_let_in or not is_in_doubt(error):
                    parts += await self._refused(part[0], error)
                else:
                    doubts.append((part[0], error))
                    if len(doubts) >= DOUBTS_MAX:
                        raise
            while is_let_in and doubts:
                parts += await self._refused(*doubts.pop())
        if doubts:
            raise doubts[0][1]

    async def _refused(self, row: T, error: asyncpg.PostgresError) -> list[list[T]]:
        """A dead letter for the row; what is to be put in its place: the record as it was before this change."""
        await self.refuse([_letter(row, error)])
        elder = row.older if isinstance(row, Row) else None
        return [] if elder is None else [[elder]]


def _letter(row: Row | Fix, error: asyncpg.PostgresError) -> Refused:
    if isinstance(row, Row):
        entry_id, item, target, content = row.entry_id, row.item, row.table, row.values
    else:
        entry_id, item, target, content = row[0], row[1], "locations", describe(row)
    # the error's detail would quote the row, and with it what people said
    return Refused(entry_id, item, target, error.sqlstate or "", str(error.args[0]), shown(content))


def _storable(text: str) -> str:
    """A reason quotes what was refused, NUL included, which is the one character text cannot hold."""
    return text.replace("\x00", "\\0")[:2000]
