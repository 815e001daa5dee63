"""The drivers of a fault run, who go off duty, drive through tunnels, and hand in what they recorded there; and probes.

The behaviour is that of `carrier`, with the patience of `phones`.

| when | then |
|---|---|
| a tunnel, or no connection | positions are recorded, at most RECORDED_MAX, the oldest go first |
| the tunnel is behind him, or he is online again | what was recorded is handed in as one `location_batch` |
| nobody answers it | the same batch again, until somebody does |
| a job is done | now and then he rests: off duty, and on again |
| he is given a job by hand | he carries it, once he sees that it is his; a ride after one on board when that is over |
| somebody else ended his job, or took it over | he carries it no farther |
"""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

from loadtest.carrier import Carrier
from loadtest.carrying import Habits, Motion
from loadtest.faults.phones import Lines, Patient
from loadtest.geo import Point
from loadtest.pace import iso_utc
from loadtest.person import Account, Town
from loadtest.words import TERMINAL_STATES, Job, Kind, job_of

TUNNEL_SHARE, TUNNEL_FIXES = 0.04, (2, 6)
RECORDED_MAX = 500
REST_SHARE, REST_S = 0.3, (0.3, 2.0)
GIVEN_S = 1.0  # whoever has said yes to it himself is carrying it by then
HANDS_IN_EVERY = 6  # of a probe's times online; batches are limited to one in two seconds


class Driver(Patient, Carrier):
    """A driver who takes rides and parcels."""

    def __init__(
        self,
        lines: Lines,
        town: Town,
        account: Account,
        motion: Motion,
        *,
        habits: Habits,
        classes: list[str],
    ) -> None:
        super().__init__(town, account, motion, habits, classes=classes)
        self.lines = lines
        self._recorded: list[dict[str, Any]] = []
        self._tunnel = 0  # so many positions are still taken in it
        self._newest_ms = 0
        self._handlers["driver_assigned"] = self._assigned

    def _assigned(self, payload: dict[str, Any]) -> None:
        found = job_of(payload)
        if found is not None and payload.get("driverId") == self.id:
            self._spawn(self._take_given(*found))

    async def _take_given(self, kind: Kind, job_id: str) -> None:
        await asyncio.sleep(GIVEN_S)
        await self._take_up(kind, job_id)

    def _status(self, payload: dict[str, Any]) -> None:
        super()._status(payload)
        trip = self._carries(payload)
        if trip is not None and payload.get("state") in TERMINAL_STATES:
            trip.over.set()

    async def _carry(self, job: Job) -> None:
        self._spawn(self.talk_of(job))
        await super()._carry(job)
        if self._random.random() < REST_SHARE and not self.lines.closing.is_set():
            await self._rest()

    async def talk_of(self, job: Job) -> None:
        await asyncio.sleep(0)  # until the trip stands
        await self.talk(job)

    async def _rest(self) -> None:
        self.state = "rejoining"
        await self.ask("go_offline", {})
        await asyncio.sleep(self._random.uniform(*REST_S))
        await self._go_online()

    def _is_on(self, job: Job) -> bool:
        return self.trip is not None and self.trip.job.id == job.id

    async def _go_online(self) -> None:
        await super()._go_online()
        if self._recorded and self.state != "offline":
            self._spawn(self._hand_in())

    async def _send_fix(self, point: Point, at_s: float, heading: float | None, simulated: bool) -> None:
        at_ms = self.town.pace.epoch_ms(at_s)
        if at_ms <= self._newest_ms:
            return  # where a drive ends is said twice; in history it stands once
        self._newest_ms = at_ms
        self.lines.history.fix(self.id, iso_utc(at_ms), point)
        if not self._tunnel and self._random.random() < TUNNEL_SHARE:
            self._tunnel = self._random.randint(*TUNNEL_FIXES)
        if not self._tunnel and self.ready.is_set():
            await super()._send_fix(point, at_s, heading, simulated)
            return
        self.here, self.fix_s = point, at_s
        self._recorded.append(recorded(self.town, point, at_s))
        del self._recorded[:-RECORDED_MAX]
        self._tunnel -= bool(self._tunnel)
        if not self._tunnel and self.ready.is_set():
            self._spawn(self._hand_in())

    async def _hand_in(self) -> None:
        fixes, self._recorded = self._recorded, []
        if fixes:
            await self.ask("location_batch", {"batchId": str(uuid.uuid4()), "fixes": fixes})


class Probe(Patient):
    """Asks one node for commits again and again: by its answers the bench knows when that node is well. As soon as
    it is online it hands in where it is, which only who has the lease may do."""

    def __init__(self, lines: Lines, town: Town, account: Account, node: int, here: Point) -> None:
        super().__init__(town, account)
        self.lines = lines
        self.home = node
        self._here = here

    async def keep_asking(self, every_s: float) -> None:
        place = {"latitude": self._here.latitude, "longitude": self._here.longitude}
        times = 0
        while not self.lines.closing.is_set():
            answer = await self.ask("go_online", {"classes": ["premium"], **place})
            times += bool(answer.get("ok"))
            if times >= HANDS_IN_EVERY:
                times = 0
                fix = recorded(self.town, self._here, self.town.pace.now_s())
                await self.ask("location_batch", {"batchId": str(uuid.uuid4()), "fixes": [fix]})
            await asyncio.sleep(every_s)


def recorded(town: Town, point: Point, at_s: float) -> dict[str, Any]:
    """A position as a phone keeps it."""
    timestamp = iso_utc(town.pace.epoch_ms(at_s))
    return {"latitude": point.latitude, "longitude": point.longitude, "timestamp": timestamp}
