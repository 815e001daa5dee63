"""Clients of end-to-end tests: stock python-socketio (`phone`), a bare websocket (`Raw`), and what rides need.

A `Phone` keeps all that it hears in order. `hears` waits for an event, `heard` reads what there is, and
`assert_gapless` proves that in every room it stood in the numbers followed one another.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import socketio

from tests.stack import Person, RunningStack, Spot
from tests.support import wait_until

CALL_S = 10.0
TRANSPORTS = {"websocket": ["websocket"], "polling": ["polling"], "upgrade": ["polling", "websocket"]}

Payload = dict[str, Any]


class Phone:
    """One connected client of a person."""

    def __init__(self, person: Person) -> None:
        self.person = person
        self.log: list[tuple[str, Payload]] = []
        self.sio = socketio.AsyncClient(reconnection=False)
        self.sio.on("*", self._hear)

    def _hear(self, event: str, *args: Any) -> None:
        self.log.append((event, args[0] if args else {}))

    async def connect(self, url: str, transport: str = "websocket") -> Payload:
        """What `connected` said."""
        await self.sio.connect(
            url, auth={"token": self.person.token}, transports=TRANSPORTS[transport], wait_timeout=CALL_S
        )
        return await self.hears("connected")

    async def ask(self, event: str, payload: Any = None) -> Payload:
        """The acknowledgement, whatever it says."""
        answer = await self.sio.call(event, payload, timeout=CALL_S)
        assert isinstance(answer, dict), f"{event} was answered with {answer!r}"
        return answer

    async def call(self, event: str, payload: Any = None) -> Payload:
        """The acknowledgement of something that must succeed."""
        answer = await self.ask(event, payload)
        assert answer["ok"], f"{event}: {answer}"
        return answer

    async def refused(self, event: str, payload: Any = None) -> str:
        """The code of something that must be refused."""
        answer = await self.ask(event, payload)
        assert not answer["ok"], f"{event} was done: {answer}"
        return str(answer["error"]["code"])

    def heard(self, event: str, **match: Any) -> list[Payload]:
        return [p for e, p in self.log if e == event and all(p.get(k) == v for k, v in match.items())]

    async def hears(self, event: str, **match: Any) -> Payload:
        """The first such event, heard already or to come."""
        found = await wait_until(lambda: self.heard(event, **match), CALL_S)
        return found[0]

    async def status(self, state: str, job: str = "ride") -> Payload:
        return await self.hears(f"{job}_status_update", state=state)

    def assert_gapless(self, room: str) -> list[int]:
        """The seqs heard of a room, which must follow one another within one epoch."""
        numbers = [p["seq"] for e, p in self.log if p.get("room") == room and e not in SNAPSHOTS]
        assert numbers, f"nothing was heard of {room}"
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers))), f"{room}: {numbers}"
        epochs = {p["epoch"] for e, p in self.log if p.get("room") == room and e not in SNAPSHOTS}
        assert len(epochs) == 1
        return numbers

    async def close(self) -> None:
        await self.sio.disconnect()
        await self.sio.eio.disconnect()


SNAPSHOTS = {"connected", "joined_ride", "joined_package"}


@asynccontextmanager
async def phone(stack: RunningStack, who: Person | str, transport: str = "websocket") -> AsyncIterator[Phone]:
    """A connected client of a person, or of a new one of a role."""
    person = await stack.person(who) if isinstance(who, str) else who
    client = Phone(person)
    await client.connect(stack.url, transport)
    try:
        yield client
    finally:
        await client.close()


async def online(
    driver: Phone, place: Payload, classes: tuple[str, ...] = ("economy",), **more: Any
) -> Payload:
    return await driver.call("go_online", {"classes": list(classes), **place, **more})


def new_id() -> str:
    return str(uuid.uuid4())


async def request(passenger: Phone, spot: Spot, **more: Any) -> str:
    """A ride is asked for; its id."""
    ride_id = new_id()
    answer = await passenger.call(
        "request_ride", {"rideId": ride_id, "class": "economy", **spot.trip, **more}
    )
    assert answer["rideId"] == ride_id and answer["state"] in ("searching", "scheduled")
    return ride_id


async def send(sender: Phone, spot: Spot, **more: Any) -> str:
    """A parcel is handed to the dispatcher; its id."""
    package_id = new_id()
    recipient = {"name": "Rosa Recipient", "phone": "+380 50 1234567"}
    parcel = {"packageId": package_id, "size": "small", "recipient": recipient, **spot.trip, **more}
    await sender.call("request_package", parcel)
    return package_id


async def offered(driver: Phone, job_id: str) -> Payload:
    """The driver's offer of this job."""

    def found() -> list[Payload]:
        ids = ("rideId", "packageId")
        return [o for o in driver.heard("offer") if job_id in [o["job"].get(i) for i in ids]]

    return (await wait_until(found, CALL_S))[0]


async def accepted(driver: Phone, job_id: str) -> Payload:
    offer = await offered(driver, job_id)
    answer = await driver.call("accept_offer", {"offerId": offer["offerId"]})
    await driver.hears("driver_assigned")
    return answer


async def assigned_ride(passenger: Phone, driver: Phone, spot: Spot, **more: Any) -> str:
    """A ride that the driver has accepted, as both have heard."""
    await online(driver, spot.at(300.0))
    ride_id = await request(passenger, spot, **more)
    await accepted(driver, ride_id)
    await passenger.hears("driver_assigned", rideId=ride_id)
    return ride_id


async def drive(driver: Phone, watcher: Phone, job_id: str, place: Payload) -> Payload:
    """A fix of the driver, as somebody who watches the job hears it."""

    async def kept() -> bool:
        answer = await driver.call("location_update", {**place, "heading": 45, "speed": 8.5})
        # fixes that come within a millisecond of one another are taken for one
        assert answer["kept"] or answer["reason"] == "late", answer
        return bool(answer["kept"])

    def seen() -> list[Payload]:
        ids = ("rideId", "packageId")
        return [p for p in watcher.heard("driver_location", **place) if job_id in [p.get(i) for i in ids]]

    await wait_until(kept, CALL_S)
    return (await wait_until(seen, CALL_S))[0]


class Raw:
    """A websocket that says whatever a test wants; pings are answered, all else is kept in `frames`."""

    def __init__(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        self.ws = ws
        self.frames: list[str] = []

    async def frame(self, timeout_s: float = CALL_S) -> str | None:
        """The next frame that is no ping; None when the server has closed."""
        async with asyncio.timeout(timeout_s):  # pings would keep it waiting for ever
            while True:
                message = await self.ws.receive()
                if message.type is not aiohttp.WSMsgType.TEXT:
                    return None
                if message.data == "2":
                    await self.ws.send_str("3")
                    continue
                self.frames.append(message.data)
                return str(message.data)

    async def until(self, start: str) -> str | None:
        """The next frame that begins so; None when the server closes first."""
        while (frame := await self.frame()) is not None:
            if frame.startswith(start):
                return frame
        return None

    async def answer(self, ack: int) -> Payload | None:
        """The acknowledgement of this number; None when the server closes instead."""
        frame = await self.until(f"43{ack}[")
        return None if frame is None else json.loads(frame[frame.index("[") :])[0]

    async def ask(self, event: str, payload: Any, ack: int = 1) -> Payload | None:
        await self.ws.send_str(f"42{ack}{json.dumps([event, payload])}")
        return await self.answer(ack)


@asynccontextmanager
async def raw(stack_url: str, token: str | None = None) -> AsyncIterator[Raw]:
    """A bare Engine.IO websocket; with a token it has said CONNECT and heard `connected`."""
    async with aiohttp.ClientSession() as session:
        url = f"{stack_url}/socket.io/?EIO=4&transport=websocket"
        async with session.ws_connect(url, max_msg_size=8 * 1024 * 1024, compress=0) as ws:
            client = Raw(ws)
            opening = await client.frame()
            assert opening is not None and opening.startswith("0{")
            if token is not None:
                await ws.send_str("40" + json.dumps({"token": token}))
                assert await client.until('42["connected"') is not None
            yield client
