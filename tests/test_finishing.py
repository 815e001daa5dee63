"""A driver about to finish nearby is a candidate: found, asked, and seen by nobody before his ride is over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from redis.asyncio import Redis

from dispatch.cells import cell_of
from dispatch.wording import iso
from storage import keys
from storage.heat import HeatStore
from storage.records import Driver, Job, Offer
from tests.nodekit import HERE, ONLINE, THERE, Kept, Node, node
from tests.support import wait_until

# drivers whom another test has left in the same place would be asked for the rides of this one
pytestmark = pytest.mark.usefixtures("redis")

S = "main"
#: 110 m and 880 m from the dropoff of the first ride: 19 s and 154 s by the policy's speed
NEAR, FAR = {"latitude": 0.509, "longitude": 0.5}, {"latitude": 0.502, "longitude": 0.5}
NEXT = {"pickup": {"latitude": 0.511, "longitude": 0.5}, "dropoff": HERE}
BATCH, AT_ONCE = {"plenty": 1_000.0}, {"plenty": 0.0}


class Riding:
    """A driver with his first passenger on board; `second` has not asked yet."""

    def __init__(self, n: Node, driver: Any, phone: Kept, first: str, wire: Kept) -> None:
        self.n, self.driver, self.phone, self.first, self.first_wire = n, driver, phone, first, wire
        self.second, self.second_wire = n.arrive("passenger")
        self._steps = 0

    async def drive(self, at: dict[str, float], **more: Any) -> None:
        """A fix there that is told: a little beside the last one."""
        self._steps += 1
        to = {**at, "longitude": at["longitude"] + 5e-5 * (self._steps % 2), **more}

        async def kept() -> bool:
            return bool((await self.n.say(self.driver, "location_update", to)).get("kept"))

        await wait_until(kept)

    async def status(self, status: str, ride: str = "") -> dict[str, Any]:
        return await self.n.say(
            self.driver, "ride_status_update", {"rideId": ride or self.first, "status": status}
        )

    async def ask(self) -> str:
        """The second passenger asks; the driver is offered it."""
        heard = self.phone.heard("offer")
        answer = await self.n.say(self.second, "request_ride", NEXT)
        await wait_until(lambda: self.phone.heard("offer") > heard)
        return str(answer["rideId"])

    async def take(self, ride: str) -> None:
        offer = (await self.n.job(ride)).offer_id
        assert (await self.n.say(self.driver, "accept_offer", {"offerId": offer}))["ok"]
        await wait_until(lambda: self.second_wire.heard("driver_assigned"))

    async def soon(self) -> dict[str, Any]:
        """What the index foretells of the driver."""
        found = await self.n.fleet.read(keys.soon("economy"), [cell_of(0.51, 0.5)])
        return {each.driver_id: each for each in found}


@asynccontextmanager
async def on_board(n: Node, there: Node | None = None) -> AsyncIterator[Riding]:
    """`there`: where the second passenger is."""
    driver, phone = n.arrive("driver")
    passenger, wire = n.arrive("passenger")
    assert (await n.say(driver, "go_online", ONLINE))["ok"]
    await wait_until(lambda: n.indexed(driver.user_id))
    first = (await n.say(passenger, "request_ride", {"pickup": HERE, "dropoff": THERE}))["rideId"]
    await wait_until(lambda: phone.heard("offer"))
    assert (await n.say(driver, "accept_offer", {"offerId": f"{first}.1"}))["ok"]
    riding = Riding(n, driver, phone, first, wire)
    if there is not None:
        riding.second, riding.second_wire = there.arrive("passenger")
    for status in ("arrived", "in_progress"):
        assert (await riding.status(status))["ok"]
    yield riding


def told(wire: Kept, event: str) -> list[dict[str, Any]]:
    found = [msgspec.json.decode(text[text.index("[") :]) for text in wire.told if f'["{event}"' in text]
    return [payload for _, payload in found]


@pytest.mark.parametrize("path", [BATCH, AT_ONCE], ids=["batch", "at once"])
async def test_both_matches_find_him_and_the_second_ride_follows_the_first(
    path: dict[str, float], redis_url: str
) -> None:
    async with node(redis_url, finishing_s=60.0, **path) as n, on_board(n) as riding:
        await riding.drive(NEAR)
        await wait_until(riding.soon)
        second = await riding.ask()
        offer = told(riding.phone, "offer")[-1]
        assert offer["finishing"] is True and 100 <= offer["distanceM"] <= 120
        # 19 s to the dropoff, 19 s from there, half a minute that every approach takes
        assert 62 <= offer["etaSeconds"] <= 72
        assert not await riding.soon()  # he thinks about it
        await riding.take(second)
        (assigned,) = told(riding.second_wire, "driver_assigned")
        assert assigned["finishing"] is True and assigned["etaSeconds"] == offer["etaSeconds"]
        refused = await riding.status("arrived", second)
        assert refused["error"]["code"] == "wrong_state"
        assert (await riding.status("completed"))["ok"]
        for status in ("arrived", "in_progress", "completed"):
            assert (await riding.status(status, second))["ok"]
        await wait_until(lambda: _free(n, riding))
        assert not any(second in text for text in riding.first_wire.told), "the first hears of the second"


async def test_nobody_is_foretold_where_the_area_does_not_want_it(redis_url: str) -> None:
    async with node(redis_url) as n, on_board(n) as riding:
        await riding.drive(NEAR)
        await n.say(riding.second, "request_ride", NEXT)
        await riding.drive(NEAR)
        assert not await riding.soon() and riding.phone.heard("offer") == 1


async def test_who_turns_out_to_need_longer_leaves_the_index(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rooms.fixes.FORETELL_MS", 0)
    async with node(redis_url, finishing_s=60.0) as n, on_board(n) as riding:
        for _ in range(2):
            await riding.drive(NEAR)
            await wait_until(riding.soon)
            await riding.drive(FAR)
            await wait_until(lambda: _nobody(riding))
        await n.say(riding.second, "request_ride", NEXT)
        await riding.drive(FAR)
        assert riding.phone.heard("offer") == 1


async def _free(n: Node, riding: Riding) -> bool:
    held = await n.shard.client.hget(keys.spot(S), riding.driver.user_id)  # type: ignore[misc]
    return held is not None and held.endswith(b" economy")


async def _nobody(riding: Riding) -> bool:
    return not await riding.soon()


async def test_he_stands_where_his_ride_ends_and_is_no_free_vehicle(redis_url: str) -> None:
    async with node(redis_url, finishing_s=60.0) as n, on_board(n) as riding:
        await riding.drive(NEAR)
        await wait_until(riding.soon)
        (at,) = (await riding.soon()).values()
        now_ms = await n.log.now_ms()
        assert (at.lat_deg, at.lng_deg) == (THERE["latitude"], THERE["longitude"])
        assert 10_000 < at.ts_ms - now_ms < 25_000
        assert not await n.indexed(riding.driver.user_id)
        shown = await n.say(riding.second, "nearby", THERE)
        assert shown["ok"] and shown["vehicles"] == []
        assert not await HeatStore(n.shard).free()
        assert (await riding.status("completed"))["ok"]
        await wait_until(lambda: _nobody(riding))
        await wait_until(lambda: _free(n, riding))


async def test_where_his_ride_ends_is_not_kept_as_where_he_is(redis_url: str) -> None:
    async with node(redis_url, finishing_s=60.0) as n, on_board(n) as riding:
        await riding.drive(NEAR)
        await wait_until(riding.soon)
        await riding.ask()
        kept = await n.fleet.last_position(riding.driver.user_id)
        assert kept is not None and kept.lat_deg == NEAR["latitude"]


async def test_the_second_passenger_sees_nothing_of_the_first_ride(redis: Redis, redis_url: str) -> None:
    """On the driver's node and on another one: no position told, joined or synced, none of a batch."""
    async with (
        node(redis_url, "n1", finishing_s=60.0) as n,
        node(redis_url, "n2", finishing_s=60.0) as there,
        on_board(n, there) as riding,
    ):
        near, near_wire = n.arrive("passenger", riding.second.user_id)
        await riding.drive(NEAR)
        await wait_until(riding.soon)
        asked = await there.say(riding.second, "request_ride", NEXT)
        second = str(asked["rideId"])
        await wait_until(lambda: riding.phone.heard("offer") > 1)
        await riding.take(second)
        before = riding.first_wire.heard("driver_location")
        taken_ms = (await n.job(second)).assigned_ms
        for _ in range(3):
            await riding.drive(NEAR)
        past = {"batchId": "b1", "fixes": [{**NEAR, "timestamp": iso(taken_ms + 1)}]}
        assert (await n.say(riding.driver, "location_batch", past))["kept"] == 1
        assert riding.first_wire.heard("driver_location") > before
        for where, who in ((n, near), (there, riding.second)):
            joined = await where.say(who, "join_ride", {"rideId": second})
            assert joined["ok"] and joined["position"] is None and joined["state"] == "assigned"
            synced = await where.say(who, "sync", {"rooms": [[f"ride:{second}", joined["epoch"], 0]]})
            assert synced["rooms"][0]["last"]["position"] is None
        assert (await riding.status("completed"))["ok"]
        over_ms = (await n.driver(riding.driver.user_id)).ride_over_ms
        joined = await there.say(riding.second, "join_ride", {"rideId": second})
        assert joined["position"] is None  # where he is known to be was with the other
        live = n.fixes.leases._lives[riding.driver.user_id]
        await wait_until(lambda: [job.job_id for job in live.jobs] == [second])
        await riding.drive(NEAR, timestamp=iso(over_ms - 2))  # one alone that comes late
        late = {"batchId": "b2", "fixes": [{**NEAR, "latitude": 0.5091, "timestamp": iso(over_ms - 1)}]}
        assert (await n.say(riding.driver, "location_batch", late))["kept"] == 1
        for wire in (near_wire, riding.second_wire):
            assert not told(wire, "driver_location")
        batches = [msgspec.msgpack.decode(each[b"b"]) for _, each in await redis.xrange(keys.past(S))]
        assert [row[-1] for rows in batches for row in rows] == [riding.first, None]
        await riding.drive(NEAR)
        await wait_until(lambda: told(near_wire, "driver_location"))
        await wait_until(lambda: told(riding.second_wire, "driver_location"))
        assert {each["rideId"] for each in told(near_wire, "driver_location")} == {second}
        joined = await there.say(riding.second, "join_ride", {"rideId": second})
        assert joined["position"]["latitude"] == NEAR["latitude"]


async def test_who_comes_back_is_told_again_that_it_comes_after_another(redis_url: str) -> None:
    """Both phones, with every answer that shows a ride; and no more once the first one is over."""
    async with (
        node(redis_url, "n1", finishing_s=60.0) as n,
        node(redis_url, "n2", finishing_s=60.0) as there,
        on_board(n) as riding,
    ):
        await riding.drive(NEAR)
        await wait_until(riding.soon)
        second = await riding.ask()

        async def shown(role: str, user: str) -> list[bool]:
            session, wire = await there.connect(role, user)
            (opened,) = told(wire, "connected")
            cards = [each for each in opened["jobs"] if each["rideId"] == second]
            cards += [each["job"] for each in opened["offers"]]
            if cards[0]["state"] != "offered":
                joined = await there.say(session, "join_ride", {"rideId": second})
                rooms = [[f"ride:{second}", joined["epoch"], 0], [f"user:{user}", "", 0]]
                of_ride, own = (await there.say(session, "sync", {"rooms": rooms}))["rooms"]
                cards += [joined, joined["job"], of_ride["last"]["job"]]
                cards += [each for each in own["last"]["jobs"] if each["rideId"] == second]
            assert not any(each.get("finishing") for each in opened["jobs"] if each["rideId"] != second)
            return [each.get("finishing", False) for each in [*opened["offers"], *cards]]

        assert await shown("driver", riding.driver.user_id) == [True, False]  # of the offer, as it was made
        await riding.take(second)
        for who in (riding.driver, riding.second):
            assert await shown(who.role, who.user_id) == [True] * 5
        assert (await riding.status("completed"))["ok"]
        for who in (riding.driver, riding.second):
            assert await shown(who.role, who.user_id) == [False] * 5


async def test_the_next_is_searched_for_again_when_the_first_is_too_late(redis_url: str) -> None:
    """He stands at the dropoff, and does not say that it is over."""
    async with node(redis_url, finishing_s=60.0, patience_s=2.0) as n, on_board(n) as riding:
        await riding.drive(THERE)
        await wait_until(riding.soon)
        second = await riding.ask()
        await riding.take(second)
        riding.second_wire.told.clear()
        await wait_until(lambda: told(riding.second_wire, "ride_status_update"))
        gone = told(riding.second_wire, "ride_status_update")[0]
        assert (gone["state"], gone["driverId"], gone["updatedBy"]) == ("searching", None, "system")
        driver = await n.driver(riding.driver.user_id)
        assert list(driver.load) == [riding.first] and (await n.job(second)).excluded == (driver.id,)
        assert (await riding.status("completed"))["ok"]
        assert (await n.driver(driver.id)).available


async def test_whose_phone_falls_silent_is_asked_no_more(redis_url: str) -> None:
    async with node(redis_url, finishing_s=60.0, stale_s=0.6) as n, on_board(n) as riding:
        await riding.drive(NEAR)
        await wait_until(riding.soon)

        async def stale() -> bool:
            return (await n.driver(riding.driver.user_id)).stale

        await wait_until(stale)
        assert not await riding.soon()
        assert (await n.job(riding.first)).needs_person == "driver silent"


async def test_his_node_dies_and_another_phone_goes_on(redis_url: str) -> None:
    """What it had foretold stands until he is online again; nobody is offered anything twice."""
    async with node(redis_url, "n1", finishing_s=60.0) as n:
        async with node(redis_url, "n2", finishing_s=60.0) as dying, on_board(dying) as riding:
            await riding.drive(NEAR)
            await wait_until(riding.soon)
        phone, wire = n.arrive("driver", riding.driver.user_id)
        second, _ = n.arrive("passenger")
        ride = (await n.say(second, "request_ride", NEXT))["rideId"]
        await wait_until(lambda: wire.heard("offer"))
        assert (await n.say(phone, "accept_offer", {"offerId": f"{ride}.1"}))["ok"]
        assert (await n.say(phone, "go_online", {**ONLINE, **NEAR}))["ok"]
        driver = await n.driver(riding.driver.user_id)
        assert list(driver.load) == [riding.first, ride]


async def test_he_takes_the_next_at_the_moment_the_first_ends_on_two_nodes(redis_url: str) -> None:
    async with (
        node(redis_url, "n1", finishing_s=60.0) as n,
        node(redis_url, "n2", finishing_s=60.0) as there,
        on_board(n) as riding,
    ):
        await riding.drive(NEAR)
        await wait_until(riding.soon)
        second = await riding.ask()
        other, _ = there.arrive("driver", riding.driver.user_id)
        accept = {"offerId": (await n.job(second)).offer_id}
        done = {"rideId": riding.first, "status": "completed"}
        answers = await asyncio.gather(
            *(each.say(who, "accept_offer", accept) for each, who in ((n, riding.driver), (there, other))),
            n.say(riding.driver, "ride_status_update", done),
            there.say(other, "accept_offer", accept),
        )
        assert all(answer["ok"] for answer in answers)
        loaded = (await n.log.load([(Driver, riding.driver.user_id), (Job, second)])).records
        driver, job = loaded.values()
        assert isinstance(driver, Driver) and isinstance(job, Job)
        assert list(driver.load) == [second] and job.driver_id == driver.id
        assert (await riding.status("arrived", second))["ok"]


async def test_two_passengers_want_him_and_one_gets_him(redis_url: str) -> None:
    async with (
        node(redis_url, "n1", finishing_s=60.0, **AT_ONCE) as n,
        node(redis_url, "n2", finishing_s=60.0, **AT_ONCE) as there,
        on_board(n) as riding,
    ):
        await riding.drive(NEAR)
        await wait_until(riding.soon)
        third, _ = there.arrive("passenger")
        asked = await asyncio.gather(
            n.say(riding.second, "request_ride", NEXT), there.say(third, "request_ride", NEXT)
        )
        rides = [each["rideId"] for each in asked]
        await wait_until(lambda: riding.phone.heard("offer") > 1)
        jobs = [await n.job(ride) for ride in rides]
        held = [job for job in jobs if job.offered_to == riding.driver.user_id]
        assert len(held) == 1
        offers = (await n.log.load([(Offer, held[0].offer_id or "")])).records.values()
        assert [isinstance(each, Offer) and each.finishing for each in offers] == [True]
        await n.say(riding.driver, "accept_offer", {"offerId": held[0].offer_id})
        waits = next(ride for ride in rides if ride != held[0].id)
        assert (await n.job(waits)).offers == 0 and not await riding.soon()
