"""What each event does: the HANDLERS table, which is all that a client can reach.

A handler builds a command from the message and from who is asking, and returns what the ack says; whatever
others must hear of it comes from the log. `who` are the roles that may call it, `rate` and `burst` its limit
per client, `awaits` whether it is a coroutine, `holds` whether its answer is a snapshot, which facts must follow.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rooms import messages as m
from rooms.gate import House
from rooms.handlers import admin, backlog, chat, demand, offers, supply
from rooms.session import Session

ANY = frozenset({"passenger", "driver", "courier", "admin"})
CARRIERS = frozenset({"driver", "courier"})
REQUESTERS = frozenset({"passenger"})
ADMINS = frozenset({"admin"})


@dataclass(frozen=True, slots=True)
class Handler:
    message: type[m.Message]
    who: frozenset[str]
    rate: float
    burst: float
    awaits: bool
    run: Callable[[House, Session, Any], Any]
    holds: bool = False


HANDLERS: dict[str, Handler] = {
    "quote": Handler(m.Quote, REQUESTERS, 2, 5, True, demand.quote),
    "nearby": Handler(m.Nearby, REQUESTERS, 1, 5, True, demand.nearby),
    "go_online": Handler(m.GoOnline, CARRIERS, 2, 10, True, supply.go_online),
    "go_offline": Handler(m.GoOffline, CARRIERS, 2, 10, True, supply.go_offline),
    "location_update": Handler(m.LocationUpdate, CARRIERS, 10, 40, False, supply.location_update),
    "driver_location_update": Handler(m.LocationUpdate, CARRIERS, 10, 40, False, supply.location_update),
    "location_batch": Handler(m.LocationBatch, CARRIERS, 0.5, 16, True, backlog.location_batch),
    "request_ride": Handler(m.RequestRide, REQUESTERS, 2, 10, True, demand.request_ride),
    "request_package": Handler(m.RequestPackage, REQUESTERS, 2, 10, True, demand.request_package),
    "cancel_ride": Handler(m.CancelRide, ANY, 2, 10, True, demand.cancel_ride),
    "cancel_package": Handler(m.CancelPackage, ANY, 2, 10, True, demand.cancel_package),
    "offer_seen": Handler(m.AnswerOffer, CARRIERS, 5, 20, True, offers.offer_seen),
    "accept_offer": Handler(m.AcceptOffer, CARRIERS, 5, 20, True, offers.accept_offer),
    "decline_offer": Handler(m.AnswerOffer, CARRIERS, 5, 20, True, offers.decline_offer),
    "ride_status_update": Handler(m.RideStatus, ANY, 5, 20, True, offers.ride_status),
    "package_status_update": Handler(m.PackageStatus, ANY, 5, 20, True, offers.package_status),
    "update_package_status": Handler(m.PackageStatus, ANY, 5, 20, True, offers.package_status),
    "sync": Handler(m.Sync, ANY, 2, 20, True, chat.sync, holds=True),
    "join_ride": Handler(m.RideRef, ANY, 2, 20, True, chat.join_ride, holds=True),
    "leave_ride": Handler(m.RideRef, ANY, 2, 20, False, chat.leave_ride),
    "join_package": Handler(m.PackageRef, ANY, 2, 20, True, chat.join_package, holds=True),
    "leave_package": Handler(m.PackageRef, ANY, 2, 20, False, chat.leave_package),
    "send_message": Handler(m.SendMessage, ANY, 5, 20, True, chat.send_message),
    "message_read": Handler(m.MessageRead, ANY, 5, 20, True, chat.message_read),
    "typing_start": Handler(m.JobRef, ANY, 2, 6, False, chat.typing_start),
    "typing_stop": Handler(m.JobRef, ANY, 2, 6, False, chat.typing_stop),
    "get_online_users": Handler(m.JobRef, ANY, 2, 10, True, chat.get_online_users),
    "block_user": Handler(m.BlockUser, ADMINS, 2, 20, True, admin.block_user),
    "unblock_user": Handler(m.BlockUser, ADMINS, 2, 20, True, admin.unblock_user),
    "keep_apart": Handler(m.KeepApart, ADMINS, 2, 20, True, admin.keep_apart),
    "let_meet": Handler(m.KeepApart, ADMINS, 2, 20, True, admin.let_meet),
    "assign_job": Handler(m.AssignJob, ADMINS, 2, 20, True, admin.assign_job),
    "unassign_job": Handler(m.OfJob, ADMINS, 2, 20, True, admin.unassign_job),
    "lift_hold": Handler(m.OfJob, ADMINS, 2, 20, True, admin.lift_hold),
    "pause_area": Handler(m.PauseArea, ADMINS, 2, 20, True, admin.pause_area),
    "resume_area": Handler(m.PauseArea, ADMINS, 2, 20, True, admin.resume_area),
    "edit_area": Handler(m.EditArea, ADMINS, 2, 20, True, admin.edit_area),
    "retry_letter": Handler(m.LetterRef, ADMINS, 5, 50, True, admin.retry_letter),
    "discard_letter": Handler(m.LetterRef, ADMINS, 5, 50, True, admin.discard_letter),
    "watch_city": Handler(m.WatchCity, ADMINS, 1, 5, False, admin.watch_city),
    "unwatch_city": Handler(m.Nothing, ADMINS, 1, 5, False, admin.unwatch_city),
    "join_user_room": Handler(m.Nothing, ANY, 2, 10, False, chat.join_user_room),
    "ping": Handler(m.Nothing, ANY, 2, 10, False, chat.ping),
}
