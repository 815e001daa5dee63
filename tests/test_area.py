"""Areas: the smallest that contains the position, broken polygons refused, the antimeridian, real neighbourhoods."""

import json
from typing import Any

import msgspec
import pytest
import shapely
from msgspec.structs import replace

from dispatch.area import Area, Areas
from tests.support import shared_data


def box(west: float, south: float, east: float, north: float) -> list[list[list[float]]]:
    return [[[west, south], [east, south], [east, north], [west, north], [west, south]]]


def area(area_id: str, polygon: dict[str, Any]) -> Area:
    return Area(id=area_id, name=area_id.title(), shard="s", polygon=polygon, currency="USD")


def square(area_id: str, west: float, south: float, east: float, north: float) -> Area:
    return area(area_id, {"type": "Polygon", "coordinates": box(west, south, east, north)})


def found(areas: Areas, lat_deg: float, lng_deg: float) -> str | None:
    match = areas.find(lat_deg, lng_deg)
    return match.id if match is not None else None


NESTED = Areas(
    [
        square("city", 36.0, 49.9, 36.5, 50.1),
        square("country", 22.0, 44.0, 40.0, 52.0),
        square("airport", 36.28, 49.91, 36.30, 49.94),
        area(
            "ring",
            {"type": "Polygon", "coordinates": box(10.0, 10.0, 13.0, 13.0) + box(11.0, 11.0, 12.0, 12.0)},
        ),
    ]
)


@pytest.mark.parametrize(
    ("lat_deg", "lng_deg", "expected"),
    [
        (49.92, 36.29, "airport"),
        (50.0, 36.2, "city"),
        (48.0, 30.0, "country"),
        (49.91, 36.29, "airport"),  # on the border
        (50.1, 36.2, "city"),
        (60.0, 30.0, None),
        (36.2, 50.0, None),  # latitude and longitude swapped
        (10.5, 10.5, "ring"),
        (11.5, 11.5, None),  # in the hole
    ],
)
def test_the_smallest_area_that_contains_the_position_wins(
    lat_deg: float, lng_deg: float, expected: str | None
) -> None:
    assert found(NESTED, lat_deg, lng_deg) == expected


def test_size_is_compared_on_the_globe_not_in_degrees() -> None:
    """In degrees the northern box is the larger; on the ground it is the smaller."""
    areas = Areas([square("south", 0.0, 0.0, 10.0, 61.0), square("north", -30.0, 59.0, 30.0, 71.0)])
    assert found(areas, 60.0, 5.0) == "north"


def test_equal_areas_are_decided_by_id() -> None:
    same = [square("b", 0.0, 0.0, 1.0, 1.0), square("a", 0.0, 0.0, 1.0, 1.0)]
    assert found(Areas(same), 0.5, 0.5) == found(Areas(reversed(same)), 0.5, 0.5) == "a"


@pytest.mark.parametrize(
    ("lng_deg", "expected"),
    [(179.9, "fiji"), (-179.9, "fiji"), (180.0, "fiji"), (-180.0, "fiji"), (0.0, None), (176.9, None)],
)
def test_an_area_across_the_antimeridian(lng_deg: float, expected: str | None) -> None:
    halves = [box(177.0, -19.0, 180.0, -16.0), box(-180.0, -19.0, -179.0, -16.0)]
    assert (
        found(Areas([area("fiji", {"type": "MultiPolygon", "coordinates": halves})]), -17.7, lng_deg)
        == expected
    )


BOWTIE = [[[0, 0], [1, 1], [1, 0], [0, 1], [0, 0]]]


@pytest.mark.parametrize(
    ("polygon", "why"),
    [
        ({}, "GeoJSON"),
        ({"type": "Polygon"}, "GeoJSON"),
        ({"type": "Polygon", "coordinates": 5}, "GeoJSON"),
        ({"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [1, 0]]]}, "GeoJSON"),
        ({"type": "Polygon", "coordinates": [[[0, 0], [float("nan"), 1], [1, 0], [0, 0]]]}, "GeoJSON"),
        ({"type": "Point", "coordinates": [1, 2]}, "Point"),
        ({"type": "Polygon", "coordinates": []}, "empty"),
        ({"type": "Polygon", "coordinates": BOWTIE}, "Self-intersection"),
        ({"type": "Polygon", "coordinates": box(170.0, 0.0, 190.0, 1.0)}, "outside"),
        ({"type": "Polygon", "coordinates": box(0.0, 85.0, 1.0, 91.0)}, "outside"),
        ({"type": "Polygon", "coordinates": box(-179.0, -19.0, 177.0, -16.0)}, "antimeridian"),
    ],
)
def test_a_broken_polygon_is_refused_and_named(polygon: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=f"area broken: .*{why}"):
        Areas([square("fine", 0.0, 0.0, 1.0, 1.0), area("broken", polygon)])


def test_an_id_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="twice"):
        Areas([square("a", 0.0, 0.0, 1.0, 1.0), square("a", 0.0, 0.0, 2.0, 2.0)])


def test_what_holds_changes_within_the_same_borders() -> None:
    paused = [replace(each, paused=True) for each in NESTED]
    anew = NESTED.with_areas(reversed(paused))
    for lat_deg, lng_deg in ((49.92, 36.29), (50.0, 36.1), (48.0, 30.0), (11.5, 11.5), (10.5, 10.5)):
        before, now = NESTED.find(lat_deg, lng_deg), anew.find(lat_deg, lng_deg)
        assert now == (before and replace(before, paused=True))
    assert list(anew) == paused and not any(each.paused for each in NESTED), "the old ones are as they were"
    with pytest.raises(ValueError, match="other areas"):
        NESTED.with_areas(paused[1:])
    with pytest.raises(ValueError, match="other borders: city"):
        NESTED.with_areas(
            [*(each for each in NESTED if each.id != "city"), square("city", 36.0, 49.9, 36.5, 50.0)]
        )


def test_none_at_all_and_lookup_by_id() -> None:
    assert Areas([]).find(0.0, 0.0) is None
    city = NESTED.get("city")
    assert city is not None and city.name == "City" and NESTED.get("nowhere") is None
    assert [each.id for each in NESTED] == ["airport", "city", "ring", "country"]


def test_an_area_comes_from_its_stored_json_with_rules_checked() -> None:
    stored = b"""{"id": "x", "name": "X", "shard": "s", "currency": "EUR", "policy": {"offer_s": 12},
        "polygon": {"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 0]]]}}"""
    decoded = msgspec.json.decode(stored, type=Area)
    assert decoded.policy.offer_s == 12.0 and not decoded.paused
    assert found(Areas([decoded]), 0.4, 0.6) == "x"
    with pytest.raises(msgspec.ValidationError, match="offer_s"):
        msgspec.json.decode(stored.replace(b"12", b"-1"), type=Area)


def test_real_neighbourhoods_agree_with_a_scan_of_all_polygons() -> None:
    zones: dict[str, Any] = {}
    for feature in json.loads(shared_data("zones.geojson").read_text())["features"]:
        mended = shapely.make_valid(shapely.from_geojson(json.dumps(feature["geometry"])))
        zones[feature["properties"]["name"]] = mended
    areas = Areas(area(name, json.loads(shapely.to_geojson(zone))) for name, zone in zones.items())
    inside = 0
    for step in range(2_500):
        lat_deg, lng_deg = 37.70 + step // 50 * 0.0024, -122.52 + step % 50 * 0.0032
        name = found(areas, lat_deg, lng_deg)
        point = shapely.Point(lng_deg, lat_deg)
        holding = {other for other, zone in zones.items() if zone.covers(point)}
        assert name in holding if holding else name is None
        inside += name is not None
    assert inside > 1_000
