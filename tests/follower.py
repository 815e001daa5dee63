"""A client that keeps up by the rule of docs/protocol.md, and nothing else; for tests of resume.

Per room it knows (epoch, seq) of the last fact. A fact of that epoch with the next number is taken, one with a
number that is not new is dropped; whatever else comes is a hole: it is dropped too, and `sync` is asked. An answer
with `recovered` is taken as if it had been heard; one without puts the client where `last` stands.
`taken` is what it ended up with, per room; None marks where it began from a snapshot instead.
"""

from __future__ import annotations

from typing import Any

Payload = dict[str, Any]
Place = tuple[str, int]


class Follower:
    def __init__(self) -> None:
        self.at: dict[str, Place] = {}
        self.taken: dict[str, list[Payload | None]] = {}
        self.lacks: set[str] = set()
        self.refused: dict[str, str] = {}
        self.last: dict[str, Payload] = {}
        self.out_of_order = 0

    def hear(self, event: str, payload: Payload) -> None:
        """Any event of the server."""
        if event == "connected":
            for each in (payload, *payload["jobs"]):
                self._told_of(each["room"], each["epoch"], each["seq"])
            announced = {payload["room"], *(job["room"] for job in payload["jobs"])}
            self.lacks |= set(self.at) - announced
        elif "seq" in payload and not event.startswith("joined_"):
            self._fact(payload)

    def _told_of(self, room: str, epoch: str, seq: int) -> None:
        if room not in self.at:
            self._begin(room, epoch, seq)
        elif self.at[room] != (epoch, seq):
            self.lacks.add(room)

    def _begin(self, room: str, epoch: str, seq: int) -> None:
        self.at[room] = (epoch, seq)
        self.taken.setdefault(room, []).append(None)

    def _fact(self, payload: Payload) -> None:
        room, epoch, seq = payload["room"], payload["epoch"], payload["seq"]
        if room not in self.at:
            self._begin(room, epoch, seq - 1)  # let in: the first fact of a room that is heard at all
        known, last = self.at[room]
        if epoch == known and seq == last + 1:
            self.at[room] = (epoch, seq)
            self.taken[room].append(payload)
        elif epoch != known or seq > last:
            self.out_of_order += 1
            self.lacks.add(room)

    def wants(self) -> Payload:
        """What to ask `sync` for."""
        return {"rooms": [[room, *self.at[room]] for room in sorted(self.lacks) if room in self.at]}

    def answered(self, answer: Payload) -> None:
        """The acknowledgement of `sync`; a refusal changes nothing, so it is asked again."""
        for each in answer["rooms"] if answer["ok"] else []:
            room = each["room"]
            if "error" in each:
                self.refused[room] = each["error"]["code"]
                if not each["error"]["retry"]:
                    del self.at[room]
                    self.lacks.discard(room)
                continue
            if each["recovered"]:
                for _, payload in each["events"]:
                    before = self.out_of_order
                    self._fact(payload)
                    assert self.out_of_order == before, f"{room}: a hole in what was recovered"
            else:
                assert each["events"] == []
                self._begin(room, each["epoch"], each["seq"])
            assert self.at[room][0] == each["epoch"] and self.at[room][1] >= each["seq"]
            self.last[room] = each["last"]
            self.lacks.discard(room)

    def stretches(self, room: str) -> list[list[Payload]]:
        """What was taken of a room, cut where the client began from a snapshot."""
        cut: list[list[Payload]] = []
        for payload in self.taken.get(room, []):
            if payload is None:
                cut.append([])
            else:
                cut[-1].append(payload)
        return cut
