"""What a client may say: one frozen class per event, the whole contract of the ear; docs/protocol.md is
printed from here.

A field that is not listed is refused on the socket (on HTTP it is ignored), as are wrong types, non-finite
numbers and values out of range. `legacy` are fields that the platform's apps send and nobody reads: they are
dropped before the message is looked at, so that no id in a payload is ever trusted. `bare` names the field
that an app which sends a bare id (or number) means by it.
"""

from typing import Annotated, Any, ClassVar, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

UUID = r"^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$"

#: Of a recipient, whom a courier has to reach: the shortest that anybody can be called at has five digits.
PHONE = r"^\+?[ ()-]*[0-9](?:[ ()-]*[0-9]){4,14}$"

Lat = Annotated[float, Meta(ge=-90, le=90)]
Lng = Annotated[float, Meta(ge=-180, le=180)]
NewId = Annotated[str, Meta(pattern=UUID, description="a UUID, made by the client")]
AnyId = Annotated[str, Meta(min_length=1, max_length=64)] | int
OfferId = Annotated[str, Meta(min_length=1, max_length=80)]
Short = Annotated[str, Meta(max_length=200)]
Note = Annotated[str, Meta(max_length=1000)]
Class = Annotated[str, Meta(min_length=1, max_length=32)]
CommandId = Annotated[str, Meta(min_length=1, max_length=64)]
Count = Annotated[int, Meta(ge=0, le=10**15)]
Timestamp = Annotated[str, Meta(max_length=40)] | int | float


class Message(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    legacy: ClassVar[frozenset[str]] = frozenset(
        {"senderId", "driverId", "userId", "timestamp", "userType", "_t"}
    )
    bare: ClassVar[str] = ""


class Reliable(Message, frozen=True, kw_only=True):
    """A command; `commandId` makes a repeat harmless where the message has no id of its own."""

    command_id: CommandId | UnsetType = UNSET


class Point(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    latitude: Lat
    longitude: Lng
    address: Annotated[str, Meta(max_length=500)] = ""


class Recipient(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: Short
    phone: Annotated[str, Meta(pattern=PHONE, max_length=32, description="5 to 15 digits, with or without +")]


class Proof(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`photo` and `signature` are references to uploads, not the pictures."""

    code: Annotated[str, Meta(max_length=64)] = ""
    photo: Annotated[str, Meta(max_length=500)] = ""
    signature: Annotated[str, Meta(max_length=500)] = ""
    location: Point | None = None


class Nothing(Message, frozen=True):
    """An event without content."""


class WatchCity(Message, frozen=True):
    n: Annotated[
        int | None,
        Meta(
            description="of the newest frame that was heard, where one is missing; a base begun later goes on"
        ),
    ] = None


class Quote(Message, frozen=True, kw_only=True):
    kind: Literal["ride", "package"]
    pickup: Point
    dropoff: Point
    stops: Annotated[tuple[Point, ...], Meta(max_length=5)] = ()
    classes: Annotated[
        tuple[Class, ...], Meta(max_length=8, description="classes of a ride, tiers of a package; none: all")
    ] = ()
    size: Class = "medium"
    fragile: bool = False


class Nearby(Message, frozen=True, kw_only=True):
    latitude: Lat
    longitude: Lng
    vehicle_class: Class = msgspec.field(name="class", default="economy")


class GoOnline(Reliable, frozen=True, kw_only=True):
    classes: Annotated[tuple[Class, ...], Meta(min_length=1, max_length=8)]
    latitude: Lat
    longitude: Lng
    vehicle_id: AnyId | UnsetType = UNSET
    capacity: Annotated[int, Meta(ge=1, le=20)] = 1
    offer_seen: Annotated[
        bool, Meta(description="this phone says `offer_seen` as soon as it shows an offer")
    ] = False


class GoOffline(Reliable, frozen=True, kw_only=True):
    pass


class LocationUpdate(Message, frozen=True, kw_only=True):
    """One fix. `rideId` and `packageId` are read by nobody: the fix goes to the jobs its driver is really on."""

    legacy = Message.legacy - {"timestamp"} | {"rideId", "packageId", "type"}
    latitude: Lat
    longitude: Lng
    heading: Annotated[float, Meta(ge=-360, le=360)] | None = None
    speed: Annotated[float, Meta(ge=-1, le=500)] | None = None
    accuracy: Annotated[float, Meta(ge=-1, le=100_000)] | None = None
    timestamp: Timestamp | None = None


class PastFix(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """As in `location_update`, with its time; one that is out of range is refused alone."""

    latitude: float
    longitude: float
    timestamp: Timestamp
    heading: float | None = None
    speed: float | None = None
    accuracy: float | None = None


class LocationBatch(Message, frozen=True, kw_only=True):
    """Fixes of a time without a connection. `batchId` makes a repeat harmless."""

    batch_id: Annotated[str, Meta(min_length=1, max_length=64)]
    fixes: Annotated[tuple[PastFix, ...], Meta(min_length=1, max_length=500)]


class RequestRide(Reliable, frozen=True, kw_only=True):
    pickup: Point
    dropoff: Point
    vehicle_class: Class = msgspec.field(name="class", default="economy")
    ride_id: NewId | UnsetType = UNSET
    stops: Annotated[tuple[Point, ...], Meta(max_length=5)] = ()
    seats: Annotated[int, Meta(ge=1, le=8)] = 1
    scheduled_at: Annotated[str, Meta(max_length=40)] | UnsetType = UNSET
    note: Note = ""
    quote_id: Annotated[str, Meta(max_length=400)] | UnsetType = UNSET


class RequestPackage(Reliable, frozen=True, kw_only=True):
    pickup: Point
    dropoff: Point
    recipient: Recipient
    size: Class = "medium"
    package_id: NewId | UnsetType = UNSET
    weight_kg: Annotated[float, Meta(gt=0, le=10_000)] = 1.0
    fragile: bool = False
    tier: Class = "standard"
    ready_at: (
        Annotated[
            str,
            Meta(
                max_length=40, description="nobody is asked before a courier would be there in time for this"
            ),
        ]
        | UnsetType
    ) = UNSET
    note: Note = ""
    quote_id: Annotated[str, Meta(max_length=400)] | UnsetType = UNSET


class CancelRide(Reliable, frozen=True, kw_only=True):
    bare = "rideId"
    ride_id: AnyId
    reason: Short = ""


class CancelPackage(Reliable, frozen=True, kw_only=True):
    bare = "packageId"
    package_id: AnyId
    reason: Short = ""


class AnswerOffer(Reliable, frozen=True, kw_only=True):
    bare = "offerId"
    offer_id: OfferId
    reason: Short = ""


class AcceptOffer(AnswerOffer, frozen=True, kw_only=True):
    thought_ms: (
        Annotated[
            int, Meta(ge=0, le=86_400_000, description="since the driver was shown it, by a monotonic clock")
        ]
        | UnsetType
    ) = UNSET


class RideStatus(Reliable, frozen=True, kw_only=True):
    ride_id: AnyId
    status: Class
    otp: Annotated[str, Meta(max_length=16)] = ""
    reason: Short = ""


class PackageStatus(Reliable, frozen=True, kw_only=True):
    legacy = Message.legacy | {"location"}
    package_id: AnyId
    status: Class
    proof: Proof = Proof()
    reason: Short = ""


Reason = Annotated[str, Meta(min_length=1, max_length=200)]
Name = Annotated[str, Meta(min_length=1, max_length=64)]
Table = Annotated[dict[Name, Any], Meta(max_length=100)]


class BlockUser(Reliable, frozen=True, kw_only=True):
    legacy = Message.legacy - {"userId"}
    user_id: NewId
    reason: Reason


class KeepApart(BlockUser, frozen=True, kw_only=True):
    """Two people whom the match shall not bring together, or may again."""

    other_id: NewId


class OfJob(Reliable, frozen=True, kw_only=True):
    """What an admin does to a job; names exactly one of the two ids."""

    ride_id: AnyId | UnsetType = UNSET
    package_id: AnyId | UnsetType = UNSET
    reason: Reason


class AssignJob(OfJob, frozen=True, kw_only=True):
    legacy = Message.legacy - {"driverId"}
    driver_id: NewId


class PauseArea(Reliable, frozen=True, kw_only=True):
    area_id: Name
    reason: Reason


class EditArea(Reliable, frozen=True, kw_only=True):
    """`version` is that of the area as it was read; `policy` and `prices`, where given, replace what the area has of
    its own: all that differs from the defaults."""

    area_id: Name
    version: Count
    reason: Reason
    policy: Table | UnsetType = UNSET
    prices: Table | UnsetType = UNSET


class LetterRef(Reliable, frozen=True, kw_only=True):
    letter_id: NewId
    reason: Reason


RoomSeen = tuple[Annotated[str, Meta(max_length=80)], Annotated[str, Meta(max_length=80)], Count]
JobSeen = tuple[Annotated[str, Meta(max_length=64)], Count]


class Sync(Message, frozen=True, kw_only=True):
    """`rooms` are `[room, epoch, seq]` of the last fact that was heard in each; `jobs` are `[jobId, version]` of
    the newest the client saw of each of its jobs: where a server that lost its memory knows less, a person decides."""

    rooms: Annotated[tuple[RoomSeen, ...], Meta(max_length=64)] = ()
    jobs: Annotated[tuple[JobSeen, ...], Meta(max_length=64)] = ()


class RideRef(Message, frozen=True, kw_only=True):
    bare = "rideId"
    ride_id: AnyId


class PackageRef(Message, frozen=True, kw_only=True):
    bare = "packageId"
    package_id: AnyId


class JobRef(Message, frozen=True, kw_only=True):
    """Exactly one of the two."""

    bare = "rideId"
    ride_id: AnyId | UnsetType = UNSET
    package_id: AnyId | UnsetType = UNSET


class SendMessage(Reliable, frozen=True, kw_only=True):
    message: Annotated[str, Meta(min_length=1, max_length=4000)]
    ride_id: AnyId | UnsetType = UNSET
    package_id: AnyId | UnsetType = UNSET
    id: NewId | UnsetType = UNSET
    type: Literal["text", "location", "image"] = "text"


class MessageRead(Reliable, frozen=True, kw_only=True):
    message_id: NewId
    ride_id: AnyId | UnsetType = UNSET
    package_id: AnyId | UnsetType = UNSET
