"""Areas as rows, and the pool's promise that nothing waits without bound."""

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import msgspec
import pytest
import pytest_asyncio

from storage import areas
from storage.postgis import Database, DatabaseUnavailable


@pytest_asyncio.fixture
async def db(database_url: str) -> AsyncIterator[Database]:
    db = await Database.open(database_url, size=2, timeout_s=5.0)
    yield db
    await db.close()


def square(**properties: Any) -> dict[str, Any]:
    ring = [[-122.5, 37.7], [-122.3, 37.7], [-122.3, 37.8], [-122.5, 37.8], [-122.5, 37.7]]
    base = {"id": "sf", "name": "San Francisco", "currency": "USD", "policy": {"offer_s": 9.0}}
    return {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": base | properties,
    }


async def test_areas_are_put_and_listed(db: Database) -> None:
    first = await areas.put_area(db, areas.feature(square()))
    assert (first.version, first.policy, first.polygon["type"]) == (1, {"offer_s": 9.0}, "MultiPolygon")
    second = await areas.put_area(db, areas.feature(square(paused=True, shard="west")))
    assert (second.version, second.paused, second.shard) == (2, True, "west")
    assert await areas.list_areas(db) == [second]
    assert await areas.list_areas(db, "main") == [] and await areas.list_areas(db, "west") == [second]
    third = await areas.put_area(db, areas.feature(areas.area_feature(second)))
    assert msgspec.structs.replace(third, version=2) == second


@pytest.mark.parametrize(
    "broken",
    [
        {"type": "Feature"},
        square(currency="dollars"),
        square(id="No Spaces"),
        square(colour="red"),
        square() | {"geometry": {"type": "Point", "coordinates": [1, 2]}},
        square()
        | {"geometry": {"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [0, 1], [1, 0], [0, 0]]]}},
        square() | {"geometry": {"type": "Polygon", "coordinates": [[[0, 0], [1, 1]]]}},
        square() | {"geometry": {"type": "Polygon", "coordinates": []}},
        square() | {"geometry": {"type": "Polygon", "coordinates": ["x"]}},
    ],
)
async def test_bad_area_is_refused(db: Database, broken: dict[str, Any]) -> None:
    with pytest.raises(areas.BadArea):
        await areas.put_area(db, areas.feature(broken))
    assert await areas.list_areas(db) == []


async def test_database_that_does_not_answer_is_one_error(database_url: str) -> None:
    db = await Database.open(database_url, size=1, timeout_s=0.3)
    with pytest.raises(DatabaseUnavailable):
        await db.fetchval("select pg_sleep(5)")
    async with db.connection():
        with pytest.raises(DatabaseUnavailable):
            await db.now()
    with pytest.raises(asyncpg.DivisionByZeroError):
        await db.fetchval("select 1 / 0")
    assert (await db.now()).tzinfo is not None
    await db.close()
