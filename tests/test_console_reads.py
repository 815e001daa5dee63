"""What the console reads: tables with search, filters and keyset pages; figures; the health of all nodes."""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from server.pulse import Beat, Buckets, quantile_ms, told
from storage import keys, pulses
from storage import tables as tables_module
from storage.keyset import newest_first
from storage.postgis import Database
from storage.presence import Leases
from storage.pulses import Pulses
from storage.records import Parcel
from storage.shard import Shard, Unavailable
from storage.tables import BY_ID, TABLES, Tables
from tests.historykit import START, Town, ms
from tests.phones import assigned_ride, phone
from tests.stack import Person, RunningStack
from tests.storekit import S
from tests.support import wait_until
from tests.support_http import http_server, refused


@pytest_asyncio.fixture
async def town(database_url: str) -> AsyncIterator[Town]:
    db = await Database.open(database_url, size=4)
    async with db.connection() as conn:
        made = Town(conn, db)
        await made.settle()
        yield made
    await db.close()


async def found(town: Town, table: str, q: str | None = None, **filters: str) -> list[dict[str, Any]]:
    page = await Tables(town.db).page(town.di, table, q=q, filters=dict(filters))
    items: list[dict[str, Any]] = page["data"]
    return items


async def test_people_are_found_by_what_is_known_of_them(town: Town) -> None:
    def names(items: list[dict[str, Any]]) -> set[str]:
        return {item["name"] for item in items}

    assert names(await found(town, "users")) == {"Ann Lee", "Bob Lee", "Cy Lee", "Di Lee"}
    assert names(await found(town, "users", "BOB")) == {"Bob Lee"}
    assert names(await found(town, "users", "ann@example")) == {"Ann Lee"}
    assert names(await found(town, "users", town.cy)) == {"Cy Lee"}
    assert names(await found(town, "users", "%")) == set(), "no pattern, but text"
    assert names(await found(town, "users", role="driver")) == {"Cy Lee"}
    assert names(await found(town, "users", status="suspended")) == set()
    assert "password" not in str(await found(town, "users"))


@pytest.mark.parametrize(
    ("table", "indexes"),
    [
        ("users", {"users_pkey"}),
        ("drivers", {"drivers_pkey"}),
        ("rides", {"rides_pkey", "rides_passenger", "rides_driver"}),
        ("packages", {"packages_pkey", "packages_sender", "packages_courier"}),
        ("letters", {"dead_letters_pkey"}),
        ("audit", {"audit_log_pkey", "audit_log_subject"}),
    ],
)
async def test_an_id_typed_in_full_is_found_by_its_index(town: Town, table: str, indexes: set[str]) -> None:
    async with town.conn.transaction():
        await town.conn.execute("set local enable_seqscan = off")  # they are small here
        filters = [None] * len(TABLES[table].filters)
        wanted = (town.di, *newest_first(None), town.cy, *filters, 51)
        plan = "\n".join(row[0] for row in await town.conn.fetch(f"explain {BY_ID[table]}", *wanted))
    assert [name for name in indexes if f"{name} " not in plan] == [], plan
    name = {"letters": "dead_letters", "audit": "audit_log"}.get(table, table)
    assert f"Seq Scan on {name} " not in plan and "strpos" not in plan, plan


async def test_what_a_driver_has_done(town: Town) -> None:
    late = timedelta(hours=1)
    mine = town.job("ride", ended_ms=ms(late))
    await town.keep(
        mine, town.job("package", parcel=Parcel(size="small"), state="cancelled", ended_ms=ms(2 * late))
    )
    tables = Tables(town.db)
    found = await tables.driver(town.di, str(mine.driver_id), START)
    assert mine.id in [job["id"] for job in found["jobs"]]
    assert found["earned"] == [{"jobs": 1, "fare": {"amount": 1250, "currency": "USD"}}]
    assert (await tables.driver(town.di, str(mine.driver_id), START + 3 * late))["earned"] == []
    assert await tables.driver(town.ann, str(mine.driver_id), START) == {"jobs": [], "earned": []}


async def test_jobs_are_found_by_party_state_and_area(town: Town) -> None:
    ride, parcel = town.job("ride"), town.job("package", parcel=Parcel(size="small"))
    held = town.job("ride", requester_id=town.cy, requester_name="Cy Lee", driver_id=None, driver_name="",
                    state="searching", ended_ms=0, assigned_ms=0, area_id="la", needs_person="why")  # fmt: skip
    await town.keep(ride, parcel, held)

    async def ids(table: str, q: str | None = None, **filters: str) -> set[str]:
        return {item["id"] for item in await found(town, table, q, **filters)}

    assert await ids("rides") == {ride.id, held.id} and await ids("packages") == {parcel.id}
    assert await ids("rides", ride.id) == {ride.id} and await ids("rides", town.ann) == {ride.id}
    assert await ids("packages", town.bob) == {parcel.id}
    assert await ids("rides", status="completed") == {ride.id}
    assert await ids("rides", status="searching", area="la") == {held.id} == await ids("rides", held="yes")
    await town.conn.execute("update rides set created_at = now() where id = $1", held.id)
    assert await ids("rides", "cy lee") == {held.id}
    assert await ids("rides", "ann lee") == set(), "text is looked for in the last 31 days"
    text = json.dumps([await found(town, "rides"), await found(town, "packages")])
    assert "9182" not in text, "a code is nowhere"


async def test_pages_follow_one_another_and_miss_nothing(town: Town) -> None:
    jobs = [town.job("ride", created_ms=ms(timedelta(minutes=n // 3))) for n in range(20)]
    await town.keep(*jobs)
    seen, cursor = [], None
    while True:
        page = await Tables(town.db).page(town.di, "rides", filters={}, limit=7, cursor=cursor)
        seen += [item["id"] for item in page["data"]]
        cursor = page["pagination"]["nextCursor"]
        if cursor is None:
            break
    newest = sorted(jobs, key=lambda job: (job.created_ms, job.id), reverse=True)
    assert seen == [job.id for job in newest]


async def test_for_others_all_of_it_is_empty(town: Town) -> None:
    await town.keep(town.job("ride"), town.job("package", parcel=Parcel(size="small")))
    tables = Tables(town.db)
    for asker in (town.ann, town.bob, town.cy):
        for table in TABLES:
            assert (await tables.page(asker, table, filters={}))["data"] == []
        assert await tables.areas(asker) == [] == await tables.figures(asker, START)
        assert await tables.database(asker) is None


async def test_figures_by_hour_and_area(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    late = timedelta(hours=1)
    await town.keep(
        town.job("ride"),
        town.job("package", parcel=Parcel(size="small")),
        town.job("ride", state="cancelled"),
        town.job("ride", state="no_driver", assigned_ms=0, driver_id=None, created_ms=ms(late)),
        town.job("ride", created_ms=ms(late), assigned_ms=ms(late + timedelta(seconds=30)), area_id="la"),
        town.job("ride", state="in_progress", ended_ms=0, created_ms=ms(late)),
    )
    rows = await Tables(town.db).figures(town.di, START)
    by = {(row["hour"][11:13], row["areaId"]): row for row in rows}
    assert set(by) == {("12", "sf"), ("13", "sf"), ("13", "la")}
    first = by["12", "sf"]
    assert (first["requests"], first["served"], first["waitS"], first["earnings"]) == (3, 2, 60.0, 25.0)
    assert [by[at]["ended"] for at in sorted(by)] == [3, 1, 1], "not those under way"
    assert (by["13", "sf"]["unserved"], by["13", "sf"]["served"], by["13", "la"]["waitS"]) == (1, 0, 30.0)
    assert await Tables(town.db).figures(town.di, START + timedelta(hours=5)) == []
    monkeypatch.setattr(tables_module, "FIGURES_MAX", 2)  # of too many the oldest hours are left out
    assert [row["hour"][11:13] for row in await Tables(town.db).figures(town.di, START)] == ["13", "13"]


async def ask(stack: RunningStack, who: Person, path: str) -> tuple[int, Any]:
    status, text = await stack.http("GET", f"/api/admin/{path}", who.token)
    return status, json.loads(text)


async def test_over_http(stack: RunningStack) -> None:
    admin, mark = await stack.person("admin"), secrets.token_hex(4)
    people = [await stack.person("passenger", first_name=f"Zoe{mark}") for _ in range(3)]
    status, page = await ask(stack, admin, f"users?q=zoe{mark}&limit=2&role=passenger")
    assert status == 200 and len(page["data"]) == 2 and page["pagination"]["hasMore"]
    cursor = page["pagination"]["nextCursor"]
    status, rest = await ask(stack, admin, f"users?q=zoe{mark}&limit=2&cursor={cursor}")
    assert {item["id"] for item in page["data"] + rest["data"]} == {person.id for person in people}
    assert (await ask(stack, admin, f"users?q={'x' * 101}"))[0] == 400
    assert (await ask(stack, admin, "users?cursor=nonsense"))[0] == 400
    assert (await ask(stack, admin, "users?q=%00"))[0] == 400
    status, areas = await ask(stack, admin, "areas?q=hasty")
    (area,) = areas["data"]
    assert area["policy"]["offer_s"] == 0.3 and areas["defaults"]["policy"]["offer_s"] == 15.0
    assert (await ask(stack, admin, "figures?hours=0"))[0] == 400
    assert (await ask(stack, admin, "letters"))[0] == 200 == (await ask(stack, admin, "audit"))[0]


async def test_the_health_of_a_running_node(stack: RunningStack) -> None:
    async with (
        phone(stack, "admin") as admin,
        phone(stack, "passenger") as passenger,
        phone(stack, "driver") as driver,
    ):
        ride = await assigned_ride(passenger, driver, stack.spot())

        async def busy() -> dict[str, Any] | None:
            status, answer = await ask(stack, admin.person, "health")
            assert status == 200
            (node,) = answer["data"]["nodes"]
            told = node["status"]
            return (
                answer["data"]
                if told and told["connections"] >= 3 and told["latencies"]["commandsP95Ms"]
                else None
            )

        seen = await wait_until(busy, 15.0)
        status = seen["nodes"][0]["status"]
        assert status["rates"]["events"] > 0 and status["logIsRead"] and not status["draining"]
        assert status["memoryBytes"] > 10_000_000 and 0 < status["cpu"] < 2
        assert seen["silent"] == [] and set(seen["drain"]) >= {"facts", "fixes", "past"}
        assert seen["redis"]["usedBytes"] > 0 and seen["postgresql"]["connectionsMax"] > 0
        listed = await wait_until(lambda: stack.rows("select 1 from drivers where id = $1", driver.person.id))
        assert listed
        _, drivers = await ask(stack, admin.person, f"drivers?q={driver.person.id}")
        for vehicle_class, found in (("economy", 1), ("parcel", 0)):
            _, served = await ask(stack, admin.person, f"drivers?q={driver.person.id}&class={vehicle_class}")
            assert len(served["data"]) == found
        assert drivers["data"][0]["jobIds"] == [ride] or drivers["data"][0]["state"] in ("idle", "offered")
        assert passenger.person.token not in json.dumps(seen)


async def test_health_without_redis_says_so(database_url: str, tmp_path: Path) -> None:
    async with http_server(database_url, tmp_path) as client:
        _, token = await client.person("di@example.com", "admin")
        _, nobody = await client.person("cy@example.com")
        refused(await client.get("/api/admin/health", token=nobody), 403)
        answer = await client.get("/api/admin/health", token=token)
        assert answer.status == 200 and set(answer.body["data"]["silent"]) == {"nodes", "redis"}
        assert answer.body["data"]["nodes"] is None and answer.body["data"]["postgresql"]["bytes"] > 0


async def test_every_row_of_the_table_of_pulses(
    redis: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard = Shard(S, redis_url)
    one, two, other = Pulses(shard, "n.1"), Pulses(shard, "n.2"), Leases(shard, "n.1")
    assert (await one.all()).nodes == {}
    await other.say([], [])
    assert (await one.all()).nodes == {"n.1": None}, "alive, and has said nothing yet"
    await one.say({"connections": 3})
    await two.say({"connections": 9})  # no lease: it is on its way out, or never was
    assert (await two.all()).nodes == {"n.1": {"connections": 3}}
    assert 0 < await redis.pttl(keys.pulse(S, "n.1")) <= pulses.PULSE_MS
    await redis.zadd(keys.nodes(S), {"n.1": 1})  # it died
    assert (await two.all()).nodes == {}
    await redis.flushall()
    assert (await one.all()).nodes == {}
    await other.say([], [])
    await one.say({"connections": 4})
    assert (await one.all()).nodes == {"n.1": {"connections": 4}}
    assert (await one.redis())["streams"] == {"facts": 0, "fixes": 0, "past": 0}
    await shard.close()
    gone = Shard(S, "redis://127.0.0.1:1")
    for asked in (Pulses(gone, "n").all(), Pulses(gone, "n").redis(), Pulses(gone, "n").say({})):
        with pytest.raises(Unavailable):
            await asked
    await gone.close()


BOUNDS = (0.01, 0.1, 1.0, float("inf"))


def buckets(*counts: int) -> Buckets:
    return tuple(zip(BOUNDS, counts, strict=True))


@pytest.mark.parametrize(
    ("before", "after", "share", "expected"),
    [
        ((0, 0, 0, 0), (0, 0, 0, 0), 0.5, None),
        ((5, 5, 5, 5), (5, 5, 5, 5), 0.5, None),
        ((0, 0, 0, 0), (10, 10, 10, 10), 0.5, 5.0),
        ((9, 9, 9, 9), (9, 19, 19, 19), 0.5, 55.0),
        ((0, 0, 0, 0), (50, 100, 100, 100), 0.95, 91.0),
        ((0, 0, 0, 0), (0, 0, 0, 7), 0.5, 1000.0),
    ],
)
def test_quantiles_of_what_came_between(
    before: tuple[int, ...], after: tuple[int, ...], share: float, expected: float | None
) -> None:
    measured = quantile_ms(buckets(*before), buckets(*after), share)
    assert measured is None if expected is None else measured == pytest.approx(expected)


def test_rates_are_of_the_window() -> None:
    none = buckets(0, 0, 0, 0)
    first, last = Beat(10.0, 1.0, {"fixes": 100.0}, none, none), Beat(14.0, 2.0, {"fixes": 300.0}, none, none)
    assert told([first, Beat(12.0, 1.5, {"fixes": 150.0}, none, none), last])["rates"] == {"fixes": 50.0}
    assert told([first, last])["cpu"] == 0.25 and told([first])["rates"] == {"fixes": 0.0}
