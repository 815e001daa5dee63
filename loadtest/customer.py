"""A simulated passenger or sender: asks for a job, watches it to its end, chats, hands its code over.

Guarantees: at most one job at a time; a watch ends, with the job or after `WATCH_MOST_S`; what was asked
before a lost connection is found again afterwards.
"""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import dataclass
from typing import Any

from loadtest.geo import Point
from loadtest.pace import wait_event
from loadtest.person import Account, Person, Town
from loadtest.words import (
    BEFORE_PICKUP_STATES,
    CODE_PREFIX,
    PACKAGE,
    RIDE,
    TERMINAL_STATES,
    UNASSIGNED_STATES,
    Job,
    Kind,
    job_of,
    listed_jobs,
    place,
    point_of,
)

WATCH_MOST_S = 3 * 3600.0
SHORTEST_WATCH_WALL_S = 30.0
CODES = frozenset({"ride_code", "delivery_code"})
PROVED = frozenset({"arrived", "arrived_dropoff"})  # where a code is asked for next, if at all


@dataclass(frozen=True)
class Demand:
    """What a customer wants."""

    job_id: str
    kind: Kind
    pickup: Point
    dropoff: Point
    vehicle_class: str = "economy"
    pickup_address: str = "pickup"
    dropoff_address: str = "dropoff"


class Customer(Person):
    """A passenger, who is also a sender."""

    def __init__(self, town: Town, account: Account) -> None:
        super().__init__(town, account)
        self.job: Job | None = None
        self.position_age_s = 0.0
        self._over = asyncio.Event()
        self._thanked = False
        self._code: str | None = None
        self._code_sent = False
        self._handlers |= {
            "ride_status_update": self._status,
            "package_status_update": self._status,
            "driver_assigned": self._assigned,
            "new_message": self._message,
            "notification": self._notified,
        }

    async def order(self, demand: Demand, *, driver_free: bool = True) -> str:
        """Asks for a job and watches it; returns how it ended (`refused` when it never began)."""
        self._begin(Job(demand.job_id, demand.kind, demand.pickup, demand.dropoff))
        self.town.tally.asked(self.id, demand.job_id, driver_free=driver_free)
        answer = await self.ask(demand.kind.request, _request(demand, self.account.name))
        if not answer.get("ok"):
            self.job = None
            return "refused"
        if (wait_s := self.town.temper.cancels_after_s(self.id, demand.job_id)) is not None:
            self._spawn(self._cancel_after(demand, wait_s))
        return await self._watch()

    async def welcome(self, payload: dict[str, Any]) -> None:
        known = {job_id: kind for kind, job_id, _ in listed_jobs(payload)}
        if self.job is not None:
            known[self.job.id] = self.job.kind
        for job_id, kind in known.items():
            await self._look_again(kind, job_id)

    async def finish_left_over(self) -> None:
        """Watches a job that an earlier run of this program left behind, if there is one."""
        if self.job is not None:
            await self._watch()

    async def call_off(self) -> None:
        """Leaves no request behind that nobody waits for."""
        job = self.job
        if job is not None and job.state in BEFORE_PICKUP_STATES:
            await self._ask_once(job.kind.cancel, {job.kind.id_field: job.id, "reason": "going home"})

    async def _watch(self) -> str:
        assert self.job is not None
        wall_s = max(self.town.pace.wall_s(WATCH_MOST_S), SHORTEST_WATCH_WALL_S)
        if not await wait_event(self._over, wall_s):
            self.town.tally.error("loadtest", "a job that never ended")
        state, self.job = self.job.state, None
        self.town.tally.counts[f"ended_{state}"] += 1
        return state

    def _begin(self, job: Job) -> None:
        self.job = job
        self._over.clear()
        self._thanked, self._code, self._code_sent = False, None, False

    async def _look_again(self, kind: Kind, job_id: str) -> None:
        shot = await self.ask(kind.join, {kind.id_field: job_id})
        if not shot.get("ok"):
            # The job is gone and its room with it: it ended while this phone was away.
            if self.job is not None and self.job.id == job_id and shot:
                self._over.set()
            return
        if self.job is None and "pickup" in shot:
            self._begin(Job(job_id, kind, point_of(shot["pickup"]), point_of(shot["dropoff"])))
        self._moved({**shot, kind.id_field: job_id})

    async def _cancel_after(self, demand: Demand, wait_s: float) -> None:
        await self.town.pace.pause(wait_s)
        job = self.job
        if job is not None and job.id == demand.job_id and job.state in UNASSIGNED_STATES | {"assigned"}:
            await self.ask(
                demand.kind.cancel, {demand.kind.id_field: demand.job_id, "reason": "changed my mind"}
            )

    # -- what the room says

    def _status(self, payload: dict[str, Any]) -> None:
        self._moved(payload)

    def _assigned(self, payload: dict[str, Any]) -> None:
        self._moved({"state": "assigned", **payload})

    def _moved(self, payload: dict[str, Any]) -> None:
        found = job_of(payload)
        if self.job is None or found is None or found[1] != self.job.id:
            return
        self.job.state = str(payload.get("state", self.job.state))
        if isinstance(code := payload.get("code"), str):
            self._code = code  # it was told while this phone was away
        if self.job.state in TERMINAL_STATES:
            self._over.set()
        self._pass_code_on()

    def _message(self, payload: dict[str, Any]) -> None:
        found = job_of(payload)
        mine = self.job is not None and found is not None and found[1] == self.job.id
        if mine and payload.get("senderId") != self.id and not self._thanked:
            self._thanked = True
            self._spawn(self._chat("Thank you, I am waiting."))

    def _notified(self, payload: dict[str, Any]) -> None:
        data = payload.get("data") or {}
        job = self.job
        if payload.get("type") in CODES and job is not None and data.get(job.kind.id_field) == job.id:
            self._code = str(data.get("code"))
            self._pass_code_on()

    def _pass_code_on(self) -> None:
        """The code is given away only when the driver stands at the pickup, or the courier at the dropoff."""
        if self.job is None or self.job.state not in PROVED or self._code is None or self._code_sent:
            return
        self._code_sent = True
        self._spawn(self._chat(CODE_PREFIX + self._code))

    async def _chat(self, text: str) -> None:
        if (job := self.job) is not None:
            line = {"id": str(uuid.uuid4()), job.kind.id_field: job.id, "message": text, "type": "text"}
            await self.ask("send_message", line)


def _request(demand: Demand, name: str) -> dict[str, Any]:
    payload: dict[str, Any] = {
        demand.kind.id_field: demand.job_id,
        "pickup": place(demand.pickup, demand.pickup_address),
        "dropoff": place(demand.dropoff, demand.dropoff_address),
    }
    if demand.kind is RIDE:
        return payload | {"class": demand.vehicle_class}
    assert demand.kind is PACKAGE
    recipient = {"name": name or "Recipient", "phone": "+380000000000"}
    return payload | {"size": "small", "weightKg": 2.0, "recipient": recipient}
