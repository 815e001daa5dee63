"""What is remembered: the live records of one shard, frozen, without any import of the project.

A record is stored whole, as JSON, beside its version; nobody changes a field in place. `version` is the
version it was read at (0: it does not exist yet) and is the fence of every write: the commit script bumps
it, or does nothing. Times are integer milliseconds of the shard's Redis clock, money is minor units.
"""

from typing import Any, NewType

import msgspec

UserId = NewType("UserId", str)
JobId = NewType("JobId", str)
OfferId = NewType("OfferId", str)
Room = NewType("Room", str)

#: So many jobs of one requester may be open at once; all of them fit into what `connected` tells.
OPEN_JOBS_MAX = 20
#: So many chat lines of one user in one job are remembered by their ids, about 300 bytes each.
LINES_MAX = 2_000
#: A record that Redis lost goes on so far above the last version that was written down: what a phone saw of the
#: versions between was lost.
LEAP = 1_000
#: So many other drivers are asked to take a job over from the one who has it, and shown that; then he keeps it.
TAKEOVERS_MAX = 2
#: Nor is anybody asked beside him once so many offers of the job were not shown: phones that show nothing must not be
#: asked one after the other for as long as he is on his way.
UNSEEN_MAX = 10


class Place(msgspec.Struct, frozen=True, omit_defaults=True):
    latitude: float
    longitude: float
    address: str = ""


class Parcel(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a package job carries; `recipient_phone` never leaves the job's parties."""

    size: str
    weight_kg: float = 0.0
    fragile: bool = False
    tier: str = "standard"
    recipient_name: str = ""
    recipient_phone: str = ""


class Job(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="record", tag="job"):
    """A demand: a ride or a package. `units` is the capacity it takes; 0 means the whole vehicle. `needs_person` is
    why it waits for a person; `restored` the version that PostgreSQL had of it when Redis had lost it. `passed` are the
    drivers whose phones did not show them their offer, each with the Redis ms from which he may be asked again, and
    `unseen` how many of the `offers` came to that. `moved_from` are those whose offers were withdrawn for who is asked
    now. An assigned job with an `offer_id` is its driver's until the one who
    was asked takes it over; `takeovers` were asked so, but for those who were not shown it, and a `settled` one changes
    its driver for a nearer one no more: it did once, or an admin chose him."""

    id: JobId
    kind: str
    state: str
    requester_id: UserId
    requester_name: str
    area_id: str
    vehicle_class: str
    pickup: Place
    dropoff: Place
    stops: tuple[Place, ...] = ()
    units: int = 0
    seats: int = 1
    note: str = ""
    parcel: Parcel | None = None
    fare_minor: int = 0
    currency: str = ""
    distance_m: float = 0.0
    duration_s: float = 0.0
    driver_id: UserId | None = None
    driver_name: str = ""
    vehicle_id: str | None = None
    vehicle: str = ""
    offer_id: OfferId | None = None
    offered_to: UserId | None = None
    offers: int = 0
    unseen: int = 0
    takeovers: int = 0
    settled: bool = False
    passed: dict[UserId, int] = {}
    moved_from: tuple[UserId, ...] = ()
    excluded: tuple[UserId, ...] = ()
    created_ms: int = 0
    scheduled_ms: int = 0
    searching_ms: int = 0
    assigned_ms: int = 0
    arrived_ms: int = 0
    started_ms: int = 0
    ended_ms: int = 0
    wake_ms: int = 0
    code: str = ""
    code_tries: int = 0
    reason: str = ""
    ended_by: UserId | None = None
    needs_person: str = ""
    restored: int = 0
    version: int = 0

    @property
    def room(self) -> Room:
        return Room(f"{self.kind}:{self.id}")

    @property
    def may_change(self) -> bool:
        """Whether another driver may be asked to take it over, by what it knows of itself. What PostgreSQL gave back
        may have changed its driver already: it says nothing of that."""
        fixed = self.settled or bool(self.needs_person) or self.restored > 0
        often = self.takeovers >= TAKEOVERS_MAX or self.unseen >= UNSEEN_MAX
        return self.state == "assigned" and self.offer_id is None and not fixed and not often


class Offer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="record", tag="offer"):
    """A job held for one driver until `deadline_ms`. States: open, accepted, declined, expired,
    withdrawn (the job went away), lost (the driver did), unseen
    (he was not shown it by `unseen_ms`, which is 0 where his phone does not tell). `finishing`: he had another ride on
    board when he was asked, whose rest is `rest_s` of `eta_s`, and this one comes after it; with parcels on board he
    was `next_s` of it from his next stop. `more_s`: what he cost the match beside his way, and may be less than
    nothing; 0 where nobody knows. His idle time is no part of it."""

    id: OfferId
    job_id: JobId
    kind: str
    driver_id: UserId
    state: str
    made_ms: int
    deadline_ms: int
    distance_m: float
    eta_s: float
    finishing: bool = False
    rest_s: float = 0.0
    more_s: float = 0.0
    next_s: float = 0.0
    unseen_ms: int = 0
    seen_ms: int = 0
    ended_ms: int = 0
    reason: str = ""
    version: int = 0

    @property
    def rest_over_ms(self) -> int:
        """When his ride on board was to be over."""
        return self.made_ms + int(self.rest_s * 1000)

    def eta_at(self, now_ms: int) -> float:
        """How long he needs from now on: while he thinks, a ride on board goes on; who is free stands."""
        return self.eta_s - min(self.rest_s, max(0.0, (now_ms - self.made_ms) / 1000))


class Stop(msgspec.Struct, frozen=True, omit_defaults=True):
    """One stop of a driver's plan, taken off once it is behind him; `what` is pickup, stop or dropoff. A pickup begins
    at `ready_ms` at the earliest; a parcel's dropoff was promised by `due_ms`, and it weighs `weight_kg` (0: nobody
    knows)."""

    kind: str
    job_id: JobId
    what: str
    place: Place
    ready_ms: int = 0
    due_ms: int = 0
    weight_kg: float = 0.0


class History(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a driver did with his offers, as counts that fade (dispatch/reliability.py), as they were at `as_of_ms`."""

    taken: float = 0.0
    refused: float = 0.0
    given_back: float = 0.0
    as_of_ms: int = 0


class Driver(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="record", tag="driver"):
    """Whoever carries jobs out. (`node`, `generation`) is the lease: only the device that went online last, heard at
    `leased_ms`, may move him. `load` maps the jobs he carries to the capacity units they take; after `silence_ms`
    without a fix he is stale. `seats` are for passengers (0: nobody knows), `sizes` of parcels he takes (none: all), up
    to `max_weight_kg` in all (0: what the area allows, each); `papers` (licence …) say until which ms they are good.
    `tells_seen`: his phone says when it shows him an offer. `ride_over_ms` is when his last ride was over: where he was
    before is of no ride that comes after it; `idle_since_ms` when his last job was, or his shift began after it."""

    id: UserId
    name: str
    area_id: str
    classes: tuple[str, ...]
    capacity: int
    online: bool
    generation: int
    node: str = ""
    device: str = ""
    leased_ms: int = 0
    stale: bool = False
    vehicle_id: str | None = None
    vehicle: str = ""
    seats: int = 0
    sizes: tuple[str, ...] = ()
    max_weight_kg: float = 0.0
    papers: dict[str, int] = {}
    offer_id: OfferId | None = None
    tells_seen: bool = False
    silence_ms: int = 45_000
    load: dict[JobId, int] = {}
    plan: tuple[Stop, ...] = ()
    ride_over_ms: int = 0
    idle_since_ms: int = 0
    history: History = History()
    changed_ms: int = 0
    version: int = 0

    @property
    def free_since_ms(self) -> int:
        """Since when he has had no job, where he has none. A record of before, or one that PostgreSQL gave back, does
        not know: since it changed, then."""
        return self.idle_since_ms or self.changed_ms

    @property
    def spare(self) -> int:
        return self.capacity - sum(self.load.values())

    @property
    def load_kg(self) -> float:
        """Of all parcels on his plan, those too that are still to be picked up: so it holds in whatever order."""
        return sum(stop.weight_kg for stop in self.plan)

    @property
    def available(self) -> bool:
        """In supply: may stand in the index and may be offered a job."""
        return self.online and not self.stale and self.offer_id is None and self.spare > 0

    @property
    def finishing(self) -> bool:
        """He has one ride, its passenger on board and nothing before him but the dropoff: he may have one more, after
        it. Where a stop of its own is left, nobody is told when it is behind him."""
        return len(self.load) == 1 and [(stop.kind, stop.what) for stop in self.plan] == [("ride", "dropoff")]

    def has_queued(self, job_id: str) -> bool:
        """Whether a job of his comes after a ride that is not over: nothing of it can begin until then."""
        return bool(self.plan) and self.plan[0].kind == "ride" and self.plan[0].job_id != job_id

    def shown_from_ms(self, job: Job) -> int | None:
        """From when on where he is belongs to a job of his; None while a ride that comes before it is not over."""
        return None if self.has_queued(job.id) else max(job.assigned_ms, self.ride_over_ms)

    @property
    def state(self) -> str:
        if not self.online:
            return "offline"
        if self.stale:
            return "stale"
        if self.offer_id is not None:
            return "offered"
        return "busy" if self.load else "idle"


class Message(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="record", tag="message"
):
    """One chat line of a job's room."""

    id: str
    job_id: JobId
    kind: str
    sender_id: UserId
    sender_name: str
    type: str
    text: str
    sent_ms: int


class Read(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="record", tag="read"):
    """Everything up to `message_id` was read by `reader_id` (cumulative)."""

    job_id: JobId
    kind: str
    reader_id: UserId
    message_id: str
    read_ms: int


class Audit(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="record", tag="audit"):
    """What an admin did to a live job, for the audit log: who, what, to what, how it stood before and after."""

    id: str
    actor_id: UserId
    action: str
    subject_type: str
    subject_id: str
    details: dict[str, Any]
    at_ms: int


class Considered(msgspec.Struct, frozen=True, array_like=True):
    """A driver whom the match looked at for a job, and what came of it: `chosen`, or why not (dispatch/why.py). Cost
    and ETA are in whole seconds, from where the index showed him; `shadow_s` is his cost by the tried policy."""

    driver_id: UserId
    reason: str
    distance_m: int = 0
    eta_s: int = 0
    cost_s: int = 0
    shadow_s: int | None = None


class Choice(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="record", tag="choice"):
    """Why this driver, or nobody: one decision of the match. `id` is the offer's where there is one; `policy` and
    `shadow` are versions of the area's; `considered` stand by rank, and `more` were looked at beside them."""

    id: str
    job_id: JobId
    kind: str
    vehicle_class: str
    area_id: str
    policy: int
    path: str
    driver_id: UserId | None = None
    considered: tuple[Considered, ...] = ()
    more: int = 0
    shadow: int = 0
    shadow_driver_id: UserId | None = None
    at_ms: int


Stored = Job | Offer | Driver
Drained = Job | Offer | Driver | Message | Read | Audit | Choice
