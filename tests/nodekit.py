"""A node without sockets: the real gate, leases, speaker, clock, desk and scripts on a real Redis, in process.

Sessions have a wire that keeps what it was told. For what happens between handlers, the log and the tick,
where a socket would only add noise.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from dispatch.area import Area, Areas
from dispatch.cells import cell_of
from dispatch.commands import Revive
from dispatch.desk import Desk
from dispatch.policy import Policy
from dispatch.rounds import Rounds
from dispatch.wording import user_room
from rooms.clock import Clock
from rooms.door import Door
from rooms.fixes import Fixes
from rooms.gate import Gate, House, session_of
from rooms.handlers import HANDLERS
from rooms.presence import Presence
from rooms.quotes import Quotes
from rooms.registry import Registry
from rooms.rounds import Leader
from rooms.session import Session
from rooms.speaker import Speaker
from rooms.tasks import Tasks
from rooms.transport import Frame
from storage.accounts import Who
from storage.fleet import Fleet
from storage.log import Log
from storage.presence import Leases
from storage.records import Driver, Job, UserId
from storage.roomlog import RoomLog
from storage.shard import Shard

HERE = {"latitude": 0.5, "longitude": 0.5}
THERE = {"latitude": 0.51, "longitude": 0.5}
SQUARE = {"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]]]}
ONLINE = {"classes": ["economy"], **HERE}


class Kept:
    """A client's end that keeps what it was told."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.closed = ""
        self.takes = 2**30  # frames more that it takes

    def tell(self, frame: Frame) -> None:
        self.told.append(frame.text[1:])

    def tell_latest(self, key: str, frame: Frame) -> None:
        self.told.append(frame.text[1:])

    def reads(self) -> bool:
        return len(self.told) < self.takes

    def laden(self) -> bool:
        return False

    def close(self, why: str) -> None:
        self.closed = why

    def end(self, why: str) -> None:
        self.closed = why

    def heard(self, event: str) -> int:
        return sum(f'["{event}"' in text for text in self.told)


class OneKey:
    """A key ring of one key, in no file."""

    def signing(self) -> tuple[str, bytes]:
        return "one", b"x" * 32

    def secret(self, kid: str) -> bytes:
        return {"one": b"x" * 32}[kid]


NOBODY: Any = None


class NoVehicles:
    async def vehicle(self, vehicle_id: str, user_id: str) -> None:
        return None


class Node:
    def __init__(self, shard: Shard, name: str, areas: Areas) -> None:
        self.shard, self.log, self.fleet = shard, Log(shard, node=name), Fleet(shard)
        self.registry = Registry()
        self.speaker = Speaker(self.log, self.registry)
        self.fixes = Fixes(self.fleet, self.speaker, name)
        self.fixes.leases.areas = areas
        self.desk = Desk(self.log, self.fleet, areas)
        self.clock = Clock(self.desk)
        self.fixes.leases.revive = self.revive
        self.presence = Presence(Leases(shard, name), self.registry, self.fixes.tick)
        accounts, quotes = NoVehicles(), Quotes(OneKey())
        parts: Any = (
            self.desk,
            RoomLog(shard),
            self.registry,
            self.speaker,
            self.fixes,
            accounts,
            quotes,
            self.presence,
            None,
            None,
            name,
        )
        self.gate = Gate(House(*parts), HANDLERS)
        self.door = Door(self.gate.house, NOBODY, {}, NOBODY)

    def revive(self, session: Session) -> bool:
        user = session.user_id
        return self.clock.soon(Revive(user=user, room=user_room(user), device=session.device))

    def arrive(self, role: str, user: str = "", *, http: bool = False) -> tuple[Session, Kept]:
        user = user or str(uuid.uuid4())
        wire = Kept()
        who = Who(user_id=UserId(user), session_id="login", role=role, name=role.title())
        device = "http:login" if http else uuid.uuid4().hex
        session = session_of(who, device, None if http else wire)
        self.registry.add(session)
        return session, wire

    async def connect(self, role: str, user: str) -> tuple[Session, Kept]:
        """As a socket of a user who has proved who he is: `connected` is the first that he is told."""
        wire = Kept()
        who = Who(user_id=UserId(user), session_id="login", role=role, name=role.title())
        session = session_of(who, uuid.uuid4().hex, wire)
        await self.door.enter(session)
        await self.door.opened(session)
        return session, wire

    def depart(self, session: Session) -> None:
        self.registry.remove(session)
        self.fixes.leases.unseat(session)

    async def say(self, session: Session, event: str, payload: dict[str, Any]) -> dict[str, Any]:
        """What the transport does with an event; where it was held back, what follows the answer is told."""
        answer = self.gate.hear(session, event, [payload])
        if isinstance(answer, dict):
            return answer
        if not HANDLERS[event].holds:
            return await answer
        session.hold_back()
        try:
            ack = await answer
            if session.wire is not None:
                session.wire.tell(Frame(b"43" + msgspec.json.encode([ack])))
            return ack
        finally:
            session.release()

    async def driver(self, user: str) -> Driver:
        record = (await self.log.load([(Driver, user)])).records[Driver, user]
        assert isinstance(record, Driver)
        return record

    async def job(self, id_: str) -> Job:
        record = (await self.log.load([(Job, id_)])).records[Job, id_]
        assert isinstance(record, Job)
        return record

    async def indexed(self, user: str, vehicle_class: str = "economy") -> bool:
        found = await self.fleet.read(vehicle_class, [cell_of(lat_deg=0.5, lng_deg=0.5)])
        return user in {position.driver_id for position in found}


@asynccontextmanager
async def node(
    redis_url: str, name: str = "n1", areas: Areas | None = None, **policy: Any
) -> AsyncIterator[Node]:
    """A running node; `policy` is the area's, unless `areas` are given."""
    shard, tasks = Shard("main", redis_url), Tasks()
    area = Area(id="a", name="A", shard="main", polygon=SQUARE, currency="USD", policy=Policy(**policy))
    made = Node(shard, name, areas or Areas([area]))
    made.fixes.tick.set_clock(await made.log.now_ms())
    started = asyncio.Event()
    tasks.start(made.speaker.run(started), "speaker")
    await started.wait()
    tasks.start(made.fixes.run(0.01), "fixes")
    tasks.start(made.presence.run(), "presence")
    tasks.start(made.clock.sweep(0.02, made.fixes.tick), "sweep")
    tasks.start(Leader(Rounds(made.desk), made.log.waiting, name).run(0.02), "rounds")
    for number in range(4):
        tasks.start(made.clock.work(), f"clock {number}")
    try:
        yield made
    finally:
        await tasks.stop()
        await shard.close()
