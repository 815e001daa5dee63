"""The one table of HTTP routes. Who may call what is said here and enforced in endpoint.py, nowhere else;
the alias, the metrics' labels, the two-user tests and the list in the docs derive from it.
"""

import re
from collections.abc import Awaitable, Callable
from typing import Literal, NamedTuple

from aiohttp import web

from server.http import auth, commands, history, ops
from server.http.call import Call
from server.http.envelope import Reply

Handler = Callable[[Call], Awaitable[Reply | web.Response]]


class Route(NamedTuple):
    """`who`: public; user (any account); admin. `no_token` is the answer to a request without a token: on the
    lists of the admin panel 403, because a 401 makes it log out and in without end."""

    method: str
    path: str
    handler: Handler
    who: Literal["public", "user", "admin"]
    about: str
    no_token: int = 401


ROUTES: tuple[Route, ...] = (
    Route("GET", "/health", ops.health, "public", "Is the process alive, and its database?"),
    Route("GET", "/api/health", ops.api_health, "public", "The same with version and uptime."),
    Route("GET", "/ready", ops.ready, "public", "503 until everything lives that clients need."),
    Route("GET", "/metrics", ops.metrics, "public", "Prometheus; keep it inside the network."),
    Route("GET", "/api/websocket/status", ops.websocket_status, "public", "How many are connected."),
    Route("POST", "/api/auth/login", auth.login, "public", "Email and password for tokens."),
    Route("POST", "/api/auth/register", auth.register, "public", "A new passenger or driver."),
    Route("POST", "/api/auth/refresh", auth.refresh, "public", "A new access token."),
    Route("GET", "/api/auth/verify", auth.verify, "user", "Is this token good, and whose?"),
    Route("GET", "/api/auth/profile", auth.profile, "user", "The own account."),
    Route("PATCH", "/api/auth/profile", auth.change_profile, "user", "Change the own account."),
    Route("PUT", "/api/auth/profile", auth.change_profile, "user", "The same."),
    Route("POST", "/api/auth/logout", auth.logout, "user", "End this session."),
    Route("POST", "/api/commands/{event}", commands.command, "user", "Any command of the protocol."),
    Route("GET", "/api/rides", history.rides, "user", "Own rides; all for an administrator.", no_token=403),
    Route("GET", "/api/rides/{id}", history.ride, "user", "One ride with facts, chat and track."),
    Route("GET", "/api/packages", history.packages, "user", "Own parcels; or all.", no_token=403),
    Route("GET", "/api/packages/{id}", history.package, "user", "One parcel with facts, chat and track."),
    Route("GET", "/api/users", history.users, "admin", "All accounts.", no_token=403),
    Route("GET", "/api/couriers", history.couriers, "admin", "All couriers.", no_token=403),
    Route("GET", "/api/courier/analytics", history.analytics, "admin", "Figures.", no_token=403),
)

_SHAPES = tuple((re.compile(re.sub(r"\{\w+\}", "[^/]+", route.path)), route.method) for route in ROUTES)


def methods_of(path: str) -> list[str]:
    """The methods that a path is served by; none for a path that is no route's."""
    if path.startswith("/api/api/"):
        path = path.removeprefix("/api")
    return sorted({method for shape, method in _SHAPES if shape.fullmatch(path)})


HEAD = """# HTTP

Printed by `.venv/bin/dispatch routes`; do not edit. Every answer is
`{success, data?, message?, error?, code?, details?, timestamp}`; failures are never 2xx. Send the header
`Authorization: Bearer …`. Unknown query and body keys are ignored, in a command too, and `/api/api/…` is `/api/…`.
What is wrong is 400, a missing or bad token 401, what you may not do 403, what you may not see 404, another
method 405, too often 429, an outage 503; refusals of a command keep the codes of [the protocol](protocol.md).

A missing token is 403 on PANEL,
because the admin panel answers a 401 there by logging out and in without end; a bad token is 401 there too.

| route | who | what |
|---|---|---|
"""


def page() -> str:
    """docs/http.md as Markdown."""
    panel = ", ".join(f"`{r.path}`" for r in ROUTES if r.no_token == 403)
    return HEAD.replace("PANEL", panel) + "".join(
        f"| `{r.method} {r.path}` | {r.who} | {r.about} |\n" for r in ROUTES
    )
