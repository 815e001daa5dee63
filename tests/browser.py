"""A real browser on the pages: the system's Chromium, without a screen, driven by Playwright.

    async with browser() as chromium:
        window = await chromium.window(stack.url, "/demo/passenger")

A `Window` is a browser profile of its own. It notes everything that a page must not do (write an error to its console,
ask another host, break its Content-Security-Policy), and `assert_clean` fails on any of it.
"""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Frame, Page, async_playwright

from server.devstack.find import CHROMIUM_FLAGS, find_chromium
from tests.support import CHECKOUT, NO_CHROMIUM, wait_until

AXE = CHECKOUT / "tests" / "js" / "node_modules" / "axe-core" / "axe.min.js"
PATIENCE_S = 20.0
#: What fades from one colour to another has, for a moment, the contrast of neither.
STANDS_STILL = """() => Promise.allSettled(document.getAnimations()
  .filter((each) => each.effect.getComputedTiming().endTime !== Infinity).map((each) => each.finished))"""
#: What the browser itself writes of a server that a test has killed under its page.
SERVER_AWAY = re.compile(
    r"Failed to load resource: net::ERR_(CONNECTION_REFUSED|CONNECTION_RESET|EMPTY_RESPONSE)"
    r"|WebSocket connection to '[^']*' failed: "
    r"($|Error in connection establishment: net::ERR_CONNECTION_|Connection closed before receiving a handshake|"
    r"WebSocket is closed before the connection is established)"
)
REFUSED = re.compile(
    r"Failed to load resource: the server responded with a status of 4"
    r"|WebSocket connection to '[^']*' failed: Error during WebSocket handshake: Unexpected response code: 4"
)
#: What the browser itself reports of a policy that was broken, in a page that says so nowhere.
WATCH_POLICY = """document.addEventListener("securitypolicyviolation", (event) =>
  brokenPolicy(`${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}:${event.lineNumber}`));"""


class View:
    """A page, or a frame of one, as the person before it sees it."""

    def __init__(self, frame: Frame) -> None:
        self.frame = frame

    async def reads(self, selector: str, text: str) -> None:
        """Waits until that element says so."""
        found = self.frame.locator(selector)
        said = ""

        async def so() -> bool:
            nonlocal said
            said = await found.inner_text() if await found.is_visible() else "(not to be seen)"
            return text in said

        try:
            await wait_until(so, PATIENCE_S, every_s=0.05)
        except pytest.fail.Exception:
            pytest.fail(f"{self.frame.url} {selector} says {said!r}, not {text!r}")

    async def click(self, selector: str) -> None:
        await self.frame.click(selector, timeout=PATIENCE_S * 1000)

    async def press(self, selector: str, key: str) -> None:
        await self.frame.press(selector, key, timeout=PATIENCE_S * 1000)

    async def fill(self, selector: str, text: str) -> None:
        await self.frame.fill(selector, text)

    async def choose(self, selector: str, label: str) -> None:
        await self.frame.select_option(selector, label=label)

    async def say(self, text: str) -> None:
        await self.frame.fill(".say input", text)
        await self.frame.press(".say input", "Enter")

    async def knows(self, expression: str) -> Any:
        """What the page's own client knows, once it is something; `aryv` and `job`, the newest, are at hand."""
        script = f"() => {{ const job = [...aryv.jobs.values()].at(-1); return ({expression}) ?? null; }}"
        return await wait_until(lambda: self.frame.evaluate(script), PATIENCE_S, every_s=0.05)

    async def assert_accessible(self) -> None:
        """axe-core finds no serious fault. The debugger lets it in: no policy has to be opened for it."""
        await self.frame.evaluate(STANDS_STILL)
        await self.frame.evaluate(AXE.read_text())
        found = await self.frame.evaluate("axe.run(document, { resultTypes: ['violations'] })")
        serious = [
            f"{fault['id']}: {fault['help']}: {[node['target'] for node in fault['nodes'][:3]]}"
            for fault in found["violations"]
            if fault["impact"] in ("serious", "critical")
        ]
        assert not serious, f"{self.frame.url}: {serious}"


class Window(View):
    """A window in a profile of its own, with one page."""

    def __init__(self, page: Page, url: str) -> None:
        super().__init__(page.main_frame)
        self.page = page
        self.url = url
        self.faults: list[str] = []
        self.may_ask = (f"{url}/", "data:", "blob:", f"ws{url.removeprefix('http')}/")
        self.server_may_be_away = (
            False  # True only while it is: to be set back once the page has found it again
        )
        self.may_be_refused = (
            False  # the browser writes it down when a request over HTTP is answered with 4xx
        )
        page.on("console", self._said)
        page.on("pageerror", lambda error: self.faults.append(f"uncaught: {error}"))
        page.on("request", self._asked)
        page.on("websocket", self._asked)

    def _said(self, message: Any) -> None:
        if message.type not in ("error", "warning"):
            return
        if self.server_may_be_away and SERVER_AWAY.match(message.text):
            return
        if self.may_be_refused and REFUSED.match(message.text):
            return
        self.faults.append(f"console {message.type}: {message.text}")

    def broke_policy(self, how: str) -> None:
        self.faults.append(f"policy: {how}")

    def _asked(self, request: Any) -> None:
        if not request.url.startswith(self.may_ask):
            self.faults.append(f"asked outside: {request.url}")

    def inside(self, path: str) -> View:
        """The frame that shows this path."""
        return View(next(frame for frame in self.page.frames if frame.url == self.url + path))

    async def assert_clean(self) -> None:
        await self.frame.evaluate("0")  # what the page did before this is known now
        assert not self.faults, f"{self.page.url}: {self.faults}"

    async def picture(self, name: str) -> None:
        """Into the folder that PICTURES names, for the README; else it is taken and forgotten."""
        folder = os.environ.get("PICTURES")
        await self.page.screenshot(path=Path(folder) / f"{name}.png" if folder else None)


async def narrow_enough(view: View) -> bool:
    return bool(await view.frame.evaluate("document.documentElement.scrollWidth <= innerWidth"))


async def let_in(window: Window, user_id: str, name: str, token: str) -> None:
    """The console's page with this administrator's login."""
    login = {"token": token, "user": {"id": user_id, "firstName": name, "lastName": ""}}
    keep = "login => sessionStorage.setItem('aryv.console', JSON.stringify(login))"
    await window.frame.evaluate(keep, login)
    await window.page.reload()


class Chromium:
    """The running browser."""

    def __init__(self, running: Browser) -> None:
        self._running = running

    async def window(
        self,
        url: str,
        path: str,
        *,
        width: int = 1280,
        height: int = 800,
        motion: bool = False,
        **options: Any,
    ) -> Window:
        """With `motion` things glide, as most people see them."""
        size, moves = {"width": width, "height": height}, "no-preference" if motion else "reduce"
        context = await self._running.new_context(viewport=size, reduced_motion=moves, **options)
        window = Window(await context.new_page(), url)
        # not in the page, which a reload forgets
        await context.expose_function("brokenPolicy", window.broke_policy)
        await context.add_init_script(WATCH_POLICY)
        answer = await window.page.goto(url + path)
        assert answer is not None and answer.ok, f"{path}: {answer}"
        return window


@asynccontextmanager
async def browser() -> AsyncIterator[Chromium]:
    path = find_chromium()
    if path is None:
        pytest.skip(NO_CHROMIUM)
    async with async_playwright() as playwright:
        running = await playwright.chromium.launch(executable_path=path, args=CHROMIUM_FLAGS)
        try:
            yield Chromium(running)
        finally:
            await running.close()
