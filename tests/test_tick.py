"""tick.lua on a real Redis: once each, the lease and the version decide who stands in the index, and where."""

import asyncio
from collections.abc import AsyncIterator
from itertools import count
from typing import Any

import msgpack
import pytest
import pytest_asyncio
from msgspec.structs import replace
from redis.asyncio import Redis

from rooms import metrics
from rooms.fixes import Fixes
from rooms.registry import Registry
from rooms.speaker import Speaker
from rooms.tick import FIXES_WAITING_MAX, Tick
from storage import keys
from storage.fleet import INDEX_TTL_MS, Fleet, Update, pack, unpack
from storage.log import Log
from storage.records import Driver
from storage.shard import Shard
from tests.rules.build import DEE, a_driver
from tests.storekit import S, snapshot, write
from tests.support import fresh_redis, wait_until

HERE, THERE = 617_700_169_958_293_503, 617_700_169_961_177_087
DRIVER = a_driver(version=0)  # generation 4, classes economy and parcel


@pytest_asyncio.fixture
async def shard(redis: "Redis", redis_url: str) -> AsyncIterator[Shard]:
    made = Shard(S, redis_url)
    yield made
    await made.close()


class Bench:
    """One driver online, as version 1; `tick` sends one update, in a tick of its own."""

    def __init__(self, redis: "Redis", shard: Shard) -> None:
        self.redis = redis
        self.log = Log(shard)
        self.fleet = Fleet(shard)
        self.driver: Driver = DRIVER
        self._numbers = count(1)

    async def put(self, **more: Any) -> None:
        await self.log.commit(await write(self.log, replace(self.driver, **more)))
        self.driver = replace(self.driver, version=self.driver.version + 1, **more)

    def update(self, flag: str = "e", cell: int = HERE, **more: Any) -> Update:
        what = {"generation": 4, "version": self.driver.version, "classes": "economy,parcel"}
        where = {"position": pack(49.99, 36.23, 5, 90.0), "stale_ms": 0, "carries": False}
        return Update(**{"driver_id": DEE, "flag": flag, "cell": cell, **what, **where, **more})

    async def tick(self, flag: str = "e", cell: int = HERE, **more: Any) -> int:
        update = self.update(flag, cell, **more)
        return (await self.fleet.tick("n1", "boot", next(self._numbers), [update], [])).now_ms

    async def where(self) -> dict[str, int]:
        """class -> cell of every entry of the driver."""
        found = {}
        for key in await self.redis.keys(keys.index(S, "*", "*")):
            if await self.redis.hexists(key, DEE):
                of, cell = key.decode().split(":")[-2:]
                assert of not in found, f"twice in {of}"
                found[of] = int(cell)
        return found

    async def timer(self) -> float | None:
        return await self.redis.zscore(keys.due(S), f"driver:{DEE}")


@pytest_asyncio.fixture
async def bench(redis: "Redis", shard: Shard) -> Bench:
    made = Bench(redis, shard)
    await made.put()
    return made


BOTH = {"economy": HERE, "parcel": HERE}


async def test_entering_moving_and_leaving_in_every_class(bench: Bench) -> None:
    assert await bench.tick("e") > 0
    assert await bench.where() == BOTH
    assert await bench.redis.hget(keys.spot(S), DEE) == f"4 {HERE} economy,parcel".encode()
    await bench.tick("m", THERE)
    assert await bench.where() == {"economy": THERE, "parcel": THERE}, "a moved one leaves the old cell"
    assert await bench.redis.hget(keys.spot(S), DEE) == f"4 {THERE} economy,parcel".encode()
    for of in ("economy", "parcel"):
        assert 0 < await bench.redis.pttl(keys.index(S, of, THERE)) <= INDEX_TTL_MS
    (at,) = await bench.fleet.read("parcel", [HERE, THERE])
    assert at == unpack(DEE, pack(49.99, 36.23, 5, 90.0)) and at.heading_deg == 90.0 and at.ts_ms == 5
    await bench.tick("l")
    assert await bench.where() == {} and await bench.redis.hgetall(keys.spot(S)) == {}


async def test_a_repeat_of_a_tick_does_nothing(bench: Bench) -> None:
    fixes = [(DEE, 5, 1, 49.99, 36.23, None, None, None, None)]
    await bench.fleet.tick("n1", "boot", 7, [bench.update("e", stale_ms=1_000)], fixes)
    before = await snapshot(bench.redis)
    for number in (7, 6, 1):
        again = [bench.update("l", THERE, stale_ms=99_000, carries=True)]
        assert await bench.fleet.tick("n1", "boot", number, again, fixes) > (0, 0)
    assert await snapshot(bench.redis) == before
    await bench.fleet.tick("n1", "reboot", 1, [bench.update("m", THERE)], fixes)
    await bench.fleet.tick("n2", "boot", 7, [], fixes)
    assert (await bench.where())["parcel"] == THERE, "another boot counts anew"
    assert await bench.redis.xlen(keys.fixes(S)) == 3


@pytest.mark.parametrize("version", [0, 1, 3])
async def test_nobody_enters_with_another_version(bench: Bench, version: int) -> None:
    await bench.put()  # 2
    await bench.tick("e", version=version)
    assert await bench.where() == {} and await bench.redis.hgetall(keys.spot(S)) == {}
    await bench.tick("e", version=2)
    assert await bench.where() == BOTH


@pytest.mark.parametrize("flag", ["m", "-", "l"])
async def test_only_entering_enters(bench: Bench, flag: str) -> None:
    await bench.tick(flag)
    assert await bench.where() == {}


async def test_a_commit_in_between_wins(bench: Bench) -> None:
    """He was offered a job while his fix was on its way: `m` must not bring him back, nor the old version."""
    await bench.tick("e")
    await bench.put(offer_id="job-1.1")
    for flag in ("m", "e"):
        await bench.tick(flag, version=1)
        assert await bench.where() == {}


@pytest.mark.parametrize("flag", ["e", "m", "l"])
async def test_an_older_device_moves_nothing(bench: Bench, flag: str) -> None:
    await bench.tick("e")
    await bench.put(generation=5, device="tablet")
    await bench.tick("e", generation=5)
    before = await bench.where()
    timer = await bench.timer()
    await bench.tick("-", generation=5, carries=True)
    seen = await bench.fleet.last_position(DEE)
    late: dict[str, Any] = {"stale_ms": 99_000, "carries": True, "position": pack(1.0, 1.0, 4, None)}
    await bench.tick(flag, THERE, generation=4, version=1, **late)
    assert await bench.where() == before == BOTH
    assert await bench.fleet.last_position(DEE) == seen, "who joins the job's room is not shown where it was"
    assert await bench.timer() == timer, "it gives no sign of life either"


async def test_classes_that_changed(bench: Bench) -> None:
    await bench.tick("e")
    await bench.tick("m", classes="economy")
    assert await bench.where() == {"economy": HERE}
    await bench.put(offer_id="job-1.1")
    assert await bench.where() == {}


async def test_a_sign_of_life_moves_the_timer_and_never_makes_one(bench: Bench) -> None:
    now_ms = await bench.tick("-", stale_ms=30_000)
    assert await bench.timer() == now_ms + 30_000
    now_ms = await bench.tick("-", stale_ms=10_000)
    assert await bench.timer() == now_ms + 10_000, "also to an earlier time, when the area changed"
    await bench.tick("e")
    assert await bench.timer() == now_ms + 10_000, "no sign was sent"
    for out in ({"stale": True}, {"stale": False, "online": False}):
        await bench.put(**out)
        await bench.tick("-", stale_ms=30_000)
        assert await bench.timer() is None, f"{out} came back by a late fix"


async def test_a_carriers_last_position_is_kept_for_an_hour(bench: Bench) -> None:
    await bench.tick("-")
    assert await bench.fleet.last_position(DEE) is None
    await bench.tick("-", carries=True)
    at = await bench.fleet.last_position(DEE)
    assert at is not None and (at.lat_deg, at.lng_deg, at.ts_ms) == (49.99, 36.23, 5)
    assert 0 < await bench.redis.pttl(keys.pos(S, DEE)) <= 3_600_000


async def test_all_fixes_of_a_tick_are_one_entry(bench: Bench) -> None:
    fixes = [(f"d{n}", n, n, 1.5, 2.5, None, 3.5, None, "job-1") for n in range(100)]
    await bench.fleet.tick("n1", "boot", 1, [], fixes)
    await bench.fleet.tick("n1", "boot", 2, [bench.update()], [])
    ((_, entry),) = await bench.redis.xrange(keys.fixes(S))
    assert (entry[b"node"], entry[b"boot"], entry[b"tick"]) == (b"n1", b"boot", b"1")
    assert [tuple(fix) for fix in msgpack.unpackb(entry[b"b"])] == fixes


async def test_the_stream_of_fixes_is_bounded(bench: Bench, shard: Shard) -> None:
    fleet = Fleet(shard, fixes_max=200)
    for number in range(1, 601):
        await fleet.tick("n1", "boot", number, [], [("d", number)])
    assert 200 <= await bench.redis.xlen(keys.fixes(S)) <= 200 + 100


async def test_what_is_shed_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    """Redis is away: the newest fixes wait, and metric and log say how many older ones went."""
    before = metrics.SHED._value.get()
    with fresh_redis(appendonly="yes", appendfsync="always") as server:
        shard = Shard(S, server.url, timeout_s=0.5)
        tick = Tick(Fleet(shard), "n1")
        tick.fixes = [("d", 0)]
        server.kill()
        delivery = asyncio.ensure_future(tick.deliver(1))
        await wait_until(lambda: not tick.fixes)
        tick.fixes = [("d", number) for number in range(FIXES_WAITING_MAX + 700)]
        await wait_until(lambda: len(tick.fixes) == FIXES_WAITING_MAX)
        server.start()
        await delivery
        await tick.deliver(2)
        ((_, first), (_, second)) = await shard.client.xrange(keys.fixes(S))
        await shard.close()
    assert msgpack.unpackb(first[b"b"]) == [["d", 0]]
    assert msgpack.unpackb(second[b"b"])[0] == ["d", 700]
    assert (second[b"count"], second[b"number"]) == (b"50000", b"50001")
    assert metrics.SHED._value.get() - before == 700
    assert "700 fixes were shed" in caplog.text


async def test_the_first_after_silence_waits_for_no_tick(bench: Bench, redis: Redis, shard: Shard) -> None:
    """Ticks are a minute apart here; what comes within it goes together."""
    fixes = Fixes(bench.fleet, Speaker(bench.log, Registry()), "n1")
    ticking = asyncio.ensure_future(fixes.run(60.0))
    fixes.tick.keep(("d", 1))
    await wait_until(lambda: redis.xlen(keys.fixes(S)))
    fixes.tick.keep(("d", 2))
    fixes.tick.keep(("d", 3))
    for _ in range(10):
        assert await redis.xlen(keys.fixes(S)) == 1
    assert len(fixes.tick.fixes) == 2
    ticking.cancel()


@pytest.mark.parametrize(("within_s", "is_set"), [(10.0, True), (0.0, False)])
async def test_an_answer_that_took_long_sets_no_clock(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, within_s: float, is_set: bool
) -> None:
    """It says what Redis' clock was; a node that was frozen meanwhile would be behind by as much."""
    monkeypatch.setattr("rooms.tick.CLOCK_WITHIN_S", within_s)
    tick = Tick(bench.fleet, "n1")
    tick.set_clock(1_000)
    tick.keep(("d", 1))
    await tick.deliver(1)
    assert (tick.now_ms() > 1_000_000_000_000) is is_set


async def test_many_in_one_tick(bench: Bench) -> None:
    drivers = [a_driver(f"d{n}", version=0) for n in range(300)]  # type: ignore[arg-type]
    await bench.log.commit(await write(bench.log, *drivers))
    updates = [
        replace_update(bench.update(version=1), d.id, HERE if n % 2 else THERE) for n, d in enumerate(drivers)
    ]
    await bench.fleet.tick("n1", "boot", 1, updates, [])
    found = [p.driver_id for p in await bench.fleet.read("economy", [HERE, THERE])]
    assert sorted(found) == sorted(d.id for d in drivers)


def replace_update(update: Update, driver_id: str, cell: int) -> Update:
    update.driver_id, update.cell = driver_id, cell
    return update


@pytest.mark.parametrize(
    ("lat", "lng", "heading", "read"),
    [
        (49.9935, 36.2304, None, None),
        (-90.0, 180.0, 0.0, 0.0),
        (90.0, -180.0, 359.9, 359.0),
        (0.0, 0.0, 360.0, 0.0),
    ],
)
def test_packing(lat: float, lng: float, heading: float | None, read: float | None) -> None:
    at = unpack("d", pack(lat, lng, 1_800_000_000_123, heading))
    assert at == ("d", pytest.approx(lat, abs=1e-7), pytest.approx(lng, abs=1e-7), 1_800_000_000_123, read)


UUID = "3f2b8c1e-0a4d-4c7e-9b1f-5d6e7f8091a2"


@pytest.mark.parametrize("dee", [UUID, UUID.upper(), UUID.replace("-", ""), f"{UUID[:-2]}zz", "-" * 36])
@pytest.mark.parametrize("length", [36, 17, 16, 15, 3])
def test_an_entry_names_its_driver(dee: str, length: int) -> None:
    for id_ in (dee[:length], f"é{dee[: length - 2]}"):
        assert keys.entered(keys.entry(id_)) == id_
        assert (len(keys.entry(id_)) == 16) == (id_ == UUID)


async def test_a_uuid_stands_in_the_index_as_16_bytes(bench: Bench) -> None:
    for flag, cell in (("e", HERE), ("m", THERE), ("l", THERE)):
        await bench.redis.hset(keys.driver(S, UUID), "v", "1")
        await bench.tick(flag, cell, driver_id=UUID, version=1)
        fields = [await bench.redis.hkeys(key) for key in await bench.redis.keys(keys.index(S, "*", "*"))]
        assert fields == ([] if flag == "l" else [[bytes.fromhex(UUID.replace("-", ""))]] * 2)
