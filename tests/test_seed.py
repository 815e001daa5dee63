"""The demo data: written once and whole, by the real rules, with passwords that stand nowhere else."""

import asyncio
from collections.abc import AsyncIterator

import bcrypt
import pytest_asyncio

from dispatch.area import Area, Areas
from server.seed import LOGINS, seed
from server.seedtrips import TRIPS
from server.settings import Settings
from storage.areas import list_areas
from storage.history import History
from storage.postgis import Database


@pytest_asyncio.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    database = await Database.open(database_url, size=2, timeout_s=5.0)
    yield database
    await database.close()


def settings(database_url: str) -> Settings:
    return Settings(database_url=database_url, bcrypt_cost=4)


async def contents(database: Database) -> dict[str, int]:
    tables = (
        "users",
        "vehicles",
        "areas",
        "rides",
        "packages",
        "ride_events",
        "offers",
        "chat_messages",
        "locations",
    )
    return {table: await database.fetchval(f"select count(*) from {table}") for table in tables}


async def test_a_second_seed_changes_nothing_and_shows_no_password(
    database_url: str, database: Database
) -> None:
    first = await seed(settings(database_url))
    made = await contents(database)
    assert made["users"] == len(LOGINS) and made["rides"] + made["packages"] == len(TRIPS)
    assert all(made.values()), made
    assert await database.fetchval("select count(*) from dead_letters") == 0
    again = await seed(settings(database_url))
    assert again == "The demo data is there already; nothing was changed.\n"
    assert await contents(database) == made
    assert len(first.splitlines()) == 2 + len(LOGINS)


async def test_two_seeds_at_once_are_one(database_url: str, database: Database) -> None:
    told = await asyncio.gather(seed(settings(database_url)), seed(settings(database_url)))
    assert sorted("passwords" in text for text in told) == [False, True]
    assert await database.fetchval("select count(*) from users") == len(LOGINS)


async def test_the_printed_passwords_open_the_accounts(database_url: str, database: Database) -> None:
    lines = [line.split() for line in (await seed(settings(database_url))).splitlines()[2:]]
    assert {role for role, _, _ in lines} == {"admin", "passenger", "driver", "courier"}
    for role, email, password in lines:
        user = await database.fetchrow("select role, password_hash from users where email = $1", email)
        assert user["role"] == role and bcrypt.checkpw(password.encode(), user["password_hash"].encode())


async def test_the_smaller_area_wins_inside_the_larger(database_url: str, database: Database) -> None:
    await seed(settings(database_url))
    rows = await list_areas(database)
    known = Areas(
        Area(id=r.id, name=r.name, shard=r.shard, polygon=r.polygon, currency=r.currency) for r in rows
    )
    assert known.find(49.9935, 36.2304).id == "arynov"
    assert known.find(49.9905, 36.2102).id == "arynov-station"
    assert known.find(49.9, 36.2) is None


async def test_the_history_can_be_read_and_holds_no_code(database_url: str, database: Database) -> None:
    await seed(settings(database_url))
    history = History(database)
    ids = {
        row["email"].split("@")[0]: row["id"] for row in await database.fetch("select id, email from users")
    }
    rides = (await history.my_jobs(ids["passenger"], "ride"))["rides"]
    assert sorted(ride["state"] for ride in rides) == ["cancelled"] + ["completed"] * 4 + ["no_driver"]
    parcels = (await history.my_jobs(ids["sender"], "package"))["packages"]
    assert sorted(parcel["state"] for parcel in parcels) == ["delivered", "delivered", "returned"]
    assert (await history.my_jobs(ids["sender"], "ride"))["rides"] == []

    oldest = await history.job(ids["passenger"], "ride", rides[-1]["id"])
    events = [fact["event"] for fact in oldest["facts"]]
    assert events[0] == "ride_status_update" and "driver_assigned" in events and "new_message" in events
    assert [fact["seq"] for fact in oldest["facts"]] == list(range(1, len(events) + 1))
    assert [line["message"] for line in oldest["messages"]] == list(TRIPS[0].said)
    (line,) = [f for f in oldest["track"]["features"] if f["geometry"]["type"] == "LineString"]
    assert len(line["geometry"]["coordinates"]) > 50
    driven = await history.job(ids["driver"], "ride", rides[-1]["id"])
    assert driven["facts"][0]["event"] == "driver_assigned" and driven["messages"] == oldest["messages"]
    assert await history.job(ids["sender"], "ride", rides[-1]["id"]) is None
    told = await database.fetch(
        "select payload::text as text from ride_events union all select payload::text from package_events"
    )
    assert not any('"code"' in row["text"] for row in told)
