"""Side by side, with stock clients: two ways to lose a line that cost Node's connection state recovery messages, and
cost this server's clients none."""

from __future__ import annotations

import asyncio

from tests.phones import assigned_ride, phone
from tests.stack import private_stack
from tests.test_js_client import node

ALL = {"phoneFirst": ["one", "two", "three"], "lostTwice": ["one", "two", "three", "four", "five"]}


async def test_nodes_recovery_loses_messages_and_sync_does_not() -> None:
    async with (
        private_stack(DISPATCH_PING_INTERVAL_S="1", DISPATCH_PING_TIMEOUT_S="1") as stack,
        phone(stack, "driver") as driver,
        phone(stack, "passenger") as passenger,
    ):
        ride = await assigned_ride(passenger, driver, stack.spot("patient"))
        tokens = driver.person.token, passenger.person.token
        theirs, ours = await asyncio.gather(
            node("recovery.mjs", "node"), node("recovery.mjs", "dispatch", stack.url, *tokens, ride)
        )
    # Node looks for what it kept of a connection that it still believes in, finds nothing, and begins a new one
    assert theirs["phoneFirst"] == {"heard": ["one", "three"], "recovered": [False, False], "connected": True}
    # the third connection has the name of the second: when that one is given up, its rooms go too
    assert theirs["lostTwice"]["heard"] == ["one", "two", "three", "four"]
    assert theirs["lostTwice"]["recovered"] == [False, True, True]
    assert theirs["lostTwice"]["connected"], "it is told nothing, and does not know"
    assert {name: played["heard"] for name, played in ours.items()} == ALL
    assert all(played["connected"] for played in ours.values())
