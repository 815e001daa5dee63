"""An administrator at work while things break: gives and takes jobs by hand, ends some, lets people in no more.

Every command carries a reason of its own, by which its line is found in the audit log. Who could be given what is seen
over the shoulders of the others, as a console would show it; whoever was faster, it is refused, which is an answer.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Sequence

from loadtest.faults.drivers import Driver
from loadtest.faults.phones import Lines, Patient, Rider
from loadtest.person import Account, Town
from loadtest.words import PACKAGE, UNASSIGNED_STATES, Job

EVERY_S = (0.4, 1.2)
BEFORE_PICKUP = frozenset({"assigned", "arrived", "arrived_pickup"})
#: How often each is done, beside the others.
WEIGHTS = {"assign": 4, "unassign": 2, "cancel": 1, "complete": 1, "block": 2}


class Admin(Patient):
    """One command after another. `strangers` are accounts that nobody uses; without any nobody is blocked."""

    def __init__(self, lines: Lines, town: Town, account: Account, strangers: Sequence[str]) -> None:
        super().__init__(town, account)
        self.lines = lines
        self._strangers = list(strangers)
        self._blocked: set[str] = set()

    async def keep_on(self, riders: Sequence[Rider], drivers: Sequence[Driver]) -> None:
        acts = {act: weight for act, weight in WEIGHTS.items() if act != "block" or self._strangers}
        while not self.lines.closing.is_set():
            (act,) = self._random.choices([*acts], [*acts.values()])
            if act == "block":
                await self._block()
            else:
                jobs = [rider.job for rider in riders if rider.job is not None]
                await self._handle(act, jobs, [driver for driver in drivers if driver.free])
            await asyncio.sleep(self._random.uniform(*EVERY_S))

    async def _handle(self, act: str, jobs: list[Job], free: list[Driver]) -> None:
        states = {
            "assign": UNASSIGNED_STATES,
            "unassign": BEFORE_PICKUP,
            "cancel": UNASSIGNED_STATES | BEFORE_PICKUP,
            "complete": frozenset({"in_progress", "arrived_dropoff"}),
        }[act]
        fit = [job for job in jobs if job.state in states]
        if not fit or (act == "assign" and not free):
            return
        job = self._random.choice(fit)
        what = {job.kind.id_field: job.id, "reason": _reason()}
        if act == "assign":
            await self.ask("assign_job", {**what, "driverId": self._random.choice(free).id})
        elif act == "unassign":
            await self.ask("unassign_job", what)
        elif act == "cancel":
            await self.ask(job.kind.cancel, what)
        else:
            status = "delivered" if job.kind is PACKAGE else "completed"
            await self.ask(job.kind.status_event, {**what, "status": status})

    async def _block(self) -> None:
        who = self._random.choice(self._strangers)
        event = "unblock_user" if who in self._blocked else "block_user"
        if (await self.ask(event, {"userId": who, "reason": _reason()})).get("ok"):
            self._blocked ^= {who}


def _reason() -> str:
    return f"by hand {uuid.uuid4()}"
