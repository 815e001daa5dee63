"""`location_batch` on two nodes and a real Redis: kept once and in order, told only by its newest."""

from __future__ import annotations

import json
from typing import Any

import msgpack
import msgspec
import pytest
from redis.asyncio import Redis

from dispatch import track
from dispatch.wording import iso
from storage import fleet, keys
from storage.fixrows import Packer
from storage.shard import Unavailable
from tests.nodekit import HERE, ONLINE, Kept, Node, node
from tests.phones import new_id, phone, raw
from tests.resumekit import Ride, riding
from tests.stack import RunningStack
from tests.support import wait_until
from tests.test_leases import online

# drivers whom another test has left in the same place would be asked for the rides of this one
pytestmark = pytest.mark.usefixtures("redis")

S = "main"
Row = tuple[Any, ...]


def drive(from_ms: int, count: int, step_ms: int = 1_000, **more: Any) -> list[dict[str, Any]]:
    """So many fixes, one a second, ten metres to the north each."""
    return [
        {"latitude": HERE["latitude"] + n * 9e-5, "longitude": HERE["longitude"],
         "timestamp": from_ms + n * step_ms, **more}
        for n in range(count)
    ]  # fmt: skip


async def rows(redis: Redis) -> list[Row]:
    """All fixes of batches, in their order."""
    entries = await redis.xrange(keys.past(S))
    return [tuple(fix) for _, entry in entries for fix in msgpack.unpackb(entry[b"b"])]


def seen(wire: Kept) -> list[dict[str, Any]]:
    return [json.loads(text[1:])[1] for text in wire.told if '["driver_location"' in text]


async def since_assigned(ride: Ride) -> int:
    return (await ride.one.job(ride.id)).assigned_ms


async def clock_reaches(n: Node, ms: int) -> None:
    async def reached() -> bool:
        return await n.log.now_ms() >= ms

    await wait_until(reached)


async def test_kept_in_order_and_once_whoever_is_asked(redis: Redis, redis_url: str) -> None:
    async with node(redis_url, "n1", stale_s=3600) as one, node(redis_url, "n2", stale_s=3600) as two:
        driver, _ = one.arrive("driver")
        await online(one, driver)
        now_ms = await one.log.now_ms()
        fixes = drive(now_ms - 400_000, 300, heading=90, speed=8.5, accuracy=12.5)
        batch = {"batchId": "b1", "fixes": [*fixes[150:], *fixes[:150]]}
        first = await one.say(driver, "location_batch", batch)
        assert first == {"ok": True, "batchId": "b1", "kept": 300, "refused": {}}
        kept = await rows(redis)
        assert [row[1] for row in kept] == [fix["timestamp"] for fix in fixes]
        assert [row[3:] for row in kept[:1]] == [(0.5, 0.5, 90, 8.5, 12.5, None)]
        assert len({row[2] for row in kept}) == 300 and {row[0] for row in kept} == {driver.user_id}
        packed = Packer().pack(await redis.xrange(keys.past(S)), now_ms)
        assert len(packed.fixes) == 300 and not packed.refused, "the drain takes them"
        # the reply was lost: again, here and on another node, whatever moved meanwhile
        assert await one.say(driver, "location_batch", batch) == first
        one.depart(driver)
        again, _ = two.arrive("driver", driver.user_id)
        assert await two.say(again, "location_batch", batch) == first, "before he is online again"
        assert (await two.say(again, "go_online", ONLINE))["ok"]
        assert await two.say(again, "location_batch", batch) == first
        assert await rows(redis) == kept
        other = await two.say(again, "location_batch", {**batch, "fixes": fixes})
        assert other["error"]["code"] == "duplicate"
        somebody, _ = two.arrive("driver")
        assert (await two.say(somebody, "go_online", ONLINE))["ok"]
        assert (await two.say(somebody, "location_batch", batch))["kept"] == 300, "another's is another batch"
        assert 0 < await redis.pttl(keys.batch(S, driver.user_id, "b1")) <= 86_400_000


@pytest.mark.parametrize("happened", [True, False])
async def test_it_is_acked_only_once_redis_has_it(redis: Redis, redis_url: str, happened: bool) -> None:
    async with node(redis_url, stale_s=3600) as n:
        driver, _ = n.arrive("driver")
        await online(n, driver)
        keep = n.fleet.keep

        async def lost(*args: Any) -> Any:
            if happened:
                await keep(*args)
            raise Unavailable("no answer")

        batch = {"batchId": "b", "fixes": drive(await n.log.now_ms() - 9_000, 5)}
        n.fleet.keep = lost  # type: ignore[method-assign]
        refused = (await n.say(driver, "location_batch", batch))["error"]
        assert (refused["code"], refused["retry"]) == ("unavailable", True)
        n.fleet.keep = keep  # type: ignore[method-assign]
        assert len(await rows(redis)) == (5 if happened else 0)
        assert (await n.say(driver, "location_batch", batch))["kept"] == 5
        assert len(await rows(redis)) == 5


async def test_what_was_acked_is_not_shed_rather_no_more_is_taken(
    redis: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet, "BATCHES_MAX", 2)
    async with node(redis_url, stale_s=3600) as n:
        driver, _ = n.arrive("driver")
        await online(n, driver)
        now_ms = await n.log.now_ms()
        batches = [{"batchId": f"b{i}", "fixes": drive(now_ms - 9_000, 5)} for i in range(3)]
        answers = [await n.say(driver, "location_batch", batch) for batch in batches]
        assert [answer["ok"] for answer in answers] == [True, True, False]
        assert answers[2]["error"]["code"] == "unavailable" and answers[2]["error"]["retry"]
        assert len(await rows(redis)) == 10
        assert await n.say(driver, "location_batch", batches[0]) == answers[0], "a repeat adds nothing"
        await redis.xtrim(keys.past(S), maxlen=1, approximate=False)  # as the drain does
        assert (await n.say(driver, "location_batch", batches[2]))["kept"] == 5


async def test_a_wiped_redis_gives_the_same_rows_their_numbers_again(redis: Redis, redis_url: str) -> None:
    kept = []
    async with node(redis_url, stale_s=3600) as n:
        batch = {"batchId": "b", "fixes": drive(await n.log.now_ms() - 9_000, 5)}
        user = new_id()
        for _ in range(2):
            driver, _ = n.arrive("driver", user)
            await wait_until(lambda d=driver: _goes_online(n, d))
            assert (await n.say(driver, "location_batch", batch))["kept"] == 5
            kept.append(await rows(redis))
            n.depart(driver)
            await redis.flushall()
    assert kept[0] == kept[1]


async def _goes_online(n: Node, driver: Any) -> bool:
    return bool((await n.say(driver, "go_online", ONLINE))["ok"])


async def test_each_fix_is_judged_by_those_before_it(redis: Redis, redis_url: str) -> None:
    async with node(redis_url, stale_s=3600) as n:
        driver, _ = n.arrive("driver")
        await online(n, driver)
        now_ms = await n.log.now_ms()
        good = drive(now_ms - 60_000, 20)
        bad: list[tuple[str, dict[str, Any]]] = [
            ("late", {**good[3], "latitude": 0.5}),
            ("inaccurate", {**good[4], "timestamp": good[4]["timestamp"] + 500, "accuracy": 900}),
            ("inaccurate", {**good[4], "timestamp": good[4]["timestamp"] + 500, "accuracy": -1}),
            ("teleport", {**good[5], "timestamp": good[5]["timestamp"] + 500, "latitude": 0.6}),
            ("future", {**good[6], "timestamp": now_ms + 60_000}),
            ("stale", {**good[7], "timestamp": now_ms - 86_500_000}),
            ("stale", {**good[7], "timestamp": 0}),
            ("no_time", {**good[8], "timestamp": "yesterday"}),
            ("no_time", {**good[8], "timestamp": -5}),
            ("out_of_range", {**good[9], "latitude": 90.5}),
            ("out_of_range", {**good[9], "longitude": 1e300}),
            ("out_of_range", {**good[9], "speed": 501}),
            ("out_of_range", {**good[9], "heading": 361}),
            ("out_of_range", {**good[9], "accuracy": 1e9}),
        ]
        mixed = [*good, *(fix for _, fix in bad)]
        answer = await n.say(driver, "location_batch", {"batchId": "mixed", "fixes": mixed})
        expected = {why: sum(each == why for each, _ in bad) for why, _ in bad}
        assert answer["kept"] == 20 and answer["refused"] == expected
        assert [row[1] for row in await rows(redis)] == [fix["timestamp"] for fix in good]
        iso = {"batchId": "iso", "fixes": [{**good[0], "timestamp": "2020-01-01T00:00:00.000Z"}]}
        answer = await n.say(driver, "location_batch", iso)
        assert answer["kept"] == 0 and answer["refused"] == {"stale": 1}


@pytest.mark.parametrize("elsewhere", [False, True])
async def test_only_the_newest_is_told(redis: Redis, redis_url: str, elsewhere: bool) -> None:
    async with riding(redis_url) as ride:
        watcher, wire = await (ride.two if elsewhere else ride.one).connect(
            "passenger", ride.passenger.user_id
        )
        assigned_ms = await since_assigned(ride)
        await clock_reaches(ride.one, assigned_ms + 300)
        fixes = drive(assigned_ms + 10, 20, 10)
        answer = await ride.one.say(ride.driver, "location_batch", {"batchId": "b", "fixes": fixes})
        assert answer["kept"] == 20
        await wait_until(lambda: seen(wire))
        assert [place["latitude"] for place in seen(wire)] == [fixes[-1]["latitude"]]
        assert seen(wire)[0]["rideId"] == ride.id and seen(wire)[0]["ageMs"] > 0
        assert seen(wire)[0]["timestamp"] == iso(fixes[-1]["timestamp"])
        assert {row[-1] for row in await rows(redis)} == {ride.id}
        # the same again, and what is older than what they know, is told to nobody
        await ride.one.say(ride.driver, "location_batch", {"batchId": "b", "fixes": fixes})
        older = {"batchId": "older", "fixes": fixes[:5]}
        assert (await ride.one.say(ride.driver, "location_batch", older))["kept"] == 5
        newer = {"batchId": "newer", "fixes": drive(assigned_ms + 250, 3, 10)}
        await ride.one.say(ride.driver, "location_batch", newer)
        await wait_until(lambda: len(seen(wire)) == 2)
        assert seen(wire)[1]["latitude"] == newer["fixes"][-1]["latitude"]
        assert watcher.rooms


async def test_where_he_was_before_the_job_is_not_for_its_parties(redis: Redis, redis_url: str) -> None:
    async with riding(redis_url) as ride:
        assigned_ms = await since_assigned(ride)
        await clock_reaches(ride.one, assigned_ms + 200)
        before = {"batchId": "before", "fixes": drive(assigned_ms - 20_000, 10)}
        assert (await ride.one.say(ride.driver, "location_batch", before))["kept"] == 10
        assert {row[-1] for row in await rows(redis)} == {None} and not seen(ride.heard)
        across = {"batchId": "across", "fixes": drive(assigned_ms - 100, 20, 10)}
        assert (await ride.one.say(ride.driver, "location_batch", across))["kept"] == 20
        found = (await rows(redis))[10:]
        assert [row[-1] for row in found] == [None] * 10 + [ride.id] * 10
        await wait_until(lambda: seen(ride.heard))
        assert len(seen(ride.heard)) == 1


async def test_nor_where_one_fix_that_comes_late_shows_him(redis: Redis, redis_url: str) -> None:
    """Taken before he had the job: the same as in a batch, also where another job's fixes are his own already."""
    async with riding(redis_url) as ride:
        assigned_ms = await since_assigned(ride)
        leases, who = ride.one.fixes.leases, ride.driver.user_id
        await wait_until(lambda: leases._lives[who].jobs)
        for ago_ms, north in ((1, 2e-4), (0, 3e-4)):
            late = {**HERE, "latitude": 0.5 + north, "timestamp": assigned_ms - ago_ms}
            assert (await ride.one.say(ride.driver, "location_update", late)) == {"ok": True, "kept": True}

        async def kept() -> list[Row]:
            entries = await redis.xrange(keys.fixes(S))
            found = [tuple(fix) for _, entry in entries for fix in msgpack.unpackb(entry[b"b"])]
            return [row for row in found if row[0] == who]

        async def both() -> bool:
            return len(await kept()) == 2

        await wait_until(both)
        assert [(row[1], row[-1]) for row in await kept()] == [
            (assigned_ms - 1, None),
            (assigned_ms, ride.id),
        ]
        await wait_until(lambda: seen(ride.heard))
        assert [place["timestamp"] for place in seen(ride.heard)] == [iso(assigned_ms)]


async def test_a_phone_whose_clock_is_fast_shows_nothing_of_before(
    redis: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """4 s ahead, as its fixes have told: what it took a second before the job seems to be of 3 s after it."""
    monkeypatch.setattr(track, "_AGE_STANDS_MS", 0)
    async with riding(redis_url) as ride:
        assigned_ms = await since_assigned(ride)
        leases, who = ride.one.fixes.leases, ride.driver.user_id
        await wait_until(lambda: leases._lives[who].jobs)
        for at_ms, north in ((await ride.one.log.now_ms(), 2e-4), (assigned_ms - 1_000, 3e-4)):
            told, leases._lives[who].track.at_ms = len(seen(ride.heard)), 0
            fast = {**HERE, "latitude": 0.5 + north, "timestamp": at_ms + 4_000}
            assert (await ride.one.say(ride.driver, "location_update", fast)) == {"ok": True, "kept": True}
        batch = {"batchId": "fast", "fixes": [{**HERE, "timestamp": iso(assigned_ms + 3_000)}]}
        assert (await ride.one.say(ride.driver, "location_batch", batch))["kept"] == 1
        assert {row[-1] for row in await rows(redis)} == {None}
        assert told == 1 == len(seen(ride.heard))


async def test_a_node_whose_clock_is_slow_hides_nobody(
    redis: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer that set it was slow. A fix without a time was taken now, and the job is his now."""
    async with riding(redis_url) as ride:
        fixes = ride.one.fixes
        await wait_until(lambda: fixes.leases._lives[ride.driver.user_id].jobs)
        before_ms = await since_assigned(ride) - 1
        monkeypatch.setattr(fixes, "now_ms", lambda: before_ms)
        answer = await ride.one.say(ride.driver, "location_update", {**HERE, "latitude": 0.5003})
        assert answer == {"ok": True, "kept": True}
        await wait_until(lambda: seen(ride.heard))


async def test_a_phone_whose_clock_is_slow_hides_nobody(
    redis: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its fixes seem taken before he had the job; none was ever newer, so that it is the clock."""
    monkeypatch.setattr(track, "_AGE_STANDS_MS", 0)
    async with riding(redis_url) as ride:
        assigned_ms = await since_assigned(ride)
        await wait_until(lambda: ride.one.fixes.leases._lives[ride.driver.user_id].jobs)
        await wait_until(lambda: ride.one.fixes.now_ms() >= assigned_ms)
        slow = {**HERE, "latitude": 0.5002, "timestamp": assigned_ms - 1}
        assert (await ride.one.say(ride.driver, "location_update", slow)) == {"ok": True, "kept": True}
        await wait_until(lambda: seen(ride.heard))
        assert seen(ride.heard)[0]["latitude"] == 0.5002


async def test_whose_device_it_is_not(redis: Redis, redis_url: str) -> None:
    async with node(redis_url, "n1", stale_s=3600) as one, node(redis_url, "n2", stale_s=3600) as two:
        driver, _ = one.arrive("driver")
        batch = {"batchId": "b", "fixes": drive(await one.log.now_ms() - 9_000, 5)}

        async def code(n: Node, who: Any) -> str:
            return str((await n.say(who, "location_batch", batch))["error"]["code"])

        assert await code(one, driver) == "wrong_state"
        await online(one, driver)
        newer, _ = two.arrive("driver", driver.user_id)
        assert await code(two, newer) == "superseded"
        # taken over while the older device's batch was on its way
        keep = one.fleet.keep

        async def late(*args: Any) -> Any:
            assert (await two.say(newer, "go_online", ONLINE))["ok"]
            return await keep(*args)

        one.fleet.keep = late  # type: ignore[method-assign]
        assert await code(one, driver) == "superseded"
        assert await rows(redis) == []
        assert (await two.say(newer, "location_batch", batch))["kept"] == 5
        await two.say(newer, "go_offline", {})
        assert (await two.say(newer, "location_batch", batch))["kept"] == 5, "said again"
        batch["batchId"] = "another"
        assert await code(two, newer) == "wrong_state"


@pytest.mark.parametrize(
    ("payload", "field"),
    [
        ({"batchId": "b", "fixes": []}, "fixes"),
        ({"batchId": "b", "fixes": drive(1, 501)}, "fixes"),
        ({"batchId": "", "fixes": drive(1, 1)}, "batchId"),
        ({"batchId": "b" * 65, "fixes": drive(1, 1)}, "batchId"),
        ({"fixes": drive(1, 1)}, "batchId"),
        ({"batchId": "b", "fixes": [HERE]}, "timestamp"),
        ({"batchId": "b", "fixes": drive(1, 1, rideId="x")}, "rideId"),
        ({"batchId": "b", "fixes": drive(1, 1, speed="fast")}, "speed"),
        ({"batchId": "b", "fixes": [[0.5, 0.5]]}, "fixes"),
    ],
)
async def test_what_is_no_batch_is_refused(
    redis: Redis, redis_url: str, payload: dict[str, Any], field: str
) -> None:
    async with node(redis_url) as n:
        driver, _ = n.arrive("driver")
        answer = await n.say(driver, "location_batch", payload)
        assert answer["error"]["code"] == "bad_request" and field in answer["error"]["message"]


def exact(count: int, now_ms: int, **more: Any) -> list[dict[str, Any]]:
    """As a phone says them: seven digits behind the point."""
    return [
        {"latitude": round(-0.1234567 - n * 9e-5, 7), "longitude": round(100.1234567, 7),
         "timestamp": now_ms - (count - n) * 1_000, **more}
        for n in range(count)
    ]  # fmt: skip


async def test_500_fixes_fit_in_one_message_and_are_history_once(stack: RunningStack) -> None:
    async with phone(stack, "driver") as driver:
        await driver.call("go_online", {"classes": ["economy"], **stack.spot("patient").at()})
        now_ms = int(await stack_ms(stack))
        fixes = exact(500, now_ms, heading=359.5, speed=13.25, accuracy=12.5)
        batch = {"batchId": new_id(), "fixes": fixes}
        assert len(msgspec.json.encode(["location_batch", batch])) < 64 * 1024
        for _ in range(2):
            assert (await driver.call("location_batch", batch))["kept"] == 500
        last = "select 1 from locations where driver_id = $1 and ts = to_timestamp($2 / 1000.0)"
        await stack.drained(last, driver.person.id, fixes[-1]["timestamp"])
        stored = await stack.rows(
            "select round(extract(epoch from ts) * 1000)::bigint as ms, ST_Y(location) as lat from locations"
            " where driver_id = $1 and seq >= 1::bigint << 62 order by ts, seq",
            driver.person.id,
        )
        assert [row["ms"] for row in stored] == [fix["timestamp"] for fix in fixes]
        assert [row["lat"] for row in stored] == [fix["latitude"] for fix in fixes]


async def stack_ms(stack: RunningStack) -> int:
    async with Redis.from_url(stack.redis_url) as redis:
        seconds, micros = await redis.time()
    return int(seconds) * 1000 + int(micros) // 1000


async def test_what_is_too_long_is_refused_with_a_code_and_nobody_is_closed(stack: RunningStack) -> None:
    person = await stack.person("driver")
    async with raw(stack.url, person.token) as client:
        fixes = exact(500, await stack_ms(stack), heading=359.5, speed=13.25, accuracy=12.5)
        long = [{**fix, "timestamp": "2026-11-25T10:00:00.000Z" + " " * 16} for fix in fixes]
        answer = await client.ask("location_batch", {"batchId": "b", "fixes": long}, 1)
        assert answer is not None and answer["error"]["code"] == "too_large"
        answer = await client.ask("location_batch", {"batchId": "b", "fixes": fixes[:250]}, 2)
        assert answer is not None and answer["error"]["code"] == "wrong_state"
