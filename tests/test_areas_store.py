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


async def versions(db: Database) -> list[tuple[int, dict[str, Any], bool, bool]]:
    return [(r["version"], r["policy"], r["holds"], r["shadow"]) for r in await areas.policies(db, "sf")]


async def test_a_policy_is_a_version_whoever_writes_it(db: Database) -> None:
    first = await areas.put_area(db, areas.feature(square()))
    same = await areas.put_area(db, areas.feature(square(name="Frisco")))
    assert (first.policy_version, same.policy_version, same.version) == (1, 1, 2)
    await db.execute("update areas set policy = '{\"offer_s\": 8}'")  # by hand
    other = await areas.put_area(db, areas.feature(square(policy={"offer_s": 7})))
    assert other.policy_version == 3
    assert await versions(db) == [
        (3, {"offer_s": 7}, True, False), (2, {"offer_s": 8}, False, False), (1, {"offer_s": 9.0}, False, False),
    ]  # fmt: skip


async def test_a_shadow_is_promoted_and_taken_back(db: Database) -> None:
    await areas.put_area(db, areas.feature(square()))
    assert await areas.try_policy(db, "sf", {"offer_s": 5}) == 2
    (row,) = await areas.list_areas(db)
    assert (row.policy, row.policy_version, row.shadow, row.shadow_version) == (
        {"offer_s": 9.0},
        1,
        {"offer_s": 5},
        2,
    )
    # what is edited meanwhile is a version of its own, and the shadow stays
    edited = await areas.put_area(db, areas.feature(square(policy={"offer_s": 6})))
    assert (edited.policy_version, edited.shadow_version) == (3, 2)
    assert await areas.change_policy(db, "sf", "promote") == 2
    (row,) = await areas.list_areas(db)
    assert (row.policy, row.policy_version, row.shadow, row.version) == ({"offer_s": 5}, 2, None, 4)
    assert await areas.change_policy(db, "sf", "rollback") == 3
    assert await areas.change_policy(db, "sf", "rollback") == 1
    (row,) = await areas.list_areas(db)
    assert (row.policy, row.policy_version) == ({"offer_s": 9.0}, 1)
    assert await areas.change_policy(db, "sf", "rollback") is None
    assert await areas.change_policy(db, "sf", "promote") is None
    assert await areas.change_policy(db, "sf", "drop_shadow") is None
    assert (
        await areas.try_policy(db, "sf", {}) == 4 and await areas.change_policy(db, "sf", "drop_shadow") == 1
    )
    assert await areas.try_policy(db, "nowhere", {}) is None and await areas.policies(db, "nowhere") == []


async def test_no_more_than_twenty_are_gone_back(db: Database) -> None:
    for n in range(30):
        await areas.put_area(db, areas.feature(square(policy={"offer_s": 5.0 + n})))
    back = [await areas.change_policy(db, "sf", "rollback") for _ in range(21)]
    assert back == [*range(29, 9, -1), None]
