"""What the clients of a replay were told: the one side of every set difference, and the leaks seen on the
way.

Every acknowledgement and every event of every socket passes through here. Guarantees: nothing is inferred
from what the server ought to do; an id is in a set because a socket received it. Positions are judged as
they arrive, against what the same socket has heard of the same job by then; numbered events are judged in
the end, by their rooms' order.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from loadtest.geo import Point, distance_m
from loadtest.sample import Sample
from loadtest.spoken import Spoken, double_assignments, holdings, spoken_of, strangers
from loadtest.tally import Tally
from loadtest.words import TERMINAL_STATES, UNASSIGNED_STATES, job_of, offered_job

SNAPSHOTS = frozenset({"connected", "joined_ride", "joined_package"})


@dataclass
class Ask:
    """A request as its customer made it."""

    customer: str
    pickup: Point
    nearest_m: float | None  # to the nearest free cab by the load generator's own knowledge, at that time
    offered_m: float | None = None  # from where the cab that took it stood when it was asked
    accepted_m: float | None = None  # and when it said yes: cabs move on while their drivers think


class Ledger(Tally):
    """A tally that forgets nothing that a checker needs."""

    def __init__(self) -> None:
        super().__init__(latency_sample=1_000_000)
        self.asks: dict[str, Ask] = {}
        self.acked_jobs: set[str] = set()
        self.acked_states: set[tuple[str, str]] = set()
        self.acked_lines: set[tuple[str, str]] = set()
        self.acked_accepts: set[tuple[str, str]] = set()
        self.offer_of: dict[str, tuple[str, str]] = {}
        self.events: dict[tuple[str, str, int], Spoken] = {}
        self.heard_by: list[tuple[str, str, str, int]] = []
        self.leaks: Counter[str] = Counter()
        self.heard_twice = 0
        self.heard_differently = 0
        self.gaps = 0
        self.offer_any_ms = Sample(1_000_000)
        self._seen: set[tuple[str, tuple[str, str, int]]] = set()
        self._last: dict[tuple[str, str, str], int] = {}
        self._carrier: dict[tuple[str, str], str | None] = {}

    # -- what phones did

    def ask(self, job_id: str, customer: str, pickup: Point, nearest_m: float | None) -> None:
        """Call just before `asked`, with what the load generator itself knows of the free cabs."""
        self.asks[job_id] = Ask(customer, pickup, nearest_m)

    def accepted(self, driver: str, job_id: str, asked_at: Point, here: Point) -> None:
        super().accepted(driver, job_id, asked_at, here)
        self.acked_accepts.add((job_id, driver))
        ask = self.asks[job_id]
        ask.offered_m, ask.accepted_m = distance_m(asked_at, ask.pickup), distance_m(here, ask.pickup)

    def told(self, user: str, event: str, payload: dict[str, Any], answer: dict[str, Any]) -> None:
        found = job_of(payload)
        if found is None:
            return
        if event.startswith("request_"):
            self.acked_jobs.add(found[1])
        elif event.endswith("_status_update"):
            self.acked_states.add((found[1], str(payload["status"])))
        elif event == "send_message":
            self.acked_lines.add((found[1], str(payload["id"])))

    # -- what sockets received

    def heard(self, user: str, event: str, payload: dict[str, Any]) -> None:
        if event == "connected":
            self._last = {key: seq for key, seq in self._last.items() if key[0] != user}
        if event in SNAPSHOTS:
            self._stands_at(user, payload)
            return
        if event == "driver_location":
            self._position(user, payload)
        elif event == "offer":
            self._offer(user, payload)
        elif event == "notification":
            self._secret(user, payload)
        elif event == "error":
            super().heard(user, event, payload)
        self._numbered(user, event, payload)

    def _stands_at(self, user: str, payload: dict[str, Any]) -> None:
        """A snapshot: what was said before it is no gap, the next number is the one after it."""
        for each in [payload, *payload.get("jobs", [])]:
            if isinstance(each.get("seq"), int):
                self._last[user, str(each["room"]), str(each["epoch"])] = each["seq"]

    def _numbered(self, user: str, event: str, payload: dict[str, Any]) -> None:
        room, seq = payload.get("room"), payload.get("seq")
        if not isinstance(room, str) or not isinstance(seq, int):
            return
        if room.startswith("user:") and room != f"user:{user}":
            self.leaks["event of somebody else's own room"] += 1
        place = (room, str(payload.get("epoch")), seq)
        self.heard_twice += (user, place) in self._seen
        self._seen.add((user, place))
        before = self._last.get((user, *place[:2]))
        self.gaps += before is not None and seq > before + 1
        self._last[user, place[0], place[1]] = seq
        said = spoken_of(event, payload)
        if said is None:
            return
        self.heard_differently += self.events.setdefault(place, said) != said
        self.heard_by.append((user, said.job, said.epoch, said.seq))
        if said.state:
            over = said.state in UNASSIGNED_STATES | TERMINAL_STATES
            self._carrier[user, said.job] = None if over else said.driver

    def _position(self, user: str, payload: dict[str, Any]) -> None:
        found = job_of(payload)
        job_id = found[1] if found else ""
        ask, sent = self.asks.get(job_id), self.sent_fix(payload)
        carrier = self._carrier.get((user, job_id))
        if carrier is None or ask is None:
            # Before the assignment, after the end, or of a job that this socket never heard of.
            self.leaks["position without an assignment"] += 1
        elif user not in {ask.customer, carrier}:
            self.leaks["position to a stranger"] += 1
        elif sent is None:
            self.leaks["position that nobody sent"] += 1
        elif sent.sender != carrier:
            self.leaks["position of another cab"] += 1
        elif user == ask.customer:
            self.fix_ms.add((self._now_s() - sent.at_s) * 1000)

    def _offer(self, user: str, payload: dict[str, Any]) -> None:
        _, job_id = offered_job(payload)
        offer_id = str(payload["offerId"])
        first = self.offer_of.setdefault(offer_id, (user, job_id))
        if first != (user, job_id):
            self.leaks["offer to two drivers"] += 1
        self.counts["offers"] += 1
        asked = self._requests.pop(job_id, None)
        if asked is not None:
            waited_ms = (self._now_s() - asked[0]) * 1000
            self.offer_any_ms.add(waited_ms)
            if self.asks[job_id].nearest_m is not None:
                self.offer_ms.add(waited_ms)

    def _secret(self, user: str, payload: dict[str, Any]) -> None:
        data = payload.get("data") or {}
        job_id = str(data.get("packageId") or data.get("rideId") or "")
        if "code" in data and (job_id not in self.asks or self.asks[job_id].customer != user):
            self.leaks["code to a stranger"] += 1

    # -- findings

    def leaked(self) -> int:
        """Everything that reached a socket whose user was no party at that point."""
        owners = {job_id: ask.customer for job_id, ask in self.asks.items()}
        self.leaks["event to a stranger"] = strangers(self.events.values(), self.heard_by, owners)
        return self.leaks.total()

    def doubled(self) -> int:
        """Double assignments by what the rooms said, and accepts that never came true there."""
        held, _ = holdings(self.events.values())
        untrue = self.acked_accepts - {(each.job, each.driver) for each in held}
        return double_assignments(self.events.values()) + len(untrue)

    def told_ids(self) -> int:
        """How many distinct things the clients were told."""
        parts = (
            self.acked_jobs,
            self.acked_states,
            self.acked_lines,
            self.acked_accepts,
            self.events,
            self.offer_of,
        )
        return sum(len(part) for part in parts)
