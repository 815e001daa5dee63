"""The writing side of the drain: rows into tables, inside the caller's transaction.

Guarantees: whatever PostgreSQL refuses because of the row itself (data, constraints, limits) is found by
halving and goes to dead_letters alone; all other rows are written. A failure that is not a row's fault is
raised, so that the caller's transaction rolls back as a whole. Rows that exist already are left alone.

Two SQLSTATEs may be either: 42501 is a policy that refuses this row, or a GRANT that nobody made; XX000 is a geometry
that PostGIS gives up on, or a server that is broken. Such a row is at fault if the table takes others:

| in its batch, for the same table | then |
|---|---|
| another row got in | it is at fault |
| there is no other, and the table takes a row of its own once more (nothing of it stays) | it is at fault |
| the same, the fourth time with no new row let in between | all wait: it may be that only new rows are refused |
| there is no other, and the table is empty or refuses its own rows, too | all wait |
| others are refused as well, and none got in | all wait |

"All wait" is the operator's turn, and the log says why: a dead letter does not keep what people said.
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
#: So many in a row are at fault on the word of rows that were there before.
ALONE_MAX = 3

T = TypeVar("T", Row, Fix)


def is_in_doubt(error: BaseException) -> bool:
    """Whether it may be the row's fault or everybody's."""
    return isinstance(error, asyncpg.PostgresError) and error.sqlstate in _IN_DOUBT


def is_rows_fault(error: asyncpg.PostgresError) -> bool:
    return (error.sqlstate or "")[:2] in _ROWS_FAULT or is_in_doubt(error)


class Sink:
    """One batch of one stream. `rows` and `refused` count what was written and what was not. `alone` is kept from batch
    to batch: for each table, which rows in doubt were refused since it let in a new one."""

    def __init__(
        self,
        conn: Any,
        shard: str,
        stream: str,
        life: str,
        alone: dict[str, set[tuple[str, int]]] | None = None,
    ) -> None:
        self._conn = conn
        self._origin = (shard, life, stream)
        self._alone = {} if alone is None else alone
        self.rows = 0
        self.refused = 0

    async def write_rows(self, tables: dict[str, list[Row]]) -> None:
        """Rows by table, as projection.merge gives them."""
        for table in TABLES:
            statement = SQL[table]

            async def put(rows: list[Row], statement: str = statement) -> int:
                await self._conn.execute(statement, [row.values for row in rows])
                return len(rows)

            await self._write(table, tables.get(table, []), put)

    async def write_fixes(self, fixes: list[Fix]) -> None:
        """By COPY; if some of the fixes exist already, by COPY beside the table and INSERT of what is new."""
        if not fixes:
            return
        try:
            async with self._conn.transaction():
                await self._copy("locations", fixes)
            self.rows += len(fixes)
            self._alone.pop("locations", None)
        except asyncpg.UniqueViolationError:
            await self._write("locations", fixes, self._insert_new)
        except asyncpg.PostgresError as error:
            if not is_rows_fault(error):
                raise
            await self._write("locations", fixes, self._insert_new)

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

    async def _write(self, table: str, rows: list[T], put: Callable[[list[T]], Awaitable[int]]) -> None:
        """Puts all rows, each try in a savepoint, halving what is refused: about 2 log2(n) tries a bad row. `put`
        answers how many it wrote. Raises the error of rows in doubt whose fault it may not be."""
        parts, is_let_in = [rows] if rows else [], False
        doubts: list[tuple[T, asyncpg.PostgresError]] = []
        while parts:
            part = parts.pop()
            try:
                async with self._conn.transaction():
                    written = await put(part)
                self.rows += written
                is_let_in = True
                self._alone.pop(table, None)
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
            if len(doubts) == 1 and not parts and await self._is_at_fault(table, doubts[0][0], put):
                parts += await self._refused(*doubts.pop())
            while is_let_in and doubts:
                parts += await self._refused(*doubts.pop())
        if doubts:
            raise doubts[0][1]

    async def _is_at_fault(self, table: str, row: T, put: Callable[[list[T]], Awaitable[int]]) -> bool:
        """Of a row in doubt that is alone in its batch: whether the table takes other rows. Nothing of it stays."""
        alone = self._alone.setdefault(table, set())
        if len(alone | {_place(row)}) > ALONE_MAX or not await self._takes_its_own(table, put):
            return False
        alone.add(_place(row))
        return True

    async def _takes_its_own(self, table: str, put: Callable[[list[T]], Awaitable[int]]) -> bool:
        trial = self._conn.transaction()
        await trial.start()
        try:
            await put([])  # whether this very statement is granted
            columns = await self._conn.fetchval(SQL["columns"], table)
            again = SQL["again"].format(table=table, columns=columns)
            return int((await self._conn.execute(again)).split()[-1]) > 0
        except asyncpg.PostgresError as error:
            if not is_rows_fault(error):
                raise
            return False
        finally:
            await trial.rollback()

    async def _refused(self, row: T, error: asyncpg.PostgresError) -> list[list[T]]:
        """A dead letter for the row; what is to be put in its place: the record as it was before this change."""
        await self.refuse([_letter(row, error)])
        elder = row.older if isinstance(row, Row) else None
        return [] if elder is None else [[elder]]


def _place(row: Row | Fix) -> tuple[str, int]:
    """Entry and item."""
    return (row.entry_id, row.item) if isinstance(row, Row) else (row[0], row[1])


def _letter(row: Row | Fix, error: asyncpg.PostgresError) -> Refused:
    target, content = (row.table, row.values) if isinstance(row, Row) else ("locations", describe(row))
    # the error's detail would quote the row, and with it what people said
    return Refused(*_place(row), target, error.sqlstate or "", str(error.args[0]), shown(content))


def _storable(text: str) -> str:
    """A reason quotes what was refused, NUL included, which is the one character text cannot hold."""
    return text.replace("\x00", "\\0")[:2000]
