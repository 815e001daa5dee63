"""The one table of HTTP routes. Who may call what is said here and enforced in endpoint.py, nowhere else;
the alias, the metrics' labels, the two-user tests and the list in the docs derive from it.
"""

import re
from collections.abc import Awaitable, Callable, Iterator
from typing import Literal, NamedTuple

from aiohttp import web

from server.console import console, demo, files
from server.http import admin, auth, blocks, commands, history, maps, ops, reviews
from server.http.call import Call
from server.http.envelope import Reply
from server.http.fields import Field

Handler = Callable[[Call], Awaitable[Reply | web.Response]]


class Route(NamedTuple):
    """`who`: public; user (any account); admin. `takes` are the fields of its body, or, of a GET,
    of its query. `no_token` is the answer to a request without a token: on the
    lists of the admin panel 403, because a 401 makes it log out and in without end. What `lives` goes on while
    PostgreSQL is away, for whom it confirmed lately (rooms/acquaintances.py)."""

    method: str
    path: str
    handler: Handler
    who: Literal["public", "user", "admin"]
    about: str
    takes: tuple[Field, ...] = ()
    no_token: int = 401
    lives: bool = False


MADE = "Couriers are made by `dispatch users add --role courier`, admins likewise."
BLOCK = "Never be matched with this person of your past trips again; he hears nothing of it."
MINE = "What came of you each time that the match looked at you: your rank, and why not you. Nobody else is in it."
WHY = "Why the match chose whom it chose: whom it looked at, costs, reasons, and whom a tried policy would have."
DEMO = "with `DISPATCH_DEMO`, which is for development."
PARTS = "Its parts: `redis` answers, the `log` is read, and it is `staying`: not going away."
BESIDE = "`postgresql` is told of beside them: live work goes on without it."

ROUTES: tuple[Route, ...] = (
    Route("GET", "/health", ops.health, "public", "Is the process alive, and its database?"),
    Route("GET", "/api/health", ops.api_health, "public", "The same with version and uptime."),
    Route(
        "GET", "/ready", ops.ready, "public", f"503 until all lives that live work needs. {PARTS} {BESIDE}"
    ),
    Route("GET", "/metrics", ops.metrics, "public", "Prometheus; keep it inside the network."),
    Route("GET", "/api/websocket/status", ops.websocket_status, "public", "How many are connected."),
    Route("POST", "/api/auth/login", auth.login, "public", "Email and password for tokens.", auth.LOGIN),
    Route(
        "POST",
        "/api/auth/register",
        auth.register,
        "public",
        "A new passenger or driver. " + MADE,
        auth.REGISTER,
    ),
    Route("POST", "/api/auth/refresh", auth.refresh, "public", "A new access token.", auth.REFRESH),
    Route("GET", "/api/auth/verify", auth.verify, "user", "Is this token good, and whose?"),
    Route("GET", "/api/auth/profile", auth.profile, "user", "The own account."),
    Route("PATCH", "/api/auth/profile", auth.change_profile, "user", "Change the own account.", auth.PROFILE),
    Route("PUT", "/api/auth/profile", auth.change_profile, "user", "The same.", auth.PROFILE),
    Route("POST", "/api/auth/logout", auth.logout, "user", "End this session."),
    Route(
        "POST", "/api/commands/{event}", commands.command, "user", "Any command of the protocol.", lives=True
    ),
    Route("GET", "/api/rides", history.rides, "user", "Own rides; or all.", history.JOBS["ride"], 403),
    Route("GET", "/api/rides/{id}", history.ride, "user", "One ride with facts, chat and track."),
    Route(
        "GET", "/api/packages", history.packages, "user", "Own parcels; or all.", history.JOBS["package"], 403
    ),
    Route("GET", "/api/packages/{id}", history.package, "user", "One parcel with facts, chat and track."),
    Route(
        "POST",
        "/api/rides/{id}/rate",
        reviews.rate_ride,
        "user",
        "Stars for the other party, once, when it is completed.",
        reviews.RATE,
    ),
    Route(
        "POST", "/api/packages/{id}/rate", reviews.rate_package, "user", "The same of a parcel.", reviews.RATE
    ),
    Route("POST", "/api/users/{id}/block", blocks.block, "user", BLOCK),
    Route("DELETE", "/api/users/{id}/block", blocks.unblock, "user", "Meet him again."),
    Route("GET", "/api/users/blocked", blocks.blocked, "user", "Whom you block."),
    Route("GET", "/api/drivers/me/decisions", history.my_decisions, "user", MINE, history.PAGE),
    Route("GET", "/api/admin/jobs/{id}/decisions", history.job_decisions, "admin", WHY, history.PAGE),
    Route("GET", "/api/map", maps.areas, "user", "What a map stands on: areas as GeoJSON, tiles."),
    Route("GET", "/api/map/base", maps.base, "user", "The operator's own base map, as GeoJSON."),
    Route("GET", "/api/users", history.users, "admin", "All accounts.", history.PAGE, 403),
    Route("GET", "/api/couriers", history.couriers, "admin", "All couriers.", history.PAGE, 403),
    Route("GET", "/api/courier/analytics", history.analytics, "admin", "Figures.", no_token=403),
    *(
        Route("GET", f"/api/admin/{name}", admin.table(name), "admin", about, admin.takes(name))
        for name, about in (
            ("users", "The console's table of accounts."),
            ("drivers", "Of drivers and couriers, as dispatch left them."),
            ("rides", "Of rides."),
            ("packages", "Of parcels."),
            ("letters", "Of rows that PostgreSQL refused."),
            ("audit", "Of what admins and commands of the shell did."),
        )
    ),
    Route(
        "GET",
        "/api/admin/drivers/{id}",
        admin.driver,
        "admin",
        "A driver's last finished jobs, and what he earned in the last hours.",
        admin.FIGURES,
    ),
    Route(
        "GET",
        "/api/admin/areas",
        admin.areas,
        "admin",
        "Areas, with what is theirs and the defaults.",
        admin.AREAS,
    ),
    Route("GET", "/api/admin/health", admin.health, "admin", "All nodes, Redis, PostgreSQL, the drain."),
    Route(
        "GET",
        "/api/admin/figures",
        admin.figures,
        "admin",
        "Requests, waits and earnings by hour and area.",
        admin.FIGURES,
    ),
    Route(
        "GET",
        "/api/admin/heat",
        admin.heat,
        "admin",
        "Demand, supply, pressure and surge now: of an area by cell, or of all areas.",
        admin.HEAT,
    ),
    Route("GET", "/", demo.root, "public", "To `/demo` where that is served, else what this is."),
    Route("GET", "/demo", demo.index, "public", "The apps' side in a browser. 404 but " + DEMO),
    Route("GET", "/demo/", demo.to_index, "public", "The same."),
    Route("GET", "/demo/{page}", demo.page, "public", "One of its pages: " + ", ".join(demo.PAGES) + "."),
    Route(
        "POST", "/api/demo/people", demo.person, "public", "An invented person. 404 but " + DEMO, demo.PERSON
    ),
    Route(
        "GET",
        "/console",
        console.index,
        "public",
        "The city, for administrators, in a browser; empty before a login.",
    ),
    Route("GET", "/console/", console.index, "public", "The same."),
    Route(
        "GET",
        "/console/{page}",
        console.page,
        "public",
        "One of its pages: " + ", ".join(console.PAGES) + ".",
    ),
    Route("GET", "/assets/{folder}/{part}/{file}", files.asset, "public", "The same of a part."),
    Route("GET", "/assets/{folder}/{file}", files.asset, "public", "What pages are made of."),
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

Lists are newest first; `pagination.nextCursor` of one page is `cursor` of the next. An administrator's lists hold
everybody's. Money in history is a JSON number in whole units of its currency (`12.5` USD), as the apps read it; in
commands and events it is minor units (`1250`).

| route | who | what |
|---|---|---|
"""

FIELDS = """
## Fields

Of a POST, PUT or PATCH in a JSON body, of a GET in the query; `?` may be left out. Those of a command are in
[the protocol](protocol.md).
"""


def page() -> str:
    """docs/http.md as Markdown."""
    panel = ", ".join(f"`{r.path}`" for r in ROUTES if r.no_token == 403)
    rows = "".join(f"| `{r.method} {r.path}` | {r.who} | {r.about} |\n" for r in ROUTES)
    return HEAD.replace("PANEL", panel) + rows + FIELDS + "".join(_taken())


def _taken() -> Iterator[str]:
    """The fields of each route, those that take the same together."""
    for takes in dict.fromkeys(route.takes for route in ROUTES if route.takes):
        routes = [f"`{r.method} {r.path}`" for r in ROUTES if r.takes == takes]
        yield f"\n### {', '.join(routes)}\n\n"
        for field in takes:
            yield f"- `{field.name}{'' if field.required else '?'}` {field.words}\n"
