"""The unmodified python-socketio as a peer: the same small job as node.mjs and server/bare_relay.py.

Its defaults on aiohttp and uvloop, but for the transport: websocket only. Says on standard output which port it
listens on, then serves until its standard input ends.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import socketio
import uvloop
from aiohttp import web

HOST, BACKLOG = "127.0.0.1", 4096


async def serve() -> None:
    sio = socketio.AsyncServer(async_mode="aiohttp", transports=["websocket"])
    rooms: dict[str, str] = {}  # of the drivers

    async def connect(sid: str, environ: dict[str, Any], auth: dict[str, Any]) -> None:
        if auth.get("drives"):
            rooms[sid] = auth["room"]
        else:
            await sio.enter_room(sid, auth["room"])

    async def disconnect(sid: str) -> None:
        rooms.pop(sid, None)

    async def location_update(sid: str, payload: dict[str, Any]) -> None:
        await sio.emit("driver_location", payload, to=rooms[sid])

    async def echo(sid: str, payload: dict[str, Any]) -> dict[str, Any]:
        return payload

    for handler in (connect, disconnect, location_update, echo):
        sio.on(handler.__name__, handler)
    app = web.Application()
    sio.attach(app)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, HOST, 0, backlog=BACKLOG).start()
    print(runner.addresses[0][1], flush=True)
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), ended.set)
    await ended.wait()


if __name__ == "__main__":
    uvloop.run(serve())
