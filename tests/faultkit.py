"""A small history that is sound, for the checkers of the fault bench: one ride, told and kept as it should be."""

from __future__ import annotations

from collections import Counter
from typing import Any

from loadtest.faults.held import AuditRow, DriverRow, Held, OfferRow
from loadtest.faults.history import NO_ANSWER, Attempt, Command, History, fix_times, heard_of
from loadtest.geo import Point
from loadtest.pace import iso_utc
from loadtest.spoken import spoken_of

ZERO_S = 1_800_000_000.0
JOB, OTHER = "job-1", "job-2"
RIDER, DRIVER, SECOND, STRANGER, ADMIN = "rider", "driver", "second", "stranger", "admin"
EPOCH, LATER = "main.1.aaaaaa", "main.2.bbbbbb"
HERE, HOME = Point(49.99, 36.23), Point(49.98, 36.22)


def fact(seq: int, event: str, job: str = JOB, epoch: str = EPOCH, **more: Any) -> dict[str, Any]:
    at = {"room": f"ride:{job}", "epoch": epoch, "seq": seq, "rideId": job}
    return {"event": event, **at, "timestamp": iso_utc(round((ZERO_S + seq) * 1000)), **more}


def story(job: str = JOB, driver: str = DRIVER) -> list[dict[str, Any]]:
    """A ride from the request to its end, second by second, as its room tells it."""
    steps = [
        ("ride_status_update", "searching", None),
        ("driver_assigned", "assigned", driver),
        ("new_message", "", None),
        ("ride_status_update", "arrived", driver),
        ("ride_status_update", "in_progress", driver),
        ("ride_status_update", "completed", driver),
    ]
    told = []
    for number, (event, state, who) in enumerate(steps, 1):
        more = {"id": f"line-{job}"} if event == "new_message" else {"state": state, "driverId": who}
        told.append(fact(number, event, job, version=0 if event == "new_message" else number, **more))
    return told


def hear(history: History, user: str, link: int, said: dict[str, Any], at_s: float = 0.0) -> None:
    payload = {key: value for key, value in said.items() if key != "event"}
    when_s = at_s or ZERO_S + said.get("seq", 0) + 0.01
    history.heard.append(heard_of(when_s, user, link, said["event"], payload))


def connect(history: History, user: str, at_s: float = ZERO_S, **stands: Any) -> int:
    link = history.opened(user, 0)
    link.opened_s, link.closed_s = at_s, ZERO_S + 60
    greeting = {"room": f"user:{user}", "epoch": EPOCH, "seq": 0, **stands}
    hear(history, user, link.number, {"event": "connected", **greeting}, at_s)
    return link.number


def ack(history: History, user: str, event: str, at: float, **payload: Any) -> Command:
    command = history.asked(user, event, payload)
    command.attempts.append(Attempt(0, ZERO_S + at, ZERO_S + at + 0.01, "ok"))
    command.outcome, command.answer = "ok", {"ok": True, "rideId": JOB}
    return command


def says(
    history: History,
    event: str,
    at: float,
    outcome: str = "ok",
    *,
    link: int = 1,
    by: str = DRIVER,
    **answer: Any,
) -> Command:
    """A driver says something of his lease; `at` is when, in seconds of the story."""
    payload: dict[str, Any] = {"batchId": f"b{at}", "fixes": [taken(at - 1), taken(at - 0.5)]}
    if event != "location_batch":
        payload = {"latitude": HOME.latitude, "longitude": HOME.longitude} if event == "go_online" else {}
    command = history.asked(by, event, payload)
    command.attempts.append(Attempt(0, ZERO_S + at, ZERO_S + at + 0.01, outcome, link))
    if outcome != NO_ANSWER:
        command.outcome, command.answer = outcome, {"ok": outcome == "ok", **answer}
    return command


def taken(at: float) -> dict[str, Any]:
    """A recorded position."""
    stamp = iso_utc(round((ZERO_S + at) * 1000))
    return {"latitude": HERE.latitude, "longitude": HERE.longitude, "timestamp": stamp}


def sound() -> tuple[History, Held]:
    """One ride as it should be, in its driver's shift: what its people said and heard, and what PostgreSQL holds."""
    history, told = History(), story()
    rider, driver = connect(history, RIDER), connect(history, DRIVER)
    ack(history, RIDER, "request_ride", 1, rideId=JOB)
    offer = {"offerId": "o-1", "kind": "ride", "job": {"rideId": JOB}}
    hear(
        history,
        DRIVER,
        driver,
        {"event": "offer", "room": f"user:{DRIVER}", "epoch": EPOCH, "seq": 1} | offer,
    )
    ack(history, DRIVER, "offer_seen", 1.5, offerId="o-1")
    ack(history, DRIVER, "accept_offer", 2, offerId="o-1")
    for each in told:
        hear(history, RIDER, rider, each)
        if each["seq"] > 1:
            hear(history, DRIVER, driver, each)
    ack(history, RIDER, "send_message", 3, rideId=JOB, id=f"line-{JOB}")
    ack(history, DRIVER, "message_read", 3.5, rideId=JOB, messageId=f"line-{JOB}")
    for seq, state in ((4, "arrived"), (5, "in_progress"), (6, "completed")):
        ack(history, DRIVER, "ride_status_update", seq, rideId=JOB, status=state)
    says(history, "go_online", 0.5, version=1, generation=1)
    batch = says(history, "location_batch", 7, kept=2, refused={})
    says(history, "go_offline", 8, version=9)
    history.ended_s = ZERO_S + 60
    events = [spoken for each in told if (spoken := spoken_of(each["event"], each)) is not None]
    held = Held(
        jobs=[(JOB, "completed", DRIVER)],
        places=[each.place for each in events] + [(f"user:{DRIVER}", EPOCH, 1)],
        events=events,
        lines=[(JOB, f"line-{JOB}")],
        reads={(JOB, DRIVER)},
        offers=[OfferRow("o-1", "accepted", DRIVER, JOB, round(ZERO_S + 1) * 1000, True)],
        drivers={DRIVER: DriverRow("offline", 9)},
        fixes=Counter((DRIVER, ts_ms) for ts_ms in fix_times(batch.payload)),
    )
    return history, held


def by_hand() -> tuple[History, Held]:
    """The same, with what an admin did: the ride was given to its driver by hand, and ended so; a stranger was
    blocked and let in again, another one blocked."""
    history, held = sound()
    ack(history, ADMIN, "assign_job", 2, rideId=JOB, driverId=DRIVER, reason="r1")
    ack(history, ADMIN, "ride_status_update", 6, rideId=JOB, status="completed", reason="r2")
    for at, (event, user) in enumerate(
        [("block_user", STRANGER), ("unblock_user", STRANGER), ("block_user", OTHER)], 3
    ):
        ack(history, ADMIN, event, at, userId=user, reason=f"{event} {user}").answer = {"ok": True}
        held.audit.append(AuditRow(f"{event} {user}", "user", user))
    held.audit += [AuditRow("r1", "ride", JOB), AuditRow("r2", "ride", JOB)]
    held.deeds = {JOB: [ZERO_S + 2, ZERO_S + 6]}
    held.statuses = {STRANGER: "active", OTHER: "suspended"}
    return history, held


def position(
    history: History,
    user: str,
    link: int,
    at_s: float,
    sender: str | None = DRIVER,
    *,
    taken_s: float | None = None,
    event: str = "driver_location",
) -> None:
    """Told at `at_s`, when it was taken too where nothing else is said."""
    stamp = iso_utc(round((ZERO_S + (at_s if taken_s is None else taken_s)) * 1000))
    if sender:
        history.fix(sender, stamp, HERE)
    where = {"latitude": HERE.latitude, "longitude": HERE.longitude, "timestamp": stamp}
    said = {"rideId": JOB, **(where if event == "driver_location" else {"position": where})}
    heard = heard_of(ZERO_S + at_s, user, link, event, said)
    before = [i for i, each in enumerate(history.heard) if each.link == link and each.at_s <= heard.at_s]
    history.heard.insert(before[-1] + 1, heard)
