"""People on a node to whom nothing happens while something happens to others: how long do they wait meanwhile?

Pairs of a driver and his passenger, on a ride: he streams his position, both chat. They live in a process of their
own, so that what is measured is the server's delay and not the load generator's; and on an open loop: each wait is
counted from the moment when the person wanted to speak, so that a server that stands still is not asked less often.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import multiprocessing.connection
import time
import uuid
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import uvloop

from loadtest.light import Light, Payload, connect
from loadtest.person import Account
from loadtest.stage import StageError

FIX_EVERY_S, LINE_EVERY_S = 1.0, 2.0
READY_S, ANSWER_S, AGAIN_S = 60.0, 10.0, 0.5
NORTH, EAST, EDGE_DEG = 40.0, 20.0, 0.2
POLICY = {"plenty": 1, "stale_s": 3600, "offer_s": 3600, "jitter_s": 1.0, "top_speed_mps": 1000.0}


def feature() -> dict[str, Any]:
    """The area in which they live, as a GeoJSON Feature."""
    west, south, east, north = EAST, NORTH, EAST + EDGE_DEG, NORTH + EDGE_DEG
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    properties = {"id": "bench", "name": "Bench", "currency": "USD", "policy": POLICY}
    return {
        "type": "Feature",
        "properties": properties,
        "geometry": {"type": "Polygon", "coordinates": [ring]},
    }


def place(north_deg: float = 0.0, east_deg: float = EDGE_DEG / 2) -> dict[str, float]:
    """A point in the area, from its south western corner."""
    return {"latitude": NORTH + 0.01 + north_deg, "longitude": EAST + east_deg}


class Wait(NamedTuple):
    """`at_s` of the monotonic clock, which all processes share; `ms` is None when no answer came in ANSWER_S."""

    what: str  # fix, line, or heard: a line at the other one
    at_s: float
    ms: float | None


class Pair:
    """A driver and his passenger, once `ride` has returned; he waits where she is."""

    def __init__(
        self,
        url: str,
        driver: Account,
        passenger: Account,
        waits: list[Wait],
        where: tuple[float, float] = (0.0, EDGE_DEG / 2),
    ) -> None:
        self._url, self._accounts, self._waits, self._where = url, (driver, passenger), waits, where
        self.ride_id = str(uuid.uuid4())
        self._said_s: dict[str, float] = {}
        self._offer: asyncio.Future[Payload] = asyncio.get_running_loop().create_future()
        self.driver: Light
        self.passenger: Light

    async def ride(self) -> None:
        """Connects both and brings them together; nobody else may be free where they are. Raises OSError or
        TimeoutError."""
        driver, passenger = self._accounts
        self.driver = await connect(self._url, driver.token, partial(self._hear, driver.user_id))
        self.passenger = await connect(self._url, passenger.token, partial(self._hear, passenger.user_id))
        async with asyncio.timeout(ANSWER_S):
            here, there = place(*self._where), place(0.05 + self._where[0], self._where[1])
            await until_online(self.driver, here)
            trip = {"rideId": self.ride_id, "pickup": here, "dropoff": there, "class": "economy"}
            await _done(self.passenger, "request_ride", trip)
            offer = await self._offer
            if offer["job"]["rideId"] != self.ride_id:
                raise ConnectionError("the driver was offered somebody else's ride")
            await _done(self.driver, "accept_offer", {"offerId": offer["offerId"]})

    def _hear(self, user: str, event: str, payload: Payload) -> None:
        if event == "offer" and not self._offer.done():
            self._offer.set_result(payload)
        elif event == "new_message" and payload["senderId"] != user:
            said_s = self._said_s.pop(payload["message"])
            self._waits.append(Wait("heard", said_s, (time.monotonic() - said_s) * 1000))

    async def stream(self, first_s: float) -> None:
        at_s, north_deg = time.monotonic() + first_s, 0.0
        while True:
            await asyncio.sleep(at_s - time.monotonic())
            north_deg = (north_deg + 1e-4) % (EDGE_DEG / 2)
            await self._ask("fix", at_s, self.driver, "location_update", place(north_deg))
            at_s += FIX_EVERY_S

    async def chat(self, speaker: Light, first_s: float) -> None:
        at_s = time.monotonic() + first_s
        while True:
            await asyncio.sleep(at_s - time.monotonic())
            line = str(uuid.uuid4())
            self._said_s[line] = at_s
            await self._ask("line", at_s, speaker, "send_message", {"rideId": self.ride_id, "message": line})
            at_s += LINE_EVERY_S

    async def _ask(self, what: str, at_s: float, who: Light, event: str, payload: Payload) -> None:
        ms = None
        try:
            async with asyncio.timeout(ANSWER_S):
                if (await who.call(event, payload)).get("ok"):
                    ms = (time.monotonic() - at_s) * 1000
        except (OSError, TimeoutError):
            pass
        self._waits.append(Wait(what, at_s, ms))


async def until_online(driver: Light, where: Payload) -> None:
    """Goes online; a node needs a moment to hear of a new area. Raises OSError."""
    while True:
        answer = await driver.call("go_online", {"classes": ["economy"], **where})
        if answer["ok"]:
            return
        if answer["error"]["code"] != "outside_area":
            raise ConnectionError(f"go_online: {answer['error']['code']}")
        await asyncio.sleep(AGAIN_S)


async def _done(who: Light, event: str, payload: Payload) -> None:
    answer = await who.call(event, payload)
    if not answer.get("ok"):
        raise ConnectionError(f"{event}: {answer.get('error', {}).get('code')}")


Pipe = multiprocessing.connection.Connection


class Bystanders:
    """The process of theirs. `begin` returns when all of them ride; `end` says how long each had to wait."""

    def __init__(self, url: str, drivers: Sequence[Account], passengers: Sequence[Account]) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, far = context.Pipe()
        arguments = (far, url, list(zip(drivers, passengers, strict=True)))
        self._process = context.Process(target=_live, args=arguments, daemon=True)

    async def begin(self) -> None:
        """Raises StageError."""
        self._process.start()
        said = await self._said(READY_S)
        if said != "ready":
            raise StageError(f"the bystanders could not begin: {said}")

    async def end(self) -> list[Wait]:
        self._pipe.send("end")
        waits = await self._said(ANSWER_S)
        assert isinstance(waits, list)
        await asyncio.to_thread(self._process.join, ANSWER_S)
        return [Wait(*wait) for wait in waits]

    def kill(self) -> None:
        if self._process.is_alive():
            self._process.kill()

    async def _said(self, within_s: float) -> Any:
        if not await asyncio.to_thread(self._pipe.poll, within_s):
            raise StageError(f"the bystanders said nothing for {within_s:g} s")
        try:
            return self._pipe.recv()
        except EOFError:
            raise StageError("the bystanders are gone") from None


def _live(pipe: Pipe, url: str, people: list[tuple[Account, Account]]) -> None:
    try:
        uvloop.run(_lives(pipe, url, people))
    except Exception as error:
        pipe.send(f"{type(error).__name__}: {error}")


async def _lives(pipe: Pipe, url: str, people: list[tuple[Account, Account]]) -> None:
    waits: list[Wait] = []
    pairs = [Pair(url, driver, passenger, waits) for driver, passenger in people]
    for pair in pairs:
        await pair.ride()
    pipe.send("ready")
    told_to_end = asyncio.Event()
    asyncio.get_running_loop().add_reader(pipe.fileno(), told_to_end.set)
    lives = []
    for number, pair in enumerate(pairs):
        share = number / len(pairs)
        lives.append(asyncio.create_task(pair.stream(share * FIX_EVERY_S)))
        lives.append(asyncio.create_task(pair.chat(pair.driver, share * LINE_EVERY_S)))
        lives.append(asyncio.create_task(pair.chat(pair.passenger, (share + 0.5) % 1.0 * LINE_EVERY_S)))
    await told_to_end.wait()
    for life in lives:
        life.cancel()
    ended = await asyncio.gather(*lives, return_exceptions=True)
    if wrong := [each for each in ended if isinstance(each, Exception)]:
        raise wrong[0]
    pipe.send([tuple(wait) for wait in waits])
