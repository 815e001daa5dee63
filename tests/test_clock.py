"""What happens by itself, where it is about when: whom silence is held against."""

from __future__ import annotations

import pytest
from redis.asyncio import Redis

from dispatch.commands import SYSTEM, MakeOffer
from rooms import clock
from rooms.session import Session
from storage import keys
from storage.records import Driver
from tests.nodekit import HERE, ONLINE, THERE, Node, node
from tests.support import wait_until
from tests.test_leases import online

S = "main"


async def is_stale(n: Node, driver_id: str) -> bool:
    record = (await n.log.load([(Driver, driver_id)])).records[Driver, driver_id]
    assert isinstance(record, Driver)
    return record.stale


async def test_silence_that_no_node_was_there_to_hear_proves_nothing(redis: Redis, redis_url: str) -> None:
    """All nodes were gone for longer than a driver may be silent; he has time to come back to the first that is there
    again. A timer that runs out under its eyes counts at once."""
    async with node(redis_url, "n1", stale_s=5) as one:
        driver, _ = one.arrive("driver")
        await online(one, driver)
        now_ms = await one.log.now_ms()
    timer = f"driver:{driver.user_id}"
    await redis.zadd(keys.due(S), {timer: now_ms - 10_000}, xx=True)
    async with node(redis_url, "n2", stale_s=5) as two:

        async def has_time() -> bool:
            return float(await redis.zscore(keys.due(S), timer) or 0.0) > now_ms + 20_000

        await wait_until(has_time)
        assert not await is_stale(two, driver.user_id)
        await redis.zadd(keys.due(S), {timer: now_ms}, xx=True)
        await wait_until(lambda: is_stale(two, driver.user_id))


async def test_timers_that_fail_keep_nobody_from_his_turn(redis: Redis, redis_url: str) -> None:
    """As many jobs as a sweep takes up cannot be read: who comes after them has his turn all the same."""
    async with node(redis_url, stale_s=5) as n:
        driver, _ = n.arrive("driver")
        await online(n, driver)
        now_ms = await n.log.now_ms()
        for number in range(100):
            await redis.hset(keys.job(S, f"unreadable{number}"), mapping={"v": 1, "r": "nonsense"})
        await redis.zadd(keys.due(S), {f"job:unreadable{number}": now_ms - 60_000 for number in range(100)})
        await redis.zadd(keys.due(S), {f"driver:{driver.user_id}": now_ms}, xx=True)
        await wait_until(lambda: is_stale(n, driver.user_id))


@pytest.mark.parametrize(
    ("every_s", "others", "pause_s"),
    [(0.1, 0, 0.1), (0.1, 1, 0.2), (0.1, 9, 1.0), (0.1, 50, 1.0), (5.0, 0, 5.0), (5.0, 3, 5.0)],
)
def test_nodes_share_the_looks(every_s: float, others: int, pause_s: float) -> None:
    assert clock.pause_between_looks_s(every_s, others) == pytest.approx(pause_s)


async def offer_to_one(n: Node) -> tuple[Session, str, str]:
    """A driver whose phone says when it shows an offer, and what he is offered: (driver, ride, offer)."""
    driver, wire = n.arrive("driver")
    passenger, _ = n.arrive("passenger")
    assert (await n.say(driver, "go_online", {**ONLINE, "offerSeen": True}))["ok"]
    await wait_until(lambda: n.indexed(driver.user_id))
    ride = (await n.say(passenger, "request_ride", {"pickup": HERE, "dropoff": THERE}))["rideId"]
    await wait_until(lambda: wire.heard("offer"))
    return driver, ride, f"{ride}.1"


async def has_passed(n: Node, at_ms: int) -> bool:
    return await n.log.now_ms() > at_ms


async def is_passed_on(n: Node, ride: str) -> bool:
    return (await n.job(ride)).unseen == 1


@pytest.mark.parametrize("when", ["hung", "nobody there"])
async def test_an_offer_that_nobody_could_say_to_have_seen(
    redis: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """Redis hung, or all nodes were gone, while the offer's time to be shown ran out: phones have GRACE_S from then on
    to say that they show it. An offer that is not shown then goes on."""
    monkeypatch.setattr(clock, "GRACE_S", 0.7)
    async with node(redis_url, unseen_s=0.5) as n:
        driver, ride, offer = await offer_to_one(n)
        runs_out_ms = (await n.job(ride)).wake_ms
        if when == "hung":
            await redis.execute_command("CLIENT", "PAUSE", 900)
            await wait_until(lambda: has_passed(n, runs_out_ms + 700))
        else:
            await redis.zadd(keys.due(S), {f"job:{ride}": runs_out_ms - 10_000}, xx=True)
            await wait_until(lambda: has_passed(n, runs_out_ms + 100))
        assert not await is_passed_on(n, ride)
        if when == "hung":
            assert (await n.say(driver, "offer_seen", {"offerId": offer}))["ok"]
            assert (await n.say(driver, "accept_offer", {"offerId": offer}))["ok"]
        else:
            await wait_until(lambda: is_passed_on(n, ride))


async def test_nor_an_offer_to_take_a_ride_over(
    redis: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No node was there while its time to be shown ran out: it stands GRACE_S longer; the ride stays where it is."""
    monkeypatch.setattr(clock, "GRACE_S", 0.7)
    async with node(redis_url, unseen_s=0.5, swap_accepted=True) as n:
        first, ride, offer = await offer_to_one(n)
        assert (await n.say(first, "accept_offer", {"offerId": offer}))["ok"]
        other, wire = n.arrive("driver")
        assert (await n.say(other, "go_online", {**ONLINE, "offerSeen": True}))["ok"]
        ask = {"room": f"ride:{ride}", "job_id": ride, "driver_id": other.user_id, "beside": first.user_id}
        await n.desk.run(MakeOffer(user=SYSTEM, **ask, distance_m=1.0, eta_s=1.0))
        asked = await n.job(ride)
        assert asked.offered_to == other.user_id
        await redis.zadd(keys.due(S), {f"job:{ride}": asked.wake_ms - 10_000}, xx=True)
        await wait_until(lambda: has_passed(n, asked.wake_ms + 100))
        assert (await n.job(ride)).offer_id == asked.offer_id

        async def is_over() -> bool:
            return (await n.job(ride)).offer_id is None

        await wait_until(is_over)
        assert (await n.job(ride)).driver_id == first.user_id
        await wait_until(lambda: wire.heard("offer_withdrawn"))
