"""A parcel that is not ready yet is held, and then goes to whoever is best; nobody is told to be there sooner."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest
from redis.asyncio import Redis

from dispatch.cells import cell_of
from dispatch.wording import assigned_fact, iso, job_card, offer_card
from rooms.session import Session
from storage import keys
from tests.nodekit import HERE, THERE, Kept, Node, node
from tests.rules.build import NOW, a_driver, a_job, an_offer
from tests.support import wait_until

# a courier at the pickup is there in a second, and may think for five: a search begins six seconds ahead
RULES: dict[str, Any] = {
    "schedule_lead_s": 600.0,
    "schedule_least_s": 1.0,
    "pickup_overhead_s": 1.0,
    "offer_s": 5.0,
    "search_retry_s": 0.05,
}


async def courier(n: Node) -> tuple[Session, Kept]:
    session, wire = n.arrive("courier")
    assert (await n.say(session, "go_online", {"classes": ["parcel"], **HERE}))["ok"]

    async def indexed() -> bool:
        found = await n.fleet.read("parcel", [cell_of(lat_deg=0.5, lng_deg=0.5)])
        return session.user_id in {position.driver_id for position in found}

    await wait_until(indexed)
    return session, wire


async def send(n: Node, ahead_s: float) -> str:
    at = datetime.fromtimestamp(await n.log.now_ms() / 1000 + ahead_s, UTC).isoformat(timespec="milliseconds")
    recipient = {"name": "Rae", "phone": "+380501112233"}
    asked = {"pickup": HERE, "dropoff": THERE, "recipient": recipient, "readyAt": at}
    answer = await n.say(n.arrive("passenger")[0], "request_package", asked)
    assert answer["ok"], answer
    return str(answer["packageId"])


async def test_it_is_held_and_goes_to_who_is_there_when_it_is_time(redis: Redis, redis_url: str) -> None:
    async with node(redis_url, **RULES) as n:
        first, first_wire = await courier(n)
        parcel = await send(n, 8.0)
        assert (await n.job(parcel)).state == "scheduled"

        async def looked() -> bool:
            """A node has seen that who is near will do, and looks again later."""
            due_ms = float(await redis.zscore(keys.due("main"), f"job:{parcel}") or 0.0)
            return due_ms > (await n.job(parcel)).wake_ms

        await wait_until(looked)
        assert (await n.say(first, "go_offline", {}))["ok"], "he is bound to nothing"
        second, second_wire = await courier(n)
        await wait_until(lambda: second_wire.heard("offer"), 10.0)
        assert first_wire.heard("offer") == 0
        job = await n.job(parcel)
        assert job.offered_to == second.user_id
        assert job.scheduled_ms - 6_500 < job.searching_ms < job.scheduled_ms
        (told,) = [text for text in second_wire.told if '["offer"' in text]
        offer = json.loads(told[told.index("[") :])[1]
        assert offer["job"]["readyAt"] == iso(job.scheduled_ms)
        assert offer["etaSeconds"] >= 3, "he is a second away, and it is not ready"
        assert (await n.say(second, "accept_offer", {"offerId": offer["offerId"]}))["ok"]
        pickup, dropoff = (await n.driver(second.user_id)).plan
        assert pickup.ready_ms == job.scheduled_ms < dropoff.due_ms


async def test_ready_now_is_asked_for_at_once(redis: Redis, redis_url: str) -> None:
    async with node(redis_url, **RULES) as n:
        _, wire = await courier(n)
        parcel = await send(n, -5.0)
        await wait_until(partial(wire.heard, "offer"))
        assert (await n.job(parcel)).state == "offered"


@pytest.mark.parametrize(
    ("kind", "hour"), [("ride", "scheduledAt"), ("package", "readyAt")], ids=("ride", "package")
)
def test_its_hour_is_told_by_its_name(kind: str, hour: str) -> None:
    card = job_card(a_job(kind, "scheduled", scheduled_ms=NOW))
    assert {name: card[name] for name in ("scheduledAt", "readyAt") if name in card} == {hour: iso(NOW)}


@pytest.mark.parametrize(
    ("kind", "ready_s", "told_s"),
    [
        pytest.param("package", 0, 90, id="ready"),
        pytest.param("package", 60, 90, id="ready when he is there"),
        pytest.param("package", 600, 600, id="not before it is ready"),
        pytest.param("ride", 600, 90, id="a passenger may be waited for"),
    ],
)
def test_nobody_is_told_to_be_there_before_it_is_ready(kind: str, ready_s: int, told_s: int) -> None:
    job = a_job(kind, "offered", scheduled_ms=NOW + ready_s * 1000)
    offer = an_offer(kind, eta_s=90.0)
    assert offer_card(job, offer, NOW)["etaSeconds"] == told_s
    assert assigned_fact(job, a_driver(), offer, NOW).payload["etaSeconds"] == told_s
