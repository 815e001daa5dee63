"""A ride between two nodes in process, and what tests of `sync` ask and read."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from storage.records import JobId, Room
from storage.roomlog import Asked, RoomLog
from tests.nodekit import HERE, THERE, Kept, Node, node
from tests.support import wait_until
from tests.test_leases import online

Session = Any


class Ride:
    """A ride under way on two nodes; its parties' sessions are on the first."""

    def __init__(self, one: Node, two: Node) -> None:
        self.one, self.two = one, two
        self.passenger: Session
        self.driver: Session
        self.id = self.room = ""

    async def begin(self) -> None:
        self.passenger, self.heard = await self.one.connect("passenger", str(uuid.uuid4()))
        self.driver, wire = await self.one.connect("driver", str(uuid.uuid4()))
        await online(self.one, self.driver)
        asked = {"pickup": HERE, "dropoff": THERE}
        self.id = (await self.one.say(self.passenger, "request_ride", asked))["rideId"]
        self.room = f"ride:{self.id}"
        await wait_until(lambda: wire.heard("offer"))
        assert (await self.one.say(self.driver, "accept_offer", {"offerId": f"{self.id}.1"}))["ok"]
        await wait_until(lambda: self.heard.heard("driver_assigned"))

    async def chat(self, count: int = 1, by: Session = None) -> None:
        for n in range(count):
            line = {"rideId": self.id, "message": f"line {n}"}
            assert (await self.one.say(by or self.passenger, "send_message", line))["ok"]

    async def place(self) -> tuple[str, int]:
        (standing,) = await RoomLog(self.one.shard).stand([Asked(Room(self.room), JobId(self.id))])
        assert standing is not None
        return standing.epoch, standing.seq


@asynccontextmanager
async def riding(redis_url: str, **policy: Any) -> AsyncIterator[Ride]:
    policy = {"offer_s": 3600.0, "stale_s": 3600.0, "search_retry_s": 0.2} | policy
    async with node(redis_url, "n1", **policy) as one, node(redis_url, "n2", **policy) as two:
        ride = Ride(one, two)
        await ride.begin()
        yield ride


async def sync(n: Node, who: Session, *rooms: list[Any]) -> list[dict[str, Any]]:
    answer = await n.say(who, "sync", {"rooms": list(rooms)})
    assert answer["ok"], answer
    return json.loads(json.dumps(_plain(answer["rooms"])))  # type: ignore[no-any-return]


def _plain(rooms: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**each, "events": [json.loads(bytes(e)) for e in each.get("events", [])]} for each in rooms]


def told(wire: Kept, room: str) -> list[int]:
    """The numbers of a room that came to a client, in their order, be it in an answer or by themselves."""
    numbers = []
    for text in wire.told:
        payload = json.loads(text[1:])
        if text[0] == "2":
            if payload[1].get("room") == room and payload[0] != "connected":
                numbers.append(payload[1]["seq"])
        else:
            for each in payload[0].get("rooms", []):
                numbers += [fact[1]["seq"] for fact in each.get("events", []) if fact[1]["room"] == room]
    return numbers
