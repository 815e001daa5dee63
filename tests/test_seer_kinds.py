"""A look counts rides and parcels apart: who waits, who is free, and what is expected."""

from __future__ import annotations

from typing import Any

import pytest

from dispatch.demand import QUARTER_S
from dispatch.worth import Asked
from rooms.counting import Counting
from rooms.seer import Seer
from storage import demand as kept
from storage.heat import HeatStore
from storage.postgis import Database
from tests.nodekit import HERE, ONLINE, THERE
from tests.support import wait_until
from tests.test_seer import CELL, START_S, db, demand_of, two

__all__ = ["db"]

# drivers whom another test has left in the same place would be counted
pytestmark = pytest.mark.usefixtures("redis")


async def test_rides_and_parcels_are_counted_apart(redis: Any, redis_url: str, db: Database) -> None:
    """Couriers who are free make no ride cheaper: one ride waits for nobody, two couriers for nothing."""
    async with two(redis_url, db) as t:
        n = t.nodes[0]
        for _ in range(2):
            courier, _ = n.arrive("courier")
            assert (await n.say(courier, "go_online", {**ONLINE, "classes": ["parcel"]}))["ok"]
            await wait_until(lambda who=courier.user_id: n.indexed(who, "parcel"))
        passenger, _ = n.arrive("passenger")
        assert (await n.say(passenger, "request_ride", {"pickup": HERE, "dropoff": THERE}))["ok"]
        assert [await each.beat() for each in t.seers] == ["looked", "followed"]
        heat = await t.heat(1)
        assert (heat.cells, heat.waiting, heat.supply, heat.pressure) == ([CELL], [1], [0], [1.0])
        packages = heat.packages
        assert packages is not None
        assert (packages.waiting, packages.supply, packages.pressure) == ([0], [2], [0.0])
        # one who does both is free for both
        both, _ = n.arrive("driver")
        assert (await n.say(both, "go_online", {**ONLINE, "classes": ["economy", "parcel"]}))["ok"]
        await wait_until(lambda: n.indexed(both.user_id))
        assert await t.seers[0].beat() == "looked"
        heat = await t.heat(0)
        assert heat.packages is not None and (heat.supply, heat.packages.supply) == ([1], [3])


async def test_what_is_expected_is_shared_as_was_asked_of_late(
    redis: Any, redis_url: str, db: Database
) -> None:
    async with two(redis_url, db) as t:
        n, counting = t.nodes[0], Counting(db, "main")
        now_s = await n.log.now_ms() / 1000
        seer = Seer(n.desk, HeatStore(n.shard), counting, "n9")
        async with db.connection() as conn:
            await kept.keep_document(conn, "a", demand_of(*[60] * 8), START_S + 8 * QUARTER_S)
        assert await seer.beat() == "looked"
        alone = n.desk.heats.get("a", now_s)
        assert alone is not None and alone.packages is not None
        assert max(alone.forecast) > 1.0 and alone.packages.forecast == [0.0], "nobody knows: all are rides"
        for name, requests in (("economy", 20), ("comfort", 10), ("parcel", 10)):
            counting._asked.setdefault("a", {})[name] = Asked(requests, 0)
        assert await seer.beat() == "looked"
        heat = n.desk.heats.get("a", now_s)
        assert heat is not None and heat.packages is not None
        assert max(heat.packages.forecast) == pytest.approx(max(heat.forecast) / 3, abs=2e-3)
