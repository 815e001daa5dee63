"""/demo: the product in a browser, for whoever develops or wants to see it. Only where DISPATCH_DEMO says so.

Its pages are also the reference clients: they speak the public protocol through static/client/ and have no other way.
People who try it get an account made on the spot, which is why this must never be open to strangers.
"""

import random
import time

from aiohttp import web

from server.chores import load_people
from server.console.files import send
from server.http.call import Call
from server.http.envelope import Refusal, Reply
from server.http.fields import Field, Fields
from storage.enrol import enrol, open_sessions

DOMAIN = "demo.invalid"
#: What a page is called, and the file that it is.
PAGES = {
    "passenger": "requester.html",
    "sender": "requester.html",
    "driver": "carrier.html",
    "courier": "carrier.html",
    "ride": "ride.html",
    "parcel": "parcel.html",
}
NO_PAGE = "An ARYV dispatch server: apps talk to it over Socket.IO and HTTP. There is no page here.\n"
PERSON = (Field("role", "choice", choices=("passenger", "driver", "courier")),)


def _only_where_wanted(call: Call) -> None:
    if not call.ctx.settings.demo:
        raise Refusal(404, "The demo is off here: DISPATCH_DEMO serves it.", code="ROUTE_NOT_FOUND")


async def root(call: Call) -> web.Response:
    """Whoever types the bare address."""
    if not call.ctx.settings.demo:
        return web.Response(text=NO_PAGE)
    return web.Response(status=302, headers={"Location": "/demo"})


async def to_index(call: Call) -> web.Response:
    _only_where_wanted(call)
    return web.Response(status=302, headers={"Location": "/demo"})


async def index(call: Call) -> web.Response:
    _only_where_wanted(call)
    return send(call, "demo/index.html")


async def page(call: Call) -> web.Response:
    _only_where_wanted(call)
    return send(call, f"demo/{PAGES.get(call.request.match_info['page'], '')}")


async def person(call: Call) -> Reply:
    """A new invented person of the role asked for, logged in."""
    _only_where_wanted(call)
    fields = Fields(await call.body())
    (role,) = fields.read(*PERSON)
    fields.refuse_if_wrong()
    ctx, now_s = call.ctx, time.monotonic()
    if wait_s := ctx.registrations.wait_s(call.address, now_s):
        raise Refusal(429, "Too many new people. Come back later.", retry_after_s=wait_s)
    ctx.registrations.count(call.address, now_s)
    (newcomer,) = load_people(random.Random(), role, 1, DOMAIN)
    life_s = ctx.settings.access_s
    async with ctx.database.transaction() as connection:
        (user_id,) = await enrol(connection, [newcomer])
        (session_id,) = await open_sessions(connection, [user_id], life_s)
    token = ctx.keyring.mint(user_id, role, session_id, now_s=time.time(), life_s=life_s)
    vehicle = newcomer.car.line if newcomer.car else None
    user = {"id": user_id, "firstName": newcomer.first_name, "lastName": newcomer.last_name, "role": role}
    return Reply(
        {"user": {**user, "vehicle": vehicle}, "accessToken": token, "expiresIn": life_s}, status=201
    )
