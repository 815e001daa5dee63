"""The nearest drivers, from tick to index to desk on a real Redis, against brute force; no ghosts, nobody excluded."""

import random
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from dispatch.area import Area, Areas
from dispatch.cells import cell_of, distance_m
from dispatch.desk import Desk
from dispatch.match import nearest
from dispatch.policy import Policy
from storage.fleet import Fleet, Position, Update, pack, unpack
from storage.log import Log
from storage.records import Place, UserId
from storage.shard import Shard
from tests.rules.build import a_driver
from tests.storekit import S, write
from tests.test_cells import PLACES, moved, scattered

STALE_MS = 45_000
POLICY = Policy(stale_s=STALE_MS / 1000, candidates=8, search_radius_m=6_000.0)
DRIVERS, QUERIES = 400, 12
Fleet_ = tuple[Fleet, dict[str, Position], int]


@pytest_asyncio.fixture
async def shard(redis: "Redis", redis_url: str) -> AsyncIterator[Shard]:
    made = Shard(S, redis_url)
    yield made
    await made.close()


async def drive(shard: Shard, rng: random.Random, centre: tuple[float, float], within_m: float) -> Fleet_:
    """Drivers about a place, moved once; one in six has not been heard of for too long."""
    log, fleet = Log(shard), Fleet(shard)
    first = scattered(rng, centre, DRIVERS, within_m)
    drivers = [a_driver(UserId(id_), version=0, classes=("economy",)) for id_ in first]
    await log.commit(await write(log, *drivers))
    now_ms = await log.now_ms()
    stood: dict[str, Position] = {}
    for tick, at in enumerate(
        (first, {id_: moved(*p, rng.random() * 6, 300.0) for id_, p in first.items()}), 1
    ):
        updates = []
        for id_, (lat, lng) in at.items():
            ts_ms = now_ms - (rng.randrange(STALE_MS) if rng.random() < 5 / 6 else STALE_MS + 1)
            packed = pack(lat, lng, ts_ms, None)
            stood[id_] = unpack(id_, packed)
            flag = "e" if tick == 1 else "m"
            updates.append(Update(id_, flag, 4, 1, cell_of(lat, lng), "economy", packed, 0, False))
        await fleet.tick("n1", "boot", tick, updates, [])
    return fleet, stood, now_ms


def area_of(policy: Policy) -> Area:
    """An area of these rules that has learned nothing: there first is who is nearest."""
    return Area(id="a", name="A", shard=S, polygon={}, currency="EUR", policy=policy)


def by_hand(
    stood: dict[str, Position], place: Place, policy: Policy, now_ms: int, skip: frozenset[str]
) -> list[tuple[str, float]]:
    """All of them, one by one: the nearest by distance, equals by the freshness of their fix, then by id."""
    fresh = [p for p in stood.values() if now_ms - p.ts_ms <= STALE_MS and p.driver_id not in skip]
    away = [(distance_m(place.latitude, place.longitude, p.lat_deg, p.lng_deg), p) for p in fresh]
    within = sorted((m, p.driver_id, p) for m, p in away if m <= policy.search_radius_m)[: policy.candidates]
    ordered = sorted(within, key=lambda each: (each[0], now_ms - each[2].ts_ms, each[1]))
    return [(id_, m) for m, id_, _ in ordered]


@pytest.mark.parametrize("within_m", [800.0, 4_000.0, 9_000.0])
@pytest.mark.parametrize(
    "name", ["Kharkiv", "Kharkiv's pentagon", "Fiji", "Fiji, the other side", "North Pole"]
)
async def test_the_nearest_are_those_of_brute_force(
    shard: Shard, name: str, within_m: float, request: pytest.FixtureRequest
) -> None:
    rng = random.Random(f"{name} {within_m}")
    centre = PLACES[name]
    fleet, stood, now_ms = await drive(shard, rng, centre, within_m)
    desk = Desk(Log(shard), fleet, Areas([]))
    for _ in range(QUERIES):
        place = Place(*moved(*centre, rng.random() * 6, rng.random() * within_m))
        skip = frozenset(rng.sample(sorted(stood), rng.randrange(200)))
        policy = Policy(
            stale_s=STALE_MS / 1000,
            candidates=rng.choice([1, 3, 8, 50]),
            search_radius_m=rng.choice([500.0, 6_000.0, 12_000.0]),
            longest_pickup_s=86_400.0,
        )
        found = await nearest(desk, "economy", place, area_of(policy), now_ms=now_ms, skip=skip)
        expected = by_hand(stood, place, policy, now_ms, skip)
        assert [each.driver_id for each in found] == [id_ for id_, _ in expected]
        assert [each.distance_m for each in found] == [m for _, m in expected]
        assert await nearest(desk, "comfort", place, area_of(policy), now_ms=now_ms) == []


async def test_ghosts_and_the_excluded_are_never_returned_however_near(shard: Shard) -> None:
    log, fleet = Log(shard), Fleet(shard)
    ids = [UserId(id_) for id_ in ("ghost", "excluded", "far")]
    await log.commit(await write(log, *(a_driver(id_, version=0) for id_ in ids)))
    now_ms = await log.now_ms()
    lat, lng = PLACES["Kharkiv"]
    ages_ms = {"ghost": STALE_MS + 1, "excluded": 0, "far": STALE_MS}
    spots = {"ghost": (lat, lng), "excluded": (lat, lng), "far": moved(lat, lng, 1.0, 5_500.0)}
    updates = [
        Update(
            id_,
            "e",
            4,
            1,
            cell_of(*spots[id_]),
            "economy",
            pack(*spots[id_], now_ms - ages_ms[id_], None),
            0,
            False,
        )
        for id_ in ids
    ]
    await fleet.tick("n1", "boot", 1, updates, [])
    desk = Desk(log, fleet, Areas([]))
    one = area_of(Policy(stale_s=STALE_MS / 1000, candidates=1, longest_pickup_s=86_400.0))
    found = await nearest(desk, "economy", Place(lat, lng), one, now_ms=now_ms, skip=frozenset({"excluded"}))
    assert [each.driver_id for each in found] == ["far"], "they do not take up the only place either"
    assert (
        await nearest(desk, "economy", Place(lat, lng), one, now_ms=now_ms + 1, skip=frozenset({"excluded"}))
        == []
    )
