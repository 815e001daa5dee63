"""Bookings begin to search in time for a driver to be there: by who is near, and how far."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest
from redis.asyncio import Redis

from dispatch.area import Area
from dispatch.booking import lead_s
from dispatch.etatable import EtaTable
from dispatch.matching import Ranked
from dispatch.policy import Policy
from rooms.session import Session
from storage import keys
from tests.nodekit import HERE, ONLINE, THERE, Node, node
from tests.support import wait_until

LEAD_S, LEAST_S = 600.0, 60.0


def area_of(learned: bool = False, **more: Any) -> Area:
    bounds = {"schedule_lead_s": LEAD_S, "schedule_least_s": LEAST_S}
    rules: dict[str, Any] = bounds | {"offer_s": 15.0, "pickup_overhead_s": 30.0} | more
    policy = Policy(**rules)
    eta = EtaTable(policy) if learned else None
    return Area(id="a", name="A", shard="main", polygon={}, currency="USD", policy=policy, eta=eta)


def those(*etas_s: float) -> list[Ranked]:
    return [Ranked(str(at), 1_000.0, eta_s) for at, eta_s in enumerate(etas_s)]


@pytest.mark.parametrize(
    ("etas_s", "lead"),
    [
        pytest.param((), LEAD_S, id="nobody in reach: as early as may be"),
        pytest.param((100.0,), 115.0, id="his way, and his offer"),
        pytest.param((100.0, 200.0, 300.0), 345.0, id="the slowest, after all let it run out"),
        pytest.param((5.0,), LEAST_S, id="at the door"),
        pytest.param((100.0, 590.0), LEAD_S, id="too far for the longest lead"),
    ],
)
def test_the_lead_is_the_way_and_the_offers_within_its_bounds(etas_s: tuple[float, ...], lead: float) -> None:
    assert lead_s(those(*etas_s), area_of()) == lead


def test_where_times_were_learned_it_is_in_time_in_four_of_five_cases() -> None:
    """Nothing learned yet: p80 is e^0.3 of the median, and what is no driving stays what it is."""
    assert lead_s(those(130.0), area_of(learned=True)) == pytest.approx(
        30.0 + 100.0 * 1.34986 + 15.0, rel=1e-4
    )


def test_a_least_lead_longer_than_the_longest_is_the_longest() -> None:
    assert lead_s(those(5.0), area_of(schedule_least_s=900.0)) == LEAD_S


# On a node, with the clock's own sweep. The driver stands at the pickup, 30 s away; so a booking of his begins 45 s
# ahead; what is tested here is in the area's hands: `schedule_least_s` 1 s, the longest lead ten minutes.


@dataclass
class Town:
    node: Node
    passenger: Session
    drivers: list[Session]

    async def book(self, ahead_s: float) -> str:
        at = datetime.fromtimestamp(await self.node.log.now_ms() / 1000 + ahead_s, UTC)
        asked = {"pickup": HERE, "dropoff": THERE, "scheduledAt": at.isoformat(timespec="milliseconds")}
        answer = await self.node.say(self.passenger, "request_ride", asked)
        assert answer["ok"], answer
        return str(answer["rideId"])

    async def state(self, ride: str) -> str:
        return (await self.node.job(ride)).state

    async def looked(self, redis: Redis, ride: str) -> bool:
        """Has somebody looked at it, and said when to look again?"""
        due_ms = float(await redis.zscore(keys.due("main"), f"job:{ride}") or 0.0)
        return due_ms > (await self.node.job(ride)).wake_ms


RULES: dict[str, Any] = {
    "schedule_lead_s": LEAD_S,
    "schedule_least_s": 1.0,
    "offer_s": 5.0,
    "search_retry_s": 0.05,
}


async def town(n: Node, drivers: int) -> Town:
    made = Town(n, n.arrive("passenger")[0], [n.arrive("driver")[0] for _ in range(drivers)])
    for driver in made.drivers:
        assert (await n.say(driver, "go_online", ONLINE))["ok"]
        await wait_until(partial(n.indexed, driver.user_id))
    return made


async def test_a_booking_waits_while_somebody_is_near_enough(redis: Redis, redis_url: str) -> None:
    async with node(redis_url, **RULES) as n:
        here = await town(n, drivers=1)
        later, soon = await here.book(300.0), await here.book(34.0)

        async def begun() -> bool:
            return await here.state(soon) != "scheduled"

        await wait_until(begun)  # 30 s of way and 5 s of thinking
        await wait_until(lambda: here.looked(redis, later))
        assert await here.state(later) == "scheduled"
        due_ms = await redis.zscore(keys.due("main"), f"job:{later}")
        begins_ms = (await n.job(later)).scheduled_ms - 35_000
        assert due_ms is not None and due_ms <= begins_ms, "it is looked at again before it has to begin"


async def test_with_nobody_in_reach_it_begins_at_once(redis: Redis, redis_url: str) -> None:
    async with node(redis_url, **RULES) as n:
        here = await town(n, drivers=0)
        ride = await here.book(300.0)

        async def searches() -> bool:
            return await here.state(ride) == "searching"

        await wait_until(searches)


async def test_whoever_was_near_is_gone_at_the_next_look(redis: Redis, redis_url: str) -> None:
    async with node(redis_url, **RULES) as n:
        here = await town(n, drivers=1)
        ride = await here.book(300.0)
        await wait_until(lambda: here.looked(redis, ride))
        assert await here.state(ride) == "scheduled"
        assert (await n.say(here.drivers[0], "go_offline", {}))["ok"]
        await redis.zadd(keys.due("main"), {f"job:{ride}": 1})  # the next look

        async def begun() -> bool:
            return await here.state(ride) == "searching"

        await wait_until(begun)


async def test_it_begins_in_its_least_lead_without_a_look(redis: Redis, redis_url: str) -> None:
    async with node(redis_url, **RULES | {"schedule_least_s": 100.0}) as n:
        here = await town(n, drivers=0)
        assert await here.state(await here.book(90.0)) == "searching"
        assert await here.state(await here.book(110.0)) in ("scheduled", "searching")
