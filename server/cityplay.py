"""The console's map in a real browser, hearing frames that were recorded: how long the page works for each.

Chromium draws in software, as the tests' does. A frame's work is what the page does from the frame's text to the end of
the picture that it causes: reading it, the list beside the map, the painting, and what the browser itself does for
it (style, layout, its own painting), all on the page's one thread. Now and then the map is dragged meanwhile.
"""

import asyncio
import statistics
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
_PLAY = """async ([frames, everyMs, warm]) => {
  const { city, map } = window.aryvCity;
  const drawn = () => new Promise((done) => requestAnimationFrame(() => {
    const began = performance.now();
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => done(performance.now() - began);
    port2.postMessage(0); // its turn comes when the picture is made
  }));
  let playing = true;
  const dragged = [];
  const drag = (async () => {
    for (let n = 0; playing; n = (n + 1) % 240) {
      if (n >= 60) { await drawn(); continue; }
      const painted = drawn();
      map.leaflet.panBy(n < 30 ? [6, 2] : [-6, -2], { animate: false });
      dragged.push(await painted);
    }
  })();
  const heard = [];
  const began = performance.now();
  for (const [at, [base, text]] of frames.entries()) {
    if (!base) await new Promise((done) => setTimeout(done, began + at * everyMs - performance.now()));
    const painted = drawn();
    const from = performance.now();
    city.hear(JSON.parse(text), base);
    const handled = performance.now() - from;
    const whole = handled + await painted;
    if (!base && at >= warm) heard.push([handled, whole]);
  }
  playing = false;
  await drag;
  return { heard, dragged: dragged.slice(warm), vehicles: city.vehicles.size };
}"""


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
    found = await page.evaluate(_PLAY, [list(frames), FRAME_S * 1000, WARM])
    handled, whole = zip(*found["heard"], strict=True)
    return {
        **figures(whole),
        "handled_p95": figures(handled)["p95"],
        "drag_p95": figures(found["dragged"])["p95"],
        "vehicles": found["vehicles"],
    }


def figures(values: Sequence[float]) -> dict[str, float]:
    ordered = sorted(values)
    return {
        "p50": round(statistics.median(ordered), 1),
        "p95": round(ordered[round(0.95 * (len(ordered) - 1))], 1),
        "max": round(ordered[-1], 1),
    }
