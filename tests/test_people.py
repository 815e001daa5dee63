"""The simulated people against a dispatcher of forty lines: jobs reach their end, codes pass, restarts are survived.

The toy keeps one driver and one job at a time; it exists so that the people can be tested without the server.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
import socketio
from aiohttp import web
from aiohttp.test_utils import TestServer

from loadtest import carrying
from loadtest.carrier import Carrier
from loadtest.carrying import Habits, straight
from loadtest.client import Pool
from loadtest.customer import Customer, Demand
from loadtest.geo import Point, Route
from loadtest.ledger import Ledger
from loadtest.pace import Pace
from loadtest.person import Account, Town
from loadtest.temper import Temper
from loadtest.words import KINDS, PACKAGE, RIDE, Kind
from tests.support import wait_until

A, B = Point(50.0, 36.0), Point(50.005, 36.0)


class Toy:
    """Offers every request to the one driver; says what he reports to the job's two parties."""

    def __init__(self) -> None:
        self.sio = socketio.AsyncServer(async_mode="aiohttp")
        self.sids: dict[str, str] = {}
        self.jobs: dict[str, dict[str, Any]] = {}
        self.statuses: list[str] = []
        self.fixes = 0
        self.pages = 0
        self.chat: list[dict[str, Any]] = []
        self.deaf: set[str] = set()  # who is told of no chat
        for name in (
            "connect",
            "go_online",
            "location_update",
            "accept_offer",
            "decline_offer",
            "send_message",
        ):
            self.sio.on(name, getattr(self, name))
        for kind in (RIDE, PACKAGE):
            self.sio.on(kind.request, self.request)
            self.sio.on(kind.status_event, self.status)
            self.sio.on(kind.join, self.join)
        self.sio.on("go_offline", self.go_online)

    async def connect(self, sid: str, environ: dict[str, Any], auth: dict[str, str]) -> None:
        self.sids[auth["token"]] = sid
        await self.sio.emit("connected", {"jobs": list(self.jobs.values())}, to=sid)

    async def go_online(self, sid: str, said: Any) -> dict[str, Any]:
        return {"ok": True}

    async def location_update(self, sid: str, said: Any) -> None:
        self.fixes += 1

    async def request(self, sid: str, said: dict[str, Any]) -> dict[str, Any]:
        kind = RIDE if "rideId" in said else PACKAGE
        job = {**said, "kind": kind.name, "state": "searching", "driver": None}
        self.jobs[said[kind.id_field]] = job
        offer = {"offerId": said[kind.id_field], "kind": kind.name, "job": job, "expiresInMs": 100}
        await self.sio.emit(
            "offer", offer | {"pickup": said["pickup"], "dropoff": said["dropoff"]}, to=self.sids["driver"]
        )
        return {"ok": True}

    async def accept_offer(self, sid: str, said: dict[str, Any]) -> dict[str, Any]:
        job = self.jobs[said["offerId"]]
        job["driver"] = {"id": "driver"}
        await self.say(job, "driver_assigned", "assigned")
        return {"ok": True}

    async def decline_offer(self, sid: str, said: dict[str, Any]) -> dict[str, Any]:
        await self.say(self.jobs[said["offerId"]], "ride_status_update", "no_driver")
        return {"ok": True}

    async def status(self, sid: str, said: dict[str, Any]) -> dict[str, Any]:
        job = self.jobs[said.get("rideId") or said["packageId"]]
        if said["status"] == "delivered" and said["proof"] != {"code": "4711"}:
            return {"ok": False, "error": {"code": "forbidden", "retry": False}}
        self.statuses.append(said["status"])
        await self.say(job, f"{job['kind']}_status_update", said["status"])
        if said["status"] == "picked_up":
            note = {"type": "delivery_code", "data": {"packageId": job["packageId"], "code": "4711"}}
            await self.sio.emit("notification", note, to=self.sids["customer"])
        return {"ok": True}

    async def join(self, sid: str, said: dict[str, Any]) -> dict[str, Any]:
        return {"ok": True, **self.jobs[said.get("rideId") or said["packageId"]]}

    async def send_message(self, sid: str, said: dict[str, Any]) -> dict[str, Any]:
        sender = next(user for user, known in self.sids.items() if known == sid)
        self.chat.append({**said, "senderId": sender})
        for user, to in self.sids.items():
            if user not in self.deaf:
                await self.sio.emit("new_message", self.chat[-1], to=to)
        return {"ok": True}

    async def page(self, request: web.Request) -> web.Response:
        """A job's page, to whoever has a part in it; PostgreSQL is away at first."""
        self.pages += 1
        who = request.headers["Authorization"].removeprefix("Bearer ")
        if self.pages <= 1:
            return web.json_response({"success": False}, status=503)
        job = self.jobs[request.match_info["id"]]
        assert who in ("customer", job["driver"]["id"])
        return web.json_response({"success": True, "data": {**job, "messages": self.chat}})

    async def say(self, job: dict[str, Any], event: str, state: str) -> None:
        job["state"] = state
        id_field = KINDS[job["kind"]].id_field
        await self.sio.emit(event, {id_field: job[id_field], "state": state, "driverId": "driver"})


class Standing:
    """A motion that stands at A, with a position every ten seconds."""

    def next_fix(self, after_s: float) -> tuple[float, Point] | None:
        return after_s + 10, A

    def position(self, at_s: float) -> Point | None:
        return A

    def moved(self, to: Point, at_s: float) -> None:
        pass

    def route(self, a: Point, b: Point) -> Route:
        return straight(a, b)


class Scene:
    def __init__(self, toy: Toy, pool: Pool, temper: Temper) -> None:
        self.toy = toy
        self.ledger = Ledger()
        town = Town(pool, Pace(1000.0), self.ledger, temper)
        town.pace.start()
        self.driver = Carrier(
            town, Account("driver", "driver", "driver"), Standing(), Habits(5.0, 10.0), classes=["economy"]
        )
        self.customer = Customer(town, Account("customer", "passenger", "customer"))

    async def begin(self) -> None:
        self.driver.start()
        self.driver.go_to_work()
        self.customer.start()
        await wait_until(lambda: self.driver.free and self.customer.ready.is_set())

    async def order(self, kind: Kind) -> str:
        demand = Demand(str(uuid.uuid4()), kind, A, B)
        self.ledger.ask(demand.job_id, self.customer.id, A, None)
        return await self.customer.order(demand)


@pytest_asyncio.fixture
async def scene(request: pytest.FixtureRequest) -> AsyncIterator[Scene]:
    toy, app = Toy(), web.Application()
    toy.sio.attach(app)
    app.router.add_get("/api/packages/{id}", toy.page)
    server = TestServer(app)
    await server.start_server()
    temper = getattr(request, "param", Temper(decline_share=0, silent_share=0))
    async with Pool(str(server.make_url(""))) as pool:
        scene = Scene(toy, pool, temper)
        await scene.begin()
        yield scene
        await asyncio.gather(scene.driver.stop(), scene.customer.stop())
    await toy.sio.shutdown()
    await server.close()


async def test_a_ride_goes_through_its_steps_and_the_driver_is_free_again(scene: Scene) -> None:
    assert await scene.order(RIDE) == "completed"
    # what was said without an answer is said again, and has one effect
    assert list(dict.fromkeys(scene.toy.statuses)) == ["arrived", "in_progress", "completed"]
    await wait_until(lambda: scene.driver.free)
    assert scene.ledger.counts["fixes_simulated"] > 5
    assert len(scene.ledger.acked_lines) == 2, "both said something"
    assert not scene.ledger.errors


async def test_a_parcel_is_delivered_with_the_code_that_the_sender_passed_on(scene: Scene) -> None:
    assert await scene.order(PACKAGE) == "delivered"
    assert scene.toy.statuses == ["arrived_pickup", "picked_up", "arrived_dropoff", "delivered"]
    assert not scene.ledger.errors


async def test_a_code_that_came_before_the_courier_listened_is_read_from_the_history(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(carrying, "READ_EVERY_WALL_S", 0.1)
    monkeypatch.setattr(carrying, "SHORTEST_CODE_WAIT_WALL_S", 1.0)
    scene.toy.deaf.add("driver")
    assert await asyncio.wait_for(scene.order(PACKAGE), 10) == "delivered"
    assert scene.toy.pages == 2, "the first time it could not be had"
    assert not scene.ledger.errors


async def test_a_courier_whose_job_is_taken_away_waits_for_no_code(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(carrying, "READ_EVERY_WALL_S", 0.1)
    scene.toy.deaf.add("driver")
    scene.toy.pages = -1_000  # nothing can be had
    order = asyncio.create_task(scene.order(PACKAGE))
    await wait_until(lambda: "arrived_dropoff" in scene.toy.statuses)
    (job,) = scene.toy.jobs.values()
    await scene.toy.say(job, "package_status_update", "cancelled")
    assert await asyncio.wait_for(order, 10) == "cancelled"
    await wait_until(lambda: scene.driver.free)
    assert not scene.ledger.errors


@pytest.mark.parametrize("scene", [Temper(decline_share=1.0, silent_share=0.0)], indirect=True)
async def test_a_driver_may_decline(scene: Scene) -> None:
    assert await scene.order(RIDE) == "no_driver"
    await wait_until(lambda: scene.driver.free)
    assert scene.ledger.counts["declined"] == 1


async def test_a_lost_connection_in_the_middle_of_a_job_is_taken_up_again(scene: Scene) -> None:
    order = asyncio.create_task(scene.order(RIDE))
    await wait_until(lambda: "arrived" in scene.toy.statuses)
    for sid in list(scene.toy.sids.values()):
        await scene.toy.sio.disconnect(sid)
    assert await asyncio.wait_for(order, 10) == "completed"
    await wait_until(lambda: scene.driver.free)
    # what was said without an answer is said again, and has one effect
    assert list(dict.fromkeys(scene.toy.statuses)) == ["arrived", "in_progress", "completed"]
