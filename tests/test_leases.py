"""Who may move a driver, through lost answers, takeovers, silences and outages: the leases on a real Redis."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from dispatch.area import Area, Areas
from dispatch.commands import GoOnline, Refusal
from dispatch.policy import Policy
from storage import keys
from storage.records import Driver
from storage.shard import Unavailable
from tests.nodekit import HERE, ONLINE, SQUARE, THERE, Node, node
from tests.support import wait_until

# drivers whom another test has left in the same place would be asked for the rides of this one
pytestmark = pytest.mark.usefixtures("redis")


async def online(n: Node, session: Any) -> None:
    assert (await n.say(session, "go_online", ONLINE))["ok"]
    await wait_until(lambda: n.indexed(session.user_id))


async def with_ride(n: Node) -> tuple[Any, Any, str]:
    """A driver on his way to a passenger: (driver's session, passenger's session, ride id)."""
    driver, wire = n.arrive("driver")
    passenger, _ = n.arrive("passenger")
    await online(n, driver)
    ride = (await n.say(passenger, "request_ride", {"pickup": HERE, "dropoff": THERE}))["rideId"]
    await wait_until(lambda: wire.heard("offer"))
    assert (await n.say(driver, "accept_offer", {"offerId": f"{ride}.1"}))["ok"]
    return driver, passenger, ride


async def test_going_online_again_under_the_same_key_is_a_new_lease(redis: Any, redis_url: str) -> None:
    async with node(redis_url) as n:
        driver, wire = n.arrive("driver")
        passenger, _ = n.arrive("passenger")
        for generation in (1, 2):
            answer = await n.say(driver, "go_online", {**ONLINE, "commandId": "once"})
            assert answer["generation"] == generation
            await wait_until(lambda: n.indexed(driver.user_id))
        assert (await n.say(driver, "location_update", HERE))["kept"] in (True, False)
        await n.say(passenger, "request_ride", {"pickup": HERE, "dropoff": THERE})
        await wait_until(lambda: wire.heard("offer"))


async def test_coming_online_is_a_sign_of_life(redis: Any, redis_url: str) -> None:
    async with node(redis_url, stale_s=30.0) as n:
        driver, _, ride = await with_ride(n)
        timer = f"driver:{driver.user_id}"
        now_ms = await n.log.now_ms()
        await redis.zadd(keys.due("main"), {timer: now_ms + 700})  # nearly silent too long
        phone, _ = n.arrive("driver", driver.user_id)
        assert (await n.say(phone, "go_online", ONLINE))["ok"]
        assert await redis.zscore(keys.due("main"), timer) > now_ms + 20_000
        assert (await n.job(ride)).driver_id == driver.user_id


async def test_a_fix_that_is_not_believed_is_a_sign_of_life(redis: Any, redis_url: str) -> None:
    async with node(redis_url, stale_s=1.2) as n:
        driver, _, ride = await with_ride(n)
        vague = {**HERE, "accuracy": 900}

        async def stood_there() -> bool:
            assert not (await n.say(driver, "location_update", vague)).get("kept")
            return bool(await n.log.now_ms() > until_ms)

        until_ms = await n.log.now_ms() + 2_600
        await wait_until(stood_there)
        assert (await n.job(ride)).state == "assigned"


async def test_a_revival_that_was_lost_is_asked_for_again(redis: Any, redis_url: str) -> None:
    async with node(redis_url, stale_s=0.3) as n:
        driver, _ = n.arrive("driver")
        await online(n, driver)

        async def stale() -> bool:
            return (await n.driver(driver.user_id)).stale

        await wait_until(stale)
        load, failures = n.log.load, 1

        async def hiccup(wanted: Any, *more: Any) -> Any:
            nonlocal failures
            if failures and wanted == [(Driver, driver.user_id)]:
                failures -= 1
                raise Unavailable("one timeout")
            return await load(wanted, *more)

        n.log.load = hiccup  # type: ignore[method-assign]

        async def asked() -> bool:  # the node may hear of the silence a moment later than we
            await n.say(driver, "location_update", HERE)
            return failures == 0

        await wait_until(asked)
        n.log.load = load  # type: ignore[method-assign]

        async def back() -> bool:
            await n.say(driver, "location_update", HERE)
            return not (await n.driver(driver.user_id)).stale

        await wait_until(back)


async def test_an_outage_of_redis_is_not_the_drivers_silence(redis: Any, redis_url: str) -> None:
    async with node(redis_url, stale_s=0.5) as n:
        driver, _, ride = await with_ride(n)
        due, fail, failed = n.log.due, True, 0

        async def away(limit: int = 100) -> list[str]:
            nonlocal failed
            if fail:
                failed += 1
                raise Unavailable("away")
            return await due(limit)

        n.log.due = away  # type: ignore[method-assign]
        await wait_until(lambda: failed)
        await redis.zadd(keys.due("main"), {f"driver:{driver.user_id}": 1})
        fail = False  # back, and the sweep may come before the driver's next fix
        await wait_until(lambda: not n.clock._queued)

        async def heard() -> bool:
            await n.say(driver, "location_update", HERE)
            return bool(await redis.zscore(keys.due("main"), f"driver:{driver.user_id}") > 1)

        await wait_until(heard)
        assert not (await n.driver(driver.user_id)).stale
        assert (await n.job(ride)).driver_id == driver.user_id


async def test_one_areas_outage_is_not_everybodys(redis: Any, redis_url: str) -> None:
    """Timers that cannot be served stand aside, however many and however old."""
    lost = Area(
        id="lost", name="L", shard="main", polygon=SQUARE, currency="USD", policy=Policy(patience_s=0.2)
    )
    async with node(redis_url, areas=Areas([lost]), name="n0") as n:
        passengers = [n.arrive("passenger")[0] for _ in range(130)]
        for passenger in passengers:
            await n.say(passenger, "request_ride", {"pickup": HERE, "dropoff": THERE})
        n.desk.areas = Areas([])
        for member in await redis.zrange(keys.due("main"), 0, -1):
            await redis.zadd(keys.due("main"), {member: 1})
        good = Area(
            id="a", name="A", shard="main", polygon=SQUARE, currency="USD", policy=Policy(patience_s=0.2)
        )
        n.desk.areas = Areas([good])
        passenger, wire = n.arrive("passenger")
        await n.say(passenger, "request_ride", {"pickup": HERE, "dropoff": THERE})
        await wait_until(lambda: any("no_driver" in text for text in wire.told))


async def test_another_node_with_the_same_login_does_not_share_the_lease(redis: Any, redis_url: str) -> None:
    async with node(redis_url, "n1") as one, node(redis_url, "n2") as two:
        first, _ = one.arrive("driver", http=True)
        await online(one, first)
        second, _ = two.arrive("driver", first.user_id, http=True)
        assert first.device == second.device
        assert (await two.say(second, "go_online", ONLINE))["generation"] == 2
        await wait_until(lambda: len(one.fixes.leases) == 0)
        assert (await one.say(first, "location_update", HERE))["error"]["code"] == "superseded"
        assert (await two.say(second, "location_update", THERE))["ok"]


async def test_nobody_is_left_in_the_index_by_a_takeover_that_was_refused(redis: Any, redis_url: str) -> None:
    async with node(redis_url) as n:
        older, _ = n.arrive("driver")
        await online(n, older)
        newer, _ = n.arrive("driver", older.user_id)
        run, gate = n.desk.run, asyncio.Event()

        async def slow(command: Any) -> Any:
            if isinstance(command, GoOnline):
                await gate.wait()
                raise Refusal("outside_area")
            return await run(command)

        n.desk.run = slow  # type: ignore[method-assign]
        taking_over = asyncio.ensure_future(n.say(newer, "go_online", ONLINE))
        await wait_until(lambda: newer.device in n.fixes.leases._seats)
        n.depart(older)
        gate.set()
        assert not (await taking_over)["ok"]
        n.depart(newer)

        async def gone() -> bool:
            return not await n.indexed(older.user_id)

        await wait_until(gone)
        assert len(n.fixes.leases) == 0


async def test_a_refused_newer_device_leaves_the_older_at_work(redis: Any, redis_url: str) -> None:
    async with node(redis_url) as n:
        older, wire = n.arrive("driver")
        await online(n, older)
        newer, _ = n.arrive("driver", older.user_id)
        assert not (await n.say(newer, "go_online", {**ONLINE, "classes": ["spaceship"]}))["ok"]
        assert (await n.say(older, "location_update", THERE))["ok"]
        assert wire.heard("superseded") == 0


async def test_of_two_that_come_at_once_one_drives_and_the_other_is_told_so(
    redis: Any, redis_url: str
) -> None:
    """In whichever order Redis takes them: the one that was heard last, where there is a last."""
    async with node(redis_url) as n:
        for _ in range(20):
            one, _ = n.arrive("driver")
            two, _ = n.arrive("driver", one.user_id)
            answers = await asyncio.gather(*(n.say(each, "go_online", ONLINE) for each in (one, two)))
            generations = [answer.get("generation", 0) for answer in answers]
            older, newer = (one, two) if generations[0] < generations[1] else (two, one)
            assert max(generations) == sum(answer["ok"] for answer in answers)
            await wait_until(lambda older=older: older.superseded)  # type: ignore[misc]
            assert (await n.say(newer, "location_update", THERE))["ok"]
            assert (await n.say(older, "location_update", HERE))["error"]["code"] == "superseded"
            assert not newer.superseded


@pytest.mark.parametrize("step", ["load", "commit"])
async def test_a_late_go_online_of_a_lost_line_takes_no_ride_from_the_phone_that_is_back(
    redis: Any, redis_url: str, step: str
) -> None:
    """The node of the lost line comes to Redis late, before its reading or after it; meanwhile the phone is online on
    another node."""
    async with node(redis_url, "n1") as slow, node(redis_url, "n2") as other:
        driver, _, ride = await with_ride(slow)
        slow.depart(driver)
        lost, _ = slow.arrive("driver", driver.user_id)
        reach, waits, go = getattr(slow.log, step), asyncio.Event(), asyncio.Event()

        async def late(*args: Any) -> Any:
            waits.set()
            await go.wait()
            return await reach(*args)

        setattr(slow.log, step, late)
        going = asyncio.create_task(slow.say(lost, "go_online", ONLINE))
        await waits.wait()
        heard_ms = slow.fixes.now_ms()
        await wait_until(lambda: other.fixes.now_ms() > heard_ms + 250)  # so much their clocks may differ
        phone, wire = other.arrive("driver", driver.user_id)
        assert (await other.say(phone, "go_online", ONLINE))["ok"]
        go.set()
        assert (await going)["error"]["code"] == "superseded"
        assert (await slow.say(lost, "location_update", HERE))["error"]["code"] == "superseded"
        slow.depart(lost)
        his = await other.driver(driver.user_id)
        assert (his.node, his.device, his.online) == ("n2", phone.device, True)
        assert (await other.say(phone, "location_update", THERE))["ok"]
        assert (await other.job(ride)).driver_id == driver.user_id and not wire.heard("superseded")
        assert (await other.say(phone, "ride_status_update", {"rideId": ride, "status": "arrived"}))["ok"]


async def test_a_device_that_was_refused_has_heard_meanwhile_that_its_job_is_gone(
    redis: Any, redis_url: str
) -> None:
    async with node(redis_url) as n:
        driver, passenger, ride = await with_ride(n)
        await wait_until(lambda: n.fixes.leases._lives[driver.user_id].jobs)
        run, told = n.desk.run, passenger.wire.told

        async def slow(command: Any) -> Any:
            if isinstance(command, GoOnline):
                assert (await n.say(driver, "cancel_ride", {"rideId": ride}))["state"] == "searching"
                await wait_until(lambda: sum('"state":"searching"' in text for text in told) == 2)
                raise Refusal("unavailable")
            return await run(command)

        n.desk.run = slow  # type: ignore[method-assign]
        assert not (await n.say(driver, "go_online", ONLINE))["ok"]
        told.clear()
        near = {"latitude": 0.5004, "longitude": 0.5}
        assert (await n.say(driver, "location_update", near))["kept"]
        assert not any("driver_location" in text for text in told)
        assert [fix[-1] for fix in n.fixes.tick.fixes if fix[0] == driver.user_id] in ([None], [])


async def test_a_second_word_that_is_refused_leaves_the_first(redis: Any, redis_url: str) -> None:
    """Also when the log has not told of the first yet."""
    async with node(redis_url) as n:
        driver, _ = n.arrive("driver")
        hear, held = n.speaker.hear, []
        n.speaker.hear = held.append  # type: ignore[method-assign]
        assert (await n.say(driver, "go_online", ONLINE))["ok"]
        assert not (await n.say(driver, "go_online", {**ONLINE, "classes": ["spaceship"]}))["ok"]
        n.speaker.hear = hear  # type: ignore[method-assign]
        for entry in held:
            hear(entry)
        assert (await n.say(driver, "location_update", THERE))["ok"]
        await wait_until(lambda: n.fixes.leases._lives[driver.user_id].available)


async def test_a_machine_whose_clock_is_set_loses_no_driver(
    redis: Any, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What counts is the clock of Redis: a step of this machine's makes no fix late, and silences nobody."""
    async with node(redis_url, stale_s=1.2) as n:
        driver, _ = n.arrive("driver")
        await online(n, driver)
        right_ns = time.time_ns
        monkeypatch.setattr(time, "time_ns", lambda: right_ns() + 600 * 10**9)
        until_ms = await n.log.now_ms() + 2_600

        async def went_on() -> bool:
            assert (await n.say(driver, "location_update", HERE)).get("reason") in (None, "late")
            assert abs(n.fixes.now_ms() - await n.log.now_ms()) < 5_000
            return bool(await n.log.now_ms() > until_ms)

        await wait_until(went_on)
        assert not (await n.driver(driver.user_id)).stale
