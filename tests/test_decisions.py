"""Decisions of the match: in the commit of an offer or noted beside; drained once; read by whom they concern."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest_asyncio
from redis.asyncio import Redis

from storage import keys
from storage.facts import Fact
from storage.log import Log
from storage.records import Choice, Considered, JobId, UserId
from storage.shard import Shard
from tests.drainkit import SHARD, drain_settings, looking, new_id, running
from tests.phones import Phone, accepted, offered, online, phone, request
from tests.stack import RunningStack
from tests.support import wait_until

DRIVERS = [UserId(new_id()) for _ in range(3)]


def a_choice(job_id: str = "", at_ms: int = 1_800_000_000_000, **more: Any) -> Choice:
    job = JobId(job_id or new_id())
    considered = (
        Considered(DRIVERS[0], "chosen", 812, 93, 90, 70),
        Considered(DRIVERS[1], "farther", 900, 120, 120),
        Considered(DRIVERS[2], "blocked"),
    )
    values = {
        "id": f"{job}.1", "job_id": job, "kind": "ride", "vehicle_class": "economy", "area_id": "city", "policy": 3,
        "path": "nearest", "driver_id": DRIVERS[0], "considered": considered, "more": 4, "shadow": 5,
        "shadow_driver_id": DRIVERS[1], "at_ms": at_ms,
    }  # fmt: skip
    return Choice(**{**values, **more})


@pytest_asyncio.fixture
async def log(redis_url: str) -> AsyncIterator[Log]:
    shard = Shard(SHARD, redis_url)
    yield Log(shard)
    await shard.close()


async def noted(log: Log, *choices: Choice) -> None:
    await log.note(tuple(Fact(room=f"ride:{c.job_id}", records=(c,)) for c in choices))


async def test_drained_once_with_a_row_for_each_driver(
    database_url: str, redis_url: str, redis: Redis, log: Log
) -> None:
    one, none = a_choice(), a_choice(considered=(), driver_id=None, shadow=0, shadow_driver_id=None)
    bad = a_choice(kind="boat")
    await noted(log, one, bad, none)
    settings = drain_settings(database_url, redis_url)
    async with running(settings), looking(database_url) as kept:
        await wait_until(lambda: kept.conn.fetchval("select count(*) = 2 from decisions"))
    # another life: all is read again, and nothing is there twice
    await redis.hset(keys.life(SHARD), "token", "another")
    async with running(settings) as drain, looking(database_url) as kept:
        await wait_until(lambda: drain.stats()["facts"]["entries"] == 3)
        assert await kept.conn.fetchval("select count(*) from decisions") == 2
        rows = await kept.conn.fetch("select * from decision_drivers order by rank")
        assert [(str(r["driver_id"]), r["rank"], r["reason"], r["eta_s"], r["shadow_s"]) for r in rows] == [
            (DRIVERS[0], 1, "chosen", 93, 70),
            (DRIVERS[1], 2, "farther", 120, None),
            (DRIVERS[2], 3, "blocked", 0, None),
        ]  # fmt: skip
        row = await kept.conn.fetchrow("select * from decisions where driver_id is not null")
        assert (row["id"], row["policy"], row["shadow"], str(row["shadow_driver_id"]), row["more"]) == (
            one.id, 3, 5, DRIVERS[1], 4,
        )  # fmt: skip
        letters = await kept.conn.fetch("select target, sqlstate from dead_letters")
        assert {(letter["target"], letter["sqlstate"]) for letter in letters} == {("decisions", "23514")}


async def test_what_is_older_than_it_is_kept_goes(
    database_url: str, redis_url: str, redis: Redis, log: Log
) -> None:
    now_ms = await log.now_ms()
    old, new = a_choice(at_ms=now_ms - 40 * 86_400_000), a_choice(at_ms=now_ms)
    await noted(log, old, new)
    async with (
        running(drain_settings(database_url, redis_url, decisions_days=41.0)),
        looking(database_url) as kept,
    ):
        await wait_until(lambda: kept.conn.fetchval("select count(*) = 2 from decisions"))
    async with running(drain_settings(database_url, redis_url)), looking(database_url) as kept:
        await wait_until(lambda: kept.conn.fetchval("select count(*) = 1 from decisions"))
        ids = await kept.conn.fetch("select distinct decision_id from decision_drivers")
        assert [row["decision_id"] for row in ids] == [new.id]


async def mine(stack: RunningStack, driver: Phone) -> list[dict[str, Any]]:
    _, answer = await stack.get(driver.person, "/api/drivers/me/decisions?limit=5")
    return answer["data"]


async def test_an_admin_reads_all_and_a_driver_his_own(stack: RunningStack) -> None:
    spot, admin = stack.spot(), await stack.person("admin")
    small, near, far = await stack.people("driver", 3)
    await stack.database.execute("update vehicles set capacity = 2 where id = $1", small.vehicle_id)
    async with (
        phone(stack, small) as cramped, phone(stack, near) as asked, phone(stack, far) as other,
        phone(stack, "passenger") as passenger,
    ):  # fmt: skip
        for driver, away_m in ((cramped, 100.0), (asked, 300.0), (other, 900.0)):
            await online(driver, spot.at(away_m))
        ride = await request(passenger, spot, seats=3)
        offer = await offered(asked, ride)
        await stack.drained("select 1 from decisions where job_id = $1", ride)
        status, answer = await stack.get(admin, f"/api/admin/jobs/{ride}/decisions")
        (decision,) = answer["data"]
        assert status == 200 and decision["id"] == offer["offerId"] and decision["driverId"] == near.id
        assert decision["offer"]["state"] == "open" and decision["offer"]["endedAt"] is None
        reasons = {each["driverId"]: each["reason"] for each in decision["considered"]}
        assert reasons == {small.id: "seats", near.id: "chosen", far.id: "farther"}
        assert decision["considered"][0]["name"] == near.name and decision["policy"] == 1
        for who in (passenger.person, near):
            assert (await stack.get(who, f"/api/admin/jobs/{ride}/decisions"))[0] == 403

        (his,) = await mine(stack, asked)
        assert (his["reason"], his["rank"], his["jobId"]) == ("chosen", 1, ride)
        (hers,) = await mine(stack, cramped)
        assert (hers["reason"], hers["rank"], hers["jobId"], hers["etaMinutes"]) == ("seats", 3, None, 1)
        told = str([hers, *(await mine(stack, other))])
        assert not any(secret in told for secret in (ride, near.id, near.name, far.id, passenger.person.id))
        assert await mine(stack, passenger) == []
        # declined: another decision, and pages of one
        await asked.call("decline_offer", {"offerId": offer["offerId"]})
        await accepted(other, ride)
        await stack.drained("select 1 from decisions where job_id = $1 and driver_id = $2", ride, far.id)
        page, cursor = "/api/drivers/me/decisions?limit=1", ""
        found = []
        while cursor is not None:
            _, answer = await stack.get(far, page + (f"&cursor={cursor}" if cursor else ""))
            found += [(each["at"], each["reason"]) for each in answer["data"]]
            cursor = answer["pagination"]["nextCursor"]
            assert ride not in str(cursor)
        assert len(set(found)) == len(found), "no page begins again"
        (_, latest), *before = found
        # who declined is nearer also to what another test may have left waiting
        assert latest == "chosen" and {reason for _, reason in before} == {"farther"}
