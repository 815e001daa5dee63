"""What can be asked of the dispatcher, and how it says no.

A command is a frozen value: who asks (`user`, from the token, never from a payload) and what for. `room` is
where its answer is remembered; `key` names it there, so that the same key again gets the first answer; a
command without a key is never remembered; `content` is a digest of what was asked, so that the same key with
other content is told apart. `drove` names a driver's device that went online: once a newer one did, what the older
says of offers and jobs has no effect. `audit` is the id under which the audit log keeps what an admin did to a job of
others. Commands of the system (timers, the match) have the user "system".
"""

from collections.abc import Iterable
from typing import Any

import msgspec

from storage.records import Considered, Driver, Job, JobId, Offer, OfferId, Parcel, Place, Room, UserId

SYSTEM = UserId("system")

#: One meaning each; the second member says whether the same command may be said again at once, without a change.
CODES: dict[str, tuple[str, bool]] = {
    "bad_request": ("The message is malformed, out of range, or has fields it may not have.", False),
    "unauthenticated": ("No valid token: log in again.", False),
    "forbidden": ("You may not do this.", False),
    "not_found": ("There is no such thing that you may see.", False),
    "outside_area": ("No service area contains this place.", False),
    "no_supply": ("Nobody can take this now.", False),
    "offer_gone": ("The offer is over: answered, expired or withdrawn.", False),
    "already_assigned": ("Somebody else has this job.", False),
    "wrong_state": ("The job or driver is not in a state that allows this.", False),
    "duplicate": ("This id or commandId was used for something else.", False),
    "rate_limited": ("Too many of these; slow down.", False),
    "too_large": ("The message is too large.", False),
    "superseded": ("A newer device of yours has gone online; go online here to take over.", False),
    "unavailable": ("A part of the service does not answer; try the same command again.", True),
    "draining": ("This server is going away; reconnect and try again.", True),
}


class Refusal(Exception):
    """The one way to say no inside; the gate turns it into `{"ok": false, "error": …}`. `again_in_s`: the same is
    allowed after so long; 0 where waiting alone changes nothing."""

    def __init__(self, code: str, message: str = "", *, again_in_s: int = 0) -> None:
        meaning, self.retry = CODES[code]
        self.code = code
        self.again_in_s = again_in_s
        self.message = message or meaning
        super().__init__(f"{code}: {self.message}")


def not_one_of(field: str, words: Iterable[str]) -> Refusal:
    """A field holds a word that is none of those which hold here."""
    return Refusal("bad_request", f"{field} must be one of: {', '.join(sorted(words))}.")


class NotHim(Refusal):
    """This driver cannot be offered this job; `why` is a reason of dispatch/eligibility.py."""

    def __init__(self, why: str) -> None:
        super().__init__("no_supply")
        self.why = why


class Command(msgspec.Struct, frozen=True, kw_only=True):
    user: UserId
    room: Room
    key: str = ""
    content: str = ""
    drove: str = ""
    audit: str = ""


class GoOnline(Command, frozen=True, kw_only=True):
    """`device` and `node` become the lease, unless another has it that was heard later than `heard_ms`; position
    decides the area. `name` and what is below the position come from accounts, as in Driver."""

    name: str
    node: str
    device: str
    heard_ms: int = 0
    classes: tuple[str, ...]
    capacity: int
    latitude: float
    longitude: float
    vehicle_id: str | None = None
    vehicle: str = ""
    seats: int = 0
    sizes: tuple[str, ...] = ()
    max_weight_kg: float = 0.0
    papers: dict[str, int] = {}
    tells_seen: bool = False


class GoOffline(Command, frozen=True, kw_only=True):
    device: str


class Revive(Command, frozen=True, kw_only=True):
    """The first fix after a silence: back into supply."""

    device: str


class OpenJob(Command, frozen=True, kw_only=True):
    """`quoted_minor` is what a quote promised; else the fare is the tariff's, times the surge where it begins now."""

    job_id: JobId
    kind: str
    name: str
    pickup: Place
    dropoff: Place
    stops: tuple[Place, ...] = ()
    vehicle_class: str
    seats: int = 1
    scheduled_ms: int = 0
    note: str = ""
    parcel: Parcel | None = None
    quoted_minor: int | None = None
    surge_tenths: int = 10


class CancelJob(Command, frozen=True, kw_only=True):
    job_id: JobId
    kind: str
    admin: bool = False
    reason: str = ""


class AssignJob(Command, frozen=True, kw_only=True):
    """An admin gives a job to a driver by hand. `code` is the fresh secret that it may need."""

    job_id: JobId
    kind: str
    driver_id: UserId
    code: str
    reason: str


class UnassignJob(Command, frozen=True, kw_only=True):
    """An admin takes a job from its driver before the pickup; it searches on without him."""

    job_id: JobId
    kind: str
    reason: str


class LiftHold(Command, frozen=True, kw_only=True):
    """The person for whom a job waited has looked: it goes on as it stands."""

    job_id: JobId
    kind: str
    reason: str


class Look(msgspec.Struct, frozen=True):
    """What the match saw of a job before it chose: by which path, whom (and how many beside them), and whom the tried
    policy would have asked."""

    path: str
    considered: tuple[Considered, ...] = ()
    more: int = 0
    shadow_driver_id: UserId | None = None


class MakeOffer(Command, frozen=True, kw_only=True):
    """`instead` of the open offer of that id, which `instead_of` holds; or `beside` the driver who has the job, and
    keeps it until this one takes it over. `rest_s`, which is in `eta_s`, until the ride is over that the driver has on
    board; None for whoever is free. `more_s`, `next_s`: as in Offer."""

    job_id: JobId
    driver_id: UserId
    distance_m: float
    eta_s: float
    rest_s: float | None = None
    more_s: float = 0.0
    next_s: float = 0.0
    instead: OfferId | None = None
    instead_of: UserId | None = None
    beside: UserId | None = None
    look: Look = Look("nearest")


class AcceptOffer(Command, frozen=True, kw_only=True):
    """`code` is the fresh secret that the accepted job may need; `thought_ms` how long ago the driver was shown the
    offer when he took it, by his phone's own clock."""

    offer_id: OfferId
    code: str
    thought_ms: int | None = None


class DeclineOffer(Command, frozen=True, kw_only=True):
    offer_id: OfferId
    reason: str = ""


class SeeOffer(Command, frozen=True, kw_only=True):
    offer_id: OfferId


class MoveJob(Command, frozen=True, kw_only=True):
    """`status` is a state, or one of the platform's words; a picture is a photo or a signature."""

    job_id: JobId
    kind: str
    status: str
    admin: bool = False
    otp: str = ""
    proof_code: str = ""
    has_proof: bool = False
    has_picture: bool = False
    reason: str = ""


class WakeJob(Command, frozen=True, kw_only=True):
    """A job's timer ran out."""

    job_id: JobId


class WakeDriver(Command, frozen=True, kw_only=True):
    """A driver's sign-of-life timer ran out."""

    driver_id: UserId


class HoldJob(Command, frozen=True, kw_only=True):
    """A party's phone has seen this version of a job."""

    job_id: JobId
    seen_version: int


class RestoreJob(Command, frozen=True, kw_only=True):
    """A job that is not over by PostgreSQL, which heard of it last at `committed_ms`. `offer` is the open one; of
    `driver` (the one it is assigned to) `load` names the jobs, and nothing is known of his plan and lease;
    `same_life`: job and driver were written by one life of Redis. `code` is a fresh secret."""

    job: Job
    offer: Offer | None = None
    driver: Driver | None = None
    same_life: bool = True
    committed_ms: int
    max_age_ms: int
    code: str


class SendMessage(Command, frozen=True, kw_only=True):
    message_id: str
    job_id: JobId
    kind: str
    name: str
    type: str
    text: str


class ReadMessages(Command, frozen=True, kw_only=True):
    job_id: JobId
    kind: str
    message_id: str


Answer = dict[str, Any]


def offer_id(job_id: str, number: int) -> OfferId:
    """Opaque to clients; for us it names the job, so that answering an offer needs no look-up."""
    return OfferId(f"{job_id}.{number}")


def job_of_offer(offer: str) -> JobId:
    """The job an offer id names. Raises Refusal for an id we never made."""
    job, dot, number = offer.rpartition(".")
    if not dot or not number.isdigit():
        raise Refusal("offer_gone")
    return JobId(job)
