"""The console as a site, in a real browser: rows, windows beside one another, and addresses that lead nowhere."""

from __future__ import annotations

import json

from tests.browser import Chromium
from tests.stack import RunningStack
from tests.test_console_pages import chromium, city, logged_in, turn_to

__all__ = ["chromium", "city"]


async def test_a_row_is_opened_wherever_it_is_clicked(
    city: tuple[RunningStack, str], chromium: Chromium
) -> None:
    window = await logged_in(chromium, city, "rides", width=1440, height=900)
    await window.click("tbody tr >> nth=0 >> td >> nth=-1")
    await window.reads("#story h2", "Ride of")
    await window.page.keyboard.press("Escape")
    await window.press("tbody .opens >> nth=0", "Enter")
    await window.reads("#story h2", "Ride of")
    await window.page.keyboard.press("Escape")
    cell = window.frame.locator("tbody tr >> nth=0 >> td >> nth=-1")
    row = await window.frame.get_attribute("tbody tr >> nth=0", "data-id")
    for more in ({"button": "middle"}, {"modifiers": ["ControlOrMeta"]}):
        async with window.page.context.expect_page() as opened:
            await cell.click(**more)  # type: ignore[arg-type]
        beside = await opened.value
        await beside.wait_for_selector(f"tbody tr[data-id='{row}']")
        await beside.close()
    await window.frame.select_option("[name=status]", "completed")  # he is where he was
    await window.assert_accessible()
    await turn_to(window, "replay", "Trip replay")
    await window.click("tbody tr >> nth=0 >> td >> nth=-1")
    await window.reads(".replay", "What happened")
    await window.assert_clean()


async def test_a_window_beside_another_asks_for_no_login(
    city: tuple[RunningStack, str], chromium: Chromium
) -> None:
    stack, _ = city
    window = await logged_in(chromium, city, "rides")
    beside = await window.page.context.new_page()
    await beside.goto(f"{stack.url}/console/drivers")
    await beside.wait_for_selector("#who >> text=Vera Lindgren")
    await window.click("#logout")
    await beside.wait_for_selector("#login", state="visible")
    await beside.reload()
    await beside.wait_for_selector("#login", state="visible")
    assert await beside.evaluate("sessionStorage.length") == 0
    await window.assert_clean()


async def test_an_address_that_is_no_page(city: tuple[RunningStack, str], chromium: Chromium) -> None:
    """A browser is shown the console, which says so; whoever reads no HTML is told in JSON."""
    stack, _ = city
    window = await logged_in(chromium, city, "rides")
    window.may_be_refused = True
    answer = await window.page.goto(f"{stack.url}/console/trips")
    assert answer is not None and answer.status == 404
    await window.reads(".page h1", "There is no such page")
    await window.assert_accessible()
    await window.click(".page a")
    await window.reads(".page h1", "Live map")
    await window.assert_clean()
    status, text = await stack.http("GET", "/console/trips")
    assert status == 404 and json.loads(text)["code"] == "ROUTE_NOT_FOUND"
