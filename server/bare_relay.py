"""This server without its work, as a peer for benchmarks: the shipped transport and gate, and one handler that relays.

The same small job as loadtest/peers/node.mjs and stock.py: who connects names a room in `auth`; a `location_update` of
one who `drives` is told to the room as `driver_location`, with everything it said; `echo` answers what was said. Says
on standard output which port it listens on, then serves until its standard input ends. No part of the product.
"""

import asyncio
import sys
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import uvloop
from aiohttp import web

from rooms import messages as m
from rooms.door import Door
from rooms.gate import Answer, Gate, House
from rooms.handlers import ANY, CARRIERS, Handler
from rooms.registry import Registry
from rooms.session import Session, Wire
from rooms.speaker import Speaker
from server.app import BACKLOG, listening, sockets_of
from server.process import open_files, settle_memory
from server.settings import Settings
from storage.records import UserId

_encode = msgspec.json.Encoder().encode


class Position(m.LocationUpdate, frozen=True, kw_only=True):
    """A fix that is told as it came, so with the name of its ride."""

    legacy = m.LocationUpdate.legacy - {"rideId"}
    ride_id: str


class Echo(m.Message, frozen=True, kw_only=True):
    n: int


class Hall:
    """A door that lets everybody in, unasked, into the room that he names."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self.room_of: dict[Session, str] = {}

    async def login(self, device: str, environ: dict[str, Any], auth: dict[str, Any], wire: Wire) -> Session:
        drives = bool(auth.get("drives"))
        role = "driver" if drives else "passenger"
        session = Session(UserId(device), device, name="", role=role, login="", wire=wire)
        self._registry.add(session)
        if drives:
            self.room_of[session] = auth["room"]
        else:
            self._registry.enter(auth["room"], session)
        return session

    async def opened(self, session: Session) -> None:
        pass

    def closed(self, session: Session) -> None:
        self.room_of.pop(session, None)
        self._registry.remove(session)


def gate_of(registry: Registry, hall: Hall) -> Gate:
    speaker = Speaker(cast(Any, SimpleNamespace(tail=None)), registry)

    def relay(house: House, session: Session, message: Position) -> Answer:
        room = hall.room_of[session]
        house.speaker.volatile(room, room, _encode(["driver_location", message]), "")
        return {}

    def echo(house: House, session: Session, message: Echo) -> Answer:
        return {"n": message.n}

    missing: Any = None
    house = House(
        desk=missing, roomlog=missing, registry=registry, speaker=speaker, fixes=missing, accounts=missing,
        quotes=missing, presence=missing, operators=missing, city=missing, node="bare",
    )  # fmt: skip
    handlers = {
        "location_update": Handler(Position, CARRIERS, 10, 40, False, relay),
        "echo": Handler(Echo, ANY, 200, 200, False, echo),
    }
    return Gate(house, handlers)


async def serve() -> None:
    settings = Settings(port=0)
    registry = Registry()
    hall = Hall(registry)
    app = web.Application()
    sockets_of(settings, gate_of(registry, hall), cast(Door, hall), "bare").attach(app)
    runner = web.AppRunner(app, access_log=None, handle_signals=False)
    await runner.setup()
    listener = listening(settings, 0)
    await web.SockSite(runner, listener, backlog=BACKLOG).start()
    settle_memory()
    sys.stdout.write(f"{listener.getsockname()[1]}\n")
    sys.stdout.flush()
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), ended.set)
    await ended.wait()


if __name__ == "__main__":
    open_files()
    uvloop.run(serve())
