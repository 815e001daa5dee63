"""Live jobs come back from PostgreSQL after Redis was wiped: by a real drain, a real database and the real script.

What each row of docs/failures-rehydrate.md says happens, happens here.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from msgspec.structs import fields, replace
from redis.asyncio import Redis

from server import rehydrate as module
from server.needs import Stop
from server.rehydrate import is_lost
from storage import keys
from storage.records import LEAP, Driver, History, Job, Offer, OfferId, Parcel, Place, UserId
from storage.records import Stop as PlanStop
from tests.drainkit import SHARD, a_driver, an_offer
from tests.losskit import HOUR_MS, Desks, World, a_world, check_once, job, on_board, some_of_everything
from tests.storekit import write


@pytest_asyncio.fixture
async def world(redis: Redis, redis_url: str, database_url: str) -> AsyncIterator[World]:
    async with a_world(redis_url, database_url, redis) as made:
        yield made


#: What a lost job does not get back as it was: worked out anew, or of a job that is over.
ANEW = {
    "offer_id",
    "offered_to",
    "moved_from",
    "wake_ms",
    "code",
    "code_tries",
    "ended_ms",
    "ended_by",
    "restored",
    "unseen",
    "takeovers",
    "settled",
}
OF_PARCELS = {"parcel", "units"}


async def test_a_ride_comes_back_whole(world: World) -> None:
    stops = (Place(0.502, 0.5, "a stop"), Place(0.503, 0.5))
    ride, driver = on_board(
        a_driver(
            area_id="a", vehicle="Blue Fiat", vehicle_id="v1", capacity=2, classes=("economy", "comfort"),
            idle_since_ms=1_700_000_000_002, history=History(taken=3.0, refused=1.0, as_of_ms=1_700_000_000_003),
        ),
        stops=stops, seats=3, note="two bags", vehicle="Blue Fiat", vehicle_id="v1", offers=2, unseen=1,
        reason="traffic", excluded=(a_driver().id,), needs_person="driver silent", scheduled_ms=1_700_000_000_123,
        searching_ms=1_700_000_000_001,
    )  # fmt: skip
    told = {field.name for field in fields(Job) if getattr(ride, field.name) != field.default}
    assert told | ANEW | OF_PARCELS == {field.name for field in fields(Job)}, (
        "a field that nobody has thought of"
    )
    passed_over = an_offer(ride, driver, id=OfferId(f"{ride.id}.1"), state="unseen")
    await world.put(ride, driver, passed_over)
    await world.lose()
    assert await is_lost(world.database, world.log, SHARD)
    assert await world.restored() == {("ride", "kept"): 1}
    assert not await is_lost(world.database, world.log, SHARD)
    found = await world.record(Job, ride.id)
    assert found == replace(ride, version=1 + LEAP + 1, restored=1)
    dee = await world.record(Driver, driver.id)
    first = tuple(PlanStop("ride", ride.id, "stop", place) for place in stops)
    assert dee == replace(
        driver, version=1 + LEAP + 1, generation=1 + LEAP, device="", node="", silence_ms=300_000,
        plan=(*first, *driver.plan), changed_ms=dee.changed_ms, idle_since_ms=0,
        history=History(),
    )  # fmt: skip
    await world.drained()
    (row,) = await world.database.fetch("select state, version, life from rides")
    assert (row["state"], row["version"], row["life"]) == ("in_progress", found.version, world.shard.token)


async def test_a_driver_comes_back_with_what_his_account_lets_him_carry(world: World) -> None:
    """So an admin may give him a job by hand before he is online again, and not one for which his papers are bad."""
    who = {"email": "dee@example.com", "name": "Dee", "phone": "+380501112233"}
    user = await world.database.fetchval(
        """insert into users (email, password_hash, first_name, last_name, phone, role)
           values ($1, '', $2, 'D', $3, 'courier') returning id::text""",
        *who.values(),
    )
    vehicle = await world.database.fetchval(
        """insert into vehicles (user_id, make, model, year, color, license_plate, type, capacity)
           values ($1, 'F', 'P', 2020, 'blue', 'AX1', 'sedan', 3) returning id::text""",
        user,
    )
    await world.database.execute("insert into courier_profiles (user_id, max_weight_kg) values ($1, 7)", user)
    await world.database.execute(
        "insert into papers (subject_id, kind, valid_until) values ($1, 'licence', to_timestamp(2000000000))",
        user,
    )
    ride, driver = on_board(a_driver(id=UserId(user), area_id="a", vehicle_id=vehicle))
    await world.put(ride, driver)
    await world.lose()
    assert await world.restored() == {("ride", "kept"): 1}
    dee = await world.record(Driver, driver.id)
    assert (dee.seats, dee.max_weight_kg, dee.papers) == (3, 7.0, {"licence": 2_000_000_000_000})


async def test_a_parcel_comes_back_whole_but_for_its_code(world: World) -> None:
    sent = job(
        "package", "scheduled", scheduled_ms=int(time.time() * 1000) + HOUR_MS, note="bell", code="123456"
    )
    recipient = replace(sent.parcel or Parcel(""), recipient_name="Rae", recipient_phone="+380501112233")
    sent = replace(sent, parcel=recipient)
    await world.put(sent)
    await world.lose()
    assert await world.restored() == {("package", "scheduled"): 1}
    found = await world.record(Job, sent.id)
    wake_ms = sent.scheduled_ms - 900_000
    assert found == replace(sent, version=LEAP + 2, restored=1, code="", wake_ms=wake_ms)


async def test_who_was_asked_to_take_it_over_is_not_any_more(world: World) -> None:
    """Its driver keeps it, for good: nobody knows whether it changed before."""
    dee, dov = a_driver(area_id="a"), a_driver(area_id="a")
    ride = job(
        "ride", "assigned", driver_id=dee.id, driver_name=dee.name, assigned_ms=1, offers=2, takeovers=1
    )
    offer = replace(an_offer(ride, dov), id=OfferId(f"{ride.id}.2"))
    ride = replace(ride, offer_id=offer.id, offered_to=dov.id, wake_ms=int(time.time() * 1000) + 9_000)
    dee = replace(dee, load={ride.id: dee.capacity})
    await world.put(ride, offer, dee, replace(dov, offer_id=offer.id))
    await world.lose()
    assert await world.restored() == {("ride", "kept"): 1}
    found = await world.record(Job, ride.id)
    assert (found.state, found.driver_id, found.offer_id, found.excluded) == (
        "assigned",
        dee.id,
        None,
        (dov.id,),
    )
    assert not found.may_change and ride.id in (await world.record(Driver, dee.id)).load
    assert (await world.record(Offer, offer.id)).state == "lost"
    assert not await world.redis.exists(keys.coming(SHARD, "a"))


async def test_an_offer_is_lost_in_postgresql_too(world: World) -> None:
    ride, driver = job("ride", "offered", offers=1), a_driver(area_id="a")
    offer = replace(an_offer(ride, driver), id=OfferId(f"{ride.id}.1"))
    ride = replace(ride, offer_id=offer.id, offered_to=driver.id)
    await world.put(ride, offer, replace(driver, offer_id=offer.id))
    await world.lose()
    assert await world.restored() == {("ride", "searching"): 1}
    found = await world.record(Job, ride.id)
    assert (found.state, found.offer_id, found.excluded) == ("searching", None, (driver.id,))
    ended = await world.record(Offer, offer.id)
    assert (ended.state, ended.made_ms, ended.deadline_ms) == ("lost", offer.made_ms, offer.deadline_ms)
    assert await world.record(Driver, driver.id) is None, "he had nothing else"
    await world.drained()
    assert await world.database.fetchval("select state from offers") == "lost"
    assert f"job:{ride.id}".encode() in await world.redis.zrange(keys.due(SHARD), 0, -1)


async def test_twice_and_a_dry_run_before(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAGE", 3)
    jobs = await some_of_everything(world)
    await world.lose()
    expected = {
        ("ride", "kept"): 4,
        ("ride", "searching"): 4,
        ("package", "scheduled"): 4,
        ("package", "kept"): 5,
    }
    assert await world.restored(dry_run=True) == expected
    assert await world.facts() == []
    assert await world.restored() == expected
    assert await world.restored() == {("ride", "lives"): 8, ("package", "lives"): 9}
    await check_once(world, jobs)


async def test_two_machines_at_once(world: World, redis_url: str) -> None:
    jobs = await some_of_everything(world)
    await world.lose()
    other = Desks(redis_url, world.database)
    try:
        one, two = await asyncio.gather(world.restored(), other.restored())
    finally:
        await other.shard.close()
    done = [sum(n for (_, outcome), n in run.items() if outcome != "lives") for run in (one, two)]
    assert sum(done) == len(jobs)
    await check_once(world, jobs)


@pytest.mark.parametrize("after", [0, 1, 6, 11])
@pytest.mark.parametrize("committed", [False, True])
async def test_it_dies_half_way_and_is_run_again(world: World, after: int, committed: bool) -> None:
    jobs = await some_of_everything(world)
    await world.lose()
    commit, left = world.log.commit, after

    async def dies(what: Any) -> int:
        nonlocal left
        left -= 1
        if left < 0 and not committed:
            raise RuntimeError("died")
        at_ms = await commit(what)
        if left < 0:
            raise RuntimeError("died")
        return at_ms

    world.log.commit = dies  # type: ignore[method-assign]
    with pytest.raises(RuntimeError):
        await world.rehydration().run()
    world.log.commit = commit  # type: ignore[method-assign]
    again = await world.restored()
    lives = again.pop(("ride", "lives"), 0) + again.pop(("package", "lives"), 0)
    assert lives == after + committed and sum(again.values()) == len(jobs) - lives
    await check_once(world, jobs)


async def test_a_drain_that_is_behind_is_waited_for(
    world: World, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is over by Redis' word, and its record expired, must not come back."""
    ride = job()
    await world.put(ride)
    await world.drained()
    async with world.database.transaction() as conn:
        await conn.execute("select from drain_cursors for update")  # the drain waits
        over = replace(ride, version=1, state="cancelled", ended_ms=await world.log.now_ms())
        await world.log.commit(await write(world.log, over))
        await world.redis.delete(keys.job(SHARD, ride.id))
        monkeypatch.setattr(module, "DRAIN_WITHIN_S", 0.1)
        with pytest.raises(Stop, match="dispatch drain"):
            await world.restored()
    monkeypatch.undo()
    assert await world.restored() == {}


async def test_what_the_client_opened_again_meanwhile(world: World) -> None:
    """Its new record stands; which of the two is true, a person must say, if PostgreSQL still knew more."""
    driver = a_driver(area_id="a")
    known, busy = on_board(driver)
    quiet = job()
    await world.put(known, quiet, busy)
    for version in (1, 2):  # PostgreSQL knows it at version 3
        await world.log.commit(await write(world.log, replace(known, version=version)))
    await world.lose()
    page = await module.live_jobs(world.database, "rides", SHARD, module.FIRST_ID, 10)
    reopened = replace(known, state="searching", driver_id=None, driver_name="", wake_ms=2**45)
    await world.put(reopened, quiet)
    run = world.rehydration()
    for remembered in page:  # read before the drain had the new ones
        await run._restore(remembered)
    assert dict(run.counts) == {("ride", "held"): 1, ("ride", "lives"): 1}
    held = await world.record(Job, known.id)
    assert (held.state, held.version, held.driver_id) == ("searching", 2, None) and held.needs_person
    assert f"job:{known.id}".encode() not in await world.redis.zrange(keys.due(SHARD), 0, -1)
    assert await world.record(Job, quiet.id) == replace(quiet, version=1)


async def test_a_driver_who_went_online_anew_keeps_what_he_drives(world: World) -> None:
    ride, driver = on_board(a_driver(area_id="a"))
    other, busy = on_board(a_driver(area_id="a"))
    await world.put(ride, driver)
    await world.put(other, busy)
    await world.lose()
    new_ride, taken = on_board(replace(busy, load={}, plan=()))
    await world.put(replace(driver, load={}, plan=(), device="new", node="n1", generation=1))
    await world.put(new_ride, taken)
    assert await world.restored() == {("ride", "kept"): 1, ("ride", "held"): 1, ("ride", "lives"): 1}
    dee = await world.record(Driver, driver.id)
    assert (dict(dee.load), dee.device, dee.version) == ({ride.id: 1}, "new", 2)
    held = await world.record(Job, other.id)
    assert (held.needs_person, held.driver_id) == ("its driver is unclear", busy.id)
    assert dict((await world.record(Driver, busy.id)).load) == {new_ride.id: 1}


async def test_redis_is_lost_again_meanwhile(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = await some_of_everything(world)
    await world.lose()
    run = world.rehydration()
    restore, number = run._restore, 0

    async def wiped(remembered: Any) -> None:
        nonlocal number
        number += 1
        if number == 5:
            await world.redis.flushall()
        await restore(remembered)

    monkeypatch.setattr(run, "_restore", wiped)
    with pytest.raises(Stop, match="again"):
        await run.run()
    again = await world.restored()
    assert again[("ride", "lives")] == 4 and sum(again.values()) == len(jobs)
    await check_once(world, jobs)


async def test_jobs_of_long_ago_are_ended_and_said_so(world: World) -> None:
    ride = job()
    await world.put(ride)
    await world.lose()
    await world.database.execute("update rides set committed_at = now() - interval '13 hours'")
    run = world.rehydration()
    await run.run()
    assert "ended           1        0   cancelled as lost" in run.table()
    await world.drained()
    (row,) = await world.database.fetch("select state, reason, ended_at, version from rides")
    assert (row["state"], row["version"]) == ("cancelled", LEAP + 2) and row["ended_at"] and row["reason"]
    assert await world.log.jobs_of(ride.requester_id) == []
    assert await world.restored() == {}


async def test_a_job_whose_area_is_gone_is_named_and_the_others_come_back(world: World) -> None:
    await world.put(job(area_id="gone"), job())
    await world.lose()
    run = world.rehydration()
    await run.run()
    assert dict(run.counts) == {("ride", "searching"): 1}
    assert "1 could not be brought back: This job's area is not configured here." in run.table()


async def test_nothing_to_do(world: World) -> None:
    run = world.rehydration()
    await run.run()
    assert run.table() == "PostgreSQL has no live jobs of this shard.\n"
    assert not await is_lost(world.database, world.log, SHARD)
