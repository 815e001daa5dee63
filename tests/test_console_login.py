"""The console's login, in a real browser: where it ends, it ends at the server."""

from __future__ import annotations

from tests.browser import Chromium
from tests.stack import RunningStack
from tests.support import wait_until
from tests.test_console_pages import chromium, city, logged_in

__all__ = ["chromium", "city"]


async def test_who_logs_out_is_logged_out_at_the_server(
    city: tuple[RunningStack, str], chromium: Chromium
) -> None:
    stack, _ = city
    window = await logged_in(chromium, city, "rides")
    token = await window.frame.evaluate("JSON.parse(sessionStorage.getItem('aryv.console')).token")
    assert (await stack.http("GET", "/api/admin/users", token))[0] == 200
    await window.click("#logout")
    await wait_until(lambda: window.frame.locator("#login").is_visible())

    async def over() -> bool:
        return (await stack.http("GET", "/api/admin/users", token))[0] == 401

    await wait_until(over)
    await window.assert_clean()
