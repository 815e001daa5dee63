"""The live map in a real browser against the real stack: a ride from its request to its end among a city's drivers, on
a screen and on a phone; a missed frame heals; no error, no other host, no broken policy, no serious fault."""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from server.seed import seed
from server.settings import Settings
from tests.browser import Chromium, Window, narrow_enough
from tests.phones import accepted, online, phone, request
from tests.stack import Person, RunningStack, Spot, private_stack
from tests.support import CHECKOUT, fresh_database, wait_until
from tests.test_console_pages import PHONE, chromium, logged_in

__all__ = ["chromium"]
BASEMAP = CHECKOUT / "server" / "console" / "static" / "demo" / "arynov.json"
DRIVERS, RIDES, ASSIGNED = 70, 22, 14
HERE = Spot(49.9935, 36.2304)

City = tuple[RunningStack, str]


def corners() -> list[tuple[float, float]]:
    """Places on the streets of the demo's city, (latitude, longitude)."""
    lines = [f for f in json.loads(BASEMAP.read_text())["features"] if f["geometry"]["type"] == "LineString"]
    return [(lat, lng) for line in lines for lng, lat in line["geometry"]["coordinates"]]


async def told(stack: RunningStack, who: Person, event: str, **body: Any) -> None:
    status, text = await stack.http("POST", f"/api/commands/{event}", who.token, json=body)
    assert status == 200, f"{event}: {text}"


async def _assign(stack: RunningStack, admin: Person, ride: str, drivers: list[Person]) -> None:
    """To the first who is free of other offers."""
    while drivers:
        body = {"rideId": ride, "driverId": drivers.pop().id, "reason": "A full map"}
        status, _ = await stack.http("POST", "/api/commands/assign_job", admin.token, json=body)
        if status == 200:
            return


@pytest_asyncio.fixture(scope="module")
async def city() -> AsyncIterator[City]:
    """The demo's city with drivers who wait, drive and are asked; and the password of its administrator."""
    rng = random.Random(7)
    with fresh_database() as url:
        said = await seed(Settings(database_url=url, bcrypt_cost=4))
        password = next(line.split()[2] for line in said.splitlines() if line.split()[:1] == ["admin"])
        async with private_stack(database_url=url, DISPATCH_BASEMAP_FILE=str(BASEMAP)) as stack:
            await stack.rows("delete from areas where id not like 'arynov%' returning 1")
            places = [
                dict(zip(("latitude", "longitude"), at, strict=True)) for at in rng.choices(corners(), k=400)
            ]
            drivers, couriers = await stack.people("driver", DRIVERS - 15), await stack.people("courier", 15)
            people = await stack.people("passenger", RIDES)
            admin = await stack.person("admin")
            carriers = [*drivers, *couriers]
            stood: dict[str, dict[str, float]] = {}
            for who in carriers:
                classes = ["economy"] if who.role == "driver" else ["parcel"]
                stood[who.id] = places.pop()
                await told(stack, who, "go_online", classes=classes, **stood[who.id])
            for who in people:
                trip = {"pickup": places.pop(), "dropoff": places.pop()}
                ride = f"00000000-0000-7000-8000-{people.index(who):012d}"
                await told(stack, who, "request_ride", rideId=ride, **trip, **{"class": "economy"})
                if people.index(who) < ASSIGNED:
                    await _assign(stack, admin, ride, drivers)
            for who in carriers:
                where = {**stood[who.id], "heading": rng.randrange(360)}
                where["latitude"] += 1e-4  # far enough to count as driven
                await told(stack, who, "location_update", **where)
            yield stack, password


async def knows(window: Window, expression: str) -> Any:
    script = f"() => {{ const {{ city, layer, map }} = window.aryvCity; return ({expression}) ?? null; }}"
    try:
        return await wait_until(lambda: window.frame.evaluate(script), 15.0)
    except pytest.fail.Exception:
        pytest.fail(f"The map does not come to know: {expression}")


async def click_at(window: Window, place: str) -> None:
    """With the mouse, on the canvas, where this place is drawn; the map is moved so that nothing lies upon it."""
    at = await knows(
        window,
        f"(map.leaflet.setView({place}, 17, {{ animate: false }}), map.leaflet.panBy([0, 60], {{ animate: false }}),"
        f" map.leaflet.latLngToContainerPoint({place}))",
    )
    box = await window.frame.locator(".ground").bounding_box()
    assert box is not None
    await window.page.mouse.click(box["x"] + at["x"], box["y"] + at["y"])


async def test_a_ride_on_the_live_map(city: City, chromium: Chromium) -> None:
    stack, _ = city
    async with phone(stack, "driver") as driver, phone(stack, "passenger") as passenger:
        window = await logged_in(chromium, city, "map", width=1440, height=900)
        await window.reads(".panel .state", "Live")
        await knows(window, f"city.vehicles.size >= {DRIVERS - 5}")
        # of a class of their own: nobody else's ride is offered to him
        await online(driver, HERE.at(60.0), ("comfort",))
        him = driver.person.id
        await knows(window, f"city.vehicles.get('{him}')?.state === 0 && city.vehicles.get('{him}').placed")
        ride = await request(passenger, HERE, **{"class": "comfort"})
        await knows(window, f"city.jobs.get('{ride}')?.offeredTo")
        await accepted(driver, ride)
        await window.fill("#q", ride)
        await window.click(".found .line")
        await window.reads(".told", "Assigned")
        await window.reads(".told", driver.person.name)
        await driver.call("location_update", {**HERE.at(30.0), "heading": 180})
        await knows(window, f"Math.abs(city.vehicles.get('{him}').lat - {HERE.at(30.0)['latitude']}) < 1e-4")
        await window.reads(".told .happened", "Driver assigned")
        await driver.call("location_update", {**HERE.at(45.0), "heading": 180})
        await window.reads(".told", "Arrives in")
        await knows(window, "layer.trail.length > 1 || null")
        for end in ("pickup", "dropoff"):
            await click_at(window, f"city.jobs.get('{ride}').{end}")
            await window.reads(".told h2", "Ride")
        await click_at(window, f"[city.vehicles.get('{him}').lat, city.vehicles.get('{him}').lng]")
        await window.reads(".told h2", driver.person.name)
        await window.reads(".told", "Carries")
        await window.click(".told dd .link")
        await window.reads(".told h2", "Ride")
        await window.assert_accessible()
        await window.fill("#q", "")
        await wait_until(lambda: window.frame.locator(".found .line").count())
        await window.frame.evaluate(
            f"window.aryvCity.map.leaflet.setView([{HERE.latitude}, {HERE.longitude}], 14.5, {{ animate: false }})"
        )
        await window.picture("console-map")
        # a frame that never came, and soon another: each time the page asks for the city anew, and knows it again
        for _ in range(2):
            await window.frame.evaluate(
                "window.aryvCity.city.jobs.clear(), window.aryvCity.city.hear({ n: -1, atMs: 1 }, false)"
            )
            await knows(window, f"city.jobs.get('{ride}')?.state === 'assigned'")
        await passenger.call("cancel_ride", {"rideId": ride})
        await window.reads(".told", "Over")
        await driver.call("go_offline")
        await knows(window, f"!city.vehicles.has('{him}')")
        await window.click("text='On a job'")
        assert await knows(window, "!layer.states.has(2)")
        await window.assert_clean()


async def test_areas_and_heat(city: City, chromium: Chromium) -> None:
    stack, _ = city
    admin = await stack.person("admin")
    window = await logged_in(chromium, city, "map", width=1440, height=900)
    await window.reads(".areas", "Arynov Station")
    await window.click(".areaName >> text='Arynov Station'")
    await window.reads(".told h2", "Arynov Station")
    await window.reads(".told", "Economy")
    await told(stack, admin, "pause_area", areaId="arynov-station", reason="A full map")
    await window.reads(".told", "Paused")
    await window.reads(".areas .pill", "Paused")
    await wait_until(lambda: window.frame.locator(".areaName.paused").count())
    # where nothing else is, a click is on the smallest area that is there
    await click_at(window, "[50.0286, 36.2779]")
    await window.reads(".told h2", "Arynov")
    await window.reads(".told", "Open")

    await window.press(".toggle:has-text('Heat')", "Enter")
    await window.reads(".legend", "More asked for than drivers are free")
    await window.reads(".legend [role=status]", "no surge")
    await window.frame.locator(".legend select").select_option("package")
    await window.reads(".legend [role=status]", "parcels wait")
    await window.frame.locator(".legend select").select_option("ride")
    await window.reads(".legend [role=status]", "rides wait")
    await knows(window, "layer.heat.length > 0 || null")
    await window.assert_accessible()
    await window.frame.evaluate(
        "(({ map }) => map.leaflet.fitBounds(window.L.geoJSON(map.areas[0]).getBounds(), { animate: false }))"
        "(window.aryvCity)"
    )
    await window.picture("console-heat")
    # what cannot be read is said, and nothing is left that would look like a calm city
    window.server_may_be_away = True
    await window.page.route("**/api/admin/heat*", lambda route: route.abort("connectionrefused"))
    await window.click(".toggle:has-text('Heat')")
    await window.click(".toggle:has-text('Heat')")
    await window.reads(".legend .refused", "The heat cannot be read")
    window.server_may_be_away = False
    assert await window.frame.evaluate("window.aryvCity.layer.heat.length") == 0
    await told(stack, admin, "resume_area", areaId="arynov-station", reason="A full map")
    await window.assert_clean()


async def test_who_may_watch_no_more_is_asked_to_log_in(city: City, chromium: Chromium) -> None:
    stack, _ = city
    window = await logged_in(chromium, city, "map")
    await window.reads(".panel .state", "Live")
    window.may_be_refused = window.server_may_be_away = True
    await stack.rows("update sessions set revoked_at = now() where revoked_at is null returning 1")
    await window.reads("#loginRefused", "Your login has ended")
    assert await window.frame.locator("#shell").is_hidden()
    await window.assert_clean()


async def test_the_map_on_a_phone_in_the_dark(city: City, chromium: Chromium) -> None:
    window = await logged_in(chromium, city, "map", **PHONE, color_scheme="dark")
    await window.reads(".panel .state", "Live")
    await knows(window, "city.jobs.size > 10")
    await window.press(".found .line >> nth=0", "Enter")
    await window.reads(".told", "Everything about it")
    await window.reads(".jobKey", "Held: a person must look")
    assert await narrow_enough(window)
    await window.assert_accessible()
    assert await window.frame.evaluate(
        "document.querySelector('.told').getBoundingClientRect().top < innerHeight"
    )
    # the list is told anew each second, and pulls nobody back to where he stood in it
    before = await window.frame.evaluate("scrollTo(0, 0), document.querySelector('.found').textContent")
    await knows(window, f"document.querySelector('.found').textContent !== {json.dumps(before)} || null")
    assert await window.frame.evaluate("scrollY") == 0
    await window.picture("console-map-phone")
    # another page ends the feed
    await window.click("#nav a[data-page=health]")
    await window.reads(".page h1", "Health")
    assert await window.frame.evaluate("!window.aryvCity.city.connected")
    await window.assert_clean()
