"""The stock JavaScript client, in Node: a whole ride over each transport, and what a bad token tells it."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.stack import RunningStack

SCRIPTS = Path(__file__).parent / "js"
NODE_S = 40.0


async def node(script: str, *arguments: str) -> Any:
    """What a script printed, as JSON."""
    program = shutil.which("node")
    assert program, "Node is needed: ./dev test brings it"
    assert (SCRIPTS / "node_modules").is_dir(), "npm ci in tests/js is needed: ./dev test does it"
    child = await asyncio.create_subprocess_exec(
        program,
        str(SCRIPTS / script),
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(NODE_S):
            out, errors = await child.communicate()
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    assert child.returncode == 0, errors.decode()
    return json.loads(out)


def numbers(log: list[list[Any]], room: str) -> list[int]:
    return [payload["seq"] for _, payload in log if payload.get("room") == room]


@pytest.mark.parametrize("transport", ["websocket", "polling", "upgrade"])
async def test_whole_ride(stack: RunningStack, transport: str) -> None:
    spot = stack.spot()
    driver, passenger = await stack.person("driver"), await stack.person("passenger")
    told = await node(
        "ride.mjs",
        stack.url,
        transport,
        driver.token,
        passenger.token,
        str(spot.latitude),
        str(spot.longitude),
    )
    assert told["transports"] == ["polling" if transport == "polling" else "websocket"] * 2
    ride_id, room = told["rideId"], f"ride:{told['rideId']}"
    assert numbers(told["passenger"], room) == list(range(1, 8))
    assert numbers(told["driver"], room) == list(range(3, 8))
    events = [event for event, _ in told["passenger"]]
    assert events[0] == "connected" and "disconnect" not in events and "error" not in events
    states = [payload["state"] for event, payload in told["passenger"] if event == "ride_status_update"]
    assert states == ["searching", "offered", "arrived", "in_progress", "completed"]
    line = next(payload for event, payload in told["driver"] if event == "new_message")
    assert (line["senderId"], line["message"]) == (passenger.id, "Де ви? 🚕")
    rows = await stack.drained("select state from rides where id = $1 and state = 'completed'", ride_id)
    assert rows


async def test_a_bad_token_is_refused_with_a_code(stack: RunningStack) -> None:
    told = await node("refused.mjs", stack.url, "not-a-token")
    assert told == {"message": "Authentication failed", "data": {"code": "unauthenticated", "retry": False}}
