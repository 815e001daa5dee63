"""Worlds for the tables of the rules: records that fit together, a desk without Redis, checks on every decision.

    world = scene("ride", "assigned")            # a job in that state, its driver and offer
    world.code(move("ride", "arrived", DEE))     # "ok", or the refusal's code
    decision = world.decide(command)             # raises Refusal; all that holds of any decision was checked
    world.after(decision).job.state

`decide` gives a rule only the records that it asked for, as the desk does.
"""

from dataclasses import dataclass, field
from typing import Any

import msgspec
from msgspec.structs import replace

from dispatch import commands as c
from dispatch.area import Area, Areas
from dispatch.decision import Decision, State
from dispatch.policy import Policy
from dispatch.pricing import Prices
from dispatch.rules import RULES, follow
from storage.facts import Fact
from storage.records import (
    LEAP,
    Choice,
    Driver,
    Job,
    JobId,
    Message,
    Offer,
    OfferId,
    Parcel,
    Place,
    Read,
    Room,
    Stop,
    Stored,
    UserId,
)
from tests.invariants import NOBODYS, OVER, wrong

NOW = 1_800_000_000_000
PAT, DEE, DOV, ANN, XAN = map(UserId, ("pat", "dee", "dov", "ann", "xan"))  # P, D, another D, A, a stranger
JOB = JobId("job-1")
OFFER = OfferId("job-1.1")
CODE, PHONE = "428913", "+380501112233"
PICKUP, DROPOFF = Place(49.99, 36.23, "Sumska 1"), Place(50.03, 36.22, "Nauky 2")
POLICY, PRICES = Policy(), Prices()
TOWN = [[36.0, 49.8], [36.5, 49.8], [36.5, 50.2], [36.0, 50.2], [36.0, 49.8]]

_RIDE = "scheduled searching offered assigned arrived in_progress completed cancelled no_driver no_show"
_PACKAGE = (
    "scheduled searching offered assigned arrived_pickup picked_up arrived_dropoff failed returning "
    "delivered cancelled no_courier returned"
)
STATES = {kind: words.split() for kind, words in (("ride", _RIDE), ("package", _PACKAGE))}
EVERY = [(kind, state) for kind, states in STATES.items() for state in states]
#: Spoken events that PROTOCOL lists; the rules may use no other.
SPOKEN = {
    *("ride_status_update", "package_status_update", "driver_assigned", "offer", "offer_withdrawn"),
    *("notification", "new_message", "message_read"),
}


def town(policy: Policy = POLICY, *, paused: bool = False, prices: Prices = PRICES) -> Areas:
    polygon = {"type": "Polygon", "coordinates": [TOWN]}
    area = Area(
        id="town",
        name="Town",
        shard="t",
        polygon=polygon,
        currency="UAH",
        policy=policy,
        prices=prices,
        paused=paused,
    )
    return Areas([area])


def a_job(kind: str, state: str, **more: Any) -> Job:
    """A job as the rules leave it in that state."""
    parcel = Parcel(size="small", recipient_name="Rae", recipient_phone=PHONE) if kind == "package" else None
    values: dict[str, Any] = {
        "id": JOB,
        "kind": kind,
        "state": state,
        "requester_id": PAT,
        "requester_name": "Pat",
        "area_id": "town",
        "vehicle_class": "economy" if kind == "ride" else "parcel",
        "pickup": PICKUP,
        "dropoff": DROPOFF,
        "units": 0 if kind == "ride" else 1,
        "parcel": parcel,
        "created_ms": NOW - 60_000,
        "searching_ms": NOW - 60_000,
        "wake_ms": NOW + 120_000,
        "version": 3,
    }
    if state == "offered":
        values |= {"offer_id": OFFER, "offered_to": DEE, "offers": 1, "wake_ms": NOW + 11_000}
    elif state not in NOBODYS:
        carried = state not in ("no_driver", "no_courier")
        values |= {"offers": 1, "wake_ms": 0, "assigned_ms": NOW - 30_000, "code": CODE}
        values |= {"driver_id": DEE, "driver_name": "Dee"} if carried else {}
        values["arrived_ms"] = NOW - 600_000 if "arrived" in state or state == "no_show" else 0
    if state in OVER:
        values["ended_ms"] = NOW - 1_000
    return Job(**(values | more))


def a_driver(id_: UserId = DEE, **more: Any) -> Driver:
    values: dict[str, Any] = {
        "id": id_,
        "name": id_.title(),
        "area_id": "town",
        "classes": ("economy", "parcel"),
        "capacity": 1,
        "online": True,
        "generation": 4,
        "node": "n1",
        "device": "phone",
        "version": 7,
    }
    return Driver(**(values | more))


def an_offer(kind: str, state: str = "open", **more: Any) -> Offer:
    values: dict[str, Any] = {
        "id": OFFER,
        "job_id": JOB,
        "kind": kind,
        "driver_id": DEE,
        "state": state,
        "version": 1,
        "made_ms": NOW - 5_000,
        "deadline_ms": NOW + 10_000,
        "distance_m": 800.0,
        "eta_s": 90.0,
        "ended_ms": 0 if state == "open" else NOW - 4_000,
    }
    return Offer(**(values | more))


def carrying(driver: Driver, *jobs: Job) -> Driver:
    stops = [stop for job in jobs for stop in plan_of(job)]
    load = {job.id: job.units or driver.capacity for job in jobs}
    return replace(driver, load={**driver.load, **load}, plan=(*driver.plan, *stops))


def plan_of(job: Job) -> list[Stop]:
    pickup = [] if job.started_ms else [Stop(job.kind, job.id, "pickup", job.pickup)]
    weight_kg = job.parcel.weight_kg if job.parcel else 0.0
    return [*pickup, Stop(job.kind, job.id, "dropoff", job.dropoff, weight_kg=weight_kg)]


@dataclass(frozen=True)
class World:
    records: dict[tuple[type, str], Stored]
    areas: Areas = field(default_factory=town)
    due_ms: dict[tuple[type, str], int] = field(default_factory=dict)

    @property
    def job(self) -> Job:
        return self.records[Job, JOB]  # type: ignore[return-value]

    @property
    def offer(self) -> Offer:
        return self.records[Offer, OFFER]  # type: ignore[return-value]

    @property
    def dee(self) -> Driver:
        return self.records[Driver, DEE]  # type: ignore[return-value]

    def plus(self, *records: Stored) -> "World":
        return replace_records(self, {(type(r), r.id): r for r in records})

    def decide(self, command: c.Command, now_ms: int = NOW) -> Decision:
        rule = RULES[type(command)]
        seen = {want: self.records.get(want) for want in rule.wants(command)}
        seen |= {want: self.records.get(want) for want in follow(command, seen)}
        decision = rule.decide(State(now_ms, seen, self.due_ms, self.areas), command)
        assert not wrong(self.records.values()), "the table's own world is wrong"
        check(self, decision)
        return decision

    def code(self, command: c.Command, now_ms: int = NOW) -> str:
        try:
            refusal = self.decide(command, now_ms).refusal
        except c.Refusal as raised:
            refusal = raised
        return refusal.code if refusal else "ok"

    def after(self, decision: Decision) -> "World":
        return self.plus(*(replace(record, version=record.version + 1) for record in decision.put))

    def run(self, command: c.Command, now_ms: int = NOW) -> "World":
        return self.after(self.decide(command, now_ms))


def replace_records(world: World, records: dict[tuple[type, str], Stored]) -> World:
    return World({**world.records, **records}, world.areas, world.due_ms)


def world(*records: Stored, policy: Policy = POLICY, paused: bool = False, **due_ms: int) -> World:
    """`due_ms`: timers of drivers by id."""
    timers: dict[tuple[type, str], int] = {(Driver, id_): at_ms for id_, at_ms in due_ms.items()}
    return World({(type(r), r.id): r for r in records}, town(policy, paused=paused), timers)


def scene(kind: str, state: str, policy: Policy = POLICY, driver: Driver | None = None, **job: Any) -> World:
    """A job in that state with the driver and the offer that belong to it."""
    it, who = a_job(kind, state, **job), driver or a_driver()
    if state == "offered":
        return world(it, replace(who, offer_id=OFFER), an_offer(kind), policy=policy)
    if it.driver_id is None:
        return world(it, who, policy=policy)
    if state not in OVER:
        who = carrying(who, it)
    return world(it, who, an_offer(kind, "accepted"), policy=policy)


def room(kind: str) -> Room:
    return Room(f"{kind}:{JOB}")


def home(user: str) -> Room:
    return Room(f"user:{user}")


def told(decision: Decision) -> list[tuple[str, str]]:
    """(room, event) of what is spoken, in order."""
    return [(fact.room, fact.event) for fact in decision.facts if fact.event]


def the_fact(decision: Decision, event: str) -> Fact:
    (fact,) = [fact for fact in decision.facts if fact.event == event]
    return fact


def check(before: World, decision: Decision) -> None:
    """What holds of any decision whatever was asked."""
    puts = [(type(record), record.id) for record in decision.put]
    assert len(set(puts)) == len(puts), "a record is put twice"
    for record in (*decision.put, *decision.read):
        old = before.records.get((type(record), record.id))
        if (type(record), record.id) in decision.anew:
            assert old is None and record.version > LEAP, "not lost, or not above what was seen of it"
        else:
            assert record.version == (old.version if old else 0), "not the version that was read"
    found = wrong(before.after(decision).records.values())
    assert not found, "\n".join(found)
    for fact in decision.facts:
        check_fact(decision, fact)


def check_fact(decision: Decision, fact: Fact) -> None:
    text = msgspec.json.encode(fact.payload).decode()
    assert PHONE not in text, "the recipient's phone is nobody's business"
    assert CODE not in text or fact.room == home(PAT), "the code is for the requester alone"
    assert fact.event in {*SPOKEN, ""}
    assert bool(fact.event) == bool(fact.payload), "a silent fact has no payload, a spoken one has"
    puts = {(type(record), record.id) for record in decision.put}
    for record in fact.records:
        # by name: the log tells each as the commit leaves it
        assert isinstance(record, Message | Read | Choice) or (type(record), record.id) in puts
    jobs = [record for record in fact.records if isinstance(record, Job)]
    if jobs and "version" in fact.payload:
        assert fact.payload["version"] == jobs[0].version + 1
    assert fact.close == (bool(jobs) and jobs[0].ended_ms > 0)
    if fact.join or fact.leave or fact.close:
        assert not fact.room.startswith("user:"), "nobody joins a user's room"
