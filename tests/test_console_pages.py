"""The console's pages in a real browser against the real stack: what an operator does with people, jobs and areas, each
told in the audit log. No page writes an error, asks another host, or breaks its policy; axe-core finds nothing serious.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest_asyncio

from server.seed import seed
from server.settings import Settings
from tests.browser import Chromium, Window, browser, narrow_enough
from tests.phones import Phone, accepted, assigned_ride, new_id, online, phone, request
from tests.stack import RunningStack, Spot, private_stack
from tests.support import fresh_database, wait_until

PHONE: dict[str, Any] = {"width": 390, "height": 844, "device_scale_factor": 2, "has_touch": True}
WHY = "Asked for by phone"
PAGES = {
    "health": "Health", "figures": "Figures", "rides": "Rides", "packages": "Parcels", "replay": "Trip replay",
    "drivers": "Drivers", "users": "People", "areas": "Areas", "letters": "Dead letters", "audit": "Audit log",
}  # fmt: skip
#: What the audit log says of the first test below, beside its driver's name.
DID = ("Cancelled", "Blocked", "Edited", "Took from its driver", "Arynov Station", "policy.offer_s",
       "status: active → suspended", "Vera Lindgren")  # fmt: skip
#: A day of a small city, made of one finished ride: so many requests in each of the last 48 hours.
A_DAY = """
insert into rides (NAMES) select NAMES from (select (jsonb_populate_record(r, jsonb_build_object(
    'id', gen_random_uuid(), 'created_at', at, 'searching_at', at, 'route', null,
    'assigned_at', case when n % 9 > 0 then at + make_interval(secs => 14 + n % 40) end,
    'driver_id', case when n % 9 > 0 then r.driver_id end,
    'area_id', case n % 4 when 0 then 'arynov-station' else 'arynov' end, 'fare_minor', 500 + 37 * (n % 30),
    'state', case when n % 9 = 0 then 'no_driver' when n % 13 = 0 then 'cancelled' else 'completed' end,
    'ended_at', at + interval '15 minutes'))).*
  from rides r,
       (select n, now() - make_interval(hours => hour::int, mins => n % 55) as at
          from unnest($1::int[]) with ordinality as h (count, hour), generate_series(1, h.count) n) t
 where r.id = (select id from rides where state = 'completed' order by id limit 1)) made
"""


@pytest_asyncio.fixture(scope="module")
async def city() -> AsyncIterator[tuple[RunningStack, str]]:
    """A stack with the demo's past, and the password of its administrator."""
    with fresh_database() as url:
        said = await seed(Settings(database_url=url, bcrypt_cost=4))
        password = next(line.split()[2] for line in said.splitlines() if line.split()[:1] == ["admin"])
        async with private_stack(database_url=url) as stack:
            counts = [round(9 + 7 * math.sin((hour - 4) / 24 * 2 * math.pi)) for hour in range(48)]
            columns = await stack.rows(
                "select column_name as name from information_schema.columns where table_name = 'rides'"
                " and is_generated = 'NEVER' order by ordinal_position"
            )
            names = ", ".join(column["name"] for column in columns)
            await stack.rows(A_DAY.replace("NAMES", names), counts)
            yield stack, password


@pytest_asyncio.fixture
async def chromium() -> AsyncIterator[Chromium]:
    async with browser() as running:
        yield running


async def logged_in(chromium: Chromium, city: tuple[RunningStack, str], page: str, **more: Any) -> Window:
    stack, password = city
    window = await chromium.window(stack.url, f"/console/{page}", **more)
    await window.fill("#email", "admin@arynov.example")
    await window.fill("#password", password)
    await window.click("#login button")
    await window.reads("#who", "Vera Lindgren")
    return window


async def turn_to(window: Window, page: str, title: str) -> None:
    await window.click(f"#nav a[data-page={page}]")
    await window.reads(".page h1", title)


async def search(window: Window, text: str, row: str) -> None:
    await window.fill("#q", text)
    await window.reads("tbody", row)
    await wait_until(lambda: _lines(window, 1))


async def _lines(window: Window, count: int) -> bool:
    return await window.frame.locator("tbody tr").count() == count


async def do(window: Window, action: str, reason: str = WHY) -> None:
    """What the open story offers, with a reason."""
    await window.click(f"#story .actions >> text='{action}'")
    await window.fill("#reason", reason)
    await window.click("#ask button[type=submit]")


async def drive_about(driver: Phone, spot: Spot) -> None:
    """For two minutes, so that the picture has something to show."""
    started = time.monotonic()
    north = itertools.count(100)

    async def long_enough() -> bool:
        for _ in range(round(2 + 1.5 * math.sin(time.monotonic() / 9))):
            await driver.ask("location_update", {**spot.at(float(next(north))), "heading": 0, "speed": 8})
        return time.monotonic() - started > 110

    await wait_until(long_enough, 130.0, every_s=0.4)


async def pass_on_and_cancel(window: Window, driver: Phone) -> None:
    """The open story's ride: taken from its driver, given to him again, and ended."""
    await do(window, "Unassign")
    await window.reads("tbody", "Searching")
    await window.click("tbody .opens")
    await window.click("#story .actions >> text='Assign by hand'")
    await window.reads("#driverId", driver.person.name)
    await window.fill("#driverQ", "nobody of this name")
    await window.reads("#driverId", "Nobody who is online")
    await window.fill("#driverQ", driver.person.name)
    await window.reads("#driverId", driver.person.name)
    await window.assert_accessible()
    await window.frame.select_option("#driverId", driver.person.id)
    await window.fill("#reason", WHY)
    await window.click("#ask button[type=submit]")
    await window.reads("tbody", "Assigned")
    await window.click("tbody .opens")
    await window.click("#story .actions >> text='Cancel'")
    await window.reads("#askTitle", "Cancel this ride?")
    await window.reads("#ask .row", "Keep it")
    await window.fill("#reason", WHY)
    await window.click("#ask >> text='Cancel ride'")


async def edit_the_station(window: Window) -> None:
    """First to what makes no sense, then to what does."""
    await turn_to(window, "areas", "Areas")
    await window.fill("#q", "arynov-station")
    await window.reads("tbody", "Arynov Station")
    await window.click("text='Arynov Station'")
    await window.click("text='Edit policy'")
    window.may_be_refused = True
    await window.fill("#policy", '{"offer_s": -1}')
    await window.fill("#reason", WHY)
    await window.click("#ask button[type=submit]")
    await window.reads("#ask .refused", "The policy cannot be: offer_s must be at least 0.01.")
    await window.assert_accessible()
    window.may_be_refused = False
    await window.fill("#policy", '{"offer_s": 20}')
    await window.click("#ask button[type=submit]")
    await window.reads("tbody", "Offer s")


async def test_what_an_operator_does(city: tuple[RunningStack, str], chromium: Chromium) -> None:
    stack, _ = city
    spot = stack.spot()
    async with phone(stack, "passenger") as passenger, phone(stack, "driver") as driver:
        await online(driver, spot.at(100.0))
        ride = await request(passenger, spot)
        await accepted(driver, ride)
        await stack.drained("select 1 from rides where id = $1 and state = 'assigned'", ride)
        window = await logged_in(chromium, city, "health", width=1440, height=900)
        await window.reads(".state", "All is well")
        await window.reads("tbody", "Alive")
        await wait_until(lambda: window.frame.locator("tbody td:has-text('ms')").count(), 15.0)
        await window.assert_accessible()
        if os.environ.get("PICTURES"):
            await drive_about(driver, spot)
        await window.picture("console-health")

        await turn_to(window, "rides", "Rides")
        await search(window, ride, "Assigned")
        await window.click("tbody .opens")
        await window.assert_accessible()
        await window.picture("console-ride")
        await pass_on_and_cancel(window, driver)
        assert (await passenger.status("cancelled"))["reason"] == WHY
        await window.reads("#toast", "The ride is cancelled.")
        await window.reads("tbody", "Cancelled")

        await turn_to(window, "users", "People")
        await search(window, driver.person.id, driver.person.name)
        await window.press("tbody .opens", "Enter")
        await do(window, "Block")
        await driver.hears("error", code="unauthenticated")
        await wait_until(lambda: not driver.sio.connected, 10.0)
        await window.reads("tbody", "Blocked")

        await edit_the_station(window)
        await turn_to(window, "audit", "Audit log")
        for said in (*DID, driver.person.name, WHY):
            await window.reads("tbody", said)
        await window.assert_accessible()
        await window.picture("console-audit")
        await window.assert_clean()
    about = [ride, driver.person.id, "arynov-station"]
    lines = await stack.rows("select action from audit_log where subject_id = any($1) order by action", about)
    assert [line["action"] for line in lines] == [
        "areas edit",
        "jobs assign",
        "jobs cancel",
        "jobs unassign",
        "users block",
    ]


async def letter(stack: RunningStack, state: str) -> str:
    """An offer in this state that PostgreSQL refused; its id."""
    offer = {"id": f"{new_id()}.1", "shard": "main", "job_id": new_id(), "kind": "ride", "driver_id": new_id(),
             "made_ms": 1000, "deadline_ms": 2000, "seen_ms": 0, "ended_ms": 3000, "distance_m": 1.0, "eta_s": 2.0,
             "reason": "", "version": 1, "life": "l", "committed_ms": 4000, "state": state}  # fmt: skip
    (row,) = await stack.rows(
        "insert into dead_letters (shard, life, stream, entry_id, item, target, sqlstate, reason, content)"
        " values ('main', 'l', 'facts', $1, 1, 'offers', '23514', 'a check', $2) returning id",
        new_id(), json.dumps(offer).encode(),
    )  # fmt: skip
    return str(row["id"])


async def act(window: Window, action: str, after: str, toast: str) -> None:
    """On the only row: opened, done, told, and seen in the table."""
    await window.click("tbody .opens")
    await do(window, action)
    await window.reads("#toast", toast)
    await window.reads(".card:has(tbody)", after)


async def see_a_held_ride_through(window: Window, stack: RunningStack, ride: str, driver: Phone) -> None:
    await turn_to(window, "rides", "Rides")
    await search(window, ride, "Held")
    await act(window, "Let it go on", "Assigned", "The ride goes on.")
    for status in ("arrived", "in_progress"):
        await driver.call("ride_status_update", {"rideId": ride, "status": status})
    await stack.drained("select 1 from rides where id = $1 and state = 'in_progress'", ride)
    await window.click("#refresh")
    await window.reads("tbody", "In progress")
    await act(window, "Complete", "Completed", "The ride is completed.")
    await by_area(window)
    await turn_to(window, "drivers", "Drivers")
    await search(window, driver.person.id, driver.person.name)
    await by_area(window)
    await window.click("tbody .opens")
    await window.reads("#story .past", "with 1 job")
    assert ride in str(await window.frame.get_attribute("#story .past li a", "href"))
    await window.assert_accessible()
    await window.click("#story [aria-label=Close]")


async def by_area(window: Window) -> None:
    await window.choose("[name=area]", "Arynov")
    await window.reads(".note", "Nothing that fits")
    await window.choose("[name=area]", "plain")
    await wait_until(lambda: _lines(window, 1))


async def test_all_else_an_operator_does(city: tuple[RunningStack, str], chromium: Chromium) -> None:
    """Lift a hold, complete, unblock, keep apart, pause and price an area, and clear away dead letters."""
    stack, _ = city
    good, bad = await letter(stack, "lost"), await letter(stack, "flying")
    async with phone(stack, "passenger") as passenger, phone(stack, "driver") as driver:
        ride = await assigned_ride(passenger, driver, stack.spot())
        await passenger.call("sync", {"jobs": [[ride, 99]]})  # he has seen more than we know
        await stack.drained("select 1 from rides where id = $1 and needs_person <> ''", ride)
        window = await logged_in(chromium, city, "health", width=1440, height=900)
        await window.frame.focus(".figures a")
        path = "document.querySelector('.plot .path')?.getAttribute('d')"
        await wait_until(lambda: window.frame.evaluate(f"!!{path}"), 15.0)
        before = await window.frame.evaluate(path)
        await wait_until(lambda: window.frame.evaluate(f"{path} !== {json.dumps(before)}"), 15.0)
        assert (
            await window.frame.evaluate("document.activeElement.href ?? ''") == f"{stack.url}/console/letters"
        )
        await see_a_held_ride_through(window, stack, ride, driver)
        await passenger.status("completed")

        await turn_to(window, "users", "People")
        await search(window, passenger.person.id, passenger.person.name)
        await act(window, "Block", "Blocked", "is blocked.")
        await act(window, "Unblock", "Active", "is let in again.")
        await window.click("tbody .opens")
        await window.click("#story .actions >> text='Keep apart'")
        await window.fill("#otherId", driver.person.id)
        await window.fill("#reason", WHY)
        await window.click("#ask button[type=submit]")
        await window.reads("#toast", "They are kept apart.")

        await turn_to(window, "areas", "Areas")
        await window.frame.evaluate("new Promise((done) => setTimeout(done, 2_000))")
        assert window.page.url.endswith("/console/areas"), "the page before has looked once more"
        await search(window, "halted", "Open")
        await act(window, "Pause", "Paused", "halted is paused.")
        await act(window, "Resume", "Open", "halted is open.")
        await window.click("tbody .opens")
        await window.click("text='Edit prices'")
        await window.fill("#prices", '{"parcel_per_km_minor": 77}')
        await window.fill("#reason", WHY)
        await window.click("#ask button[type=submit]")
        await window.reads("#toast", "halted is at version")

        await turn_to(window, "letters", "Dead letters")
        await search(window, good, "Offers")
        await act(window, "Try again", "Nothing that fits", "It is written.")
        await search(window, bad, "Offers")
        await act(window, "Try again", "offers_state", "It is refused still")
        await act(window, "Discard", "Nothing that fits", "It is gone.")

        await turn_to(window, "audit", "Audit log")
        await search_all(window, passenger.person.id, "Kept apart from another", "Let in again", "Blocked")
        await search_all(window, "halted", "Edited", "Opened again", "Paused", "prices.parcel_per_km_minor")
        await search_all(window, bad, "Discarded", "Tried again to write")
        await search_all(window, ride, "Moved on", "Let go on", WHY)
        await window.assert_clean()


async def search_all(window: Window, text: str, *said: str) -> None:
    await window.fill("#q", text)
    for each in said:
        await window.reads("tbody", each)


async def test_every_page_on_a_phone_in_the_dark(city: tuple[RunningStack, str], chromium: Chromium) -> None:
    stack, _ = city
    await stack.rows(
        "insert into dead_letters (shard, life, stream, entry_id, item, target, sqlstate, reason, content) values"
        " ('main', 'l', 'facts', '1-1', 1, 'rides', '23514', 'new row violates check constraint \"rides_seats\"',"
        ' \'{"id": "<b>none</b>"}\') returning 1'
    )
    window = await logged_in(chromium, city, "health", **PHONE, color_scheme="dark")
    for page, title in PAGES.items():
        await turn_to(window, page, title)  # nothing of the page before is left then
        await window.frame.wait_for_selector("tbody tr")
        assert await narrow_enough(window), f"{page} is wider than the phone"
        await window.assert_accessible()
        if page in ("health", "rides"):
            await window.picture(f"console-{page}-phone")
    await turn_to(window, "letters", "Dead letters")
    await window.click("tbody .opens")
    await window.reads("#story .json", "<b>none</b>")
    await window.assert_accessible()
    await window.assert_clean()


async def test_who_is_no_administrator_sees_nothing(
    city: tuple[RunningStack, str], chromium: Chromium
) -> None:
    stack, _ = city
    window = await chromium.window(stack.url, "/console")
    window.may_be_refused = True
    await window.assert_accessible()
    await window.fill("#email", "passenger@arynov.example")
    await window.fill("#password", "wrong")
    await window.click("#login button")
    await window.reads("#loginRefused", "Email or password is wrong.")
    assert await window.frame.locator("#shell").is_hidden()
    await window.assert_clean()


async def test_figures_of_two_days(city: tuple[RunningStack, str], chromium: Chromium) -> None:
    window = await logged_in(chromium, city, "figures", width=1440, height=900)
    await window.reads(".charts", "Requests")
    await window.frame.select_option("[aria-label=Area]", "arynov")
    await window.reads(".charts", "Earnings in USD")
    await window.reads(".charts", "that are over")
    await window.frame.select_option("[aria-label=Area]", "")
    await window.assert_accessible()
    await window.picture("console-figures")
    await turn_to(window, "rides", "Rides")
    await window.frame.wait_for_selector("tbody tr >> nth=40")
    await window.click("text='Older'")
    await wait_until(lambda: _more(window))
    await window.assert_clean()


async def _more(window: Window) -> bool:
    return await window.frame.locator("tbody tr").count() > 50
