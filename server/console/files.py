"""What pages are made of: the files of static/, read once and sent as they are, with the rules a browser must keep.

POLICY lets a page run, show and ask nothing but what this server sends: no inline script or style, no other host.
Tiles of a map are the one exception, and only where an operator has named their server.
"""

import hashlib
from functools import cache
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from aiohttp import web

from server.http.call import Call
from server.http.envelope import Refusal

STATIC = Path(__file__).parent / "static"
TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".mjs": "text/javascript",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".woff2": "font/woff2",
}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; img-src 'self'{tiles}; "
    "connect-src 'self'; frame-src 'self'; frame-ancestors 'self'; base-uri 'none'; form-action 'none'"
)
HEADERS = {
    "Cache-Control": "no-cache",  # kept, but asked for: `ETag` says whether it is still the same
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "geolocation=(), camera=(), microphone=()",
}


class File(NamedTuple):
    body: bytes
    type: str
    tag: str


@cache
def files() -> dict[str, File]:
    """All that may be asked for, by its path below static/; what is not in it cannot be reached."""
    found = {}
    for path in sorted(STATIC.rglob("*")):
        if path.suffix in TYPES:
            body = path.read_bytes()
            tag = f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'
            found[path.relative_to(STATIC).as_posix()] = File(body, TYPES[path.suffix], tag)
    return found


def send(call: Call, name: str, status: int = 200) -> web.Response:
    """The file of this name, or that the browser has it already. Raises Refusal 404."""
    file = files().get(name)
    if file is None:
        raise Refusal(404, "There is no such page.", code="ROUTE_NOT_FOUND")
    headers = {**HEADERS, "ETag": file.tag}
    if file.type == "text/html":
        headers["Content-Security-Policy"] = policy(call.ctx.settings.tiles_url)
    if status == 200 and call.request.headers.get("If-None-Match") == file.tag:
        return web.Response(status=304, headers=headers)
    charset = None if file.type.startswith(("font", "image")) else "utf-8"
    return web.Response(
        status=status, body=file.body, content_type=file.type, charset=charset, headers=headers
    )


def policy(tiles_url: str) -> str:
    """The Content-Security-Policy of a page whose map may show these tiles."""
    server = urlsplit(tiles_url)
    # Leaflet lets go of a tile by showing an empty picture that stands in its own code
    return POLICY.format(tiles=f" data: {server.scheme}://{server.netloc}" if server.netloc else "")


async def asset(call: Call) -> web.Response:
    """A part of a page."""
    name = "/".join(call.request.match_info.values())
    if name.endswith(".html"):
        raise Refusal(404, "There is no such page.", code="ROUTE_NOT_FOUND")
    return send(call, name)
