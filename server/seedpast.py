"""A past for the demo: jobs that the real rules moved along, as the entries and fixes that the drain would read.

`Past` is a desk without Redis: it runs commands on records in memory, at moments it is told, and keeps what
would have stood on the facts stream. So the seed's history can hold nothing that a live server could not have
written. Its epoch and life are its own; codes and positions are invented.
"""

import math
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import msgspec
from msgspec.structs import replace

from dispatch.area import Areas
from dispatch.cells import distance_m
from dispatch.commands import Answer, Command
from dispatch.decision import State
from dispatch.rules import RULES
from storage.facts import Fact
from storage.records import Job, Message, Place, Read, Stored

EPOCH = "seed"
FIX_EVERY_MS = 5_000
ACCURACY_M = 6.0

Fix = tuple[str, int, int, float, float, float, float, float, str]
Entry = tuple[bytes, dict[bytes, bytes]]


@dataclass
class Past:
    areas: Areas
    records: dict[tuple[type, str], Stored | None] = field(default_factory=dict)
    entries: list[Entry] = field(default_factory=list)
    fixes: list[Fix] = field(default_factory=list)
    _seqs: dict[str, int] = field(default_factory=dict)

    def run(self, at_ms: int, command: Command) -> Answer:
        """What the desk does, without a competitor. Raises Refusal like it."""
        state = State(at_ms, self.records, {}, self.areas)
        decision = RULES[type(command)].decide(state, command)
        changed = [replace(record, version=record.version + 1) for record in decision.put]
        for record in changed:
            self.records[type(record), record.id] = record
        told = list(decision.facts)
        for number, fact in enumerate(told or [Fact(room=command.room)] if changed else told):
            said = [record for record in fact.records if isinstance(record, Message | Read)]
            self._note(at_ms, command.user, fact, [*(changed if number == 0 else []), *said])
        return decision.answer

    def job(self, job_id: str) -> Job:
        record = self.records[Job, job_id]
        assert isinstance(record, Job)
        return record

    def drive(self, driver_id: str, job_id: str, begin_ms: int, end_ms: int, way: list[Place]) -> None:
        """Fixes of a driver at even speed along a way, from one moment to the other."""
        legs = [distance_m(a.latitude, a.longitude, b.latitude, b.longitude) for a, b in pairwise(way)]
        speed_mps = sum(legs) / max(1.0, (end_ms - begin_ms) / 1000)
        for at_ms in range(begin_ms, end_ms, FIX_EVERY_MS):
            latitude, longitude, heading_deg = _along(way, legs, speed_mps * (at_ms - begin_ms) / 1000)
            self.fixes.append(
                (
                    driver_id,
                    at_ms,
                    len(self.fixes) + 1,
                    latitude,
                    longitude,
                    heading_deg,
                    speed_mps,
                    ACCURACY_M,
                    job_id,
                )
            )

    def _note(self, at_ms: int, by: str, fact: Fact, records: list[Stored | Message | Read]) -> None:
        seq, text = 0, b""
        if fact.event:
            seq = self._seqs[fact.room] = self._seqs.get(fact.room, 0) + 1
            payload: dict[str, Any] = {**fact.payload, "room": fact.room, "epoch": EPOCH, "seq": seq}
            text = msgspec.json.encode([fact.event, payload])
        fields = {
            b"r": fact.room.encode(),
            b"n": EPOCH.encode(),
            b"s": str(seq).encode(),
            b"e": fact.event.encode(),
            b"p": text,
            b"d": msgspec.json.encode(records) if records else b"",
            b"m": b"",
            b"t": str(at_ms).encode(),
            b"a": by.encode(),
        }
        self.entries.append((f"{at_ms}-{len(self.entries)}".encode(), fields))


def _along(way: list[Place], legs: list[float], travelled_m: float) -> tuple[float, float, float]:
    """Latitude, longitude and heading after so many metres of the way."""
    for (a, b), leg_m in zip(pairwise(way), legs, strict=True):
        if travelled_m <= leg_m and leg_m > 0:
            share = travelled_m / leg_m
            north, east = b.latitude - a.latitude, b.longitude - a.longitude
            heading_deg = math.degrees(math.atan2(east * math.cos(math.radians(a.latitude)), north)) % 360
            return a.latitude + share * north, a.longitude + share * east, heading_deg
        travelled_m -= leg_m
    return way[-1].latitude, way[-1].longitude, 0.0


def around_the_corner(a: Place, b: Place) -> list[Place]:
    """From a to b as a city drives: along one street, then along the other."""
    return [a, Place(a.latitude, b.longitude), b]
