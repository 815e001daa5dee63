"""What a batch reads of the index: nobody who may be the best for somebody is missed, and a crowd is not read whole."""

import random
from collections.abc import Iterable

import h3.api.basic_int as h3
import pytest

from dispatch.candidates import EACH
from dispatch.cells import MAX_SEARCH_RADIUS_M, RESOLUTION, cell_of, distance_m, face_angle, zone_covered_m
from dispatch.supply import CELLS_AT_ONCE, LONG_MS, SupplySearch
from storage.fleet import Position
from tests.test_cells import PLACES, moved

REACH_M = 5_000.0


def somewhere(rng: random.Random, centre: tuple[float, float], within_m: float) -> tuple[float, float]:
    return moved(*centre, rng.random() * 6.3, within_m * rng.random() ** 0.5)


def searched(
    requests: list[tuple[float, float]],
    drivers: dict[str, Position],
    reach_m: float = REACH_M,
    waited_ms: int = 0,
) -> tuple[SupplySearch, int]:
    """After the search, and how many cells were read."""
    cells: dict[int, list[Position]] = {}
    for each in drivers.values():
        cells.setdefault(cell_of(each.lat_deg, each.lng_deg), []).append(each)
    search = SupplySearch(
        [lat for lat, _ in requests], [lng for _, lng in requests], [waited_ms] * len(requests), reach_m
    )
    read = 0
    while asked := search.ask():
        assert len(set(asked)) == len(asked) <= CELLS_AT_ONCE
        read += len(asked)
        search.feed(each for cell in asked for each in cells.get(cell, ()))
    return search, read


def crowd(
    rng: random.Random, centre: tuple[float, float], count: int, within_m: float
) -> dict[str, Position]:
    at = [somewhere(rng, centre, within_m) for _ in range(count)]
    return {f"d{n:04}": Position(f"d{n:04}", lat, lng, 0, None) for n, (lat, lng) in enumerate(at)}


def nearest(place: tuple[float, float], drivers: Iterable[Position], most: int) -> set[str]:
    away = sorted((distance_m(*place, each.lat_deg, each.lng_deg), each.driver_id) for each in drivers)
    return {
        id_ for metres, id_ in away[:most] if metres <= REACH_M * 0.98
    }  # the plane is 1.5 % wrong at most


@pytest.mark.parametrize("name", ["Kharkiv", "Kharkiv's pentagon", "Fiji", "Fiji, the other side"])
@pytest.mark.parametrize(("requests", "drivers", "within_m"), [(60, 20, 9e3), (40, 400, 4e3), (3, 60, 6e3)])
def test_the_nearest_of_each_are_found(name: str, requests: int, drivers: int, within_m: float) -> None:
    rng = random.Random(f"{name} {requests}")
    who = crowd(rng, PLACES[name], drivers, within_m)
    places = [somewhere(rng, PLACES[name], within_m) for _ in range(requests)]
    search, _ = searched(places, who)
    for place in places:
        assert nearest(place, who.values(), EACH) <= set(search.found)


def test_all_in_reach_are_found_where_drivers_are_short() -> None:
    rng = random.Random(3)
    who = crowd(rng, PLACES["Kharkiv"], 15, 8e3)
    places = [somewhere(rng, PLACES["Kharkiv"], 1e3) for _ in range(100)]
    search, _ = searched(places, who)
    wanted = set().union(*(nearest(place, who.values(), len(who)) for place in places))
    assert wanted and wanted <= set(search.found)


def test_those_who_ask_for_the_same_few_know_the_next_ones() -> None:
    """A stadium: 40 requests at one corner, 20 drivers there, 200 a kilometre away."""
    rng = random.Random(4)
    gate = PLACES["Kharkiv"]
    who = crowd(rng, gate, 20, 150.0)
    there = moved(*gate, 1.0, 1_500.0)
    who |= {
        f"far {id_}": each._replace(driver_id=f"far {id_}")
        for id_, each in crowd(rng, there, 200, 200.0).items()
    }
    search, _ = searched([somewhere(rng, gate, 100.0) for _ in range(40)], who)
    assert len(search.found) > 40


def test_a_crowd_is_not_read_to_the_end_of_the_reach() -> None:
    rng = random.Random(5)
    who = crowd(rng, PLACES["Kharkiv"], 10_000, 5e3)
    search, read = searched([PLACES["Kharkiv"]], who)
    assert read == 7 * 7 and len(search.found) < 1_200
    _, all_of_it = searched([PLACES["Kharkiv"]], {})
    assert all_of_it > 700


def test_who_waits_long_in_a_crowd_is_shown_all_in_reach() -> None:
    """Those about him are of no use to him, it seems."""
    rng = random.Random(7)
    place = PLACES["Kharkiv"]
    who = crowd(rng, place, 300, 500.0)
    van = Position("van", *moved(*place, 2.0, 4_000.0), 0, None)
    found = {
        waited_ms: searched([place], who | {"van": van}, waited_ms=waited_ms)[0].found
        for waited_ms in (LONG_MS - 1, LONG_MS)
    }
    assert who.keys() == found[LONG_MS - 1].keys() and found[LONG_MS].keys() == who.keys() | {"van"}


def test_no_step_of_a_wide_search_is_long() -> None:
    """500 wait all over a city, and nobody is free within the longest reach: no cell twice, and not all at once."""
    rng = random.Random(6)
    places = [somewhere(rng, PLACES["Kharkiv"], 12e3) for _ in range(500)]
    _, read = searched(places, {}, MAX_SEARCH_RADIUS_M)
    assert read > 3 * CELLS_AT_ONCE


@pytest.mark.parametrize("resolution", [7, 8])
def test_a_zone_covers_what_is_promised(resolution: int) -> None:
    rng = random.Random(resolution)
    for place in PLACES.values():
        for rings in (1, 2, 3):
            covered_m = zone_covered_m(face_angle(*place), rings, resolution)
            zones = set(h3.grid_disk(h3.latlng_to_cell(*place, resolution), rings))
            for _ in range(200):
                at = moved(*place, rng.random() * 6.3, covered_m * rng.random() ** 0.2)
                if distance_m(*place, *at) <= covered_m:
                    assert h3.cell_to_parent(cell_of(*at), resolution) in zones, (place, rings)
    assert RESOLUTION == 9
