"""What areas have learned outlives the process, and nodes are told what is newer than what they have."""

from collections.abc import AsyncIterator

import asyncpg
import pytest
import pytest_asyncio

from dispatch.etatable import EtaTable
from dispatch.policy import Policy
from storage import areas
from storage.models import NEVER, Model, model_of, models_since, put_model
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
    async with db.transaction() as conn:
        await put_model(conn, Model("sf", "eta", table.dumps(), table.learned.learned_s))
        document = await model_of(conn, "sf", "eta")
        assert await model_of(conn, "oakland", "eta") is None
    assert document and EtaTable.loads(Policy(), document).learned == table.learned


async def test_nodes_hear_what_is_newer_of_their_shard(db: Database) -> None:
    async def put(area: str, kind: str, text: bytes) -> None:
        async with db.transaction() as conn:
            await put_model(conn, Model(area, kind, text, 1.0))  # type: ignore[arg-type]

    for area, kind in (("sf", "eta"), ("sf", "demand"), ("oakland", "eta"), ("elsewhere", "eta")):
        await put(area, kind, f"{area} {kind}".encode())
    first = await models_since(db, "main", "eta", NEVER)
    assert [(area, text) for area, text, _ in first] == [("sf", b"sf eta"), ("oakland", b"oakland eta")]
    latest = first[-1][2]
    assert await models_since(db, "main", "eta", latest) == []
    await put("sf", "eta", b"again")
    assert [each[:2] for each in await models_since(db, "main", "eta", latest)] == [("sf", b"again")]
    with pytest.raises(asyncpg.ForeignKeyViolationError):
        await put("nowhere", "eta", b"x")
    with pytest.raises(asyncpg.CheckViolationError):
        await put("sf", "eta", b"")
