"""The rules of the replayed city: one list of numbers, for the server's area and for the brute-force
matcher alike.

The replay runs N times as fast as the day was, so the area's durations are divided by N and its speeds
multiplied. What is not scaled: distances, counts, and `stale_fix_s`, which allows for the network and not
for the day.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from loadtest.geo import Point
from loadtest.oracle import Rules

AREA_ID = "replay"
MARGIN_DEG = 0.05
ASK_BEFORE_PICKUP_S = 240.0

# Real cabs send a fix a minute, and sometimes miss two: silence for less than three minutes means nothing here.
DURATIONS_S = {
    "offer_s": 15.0,
    "offer_grace_s": 1.0,
    "patience_s": 300.0,
    "search_retry_s": 2.0,
    "stale_s": 200.0,
    "jitter_s": 10.0,
    "pickup_overhead_s": 30.0,
    "stop_dwell_s": 60.0,
    "no_show_wait_s": 300.0,
}
SPEEDS_MPS = {"top_speed_mps": 50.0, "cruise_speed_mps": 7.5}
NOT_SCALED = {"search_radius_m": 6000.0, "max_offers": 20, "stale_fix_s": 30.0, "detour": 1.31}

DRIVING_SPEED_MPS = 7.5
FIX_EVERY_S = 15.0
DWELL_S = 30.0


def policy(speed: float) -> dict[str, float]:
    """The area's policy in a city that runs so many times as fast."""
    return (
        {name: round(value / speed, 4) for name, value in DURATIONS_S.items()}
        | {name: value * speed for name, value in SPEEDS_MPS.items()}
        | NOT_SCALED
    )


def scaling(speed: float) -> str:
    """What the report says about it."""
    now = policy(speed)
    names = ("offer_s", "patience_s", "stale_s", "top_speed_mps")
    unscaled = DURATIONS_S | SPEEDS_MPS
    changes = ", ".join(f"{name} {unscaled[name]:g} → {now[name]:g}" for name in names)
    return f"area '{AREA_ID}' scaled by {speed:g}: {changes}"


def feature(speed: float, points: Iterable[Point]) -> dict[str, Any]:
    """The area as a GeoJSON Feature: the box around everything that happens."""
    seen = list(points)
    south, north = (f(each.latitude for each in seen) for f in (min, max))
    west, east = (f(each.longitude for each in seen) for f in (min, max))
    south, west, north, east = south - MARGIN_DEG, west - MARGIN_DEG, north + MARGIN_DEG, east + MARGIN_DEG
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {
        "type": "Feature",
        "properties": {"id": AREA_ID, "name": "Replay", "currency": "USD", "policy": policy(speed)},
        "geometry": {"type": "Polygon", "coordinates": [ring]},
    }


def rules() -> Rules:
    """The same numbers for the brute-force matcher, unscaled: it runs on the day's own clock."""
    return Rules(
        ask_before_s=ASK_BEFORE_PICKUP_S,
        offer_s=DURATIONS_S["offer_s"],
        patience_s=DURATIONS_S["patience_s"],
        retry_s=DURATIONS_S["search_retry_s"],
        stale_s=DURATIONS_S["stale_s"],
        radius_m=float(NOT_SCALED["search_radius_m"]),
        most_offers=int(NOT_SCALED["max_offers"]),
        pickup_speed_mps=DRIVING_SPEED_MPS,
        detour=NOT_SCALED["detour"],
        dwell_s=DWELL_S,
    )
