"""How every event and route is tried with somebody else's ids, and what must come of it: the two-user tables.

An event or route without an entry fails tests/test_two_users.py. `codes` are all the outcomes that a role may
get whom the handler's own table lets in at all ("ok" is an answer about nobody but the asker); an admin sees
what he may see, and `admin` says what that is.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from tests.phones import Payload, new_id
from tests.stack import Person, Spot


@dataclass(frozen=True)
class World:
    """What the victims have; nothing of it is the attacker's business."""

    spot: Spot
    victims: dict[str, Person]
    ride: str
    waiting_ride: str
    package: str
    offer: str
    message: str
    quote: str
    code: str
    secrets: tuple[str, ...]

    @property
    def legacy(self) -> Payload:
        """Ids that old apps send, naming somebody else."""
        return {"userId": self.victims["passenger"].id, "driverId": self.victims["driver"].id,
                "senderId": self.victims["sender"].id, "userType": "admin"}  # fmt: skip


Payloads = Callable[[World], list[Payload]]


class Attack(NamedTuple):
    """`not_admin` are payloads that an admin may send with success, and so only the others try."""

    payloads: Payloads
    codes: frozenset[str]
    admin: frozenset[str]
    not_admin: Payloads


def attack(payloads: Payloads, codes: str, admin: str = "", not_admin: Payloads = lambda w: []) -> Attack:
    return Attack(payloads, frozenset(codes.split()), frozenset((admin or codes).split()), not_admin)


def _both(w: World, **more: Any) -> list[Payload]:
    return [{"rideId": w.ride, **more}, {"packageId": w.package, **more}]


def _ride(w: World, **more: Any) -> list[Payload]:
    return [{"rideId": ride, **more} for ride in (w.ride, w.waiting_ride)]


def _package(w: World, **more: Any) -> list[Payload]:
    return [{"packageId": w.package, **more}]


def _fixes(w: World) -> list[Payload]:
    return [{**w.spot.at(50.0), "rideId": w.ride}, {**w.spot.at(60.0), "packageId": w.package}]


def _past(w: World) -> list[Payload]:
    """His own batches, of a place that nobody may take for theirs."""
    now_ms = int(time.time() * 1000)
    fixes = [{**w.spot.at(50.0 + n), "timestamp": now_ms - 9_000 + 1_000 * n} for n in range(9)]
    return [{"batchId": w.message, "fixes": fixes}]


def _rides(w: World) -> list[Payload]:
    trip = w.spot.trip
    return [{"rideId": w.ride, **trip}, {"rideId": w.waiting_ride, **trip}, {"rideId": w.ride.upper(), **trip},
            {"quoteId": w.quote, "rideId": new_id(), **trip}]  # fmt: skip


def _parcels(w: World) -> list[Payload]:
    parcel = {"recipient": {"name": "Me", "phone": "+380501112233"}, **w.spot.trip}
    return [{"packageId": w.package, **parcel}, {"quoteId": w.quote, "packageId": new_id(), **parcel}]


def _ride_steps(w: World) -> list[Payload]:
    steps = [*_ride(w, status="arrived"), {"rideId": w.ride, "status": "cancelled"}]
    return [*steps, {"rideId": w.package, "status": "completed"}]


def _package_steps(w: World) -> list[Payload]:
    proof = {"code": w.code}
    return [*_package(w, status="arrived_dropoff"), *_package(w, status="delivered", proof=proof),
            *_package(w, status="cancelled"), {"packageId": w.ride, "status": "delivered", "proof": proof}]  # fmt: skip


def _online(w: World) -> list[Payload]:
    classes = {"classes": ["economy"], **w.spot.at(20.0)}
    return [{"vehicleId": w.victims[who].vehicle_id, **classes} for who in ("driver", "courier")]


def _answers(w: World) -> list[Payload]:
    job = w.offer.rpartition(".")[0]
    return [{"offerId": w.offer}, {"offerId": f"{job}.2"}, {"offerId": f"{w.ride}.2"}]


def _seen(w: World) -> list[Payload]:
    """Answered per room: `not_found` for each, but for the attacker's own; an admin may follow the jobs."""
    rooms = [f"ride:{w.ride}", f"ride:{w.waiting_ride}", f"package:{w.package}", f"ride:{w.package}"]
    rooms += [f"user:{victim.id}" for victim in w.victims.values()]
    jobs = [[w.ride, 1], [w.package, 0]]
    return [{"rooms": [[room, "", seq] for room in rooms], "jobs": jobs} for seq in (0, 3)]


def _of_job(w: World, **more: Any) -> list[Payload]:
    """Jobs that an admin's hand has no place on, as they are."""
    return [{"rideId": w.ride, "reason": "me", **more}, {"packageId": w.package, "reason": "me", **more}]


def _pair(w: World) -> Payload:
    return {"userId": w.victims["passenger"].id, "otherId": w.victims["driver"].id, "reason": "me"}


def _two(w: World) -> list[Payload]:
    return [{"userId": new_id(), "otherId": w.victims["driver"].id, "reason": "me"}]


def _area(w: World, **more: Any) -> list[Payload]:
    return [{"areaId": "nowhere", "reason": "me", **more}]


EVENTS: dict[str, Attack] = {
    "sync": attack(_seen, "ok"),
    "quote": attack(lambda w: [{"kind": "ride", **w.spot.trip}], "ok"),
    # the same vehicles for everybody, and of nobody
    "nearby": attack(lambda w: [w.spot.at(), {**w.spot.at(), "class": "parcel"}], "ok rate_limited"),
    "go_online": attack(_online, "not_found"),
    "location_update": attack(_fixes, "ok superseded wrong_state"),
    "location_batch": attack(_past, "ok superseded wrong_state duplicate"),  # said again, with other times
    "driver_location_update": attack(_fixes, "ok superseded wrong_state"),
    "request_ride": attack(_rides, "duplicate bad_request"),
    "request_package": attack(_parcels, "duplicate bad_request"),
    # an admin says why; a parcel on board cannot be called off
    "cancel_ride": attack(
        lambda w: [{"rideId": w.ride}, {"rideId": w.package}],
        "not_found",
        "bad_request not_found",
        lambda w: _ride(w, reason="me"),
    ),
    "cancel_package": attack(lambda w: _package(w, reason="me"), "not_found", "wrong_state"),
    "offer_seen": attack(_answers, "offer_gone"),
    "accept_offer": attack(_answers, "offer_gone"),
    "decline_offer": attack(_answers, "offer_gone"),
    "ride_status_update": attack(
        _ride_steps,
        "not_found",
        "not_found wrong_state bad_request",
        lambda w: [*_ride(w, status="cancelled", reason="me"), *_ride(w, status="completed")],
    ),
    "package_status_update": attack(_package_steps, "not_found", "not_found wrong_state forbidden"),
    "update_package_status": attack(_package_steps, "not_found", "not_found wrong_state forbidden"),
    "join_ride": attack(_ride, "not_found", "ok"),
    "leave_ride": attack(_ride, "not_found", "ok not_found"),
    "join_package": attack(_package, "not_found", "ok"),
    "leave_package": attack(_package, "not_found", "ok not_found"),
    "send_message": attack(lambda w: _both(w, message="let me in", id=w.message), "not_found"),
    "message_read": attack(lambda w: _both(w, messageId=w.message), "not_found"),
    "typing_start": attack(_both, "not_found"),
    "typing_stop": attack(_both, "not_found"),
    "get_online_users": attack(_both, "not_found"),
    # only admins: the others are refused before anything is looked at; what would succeed, only the others try
    "block_user": attack(
        lambda w: [{"userId": new_id(), "reason": "me"}],
        "forbidden",
        "not_found",
        lambda w: [{"userId": w.victims["driver"].id, "reason": "me"}],
    ),
    "unblock_user": attack(lambda w: [{"userId": new_id(), "reason": "me"}], "forbidden", "not_found"),
    "keep_apart": attack(_two, "forbidden", "not_found", lambda w: [_pair(w)]),
    "let_meet": attack(_two, "forbidden", "ok"),
    "assign_job": attack(
        lambda w: _of_job(w, driverId=w.victims["asked"].id),
        "forbidden",
        "wrong_state",
        lambda w: [{"rideId": w.waiting_ride, "driverId": w.victims["asked"].id, "reason": "me"}],
    ),
    "unassign_job": attack(_of_job, "forbidden", "wrong_state"),
    "lift_hold": attack(_of_job, "forbidden", "wrong_state"),
    "pause_area": attack(_area, "forbidden", "not_found", lambda w: [{"areaId": "patient", "reason": "me"}]),
    "resume_area": attack(_area, "forbidden", "not_found"),
    "edit_area": attack(
        lambda w: _area(w, version=1, policy={}),
        "forbidden",
        "not_found",
        lambda w: [{"areaId": "patient", "version": 1, "policy": {}, "reason": "me"}],
    ),
    "retry_letter": attack(lambda w: [{"letterId": new_id(), "reason": "me"}], "forbidden", "not_found"),
    "discard_letter": attack(lambda w: [{"letterId": new_id(), "reason": "me"}], "forbidden", "not_found"),
    "watch_city": attack(lambda w: [{}], "ok bad_request"),
    "unwatch_city": attack(lambda w: [{}], "ok"),
    "join_user_room": attack(lambda w: [{"userId": w.victims["passenger"].id}], "ok"),
    "ping": attack(lambda w: [{}], "ok"),
    "go_offline": attack(lambda w: [{}], "ok superseded"),
}


class Try(NamedTuple):
    """A request; `status` by kind of asker: anonymous, user, admin."""

    path: str
    anonymous: int
    user: int
    admin: int
    body: Payload | None = None


Tries = Callable[[World], Sequence[Try]]


def _who(w: World) -> str:
    v = w.victims["passenger"]
    return f"userId={v.id}&user_id={v.id}&passengerId={v.id}&requester={v.id}&asker={v.id}&role=requester"


def _login(w: World) -> Sequence[Try]:
    return [Try("", 401, 401, 401, {"email": "victim.passenger@load.invalid", "password": ""}
                | {"password": "Wrong-Horse-7@"})]  # fmt: skip


def _register(w: World) -> Sequence[Try]:
    account = {"firstName": "A", "lastName": "B", "phone": "+380501112233", "password": "Right-Horse-7@"}
    return [
        Try("", 400, 400, 400, {**account, "email": "boss@load.invalid", "role": "admin"}),
        Try("", 400, 400, 400, {**account, "email": "boss@load.invalid", "role": "courier", **w.legacy}),
    ]


def _profile(w: World) -> Sequence[Try]:
    theirs = {
        "id": w.victims["passenger"].id,
        "email": "taken@load.invalid",
        "role": "admin",
        "status": "active",
    }
    return [Try("", 401, 200, 200, {**w.legacy, **theirs, "firstName": "Eve"})]


def _get(user: int, anonymous: int = 401, admin: int = 200) -> Tries:
    return lambda w: [Try(f"?{_who(w)}", anonymous, user, admin)]


def _job(of: Callable[[World], Sequence[str]]) -> Tries:
    """The victim's own by id; the other kind's id is nothing even to an admin."""
    return lambda w: [Try(f"{one}?{_who(w)}", 401, 404, 200 if one == of(w)[0] else 404) for one in of(w)]


def _rate(of: Callable[[World], Sequence[str]]) -> Tries:
    """Stars are for the parties of a job; an admin is none."""
    return lambda w: [Try(f"{one}/rate", 401, 404, 404, {"rating": 1, **w.legacy}) for one in of(w)]


def _demo(path: str = "", body: Payload | None = None) -> Tries:
    """Not there without its setting, for nobody."""
    return lambda w: [Try(path, 404, 404, 404, body)]


ROUTES: dict[tuple[str, str], Tries] = {
    ("GET", "/health"): _get(200, 200),
    ("GET", "/api/health"): _get(200, 200),
    ("GET", "/ready"): _get(200, 200),
    ("GET", "/metrics"): _get(200, 200),
    ("GET", "/api/websocket/status"): _get(200, 200),
    ("POST", "/api/auth/login"): _login,
    ("POST", "/api/auth/register"): _register,
    ("POST", "/api/auth/refresh"): lambda w: [
        Try("", 401, 401, 401, {"refreshToken": w.victims["passenger"].token, **w.legacy})
    ],
    ("GET", "/api/auth/verify"): _get(200),
    ("GET", "/api/auth/profile"): _get(200),
    ("PATCH", "/api/auth/profile"): _profile,
    ("PUT", "/api/auth/profile"): _profile,
    # the events have a table of their own; here is the one that nobody may call
    ("POST", "/api/commands/{event}"): lambda w: [Try("connect", 401, 400, 400, w.legacy)],
    ("GET", "/api/rides"): _get(200, 403),
    ("GET", "/api/rides/{id}"): _job(lambda w: (w.ride, w.package)),
    ("GET", "/api/packages"): _get(200, 403),
    ("GET", "/api/packages/{id}"): _job(lambda w: (w.package, w.ride)),
    ("POST", "/api/rides/{id}/rate"): _rate(lambda w: (w.ride, w.package)),
    ("POST", "/api/packages/{id}/rate"): _rate(lambda w: (w.package, w.ride)),
    ("POST", "/api/users/{id}/block"): lambda w: [
        Try(f"{victim.id}/block", 401, 404, 404, w.legacy) for victim in w.victims.values()
    ],
    ("DELETE", "/api/users/{id}/block"): lambda w: [Try(f"{w.victims['driver'].id}/block", 401, 200, 200)],
    ("GET", "/api/users/blocked"): _get(200),
    ("GET", "/api/drivers/me/decisions"): _get(200),
    ("GET", "/api/admin/jobs/{id}/decisions"): lambda w: [
        Try(f"{w.ride}/decisions?{_who(w)}", 401, 403, 200)
    ],
    ("GET", "/api/admin/drivers/{id}"): lambda w: [Try(w.victims["driver"].id, 401, 403, 200)],
    ("GET", "/api/map"): _get(200),
    ("GET", "/api/map/base"): _get(404, admin=404),
    ("GET", "/"): _get(200, 200),
    ("GET", "/demo"): _demo(),
    ("GET", "/demo/"): _demo(),
    ("GET", "/demo/{page}"): _demo("passenger"),
    ("POST", "/api/demo/people"): _demo("", {"role": "driver"}),
    # what a page shows is asked for with a token; the page itself is the same for everybody
    ("GET", "/console"): _get(200, 200),
    ("GET", "/console/"): _get(200, 200),
    ("GET", "/console/{page}"): lambda w: [Try("users", 200, 200, 200), Try("nothing", 404, 404, 404)],
    ("GET", "/assets/{folder}/{part}/{file}"): lambda w: [Try("console/pages/users.mjs", 200, 200, 200)],
    ("GET", "/assets/{folder}/{file}"): lambda w: [Try("ui/base.css", 200, 200, 200)],
    ("GET", "/api/users"): _get(403, 403),
    ("GET", "/api/couriers"): _get(403, 403),
    ("GET", "/api/courier/analytics"): _get(403, 403),
    **{
        ("GET", f"/api/admin/{table}"): _get(403)
        for table in (
            "users",
            "drivers",
            "rides",
            "packages",
            "letters",
            "audit",
            "areas",
            "health",
            "figures",
        )
    },
    ("GET", "/api/admin/heat"): lambda w: [
        Try("?area=patient", 401, 403, 200),
        Try("?area=none", 401, 403, 404),
    ],
    ("POST", "/api/auth/logout"): lambda w: [
        Try("", 401, 200, 200, {**w.legacy, "sessionId": w.victims["passenger"].session_id})
    ],
}
