"""What areas have learned outlives the process, and an older document never replaces a newer one."""

from collections.abc import AsyncIterator

import asyncpg
import pytest
import pytest_asyncio

from dispatch.etatable import EtaTable
from dispatch.policy import Policy
from storage import areas
from storage.models import Model, models_of, put_model
from storage.postgis import Database
from tests.test_areas_store import square


@pytest_asyncio.fixture
async def db(database_url: str) -> AsyncIterator[Database]:
    db = await Database.open(database_url, size=2, timeout_s=5.0)
    for name, shard in (("sf", "main"), ("oakland", "main"), ("elsewhere", "other")):
        await areas.put_area(db, areas.feature(square(id=name, shard=shard)))
    yield db
    await db.close()


async def test_a_table_of_etas_is_kept(db: Database) -> None:
    table = EtaTable(Policy())
    table.learn((37.75, -122.4), (37.77, -122.42), 1_700_000_000.25, 400.0)
    assert await put_model(db, Model("sf", "eta", table.dumps(), table.learned.learned_s))
    [kept] = await models_of(db, "main")
    assert (kept.area_id, kept.kind, kept.learned_s) == ("sf", "eta", 1_700_000_400.25)
    assert EtaTable.loads(Policy(), kept.document).learned == table.learned


async def test_each_area_and_kind_has_its_own_and_the_newer_wins(db: Database) -> None:
    for area, kind, learned_s, kept in (
        ("sf", "eta", 10.0, True),
        ("sf", "demand", 5.0, True),
        ("oakland", "eta", 7.0, True),
        ("elsewhere", "eta", 1.0, True),
        ("sf", "eta", 10.0, False),
        ("sf", "eta", 9.0, False),
        ("sf", "eta", 11.0, True),
    ):
        assert (
            await put_model(db, Model(area, kind, f"{area} {kind} {learned_s}".encode(), learned_s)) is kept
        )
    found = [(model.document.decode(), model.learned_s) for model in await models_of(db, "main")]
    assert found == [("oakland eta 7.0", 7.0), ("sf demand 5.0", 5.0), ("sf eta 11.0", 11.0)]
    with pytest.raises(asyncpg.ForeignKeyViolationError):
        await put_model(db, Model("nowhere", "eta", b"x", 1.0))
    with pytest.raises(asyncpg.CheckViolationError):
        await put_model(db, Model("sf", "eta", b"", 99.0))
    await db.execute("delete from areas where id = 'sf'")
    assert [model.area_id for model in await models_of(db, "main")] == ["oakland"]
