"""Who looks at demand and supply, what is counted from the jobs and learned: the failure tables row by row."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from dispatch.area import Areas
from dispatch.demand import QUARTER_S, Demand, demand_cell
from dispatch.heat import FRESH_S, Heat
from rooms import counting as module
from rooms import seer as seer_module
from rooms.counting import Counting
from rooms.seer import Seer
from storage import areas, keys
from storage import demand as kept
from storage.heat import HeatStore
from storage.postgis import Database, DatabaseUnavailable
from storage.records import Place
from storage.shard import Shard
from tests.historykit import Town
from tests.nodekit import HERE, ONLINE, THERE, Node, node
from tests.support import wait_until

# drivers whom another test has left in the same place would be asked for the rides of this one
pytestmark = pytest.mark.usefixtures("redis")

START_S = 1_767_614_400.0  # 2026-01-05 12:00 UTC, a quarter's beginning
PLACE = Place(0.5, 0.5)
CELL = demand_cell(0.5, 0.5)
AWAY = "postgresql://nobody@127.0.0.1:1/none"


def feature(name: str = "a", west: float = 0.0) -> areas.Feature:
    ring = [[west, 0], [west + 1, 0], [west + 1, 1], [west, 1], [west, 0]]
    properties = {"id": name, "name": name, "currency": "USD"}
    return areas.feature(
        {
            "type": "Feature",
            "geometry": {"type": "Polygon", "coordinates": [ring]},
            "properties": properties,
        }
    )


@pytest_asyncio.fixture
async def db(database_url: str) -> AsyncIterator[Database]:
    db = await Database.open(database_url, size=4, timeout_s=5.0)
    await areas.put_area(db, feature())
    yield db
    await db.close()


async def asked(db: Database, *at_s: float, **fields: Any) -> None:
    """Requests at these times, kept by the drain, which has come to the last quarter's end."""
    town = Town(None, db)
    town.ann = town.bob = "00000000-0000-4000-8000-000000000001"
    jobs = [
        town.job("ride", created_ms=int(each * 1000), area_id="a", pickup=PLACE, **fields) for each in at_s
    ]
    await town.keep(*jobs)


async def drained(db: Database, until_s: float) -> None:
    await db.execute(
        "insert into drain_cursors (shard, stream, reached_at) values ('main', 'facts', $1)"
        " on conflict (shard, stream) do update set reached_at = excluded.reached_at",
        datetime.fromtimestamp(until_s, UTC),
    )


async def counts(db: Database) -> dict[float, tuple[int, float | None]]:
    rows = await db.fetch("select quarter_at, requests, supply from demand_counts where cell = $1", CELL)
    return {row["quarter_at"].timestamp() - START_S: (row["requests"], row["supply"]) for row in rows}


async def learned(db: Database) -> bytes | None:
    async with db.connection() as conn:
        return await kept.document(conn, "a")


NOW_S = START_S + 2 * QUARTER_S + 60.0


@pytest_asyncio.fixture
async def told(db: Database) -> Database:
    """Three requests of the first quarter, one of the second, one of now."""
    await asked(db, START_S, START_S + 5.0, START_S + 899.9, START_S + 900.0, NOW_S)
    await drained(db, NOW_S)
    return db


def demand_of(*quarters: int) -> bytes:
    demand = Demand()
    for n, count in enumerate(quarters):
        module.teach(demand, Counter({CELL: count}), START_S + n * QUARTER_S)
    return demand.dumps()


async def test_each_request_is_counted_in_its_quarter_once(told: Database) -> None:
    one = Counting(told, "main")
    for looks in (2, 4):
        one.saw({"a": Counter({CELL: looks})}, START_S + 10.0)
    assert await one.learn(["a"], NOW_S) == 2
    assert await counts(told) == {0.0: (3, 3.0), 900.0: (1, None)}
    assert await learned(told) == demand_of(3, 1)
    assert await one.learn(["a"], NOW_S) == 0
    # whoever takes over reads what was kept and goes on from there
    other = Counting(told, "main")
    assert await other.learn(["a"], NOW_S) == 0
    assert other.of("a").dumps() == one.of("a").dumps()
    await drained(told, NOW_S + QUARTER_S)
    assert await other.learn(["a"], NOW_S + QUARTER_S) == 1
    assert await learned(told) == demand_of(3, 1, 1)
    # the first one, who did not hear of it, finds the quarter done
    assert await one.learn(["a"], NOW_S + QUARTER_S) == 0
    assert await learned(told) == demand_of(3, 1, 1) == one.of("a").dumps()


async def test_nothing_is_counted_before_the_drain_has_all_of_it(told: Database) -> None:
    one = Counting(told, "main")
    await drained(told, START_S + QUARTER_S + 0.5)
    assert await one.learn(["a"], NOW_S) == 0 and await counts(told) == {}
    await drained(told, START_S + QUARTER_S + 1.0)
    assert await one.learn(["a"], NOW_S) == 1
    assert await learned(told) == demand_of(3)


async def test_a_counter_that_dies_before_its_commit_has_counted_nothing(
    told: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = Counting(told, "main")
    with monkeypatch.context() as broken:
        broken.setattr(kept, "forget", None)  # the last statement
        with pytest.raises(TypeError):
            await one.learn(["a"], NOW_S)
    assert await counts(told) == {} and await learned(told) is None
    assert await one.learn(["a"], NOW_S) == 2, "and what was in memory is not taught twice"
    assert await learned(told) == demand_of(3, 1)


async def test_an_outage_takes_nothing_of_what_was_learned(told: Database) -> None:
    one = Counting(told, "main")
    assert await one.learn(["a"], NOW_S) == 2
    nowhere = await Database.open(AWAY, size=1, timeout_s=1.0)
    one._database = nowhere
    with pytest.raises(DatabaseUnavailable):
        await one.learn(["a"], NOW_S + QUARTER_S)
    assert one.of("a").dumps() == demand_of(3, 1)
    await nowhere.close()


async def test_while_one_counts_another_does_not(told: Database) -> None:
    async with told.transaction() as conn:
        assert await kept.lead(conn, "main")
        assert await Counting(told, "main").learn(["a"], NOW_S) == 0
    assert await counts(told) == {}


async def test_a_document_that_cannot_be_read_begins_anew(
    told: Database, caplog: pytest.LogCaptureFixture
) -> None:
    async with told.connection() as conn:
        await kept.keep_document(conn, "a", b"nonsense", START_S + QUARTER_S)
    assert await Counting(told, "main").learn(["a"], NOW_S) == 1
    assert "learns its demand anew" in caplog.text
    document = await learned(told)
    assert document is not None and Demand.loads(document).learned_s == START_S + 2 * QUARTER_S


async def test_days_without_a_server_are_counted_a_part_at_a_time(
    told: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "QUARTERS_MAX", 3)
    now_s = START_S + 8 * QUARTER_S + 2.0
    await drained(told, now_s)
    one = Counting(told, "main")
    assert [await one.learn(["a"], now_s) for _ in range(4)] == [3, 3, 2, 0]
    assert await learned(told) == demand_of(3, 1, 1, 0, 0, 0, 0, 0)


class Two:
    """Two nodes that may look, whose clock the test sets."""

    def __init__(self, nodes: list[Node], db: Database) -> None:
        self.nodes, self.db = nodes, db
        self.seers = [
            Seer(each.desk, HeatStore(each.shard), Counting(db, "main"), f"n{number}")
            for number, each in enumerate(nodes)
        ]

    async def heat(self, number: int) -> Heat:
        found = self.nodes[number].desk.heats.get("a", await self.nodes[0].log.now_ms() / 1000)
        assert found is not None
        return found


@asynccontextmanager
async def two(redis_url: str, db: Database) -> AsyncIterator[Two]:
    async with node(redis_url, plenty=1_000.0) as one, node(redis_url, "n2", plenty=1_000.0) as other:
        yield Two([one, other], db)


async def test_one_looks_and_all_know(redis: Any, redis_url: str, db: Database) -> None:
    async with two(redis_url, db) as t:
        n = t.nodes[0]
        driver, _ = n.arrive("driver")
        assert (await n.say(driver, "go_online", ONLINE))["ok"]
        await wait_until(lambda: n.indexed(driver.user_id))
        passenger, _ = n.arrive("passenger")
        ride = {"pickup": HERE, "dropoff": THERE, "class": "comfort"}
        assert (await n.say(passenger, "request_ride", ride))["ok"]
        assert [await each.beat() for each in t.seers] == ["looked", "followed"]
        assert await t.heat(0) == await t.heat(1)
        heat = await t.heat(1)
        assert (heat.cells, heat.waiting, heat.supply, heat.pressure) == ([CELL], [1], [1], [0.5])
        # it goes in order: the other one looks at once
        await HeatStore(n.shard).lead(t.seers[0]._token, 0)
        assert [await each.beat() for each in reversed(t.seers)] == ["looked", "followed"]


async def test_a_leader_who_dies_or_wakes_late(redis: Any, redis_url: str, db: Database) -> None:
    async with two(redis_url, db) as t:
        client = t.nodes[0].shard.client
        assert await t.seers[0].beat() == "looked"
        assert 0 < await client.pttl(keys.seer("main")) <= seer_module.LEASE_S * 1000
        risen = msgspec.structs.replace(
            await t.heat(0), cells=[CELL], forecast=[0.0], waiting=[0], supply=[0], pressure=[0.0],
            tenths=[15], up_since_s=[float("inf")], down_since_s=[float("inf")],
        )  # fmt: skip
        await HeatStore(t.nodes[0].shard).write({"a": msgspec.msgpack.encode(risen)})
        await client.delete(keys.seer("main"))  # its lease ran out
        t.nodes[1].desk.areas = Areas(
            msgspec.structs.replace(area, policy=msgspec.structs.replace(area.policy, surge_cap=2.0))
            for area in t.nodes[1].desk.areas
        )
        assert await t.seers[1].beat() == "looked"
        newer = await t.heat(1)
        assert newer.tenths == [15], "the surge goes on from the last look"
        assert newer.packages is not None, "though it was left by one who knew no parcels"
        # the first one wakes and writes what it had: nobody goes back
        await HeatStore(t.nodes[0].shard).write({"a": msgspec.msgpack.encode(risen)})
        assert await t.seers[0].beat() == "followed"
        assert await t.seers[1].beat() == "looked"
        assert (await t.heat(1)).at_s >= newer.at_s
        # a look that nobody can read is written anew
        await client.hset(keys.heat("main"), "a", b"nonsense")
        assert await t.seers[1].beat() == "looked" and await t.seers[0].beat() == "followed"
        assert await t.heat(0) == await t.heat(1)
        # Redis lost everything
        await client.flushdb()
        assert await t.seers[0].beat() == "looked"
        assert await client.pttl(keys.heat("main")) > FRESH_S * 1000


async def test_what_is_gone_and_what_is_too_much(
    redis: Any, redis_url: str, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seer_module, "WAITING_MAX", 1)
    async with two(redis_url, db) as t:
        n = t.nodes[0]
        passenger, _ = n.arrive("passenger")
        for _ in range(2):
            assert (await n.say(passenger, "request_ride", {"pickup": HERE, "dropoff": THERE}))["ok"]
        assert await t.seers[0].beat() == "looked"
        assert (await t.heat(0)).waiting == [1], "the longest waiting"
        n.desk.areas = Areas([])
        assert await t.seers[0].beat() == "looked"
        assert n.desk.heats.get("a", 0.0) is None and await HeatStore(n.shard).read() == []


async def test_where_rides_are_lost_time_is_worth_more(redis: Any, redis_url: str, db: Database) -> None:
    """Of the last quarter of an hour, by class, and not what was given up by those who had a driver."""
    async with two(redis_url, db) as t:
        n = t.nodes[0]
        now_s = await n.log.now_ms() / 1000
        gone = {"state": "no_driver", "driver_id": None, "vehicle_class": "economy"}
        await asked(db, *(now_s - 60.0 - each for each in range(40)), **gone)
        await asked(db, *(now_s - 60.0 - each for each in range(40)), vehicle_class="comfort")
        await asked(db, now_s - QUARTER_S - 60.0, **gone | {"vehicle_class": "comfort"})
        later = {"scheduled_ms": int(now_s * 1000) + 9_000_000, "vehicle_class": "comfort"}
        await asked(db, now_s - 60.0, **gone | later)
        counting = Counting(db, "main")
        seer = Seer(n.desk, HeatStore(n.shard), counting, "n9")
        counting._demand["a"] = Demand.loads(demand_of(*[60] * 8))
        assert await seer.beat() == "looked"
        found = n.desk.heats.get("a", now_s)
        assert found is not None and counting.asked("a") == {"economy": (40, 40), "comfort": (40, 0)}
        assert found.longest_s.keys() == {"economy"}
        assert [await each.beat() for each in t.seers] == ["followed", "followed"]
        assert (await t.heat(1)).longest_s == found.longest_s
        # nobody knows any more
        counting._database = away = await Database.open(AWAY, size=1, timeout_s=1.0)
        assert await seer.beat() == "unlearned" and counting.asked("a"), "it asks once a minute"
        counting._lost_at_s = 0.0
        assert await seer.beat() == "unlearned" and not counting.asked("a")
        await away.close()


async def test_without_postgresql_it_looks_on(redis: Any, redis_url: str) -> None:
    db = await Database.open(AWAY, size=1, timeout_s=1.0)
    async with two(redis_url, db) as t:
        assert await t.seers[0].beat() == "unlearned"
        assert (await t.heat(0)).cells == []
        nowhere = Shard("main", "redis://127.0.0.1:1/0", 0.2)
        alone = Seer(t.nodes[0].desk, HeatStore(nowhere), Counting(db, "main"), "n3")
        assert await alone.beat() == "unavailable", "and without Redis it waits"
        await nowhere.close()
    await db.close()


async def test_while_postgresql_is_slow_it_looks_on(
    redis: Any, redis_url: str, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seer_module, "LEARN_S", 0.2)
    async with two(redis_url, db) as t, db.transaction() as conn:
        await conn.execute("lock table drain_cursors")
        assert await t.seers[0].beat() == "unlearned" and (await t.heat(0)).cells == []


async def test_a_quote_holds_its_surge_and_who_has_none_pays_that_of_now(redis: Any, redis_url: str) -> None:
    async with node(redis_url, surge_cap=2.0, plenty=1_000.0) as n:
        heats, passenger = n.desk.heats, n.arrive("passenger")[0]
        trip = {"pickup": HERE, "dropoff": THERE}

        async def surge(tenths: int) -> None:
            at_s = await n.log.now_ms() / 1000 + (20 - tenths) / 1000
            heats.put([Heat(area_id="a", at_s=at_s, cells=[CELL], forecast=[0.0], waiting=[0], supply=[0],
                            pressure=[9.0], tenths=[tenths], up_since_s=[0.0], down_since_s=[0.0])])  # fmt: skip

        async def quoted() -> dict[str, Any]:
            answer = await n.say(passenger, "quote", {"kind": "ride", "classes": ["economy"], **trip})
            found: dict[str, Any] = answer["quotes"][0]
            return found

        async def fare(**more: Any) -> int:
            answer = await n.say(passenger, "request_ride", {**trip, **more})
            job = await n.job(answer["rideId"])
            assert job.fare_minor == answer["fare"]["amount"]
            return job.fare_minor

        plain = await quoted()
        assert plain["surge"] == 1.0
        await surge(15)
        dear = await quoted()
        usual = plain["fare"]["amount"]
        parcel = {"kind": "package", "size": "small", **trip}
        assert {each["surge"] for each in (await n.say(passenger, "quote", parcel))["quotes"]} == {1.0}
        assert dear["surge"] == 1.5 and dear["fare"]["amount"] == (usual * 15 + 5) // 10
        assert await fare(quoteId=plain["quoteId"]) == usual, "what was quoted before holds"
        assert await fare() == dear["fare"]["amount"]
        later_ms = await n.log.now_ms() + 3_600_000
        later = datetime.fromtimestamp(later_ms / 1000, UTC).isoformat()
        assert await fare(scheduledAt=later) == usual, "nobody knows the demand of then"
        await surge(10)
        assert await fare(quoteId=dear["quoteId"]) == dear["fare"]["amount"], (
            "and what was quoted dear as well"
        )
