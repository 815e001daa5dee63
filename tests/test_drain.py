"""What the drain makes of facts and positions, when nothing goes wrong."""

import time
from datetime import UTC, datetime, timedelta

import msgpack
import pytest
from redis.asyncio import Redis

from storage import keys
from storage.facts import Fact
from storage.log import Log, Write
from storage.records import Message, Parcel, Read, UserId
from storage.shard import Shard
from tests.drainkit import (
    PICKUP,
    SHARD,
    Feeder,
    a_driver,
    a_job,
    an_offer,
    drain_settings,
    looking,
    new_id,
    running,
)
from tests.support import wait_until


async def test_commit_to_history(database_url: str, redis_url: str, redis: Redis) -> None:
    """Through the real commit script: the drain reads what the log writes."""
    shard = Shard(SHARD, redis_url)
    log = Log(shard)
    await shard.ensure_life()
    job, now_ms = a_job(version=0, code="4711"), await shard.now_ms()
    fact = Fact(room=job.room, event="ride_status_update", payload={"rideId": job.id}, records=(job,))
    await log.commit(
        Write(
            life=shard.token, loaded_ms=now_ms, room=job.room, by=job.requester_id, put=(job,), facts=(fact,)
        )
    )
    await shard.close()
    async with running(drain_settings(database_url, redis_url)), looking(database_url) as kept:
        row = await wait_until(
            lambda: kept.conn.fetchrow("select *, ST_Y(pickup::geometry) as lat from rides")
        )
        assert (str(row["id"]), row["state"], row["status"], row["version"]) == (
            job.id,
            "searching",
            "pending",
            1,
        )
        assert (row["lat"], row["pickup_address"], row["fare_minor"]) == (
            PICKUP.latitude,
            PICKUP.address,
            1250,
        )
        event = await kept.conn.fetchrow("select *, payload->>'rideId' as ride from ride_events")
        assert (event["ride"], event["seq"], event["by_user"]) == (job.id, 1, job.requester_id)
        assert event["epoch"].startswith(f"{shard.epoch}.")


async def test_every_record_has_its_row(database_url: str, redis_url: str, redis: Redis) -> None:
    feeder = Feeder(redis)
    await feeder.life("one")
    driver = a_driver()
    parcel = Parcel(
        size="small", weight_kg=2.5, fragile=True, recipient_name="Cy", recipient_phone="+15550100"
    )
    job = a_job(
        "package",
        "assigned",
        parcel=parcel,
        driver_id=driver.id,
        driver_name=driver.name,
        excluded=(UserId(new_id()),),
    )
    offer = an_offer(job, driver, state="accepted", ended_ms=job.created_ms + 5000)
    line = Message(id=new_id(), job_id=job.id, kind="package", sender_id=driver.id, sender_name="Bob", type="text",
                   text="At the door ✓", sent_ms=job.created_ms)  # fmt: skip
    read = Read(
        job_id=job.id,
        kind="package",
        reader_id=job.requester_id,
        message_id=line.id,
        read_ms=job.created_ms + 9,
    )
    await feeder.say(job.room, "driver_assigned", {"driverId": driver.id}, (job, driver, offer), by=driver.id)
    await feeder.say(job.room, "new_message", {"message": line.text}, (line,), by=driver.id)
    await feeder.say(job.room, "message_read", {}, (read,))
    await feeder.say(f"user:{driver.id}", "offer", {"offerId": offer.id}, (offer,))
    await feeder.say(f"user:{driver.id}", "superseded", {})
    async with running(drain_settings(database_url, redis_url)), looking(database_url) as kept:
        await kept.exactly(feeder)
        package = await kept.conn.fetchrow("select * from packages")
        assert (package["size"], package["weight_kg"], package["fragile"]) == ("small", 2.5, True)
        assert (package["tier"], package["recipient_phone"]) == ("standard", "+15550100")
        assert [str(one) for one in package["excluded"]] == list(job.excluded)
        assert package["status"] == "pending_pickup" and package["proof"] is None
        row = await kept.conn.fetchrow("select * from drivers")
        assert (row["state"], row["classes"], row["name"]) == ("idle", ["economy"], driver.name)
        row = await kept.conn.fetchrow("select * from offers")
        assert (row["state"], row["id"], row["ended_at"] - row["made_at"]) == (
            "accepted",
            offer.id,
            timedelta(seconds=5),
        )
        row = await kept.conn.fetchrow("select * from chat_messages")
        assert (row["text"], str(row["sender_id"])) == (line.text, driver.id)
        assert str(await kept.conn.fetchval("select message_id from chat_reads")) == line.id
        # an event of a user's room is kept where it is about a job, and only there
        rows = await kept.conn.fetch("select room, event, job_id from package_events where room ~ '^user:'")
        assert [(row["event"], str(row["job_id"])) for row in rows] == [("offer", job.id)]


async def test_code_is_never_stored(database_url: str, redis_url: str, redis: Redis) -> None:
    feeder = Feeder(redis)
    await feeder.life("one")
    job = a_job("package", parcel=Parcel(size="huge and refused"), code="918273", code_tries=1)
    good = a_job(code="918273")
    data = {"rideId": job.id, "code": "918273"}
    await feeder.say(
        f"user:{good.requester_id}", "notification", {"type": "ride_code", "data": [data]}, (good, job)
    )
    async with running(drain_settings(database_url, redis_url)), looking(database_url) as kept:
        await wait_until(kept.letters)
        for table in ("rides", "ride_events", "drain_cursors"):
            text = await kept.conn.fetchval(f"select string_agg(t::text, ' ') from {table} t")
            assert text and "918273" not in text
        assert all(b"918273" not in letter["content"] for letter in await kept.letters())


async def test_newest_version_wins(database_url: str, redis_url: str, redis: Redis) -> None:
    """Also within one batch, and also when an older one comes later."""
    feeder = Feeder(redis)
    await feeder.life("one")
    job = a_job()
    for version, reason in ((1, "one"), (2, "two"), (4, "four"), (3, "three")):
        fields = {"id": job.id, "version": version, "reason": reason, "requester_id": job.requester_id}
        await feeder.say(job.room, "ride_status_update", {}, (a_job(**fields),))
    async with running(drain_settings(database_url, redis_url, drain_batch=3)), looking(database_url) as kept:
        await kept.exactly(feeder)
        row = await kept.conn.fetchrow("select version, reason from rides")
        assert tuple(row) == (4, "four")


async def test_fixes_become_locations(database_url: str, redis_url: str, redis: Redis) -> None:
    feeder = Feeder(redis)
    await feeder.life("one")
    driver, job, now_ms = new_id(), new_id(), int(time.time() * 1000)
    await feeder.fix(driver, job=job, at_ms=now_ms)
    await feeder.fix(driver, heading=None, speed=None, accuracy=None, at_ms=now_ms - 86_400_000)
    await feeder.fix(driver, speed=None, count=300)
    async with running(drain_settings(database_url, redis_url)), looking(database_url) as kept:
        await kept.exactly(feeder)
        columns = "ts, ST_X(location), ST_Y(location), ST_SRID(location), heading, speed, accuracy, job_id"
        rows = await kept.conn.fetch(f"select {columns} from locations order by seq limit 2")
        first, second = (tuple(row) for row in rows)
        assert first[:7] == (datetime.fromtimestamp(now_ms / 1000, UTC), -122.4, 37.7, 4326, 90.0, 5.0, 8.0)
        assert str(first[7]) == job
        assert second[4:] == (None, None, None, None)


async def test_fixes_of_the_past_are_drained_as_well(database_url: str, redis_url: str, redis: Redis) -> None:
    """Batches that were acked: nobody sheds them, and one that comes twice is there once."""
    await Feeder(redis).life("one")
    driver, now_ms = new_id(), int(time.time() * 1000)
    fixes = [(driver, now_ms - n, 1 << 62 | n, 37.7, -122.4, None, None, None, None) for n in range(500)]
    async with running(drain_settings(database_url, redis_url)) as drain, looking(database_url) as kept:
        for read in (1, 2):
            await redis.xadd(keys.past(SHARD), {"b": msgpack.packb(fixes)})
            await wait_until(lambda n=read: drain.stats()["past"]["entries"] == n)
            await wait_until(lambda: _is(redis, keys.past(SHARD), 0))
            query = "select count(*) from locations where driver_id = $1"
            assert await kept.conn.fetchval(query, driver) == 500
        assert await kept.conn.fetchval("select count(*) from dead_letters") == 0


async def test_trims_only_what_is_drained(database_url: str, redis_url: str, redis: Redis) -> None:
    """Fixes go at once; facts stay for slow nodes, and go once they are old; what is not drained stays."""
    feeder = Feeder(redis)
    await feeder.life("one")
    old = f"{int(time.time() * 1000) - 60_000}-0"
    fields = {"r": "ride:x", "n": "e", "s": 0, "e": "", "p": "", "d": "", "m": "", "t": 1, "a": ""}
    await redis.xadd(keys.facts(SHARD), fields, id=old)
    await feeder.say(a_job().room, "ride_status_update")
    await feeder.fix(new_id())
    async with looking(database_url) as kept:
        async with running(drain_settings(database_url, redis_url)):
            await kept.exactly(feeder)
            await wait_until(lambda: _is(redis, keys.fixes(SHARD), 0))
            await wait_until(lambda: _is(redis, keys.facts(SHARD), 1))
        await feeder.fix(new_id())
        await feeder.say(a_job().room, "ride_status_update")
        assert await redis.xlen(keys.fixes(SHARD)) == 1
        assert await redis.xlen(keys.facts(SHARD)) == 2


async def _is(redis: Redis, stream: str, length: int) -> bool:
    return bool(await redis.xlen(stream) == length)


async def test_route_waits_for_late_fixes(database_url: str, redis_url: str, redis: Redis) -> None:
    """A finished job is drawn after the settle time, once, from the fixes of its own driver."""
    feeder = Feeder(redis)
    await feeder.life("one")
    driver, other, now_ms = new_id(), new_id(), int(time.time() * 1000)
    job = a_job(state="completed", driver_id=driver, assigned_ms=now_ms - 9000, ended_ms=now_ms, version=7)
    empty = a_job(state="cancelled", ended_ms=now_ms)
    await feeder.say(job.room, "ride_status_update", {}, (job, empty))
    await feeder.fix(driver, job=job.id, count=10, at_ms=now_ms - 8000)
    await feeder.fix(other, job=job.id, count=5, at_ms=now_ms - 8000)
    await feeder.fix(driver, count=5, at_ms=now_ms - 20_000)
    async with (
        running(drain_settings(database_url, redis_url, route_settle_s=2.5)),
        looking(database_url) as kept,
    ):
        await kept.exactly(feeder)
        assert await kept.conn.fetchval("select count(*) from rides where route_at is not null") == 0
        await feeder.fix(driver, job=job.id, count=2, at_ms=now_ms - 50)
        columns = "route_points, ST_NPoints(route::geometry), ST_Length(route)"
        drawn = f"select {columns} from rides where route_at is not null and id = $1"
        row = await wait_until(lambda: kept.conn.fetchrow(drawn, job.id), timeout_s=10)
        assert (row[0], row[1]) == (12, 12) and row[2] > 90
        assert tuple(await wait_until(lambda: kept.conn.fetchrow(drawn, empty.id))) == (0, None, None)
        # a later version of the record leaves the route alone
        later = {"id": job.id, "requester_id": job.requester_id, "version": 8}
        same = a_job(**later, state="completed", driver_id=driver, ended_ms=now_ms)
        await feeder.say(job.room, "x", {}, (same,))
        await kept.exactly(feeder)
        assert (await kept.conn.fetchrow(drawn, job.id))[0] == 12


@pytest.mark.parametrize("sqlstate", ["23514", "XX000"])
async def test_a_route_that_is_refused_keeps_nobody_from_his(
    database_url: str, redis_url: str, redis: Redis, sqlstate: str
) -> None:
    """Nor old decisions from being forgotten."""
    feeder = Feeder(redis)
    await feeder.life("one")
    now_ms = int(time.time() * 1000)
    jobs = []
    for count, ended_ms in ((3, now_ms - 2000), (4, now_ms - 1000)):
        driver = new_id()
        jobs.append(
            a_job(
                state="completed", driver_id=driver, assigned_ms=now_ms - 9000, ended_ms=ended_ms, version=7
            )
        )
        await feeder.say(jobs[-1].room, "ride_status_update", {}, (jobs[-1],))
        await feeder.fix(driver, job=jobs[-1].id, count=count, at_ms=now_ms - 8000)
    async with looking(database_url) as kept:
        await kept.conn.execute(
            "create function odd() returns trigger language plpgsql as $$ begin raise exception 'odd' using"
            f" errcode = '{sqlstate}'; end $$; create trigger odd before update on rides for each row"
            " when (new.route_points = 3) execute function odd()"
        )
        try:
            async with running(drain_settings(database_url, redis_url, route_settle_s=0.0)):
                drawn = "select route_points, route is null from rides where route_at is not null and id = $1"
                for job, wanted in zip(jobs, ((0, True), (4, False)), strict=True):
                    assert (
                        tuple(await wait_until(lambda id_=job.id: kept.conn.fetchrow(drawn, id_), 10.0))
                        == wanted
                    )
        finally:
            await kept.conn.execute("drop function odd cascade")


async def test_lag_and_counters_are_in_postgres(database_url: str, redis_url: str, redis: Redis) -> None:
    feeder = Feeder(redis)
    await feeder.life("one")
    await feeder.say(a_job().room, "ride_status_update", {}, (a_driver(),))
    await feeder.fix(new_id(), count=3)
    async with running(drain_settings(database_url, redis_url)) as drain, looking(database_url) as kept:
        await kept.exactly(feeder)
        rows = {row["stream"]: row for row in await kept.conn.fetch("select * from drain_lag")}
        assert (rows["facts"]["entries"], rows["facts"]["rows"], rows["fixes"]["rows"]) == (1, 2, 3)
        assert 0 <= rows["facts"]["lag_ms"] < 10_000
        assert drain.stats()["fixes"] == {
            "entries": 1,
            "rows": 3,
            "refused": 0,
            "thinned": 0,
            "lag_ms": drain.stats()["fixes"]["lag_ms"],
        }
        # the heartbeat says that an idle drain lives, and how far history is certain
        reached = rows["facts"]["reached_at"]
        later = "select reached_at from drain_lag where stream = 'facts' and reached_at > $1 and lag_ms = 0"
        await wait_until(lambda: kept.conn.fetchval(later, reached), timeout_s=10)


async def test_no_life_is_waited_for(database_url: str, redis_url: str, redis: Redis) -> None:
    feeder = Feeder(redis)
    async with running(drain_settings(database_url, redis_url)) as drain, looking(database_url) as kept:
        await wait_until(lambda: kept.conn.fetchval("select count(*) = 3 from drain_cursors"))
        await feeder.life("one")
        await feeder.say(a_job().room, "ride_status_update")
        await kept.exactly(feeder)
        assert drain.stats()["outages"] == 0
