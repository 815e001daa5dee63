"""/console: the city for whoever runs it. The pages hold nothing themselves: all that they show is asked for with an
administrator's token, over the routes that say who may (server/http/routes.py)."""

from aiohttp import web

from server.console.files import send
from server.http.call import Call
from server.http.envelope import Refusal

#: The pages; which module shows each is said in static/console/app.mjs.
PAGES = (
    "map",
    "health",
    "figures",
    "rides",
    "packages",
    "replay",
    "drivers",
    "users",
    "areas",
    "letters",
    "audit",
)


async def index(call: Call) -> web.Response:
    return send(call, "console/index.html")


async def page(call: Call) -> web.Response:
    if call.request.match_info["page"] not in PAGES:
        if "text/html" in call.request.headers.get("Accept", ""):
            return send(call, "console/index.html", 404)  # it says so itself, with the way to those there are
        raise Refusal(404, "There is no such page.", code="ROUTE_NOT_FOUND")
    return send(call, "console/index.html")
