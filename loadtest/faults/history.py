"""The log of a run: what phones sent, what they were answered, what they heard, and what was broken meanwhile.

All times are Unix seconds of this machine, which Redis and PostgreSQL share. Guarantees: nothing is inferred;
an answer is here because a socket received it, and what a socket received is here in its order.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from loadtest.geo import Point
from loadtest.spoken import Spoken, spoken_of
from loadtest.tally import FixKey, fix_key
from loadtest.words import job_of, offered_job

OK = "ok"
NO_ANSWER = "no_answer"
SNAPSHOTS = frozenset({"connected", "joined_ride", "joined_package"})
SHOWN = "position"  #: where a driver was, as the answer of `sync` shows it

Place = tuple[str, str, int]
#: Who was somewhere, and when (Unix ms): what a fix of a batch is found by.
FixAt = tuple[str, int]


class Attempt(NamedTuple):
    """A command as it was said once: over which node and link, and `ok`, a refusal's code or `no_answer`."""

    node: int
    sent_s: float
    ended_s: float
    outcome: str
    link: int = -1


@dataclass
class Command:
    """One command, however often it had to be said. `outcome` is empty until it was settled."""

    user: str
    event: str
    payload: dict[str, Any]
    attempts: list[Attempt] = field(default_factory=list)
    outcome: str = ""
    answer: dict[str, Any] = field(default_factory=dict)
    given_up: bool = False  # it was of the moment, and the moment is over

    @property
    def acked(self) -> bool:
        return self.outcome == OK

    @property
    def acked_s(self) -> float:
        return self.attempts[-1].ended_s

    @property
    def job(self) -> str:
        found = job_of(self.payload) or job_of(self.answer)
        return found[1] if found else ""


@dataclass
class Link:
    """One connection of one user. `closed_s` is 0 while it is open."""

    user: str
    number: int
    node: int
    opened_s: float
    closed_s: float = 0.0


class Standing(NamedTuple):
    """One room in a snapshot: where it is, and who carries the job by then."""

    place: Place
    job: str
    driver: str | None
    state: str


class Heard(NamedTuple):
    """One event on one socket. `said` is set for a numbered event of a job's room, `place` for any numbered
    one, `stands` for a snapshot; the rest is what the checkers ask of an event of its kind."""

    at_s: float
    user: str
    link: int
    event: str
    job: str
    place: Place | None = None
    said: Spoken | None = None
    stands: tuple[Standing, ...] = ()
    offer: str = ""
    fix: FixKey | None = None
    secret: bool = False
    resumed: bool = False  # told by `sync`, behind its time


class Resume(NamedTuple):
    """What `sync` said of one room: `seqs` of the events that it gave, all of one epoch if `whole`."""

    at_s: float
    user: str
    link: int
    room: str
    asked: tuple[str, int]
    epoch: str
    seq: int
    recovered: bool
    seqs: tuple[int, ...]
    whole: bool


@dataclass
class Broken:
    """A fault as it was done. `lost_from_s`: what was acknowledged since then may be gone; 0 if nothing may."""

    kind: str
    victim: str
    began_s: float
    ended_s: float = 0.0
    lost_from_s: float = 0.0
    forgot_from_s: float = 0.0
    note: str = ""


@dataclass
class History:
    """Everything of one run."""

    commands: list[Command] = field(default_factory=list)
    links: list[Link] = field(default_factory=list)
    heard: list[Heard] = field(default_factory=list)
    resumes: list[Resume] = field(default_factory=list)
    faults: list[Broken] = field(default_factory=list)
    sent_fixes: dict[FixKey, str] = field(default_factory=dict)
    stood: dict[str, set[tuple[int, int]]] = field(default_factory=lambda: defaultdict(set))
    owners: dict[str, str] = field(default_factory=dict)
    batched: set[FixAt] = field(default_factory=set)
    ended_s: float = 0.0

    def opened(self, user: str, node: int) -> Link:
        link = Link(user, len(self.links), node, time.time())
        self.links.append(link)
        return link

    def listen(self, link: Link, event: str, payload: dict[str, Any]) -> None:
        """An event has come over a link."""
        self.heard.append(heard_of(time.time(), link.user, link.number, event, payload))

    def resumed(self, link: Link, asked: list[list[Any]], answer: dict[str, Any]) -> None:
        """The ack of a `sync`: its events are heard, but stand in no link's own order."""
        at_s = time.time()
        were = {str(room): (str(epoch), int(seq)) for room, epoch, seq in asked}
        stands, seen = [], list[Heard]()
        for each in answer.get("rooms", []):
            if "error" in each:
                continue
            room, epoch, seq = str(each["room"]), str(each["epoch"]), int(each["seq"])
            places = [place_of(payload) for _, payload in each["events"]]
            seqs = tuple(place[2] for place in places if place is not None)
            whole = all(place is not None and place[:2] == (room, epoch) for place in places)
            recovered = bool(each["recovered"])
            self.resumes.append(
                Resume(at_s, link.user, link.number, room, were[room], epoch, seq, recovered, seqs, whole)
            )
            for event, payload in each["events"]:
                self.heard.append(
                    heard_of(at_s, link.user, link.number, event, payload)._replace(resumed=True)
                )
            last = each.get("last") or {}
            stands.append(_standing((room, epoch, seq), last.get("job") or {}))
            if where := last.get("position"):
                seen.append(heard_of(at_s, link.user, link.number, "driver_location", where))
        self.heard.append(Heard(at_s, link.user, link.number, "sync", "", stands=tuple(stands)))
        self.heard += [each._replace(event=SHOWN) for each in seen]

    def asked(self, user: str, event: str, payload: dict[str, Any]) -> Command:
        """A command is about to be said for the first time."""
        command = Command(user, event, payload)
        self.commands.append(command)
        if event.startswith("request_") and command.job:
            self.owners[command.job] = user
        if event == "go_online":
            key = fix_key("", Point(float(payload["latitude"]), float(payload["longitude"])))
            self.stood[user].add(key[1:])
        if event == "location_batch":
            self.batched |= {(user, ts_ms) for ts_ms in fix_times(payload)}
        return command

    def is_of(self, fix: FixKey, driver: str, *, rounded: bool = False) -> bool:
        """Whether a position is this driver's: a fix that he sent, or where he went online (told without a time
        of his own). One that the server has `rounded` before may be the next to it."""
        near = (-1, 0, 1) if rounded else (0,)
        keys = [(fix[0], fix[1] + north, fix[2] + east) for north in near for east in near]
        return any(self.sent_fixes.get(key) == driver or key[1:] in self.stood[driver] for key in keys)

    def fix(self, user: str, timestamp: str, point: Point) -> None:
        self.sent_fixes[fix_key(timestamp, point)] = user

    def open_commands(self) -> int:
        """How many of the lasting commands nobody has answered yet."""
        return sum(not each.outcome and not each.given_up for each in self.commands)

    def attempts(self) -> Iterator[Attempt]:
        for command in self.commands:
            yield from command.attempts


def fix_times(batch: dict[str, Any]) -> list[int]:
    """When the fixes of a `location_batch` were taken, Unix ms."""
    return [round(datetime.fromisoformat(fix["timestamp"]).timestamp() * 1000) for fix in batch["fixes"]]


def heard_of(at_s: float, user: str, link: int, event: str, payload: dict[str, Any]) -> Heard:
    """An event as the checkers want it; what nobody asks about is dropped."""
    found = job_of(payload)
    job = found[1] if found else ""
    if event in SNAPSHOTS:
        fix = _fix_of(payload["position"]) if payload.get("position") else None
        return Heard(at_s, user, link, event, job, stands=tuple(_standings(payload)), fix=fix)
    heard = Heard(at_s, user, link, event, job, place=place_of(payload), said=spoken_of(event, payload))
    if event == "offer":
        return heard._replace(offer=str(payload["offerId"]), job=offered_job(payload)[1])
    if event == "driver_location":
        return heard._replace(fix=_fix_of(payload))
    if event == "notification":
        data = payload.get("data") or {}
        about = job_of(data)
        return heard._replace(secret="code" in data, job=about[1] if about else "")
    return heard


def _fix_of(where: dict[str, Any]) -> FixKey:
    return fix_key(str(where.get("timestamp")), Point(float(where["latitude"]), float(where["longitude"])))


def place_of(payload: dict[str, Any]) -> Place | None:
    """Where a numbered event stands; None for a volatile one."""
    room, seq = payload.get("room"), payload.get("seq")
    if not isinstance(room, str) or not isinstance(seq, int):
        return None
    return room, str(payload.get("epoch")), seq


def _standings(payload: dict[str, Any]) -> Iterator[Standing]:
    for each in [payload, *payload.get("jobs", [])]:
        place = place_of(each)
        if place is not None:
            yield _standing(place, each)


def _standing(place: Place, card: dict[str, Any]) -> Standing:
    found = job_of(card)
    driver = (card.get("driver") or {}).get("id")
    return Standing(place, found[1] if found else "", driver, str(card.get("state", "")))
