"""The live map's feed: an admin's console hears of everybody and every job, in frames, and nobody else hears any."""

from __future__ import annotations

from typing import Any

from tests.phones import Phone, assigned_ride, online, phone, request
from tests.stack import RunningStack
from tests.support import wait_until
from tests.test_cityview import Console

EMPTY: dict[str, list[Any]] = {"drivers": [], "places": [], "gone": [], "jobs": [], "over": []}


class Map(Console):
    """A console on a socket: puts together what it hears."""

    def __init__(self, admin: Phone) -> None:
        super().__init__()
        self._admin, self._read, self.n = admin, 0, 0

    def read(self) -> None:
        log = self._admin.log[self._read :]
        self._read += len(log)
        for event, frame in log:
            if event == "city_base":
                self.n = frame["n"]
                self.hear({**EMPTY, **frame})
            elif event == "city":
                assert frame["n"] == self.n + 1
                self.n = frame["n"]
                self.hear({**EMPTY, **frame})

    async def shows(self, driver: str, state: str | None) -> tuple[int, int, str]:
        def found() -> Any:
            self.read()
            places = self.shown()[0]
            if state is None:
                return driver not in places and (0, 0, "")
            place = places.get(driver)
            return place if place is not None and place[2] == state else None

        return tuple(await wait_until(found, 10.0))  # type: ignore[return-value]

    async def job(self, id_: str, state: str | None) -> dict[str, Any]:
        def found() -> Any:
            self.read()
            job = self.jobs.get(id_)
            return (
                {"": 0} if job is None and state is None else job if job and job["state"] == state else None
            )

        return dict(await wait_until(found, 10.0))


async def test_a_console_sees_a_ride_from_before_it_came_to_its_end(stack: RunningStack) -> None:
    spot = stack.spot()
    async with (
        phone(stack, "driver") as driver,
        phone(stack, "passenger") as passenger,
        phone(stack, "admin") as admin,
        phone(stack, "admin") as other,
    ):
        await online(driver, spot.at(300.0))
        await admin.call("watch_city")
        console = Map(admin)
        at = await console.shows(driver.person.id, "idle")
        assert abs(at[0] - spot.at(300.0)["latitude"] * 1e5) <= 1
        ride = await assigned_ride(passenger, driver, spot)
        await console.shows(driver.person.id, "busy")
        shown = await console.job(ride, "assigned")
        assert shown["driverId"] == driver.person.id and shown["kind"] == "ride"
        # who comes in the middle is told the same
        await other.call("watch_city")
        late = Map(other)
        await late.job(ride, "assigned")
        await driver.call("location_update", spot.at(250.0))

        def moved() -> bool:
            late.read()
            place = late.shown()[0].get(driver.person.id)
            return place is not None and abs(place[0] - spot.at(250.0)["latitude"] * 1e5) <= 1

        await wait_until(moved, 10.0)
        await passenger.call("cancel_ride", {"rideId": ride})
        await console.job(ride, None)
        await driver.call("go_offline")
        await console.shows(driver.person.id, None)
        await admin.call("unwatch_city")
        assert not passenger.heard("city") and not driver.heard("city_base")


async def test_an_offer_as_it_flies(stack: RunningStack) -> None:
    spot = stack.spot()
    async with (
        phone(stack, "driver") as driver,
        phone(stack, "passenger") as rider,
        phone(stack, "admin") as admin,
    ):
        await admin.call("watch_city")
        console = Map(admin)
        await online(driver, spot.at(300.0))
        await console.shows(driver.person.id, "idle")
        ride = await request(rider, spot)
        assert (await console.job(ride, "offered"))["offeredTo"] == driver.person.id
        await console.shows(driver.person.id, "offered")
        assert await rider.refused("watch_city") == "forbidden"


async def test_who_fell_silent_before_anybody_watched_and_what_he_carries(stack: RunningStack) -> None:
    spot = stack.spot("frail")
    async with phone(stack, "passenger") as passenger, phone(stack, "admin") as admin:
        async with phone(stack, "driver") as driver:
            ride = await assigned_ride(passenger, driver, spot)
            for status in ("arrived", "in_progress"):
                await driver.call("ride_status_update", {"rideId": ride, "status": status})
        who = driver.person.id
        await stack.drained("select from drivers where id = $1 and state = 'stale'", who)
        await stack.drained("select from rides where id = $1 and needs_person <> ''", ride)
        await admin.call("watch_city")
        console = Map(admin)
        await console.shows(who, "stale")
        assert (await console.job(ride, "in_progress"))["needsPerson"]


async def test_the_city_is_watched_over_a_socket(stack: RunningStack) -> None:
    admin = await stack.person("admin")
    status, text = await stack.http("POST", "/api/commands/watch_city", admin.token, json={})
    assert status == 400 and "over a socket" in text
