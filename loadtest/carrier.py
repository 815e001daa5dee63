"""A simulated driver or courier: streams positions, answers offers by temper, carries jobs out, chats on
the way.

Guarantees: positions keep to their own schedule whatever the server does (open loop); at most one job at a
time, and one ride that comes after it. Who this person carries (rides, parcels or both) is decided by the
classes he goes online with.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Sequence
from typing import Any

from loadtest.carrying import Habits, JobOver, Motion, Trip
from loadtest.geo import Point, distance_m
from loadtest.pace import iso_utc
from loadtest.person import Account, Person, Town
from loadtest.words import (
    PACKAGE,
    PARCEL,
    TERMINAL_STATES,
    UNASSIGNED_STATES,
    Job,
    Kind,
    job_of,
    listed_jobs,
    offered_job,
    point_of,
)

TAKEN_AWAY = (TERMINAL_STATES - {"completed", "delivered"}) | UNASSIGNED_STATES


class Carrier(Person):
    """A driver or courier. `state` is his own view: offline, idle, offered, busy, rejoining."""

    def __init__(
        self, town: Town, account: Account, motion: Motion, habits: Habits, *, classes: list[str]
    ) -> None:
        super().__init__(town, account)
        self.state = "offline"
        self.trip: Trip | None = None
        self.next: Job | None = None
        self.here: Point | None = None
        self.fix_s = float("-inf")
        self._motion = motion
        self._habits = habits
        self._classes = classes
        self._offer_id: str | None = None
        self._handlers |= {
            "offer": self._offered,
            "offer_withdrawn": self._withdrawn,
            "notification": self._notified,
            "ride_status_update": self._status,
            "package_status_update": self._status,
            "new_message": self._message,
        }

    def go_to_work(self) -> None:
        """Begins to stream positions, and goes online with the first."""
        self._spawn(self._stream())

    @property
    def free(self) -> bool:
        """Online without a job and without an open offer, by this person's own knowledge."""
        return self.state == "idle" and self.ready.is_set()

    def serves(self, kind: Kind, vehicle_class: str) -> bool:
        return (PARCEL if kind is PACKAGE else vehicle_class) in self._classes

    # -- supply

    async def welcome(self, payload: dict[str, Any]) -> None:
        listed = [each for each in listed_jobs(payload) if each[2] not in TERMINAL_STATES]
        # who is on board comes first
        jobs = {job_id: kind for kind, job_id, _ in sorted(listed, key=lambda each: each[2] != "in_progress")}
        if self.trip is not None and self.trip.job.id not in jobs:
            self.trip.over.set()
        if self.next is not None and self.next.id not in jobs:
            self.next = None
        self._offer_id = None  # an offer does not outlive the connection it was made over
        await self._go_online()
        for job_id, kind in jobs.items():
            await self._take_up(kind, job_id)

    async def _go_online(self) -> None:
        here = self.here if self.trip is not None else self._motion.position(self.town.pace.now_s())
        if here is None:
            self.state = "offline"
            return
        if self.trip is None:
            self.state = "rejoining"
        place = {"latitude": here.latitude, "longitude": here.longitude}
        tells = {"offerSeen": True} if self._habits.tells_seen else {}
        answer = await self.ask("go_online", {"classes": self._classes, "capacity": 1, **place, **tells})
        if answer.get("ok"):
            self.here, self.fix_s = here, self.town.pace.now_s()
        if self.state == "rejoining":
            self.state = "idle" if answer.get("ok") else "offline"

    async def _stream(self) -> None:
        """The positions of a carrier without a job, each at its own time."""
        pace = self.town.pace
        at_s = pace.now_s()
        while (due := self._motion.next_fix(at_s)) is not None:
            at_s, point = due
            self.town.tally.late(await pace.until(at_s))
            if self.state == "offline" and self.ready.is_set():
                self._spawn(self._go_online())
            elif self.state in {"idle", "offered"}:
                await self._send_fix(point, at_s, None, self._habits.simulated_idle)

    async def _send_fix(self, point: Point, at_s: float, heading: float | None, simulated: bool) -> None:
        self.here, self.fix_s = point, at_s
        if not self.ready.is_set():
            self.town.tally.counts["fixes_while_disconnected"] += 1
            return
        timestamp = iso_utc(self.town.pace.epoch_ms(at_s))
        fix: dict[str, Any] = {
            "latitude": point.latitude,
            "longitude": point.longitude,
            "timestamp": timestamp,
        }
        if heading is not None:
            fix["heading"] = round(heading, 1)
        self.town.tally.fix_sent(self.id, timestamp, point, simulated)
        if not await self.say("location_update", fix):
            self.town.tally.counts["fixes_cut_off"] += 1

    # -- offers

    def _offered(self, payload: dict[str, Any]) -> None:
        after = self.state == "busy" and bool(payload.get("finishing")) and self.next is None
        if not (self.state == "idle" or after) or self.here is None:
            self.town.tally.counts["offers_while_not_idle"] += 1
            return
        self.state = "busy" if after else "offered"
        self._offer_id = str(payload["offerId"])
        if self._habits.tells_seen:
            self._spawn(self._tell_seen(self._offer_id))
        self._spawn(self._consider(payload, self._offer_id, self.here))

    async def _tell_seen(self, offer_id: str) -> None:
        await self.ask("offer_seen", {"offerId": offer_id})

    async def _consider(self, payload: dict[str, Any], offer_id: str, asked_at: Point) -> None:
        kind, job_id = offered_job(payload)
        answer, delay_s = self.town.temper.answer(self.account.name, job_id)
        if self._habits.yields(job_id):
            answer, delay_s = "decline", 0.0
        if answer == "silent":
            self.town.tally.counts["ignored"] += 1
            # Twice the offer's own time: the withdrawal normally comes first and frees this driver.
            await asyncio.sleep(2 * float(payload["expiresInMs"]) / 1000 + 2)
            self._free_of(offer_id)
            return
        await self.town.pace.pause(delay_s)
        if self._offer_id != offer_id:
            return
        if answer == "decline":
            self.town.tally.counts["declined"] += 1
            await self.ask("decline_offer", {"offerId": offer_id})
            self._free_of(offer_id)
            return
        told = await self.ask("accept_offer", {"offerId": offer_id})
        if not told.get("ok"):
            self._free_of(offer_id)
            return
        self.town.tally.accepted(self.id, job_id, asked_at, self.here or asked_at)
        job = Job(job_id, kind, point_of(payload["pickup"]), point_of(payload["dropoff"]), "assigned")
        if self.trip is not None:
            self.next = job
            self.town.tally.counts["taken_before_the_end"] += 1
        else:
            await self._carry(job)

    def _withdrawn(self, payload: dict[str, Any]) -> None:
        offer_id = str(payload.get("offerId"))
        if self._offer_id == offer_id:
            self.town.tally.counts["withdrawn"] += 1
            self._free_of(offer_id)

    def _free_of(self, offer_id: str) -> None:
        if self._offer_id == offer_id:
            self._offer_id = None
            if self.state == "offered":
                self.state = "idle"

    # -- jobs

    async def _take_up(self, kind: Kind, job_id: str) -> None:
        """After a fresh start: carries on a job that the server still knows this person to have, unless he does."""
        if self._has(job_id):
            return
        shot = await self.ask(kind.join, {kind.id_field: job_id})
        his = shot.get("ok") and (shot.get("driver") or {}).get("id") == self.id
        if not his or self._has(job_id) or shot["state"] in TERMINAL_STATES:
            return
        self.here = self.here or point_of(shot["pickup"])
        job = Job(job_id, kind, point_of(shot["pickup"]), point_of(shot["dropoff"]), str(shot["state"]))
        if self.state == "busy":
            self.next = job
        else:
            self.state = "busy"
            self._spawn(self._carry(job))

    def _has(self, job_id: str) -> bool:
        return job_id in (self.trip.job.id if self.trip else "", self.next.id if self.next else "")

    async def _carry(self, job: Job) -> None:
        self._offer_id, self.state = None, "busy"
        self.trip = Trip(self, self._send_fix, self._motion, self._habits, job=job)
        self._spawn(self._chat(job, "On my way."))
        assert self.here is not None
        try:
            await self.trip.run(self.here)
            self.town.tally.counts[f"finished_{job.kind.name}"] += 1
        except JobOver:
            self.town.tally.counts["jobs_taken_away"] += 1
        self.trip = None
        self._motion.moved(self.here, self.town.pace.now_s())
        if self.next is not None:
            job, self.next = self.next, None
            await self._carry(job)
        elif self._habits.rejoins:
            self.state = "rejoining"
            await self.ask("go_offline", {})
            await self._go_online()
        else:
            self.state = "idle"

    def _carries(self, payload: dict[str, Any]) -> Trip | None:
        found = job_of(payload)
        return self.trip if self.trip and found and found[1] == self.trip.job.id else None

    def _notified(self, payload: dict[str, Any]) -> None:
        trip = self._carries(payload.get("data") or {})
        if trip is not None and payload.get("type") == "job_taken_over":
            trip.over.set()  # another driver is nearer

    def _status(self, payload: dict[str, Any]) -> None:
        trip = self._carries(payload)
        if trip is not None and payload.get("state") in TAKEN_AWAY:
            trip.over.set()
        found = job_of(payload)
        if self.next and found and found[1] == self.next.id and payload.get("state") in TAKEN_AWAY:
            self.next = None

    def _message(self, payload: dict[str, Any]) -> None:
        if (trip := self._carries(payload)) is not None:
            trip.hear(payload)

    async def _chat(self, job: Job, text: str) -> None:
        line = {"id": str(uuid.uuid4()), job.kind.id_field: job.id, "message": text, "type": "text"}
        await self.ask("send_message", line)


def nearest_free_m(
    carriers: Sequence[Carrier], pickup: Point, now_s: float, oldest_s: float, radius_m: float
) -> float | None:
    """Distance to the nearest free carrier with a fresh position, by what the carriers themselves know."""
    away_m = (
        distance_m(carrier.here, pickup)
        for carrier in carriers
        if carrier.free and carrier.here is not None and now_s - carrier.fix_s <= oldest_s
    )
    return min((m for m in away_m if m <= radius_m), default=None)
