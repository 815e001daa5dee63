"""The schema: what the migrations give is what schema.sql says, and a server refuses anything less."""

import asyncio
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from storage import migrate
from storage.areas import Feature, feature, list_areas, policies, put_area
from storage.migrate import SQL, StaleSchema, check, schema_text
from storage.postgis import connect
from tests.support import fresh_database


async def _connect(url: str) -> asyncpg.Connection:
    return await asyncpg.connect(url, timeout=10, command_timeout=30)


async def test_migrated_schema_is_the_committed_one(database_url: str) -> None:
    conn = await _connect(database_url)
    await conn.fetchval("select ensure_location_partitions(current_date, current_date)")
    found = await schema_text(conn)
    await conn.close()
    committed = (SQL / "schema.sql").read_text()
    assert found == committed, (
        "Run `dispatch migrate --print-schema > storage/sql/schema.sql` and look at the diff."
    )


async def test_drift_is_seen(database_url: str) -> None:
    conn = await _connect(database_url)
    for drift in (
        "alter table rides add column extra text",
        "drop index rides_driver",
        "alter table rides drop constraint rides_state",
        "create or replace function from_ms(ms bigint) returns timestamptz language sql immutable as 'select now()'",
        "drop view ride_analytics",
        "drop trigger users_touch on users",
    ):
        transaction = conn.transaction()
        await transaction.start()
        await conn.execute(drift)
        assert await schema_text(conn) != (SQL / "schema.sql").read_text(), drift
        await transaction.rollback()
    await conn.close()


async def test_two_runners_are_harmless() -> None:
    with fresh_database(template=False) as url:
        applied = await asyncio.gather(*(migrate.migrate(url) for _ in range(3)))
        names = [migration.name for migration in migrate.migrations()]
        assert sorted(applied, key=len) == [[], [], names]
        assert await migrate.migrate(url) == []


async def test_missing_schema_names_the_command() -> None:
    with fresh_database(template=False) as url:
        conn = await _connect(url)
        with pytest.raises(StaleSchema, match="dispatch migrate"):
            await check(conn)
        await migrate.migrate(url)
        await check(conn)
        await conn.execute("delete from schema_migrations where name = $1", migrate.migrations()[-1].name)
        with pytest.raises(StaleSchema, match=rf"{migrate.migrations()[-1].name}.*dispatch migrate"):
            await check(conn)
        await conn.close()


async def test_changed_file_is_refused(database_url: str) -> None:
    conn = await _connect(database_url)
    await conn.execute(
        "update schema_migrations set checksum = 'other' where name = $1", migrate.migrations()[0].name
    )
    with pytest.raises(StaleSchema, match="was changed after it was applied"):
        await check(conn)
    with pytest.raises(StaleSchema):
        await migrate.migrate(database_url)
    await conn.close()


async def test_failed_migration_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file that fails is not there, the ones before it are, and the next run goes on."""
    (tmp_path / "migrations").mkdir()
    (tmp_path / "migrations" / "0001_one.sql").write_text("create table one (id integer)")
    broken = tmp_path / "migrations" / "0002_two.sql"
    broken.write_text("create table two (id integer); select 1 / 0")
    monkeypatch.setattr(migrate, "SQL", tmp_path)
    with fresh_database(template=False) as url:
        with pytest.raises(asyncpg.DivisionByZeroError):
            await migrate.migrate(url)
        conn = await _connect(url)
        assert await conn.fetchval("select to_regclass('one')") and not await conn.fetchval(
            "select to_regclass('two')"
        )
        broken.write_text("create table two (id integer)")
        assert await migrate.migrate(url) == ["0002_two"]
        await conn.close()


async def test_a_field_that_no_policy_has_any_more_is_in_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """0021: in no version of any area, and which of them holds stays as it was."""
    every = migrate.migrations()
    square = [[[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]]]

    def area(**policy: Any) -> Feature:
        properties = {"id": "a", "name": "A", "currency": "USD", "policy": policy}
        geometry = {"type": "Polygon", "coordinates": square}
        return feature({"type": "Feature", "geometry": geometry, "properties": properties})

    with fresh_database(template=False) as url:
        monkeypatch.setattr(migrate, "migrations", lambda: [m for m in every if m.name < "0021"])
        await migrate.migrate(url)
        conn = await connect(url, 30.0)
        for policy in ({"relocations": 3}, {"offer_s": 9.0}, {"relocations": 6, "offer_s": 8.0}):
            await put_area(conn, area(**policy))
        monkeypatch.setattr(migrate, "migrations", lambda: every)
        await migrate.migrate(url)
        kept = {row["version"]: row["policy"] for row in await policies(conn, "a")}
        assert kept == {1: {}, 2: {"offer_s": 9.0}, 3: {"offer_s": 8.0}}
        (row,) = await list_areas(conn)
        assert (row.policy_version, row.policy) == (3, {"offer_s": 8.0})
        assert (await put_area(conn, area(offer_s=7.0))).policy_version == 4, "versions are counted again"
        await conn.close()


async def test_uuid_v7_is_ordered_by_time(database_url: str) -> None:
    conn = await _connect(database_url)
    ids = [str(await conn.fetchval("select uuid_v7() from pg_sleep(0.002)")) for _ in range(20)]
    assert ids == sorted(ids)
    assert {(one[14], one[19] in "89ab") for one in ids} == {("7", True)}
    await conn.close()


async def test_constraints_say_what_the_code_believes(database_url: str) -> None:
    """The states of the tables are those of the lifecycle, and the words beside them the platform's."""
    from dispatch.lifecycle import OVER, TABLES, WORDS

    conn = await _connect(database_url)
    for kind in ("ride", "package"):
        states = set(TABLES[kind]) | OVER[kind]
        allowed = await conn.fetchval(
            "select pg_get_constraintdef(oid) from pg_constraint where conname = $1", f"{kind}s_state"
        )
        assert {part.split("'")[1] for part in allowed.split("ARRAY[")[1].split(",")} == states
        ended = await conn.fetchval(
            "select pg_get_constraintdef(oid) from pg_constraint where conname = $1", f"{kind}s_ended"
        )
        assert {part.split("'")[1] for part in ended.split("ARRAY[")[1].split(",")} == OVER[kind]
        for state in states:
            assert await conn.fetchval(f"select {kind}_status($1)", state) == WORDS[kind][state]
    with pytest.raises(asyncpg.UniqueViolationError):
        for address in ("ann@example.com", "ANN@example.com"):
            await conn.execute(
                "insert into users (email, password_hash, first_name, last_name) values ($1, 'x', 'A', 'B')",
                address,
            )
    await conn.close()


async def test_views_answer(database_url: str) -> None:
    conn = await _connect(database_url)
    views = await conn.fetch(
        "select viewname from pg_views where schemaname = 'public' and viewname !~ '^(geo|raster)'"
    )
    assert {"ride_analytics", "courier_analytics", "perf_bloat", "drain_lag"} <= {
        row["viewname"] for row in views
    }
    for row in views:
        await conn.fetch(f'select * from "{row["viewname"]}"')
    await conn.close()


async def test_money_has_the_exponent_of_its_currency(database_url: str) -> None:
    conn = await _connect(database_url)
    for currency, major in (("USD", 12.34), ("JPY", 1234.0), ("KWD", 1.234)):
        assert await conn.fetchval("select money_major(1234, $1)", currency) == major
    await conn.close()
