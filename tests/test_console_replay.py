"""The replay in a real browser against the real stack: a ride that scripted phones carried out, with a driver who
declines and a few words of chat, shows at every moment how it stood then, and why the match chose whom it chose."""

from __future__ import annotations

import itertools
import json
import math
import time
from collections import deque
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import pytest_asyncio

from server.policycommands import try_policy
from server.seed import seed
from server.settings import Settings
from tests.browser import Chromium, Window, narrow_enough
from tests.phones import accepted, offered, online, phone, request
from tests.stack import RunningStack, Spot, private_stack
from tests.support import CHECKOUT, fresh_database, wait_until
from tests.test_console_pages import PHONE, chromium, logged_in, turn_to

__all__ = ["chromium"]
BASEMAP = CHECKOUT / "server" / "console" / "static" / "demo" / "arynov.json"
Place = tuple[float, float]  # longitude, latitude

#: When what phones do in a second would have been done on a road: state or chat line -> seconds after the request.
TOLD_S = {"asked": 4, "declined": 21, "assigned": 34, "arrived": 264, "in_progress": 340, "completed": 1040}
EXACT = {
    "assigned_at": "assigned",
    "arrived_at": "arrived",
    "started_at": "in_progress",
    "ended_at": "completed",
}
LINES = ((70, "driver", "On my way, I have just turned into the avenue."),
         (96, "passenger", "I stand at the <b>blue</b> door"), (300, "driver", "I am here."))  # fmt: skip
FIX_S = 6


class Told(NamedTuple):
    stack: RunningStack
    password: str
    ride: str
    names: dict[str, str]  # of "asked", who declined, of "driver", "cramped" and "far"


def streets() -> dict[Place, set[Place]]:
    """Which corners lie beside one another on the demo's streets."""
    beside: dict[Place, set[Place]] = {}
    for feature in json.loads(BASEMAP.read_text())["features"]:
        if feature["geometry"]["type"] == "LineString":
            for one, other in itertools.pairwise(tuple(at) for at in feature["geometry"]["coordinates"]):
                beside.setdefault(one, set()).add(other)
                beside.setdefault(other, set()).add(one)
    return beside


def way(beside: dict[Place, set[Place]], start: Place, end: Place) -> list[Place]:
    came: dict[Place, Place] = {start: start}
    queue = deque([start])
    while end not in came:
        here = queue.popleft()
        for there in sorted(beside[here]):
            if there not in came:
                came[there] = here
                queue.append(there)
    found = [end]
    while found[-1] != start:
        found.append(came[found[-1]])
    return found[::-1]


def along(corners: list[Place], share: float) -> Place:
    lengths = [math.dist(a, b) for a, b in itertools.pairwise(corners)]
    left = share * sum(lengths)
    for (a, b), length in zip(itertools.pairwise(corners), lengths, strict=True):
        if left <= length:
            return a[0] + (b[0] - a[0]) * left / length, a[1] + (b[1] - a[1]) * left / length
        left -= length
    return corners[-1]


def nearest(beside: dict[Place, set[Place]], latitude: float, longitude: float) -> Place:
    return min(beside, key=lambda at: math.dist(at, (longitude, latitude)))


async def carry_out(stack: RunningStack) -> Told:
    beside = streets()
    pickup, dropoff, stood = (
        nearest(beside, *at) for at in ((49.9835, 36.2205), (49.9985, 36.2475), (49.9775, 36.2155))
    )
    here = Spot(pickup[1], pickup[0])
    cramped, asked, taker, far = await stack.people("driver", 4)
    await stack.database.execute("update vehicles set capacity = 2 where id = $1", cramped.vehicle_id)
    async with (
        phone(stack, cramped) as one, phone(stack, asked) as two, phone(stack, taker) as driver,
        phone(stack, far) as four, phone(stack, "passenger") as passenger,
    ):  # fmt: skip
        for who, away_m in ((one, 210.0), (two, 340.0), (driver, 620.0), (four, 1450.0)):
            await online(who, here.at(-away_m))
        trip = {
            "pickup": {**here.at(), "address": "14 Elm Street"},
            "dropoff": {"latitude": dropoff[1], "longitude": dropoff[0], "address": "3 Foundry Avenue"},
        }
        ride = await request(passenger, here, seats=3, **trip)
        offer = await offered(two, ride)
        await two.call("decline_offer", {"offerId": offer["offerId"]})
        await accepted(driver, ride)
        await passenger.hears("driver_assigned", rideId=ride)
        for _, who, text in LINES:
            await (driver if who == "driver" else passenger).call(
                "send_message", {"rideId": ride, "message": text}
            )
        for state in ("arrived", "in_progress", "completed"):
            await driver.call("ride_status_update", {"rideId": ride, "status": state})
            # each in a millisecond of its own, or two of them would be one moment of the film
            told_s = time.time()
            await wait_until(lambda told_s=told_s: time.time() > told_s + 0.002)
        await stack.drained("select 1 from rides where id = $1 and state = 'completed'", ride)
        await stack.drained("select 1 from decisions where job_id = $1 and driver_id = $2", ride, taker.id)
        names = {"asked": asked.name, "driver": taker.name, "cramped": cramped.name, "far": far.name}
    await slowed(stack, ride)
    approach, trip_way = way(beside, stood, pickup), way(beside, pickup, dropoff)
    await driven(
        stack, ride, taker.id, [(approach, "assigned", "arrived"), (trip_way, "in_progress", "completed")]
    )
    return Told(stack, "", ride, names)


async def slowed(stack: RunningStack, ride: str) -> None:
    """History as if people and cars had needed their time: what happened keeps its order."""
    execute = stack.database.execute
    (row,) = await stack.rows("select * from rides where id = $1", ride)
    start = row["created_at"]
    offer = "select {} as at from offers where job_id = $1 order by made_at limit 1"
    moments = {"asked": offer.format("made_at"), "declined": offer.format("ended_at")}
    known = [(start, 0.0)]
    for name, after_s in TOLD_S.items():
        sql = moments.get(
            name, f"select at from job_events where job_id = $1 and payload->>'state' = '{name}' limit 1"
        )
        known.append(((await stack.rows(sql, ride))[0]["at"], float(after_s)))
    began = start - timedelta(minutes=25)

    def then(at: datetime) -> datetime:
        """Between two known moments in proportion."""
        if at >= known[-1][0]:
            return began + timedelta(seconds=known[-1][1]) + (at - known[-1][0])
        (a, a_s), (b, b_s) = next(pair for pair in itertools.pairwise(known) if pair[0][0] <= at < pair[1][0])
        return began + timedelta(seconds=a_s + (b_s - a_s) * ((at - a) / (b - a)))

    columns = {
        "rides": ("id", "id", ["created_at", "searching_at", "assigned_at", "arrived_at", "started_at", "ended_at"]),
        "ride_events": ("job_id", "seq", ["at"]),
        "offers": ("job_id", "id", ["made_at", "ended_at"]),
        "decisions": ("job_id", "id", ["at"]),
    }  # fmt: skip
    for table, (of, key, names) in columns.items():
        for line in await stack.rows(
            f"select {key} as key, {', '.join(names)} from {table} where {of} = $1", ride
        ):
            exact = EXACT if table == "rides" else {}
            values = [
                began + timedelta(seconds=TOLD_S[exact[name]])
                if name in exact
                else then(max(line[name], start))
                for name in names
            ]
            sets = ", ".join(f"{name} = ${n}" for n, name in enumerate(names, 3))
            await execute(
                f"update {table} set {sets} where {of} = $1 and {key} = $2", ride, line["key"], *values
            )
    for after_s, _, text in LINES:
        at = began + timedelta(seconds=after_s)
        await execute("update chat_messages set sent_at = $3 where job_id = $1 and text = $2", ride, text, at)


async def driven(
    stack: RunningStack, ride: str, driver: str, legs: list[tuple[list[Place], str, str]]
) -> None:
    """The way over the streets, a fix every few seconds."""
    (row,) = await stack.rows("select created_at as at from rides where id = $1", ride)
    await stack.database.execute("delete from locations where job_id = $1", ride)
    numbers = itertools.count(1)
    for corners, begins, ends in legs:
        from_s, until_s = TOLD_S[begins], TOLD_S[ends]
        for at_s in range(from_s, until_s, FIX_S):
            lng, lat = along(corners, (at_s - from_s) / (until_s - from_s))
            await stack.database.execute(
                "insert into locations (driver_id, ts, seq, location, job_id)"
                " values ($1, $2, $3, ST_SetSRID(ST_MakePoint($4, $5), 4326), $6)",
                driver, row["at"] + timedelta(seconds=at_s), next(numbers), lng, lat, ride,
            )  # fmt: skip


@pytest_asyncio.fixture(scope="module")
async def told() -> AsyncIterator[Told]:
    with fresh_database() as url:
        said = await seed(Settings(database_url=url, bcrypt_cost=4))
        password = next(line.split()[2] for line in said.splitlines() if line.split()[:1] == ["admin"])
        await try_policy(
            Settings(database_url=url), "arynov", {"search_radius_m": 1200, "cruise_speed_mps": 7}
        )
        async with private_stack(database_url=url, DISPATCH_BASEMAP_FILE=str(BASEMAP)) as stack:
            yield (await carry_out(stack))._replace(password=password)


async def opened(chromium: Chromium, told: Told, **more: Any) -> Window:
    return await logged_in(chromium, (told.stack, told.password), "replay", **more)


async def at_moment(window: Window, button: str) -> None:
    await window.click(f".events button:has-text('{button}')")


async def test_a_ride_on_its_slider(told: Told, chromium: Chromium) -> None:
    window = await opened(chromium, told, width=1440, height=1010)
    await turn_to(window, "rides", "Rides")
    await window.fill("#q", told.ride)
    await wait_until(lambda: _lines(window, 1))
    await window.click("tbody .opens")
    await window.click("#story >> text='Replay it'")
    await window.reads(".moment", "Searching")
    await window.reads(".talk", "Nothing was said yet.")
    await window.reads(".why", "Nothing was decided yet")
    # by keyboard, step by step, into the first offer and out of it
    await _until(window, "ArrowRight", f"{told.names['asked']} is asked")
    await window.reads(".why tr.chosen", told.names["asked"])
    await window.reads(".why tr.chosen", "Asked, declined")
    await window.reads(".why .about", "policy 1")
    await window.reads(".why .about", "tried in shadow, would have asked the same")
    await window.reads(f".why tr:has-text('{told.names['cramped']}')", "Too few seats")
    await window.reads(f".why tr:has-text('{told.names['far']}')", "Costs more")
    await window.press("#moment", "End")
    await window.reads(".moment", "Completed")
    await window.reads(".moment", told.names["driver"])
    await window.reads(".talk", "I stand at the <b>blue</b> door")
    await window.reads(".why tr.chosen", "Asked, accepted")
    await window.assert_accessible()
    await window.press("#moment", "Home")
    await window.reads(".moment", "Searching")
    await window.reads(".moment", "Nobody yet")
    # played, it runs to the end by itself
    await window.reads(".events", f"Assigned to {told.names['driver']}")
    await at_moment(window, "At the pickup")
    await window.reads(".moment", "Arrived")
    await window.click(".speeds >> text='60×'")
    await window.click("[aria-label=Play]")
    await window.reads(".moment", "In progress")
    await window.click("[aria-label=Pause]")
    await at_moment(window, "On the way")
    for _ in range(3):
        await window.press("#moment", "PageUp")
    await window.reads(".moment", "In progress")
    assert await window.frame.locator(".ground .vehicle").count() == 1
    await window.picture("console-replay")
    await window.assert_clean()


async def test_the_replay_on_a_phone_in_the_dark(told: Told, chromium: Chromium) -> None:
    window = await opened(chromium, told, **PHONE, color_scheme="dark")
    await window.frame.wait_for_selector("tbody tr >> nth=1")
    await window.assert_accessible()
    await window.fill("#q", told.ride)
    await wait_until(lambda: _lines(window, 1))
    await window.click("tbody .opens")
    await at_moment(window, "On the way")
    await window.press("#moment", "PageUp")
    await window.reads(".moment", "In progress")
    assert await narrow_enough(window)
    await window.assert_accessible()
    await window.frame.evaluate("scrollTo(0, 0)")
    await window.picture("console-replay-phone")
    # a parcel of the demo's past, from the list
    await window.click(".head >> text='Another job'")
    await window.frame.select_option("[aria-label=Kind]", "package")
    await window.click("tbody .opens[href*='kind=package'] >> nth=0")
    await window.reads(".head [role=status]", "Parcel of")
    await window.press("#moment", "End")
    await window.reads(".moment", "Courier")
    # whoever asks for what is not there is told so
    window.may_be_refused = True
    await window.page.goto(f"{told.stack.url}/console/replay?job=00000000-0000-7000-8000-000000000000")
    await window.reads(".head [role=status]", "There is no such ride")
    await window.assert_clean()


async def _lines(window: Window, count: int) -> bool:
    return await window.frame.locator("tbody tr").count() == count


async def _until(window: Window, key: str, text: str) -> None:
    """Pressed again and again, at most from one end to the other."""
    for _ in range(200):
        await window.press("#moment", key)
        if text in await window.frame.locator(".moment").inner_text():
            return
    raise AssertionError(f"{text!r} was nowhere")
