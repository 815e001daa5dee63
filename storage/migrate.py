"""Brings a database to the schema this code expects, and says when it is not there yet.

Owns the table `schema_migrations` and the numbered files in storage/sql/migrations. A migration is applied
once, whole, in a transaction of its own, under an advisory lock: two runners are harmless, and a runner that
dies leaves the database at a step between two files. An applied file never changes: its checksum is kept and
compared. `schema_text` prints the catalog, and storage/sql/schema.sql is that print of a migrated database,
so that a test sees every drift.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from storage.postgis import connect

SQL = Path(__file__).parent / "sql"
RUNNER_LOCK = 0x64697370  # "disp": the same number in every runner
CONNECT_S = 10.0
LOCK_WAIT_S = 120
STATEMENT_S = 600.0

BOOTSTRAP = """
create table if not exists schema_migrations (
  name text primary key,
  checksum text not null,
  applied_at timestamptz not null default now()
)
"""


class StaleSchema(Exception):
    """The database is not at the schema of this code; the text says what to run."""


@dataclass(frozen=True)
class Migration:
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()


def migrations() -> list[Migration]:
    """The files of storage/sql/migrations in their order."""
    paths = sorted((SQL / "migrations").glob("[0-9]*.sql"))
    return [Migration(path.stem, path.read_text()) for path in paths]


async def migrate(database_url: str) -> list[str]:
    """Applies what is missing and returns the names; raises StaleSchema if an applied file has changed."""
    conn = await connect(database_url, STATEMENT_S)
    try:
        await conn.execute(f"set lock_timeout = '{LOCK_WAIT_S}s'")
        await conn.execute("set client_min_messages = warning")
        await conn.execute("select pg_advisory_lock($1)", RUNNER_LOCK)  # freed when the connection ends
        await conn.execute(BOOTSTRAP)
        applied = await _applied(conn)
        _refuse_changed(applied)
        missing = [migration for migration in migrations() if migration.name not in applied]
        for migration in missing:
            async with conn.transaction():
                await conn.execute(migration.sql)
                await conn.execute(
                    "insert into schema_migrations (name, checksum) values ($1, $2)",
                    migration.name,
                    migration.checksum,
                )
        return [migration.name for migration in missing]
    finally:
        await conn.close(timeout=CONNECT_S)


async def check(conn: Any) -> None:
    """Raises StaleSchema unless every migration of this code has been applied as it is.

    A database that is further ahead is accepted: migrations only add, and a rolling restart has old servers
    on the new schema for a while.
    """
    if await conn.fetchval("select to_regclass('schema_migrations')") is None:
        raise StaleSchema("The database has no schema yet. Run `dispatch migrate`.")
    applied = await _applied(conn)
    missing = [migration.name for migration in migrations() if migration.name not in applied]
    if missing:
        raise StaleSchema(f"The database lacks {', '.join(missing)}. Run `dispatch migrate`.")
    _refuse_changed(applied)


async def schema_text(conn: Any) -> str:
    """The catalog of the connected database as text, the same for the same schema everywhere."""
    lines = await conn.fetch((SQL / "catalog.sql").read_text())
    return "".join(f"{row['line'].rstrip()}\n" for row in lines)


async def _applied(conn: Any) -> dict[str, str]:
    rows = await conn.fetch("select name, checksum from schema_migrations")
    return {row["name"]: row["checksum"] for row in rows}


def _refuse_changed(applied: dict[str, str]) -> None:
    for migration in migrations():
        if applied.get(migration.name, migration.checksum) != migration.checksum:
            raise StaleSchema(
                f"{migration.name} was changed after it was applied. Restore the file and put the change "
                "in a new migration, then run `dispatch migrate`."
            )
