"""The console's map in a real browser, hearing frames that were recorded: how long the page works for each.

Chromium draws in software, as the tests' does. A frame's work is what the page does from the frame's text to the end of
the picture that it causes: reading it, the list beside the map, the painting, and what the browser itself does for
it (style, layout, its own painting), all on the page's one thread; by the clock, and in processor time of that thread,
which a busy machine does not lengthen. Now and then the map is dragged.
"""

import asyncio
import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from playwright.async_api import Page, ViewportSize, async_playwright

from rooms.city import FRAME_S
from server.citytraffic import CENTRE
from server.devstack.find import CHROMIUM_FLAGS, find_chromium

FAR, NEAR = 11.5, 14.0
SIZE: ViewportSize = {"width": 1440, "height": 900}
OPENED_S = 30.0
WARM = 4  # first frames: the browser still compiles what it runs
_SHOWN = """() => new Promise((done) => {
  const look = () => (window.aryvCity?.city.atMs > 0 ? done() : setTimeout(look, 50));
  look();
})"""
_DRAWN = """const drawn = () => new Promise((done) => requestAnimationFrame(() => {
    const began = performance.now();
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => done(performance.now() - began);
    port2.postMessage(0); // its turn comes when the picture is made
  }));"""
_HEAR = """async ([base, text]) => {
  %s
  const painted = drawn();
  const from = performance.now();
  window.aryvCity.city.hear(JSON.parse(text), base);
  return performance.now() - from + await painted;
}""".replace("%s", _DRAWN)
_DRAG = """async (times) => {
  %s
  const took = [];
  for (let n = 0; n < times; n++) {
    const painted = drawn();
    window.aryvCity.map.leaflet.panBy(n < times / 2 ? [6, 2] : [-6, -2], { animate: false });
    took.push(await painted);
  }
  return took;
}""".replace("%s", _DRAWN)
DRAG_EVERY, DRAGS = 3, 10


async def play(url: str, login: Mapping[str, Any], shows: Mapping[str, Sequence[tuple[bool, str]]]) -> Any:
    """Milliseconds a frame by the name of the show: `far` (everybody, as dots) and `near` (shapes)."""
    async with async_playwright() as playwright:
        running = await playwright.chromium.launch(executable_path=find_chromium(), args=CHROMIUM_FLAGS)
        try:
            page = await running.new_page(viewport=SIZE, reduced_motion="reduce")
            kept = msgspec.json.encode(login).decode()
            await page.add_init_script(
                f"sessionStorage.setItem('aryv.console', {msgspec.json.encode(kept).decode()})"
            )
            return {
                name: await _show(page, url, FAR if name == "far" else NEAR, frames)
                for name, frames in shows.items()
            }
        finally:
            await running.close()


async def _show(page: Page, url: str, zoom: float, frames: Sequence[tuple[bool, str]]) -> dict[str, Any]:
    await page.goto(f"{url}/console/map")
    async with asyncio.timeout(OPENED_S):
        await page.evaluate(_SHOWN)
    await page.evaluate("aryvCity.city.close()")
    await page.evaluate(f"aryvCity.map.leaflet.setView({list(CENTRE)}, {zoom}, {{ animate: false }})")
    inside = await page.context.new_cdp_session(page)
    await inside.send("Performance.enable", {"timeDomain": "threadTicks"})

    async def busy_ms() -> float:
        told = (await inside.send("Performance.getMetrics"))["metrics"]
        return float(next(each["value"] for each in told if each["name"] == "TaskDuration")) * 1e3

    took: list[float] = []
    dragged: list[float] = []
    busy: list[float] = []
    played, next_s = 0, time.monotonic()
    for base, text in frames:
        if base:
            await page.evaluate(_HEAR, [base, text])
            continue
        next_s = max(next_s + FRAME_S, time.monotonic())
        await asyncio.sleep(next_s - time.monotonic())
        before_ms = await busy_ms()
        took.append(await page.evaluate(_HEAR, [base, text]))
        busy.append(await busy_ms() - before_ms)
        played += 1
        if played % DRAG_EVERY == 0:
            dragged += await page.evaluate(_DRAG, DRAGS)
    cpu = figures(busy[WARM:])
    return {
        **figures(took[WARM:]),
        "cpu_p50": cpu["p50"],
        "cpu_p95": cpu["p95"],
        "drag_p95": figures(dragged or took)["p95"],
        "vehicles": await page.evaluate("aryvCity.city.vehicles.size"),
    }


def figures(values: Sequence[float]) -> dict[str, float]:
    ordered = sorted(values)
    return {
        "p50": round(statistics.median(ordered), 1),
        "p95": round(ordered[round(0.95 * (len(ordered) - 1))], 1),
        "max": round(ordered[-1], 1),
    }
