"""Random commands for a world that is known: mostly what could come next, sometimes what never should."""

from collections.abc import Callable
from random import Random
from typing import Any

from dispatch import commands as c
from dispatch.wording import user_room
from storage.records import Driver, Job, JobId, Offer, OfferId, Parcel, Place, Room, UserId
from tests.deskkit import CENTRE, Fold
from tests.invariants import NOBODYS, OVER

#: Who drives, with classes and capacity; `d1` asks for rides as well.
DRIVERS: dict[str, tuple[tuple[str, ...], int]] = {
    "d0": (("economy",), 1),
    "d1": (("economy", "comfort"), 1),
    "c0": (("parcel",), 3),
    "c1": (("economy", "parcel"), 3),
    "c2": (("parcel", "economy"), 1),
}
REQUESTERS = ("p0", "p1", "d1")
EVERYBODY = (*DRIVERS, *REQUESTERS, "x0")
LIVE_JOBS_MAX = 6
CODE = "428913"
NEXT = {
    "ride": {"assigned": "arrived", "arrived": "in_progress", "in_progress": "completed"},
    "package": {
        "assigned": "arrived_pickup",
        "arrived_pickup": "picked_up",
        "picked_up": "arrived_dropoff",
        "arrived_dropoff": "delivered",
        "failed": "returning",
        "returning": "returned",
    },
}


def near_centre(r: Random) -> tuple[float, float]:
    return CENTRE[0] + r.uniform(-0.03, 0.03), CENTRE[1] + r.uniform(-0.03, 0.03)


class Commands:
    def __init__(self, fold: Fold) -> None:
        self._fold = fold
        self._number = 0

    def any(self, r: Random) -> c.Command:
        live = [job for job in self._fold.all(Job) if job.state not in OVER]
        offers = [offer for offer in self._fold.all(Offer) if offer.state == "open"]
        carried = [job for job in live if job.state not in NOBODYS]
        out = [driver.state for driver in self._fold.all(Driver) if driver.state in ("offline", "stale")]
        choices: list[tuple[float, Callable[[Random], c.Command]]] = [
            (4.0 if len(live) < LIVE_JOBS_MAX else 0.1, self.open_job),
            (6.0 if offers else 0.1, self.answer),
            (8.0 if carried else 0.1, self.progress),
            (1.5, self.cancel),
            (2.5, self.chat),
            (1.0 + 2.0 * out.count("offline"), self.go_online),
            (0.8, self.go_offline),
            (0.5 + 2.0 * out.count("stale"), self.revive),
            (1.0, self.offer),
            (0.5, self.wander),
            (1.0, self.by_hand),
            (0.5, self.wake),
        ]
        weights, makers = zip(*choices, strict=True)
        made: c.Command = r.choices(makers, weights)[0](r)
        return made

    def _keyed(self, user: str, room: str) -> dict[str, Any]:
        self._number += 1
        return {"user": UserId(user), "room": Room(room), "key": f"k{self._number}", "content": "first"}

    def _some_job(self, r: Random, *states: str) -> Job | None:
        jobs = [job for job in self._fold.all(Job) if not states or job.state in states]
        return r.choice(jobs) if jobs else None

    def open_job(self, r: Random, kind: str = "") -> c.Command:
        self._number += 1
        # now and then a client takes the id of a driver, or one that is taken, for his job
        id_ = JobId(r.choice([*DRIVERS, "j1"]) if r.random() < 0.1 else f"j{self._number}")
        kind = kind or r.choice(["ride", "package"])
        kind_of_it: dict[str, Any] = {
            "kind": kind,
            "vehicle_class": "parcel" if kind == "package" else "economy",
        }
        if kind == "package":
            kind_of_it["parcel"] = Parcel(size="small", recipient_name="Rae", recipient_phone="+380501112233")
        return c.OpenJob(
            **self._keyed(r.choice(REQUESTERS), f"{kind}:{id_}"),
            **kind_of_it,
            job_id=id_,
            name="Pat",
            pickup=Place(*near_centre(r)),
            dropoff=Place(*near_centre(r)),
            stops=(Place(*near_centre(r)),) if r.random() < 0.1 else (),
            scheduled_ms=self._fold.at_ms + r.randrange(400_000) if r.random() < 0.15 else 0,
        )

    def answer(self, r: Random) -> c.Command:
        offers = self._fold.all(Offer)
        open_ = [offer for offer in offers if offer.state == "open"] or offers
        offer = r.choice(open_ if r.random() < 0.9 else offers) if offers else None
        id_ = offer.id if offer else OfferId("j1.1")
        user = offer.driver_id if offer and r.random() < 0.93 else r.choice(EVERYBODY)
        who = self._keyed(user, user_room(user))
        kind = r.choices(["accept", "decline", "see"], [7, 2, 1])[0]
        if kind == "accept":
            thought_ms = r.choice([None, 1_000, 10_001])
            return c.AcceptOffer(**who, offer_id=id_, code=CODE, thought_ms=thought_ms)
        if kind == "decline":
            return c.DeclineOffer(**who, offer_id=id_)
        return c.SeeOffer(**who, offer_id=id_)

    def accept(self, offer: Offer) -> c.AcceptOffer:
        return c.AcceptOffer(
            **self._keyed(offer.driver_id, user_room(offer.driver_id)), offer_id=offer.id, code=CODE
        )

    def progress(self, r: Random) -> c.Command:
        job = self._some_job(r, *NEXT["ride"], *NEXT["package"])
        if job is None:
            return self.wander(r)
        to = NEXT[job.kind][job.state]
        if r.random() < 0.12:
            to = r.choice(["failed", "arrived_dropoff", "no_show", "searching", "cancelled", "completed"])
        code = job.code if r.random() < 0.9 else "wrong"
        return self._move(r, job, to, job.driver_id or "x0", code)

    def wander(self, r: Random) -> c.Command:
        """Any step by anybody."""
        job = self._some_job(r)
        if job is None:
            return self.open_job(r)
        return self._move(
            r, job, r.choice([*NEXT["ride"], *NEXT["package"], *OVER]), r.choice(EVERYBODY), job.code
        )

    def _move(self, r: Random, job: Job, to: str, user: str, code: str) -> c.Command:
        return c.MoveJob(
            **self._keyed(user, job.room),
            job_id=job.id,
            kind=job.kind,
            status=to,
            admin=r.random() < 0.03,
            otp=code,
            proof_code=code,
            has_proof=True,
            reason="because",
        )

    def step_of(self, job: Job, to: str) -> c.Command:
        """By its driver, with what it takes."""
        who = self._keyed(job.driver_id or "x0", job.room)
        return c.MoveJob(**who, job_id=job.id, kind=job.kind, status=to, otp=job.code)

    def cancel(self, r: Random) -> c.Command:
        job = self._some_job(r)
        if job is None:
            return self.open_job(r)
        user = r.choice([job.requester_id, job.driver_id or "x0", r.choice(EVERYBODY)])
        more = {"admin": r.random() < 0.1, "reason": "because"}
        return c.CancelJob(**self._keyed(user, job.room), job_id=job.id, kind=job.kind, **more)

    def by_hand(self, r: Random) -> c.Command:
        """An admin's, of any job, with any driver."""
        kind = r.choice([c.AssignJob, c.AssignJob, c.UnassignJob, c.LiftHold])
        states = (
            ("searching", "offered") if kind is c.AssignJob else ("assigned", "arrived", "arrived_pickup")
        )
        job = (r.random() < 0.8 and self._some_job(r, *states)) or self._some_job(r)
        if job is None:
            return self.open_job(r)
        more: dict[str, Any] = {"job_id": job.id, "kind": job.kind, "reason": "because"}
        if kind is c.AssignJob:
            more |= {"driver_id": UserId(r.choice([*DRIVERS, job.offered_to or "d0"])), "code": CODE}
        made: c.Command = kind(**self._keyed("x0", job.room), audit=f"a{self._number}", **more)
        return made

    def chat(self, r: Random) -> c.Command:
        job = (r.random() < 0.8 and self._some_job(r, *NEXT["ride"], *NEXT["package"])) or self._some_job(r)
        if job is None:
            return self.open_job(r)
        who = self._keyed(r.choice([job.requester_id, job.driver_id or "x0"]), job.room)
        if r.random() < 0.3:
            return c.ReadMessages(**who, job_id=job.id, kind=job.kind, message_id="m1")
        line = {"message_id": f"m{self._number}", "name": "Somebody", "type": "text", "text": "Hello"}
        if r.random() < 0.5:
            who["key"] = f"message:{line['message_id']}"
        return c.SendMessage(**who, **line, job_id=job.id, kind=job.kind)

    def _driver(self, r: Random, state: str) -> tuple[str, str]:
        """A driver, mostly one in that state, and a device: the one that holds the lease, or the other."""
        so = [driver.id for driver in self._fold.all(Driver) if driver.state == state]
        user = r.choice(so if so and r.random() < 0.7 else list(DRIVERS))
        driver = self._fold.records.get((Driver, user))
        if isinstance(driver, Driver) and r.random() < 0.75:
            return user, driver.device
        return user, r.choice(["a", "b"])

    def go_online(self, r: Random) -> c.Command:
        user, device = self._driver(r, "offline")
        return self.online(user, device, r)

    def online(self, user: str, device: str, r: Random) -> c.GoOnline:
        classes, capacity = DRIVERS[user]
        if r.random() < 0.3:
            capacity = r.randint(1, 4)
        lat, lng = near_centre(r)
        what = {"name": user, "node": "n0", "device": device, "classes": classes, "capacity": capacity}
        what["tells_seen"] = user in ("d0", "c1") or r.random() < 0.2
        return c.GoOnline(**self._keyed(user, user_room(user)), **what, latitude=lat, longitude=lng)

    def go_offline(self, r: Random) -> c.Command:
        user, device = self._driver(r, "offered")
        return c.GoOffline(**self._keyed(user, user_room(user)), device=device)

    def revive(self, r: Random) -> c.Command:
        user, device = self._driver(r, "stale")
        return c.Revive(user=UserId(user), room=user_room(user), device=device)

    def offer(self, r: Random) -> c.Command:
        """A match that knows nothing: any driver, also one who was asked before or is busy."""
        job = self._some_job(r, r.choice(["searching", "offered"])) or self._some_job(r)
        if job is None:
            return self.open_job(r)
        driver = UserId(r.choice([*DRIVERS, *job.excluded]))
        near: dict[str, Any] = {"driver_id": driver, "distance_m": 500.0, "eta_s": 60.0}
        near["rest_s"] = r.choice([None, 0.0, 60.0, 181.0])
        if r.random() < 0.5:
            near |= {"instead": job.offer_id, "instead_of": job.offered_to}
        elif r.random() < 0.5:
            near |= {"beside": job.driver_id}
        return c.MakeOffer(user=c.SYSTEM, room=job.room, job_id=job.id, **near)

    def beside(self, job: Job, driver: Driver) -> c.MakeOffer:
        near: dict[str, Any] = {"driver_id": driver.id, "distance_m": 500.0, "eta_s": 60.0}
        return c.MakeOffer(user=c.SYSTEM, room=job.room, job_id=job.id, **near, beside=job.driver_id)

    def about(self, job: Job, r: Random) -> c.Command:
        """What may happen to an accepted job before its pickup."""
        his, of = job.driver_id or UserId("x0"), {"job_id": job.id, "kind": job.kind}
        what = r.choice(["there", "off", "back", "unassign", "silent", "timer"])
        if what == "there":
            return self._move(r, job, NEXT[job.kind]["assigned"], his, job.code)
        if what in ("off", "back"):
            return c.CancelJob(**self._keyed(his if what == "back" else job.requester_id, job.room), **of)
        if what == "unassign":
            return c.UnassignJob(**self._keyed("x0", job.room), audit=f"a{self._number}", reason="so", **of)
        if what == "silent":
            return c.WakeDriver(user=c.SYSTEM, room=user_room(his), driver_id=his)
        return c.WakeJob(user=c.SYSTEM, room=job.room, job_id=job.id)

    def wake(self, r: Random) -> c.Command:
        """A timer of another node's sweep, which may be early or late."""
        job = self._some_job(r)
        if job is not None and r.random() < 0.6:
            return c.WakeJob(user=c.SYSTEM, room=job.room, job_id=job.id)
        user = UserId(r.choice(list(DRIVERS)))
        return c.WakeDriver(user=c.SYSTEM, room=user_room(user), driver_id=user)
