"""The examples of the README, as they stand in docs/examples, meet on a running server."""

from __future__ import annotations

import asyncio
import io
import json
import re
import secrets
import shlex
import shutil
import signal
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import aiohttp
import pytest

from loadtest.client import Pool
from loadtest.demo import YIELDS, City
from loadtest.faults.proxy import Address, Proxy
from loadtest.person import Account
from loadtest.screen import Screen
from loadtest.temper import Temper
from server.chores import checked_area
from server.devstack.redis import free_port
from storage import areas
from storage.passwords import hash_now
from tests.phones import accepted, phone
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
HERE, THERE = {"latitude": 49.994, "longitude": 36.231}, {"latitude": 50.005, "longitude": 36.25}
TRIP = {"pickup": HERE, "dropoff": THERE, "class": "economy"}


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


async def does(stack: RunningStack, token: str, event: str, payload: dict[str, Any]) -> None:
    status, text = await stack.http("POST", f"/api/commands/{event}", token, json=payload)
    assert status == 200, text


class Example:
    """A running example and what it has printed; whichever did not end by itself is ended with its test."""

    begun: ClassVar[list[Example]] = []

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.said = ""
        self.begun.append(self)

    @classmethod
    async def start(cls, name: str, *words: str) -> Example:
        return await cls.run(sys.executable, "-u", str(EXAMPLES / name), *words)

    @classmethod
    async def run(cls, *arguments: str) -> Example:
        pipe = asyncio.subprocess.PIPE
        return cls(
            await asyncio.create_subprocess_exec(*arguments, stdout=pipe, stderr=asyncio.subprocess.STDOUT)
        )

    async def line(self) -> str:
        assert self.process.stdout is not None
        text = (await asyncio.wait_for(self.process.stdout.readline(), 15)).decode()
        self.said += text
        return text

    async def hears(self, text: str) -> None:
        while text not in await self.line():
            assert self.process.returncode is None, self.said

    async def interrupted(self) -> str:
        """What Ctrl-C makes of it: it ends at once, without a word of Python's."""
        self.process.send_signal(signal.SIGINT)
        said = await self.end()
        assert "Traceback" not in said and "Unclosed" not in said and "Error" not in said, said
        return said

    async def end(self, code: int = 0) -> str:
        assert self.process.stdout is not None
        self.said += (await asyncio.wait_for(self.process.stdout.read(), 15)).decode()
        assert await self.process.wait() == code, self.said
        return self.said


@pytest.fixture(autouse=True)
async def none_is_left() -> AsyncIterator[None]:
    """An example's driver who outlives a failed test would take the rides of the next."""
    yield
    while Example.begun:
        process = Example.begun.pop().process
        if process.returncode is None:
            process.kill()
        await process.wait()


async def area_is_known(stack: RunningStack, token: str) -> bool:
    point = {"latitude": 49.994, "longitude": 36.231}
    quote = {"kind": "ride", "pickup": point, "dropoff": {**point, "latitude": 50.004}}
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as http:
        answer = await http.post(f"{stack.url}/api/commands/quote", json=quote)
        return bool(json.loads(await answer.text())["success"])


async def the_city(stack: RunningStack) -> None:
    await areas.put_area(stack.database, checked_area(CITY))
    asker = await stack.person("passenger")
    await wait_until(lambda: area_is_known(stack, asker.token), 15.0)


async def test_the_driver_of_the_readme_drives_its_passenger(stack: RunningStack) -> None:
    await the_city(stack)
    emails = [await register(stack.url, role) for role in ("driver", "passenger")]
    driver = await Example.start("driver.py", stack.url, emails[0], PASSWORD)
    assert "'state': 'idle'" in await driver.line()
    passenger = await Example.start("passenger.py", stack.url, emails[1], PASSWORD)
    heard = await passenger.end()
    # which is taken while PostgreSQL is away, too
    assert uuid.UUID(re.findall(r"'rideId': '(\S+)'", heard)[0]).version == 7
    assert "assigned Ada Byron" in heard
    numbers = [int(number) for number in re.findall(r"^(\d+) ", heard, re.M)]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers))), heard
    assert "driver_location 49.994 36.231" in heard
    assert heard.rstrip().endswith("ride_status_update completed")
    assert "'state': 'completed'" in await driver.end()


async def test_a_passenger_is_told_of_the_ride_he_watches(stack: RunningStack) -> None:
    """Not of the other one of the same account, whose driver comes first."""
    await the_city(stack)
    email, ride = f"passenger-{secrets.token_hex(4)}@example.org", {"rideId": str(uuid.uuid4())}
    person = await stack.person("passenger", email=email, password_hash=hash_now(PASSWORD, 4))
    passenger = await Example.start("passenger.py", stack.url, email, PASSWORD)
    await passenger.hears(" searching")
    async with phone(stack, "driver") as other:
        await other.call("go_online", {"classes": ["comfort"], **HERE})
        await does(stack, person.token, "request_ride", {**ride, **TRIP, "class": "comfort"})
        await accepted(other, ride["rideId"])
        driver = await Example.start("driver.py", stack.url, await register(stack.url, "driver"), PASSWORD)
        assert (await passenger.end()).count("driver_assigned") == 1, passenger.said
        await driver.end()
        await does(stack, person.token, "cancel_ride", ride)


@asynccontextmanager
async def demo_city(stack: RunningStack, drivers: int) -> AsyncIterator[City]:
    """So many of its drivers, online."""
    people = [Account(each.id, each.role, each.token) for each in await stack.people("driver", drivers)]
    async with Pool(stack.url) as pool:
        city, ends = City(pool, people, 1), asyncio.Event()
        for carrier in city.carriers:  # by chance the last would decline, too
            carrier.town = replace(carrier.town, temper=Temper(decline_share=0.0, silent_share=0.0))
        living = asyncio.ensure_future(city.live(ends, None, Screen(io.StringIO())))
        try:
            await wait_until(lambda: all(carrier.free for carrier in city.carriers), 15.0)
            yield city
        finally:
            ends.set()
            await living
            await city.end()


async def test_the_demo_city_leaves_a_ride_to_the_driver_in_the_window_beside(stack: RunningStack) -> None:
    """Also where its own are nearer; without that driver one of them takes it."""
    await the_city(stack)
    emails = [await register(stack.url, role) for role in ("driver", "passenger")]
    async with demo_city(stack, YIELDS):
        driver = await Example.start("driver.py", stack.url, emails[0], PASSWORD)
        assert "'state': 'idle'" in await driver.line()
        passenger = await Example.start("passenger.py", stack.url, emails[1], PASSWORD)
        assert "assigned Ada Byron" in await passenger.end()
        await driver.end()
    async with demo_city(stack, YIELDS + 1) as city:
        asker, ride = await stack.person("passenger"), {"rideId": str(uuid.uuid4())}
        await does(stack, asker.token, "request_ride", {**ride, **TRIP})
        try:
            await wait_until(lambda: any(carrier.trip is not None for carrier in city.carriers), 15.0)
        finally:
            await does(stack, asker.token, "cancel_ride", ride)


async def test_the_passenger_in_javascript(stack: RunningStack, tmp_path: Path) -> None:
    """With the stock client beside it, as `npm install` puts it into the checkout."""
    await the_city(stack)
    (tmp_path / "docs" / "examples").mkdir(parents=True)
    shutil.copy(EXAMPLES / "passenger.mjs", tmp_path / "docs" / "examples")
    (tmp_path / "server").symlink_to(ROOT / "server")
    (tmp_path / "node_modules").symlink_to(ROOT / "tests" / "js" / "node_modules")
    node, program = shutil.which("node"), str(tmp_path / "docs" / "examples" / "passenger.mjs")
    assert node
    emails = [await register(stack.url, role) for role in ("driver", "passenger")]
    driver = await Example.start("driver.py", stack.url, emails[0], PASSWORD)
    assert "'state': 'idle'" in await driver.line()
    heard = await (await Example.run(node, program, stack.url, emails[1], PASSWORD)).end()
    # also those that follow each other within a frame, which are one change
    states = [line.strip() for line in heard.splitlines()]
    assert states[-4:] == ["assigned Ada Byron", "arrived", "in_progress", "completed"], heard
    await driver.end()
    said = await (await Example.run(node, program, stack.url, emails[1], "wrong")).end(1)
    assert said == "Email or password is wrong.\n"
    assert await (await Example.run(node, program)).end(1) == "Arguments: URL EMAIL PASSWORD.\n"
    away = f"http://127.0.0.1:{free_port()}"
    said = await (await Example.run(node, program, away, emails[1], PASSWORD)).end(1)
    assert said == f"The server does not answer at {away}.\n"


async def test_what_a_lost_connection_missed_is_told_by_sync(stack: RunningStack) -> None:
    await the_city(stack)
    emails = [await register(stack.url, role) for role in ("driver", "passenger")]
    proxy = Proxy("line", Address(port=int(stack.url.rpartition(":")[2])))
    await proxy.start()
    try:
        follower = await Example.start("sync.py", f"http://127.0.0.1:{proxy.port}", emails[1], PASSWORD)
        assert "connected, hears user:" in await follower.line()
        passenger = await Example.start("passenger.py", stack.url, emails[1], PASSWORD)
        assert " 1 " in await follower.line()
        await proxy.refuse()
        driver = await Example.start("driver.py", stack.url, emails[0], PASSWORD)
        told = re.findall(r"^(\d+) ", await passenger.end(), re.M)
        await driver.end()
        await proxy.heal()
        while "completed" not in follower.said:
            await follower.line()
        follower.process.terminate()
        await follower.process.wait()
    finally:
        await proxy.close()
    numbers = re.findall(r"^ride:\S+ (\d+) ", follower.said, re.M)
    assert numbers == [str(number + 1) for number in range(int(told[-1]))], follower.said


async def test_the_parcel_gets_from_hand_to_hand(stack: RunningStack) -> None:
    await the_city(stack)
    sender, courier = await register(stack.url, "passenger"), f"courier-{secrets.token_hex(4)}@example.org"
    await stack.person("courier", email=courier, password_hash=hash_now(PASSWORD, 4))
    example = await Example.start("parcel.py", stack.url, sender, PASSWORD, courier, PASSWORD)
    heard = await example.end()
    assert "'serves': ['package']" in heard
    assert "'state': 'delivered'" in heard.splitlines()[-1]


async def test_a_parcel_whose_connection_is_lost_ends_its_example(stack: RunningStack) -> None:
    """Before the offer came, which is told once: nobody waits for it without end."""
    await the_city(stack)
    courier = f"courier-{secrets.token_hex(4)}@example.org"
    sender = await register(stack.url, "passenger")
    await stack.person("courier", email=courier, password_hash=hash_now(PASSWORD, 4))
    proxy = Proxy("line", Address(port=int(stack.url.rpartition(":")[2])))
    await proxy.start()
    try:
        url = f"http://127.0.0.1:{proxy.port}"
        example = await Example.start("parcel.py", url, sender, PASSWORD, courier, PASSWORD)
        assert "go_online" in await example.line()
        await proxy.refuse()
        said = await example.end(1)
        assert said.splitlines()[-1].startswith("The connection was lost") and "Traceback" not in said, said
    finally:
        await proxy.close()


async def test_after_ctrl_c_no_driver_comes_for_nobody(stack: RunningStack) -> None:
    await the_city(stack)
    email = await register(stack.url, "passenger")
    passenger = await Example.start("passenger.py", stack.url, email, PASSWORD)
    await passenger.hears("ride_status_update searching")
    assert "'status': 'cancelled'" in await passenger.interrupted()


async def test_an_example_that_waits_ends_with_ctrl_c(stack: RunningStack) -> None:
    await the_city(stack)
    emails = [await register(stack.url, role) for role in ("driver", "passenger")]
    driver = await Example.start("driver.py", stack.url, emails[0], PASSWORD)
    await driver.hears("'state': 'idle'")
    await driver.interrupted()
    follower = await Example.start("sync.py", stack.url, emails[1], PASSWORD)
    await follower.hears("connected, hears user:")
    await follower.interrupted()


async def test_a_parcel_is_called_off_with_ctrl_c(stack: RunningStack) -> None:
    """Over a line so slow that it is not on its way before."""
    await the_city(stack)
    courier = f"courier-{secrets.token_hex(4)}@example.org"
    sender = await register(stack.url, "passenger")
    await stack.person("courier", email=courier, password_hash=hash_now(PASSWORD, 4))
    proxy = Proxy("line", Address(port=int(stack.url.rpartition(":")[2])))
    await proxy.start()
    try:
        url = f"http://127.0.0.1:{proxy.port}"
        proxy.delay(0.2)
        example = await Example.start("parcel.py", url, sender, PASSWORD, courier, PASSWORD)
        await example.hears("request_package")
        await example.interrupted()
    finally:
        await proxy.close()
    package = re.findall(r"'packageId': '(\S+)'", example.said)[0]
    found = await stack.drained("select state from packages where id = $1 and ended_at is not null", package)
    assert found == [{"state": "cancelled"}]


GOING_ON = "select id from rides where area_id = 'readme' and ended_at is null"


async def test_the_two_who_talk_leave_the_rides_of_others_alone(stack: RunningStack) -> None:
    """And nothing of their own behind, though they are interrupted."""
    await the_city(stack)
    other, ride = await stack.person("passenger"), {"rideId": str(uuid.uuid4())}
    await does(stack, other.token, "request_ride", {**ride, **TRIP})
    try:
        said = await (await Example.start("outlive.py", stack.url, "3")).end()
        assert said.count("3 lines were acked, 3 heard: every line once and in order") == 2, said
        talking = await Example.start("outlive.py", stack.url)
        await stack.drained(f"{GOING_ON} and id in (select job_id from chat_messages)")
        await talking.interrupted()
    finally:
        await does(stack, other.token, "cancel_ride", ride)
    await stack.drained(f"select 1 where not exists ({GOING_ON})")


@pytest.mark.parametrize("name", ["driver.py", "passenger.py", "parcel.py", "sync.py"])
async def test_an_example_that_cannot_go_on_says_why(stack: RunningStack, name: str) -> None:
    assert "Arguments: URL" in await (await Example.start(name)).end(1)
    nobody = ["nobody@example.org", PASSWORD] * (2 if name == "parcel.py" else 1)
    said = await (await Example.start(name, stack.url, *nobody)).end(1)
    assert said.splitlines()[-1].endswith("Email or password is wrong.") and said.count("\n") == 1
    away = f"http://127.0.0.1:{free_port()}"
    said = await (await Example.start(name, away, *nobody)).end(1)
    assert said.startswith(f"No dispatch server answers at {away}: ") and said.count("\n") == 1


async def test_a_refused_parcel_ends_its_example(stack: RunningStack) -> None:
    login = [await register(stack.url, "passenger"), PASSWORD]
    said = await (await Example.start("parcel.py", stack.url, *login, *login)).end(1)
    assert said.splitlines()[-1].startswith("go_online was refused: go_online is for the role"), said
    assert "Traceback" not in said and "Unclosed" not in said


@pytest.mark.parametrize(("name", "role"), [("driver.py", "passenger"), ("passenger.py", "driver")])
async def test_an_example_that_is_refused_ends(stack: RunningStack, name: str, role: str) -> None:
    email = await register(stack.url, role)
    said = await (await Example.start(name, stack.url, email, PASSWORD)).end(1)
    assert re.search(rf"is for the role .*; yours is {role}\.$", said.splitlines()[-1]), said
    assert "Traceback" not in said and "Unclosed" not in said


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
