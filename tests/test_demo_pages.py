"""The demo's pages in a real browser against the real stack: a whole ride and a whole parcel, with the server killed
in the middle of each. No page writes an error, asks another host, or breaks its policy, and axe-core finds nothing
serious.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from html.parser import HTMLParser
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from loadtest.basemap import base_map
from server.chores import checked_area
from server.console.files import files, policy
from server.seed import demo_areas
from storage.areas import put_area
from storage.postgis import Database
from tests.browser import Chromium, View, Window, browser, let_in, narrow_enough
from tests.phones import accepted, phone
from tests.stack import RunningStack, kill_server, private_stack, start_server
from tests.support import CHECKOUT, SQL_TIMEOUT_S, fresh_database, wait_until

BASEMAP = CHECKOUT / "server" / "console" / "static" / "demo" / "arynov.json"
PHONE: dict[str, Any] = {"width": 390, "height": 844, "device_scale_factor": 2, "has_touch": True}
FAST_KMH = "160"


@pytest_asyncio.fixture(scope="module")
async def city() -> AsyncIterator[RunningStack]:
    """A stack with the demo's own city, where a ride is proved by a code."""
    with fresh_database() as url:
        database = await Database.open(url, size=1, timeout_s=SQL_TIMEOUT_S)
        for area in demo_areas("main"):
            area["properties"] |= {"policy": {"otp_required": True, "search_retry_s": 0.2}}
            await put_area(database, checked_area(area))
        await database.close()
        settings = {"DISPATCH_DEMO": "true", "DISPATCH_BASEMAP_FILE": str(BASEMAP)}
        async with private_stack(database_url=url, **settings) as stack:
            yield stack


@pytest_asyncio.fixture
async def chromium() -> AsyncIterator[Chromium]:
    async with browser() as running:
        yield running


async def set_speed(view: View) -> None:
    await view.frame.locator("#speed").evaluate(
        "(range, kmh) => { range.value = kmh; range.dispatchEvent(new Event('input')) }", FAST_KMH
    )


async def ask_and_take(passenger: View, driver: View) -> str:
    """A ride is asked for, offered and taken; its code."""
    await passenger.reads("#state", "Live")
    await passenger.assert_accessible()
    await driver.click("#online")
    await driver.reads("#line", "Waiting for work")
    await passenger.choose("#to", "Lantern Library")
    await passenger.reads("#choices", "min")
    await passenger.reads("#request", "Request Economy")
    await passenger.assert_accessible()
    await passenger.click("#request")
    await driver.reads("#offer", "Lantern Library")
    await driver.assert_accessible()
    await driver.click("text=Accept")
    await passenger.reads("#line", "is on the way to you")
    return str(await passenger.knows("job.code"))


async def drive_with_code(passenger: View, driver: View, code: str, console: Window) -> None:
    """From the pickup to the end; the code is told wrongly first."""
    await driver.click("#next")
    await passenger.reads("#line", "is here")
    await driver.reads("#line", "Wait for")
    await driver.fill("#code", "0")
    await driver.click("#next")
    await driver.reads("#refused", "The code is wrong.")
    await driver.fill("#code", code)
    await driver.click("#next")
    await passenger.reads("#line", "On the way to Lantern Library")
    await shows(console, "ride", "in_progress")
    await driver.click("#way")
    await driver.click("#next")
    await passenger.reads("#line", "You have arrived")
    await passenger.assert_accessible()
    await driver.assert_accessible()


async def rate(view: View, stars: int) -> None:
    await view.frame.locator(".star").nth(stars - 1).click()
    await view.click("text=Send rating")
    await view.reads(".thanks", "Your rating is kept.")


async def watching(city: RunningStack, chromium: Chromium) -> Window:
    """The console's live map, as an administrator has it open."""
    admin = await city.person("admin")
    window = await chromium.window(city.url, "/console/map")
    await let_in(window, admin.id, admin.name, admin.token)
    await window.reads(".panel .state", "Live")
    return window


@asynccontextmanager
async def server_away(*windows: Window) -> AsyncIterator[None]:
    """What their pages write of it is no fault, until the server is there again and they have found it."""
    for window in windows:
        window.server_may_be_away = True
    yield
    for window in windows:
        for frame in window.page.frames:
            if await frame.locator("#state, .panel .state").count():
                await View(frame).reads("#state, .panel .state", "Live")
        window.server_may_be_away = False


async def shows(console: Window, kind: str, state: str) -> None:
    """The live map has a job of this kind in this state; with an empty one, none at all."""
    jobs = f"[...window.aryvCity.city.jobs.values()].filter((job) => job.kind === '{kind}').map((job) => job.state)"

    async def so() -> bool:
        states = await console.frame.evaluate(jobs)
        return state in states if state else not states

    await wait_until(so, 20.0)


async def test_a_ride_survives_the_death_of_the_server(city: RunningStack, chromium: Chromium) -> None:
    console = await watching(city, chromium)
    window = await chromium.window(city.url, "/demo/ride", width=1440, height=860, motion=True)
    await window.assert_accessible()
    passenger, driver = window.inside("/demo/passenger"), window.inside("/demo/driver")
    code = await ask_and_take(passenger, driver)
    await shows(console, "ride", "assigned")
    await driver.click("#way")
    await passenger.say("I am at the blue door.")
    await driver.reads(".lines", "I am at the blue door.")
    await driver.say("One minute.")
    await passenger.reads(".lines", "One minute.")
    await passenger.knows("job.position")
    await window.picture("demo-ride")
    await passenger.assert_accessible()
    await passenger.say("<img src=x onerror=alert(1)>")
    await driver.reads(".lines", "<img src=x onerror=alert(1)>")
    await set_speed(driver)

    async with server_away(window, console):
        await kill_server(city)
        await passenger.reads("#state", "Connecting")
        await passenger.say("Are you still there?")
        await passenger.reads(".lines", "sending")
        start_server(city)
    await driver.reads(".lines", "Are you still there?")
    await driver.say("Always.")
    await passenger.reads(".lines", "Always.")
    await passenger.reads("#state", "Live")

    await window.page.reload()  # both apps are opened anew, and know all of it again
    passenger, driver = window.inside("/demo/passenger"), window.inside("/demo/driver")
    for view in (passenger, driver):
        await view.reads(".lines", "I am at the blue door.")
        await view.reads(".lines", "Always.")
    await driver.knows("aryv.shift")
    await drive_with_code(passenger, driver, code, console)
    await shows(console, "ride", "")
    await rate(passenger, 5)
    await rate(driver, 4)
    await window.assert_clean()
    await console.assert_clean()

    (ride,) = await city.drained("select id, state from rides where state = 'completed'")
    stars = await city.rows("select rating from reviews where job_id = $1 order by rating", ride["id"])
    assert [row["rating"] for row in stars] == [4, 5]
    lines = await city.rows("select text from chat_messages where job_id = $1 order by sent_at", ride["id"])
    said = ["I am at the blue door.", "One minute.", "<img src=x onerror=alert(1)>"]
    assert [row["text"] for row in lines] == [*said, "Are you still there?", "Always."]


async def test_a_parcel_on_two_phones_by_itself(city: RunningStack, chromium: Chromium) -> None:
    """The courier takes it, drives and asks by itself; his code comes over the chat."""
    console = await watching(city, chromium)
    sender = await chromium.window(city.url, "/demo/sender", **PHONE)
    courier = await chromium.window(city.url, "/demo/courier", **PHONE, color_scheme="dark")
    await courier.reads("#state", "Live")
    await set_speed(courier)
    await courier.frame.check("#self")
    await courier.click("#online")
    await courier.reads("#line", "Waiting for work")

    await sender.reads("#state", "Live")
    await sender.click("#toHere")  # the middle of the map, a corner away from where the trip begins
    await sender.reads("#to", "Avenue")
    await sender.reads("#request", "Send")
    await sender.assert_accessible()
    await sender.click("#request")
    await courier.reads("#line", "Drive to")
    await sender.reads("#line", "is on the way to the pickup")
    await shows(console, "package", "assigned")
    async with server_away(sender, courier, console):
        await kill_server(city)
        await sender.reads("#state", "Connecting")
        start_server(city)
    await sender.reads("#line", "Your parcel is on the way")
    await sender.knows("job.position")
    await sender.picture("demo-sender-phone")
    await courier.picture("demo-courier-phone")
    await courier.assert_accessible()
    code = await sender.knows("job.code")
    await sender.reads("#line", "is at the door")
    await shows(console, "package", "arrived_dropoff")
    await sender.say(f"The code is {code}.")
    await sender.reads("#line", "Delivered")
    await sender.assert_accessible()
    await sender.assert_clean()
    await courier.assert_clean()
    await shows(console, "package", "")
    await console.assert_clean()
    assert await city.drained("select 1 from packages where state = 'delivered'")


async def test_a_ride_by_keyboard_and_a_car_by_mouse(city: RunningStack, chromium: Chromium) -> None:
    passenger = await chromium.window(city.url, "/demo/passenger")
    driver = await chromium.window(city.url, "/demo/driver", color_scheme="dark")
    await driver.reads("#state", "Live")
    await driver.press("#online", "Enter")
    await driver.reads("#line", "Waiting for work")
    await passenger.reads("#state", "Live")
    await passenger.press("#to", "G")  # to the first place of this letter
    await passenger.reads("#request", "Request")
    await passenger.picture("demo-passenger")
    await passenger.press("#request", "Enter")
    await driver.reads("#offer", "Glass Theatre")
    await driver.page.keyboard.press("Enter")  # the offer has the focus
    await passenger.reads("#line", "is on the way")
    await driver.reads("#line", "Drive to")  # its map has turned to the pickup, and stands still from here on

    await driver.press("#map", "ArrowUp")
    before = await passenger.knows("job.position?.latitude")
    box = await driver.frame.locator(".vehicle.own").bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    await driver.page.mouse.move(x, y)
    await driver.page.mouse.down()
    await driver.page.mouse.move(x, y + 60, steps=6)
    await driver.page.mouse.up()
    await passenger.knows(f"job.position.latitude < {before} - 0.0001 || null")
    await passenger.press("#cancel", "Enter")
    await passenger.reads("#line", "Cancelled")
    await driver.reads("#line", "Waiting for work")
    await driver.assert_accessible()
    await passenger.assert_clean()
    await driver.assert_clean()


async def test_the_car_is_there_as_soon_as_it_is_on_the_way(city: RunningStack, chromium: Chromium) -> None:
    """With the first that its driver says after he has accepted, though he has not moved."""
    async with phone(city, "driver") as driver:
        passenger = await chromium.window(city.url, "/demo/passenger")
        await passenger.reads("#state", "Live")
        await passenger.choose("#to", "Lantern Library")
        await passenger.reads("#request", "Request")
        await passenger.click("#request")
        pickup = await passenger.knows("job.pickup")
        place = {name: pickup[name] for name in ("latitude", "longitude")}
        await driver.call("go_online", {"classes": ["economy"], **place})
        await accepted(driver, await passenger.knows("job.id"))
        await passenger.reads("#line", "is on the way")
        await driver.call("location_update", place)
        await passenger.knows("job.position")
        await wait_until(lambda: passenger.frame.locator(".vehicle.car").is_visible())
        await passenger.click("#cancel")
        await passenger.reads("#line", "Cancelled")
        await passenger.assert_clean()


async def test_a_parcel_side_by_side(city: RunningStack, chromium: Chromium) -> None:
    window = await chromium.window(city.url, "/demo/parcel", width=1440, height=860)
    await window.assert_accessible()
    for path in ("/demo/sender", "/demo/courier"):
        await window.inside(path).reads("#state", "Live")
        assert await narrow_enough(window.inside(path)), path
    assert await narrow_enough(window)
    await window.assert_clean()


async def test_the_first_page_leads_everywhere(city: RunningStack, chromium: Chromium) -> None:
    window = await chromium.window(city.url, "/demo")
    await window.assert_accessible()
    links = await window.frame.eval_on_selector_all("main a", "all => all.map((a) => a.getAttribute('href'))")
    assert len(links) == 7 and "/console" in links
    for path in links:
        assert (await city.http("GET", path))[0] == 200, path
    await window.assert_clean()


async def test_the_bare_address_leads_to_the_first_page(city: RunningStack) -> None:
    pages = [await city.http("GET", path) for path in ("/demo", "/demo/", "/")]
    assert pages == [pages[0]] * 3 and "One city, both sides of it" in pages[0][1]


async def test_without_the_setting_there_is_no_demo(stack: RunningStack) -> None:
    for method, path in (
        ("GET", "/demo"),
        ("GET", "/demo/"),
        ("GET", "/demo/driver"),
        ("POST", "/api/demo/people"),
    ):
        status, text = await stack.http(method, path)
        assert status == 404 and "DISPATCH_DEMO" in text, path
    status, text = await stack.http("GET", "/")
    assert status == 200 and "dispatch server" in text


async def test_a_part_is_sent_once(city: RunningStack) -> None:
    """A browser that has it is told so; what lies beside static/ cannot be asked for."""
    tag = files()["ui/base.css"].tag
    status, text = await city.http("GET", "/assets/ui/base.css", headers={"If-None-Match": tag})
    assert (status, text) == (304, "")
    for path in ("/assets/ui/..%2F..%2Ffiles.py", "/assets/demo/ride.html", "/assets/ui/nothing.css"):
        assert (await city.http("GET", path))[0] == 404, path


def test_maps_show_the_streets_that_vehicles_drive_on() -> None:

    assert json.loads(BASEMAP.read_text()) == base_map(), "print it again: python -m loadtest.basemap"


async def test_a_page_may_ask_this_server_only(city: RunningStack) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{city.url}/demo") as answer,
    ):
        rules = dict(rule.split(" ", 1) for rule in answer.headers["Content-Security-Policy"].split("; "))
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert rules.pop("default-src") == "'none'"
    assert {source for sources in rules.values() for source in sources.split()} == {"'self'", "'none'"}
    with_tiles = policy("https://tiles.example.org:8443/{z}/{x}/{y}.png")
    assert "img-src 'self' data: https://tiles.example.org:8443; connect-src 'self';" in with_tiles


async def test_the_people_of_the_demo_are_what_they_are_asked_to_be(city: RunningStack) -> None:
    for role in ("passenger", "driver", "courier"):
        status, text = await city.http("POST", "/api/demo/people", json={"role": role})
        made = json.loads(text)["data"]
        assert (status, made["user"]["role"]) == (201, role)
        status, text = await city.http("GET", "/api/auth/profile", made["accessToken"])
        assert (status, json.loads(text)["data"]["role"]) == (200, role)
    assert (await city.http("POST", "/api/demo/people", json={"role": "admin"}))[0] == 400


def test_what_is_vendored_has_its_licence_and_is_what_was_published() -> None:
    vendor = BASEMAP.parents[1] / "vendor"
    table = (vendor / "README.md").read_text()
    own = {"README.md", "socket.io.esm.min.d.ts"}
    rows = [line.split(" | ") for line in table.splitlines() if line.startswith("| `")]
    files_of = {name: row for row in rows for name in re.findall(r"`(\S+)`", f"{row[0]} {row[2]}")}
    assert set(files_of) == {path.name for path in vendor.iterdir()} - own
    for name, row in files_of.items():
        assert hashlib.sha256((vendor / name).read_bytes()).hexdigest() in row[3], f"{name} was changed"
    licences = {
        "MIT": "Permission is hereby granted",
        "BSD-2-Clause": "Redistribution and use",
        "OFL-1.1": "SIL OPEN FONT LICENSE",
    }
    for _, _, licence, _ in rows:
        kind, file = re.findall(r"([\w.-]+), `(\S+)`", licence)[0]
        assert licences[kind] in (vendor / file).read_text(), licence
    published = CHECKOUT / "tests/js/node_modules/socket.io-client/dist/socket.io.esm.min.js"
    as_here = (vendor / "socket.io.esm.min.js").read_text()
    assert published.read_text().partition("//# sourceMappingURL")[0] == as_here


class Markup(HTMLParser):
    """Elements and attributes that its policy would not let a page have."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.forbidden: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = {name for name, _ in attrs}
        self.forbidden += [f"{tag} {name}" for name in names if name.startswith("on") or name == "style"]
        if tag == "style" or (tag == "script" and "src" not in names):
            self.forbidden.append(tag)


@pytest.mark.parametrize("name", sorted(name for name in files() if name.endswith(".html")))
def test_no_page_has_script_or_style_of_its_own(name: str) -> None:
    assert Markup(files()[name].body.decode()).forbidden == []
