"""One door to times of travel: who is there first, what a quote and an offer say, and the time beside each position."""

from __future__ import annotations

import json
import random
from collections import Counter
from typing import Any

import aiohttp
import numpy as np
import pytest
from aiohttp import web
from msgspec.structs import replace

from dispatch.area import Area, Areas
from dispatch.cells import cell_of, distance_m
from dispatch.etatable import EtaTable
from dispatch.match import nearest
from dispatch.policy import Policy
from dispatch.roads import Roads
from dispatch.travel import as_if, pace_s_per_m, pickups_s
from rooms.fixes import PACE_MS
from storage import keys
from storage.fleet import pack
from storage.records import Place
from tests.deskkit import CENTRE as MIDDLE
from tests.deskkit import city
from tests.nodekit import HERE, ONLINE, SQUARE, THERE, Kept, node
from tests.support import wait_until
from tests.test_cells import moved
from tests.test_rounds import Town, town

__all__ = ["town"]

# drivers whom another test has left in the same place would be asked for the rides of this one
pytestmark = pytest.mark.usefixtures("redis")

POLICY = Policy(search_radius_m=6_000.0, candidates=5, plenty=0.0)
CENTRE = Place(0.5, 0.5)
BEGAN_S = 1_700_000_000.0


def learned(slow_west: float = 2.0) -> Area:
    """An area that has learned: whoever begins in the west takes so much longer, and all are slower than usual."""
    table, chance = EtaTable(POLICY), random.Random(7)
    for n in range(4_000):
        start = 0.5 + chance.uniform(-0.05, 0.05), 0.5 + chance.uniform(-0.05, 0.05)
        end = 0.5 + chance.uniform(-0.05, 0.05), 0.5 + chance.uniform(-0.05, 0.05)
        usual_s = distance_m(*start, *end) * POLICY.detour / POLICY.cruise_speed_mps
        factor = 1.3 * (slow_west if start[1] < 0.5 else 0.7)
        table.learn(start, end, BEGAN_S + 60.0 * n, max(30.0, usual_s * factor))
    return Area(id="a", name="A", shard="main", polygon=SQUARE, currency="USD", policy=POLICY, eta=table)


AREA = learned()


def heard(client: Kept, event: str) -> list[dict[str, Any]]:
    texts = [text for text in client.told if f'["{event}"' in text]
    return [json.loads(text[text.index("[") :])[1] for text in texts]


async def test_the_first_at_the_pickup_are_found_though_others_are_nearer(redis: Any, redis_url: str) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance, overtaken = random.Random(seed), 0
    async with node(redis_url, areas=Areas([AREA])) as n:
        now_ms = await n.log.now_ms()
        for _ in range(16):
            await n.shard.client.flushdb()
            places: dict[str, tuple[float, float]] = {}
            for number in range(chance.randint(0, 60)):
                lat, lng = 0.5 + chance.uniform(-0.03, 0.03), 0.5 + chance.uniform(-0.03, 0.03)
                places[f"d{number}"] = round(lat, 7), round(lng, 7)
                entry = {f"d{number}": pack(lat, lng, now_ms, None)}
                await n.shard.client.hset(keys.index("main", "economy", cell_of(lat, lng)), mapping=entry)
            found = await nearest(n.desk, "economy", CENTRE, AREA, now_ms=now_ms)
            there_s = {}
            if places:
                all_s = pickups_s(AREA, np.array(list(places.values())), CENTRE, now_ms)
                there_s = dict(zip(places, all_s.tolist(), strict=True))
            in_time = [id_ for id_ in there_s if there_s[id_] <= POLICY.longest_pickup_s]
            first = sorted(in_time, key=lambda id_: (there_s[id_], id_))[: POLICY.candidates]
            assert [each.driver_id for each in found] == first
            assert all(each.eta_s == pytest.approx(there_s[each.driver_id]) for each in found)
            close = sorted(places, key=lambda id_: distance_m(0.5, 0.5, *places[id_]))[: POLICY.candidates]
            overtaken += set(close) != set(first)
    assert overtaken, "the nearest were not always the first"


@pytest.mark.parametrize(("east_m", "asked"), [(4_000.0, None), (2_000.0, "d")])
async def test_nobody_is_sent_farther_than_the_longest_pickup_by_what_was_learned(
    town: Town, east_m: float, asked: str | None
) -> None:
    """Whether he is asked at once or by the batch; by the distance alone both would be near enough."""
    node, now_ms = town.nodes[0], await town.nodes[0].log.now_ms()
    table, chance = EtaTable(POLICY), random.Random(7)
    for n in range(4_000):
        start = moved(*MIDDLE, chance.uniform(0.0, 6.28), chance.uniform(0.0, 5_000.0))
        end = moved(*start, chance.uniform(0.0, 6.28), chance.uniform(500.0, 6_000.0))
        table.learn(
            start, end, now_ms / 1000 - 60.0 * (4_000 - n), distance_m(*start, *end) * POLICY.detour / 4.0
        )
    (area,) = city(replace(POLICY, plenty=1.0))
    node.desk.areas = Areas([replace(area, eta=table)])
    await town.driver("d", east_m)
    await town.ride("at once", 0.0)
    assert await node.match.at_once("at once") == (asked is not None)
    assert await town.asked("at once") == [asked]
    if asked is None:
        done = await node.rounds.go(2.0)
        assert (done.waiting, done.pairs, dict(done.asked)) == (1, 0, {})


async def test_who_comes_in_time_is_found_though_the_nearest_would_come_too_late(
    redis: Any, redis_url: str
) -> None:
    """Whoever begins in the west is slow: as many as a look ranks are nearer than the one who is asked."""
    area = replace(learned(4.0), policy=replace(POLICY, longest_pickup_s=600.0))
    async with node(redis_url, areas=Areas([area])) as n:
        now_ms = await n.log.now_ms()
        places = {f"slow{number}": (0.5, 0.49 - 0.0001 * number) for number in range(POLICY.candidates)}
        places["in time"] = 0.5, 0.52
        for id_, at in places.items():
            entry = {id_: pack(*at, now_ms, None)}
            await n.shard.client.hset(keys.index("main", "economy", cell_of(*at)), mapping=entry)
        all_s = pickups_s(area, np.array(list(places.values())), CENTRE, now_ms)
        assert [id_ for id_, s in zip(places, all_s, strict=True) if s <= 600.0] == ["in time"], all_s
        found = await nearest(n.desk, "economy", CENTRE, area, now_ms=now_ms)
        assert [each.driver_id for each in found] == ["in time"]


async def test_what_was_learned_is_quoted_offered_and_told_with_each_position(
    redis: Any, redis_url: str
) -> None:
    async with node(redis_url, areas=Areas([AREA])) as n:
        driver, phone = n.arrive("driver")
        assert (await n.say(driver, "go_online", ONLINE))["ok"]
        await wait_until(lambda: n.indexed(driver.user_id))
        passenger, watching = n.arrive("passenger")
        quoted = await n.say(passenger, "quote", {"kind": "ride", "classes": ["economy"], "pickup": THERE,
                                                  "dropoff": HERE})  # fmt: skip
        there_s = float(pickups_s(AREA, np.array([[0.5, 0.5]]), Place(**THERE), n.fixes.now_ms())[0])
        assert quoted["quotes"][0]["pickupEtaSeconds"] == pytest.approx(there_s, abs=1.0)
        ride = await n.say(passenger, "request_ride", {"pickup": THERE, "dropoff": HERE})
        await wait_until(lambda: phone.heard("offer"))
        offer = heard(phone, "offer")[0]
        assert offer["etaSeconds"] == pytest.approx(there_s, abs=1.0)
        assert (await n.say(driver, "accept_offer", {"offerId": offer["offerId"]}))["ok"]
        await wait_until(lambda: watching.heard("driver_assigned"))
        assert (await n.job(ride["rideId"])).driver_id == driver.user_id
        fix = {"latitude": 0.5007, "longitude": 0.5}
        assert (await n.say(driver, "location_update", fix))["kept"]
        told = heard(watching, "driver_location")
        pace = pace_s_per_m(AREA, (0.5007, 0.5), (THERE["latitude"], THERE["longitude"]), n.fixes.now_ms())
        assert pace is not None
        away_m = distance_m(0.5007, 0.5, THERE["latitude"], THERE["longitude"])
        assert told[-1]["etaSeconds"] == pytest.approx(away_m * pace, abs=1.0)
        live = n.fixes.leases._lives[driver.user_id]
        assert 0 < live.jobs[0].paced_until_ms - n.fixes.now_ms() <= PACE_MS


def test_where_nothing_was_learned_it_is_the_distance_that_tells() -> None:
    plain = Area(id="b", name="B", shard="main", polygon=SQUARE, currency="USD", policy=POLICY)
    assert (
        pace_s_per_m(plain, (0.5, 0.5), (0.51, 0.5), 0) is None
        and pace_s_per_m(None, (0, 0), (0, 0), 0) is None
    )
    unlearned = Area(
        id="c", name="C", shard="main", polygon=SQUARE, currency="USD", policy=POLICY, eta=EtaTable(POLICY)
    )
    pace = pace_s_per_m(unlearned, (0.5, 0.5), (0.51, 0.5), 0)
    assert pace == pytest.approx(POLICY.detour / POLICY.cruise_speed_mps)


async def test_a_router_says_who_is_first_and_how_long_a_trip_takes_while_it_answers(
    redis: Any, redis_url: str
) -> None:
    """It knows a bridge: whoever is in the east is there in 60 s, the others in 300 s; and a trip takes 1,000 s."""
    alive, told = True, Counter[str]()

    async def table(request: web.Request) -> web.Response:
        places = [tuple(map(float, each.split(","))) for each in request.match_info["places"].split(";")]
        count = len(request.query["sources"].split(";"))
        if not alive:
            return web.Response(status=500)
        from_pickup = places[0] == (THERE["longitude"], THERE["latitude"])
        seconds = [1_000.0 if from_pickup else 60.0 if lng > 0.5 else 300.0 for lng, _ in places[:count]]
        durations = [[each] * (len(places) - count) for each in seconds]
        return web.json_response({"code": "Ok", "durations": durations})

    app = web.Application()
    app.router.add_get("/table/v1/driving/{places}", table)
    runner = web.AppRunner(app, shutdown_timeout=1.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"

    def counted(outcome: str) -> None:
        told[outcome] += 1

    async with node(redis_url, areas=Areas([AREA])) as n, aiohttp.ClientSession() as session:
        n.desk.roads = Roads(session, url, counted, budget_s=5.0)
        now_ms = await n.log.now_ms()
        for id_, lng in (("west", 0.499), ("east", 0.52)):
            entry = {id_: pack(0.5, lng, now_ms, None)}
            await n.shard.client.hset(keys.index("main", "economy", cell_of(0.5, lng)), mapping=entry)
        found = await nearest(n.desk, "economy", CENTRE, AREA, now_ms=now_ms)
        overhead_s = POLICY.pickup_overhead_s
        assert [(each.driver_id, each.eta_s) for each in found] == [
            ("east", 60.0 + overhead_s),
            ("west", 300.0 + overhead_s),
        ]
        passenger, _ = n.arrive("passenger")
        ask = {"kind": "ride", "classes": ["economy"], "pickup": THERE, "dropoff": HERE}
        quoted = (await n.say(passenger, "quote", ask))["quotes"][0]
        assert (quoted["durationS"], quoted["pickupEtaSeconds"]) == (1_000, round(60.0 + overhead_s))
        assert told == {"answered": 3}
        # it answers no more: what was learned says it, and nobody waits
        alive = False
        away = (await n.say(passenger, "quote", ask))["quotes"][0]
        assert away["durationS"] not in {0, 1_000} and told["failed"] == 2
    await runner.cleanup()


def test_a_tried_policys_pace_is_of_what_nobody_has_driven_yet() -> None:
    tried = replace(POLICY, cruise_speed_mps=2 * POLICY.cruise_speed_mps)
    known = learned(4.0)
    unknown = replace(known, eta=EtaTable(known.policy))
    rest_s, still_s = 100.0, known.policy.pickup_overhead_s
    assert as_if(rest_s + still_s + 60.0, rest_s, known, tried) == rest_s + tried.pickup_overhead_s + 60.0
    assert as_if(rest_s + still_s + 60.0, rest_s, unknown, tried) == rest_s + tried.pickup_overhead_s + 30.0
