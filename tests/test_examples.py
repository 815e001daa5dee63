"""The README's driver and passenger, as they stand in docs/examples, meet on a running server."""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import shlex
import sys
from pathlib import Path
from typing import Any

import aiohttp

from server.chores import checked_area
from storage import areas
from tests.stack import RunningStack
from tests.support import wait_until

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "docs" / "examples"
PASSWORD = "Wheels4!all"
WEST, SOUTH, EAST, NORTH = 36.1, 49.9, 36.4, 50.1
RING = [[WEST, SOUTH], [EAST, SOUTH], [EAST, NORTH], [WEST, NORTH], [WEST, SOUTH]]
CITY = {
    "type": "Feature",
    "geometry": {"type": "Polygon", "coordinates": [RING]},
    "properties": {"id": "readme", "name": "README", "currency": "USD"},
}


async def register(url: str, role: str) -> str:
    email = f"{role}-{secrets.token_hex(4)}@example.org"
    person = {"firstName": "Ada", "lastName": "Byron", "email": email, "phone": ""}
    person["phone"] = f"+1555{secrets.randbelow(10**7):07d}"
    async with aiohttp.ClientSession() as http:
        answer = await http.post(
            f"{url}/api/auth/register", json={**person, "password": PASSWORD, "role": role}
        )
        assert answer.status == 201, await answer.text()
    return email


class Example:
    """A running example and what it has printed."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.said = ""

    @classmethod
    async def start(cls, name: str, url: str, email: str) -> Example:
        arguments = [sys.executable, "-u", str(EXAMPLES / name), url, email, PASSWORD]
        pipe = asyncio.subprocess.PIPE
        return cls(
            await asyncio.create_subprocess_exec(*arguments, stdout=pipe, stderr=asyncio.subprocess.STDOUT)
        )

    async def line(self) -> str:
        assert self.process.stdout is not None
        text = (await asyncio.wait_for(self.process.stdout.readline(), 15)).decode()
        self.said += text
        return text

    async def end(self) -> str:
        assert self.process.stdout is not None
        self.said += (await asyncio.wait_for(self.process.stdout.read(), 15)).decode()
        assert await self.process.wait() == 0, self.said
        return self.said


async def area_is_known(stack: RunningStack, token: str) -> bool:
    point = {"latitude": 49.994, "longitude": 36.231}
    quote = {"kind": "ride", "pickup": point, "dropoff": point}
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as http:
        answer = await http.post(f"{stack.url}/api/commands/quote", json=quote)
        return bool(json.loads(await answer.text())["success"])


async def test_the_driver_of_the_readme_drives_its_passenger(stack: RunningStack) -> None:
    await areas.put_area(stack.database, checked_area(CITY))
    emails = [await register(stack.url, role) for role in ("driver", "passenger")]
    asker = await stack.person("passenger")
    await wait_until(lambda: area_is_known(stack, asker.token), 15.0)
    driver = await Example.start("driver.py", stack.url, emails[0])
    assert "'state': 'idle'" in await driver.line()
    passenger = await Example.start("passenger.py", stack.url, emails[1])
    heard = await passenger.end()
    assert "assigned: Ada Byron" in heard
    assert "car at 49.994 36.231" in heard
    assert heard.rstrip().endswith("completed")
    assert "'state': 'completed'" in await driver.end()


async def curl(command: str) -> dict[str, Any]:
    """What a curl line of the README does, without curl."""
    _, url, *words = shlex.split(command)
    options = dict(zip(words[::2], words[1::2], strict=True))
    assert set(options) <= {"-H", "-d"}
    headers = dict([options["-H"].split(": ", 1)]) if "-H" in options else {}
    method = "POST" if "-d" in options else "GET"
    async with aiohttp.ClientSession() as http:
        answer = await http.request(method, url, headers=headers, data=options.get("-d"))
        assert answer.status == 200, await answer.text()
        said: dict[str, Any] = await answer.json()
        return said


async def test_the_curl_lines_of_the_readme_work(stack: RunningStack) -> None:
    lines = re.findall(r"^curl .*$", (ROOT / "README.md").read_text(), re.M)
    assert len(lines) == 3
    words = {
        "http://127.0.0.1:8080": stack.url,
        "EMAIL": await register(stack.url, "passenger"),
        "PASSWORD": PASSWORD,
    }
    for line in lines:
        said = await curl(re.sub("|".join(words), lambda found: words[found[0]], line))
        if "/login" in line:
            words["ACCESS_TOKEN"] = said["data"]["accessToken"]
    assert said["data"] == []
