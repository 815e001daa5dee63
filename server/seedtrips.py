"""The demo's past as a list of trips, and how each of them was lived through.

Invented people in an invented city: most trips end well, one is cancelled, one finds nobody, one parcel comes
back. `a_past` plays them in order through the real rules (server/seedpast.py).
"""

import random
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from dispatch.cells import distance_m
from dispatch.commands import (
    SYSTEM,
    AcceptOffer,
    CancelJob,
    GoOffline,
    GoOnline,
    MakeOffer,
    MoveJob,
    OpenJob,
    SendMessage,
    WakeJob,
    offer_id,
)
from dispatch.eta import pickup_eta_s
from server.seedpast import Past, around_the_corner
from storage.records import JobId, Parcel, Place, Room, UserId

HOUR_MS = 3_600_000
AT_THE_DOOR_MS = 45_000
NODE = "seed"

BAKERY = Place(49.9871, 36.2322, "14 Foundry Street")
STADIUM = Place(50.0105, 36.2560, "2 Orchard Avenue")
PLATFORM = Place(49.9905, 36.2102, "Arynov Station, east entrance")
LIBRARY = Place(49.9986, 36.2418, "31 Lantern Street")
CLINIC = Place(49.9742, 36.2690, "7 Willow Lane")
MARKET = Place(49.9790, 36.1985, "Weaver Square")


class Trip(NamedTuple):
    """A job of the past: `steps` are what its driver did with it; `said` is chat, first by the requester."""

    hours_ago: float
    pickup: Place
    dropoff: Place
    steps: Sequence[str] = ()
    said: Sequence[str] = ()
    parcel: Parcel | None = None
    ending: str = ""


RIDE = ("arrived", "in_progress", "completed")
DELIVERY = ("arrived_pickup", "picked_up", "arrived_dropoff", "delivered")
TRIPS = (
    Trip(51.0, BAKERY, STADIUM, RIDE, ("I am at the blue door.", "Two minutes, white car.")),
    Trip(46.5, PLATFORM, CLINIC, RIDE),
    Trip(30.2, LIBRARY, PLATFORM, ending="cancelled", said=("Sorry, plans changed.",)),
    Trip(26.0, MARKET, LIBRARY, RIDE, ("Is there room for a bicycle?", "If the wheel comes off, yes.")),
    Trip(22.8, CLINIC, BAKERY, ending="no_driver"),
    Trip(4.1, STADIUM, MARKET, RIDE),
    Trip(48.0, MARKET, STADIUM, DELIVERY, ("Please ring twice.", "Will do."), Parcel(
        size="small", weight_kg=1.2, recipient_name="Hana Sato", recipient_phone="+15550100123")),
    Trip(27.5, BAKERY, CLINIC, DELIVERY, (), Parcel(
        size="medium", weight_kg=4.0, fragile=True, tier="express", recipient_name="Emil Dahl",
        recipient_phone="+15550100456")),
    Trip(3.0, LIBRARY, BAKERY, ("arrived_pickup", "picked_up", "arrived_dropoff", "failed", "returning", "returned"),
         ("Nobody opens.",), Parcel(size="large", weight_kg=9.5, recipient_name="Ines Lopes",
                                    recipient_phone="+15550100789")),
)  # fmt: skip


class Person(NamedTuple):
    id: UserId
    name: str
    vehicle: str


def a_past(past: Past, persons: dict[str, Person], now_ms: int, chance: random.Random) -> None:
    """All trips, each from the request to its end, the oldest first."""
    for trip in sorted(TRIPS, key=lambda trip: -trip.hours_ago):
        requester = persons["sender" if trip.parcel else "passenger"]
        carrier = persons["courier" if trip.parcel else "driver"]
        begin_ms = now_ms - int(trip.hours_ago * HOUR_MS)
        _Life(past, trip, requester, carrier, begin_ms, chance).live()


@dataclass
class _Life:
    """One trip being lived: asked for, offered, taken and driven, or not."""

    past: Past
    trip: Trip
    requester: Person
    carrier: Person
    now_ms: int
    chance: random.Random

    def __post_init__(self) -> None:
        self.kind = "package" if self.trip.parcel else "ride"
        self.vehicle_class = "parcel" if self.trip.parcel else "economy"
        self.job_id = JobId(self._id())
        self.room = Room(f"{self.kind}:{self.job_id}")
        self.code = f"{self.chance.randrange(1_000_000):06}"
        pickup = self.trip.pickup
        self.start = Place(pickup.latitude + self.chance.uniform(-0.008, 0.008), pickup.longitude + 0.012)

    def live(self) -> None:
        self._ask()
        if self.trip.ending == "no_driver":
            self.now_ms = self.past.job(self.job_id).wake_ms + 1
            self.past.run(self.now_ms, WakeJob(user=SYSTEM, room=self.room, job_id=self.job_id))
            return
        self._come_online()
        there_ms = self._take()
        if self.trip.ending == "cancelled":
            self._cancel()
        else:
            self._carry(there_ms)
        home = Room(f"user:{self.carrier.id}")
        self.past.run(
            self.now_ms + HOUR_MS // 60, GoOffline(user=self.carrier.id, room=home, device=self._device)
        )

    def _ask(self) -> None:
        command = OpenJob(
            user=self.requester.id,
            room=self.room,
            job_id=self.job_id,
            kind=self.kind,
            name=self.requester.name,
            pickup=self.trip.pickup,
            dropoff=self.trip.dropoff,
            vehicle_class=self.vehicle_class,
            parcel=self.trip.parcel,
        )
        self.past.run(self.now_ms, command)

    def _come_online(self) -> None:
        command = GoOnline(
            user=self.carrier.id,
            room=Room(f"user:{self.carrier.id}"),
            name=self.carrier.name,
            node=NODE,
            device=self._device,
            classes=(self.vehicle_class,),
            capacity=1,
            latitude=self.start.latitude,
            longitude=self.start.longitude,
            vehicle=self.carrier.vehicle,
        )
        self.past.run(self.now_ms - HOUR_MS // 60, command)

    def _take(self) -> int:
        """Offered, accepted, talked about; the moment at which the carrier will be at the pickup."""
        pickup = self.trip.pickup
        away_m = distance_m(self.start.latitude, self.start.longitude, pickup.latitude, pickup.longitude)
        area = self.past.areas.find(pickup.latitude, pickup.longitude)
        assert area is not None, "the rule has just taken the job"
        eta_s = pickup_eta_s(away_m, area.policy)
        offer = MakeOffer(
            user=SYSTEM,
            room=self.room,
            job_id=self.job_id,
            driver_id=self.carrier.id,
            distance_m=away_m,
            eta_s=eta_s,
        )
        self.past.run(self.now_ms + 900, offer)
        self.now_ms += 900 + self.chance.randint(2_000, 9_000)
        accept = AcceptOffer(
            user=self.carrier.id, room=self.room, offer_id=offer_id(self.job_id, 1), code=self.code
        )
        self.past.run(self.now_ms, accept)
        for number, text in enumerate(self.trip.said):
            self._say(
                self.now_ms + 10_000 * (number + 1), self.carrier if number % 2 else self.requester, text
            )
        return self.now_ms + int(eta_s * 1000)

    def _say(self, at_ms: int, speaker: Person, text: str) -> None:
        line = SendMessage(
            user=speaker.id,
            room=self.room,
            message_id=self._id(),
            job_id=self.job_id,
            kind=self.kind,
            name=speaker.name,
            type="text",
            text=text,
        )
        self.past.run(at_ms, line)

    def _cancel(self) -> None:
        self._drive(self.start, self.trip.pickup, HOUR_MS // 60)
        command = CancelJob(
            user=self.requester.id, room=self.room, job_id=self.job_id, kind=self.kind, reason="plans changed"
        )
        self.past.run(self.now_ms, command)

    def _carry(self, there_ms: int) -> None:
        """To the pickup, a moment at the door, to the dropoff; each step said as the driver would."""
        to_pickup, *onward = self.trip.steps
        self._drive(self.start, self.trip.pickup, there_ms - self.now_ms)
        self._move(to_pickup)
        aboard, *at_the_end = onward
        self.now_ms += AT_THE_DOOR_MS
        self._move(aboard)
        travel_ms = int(self.past.job(self.job_id).duration_s * 1000)
        self._drive(self.trip.pickup, self.trip.dropoff, travel_ms)
        for step in at_the_end:
            self._move(step)
            self.now_ms += AT_THE_DOOR_MS

    def _move(self, status: str) -> None:
        command = MoveJob(
            user=self.carrier.id,
            room=self.room,
            job_id=self.job_id,
            kind=self.kind,
            status=status,
            proof_code=self.code,
            has_proof=True,
            reason="nobody there" if status in ("failed", "returning") else "",
        )
        self.past.run(self.now_ms, command)

    def _drive(self, a: Place, b: Place, duration_ms: int) -> None:
        begin_ms, self.now_ms = self.now_ms, self.now_ms + duration_ms
        self.past.drive(self.carrier.id, self.job_id, begin_ms, self.now_ms, around_the_corner(a, b))

    @property
    def _device(self) -> str:
        return f"seed-{self.carrier.id}"

    def _id(self) -> str:
        return str(uuid.UUID(bytes=self.chance.randbytes(16), version=4))
