"""What the people of the demo see at once, in a real browser: on a phone, side by side, after their driver has left.
No button lies below the fold, no end of a trip under a sheet."""

from __future__ import annotations

from typing import Any

import pytest

from tests.browser import Chromium, View, narrow_enough
from tests.stack import RunningStack
from tests.support import wait_until
from tests.test_demo_pages import PHONE, chromium, city, set_speed

__all__ = ["chromium", "city"]
#: Whether each of these is on the part of the map that no sheet lies upon.
ON_MAP = """(selectors) => {
  const map = document.querySelector("#map").getBoundingClientRect();
  const panel = document.querySelector(".panel").getBoundingClientRect();
  const below = panel.top > map.top + 1 ? panel.top : map.bottom;
  return selectors.every((selector) => [...document.querySelectorAll(selector)].some((each) => {
    const { left, right, top, bottom } = each.getBoundingClientRect();
    return left >= map.left && right <= map.right && top >= map.top && bottom <= below;
  }));
}"""
IN_VIEW = """(selector) => {
  const { top, bottom } = document.querySelector(selector).getBoundingClientRect();
  return top >= 0 && bottom <= innerHeight;
}"""

#: Nothing lies upon it, at its corners or between.
UNCOVERED = """(selector) => {
  const refused = document.querySelector(selector);
  const { left, right, top, bottom } = refused.getBoundingClientRect();
  return [[left + 9, top + 9], [right - 9, bottom - 9], [(left + right) / 2, (top + bottom) / 2]]
    .every(([x, y]) => refused.contains(document.elementFromPoint(x, y)));
}"""
#: How far the vehicle is from its pin, in pixels.
FAR_PX = """() => {
  const [car, pin] = [".vehicle.own", ".pin.pickup"].map((each) =>
    L.DomUtil.getPosition(document.querySelector(each).closest(".leaflet-marker-icon")));
  return car.distanceTo(pin);
}"""


async def on_map(view: View, *selectors: str) -> None:
    await wait_until(lambda: view.frame.evaluate(ON_MAP, list(selectors)), 10.0)


async def wish(passenger: View, to: str = "Lantern Library") -> None:
    await passenger.reads("#state", "Live")
    await passenger.choose("#to", to)
    await passenger.reads("#request", "Request")
    await passenger.frame.wait_for_selector("#request:enabled")


@pytest.mark.parametrize("place", ["phone", "pair"])
async def test_a_trip_is_asked_for_without_scrolling(
    city: RunningStack, chromium: Chromium, place: str
) -> None:
    size: dict[str, Any] = PHONE if place == "phone" else {"width": 1400, "height": 900}
    path = "/demo/passenger" if place == "phone" else "/demo/ride"
    window = await chromium.window(city.url, path, **size)
    passenger: View = window if place == "phone" else window.inside("/demo/passenger")
    await wish(passenger)
    assert await passenger.frame.evaluate(IN_VIEW, "#request")
    await on_map(passenger, ".pin.pickup", ".pin.dropoff")
    await window.picture(f"demo-asks-{place}")
    await passenger.assert_accessible()
    await window.assert_clean()


async def test_nowhere_is_no_trip(city: RunningStack, chromium: Chromium) -> None:
    passenger = await chromium.window(city.url, "/demo/passenger", **PHONE)
    await wish(passenger)
    start = await passenger.frame.evaluate("document.querySelector('#from').selectedOptions[0].label")
    await passenger.choose("#to", start)
    await passenger.reads("#refused", "Pickup and dropoff are the same place.")
    assert await passenger.frame.is_disabled("#request")
    assert await passenger.frame.is_hidden("#choices")
    await wish(passenger)
    assert await passenger.frame.is_hidden("#refused")
    await passenger.assert_clean()


@pytest.mark.parametrize("size", [PHONE, {"width": 1100, "height": 800}, {"width": 1280, "height": 720}])
async def test_a_refused_parcel_says_why_where_it_is_seen(
    city: RunningStack, chromium: Chromium, size: dict[str, Any]
) -> None:
    """In the words of the form, until it is sent again."""
    sender = await chromium.window(city.url, "/demo/sender", **size)
    await sender.reads("#state", "Live")
    await sender.choose("#to", "Lantern Library")
    await sender.reads("#request", "Send")
    await sender.frame.wait_for_selector("#request:enabled")
    await sender.fill("#phone", "abc")
    await sender.click("#request")
    await sender.reads("#refused", "Their phone must be a phone number of 5 to 15 digits.")
    assert await sender.frame.evaluate(UNCOVERED, "#refused")
    await sender.assert_accessible()
    await sender.fill("#phone", "+1 555 0100123")
    await sender.click("#request")
    await sender.reads("#line", "Looking for a courier")
    await sender.click("#cancel")
    await sender.reads("#line", "Cancelled")
    await sender.assert_clean()


async def test_a_driver_who_is_told_again_where_to_drive_goes_on(
    city: RunningStack, chromium: Chromium
) -> None:
    window = await chromium.window(city.url, "/demo/ride", width=1400, height=900)
    passenger, driver = window.inside("/demo/passenger"), window.inside("/demo/driver")
    await driver.reads("#state", "Live")
    await driver.click("#online")
    await wish(passenger)
    await passenger.click("#request")
    await driver.click("text=Accept")
    await set_speed(driver)
    await driver.reads("#way", "Drive there")

    async def there() -> bool:
        await driver.click("#way")
        return bool(await driver.frame.evaluate(FAR_PX) < 1)

    await wait_until(there, 20.0)
    await passenger.click("#cancel")
    await driver.reads("#line", "Waiting for work")
    await window.assert_clean()


async def test_an_offer_is_seen_with_the_way_to_it(city: RunningStack, chromium: Chromium) -> None:
    """Then the passenger is told that his driver has left, and by whom; the next one needs the code."""
    window = await chromium.window(city.url, "/demo/ride", width=1400, height=900)
    passenger, driver = window.inside("/demo/passenger"), window.inside("/demo/driver")
    await driver.reads("#state", "Live")
    await driver.click("#online")
    await wish(passenger)
    await passenger.click("#request")
    await driver.reads("#offer", "Lantern Library")
    await on_map(driver, ".vehicle.own", ".pin.pickup", ".pin.dropoff")
    await window.picture("demo-offer-pair")
    await driver.click("text=Accept")
    await passenger.reads("#line", "is on the way to you")
    await passenger.say("I am at the blue door.")
    await driver.reads(".lines", "blue door")
    await driver.click("#giveBack")
    await passenger.reads("#line", "Looking for another driver")
    await passenger.reads("#line2", "gave the ride back.")
    assert await passenger.frame.is_hidden(".chat")
    await passenger.assert_accessible()
    await driver.click("#online")
    other = await chromium.window(city.url, "/demo/driver")
    await other.reads("#state", "Live")
    await other.click("#online")
    await other.reads("#offer", "Lantern Library")
    await other.click("text=Accept")
    await passenger.reads("#line", "is on the way to you")
    await passenger.say("And who are you?")
    await other.reads(".lines", "And who are you?")
    await other.click("#next")
    await other.reads("#codeName", "The code that the passenger tells you")
    await other.click("#next")
    await other.reads("#refused", "Ask the passenger for the code")
    assert await other.knows("job.state") == "arrived"
    await passenger.click("#cancel")
    await other.reads("#line", "Waiting for work")
    await window.assert_clean()
    await other.assert_clean()


async def test_a_pair_on_a_phone_is_two_tabs(city: RunningStack, chromium: Chromium) -> None:
    window = await chromium.window(city.url, "/demo/ride", **PHONE)
    passenger, driver = window.inside("/demo/passenger"), window.inside("/demo/driver")
    await window.reads("#tabs", "You are offline")
    await window.assert_accessible()
    await window.click("[role=tab] >> text='Driver'")
    await driver.reads("#state", "Live")
    await driver.click("#online")
    await window.click("[role=tab] >> text='Passenger'")
    await wish(passenger)
    await passenger.click("#request")
    await window.reads("#tabs", "A ride for you")
    await window.picture("demo-ride-phone")
    await window.press("[role=tab] >> nth=0", "ArrowRight")
    await on_map(driver, ".vehicle.own", ".pin.pickup", ".pin.dropoff")
    assert await driver.frame.evaluate(IN_VIEW, "#offer .button.main")
    await driver.assert_accessible()
    await window.picture("demo-offer-phone")
    await driver.click("text=Decline")
    await driver.click("#online")
    # or the driver of the next test is offered this ride
    await passenger.frame.evaluate("() => aryv.cancel([...aryv.jobs.values()].at(-1).id)")
    await passenger.knows("job.state === 'cancelled' || null")
    assert await narrow_enough(window)
    await window.assert_clean()
