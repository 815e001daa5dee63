"""The short way from JSON to a volatile event's message gives what the long way gives, or leaves it to that."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from dispatch.commands import Refusal
from rooms.gate import decode, straight
from rooms.handlers import HANDLERS

FIX = {"latitude": 37.7, "longitude": -122.4}
VOLATILE = sorted(event for event, handler in HANDLERS.items() if not handler.awaits)
EDGES: list[Any] = [None, True, 0, -1, 91, 1e300, "", "x", "x" * 500, [], [[1]], {}, {"a": {"b": 1}}, "a\0b"]


def long_way(event: str, payload: Any) -> msgspec.Struct | None:
    try:
        return decode(HANDLERS[event].message, [payload], strict=True)
    except Refusal:
        return None


@pytest.mark.parametrize("event", VOLATILE)
def test_what_the_short_way_takes_the_long_way_takes_alike(event: str) -> None:
    kind = HANDLERS[event].message
    names = [*kind.__struct_encode_fields__, *sorted(kind.legacy), "nobody_knows_this"]
    taken = 0
    for start in ({}, FIX, {"rideId": "r"}):
        for name in names:
            for value in EDGES:
                payload = start | {name: value}
                short = straight(HANDLERS[event], json.dumps(payload))
                if short is None:
                    continue
                taken += 1
                known = long_way(event, payload)
                assert known is not None, f"only the short way takes {payload}"
                said = {field: getattr(short, field) for field in kind.__struct_fields__}
                assert said == {field: getattr(known, field) for field in kind.__struct_fields__}
    assert taken, "the short way takes nothing of this event"


def test_a_fix_as_apps_send_it_takes_the_short_way() -> None:
    payload = FIX | {"rideId": "r", "driverId": "d", "heading": 12, "timestamp": "2026-11-25T12:00:00Z"}
    assert straight(HANDLERS["location_update"], json.dumps(payload)) is not None


@pytest.mark.parametrize("event", ["send_message", "no_such_event"])
def test_commands_and_unknown_events_take_the_long_way(event: str) -> None:
    assert straight(HANDLERS.get(event), '{"rideId":"r","message":"m"}') is None
