"""Finished rides teach the travel times of their areas, each once, whoever dies and however many learn."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
import pytest_asyncio

from dispatch import area as area_module
from dispatch.eta import trip_estimate
from dispatch.etatable import EtaTable
from dispatch.policy import Policy
from dispatch.travel import late_s, pickups_s, trip
from server.areas import Atlas
from server.learner import LESSONS_MAX, learn
from storage import areas
from storage.models import Model, model_of, put_model
from storage.postgis import Database, connect
from storage.records import Job, Place
from tests.historykit import START, Town, ms
from tests.support import SQL_TIMEOUT_S, wait_until
from tests.test_areas_store import square

HERE, THERE = Place(37.75, -122.41), Place(37.78, -122.42)
DOUBLE_S = 2 * trip_estimate(HERE, (), THERE, Policy())[1]


@pytest_asyncio.fixture
async def town(database_url: str) -> AsyncIterator[Town]:
    db = await Database.open(database_url, size=3, timeout_s=SQL_TIMEOUT_S)
    await areas.put_area(db, areas.feature(square(id="sf", shard="main")))
    async with db.connection() as conn:
        made = Town(conn, db)
        await made.settle()
        yield made
    await db.close()


def rides(town: Town, count: int, **fields: Any) -> list[Job]:
    """Rides that all took twice as long as the policy's speed says."""
    begun = {"started_ms": ms(), "ended_ms": ms(timedelta(seconds=DOUBLE_S))}
    return [town.job("ride", pickup=HERE, dropoff=THERE, **(begun | fields)) for _ in range(count)]


async def untaught(town: Town) -> int:
    return int(await town.conn.fetchval("select count(*) from rides where taught_at is null"))


async def table(town: Town) -> EtaTable:
    document = await model_of(town.conn, "sf", "eta")
    assert document
    return EtaTable.loads(Policy(), document)


async def test_what_rides_took_becomes_what_is_said_of_the_next(town: Town) -> None:
    await town.keep(*rides(town, 60))
    before = await Atlas(town.db, "main").read()
    assert await learn(town.conn, "main") == 60 and await untaught(town) == 0
    assert await learn(town.conn, "main") == 0
    after = await Atlas(town.db, "main").read()
    assert before and after
    plain, taught = before.get("sf"), after.get("sf")
    assert plain and taught
    noon_ms = ms()
    assert trip(plain, HERE, (), THERE, noon_ms)[1] == pytest.approx(DOUBLE_S / 2, rel=1e-6)
    road_m, said_s = trip(taught, HERE, (), THERE, noon_ms)
    assert said_s == pytest.approx(DOUBLE_S, rel=0.1)
    assert road_m == trip(plain, HERE, (), THERE, noon_ms)[0]
    assert trip(taught, HERE, (HERE,), THERE, noon_ms)[1] == pytest.approx(said_s + 60.0, rel=0.01)
    assert late_s(taught, HERE, THERE, said_s) >= said_s
    slow_s = pickups_s(taught, np.array([[HERE.latitude, HERE.longitude]]), THERE, noon_ms)
    assert slow_s == pytest.approx([said_s + 30.0])


async def fixes(town: Town, *at: tuple[float, Place]) -> None:
    """Bob's, so many seconds after START."""
    await town.conn.execute("select ensure_location_partitions($1, $1)", START.date())
    for seq, (after_s, place) in enumerate(at):
        await town.conn.execute(
            "insert into locations (driver_id, ts, seq, location) "
            "values ($1, $2, $3, ST_SetSRID(ST_MakePoint($4, $5), 4326))",
            town.bob, START + timedelta(seconds=after_s), seq, place.longitude, place.latitude,
        )  # fmt: skip


def pickups(town: Town, count: int, **fields: Any) -> list[Job]:
    """Rides whose drivers, taken at 60 s, needed twice as long to HERE as the policy's speed says; their trips teach
    nothing (they have a stop)."""
    there_ms = ms(timedelta(seconds=60 + 30 + DOUBLE_S))
    approach = {"arrived_ms": there_ms, "started_ms": there_ms, "stops": (THERE,)}
    return [town.job("ride", pickup=HERE, dropoff=THERE, **(approach | fields)) for _ in range(count)]


async def test_the_way_to_the_pickup_teaches_too(town: Town) -> None:
    """From where the driver's last fix before was, and without the pause that every approach begins with."""
    await fixes(town, (20.0, Place(37.70, -122.5)), (50.0, THERE), (61.0, HERE))
    await town.keep(*pickups(town, 60))
    assert await learn(town.conn, "main") == 60
    assert (await table(town)).learned.trips == 60
    atlas = await Atlas(town.db, "main").read()
    taught = atlas.get("sf") if atlas else None
    assert taught
    there_s = pickups_s(taught, np.array([[THERE.latitude, THERE.longitude]]), HERE, ms())
    assert there_s == pytest.approx([30.0 + DOUBLE_S], rel=0.1)


async def test_a_way_of_which_the_begin_is_not_known_teaches_nothing(town: Town) -> None:
    await fixes(town, (29.0, THERE), (60.5, THERE))
    silent, booked = pickups(town, 1), pickups(town, 1, scheduled_ms=ms(timedelta(minutes=15)))
    await town.keep(*silent)
    assert await learn(town.conn, "main") == 1
    await fixes(town, (59.0, THERE))
    never_there = pickups(town, 1, arrived_ms=0)
    await town.keep(*booked, *never_there)
    assert await learn(town.conn, "main") == 2
    # he took it with another ride on board, and that had to end first
    await town.conn.execute("update locations set job_id = $1", silent[0].id)
    await town.keep(*pickups(town, 1))
    assert await learn(town.conn, "main") == 1
    assert await model_of(town.conn, "sf", "eta") is None


async def test_what_says_nothing_teaches_nothing_and_is_done_with(town: Town) -> None:
    stopped = rides(town, 1, stops=(HERE,))
    unstarted = rides(town, 1, started_ms=0)
    flown = rides(town, 1, ended_ms=ms(timedelta(seconds=21)))
    nowhere = rides(town, 1, area_id="gone")
    called_off = rides(town, 1, state="cancelled")
    await town.keep(*stopped, *unstarted, *flown, *nowhere, *called_off)
    assert await learn(town.conn, "main") == 4
    assert await model_of(town.conn, "sf", "eta") is None
    assert await untaught(town) == 1 and await learn(town.conn, "main") == 0


async def test_who_dies_before_the_commit_has_learned_nothing(town: Town, database_url: str) -> None:
    await town.keep(*rides(town, 5))
    dying = await connect(database_url, SQL_TIMEOUT_S)
    killed = dying.transaction()
    await killed.start()
    assert await learn(dying, "main") == 5
    # while it lives, another one passes
    assert await learn(town.conn, "main") == 0
    dying.terminate()

    async def learned() -> bool:
        return await learn(town.conn, "main") == 5

    await wait_until(learned)
    assert (await table(town)).learned.trips == 5


async def test_two_learn_each_ride_once(town: Town, database_url: str) -> None:
    await town.keep(*rides(town, LESSONS_MAX + 40))
    other = await connect(database_url, SQL_TIMEOUT_S)
    try:
        for _ in range(4):
            await asyncio.gather(learn(town.conn, "main"), learn(other, "main"))
    finally:
        await other.close()
    assert await untaught(town) == 0
    assert (await table(town)).learned.trips == LESSONS_MAX + 40


async def test_a_document_nobody_can_read_is_begun_anew(town: Town, caplog: pytest.LogCaptureFixture) -> None:
    await put_model(town.conn, Model("sf", "eta", b"from another time", 1.0))
    await town.keep(*rides(town, 1))
    with caplog.at_level(logging.WARNING):
        assert await learn(town.conn, "main") == 1
    assert "learns its travel times anew" in caplog.text
    assert (await table(town)).learned.trips == 1


async def test_an_area_is_looked_into_once_a_version(town: Town, caplog: pytest.LogCaptureFixture) -> None:
    def left_out() -> list[str]:
        return [each.message for each in caplog.records if "area bad is left out" in each.message]

    atlas = Atlas(town.db, "main")
    for times in (1, 2):
        wrong = square(id="bad", shard="main", policy={"no_rule": 1})
        await areas.put_area(town.db, areas.feature(wrong))
        for _ in range(3):
            await atlas.read()
        assert len(left_out()) == times
    await areas.put_area(town.db, areas.feature(square(id="bad", shard="main", policy={})))
    mended = await atlas.read()
    assert mended and mended.get("bad") and mended.get("sf")


async def test_what_was_learned_proves_no_border_anew(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of thousands of corners would keep everybody waiting each minute."""
    monkeypatch.setattr("server.areas.LEARNED_EVERY_S", 0.0)
    atlas, proved = Atlas(town.db, "main"), list[str]()
    real = area_module._polygon
    monkeypatch.setattr(area_module, "_polygon", lambda area: (proved.append(area.id), real(area))[1])
    first = await atlas.read()
    assert first and proved
    await town.keep(*rides(town, 60))
    await learn(town.conn, "main")
    proved.clear()
    second = await atlas.read()
    assert second and not proved
    plain, taught = first.find(HERE.latitude, HERE.longitude), second.find(HERE.latitude, HERE.longitude)
    assert plain and taught and plain.eta and taught.eta
    assert (plain.eta.learned.trips, taught.eta.learned.trips) == (0, 60)
    await areas.put_area(town.db, areas.feature(square(id="sf", shard="main", name="Other")))
    assert await atlas.read() and proved


async def test_a_node_reads_anew_only_what_has_changed(town: Town) -> None:
    atlas = Atlas(town.db, "main")
    first = await atlas.read()
    assert first and first.get("sf") and await atlas.read() is None
    await areas.put_area(town.db, areas.feature(square(id="sf", shard="main", name="Other")))
    second = await atlas.read()
    assert second and (area := second.get("sf")) and area.name == "Other" and area.eta
