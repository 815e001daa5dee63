"""What a phone knows of its rooms: how far it has heard each, what it lacks, and what it asks `sync` for.

Pure, and by the rules of docs/protocol.md alone: the next number of the same epoch is taken, one that is not new is
dropped, whatever else comes is a hole to ask about; an answer is taken as if it had been heard, or, where the server
says that it cannot tell, begins the room anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from loadtest.faults.history import SNAPSHOTS, place_of
from loadtest.words import TERMINAL_STATES

ASKED_MAX = 64

Payload = dict[str, Any]


class Rooms:
    """`at` is (epoch, seq) of the last fact taken, by room."""

    def __init__(self) -> None:
        self.at: dict[str, tuple[str, int]] = {}
        self._announced: dict[str, tuple[str, int]] = {}
        self._lacks: set[str] = set()

    def hear(self, event: str, payload: Payload) -> None:
        """Any event of the server, and the ack of a join, which says the same as its event."""
        if event in SNAPSHOTS:
            self._stands(payload, anew=event == "connected")
        elif (place := place_of(payload)) is not None:
            self._fact(*place, payload)

    def wants(self) -> list[list[Any]]:
        """`[room, epoch, seq]` of each room in which something may have been missed."""
        rooms = sorted(self._lacks & self.at.keys())[:ASKED_MAX]
        return [[room, *self.at[room]] for room in rooms]

    def answered(self, answer: Payload) -> Iterator[tuple[str, Payload]]:
        """The ack of `sync`; gives the events that were missed, each once."""
        if not answer.get("ok"):
            if answer:  # it will not be answered another time either: what was announced is the start
                self.at, self._lacks = dict(self._announced), set()
            return
        for each in answer["rooms"]:
            room = str(each["room"])
            if "error" in each:
                if not each["error"].get("retry"):
                    self.at.pop(room, None)
                    self._lacks.discard(room)
                continue
            self._lacks.discard(room)
            for event, payload in each["events"]:
                place = place_of(payload)
                if place is not None and self._fact(*place, payload):
                    yield event, payload
            over = ((each.get("last") or {}).get("job") or {}).get("state") in TERMINAL_STATES
            if over:
                self.at.pop(room, None)
            elif room in self.at or not each["recovered"]:
                self.at[room] = str(each["epoch"]), int(each["seq"])

    def _stands(self, payload: Payload, *, anew: bool) -> None:
        found = [place for each in (payload, *payload.get("jobs", [])) if (place := place_of(each))]
        if anew:
            self._announced = {}
            self._lacks |= self.at.keys() - {room for room, _, _ in found}
        for room, epoch, seq in found:
            self._announced[room] = epoch, seq
            known = self.at.setdefault(room, (epoch, seq))
            if known[0] != epoch or known[1] < seq:
                self._lacks.add(room)

    def _fact(self, room: str, epoch: str, seq: int, payload: Payload) -> bool:
        """Whether it was new, and the next."""
        known = self.at.get(room)
        if known is None or (known[0] == epoch and known[1] + 1 == seq):
            self.at[room] = epoch, seq
            if payload.get("state") in TERMINAL_STATES:
                del self.at[room]
                self._lacks.discard(room)
            return True
        if known[0] != epoch or seq > known[1] + 1:
            self._lacks.add(room)
        return False
