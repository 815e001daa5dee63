"""A small application on python-socketio's API, for the unmodified server and ours: `python -m tests.weakapp CLASS`.

Clients say in their auth who they are (`name`) and which room they enter; `GET /state` tells what became of whom,
`POST /shout` tells a room so many events of so many characters. Says on standard output which port it listens on.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
from collections import defaultdict
from importlib import import_module
from typing import Any

import uvloop
from aiohttp import web

from rooms.transport import engine

HOST = "127.0.0.1"
PING_INTERVAL_S, PING_TIMEOUT_S = 1.1, 0.5
SEND_BUFFER = 16_384  # as server/app.py has it: who does not read is noticed here, not in the kernel
CONNECT_S = 0.5


class State:
    def __init__(self) -> None:
        self.came: dict[str, list[str]] = defaultdict(list)  # by name, from which addresses
        self.gone: dict[str, list[str]] = defaultdict(list)  # by name, for which reasons
        self.done: dict[str, list[Any]] = defaultdict(list)
        self.names: dict[str, str] = {}


def application(server: Any, state: State) -> None:
    async def connect(sid: str, environ: dict[str, Any], auth: dict[str, Any]) -> None:
        state.names[sid] = auth["name"]
        state.came[auth["name"]].append(environ["REMOTE_ADDR"])
        if "room" in auth:
            await server.enter_room(sid, auth["room"])

    async def disconnect(sid: str, reason: str = "") -> None:
        state.gone[state.names[sid]].append(reason)

    async def work(sid: str, number: int, takes_s: float) -> None:
        if takes_s:
            await asyncio.wait([asyncio.get_running_loop().create_future()], timeout=takes_s)
        state.done[state.names[sid]].append(number)

    async def relay(sid: str, room: str, payload: Any) -> None:
        await server.emit("relayed", payload, to=room)

    async def binary(sid: str, *payload: Any) -> None:
        state.done[state.names[sid]].append("binary")

    async def echo(sid: str, payload: Any) -> Any:
        return payload

    for handler in (connect, disconnect, work, relay, binary, echo):
        server.on(handler.__name__, handler)


def routes(server: Any, state: State) -> list[web.RouteDef]:
    async def tell_state(request: web.Request) -> web.Response:
        return web.json_response({"came": state.came, "gone": state.gone, "done": state.done})

    async def shout(request: web.Request) -> web.Response:
        order = json.loads(await request.text())
        for number in range(order["count"]):
            await server.emit("shout", f"{number:08d}" + "x" * order["size"], to=order["room"])
            if number % 10 == 0:
                await asyncio.wait([asyncio.get_running_loop().create_future()], timeout=0)
        return web.Response()

    return [web.get("/state", tell_state), web.post("/shout", shout)]


def main() -> None:
    parser = argparse.ArgumentParser(prog="weakapp")
    parser.add_argument("server", help="module:Class")
    parser.add_argument("--crowd", type=int, help="so many new connections at once, and hardly any later")
    options = parser.parse_args()
    # this project's bounds, where the unmodified server has none
    engine.CONNECT_S = CONNECT_S
    if options.crowd:
        engine.NEW_AT_ONCE, engine.NEW_A_SECOND = float(options.crowd), 0.001
    module, _, name = options.server.partition(":")
    server = getattr(import_module(module), name)(
        async_mode="aiohttp", ping_interval=PING_INTERVAL_S, ping_timeout=PING_TIMEOUT_S
    )
    state, app = State(), web.Application()
    application(server, state)
    app.add_routes(routes(server, state))
    server.attach(app)
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
    listener.bind((HOST, 0))
    listener.listen()
    print(listener.getsockname()[1], flush=True)
    web.run_app(app, sock=listener, access_log=None, print=None, loop=uvloop.new_event_loop())


if __name__ == "__main__":
    main()
