"""Cells and the nearest search, against brute force: in cities, at poles, pentagons and the antimeridian."""

import math
import random
from collections import defaultdict

import h3.api.basic_int as h3
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dispatch.cells import (
    EARTH_RADIUS_M,
    MAX_RINGS,
    MAX_SEARCH_RADIUS_M,
    RESOLUTION,
    NearestSearch,
    cell_of,
    covered_m,
    distance_m,
    face_angle,
    min_edge_m,
    valid_position,
)

PENTAGONS: list[tuple[float, float]] = [h3.cell_to_latlng(cell) for cell in h3.get_pentagons(RESOLUTION)]
PLACES = {
    "Kharkiv": (49.9935, 36.2304),
    "Kharkiv's pentagon": (50.1032, 36.5220),
    "Fiji": (-17.75, 179.9995),
    "Fiji, the other side": (-16.80, -179.999),
    "North Pole": (89.9999, 12.0),
    "South Pole": (-90.0, 0.0),
    "San Francisco": (37.7749, -122.4194),
    "Lagos": (6.4541, 3.3947),
    "equator": (0.0, 0.0),
}


def moved(lat_deg: float, lng_deg: float, bearing: float, by_m: float) -> tuple[float, float]:
    """The position `by_m` away in the direction `bearing` (radians): the direct problem on the sphere."""
    angle, lat, lng = by_m / EARTH_RADIUS_M, math.radians(lat_deg), math.radians(lng_deg)
    sine = math.sin(lat) * math.cos(angle) + math.cos(lat) * math.sin(angle) * math.cos(bearing)
    lat2 = math.asin(max(-1.0, min(1.0, sine)))
    east = math.sin(bearing) * math.sin(angle) * math.cos(lat)
    lng2 = math.degrees(lng + math.atan2(east, math.cos(angle) - math.sin(lat) * math.sin(lat2)))
    return math.degrees(lat2), (lng2 + 180.0) % 360.0 - 180.0


def scattered(
    rng: random.Random, place: tuple[float, float], count: int, within_m: float
) -> dict[str, tuple[float, float]]:
    """Drivers uniform over the disk about the place, some of them in one spot."""
    drivers = {}
    for number in range(count):
        away_m = within_m * math.sqrt(rng.random())
        drivers[f"d{number}"] = moved(*place, rng.uniform(0.0, math.tau), away_m)
        if number and rng.random() < 0.1:
            drivers[f"d{number}"] = drivers[f"d{number - 1}"]
    return drivers


Index = dict[int, list[tuple[str, float, float, None]]]


def indexed(drivers: dict[str, tuple[float, float]]) -> Index:
    index: Index = defaultdict(list)
    for driver_id, (lat, lng) in drivers.items():
        index[cell_of(lat, lng)].append((driver_id, lat, lng, None))
    return index


def searched(search: NearestSearch[None], index: Index) -> tuple[list[tuple[float, str]], int, int]:
    """(what was found, round trips, cells read)"""
    trips = cells = 0
    while (ask := search.ask()) is not None:
        trips, cells = trips + 1, cells + len(ask)
        search.feed(entry for cell in ask for entry in index.get(cell, ()))
    return [(near.distance_m, near.driver_id) for near in search.best()], trips, cells


def brute_force(
    place: tuple[float, float], drivers: dict[str, tuple[float, float]], want: int, radius_m: float
) -> list[tuple[float, str]]:
    away = sorted((distance_m(*place, *position), driver_id) for driver_id, position in drivers.items())
    return [entry for entry in away if entry[0] <= radius_m][:want]


@pytest.mark.parametrize("name", PLACES)
@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    count=st.sampled_from([0, 1, 5, 20, 80, 400]),
    within_m=st.sampled_from([150.0, 1_000.0, 4_000.0, 9_000.0]),
    want=st.sampled_from([1, 3, 8, 30]),
    radius_m=st.sampled_from([200.0, 1_500.0, 3_000.0, 6_000.0]),
    off_m=st.sampled_from([0.0, 250.0, 2_500.0]),
)
def test_finds_exactly_the_nearest(
    *, name: str, seed: int, count: int, within_m: float, want: int, radius_m: float, off_m: float
) -> None:
    rng = random.Random(seed)
    place = moved(*PLACES[name], rng.uniform(0.0, math.tau), off_m)
    drivers = scattered(rng, place, count, within_m)
    found, trips, _ = searched(NearestSearch(*place, want, radius_m), indexed(drivers))
    assert found == brute_force(place, drivers, want, radius_m)
    assert trips <= 10


@settings(max_examples=500, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_finds_exactly_the_nearest_anywhere(seed: int) -> None:
    """Uniform over the globe, and close to pentagons, where cells are small and skewed."""
    rng = random.Random(seed)
    if rng.random() < 0.5:
        place = moved(*rng.choice(PENTAGONS), rng.uniform(0.0, math.tau), 10.0 ** rng.uniform(0.0, 5.0))
    else:
        place = (math.degrees(math.asin(rng.uniform(-1.0, 1.0))), rng.uniform(-180.0, 180.0))
    drivers = scattered(rng, place, rng.choice([10, 60, 250]), 10.0 ** rng.uniform(2.0, 3.7))
    found, _, _ = searched(NearestSearch(*place, 5, 6_000.0), indexed(drivers))
    assert found == brute_force(place, drivers, 5, 6_000.0)


@settings(max_examples=200, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_min_edge_is_a_true_and_close_lower_bound(seed: int) -> None:
    """Never above any edge of the disk, which would lose drivers; never 4 % below, which would waste reads."""
    rng = random.Random(seed)
    place = moved(*rng.choice(PENTAGONS), rng.uniform(0.0, math.tau), rng.uniform(0.0, 4e6))
    if rng.random() < 0.2:
        place = rng.choice(PENTAGONS)
    disk = h3.grid_disk(cell_of(*place), 3)
    shortest_m = min(
        h3.edge_length(edge, unit="m") for cell in disk for edge in h3.origin_to_directed_edges(cell) if edge
    )
    bound_m = min_edge_m(face_angle(*place), 1_500.0)
    assert 0.96 * shortest_m <= bound_m <= shortest_m


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 2**32), rings=st.integers(1, 6))
def test_what_the_rings_cover_is_in_their_cells(seed: int, rings: int) -> None:
    """From the worst places, the corners of the origin cell, in all directions."""
    rng = random.Random(seed)
    origin = cell_of(*moved(*rng.choice(PENTAGONS), rng.uniform(0.0, math.tau), rng.uniform(0.0, 4e6)))
    disk = set(h3.grid_disk(origin, rings))
    for lat_deg, lng_deg in h3.cell_to_boundary(origin):
        place = moved(lat_deg, lng_deg, rng.uniform(0.0, math.tau), 0.01)
        if cell_of(*place) != origin:
            continue
        covered = covered_m(face_angle(*place), rings)
        for step in range(60):
            assert cell_of(*moved(*place, step * math.tau / 60, covered)) in disk


def test_a_busy_city_takes_one_round_trip_and_an_empty_one_few() -> None:
    place = PLACES["San Francisco"]
    busy = indexed(scattered(random.Random(1), place, 2_000, 3_000.0))
    assert searched(NearestSearch(*place, 8, 6_000.0), busy)[1:] == (1, 19)
    _, trips, cells = searched(NearestSearch(*place, 8, 6_000.0), {})
    assert trips <= 8 and cells <= 3 * MAX_RINGS**2


def test_the_largest_radius_is_covered_everywhere() -> None:
    """At a pentagon the cells are smallest; a driver at the far rim is still found."""
    place = PENTAGONS[0]
    for bearing in range(6):
        rim = {
            "rim": moved(*place, bearing, MAX_SEARCH_RADIUS_M - 1.0),
            "beyond": moved(*place, bearing, MAX_SEARCH_RADIUS_M + 1.0),
        }
        found, _, cells = searched(NearestSearch(*place, 2, MAX_SEARCH_RADIUS_M), indexed(rim))
        assert [driver_id for _, driver_id in found] == ["rim"]
        assert cells <= 3 * MAX_RINGS * (MAX_RINGS + 1) + 1


def test_no_cell_is_asked_for_twice() -> None:
    search = NearestSearch[None](*PLACES["Lagos"], 3, 4_000.0)
    asked: list[int] = []
    while (ask := search.ask()) is not None:
        asked += ask
        search.feed(())
    assert len(asked) == len(set(asked)) > 19


def test_equal_distances_are_ordered_by_id_and_payloads_come_back() -> None:
    search = NearestSearch[object](0.0, 0.0, 2, 1_000.0)
    search.feed([("b", 0.001, 0.0, "B"), ("a", 0.001, 0.0, None), ("c", 0.001, 0.0, "C")])
    assert [(near.driver_id, near.payload) for near in search.best()] == [("a", None), ("b", "B")]


def test_who_moves_during_the_search_counts_once_where_he_was_read_last() -> None:
    search = NearestSearch[int](0.0, 0.0, 5, 1_000.0)
    search.feed([("a", 0.001, 0.0, 1), ("b", 0.002, 0.0, 1)])
    search.feed([("a", 0.003, 0.0, 2), ("b", 0.5, 0.0, 2)])
    assert [(near.driver_id, near.payload) for near in search.best()] == [("a", 2)]


@pytest.mark.parametrize(
    ("lat_deg", "lng_deg", "valid"),
    [
        (90.0, 180.0, True),
        (-90.0, -180.0, True),
        (0, 0, True),
        (91.0, 0.0, False),
        (0.0, 180.0001, False),
        (math.nan, 0.0, False),
        (0.0, math.nan, False),
        (math.inf, 0.0, False),
        (0.0, -math.inf, False),
    ],
)
def test_valid_position(lat_deg: float, lng_deg: float, valid: bool) -> None:
    assert valid_position(lat_deg, lng_deg) is valid
    if not valid:
        with pytest.raises(ValueError, match="position"):
            NearestSearch(lat_deg, lng_deg, 1, 100.0)


@pytest.mark.parametrize(
    ("want", "radius_m"), [(0, 100.0), (1, 0.0), (1, MAX_SEARCH_RADIUS_M + 1), (1, math.nan)]
)
def test_a_search_without_bounds_is_refused(want: int, radius_m: float) -> None:
    with pytest.raises(ValueError, match="radius_m"):
        NearestSearch(0.0, 0.0, want, radius_m)


@pytest.mark.parametrize(
    ("a", "b", "expected_m"),
    [
        ((0.0, 0.0), (0.0, 0.0), 0.0),
        ((0.0, 0.0), (0.0, 1.0), 111_195.0),
        ((0.0, 179.5), (0.0, -179.5), 111_195.0),
        ((90.0, 0.0), (-90.0, 77.0), math.pi * EARTH_RADIUS_M),
        ((50.0, 36.0), (51.0, 37.0), 131_780.0),
    ],
)
def test_distance(a: tuple[float, float], b: tuple[float, float], expected_m: float) -> None:
    assert distance_m(*a, *b) == pytest.approx(expected_m, rel=1e-4)
    assert distance_m(*a, *b) == distance_m(*b, *a)
    assert distance_m(*a, *b) == pytest.approx(h3.great_circle_distance(a, b, unit="m"), rel=1e-6)
