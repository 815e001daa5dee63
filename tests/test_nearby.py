"""Vehicles nearby: what is shown follows from the cells they stand in, and nobody looks more often than he may."""

from __future__ import annotations

import random
from typing import Any

import h3.api.basic_int as h3
import pytest

from dispatch.cells import cell_of, distance_m
from dispatch.nearby import EVERY_S, SHOWN_MAX, blurred, cells_near
from storage import keys
from tests.nodekit import HERE, ONLINE, node
from tests.support import wait_until

# drivers whom another test has left in the same place would be asked for the rides of this one
pytestmark = pytest.mark.usefixtures("redis")

Place = tuple[float, float]


def inside(cell: int, chance: random.Random) -> Place:
    """A place anywhere in a cell."""
    lat, lng = h3.cell_to_latlng(cell)
    while True:
        place = lat + chance.uniform(-0.002, 0.002), lng + chance.uniform(-0.003, 0.003)
        if cell_of(*place) == cell:
            return place


def test_nothing_but_the_cells_goes_into_the_answer() -> None:
    """Vehicles and asker move about in their cells and come in any order: the answer is the same each time."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    for at in ((37.77, -122.42), (0.0, 0.0), (-16.5, 179.999), (69.6, 18.9), (89.99, 10.0)):
        around = cells_near(*at)
        standing = [chance.choice(around) for _ in range(chance.randint(0, 20))]
        answers = set()
        for _ in range(20):
            asker = inside(around[0], chance) if abs(at[0]) < 80 and abs(at[1]) < 179 else at
            places = (
                [inside(cell, chance) for cell in standing]
                if abs(at[0]) < 80 and abs(at[1]) < 179
                else [h3.cell_to_latlng(cell) for cell in standing]
            )
            chance.shuffle(places)
            answers.add(tuple(blurred(cells_near(*asker), places)))
        assert len(answers) == 1
        (shown,) = answers
        assert len(shown) == min(SHOWN_MAX, len(standing))
        assert all(-90 <= lat <= 90 and -180 <= lng <= 180 for lat, lng in shown)


def test_the_nearest_cells_come_first_and_vehicles_of_one_cell_stand_apart() -> None:
    around = cells_near(37.77, -122.42)
    assert len(around) == len(set(around)) == 217
    middle = h3.cell_to_latlng(around[0])
    far = h3.cell_to_latlng(around[-1])
    shown = blurred(around, [*[far] * 20, *[middle] * 3])
    near = [each for each in shown if distance_m(*middle, *each) < 100.0]
    assert len(near) == 3 and len(set(shown)) == SHOWN_MAX
    assert min(distance_m(*a, *b) for a in near for b in near if a != b) > 60.0
    assert blurred(around, [(10.0, 10.0)]) == []


def test_beside_a_pentagon_the_cells_come_by_ring_as_everywhere() -> None:
    pentagon = h3.cell_to_latlng(h3.str_to_int("89080000003ffff"))
    around = cells_near(*pentagon)
    assert h3.is_pentagon(around[0]) and len(around) == len(set(around)) == 1 + 5 * 36


@pytest.fixture
def look() -> dict[str, Any]:
    return {**HERE, "class": "economy"}


async def test_a_passenger_sees_free_drivers_without_a_name_every_ten_seconds(
    redis_url: str, look: dict[str, Any]
) -> None:
    async with node(redis_url) as n, node(redis_url, "n2") as other:
        driver, _ = n.arrive("driver")
        assert (await n.say(driver, "go_online", ONLINE))["ok"]
        await wait_until(lambda: n.indexed(driver.user_id))
        passenger, _ = n.arrive("passenger")
        seen = await n.say(passenger, "nearby", look)
        assert seen["ok"] and seen["againInS"] == EVERY_S
        [vehicle] = seen["vehicles"]
        assert set(vehicle) == {"latitude", "longitude"}
        assert 0.0 < distance_m(*vehicle.values(), *HERE.values()) < 350.0
        # the same person, whatever his device and node
        again, _ = other.arrive("passenger", passenger.user_id)
        early = (await other.say(again, "nearby", look))["error"]
        assert early["code"] == "rate_limited" and not early["retry"] and early["againInS"] == EVERY_S
        key = keys.looked("main", passenger.user_id)
        assert 0 < await n.shard.client.pttl(key) <= EVERY_S * 1000
        await n.shard.client.delete(key)  # as after that time
        assert (await other.say(again, "nearby", {**look, "class": "parcel"}))["vehicles"] == []


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        ({"latitude": 5.0, "longitude": 5.0}, "outside_area"),
        ({**HERE, "class": "economy:1"}, "bad_request"),
        ({**HERE, "class": "tank"}, "bad_request"),
        ({**HERE, "limit": 1_000}, "bad_request"),
        ({**HERE, "latitude": float("nan")}, "bad_request"),
        ({**HERE, "longitude": 181}, "bad_request"),
        ({"latitude": 0.5}, "bad_request"),
    ],
)
async def test_what_is_refused_costs_no_look(redis_url: str, payload: dict[str, Any], code: str) -> None:
    async with node(redis_url) as n:
        passenger, _ = n.arrive("passenger")
        assert (await n.say(passenger, "nearby", payload))["error"]["code"] == code
        assert (await n.say(passenger, "nearby", HERE))["ok"]
        driver, _ = n.arrive("driver")
        assert (await n.say(driver, "nearby", HERE))["error"]["code"] == "forbidden"
