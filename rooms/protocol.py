"""docs/protocol.md, printed from the message classes and the table of handlers, so that it cannot drift."""

from typing import Any, get_args, get_origin, get_type_hints

import msgspec
from msgspec import UnsetType

from dispatch.commands import CODES
from dispatch.lifecycle import TABLES, WORDS
from rooms import messages
from rooms.handlers import ANY, HANDLERS, Handler
from rooms.vocabulary import vocabulary

HEAD = """# The Socket.IO protocol

Printed by `.venv/bin/dispatch protocol`; do not edit. Namespace `/`, path `/socket.io/`, Engine.IO 4. Log in with
`auth: {token}` in the handshake (or the header `Authorization: Bearer …`). Every event has one argument, an
object; every event may carry an ack, which gets `{"ok": true, …}` or
`{"ok": false, "error": {code, message, retry, againInS?}}`; a refusal without an ack comes as the event `error`.
`retry: true` says that the same may be said again at once, `againInS` that it may after so many seconds (most
`rate_limited`); with neither it is refused until something else changes.
Fields that are not listed are refused on a socket and ignored over HTTP. Those which the platform's apps send
along (DROPPED, where an event does not list them)
are dropped silently: who you are is your token. Every command may carry a `commandId`: the same one again gets
the first answer and has no second effect. A job's id or `commandId` is best a UUID of version 7, made when it is first
said: one of the last minutes is taken also while PostgreSQL, which knows all that ever were, is away. What an admin
does, to a job, an account, an area or a refused row, needs a `reason` and stands in the audit log.

A login that ends while its socket is open (logout, block, another role) closes it within seconds, after an
`error` with the code `unauthenticated`: the next handshake is refused, or finds the new role. `server_draining`
says that this server is about to close the connection: connect again, as stock clients do by themselves.

Reliable events carry `room`, `epoch` and `seq`: within a room and epoch every `seq` comes once and in order.
A job's `version` may skip, `seq` never does. Positions, typing and presence are volatile: only the newest waits
for a slow client. Fares are whole minor units of their currency (`{"amount": 1250, "currency": "USD"}` is 12.50).
The code that a delivery or a ride is proved by comes to the requester alone, as `notification`.

To miss nothing, keep (epoch, seq) of the last fact per room. A fact of the same epoch with the next `seq` is
new; one with a `seq` that is not greater is old, drop it; at anything else something is missing: drop it too, and ask
`sync` for that room, with what you have. Ask likewise after `connected` for every room that it announces with
another (epoch, seq) than yours, and for those that it does not announce any more. The epoch means nothing but itself.
Per room the ack of `sync` says one of three things. `recovered: true`: `events` are all facts that follow yours
up to `seq`, in order, each `["event", {…}]` as it would have come by itself. `recovered: false`: that cannot be
told (more than `resume.events` facts, or `resume.window_s` after the job's end, another epoch, facts of before you
came): forget what you had; `last`, in both, is where things stand at (epoch, seq). `error`: `not_found` if you are
no party (any more), or `unavailable` when the answer was full: ask for that room again. What comes after the ack
follows it.
`last` of a job's room is `{job, position}`, of your own `{jobs, offers}`; an offer in `events` may be over, one in
`last.offers` says how long it still stands.

Should the server itself have lost something, your job may be told with an older state than you know. So let `jobs`
of `sync` name every job that you hold for not over, with the newest `version` you saw of it. Where that is newer, the
job waits for a person: its room hears so (`needsPerson: true`), it is offered to nobody and not ended by a timer; its
parties may go on with it or call it off. A version is never given twice.
"""

#: event, what its ack says beside `ok`
ACKS = (
    (
        "quote",
        "kind, areaId, quotes: [{class or tier, fare, surge (in it; 1 is none), pickupEtaSeconds, "
        "durationS, durationLateS (four of five take no longer), distanceM, quoteId, validUntil}]",
    ),
    (
        "nearby",
        "class, vehicles: [{latitude, longitude}] (8, each somewhere near), againInS: 10 (sooner: `rate_limited`)",
    ),
    ("request_ride, request_package", "rideId or packageId, status, state, version, fare, areaId"),
    ("accept_offer", "rideId or packageId, status, state, version, offerId, outcome: accepted"),
    ("decline_offer, offer_seen", "offerId, outcome: declined; offerId, expiresInMs"),
    ("go_online", "state, generation, version, areaId, serves: [ride, package], jobs: [ids], staleAfterS"),
    ("location_update", "kept, reason? (why it was not believed)"),
    ("location_batch", "batchId, kept (how many), refused: {reason: how many}"),
    ("cancel_*, *_status_update", "rideId or packageId, status, state, version"),
    ("join_ride, join_package", "the job's fields, room, epoch, seq, job, position, members, timestamp"),
    (
        "sync",
        "rooms: [{room, epoch, seq, recovered, events: [[event, payload]], last} or {room, error}]",
    ),
    ("send_message", "id, timestamp"),
    ("block_user, unblock_user", "userId, status"),
    ("keep_apart, let_meet", "userId, otherId, apart"),
    ("assign_job", "rideId or packageId, status, state, version, driverId"),
    ("unassign_job, lift_hold", "rideId or packageId, status, state, version"),
    ("pause_area, resume_area, edit_area", "areaId, version, paused"),
    (
        "retry_letter, discard_letter",
        "letterId, outcome: written, refused, nothing (what stands there is newer, or another's) or discarded, reason?",
    ),
)

JOB_ID = "rideId or packageId"
#: event, payload, who gets it
SAID = (
    (
        "connected",
        "userId, node, timestamp, room, epoch, seq, jobs: [active; with finishing? as in driver_assigned], offers: "
        "[open], resume",
        "this socket",
    ),
    (
        "offer",
        "offerId, kind, job, pickup, dropoff, distanceM, etaSeconds, fare, expiresInMs, finishing? (true: it is after "
        "the ride on board; etaSeconds includes the rest of that, distanceM is from its dropoff); at a parcel's pickup "
        "nobody is expected before its readyAt",
        "the driver",
    ),
    ("offer_withdrawn", "offerId, reason: expired, unseen, withdrawn or lost", "the driver"),
    (
        "driver_assigned",
        f"{JOB_ID}, driverId, driverName, vehicle, etaSeconds, distanceM, takenOver? (true: from the "
        "driver who was on his way, who hears nothing of it here), reason?, needsCode?, "
        "finishing? (true: he has another ride on board, whose rest is in etaSeconds; until it is over no position is "
        "told here and `arrived` is refused; where it is late by `patience_s`, this one is searched for again)",
        "the room",
    ),
    (
        "ride_status_update",
        "rideId, status, state, version, driverId, updatedBy, reason?, needsPerson?",
        "the room",
    ),
    (
        "package_status_update",
        "packageId, status, state, version, driverId, updatedBy, reason?, needsPerson?",
        "the room",
    ),
    (
        "driver_location",
        f"{JOB_ID}, latitude, longitude, heading, speed, timestamp, ageMs, etaSeconds",
        "the room; volatile",
    ),
    ("new_message", f"id, {JOB_ID}, senderId, senderName, message, type, timestamp", "the room"),
    ("message_read", f"{JOB_ID}, messageId, readerId, timestamp", "the room"),
    ("notification", f"type: delivery_code or ride_code, data {{{JOB_ID}, code}}", "the requester"),
    (
        "notification",
        f"type: job_taken_over, data {{{JOB_ID}, version, reason}}: it is not his any more, and he is free",
        "the driver who was on his way",
    ),
    ("user_typing", f"{JOB_ID}, userId, userName, isTyping", "the others in the room; volatile"),
    (
        "user_joined_ride, user_left_ride, user_joined_package, user_left_package",
        f"{JOB_ID}, userId, userName",
        "the others; volatile; not of an administrator, who only looks",
    ),
    (
        "joined_ride, left_ride, joined_package, left_package, online_users, pong",
        "as their acks",
        "this socket",
    ),
    (
        "city_base",
        "n, atMs, first, left, drivers, places, gone, jobs, over (rooms/cityview.py says how rows are packed)",
        "a console that watches; a part of what it has still to be told, up to n; first: forget what you had",
    ),
    (
        "city",
        "n, atMs, and of what changed since n - 1: drivers, places, gone, jobs, over",
        "consoles that have been told all before; where n is not the one after the newest heard, ask watch_city again",
    ),
    ("superseded", "generation of the device that took over", "the older device"),
    ("server_draining", "reconnectWithin_s", "everybody here"),
    ("error", "code, message, retry, againInS?, event", "this socket"),
)


def _type(hint: Any) -> str:
    """A field's type in words, with its bounds."""
    if get_origin(hint) is not None and hasattr(hint, "__metadata__"):
        inner, meta = _type(hint.__origin__), hint.__metadata__[0]
        return inner + _bounds(meta)
    arguments = [a for a in get_args(hint) if a not in (UnsetType, type(None))]
    if str(get_origin(hint)) == "typing.Literal":
        return " or ".join(f"`{a}`" for a in get_args(hint))
    if get_origin(hint) is tuple and Ellipsis not in arguments:
        return f"`[{', '.join(_type(a) for a in arguments)}]`"
    if get_origin(hint) is dict:
        return "an object"
    if get_origin(hint) is tuple:
        return f"list of {_type(arguments[0])}"
    if arguments:
        return " or ".join(_type(a) for a in arguments)
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return f"[{hint.__name__}](#{hint.__name__.lower()})"
    return {"str": "text", "int": "whole number", "float": "number", "bool": "true or false"}.get(
        getattr(hint, "__name__", ""), str(hint)
    )


def _bounds(meta: msgspec.Meta) -> str:
    if meta.pattern == messages.UUID:
        return " (UUID)"
    limits = [
        f"{word} {value:g}"
        for word, value in (
            ("from", meta.ge),
            ("above", meta.gt),
            ("to", meta.le),
            ("at least", meta.min_length),
            ("at most", meta.max_length),
        )
        if value is not None
    ]
    if meta.description:
        limits.append(meta.description)
    return f" ({', '.join(limits)})" if limits else ""


def _default(field: Any) -> str:
    """What stands for a field that is left out; nothing where that is none or empty."""
    if field.default in (msgspec.NODEFAULT, msgspec.UNSET, None, "", ()) or isinstance(
        field.default, msgspec.Struct
    ):
        return ""
    return f", default `{msgspec.json.encode(field.default).decode()}`"


def _fields(kind: type[msgspec.Struct]) -> list[str]:
    hints = get_type_hints(kind, include_extras=True)
    lines = []
    for field in msgspec.structs.fields(kind):
        optional = "" if field.required else "?"
        lines.append(f"- `{field.encode_name}{optional}` {_type(hints[field.name])}{_default(field)}")
    return lines or ["- no fields"]


def _event(names: list[str], handler: Handler) -> list[str]:
    who = "anybody" if handler.who == ANY else ", ".join(sorted(handler.who))
    title = ", ".join(f"`{name}`" for name in names)
    kind = "command" if issubclass(handler.message, messages.Reliable) else "plain"
    more = sorted(handler.message.legacy - messages.Message.legacy)
    dropped = [f"Dropped silently as well: {', '.join(f'`{name}`' for name in more)}.", ""] if more else []
    limit = f"{handler.rate:g}/s, {handler.burst:g} at once"
    return [
        f"### {title}",
        "",
        f"For {who}. A {kind} event; {limit}.",
        "",
        *_fields(handler.message),
        "",
        *dropped,
    ]


def _lifecycle(kind: str) -> list[str]:
    lines = [f"### {kind}", "", "| from | status | to (by) |", "|---|---|---|"]
    for state, word in WORDS[kind].items():
        ways = TABLES[kind].get(state, {})
        reached = ", ".join(f"{to} ({' '.join(by)})" for to, by in ways.items()) or "over"
        lines.append(f"| {state} | {word} | {reached} |")
    return [*lines, ""]


def page() -> str:
    """The whole page as Markdown."""
    dropped = ", ".join(f"`{name}`" for name in sorted(messages.Message.legacy))
    lines = [HEAD.replace("DROPPED", dropped), "## Client to server", ""]
    by_handler: dict[Handler, list[str]] = {}
    for name, handler in HANDLERS.items():
        by_handler.setdefault(handler, []).append(name)
    for handler, names in by_handler.items():
        lines += _event(names, handler)
    for kind in (messages.Point, messages.Recipient, messages.Proof, messages.PastFix):
        lines += [f"### {kind.__name__}", "", *_fields(kind), ""]
    lines += vocabulary()
    lines += ["## Acks", "", "| event | `{ok: true, …}` |", "|---|---|"]
    lines += [f"| `{event}` | `{said}` |" for event, said in ACKS]
    lines += ["", "## Server to client", "", "| event | payload | to |", "|---|---|---|"]
    lines += [f"| `{event}` | `{payload}` | {to} |" for event, payload, to in SAID]
    lines += [
        "",
        "## Lifecycles",
        "",
        "P passenger or sender, D driver, S system, A admin.",
        "",
    ]
    lines += _lifecycle("ride") + _lifecycle("package")
    lines += ["## Refusals", "", "| code | meaning | retry |", "|---|---|---|"]
    lines += [
        f"| `{code}` | {meaning} | {'yes' if retry else 'no'} |" for code, (meaning, retry) in CODES.items()
    ]
    return "\n".join(lines) + "\n"
