"""Tiles where an operator has named their server: they lie under the areas, with their credit, and the page's policy
lets it ask that server and no other."""

from __future__ import annotations

import base64
from pathlib import Path

from aiohttp import web
from aiohttp.test_utils import TestServer

from server.chores import checked_area
from server.seed import demo_areas
from server.settings import Settings
from storage.areas import put_area
from storage.postgis import Database
from tests.browser import browser, let_in
from tests.support import SQL_TIMEOUT_S, wait_until
from tests.support_http import LOW_COST, http_server

#: One grey pixel.
TILE = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGO4AAAA0gDR29kOtwAAAABJRU5ErkJggg=="
)


async def test_tiles_lie_under_the_areas(database_url: str, tmp_path: Path) -> None:
    asked: list[str] = []

    async def tile(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(body=TILE, content_type="image/png")

    tiles = web.Application()
    tiles.router.add_get("/{z}/{x}/{y}.png", tile)
    database = await Database.open(database_url, size=1, timeout_s=SQL_TIMEOUT_S)
    await put_area(database, checked_area(demo_areas("main")[0]))
    await database.close()
    async with TestServer(tiles) as server, browser() as chromium:
        url = str(server.make_url("/"))
        settings = Settings(
            bcrypt_cost=LOW_COST,
            database_timeout_s=5.0,
            tiles_url=f"{url}{{z}}/{{x}}/{{y}}.png",
            tiles_attribution="Tiles by <b>Somebody</b>",
        )
        async with http_server(database_url, tmp_path, settings=settings) as pages:
            user_id, token = await pages.person("boss@example.com", "admin")
            window = await chromium.window(pages.url, "/console/map")
            window.may_be_refused = True  # there is no Socket.IO here
            window.may_ask = (*window.may_ask, url)
            await let_in(window, user_id, "Boss", token)
            await wait_until(lambda: window.frame.locator("img.leaflet-tile-loaded").count(), 15.0)
            await window.reads(".ground .credit", "Tiles by <b>Somebody</b>")
            await window.reads(".areas", "Arynov")
            await window.frame.evaluate("window.aryvCity.map.leaflet.setZoom(15, { animate: false })")
            await wait_until(lambda: any(path.startswith("/15/") for path in asked))
            await window.assert_clean()
