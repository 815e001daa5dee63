"""The shared client module (server/console/static/client), in Node with the stock socket.io-client: each part against a
model, and all of it through the death of the server.
"""

from __future__ import annotations

import asyncio
import json
import shutil
from typing import Any

from tests.stack import RunningStack, kill_server, private_stack, start_server
from tests.test_js_client import SCRIPTS

NODE_S = 60.0


async def start(*words: str) -> asyncio.subprocess.Process:
    program = shutil.which("node")
    assert program, "Node is needed: ./dev test brings it"
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(program, *words, cwd=SCRIPTS, stdout=pipe, stderr=pipe)


async def test_each_part_keeps_its_promise() -> None:
    child = await start("--test", "client.test.mjs", "film.test.mjs")
    out, _ = await asyncio.wait_for(child.communicate(), NODE_S)
    assert child.returncode == 0, out.decode()


async def test_its_types_and_those_of_the_pages_hold() -> None:
    """JSDoc says what everything is; a compiler that compiles nothing believes it or does not."""
    child = await start("node_modules/typescript/bin/tsc", "-p", "tsconfig.json")
    out, _ = await asyncio.wait_for(child.communicate(), NODE_S)
    assert child.returncode == 0, out.decode()


async def ride(stack: RunningStack) -> dict[str, Any]:
    """What two phones know of a ride in whose middle the server was killed."""
    spot = stack.spot()
    driver, passenger = await stack.person("driver"), await stack.person("passenger")
    place = (str(spot.latitude), str(spot.longitude))
    child = await start("aryv.mjs", stack.url, driver.token, passenger.token, *place)
    assert child.stdout is not None and child.stderr is not None
    try:
        async with asyncio.timeout(NODE_S):
            if await child.stdout.readline() == b"kill\n":
                await kill_server(stack)
                start_server(stack)
            out, errors = await child.communicate()
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    assert child.returncode == 0, errors.decode()
    return dict(json.loads(out))


async def test_a_ride_goes_on_while_the_server_dies() -> None:
    async with private_stack() as stack:
        told = await ride(stack)
        assert (told["requesting"], told["refused"], told["waiting"]) == ("requesting", "offer_gone", 5)
        chat = told["chats"][0]
        assert told["chats"] == [chat] * 3, "who said what in which order is the same for everybody"
        lines = ["before", *(f"{who} {n}" for who in ("passenger", "driver") for n in range(5))]
        assert sorted(chat) == sorted([text, "sent"] for text in lines)
        for who in ("passenger", "driver"):  # each one's own in the order in which he said them
            assert [text for text, _ in chat if text.startswith(who)] == [f"{who} {n}" for n in range(5)]

        room = f"ride:{told['id']}"
        numbers = [seq for _, of, _, seq, _ in told["facts"] if of == room]
        assert numbers == list(range(1, len(numbers) + 1))
        assert told["job"]["state"] == "completed" and told["shift"]["classes"] == ["economy"]
        assert told["otherStars"] == "ALREADY_RATED" and told["denied"] == ["unauthenticated", "denied"]
        stars = await stack.rows("select rating, comment from reviews order by rating")
        assert stars == [{"rating": 4, "comment": ""}, {"rating": 5, "comment": "Smooth."}]
        track = "select ts from locations where job_id = $1 and heading is null"
        assert len(await stack.drained(track, told["id"])) >= 5, "what was driven without a server is history"
