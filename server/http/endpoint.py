"""From the table of routes to aiohttp: who may, how long, how it is counted, and what a failure looks like.

Every request of a route goes through `_endpoint` and nothing else does, so a handler cannot forget a check:
strangers are kept out before it runs, each one has a deadline, and whatever goes wrong is an envelope. The
log of a fault names the place and the kind, never a value.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

import asyncpg
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from prometheus_client import disable_created_metrics

from rooms.faults import fault
from rooms.identity import BadToken, bearer
from server.http import metrics
from server.http.call import Call
from server.http.context import Context
from server.http.envelope import Refusal, answer, refuse
from server.http.routes import ROUTES, Route, methods_of
from storage.accounts import NotActive, Who
from storage.passwords import TooManyChecks
from storage.postgis import DatabaseUnavailable

log = logging.getLogger(__name__)

MARGIN_S = 10.0  # what a handler may take beyond one query: a password's wait, a slow client's body
METHODS = "GET, POST, PATCH, PUT, DELETE, OPTIONS"
PREFLIGHT_AGE_S = 600


def build_http(app: web.Application, ctx: Context) -> None:
    """Adds every route, its `/api/api` alias (half of the app's calls double the prefix), and an answer
    for everything else."""
    disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series beside each counter
    for route in ROUTES:
        handler = _endpoint(ctx, route)
        paths = [route.path]
        if route.path.startswith("/api/"):
            paths.append(f"/api{route.path}")
        for path in paths:
            app.router.add_route(route.method, path, handler)
    app.router.add_route("*", "/{rest:.*}", _elsewhere(ctx))
    logging.getLogger("aiohttp.server").addFilter(_clients_fault)


def _clients_fault(record: logging.LogRecord) -> bool:
    """Keeps out of the log, for whatever speaks HTTP badly or breaks off: aiohttp writes a traceback, with a
    part of what was sent, after the client has had its answer."""
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, web.RequestPayloadError | HttpProcessingError | ConnectionError)


def _endpoint(ctx: Context, route: Route) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def handle(request: web.Request) -> web.StreamResponse:
        began_s = time.perf_counter()
        response = await _respond(ctx, route, request)
        response.headers.update(_cors(ctx, request))
        metrics.REQUESTS.labels(route.method, route.path, str(response.status)).inc()
        metrics.DURATION_S.labels(route.path).observe(time.perf_counter() - began_s)
        return response

    return handle


async def _respond(ctx: Context, route: Route, request: web.Request) -> web.Response:
    """The handler's answer, or the one refusal that every kind of failure has."""
    try:
        async with asyncio.timeout(ctx.settings.database_timeout_s + MARGIN_S):
            caller = None if route.who == "public" else await _caller(ctx, route, request)
            reply = await route.handler(Call(ctx, request, caller))
            return reply if isinstance(reply, web.Response) else answer(reply)
    except Refusal as refusal:
        return refuse(refusal)
    except TooManyChecks as full:
        text = "Too many logins at once. Try again in a moment."
        return refuse(Refusal(429, text, retry_after_s=full.retry_after_s))
    except NotActive:
        return refuse(Refusal(401, "This account is not active any more."))
    except web.RequestPayloadError:
        return refuse(Refusal(400, "The body cannot be read as it was sent."))
    except ConnectionError:
        raise  # the client has gone: aiohttp closes its side and says nothing
    except asyncpg.DataError:
        return refuse(Refusal(400, "The request holds a value that cannot be stored."))
    except (DatabaseUnavailable, TimeoutError):
        text = "The service cannot use its database, or not in time. Try again in a moment."
        return refuse(Refusal(503, text, retry_after_s=1))
    except Exception as error:
        log.error("%s %s failed: %s", route.method, route.path, fault(error))
        return refuse(Refusal(500, "Something went wrong on the server."))


async def _caller(ctx: Context, route: Route, request: web.Request) -> Who:
    """Who asks, if the route is open to him. The account's role counts, not the token's."""
    token = bearer(request.headers.get("Authorization"))
    if token is None:
        metrics.AUTH_FAILURES.labels("missing").inc()
        raise Refusal(route.no_token, "Authentication is required.")
    try:
        claims = ctx.keyring.verify(token, time.time())
    except BadToken as bad:
        metrics.AUTH_FAILURES.labels("token").inc()
        raise Refusal(401, str(bad)) from None
    login = claims.session_id, claims.user_id
    try:
        who = await ctx.accounts.who(*login)
    except DatabaseUnavailable:
        who = (await ctx.known.recall([login])).get(login) if route.lives else None
        if who is None:
            raise
    if who is None:
        metrics.AUTH_FAILURES.labels("session").inc()
        raise Refusal(401, "The session has ended. Log in again.")
    if route.who == "admin" and who.role != "admin":
        metrics.AUTH_FAILURES.labels("role").inc()
        raise Refusal(403, "Only an administrator may do this.")
    return who


def _elsewhere(ctx: Context) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """What no route serves: a browser's question whether it may ask, else 404 or, for another method, 405."""

    async def handle(request: web.Request) -> web.StreamResponse:
        cors = _cors(ctx, request)
        if request.method == "OPTIONS" and cors:
            return web.Response(status=204, headers=cors | _PREFLIGHT)
        response = refuse(Refusal(404, "There is no such route.", code="ROUTE_NOT_FOUND"))
        if allowed := ", ".join(methods_of(request.path)):
            response = refuse(Refusal(405, f"This route takes {allowed}."))
            response.headers["Allow"] = allowed
        metrics.REQUESTS.labels("other", "other", str(response.status)).inc()
        response.headers.update(cors)
        return response

    return handle


_PREFLIGHT = {
    "Access-Control-Allow-Methods": METHODS,
    "Access-Control-Allow-Headers": "Authorization, Content-Type",
    "Access-Control-Max-Age": str(PREFLIGHT_AGE_S),
}


def _cors(ctx: Context, request: web.Request) -> dict[str, str]:
    """Headers for a browser on a configured origin; tokens travel in a header, so no credentials are allowed."""
    origin = request.headers.get("Origin", "")
    allowed = {part.strip() for part in ctx.settings.cors_origins.split(",") if part.strip()}
    if not origin or not ({origin, "*"} & allowed):
        return {}
    return {"Access-Control-Allow-Origin": origin, "Vary": "Origin"}
