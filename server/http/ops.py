"""What machines ask: alive, ready, metrics, how many are connected. No person and no place is in any of it.

`/health` says that the process lives and, truly, whether its database does; it stays 200 when the database is
away, because a restart would not bring it back. `/ready` is 503 until every part in `ctx.ready` has answered,
so that a load balancer sends nobody here too early. PostgreSQL is away for all nodes at once, and live work goes on:
it is only told of.
"""

import asyncio
import time

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from server.http.call import Call
from server.http.context import Context, Ready
from server.http.envelope import Refusal, Reply
from storage.postgis import DatabaseUnavailable

PROBE_S = 2.0
READY_PROBE_S = 0.5  # of PostgreSQL: whoever probes must have the answer in time though it hangs


async def health(call: Call) -> Reply:
    word = "Connected" if await _database(call.ctx) else "Disconnected"
    return Reply(message="The server is running.", top={"database": word})


async def api_health(call: Call) -> Reply:
    """The longer form, which the platform's own checks read."""
    ctx = call.ctx
    top = {
        "environment": "development" if ctx.settings.debug else "production",
        "version": ctx.version,
        "database": "connected" if await _database(ctx) else "disconnected",
        "uptime": round(time.monotonic() - ctx.started_s, 3),
    }
    return Reply(message="The server is running.", top=top)


async def ready(call: Call) -> Reply:
    """Which parts live; all but PostgreSQL must. The names of the parts are the only detail."""
    probes = [_probe(question) for question in call.ctx.ready.values()]
    *needed, database = await asyncio.gather(*probes, _database(call.ctx, READY_PROBE_S))
    parts = {**dict(zip(call.ctx.ready, needed, strict=True)), "postgresql": database}
    if not all(needed):
        raise Refusal(503, "The server is not ready.", code="NOT_READY", details=parts, retry_after_s=1)
    return Reply(parts)


async def websocket_status(call: Call) -> Reply:
    """Counts only: who is connected and which rooms there are is nobody's business."""
    registry = call.ctx.registry
    return Reply({"connectedUsers": registry.users, "activeRooms": [], "totalConnections": registry.sessions})


async def metrics(call: Call) -> web.Response:
    return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})


async def _database(ctx: Context, within_s: float = PROBE_S) -> bool:
    try:
        async with asyncio.timeout(within_s):
            await ctx.database.now()
    except (DatabaseUnavailable, TimeoutError):
        return False
    return True


async def _probe(question: Ready) -> bool:
    """A part that fails to answer does not live; whatever the failure was, this is its meaning here."""
    try:
        async with asyncio.timeout(PROBE_S):
            return await question()
    except Exception:
        return False
