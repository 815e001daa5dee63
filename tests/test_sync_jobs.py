"""`sync` with the jobs that a phone knows: what Redis lost and no drain had read is asked back, and not guessed."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from msgspec.structs import replace
from redis.asyncio import Redis

from dispatch import commands as c
from storage.records import Driver, Job, UserId
from tests.nodekit import HERE, ONLINE, THERE, Kept, Node, node
from tests.support import wait_until


@pytest_asyncio.fixture
async def town(redis: Redis, redis_url: str) -> AsyncIterator[Node]:
    async with node(redis_url, offer_s=3600, stale_s=3600) as made:
        yield made


def held(wire: Kept) -> list[dict[str, Any]]:
    """What was told of jobs that wait for a person."""
    told = [json.loads(text[1:]) for text in wire.told if '"ride_status_update"' in text]
    return [payload for _, payload in told if payload.get("needsPerson")]


async def ride_under_way(town: Node) -> tuple[Job, Any, Any]:
    """A ride that its driver has accepted; he, and its passenger, with their wires."""
    driver, passenger = town.arrive("driver"), town.arrive("passenger")
    await town.say(driver[0], "go_online", ONLINE)
    asked = await town.say(passenger[0], "request_ride", {"pickup": HERE, "dropoff": THERE})
    ride = asked["rideId"]

    async def asked_for() -> str | None:
        return (await town.driver(driver[0].user_id)).offer_id

    offer = await wait_until(asked_for)
    assert (await town.say(driver[0], "accept_offer", {"offerId": offer}))["ok"]
    return await town.job(ride), driver, passenger


@pytest.mark.parametrize("who", ["passenger", "driver"])
async def test_a_phone_that_knows_more_than_was_brought_back(town: Node, redis: Redis, who: str) -> None:
    ride, driver, passenger = await ride_under_way(town)
    answer = await town.say(driver[0], "ride_status_update", {"rideId": ride.id, "status": "arrived"})
    seen = answer["version"]
    row = await town.driver(driver[0].user_id)
    noticed = asyncio.Event()
    town.speaker.on_gap = noticed.set
    await redis.flushall()
    async with asyncio.timeout(10):
        await noticed.wait()
    command = c.RestoreJob(
        user=c.SYSTEM, room=ride.room, job=ride, driver=row, code="",
        committed_ms=ride.assigned_ms, max_age_ms=10**12,
    )  # fmt: skip
    assert await town.desk.run(command) == {"outcome": "kept"}
    back = await town.job(ride.id)
    assert back.state == "assigned" and back.restored == ride.version == seen - 1

    session, _ = driver if who == "driver" else passenger
    for jobs in ([[ride.id, ride.version]], [[ride.id, back.version]], [[str(uuid.uuid4()), 9]], []):
        assert (await town.say(session, "sync", {"jobs": jobs}))["ok"]
    assert (await town.job(ride.id)) == back, "it knows no more than we do"
    stranger, _ = town.arrive("passenger")
    assert (await town.say(stranger, "sync", {"jobs": [[ride.id, seen]]}))["ok"]
    assert (await town.job(ride.id)) == back, "he is not believed"

    assert (await town.say(session, "sync", {"jobs": [[ride.id, seen]]}))["ok"]
    for _, wire in (driver, passenger):
        told = await wait_until(lambda wire=wire: held(wire))
        assert [each["state"] for each in told] == ["assigned"]
    answer = await town.say(session, "sync", {"rooms": [[ride.room, "", 0]], "jobs": [[ride.id, seen]]})
    assert answer["rooms"][0]["last"]["job"]["needsPerson"] is True
    now = await town.job(ride.id)
    assert (now.state, now.driver_id, now.version) == ("assigned", driver[0].user_id, back.version + 1), (
        "once"
    )
    for status in ("arrived", "in_progress", "completed"):
        step = {"rideId": ride.id, "status": status, "commandId": f"again {status}"}
        assert (await town.say(driver[0], "ride_status_update", step))["ok"], "they may go on"


async def test_redis_that_does_not_answer(town: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    ride, _, (session, _) = await ride_under_way(town)

    async def gone(_: object) -> None:
        raise c.Refusal("unavailable")

    monkeypatch.setattr(town.desk, "run", gone)
    answer = await town.say(session, "sync", {"jobs": [[ride.id, ride.version + 1]]})
    assert answer["error"]["code"] == "unavailable", "it is asked again"
    assert not (await town.job(ride.id)).needs_person


async def test_the_driver_of_a_job_that_waits_for_a_person_is_told_of_it(town: Node, redis: Redis) -> None:
    """His record, as PostgreSQL has it, does not know of the job, which names him: both apps show it until a person
    has decided, and neither after."""
    job, (driver, _), _ = await ride_under_way(town)
    his = await town.driver(driver.user_id)
    await redis.flushall()
    await wait_until(lambda: _comes_back(town, job, replace(his, load={}, plan=())))
    for role, user in (("driver", driver.user_id), ("passenger", job.requester_id)):
        assert [(each["rideId"], each["needsPerson"]) for each in await _jobs_told(town, role, user)] == [
            (job.id, True)
        ]
    await town.desk.run(
        c.UnassignJob(user=UserId("ann"), room=job.room, job_id=job.id, kind="ride", reason="because")
    )
    assert await _jobs_told(town, "driver", driver.user_id) == []


async def _comes_back(town: Node, job: Job, driver: Driver) -> bool:
    try:
        await town.desk.run(
            c.RestoreJob(
                user=c.SYSTEM,
                room=job.room,
                job=job,
                driver=driver,
                committed_ms=await town.log.now_ms(),
                max_age_ms=3_600_000,
                code="123456",
            )
        )
    except c.Refusal:  # the node has not seen yet that Redis lives another life
        return False
    return True


async def _jobs_told(town: Node, role: str, user: str) -> list[dict[str, Any]]:
    _, wire = await town.connect(role, user)
    connected = next(text for text in wire.told if '"connected"' in text)
    return json.loads(connected[connected.index("[") :])[1]["jobs"]  # type: ignore[no-any-return]
