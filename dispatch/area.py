"""Where which rules hold: areas as polygons, and which of them a position belongs to.

`Area` is a value, as stored. `Areas` owns the geometry: it validates every polygon when it is built (a broken
one is refused there, with the area's id, and can never answer wrongly later) and guarantees one deterministic
answer per position: the smallest area that contains it, borders included, then the smaller id.

Polygons are GeoJSON (longitude first). Longitudes end at ±180: an area across the antimeridian is a
MultiPolygon split there, as RFC 7946 section 3.1.9 asks. A part more than 180° wide is taken for one that was
not split.
"""

import copy
import math
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
import shapely

from dispatch.etatable import EtaTable
from dispatch.policy import Policy
from dispatch.pricing import Prices


class Area(msgspec.Struct, frozen=True, kw_only=True):
    """A place with its own rules and prices. `shard` is the metropolis whose live state holds its jobs;
    `paused` means that no new job is taken; `version` counts the changes of its row, `policy_version` those
    of its policy. `shadow` is a policy that is only asked what it would do; `eta` what was learned of its travel
    times, which nobody changes (travel.py reads it)."""

    id: str
    name: str
    shard: str
    polygon: dict[str, Any]
    currency: str
    policy: Policy = msgspec.field(default_factory=Policy)
    prices: Prices = msgspec.field(default_factory=Prices)
    paused: bool = False
    version: int = 1
    policy_version: int = 1
    shadow: Policy | None = None
    shadow_version: int = 0
    eta: EtaTable | None = None


class Areas:
    """All areas, indexed. Immutable: when an area changes, another `Areas` is built; when only what holds in them does,
    `with_areas` makes it of the same borders, since one of thousands of corners takes 6 ms to prove."""

    def __init__(self, areas: Iterable[Area]) -> None:
        self._by_id: dict[str, Area] = {}
        ranked: list[tuple[float, str, Any]] = []
        for area in areas:
            if area.id in self._by_id:
                raise ValueError(f"area {area.id}: twice in the list")
            self._by_id[area.id] = area
            polygon = _polygon(area)
            ranked.append((_size(polygon), area.id, polygon))
        ranked.sort(key=lambda entry: entry[:2])
        self._smallest_first: list[Area] = [self._by_id[area_id] for _, area_id, _ in ranked]
        self._polygons = [polygon for _, _, polygon in ranked]
        shapely.prepare(self._polygons)
        self._tree = shapely.STRtree(self._polygons)

    def with_areas(self, areas: Iterable[Area]) -> "Areas":
        """The same borders, with these areas inside of them. Raises ValueError where they are not the same."""
        by_id = {area.id: area for area in areas}
        if by_id.keys() != self._by_id.keys():
            raise ValueError("other areas")
        if moved := [id_ for id_, area in by_id.items() if area.polygon != self._by_id[id_].polygon]:
            raise ValueError(f"other borders: {', '.join(sorted(moved))}")
        anew = copy.copy(self)
        anew._by_id = by_id
        anew._smallest_first = [by_id[area.id] for area in self._smallest_first]
        return anew

    def __iter__(self) -> Iterator[Area]:
        return iter(self._smallest_first)

    def get(self, area_id: str) -> Area | None:
        return self._by_id.get(area_id)

    def find(self, lat_deg: float, lng_deg: float) -> Area | None:
        """The area whose rules hold at a valid position; None where there is none."""
        point = shapely.Point(lng_deg, lat_deg)
        boxes: list[int] = sorted(self._tree.query(point).tolist())
        for index in boxes:
            if self._polygons[index].covers(point):
                return self._smallest_first[index]
        return None


def _polygon(area: Area) -> Any:
    try:
        polygon = shapely.from_geojson(msgspec.json.encode(area.polygon))
    except shapely.errors.GEOSException as error:
        raise ValueError(f"area {area.id}: not a GeoJSON geometry: {error}") from error
    if polygon.geom_type not in ("Polygon", "MultiPolygon"):
        raise ValueError(f"area {area.id}: a {polygon.geom_type}, not a Polygon or MultiPolygon")
    if polygon.is_empty:
        raise ValueError(f"area {area.id}: its polygon is empty")
    if not polygon.is_valid:
        raise ValueError(f"area {area.id}: {shapely.is_valid_reason(polygon)}")
    for part in shapely.get_parts(polygon):
        west, south, east, north = part.bounds
        if west < -180.0 or east > 180.0 or south < -90.0 or north > 90.0:
            raise ValueError(f"area {area.id}: coordinates outside of ±180, ±90 (longitude comes first)")
        if east - west > 180.0:
            raise ValueError(f"area {area.id}: a part wider than 180 degrees; split it at the antimeridian")
    return polygon


def _size(polygon: Any) -> float:
    """Comparable between latitudes: the area on Lambert's cylindrical equal-area projection."""

    def project(lng_lat: Any) -> Any:
        return [(math.radians(lng), math.sin(math.radians(lat))) for lng, lat in lng_lat]

    return float(shapely.transform(polygon, project).area)
