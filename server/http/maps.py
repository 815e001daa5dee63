"""What a map stands on: the areas of this shard, the tiles where an operator has named some, and lines of his own."""

import asyncio
from pathlib import Path

import msgspec
from aiohttp import web

from server.http.call import Call
from server.http.envelope import Refusal, Reply
from storage.areas import list_areas


async def areas(call: Call) -> Reply:
    """`areas` as GeoJSON, `tiles` and `base` (whether /api/map/base has something) for a page that draws them."""
    settings = call.ctx.settings
    rows = await list_areas(call.ctx.database, settings.shard)
    features = [
        {
            "type": "Feature",
            "geometry": row.polygon,
            "properties": {"id": row.id, "name": row.name, "paused": row.paused, "currency": row.currency},
        }
        for row in rows
    ]
    tiles = {"url": settings.tiles_url, "attribution": settings.tiles_attribution}
    return Reply(
        {
            "areas": {"type": "FeatureCollection", "features": features},
            "tiles": tiles if settings.tiles_url else None,
            "base": bool(settings.basemap_file),
        }
    )


async def base(call: Call) -> web.Response:
    """The operator's own GeoJSON, as it stands in his file."""
    file = call.ctx.settings.basemap_file
    if not file:
        raise Refusal(404, "This server has no base map of its own.")
    try:
        body = await asyncio.to_thread(Path(file).read_bytes)
        msgspec.json.decode(body, type=msgspec.Raw)
    except (OSError, msgspec.DecodeError):
        raise Refusal(500, "The base map cannot be read.") from None
    return web.Response(
        body=body,
        content_type="application/geo+json",
        headers={"Cache-Control": "private, max-age=3600", "X-Content-Type-Options": "nosniff"},
    )
