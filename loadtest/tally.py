"""What a load run counts: bounded counters and latency samples, fed by every simulated phone.

The demo city uses it as it is and may run for hours; the replay's `Ledger` adds the bookkeeping that a
checker needs. Latencies are wall milliseconds between two moments in this one process: no clock of another
machine is involved.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from dataclasses import dataclass
from typing import Any

from loadtest.geo import Point
from loadtest.sample import Sample
from loadtest.words import offered_job

FIX_MEMORY = 60_000
REQUEST_MEMORY = 20_000
LATENCY_SAMPLE = 20_000
ERROR_NAMES = 200

FixKey = tuple[str, int, int]


@dataclass(frozen=True)
class SentFix:
    """Who sent a position, and when by this process's clock."""

    sender: str
    at_s: float


def fix_key(timestamp: str, point: Point) -> FixKey:
    """What identifies a position on its way through the server: the sender's own time and the place."""
    return timestamp, round(point.latitude * 1e5), round(point.longitude * 1e5)


class Tally:
    """Counters, errors by code, and request→offer and fix→watcher latencies."""

    def __init__(self, latency_sample: int = LATENCY_SAMPLE) -> None:
        self.counts: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self.offer_ms = Sample(latency_sample)
        self.fix_ms = Sample(latency_sample)
        self.late_ms = Sample(latency_sample)
        self._fixes: OrderedDict[FixKey, SentFix] = OrderedDict()
        self._requests: OrderedDict[str, tuple[float, bool]] = OrderedDict()
        self._now_s = asyncio.get_running_loop().time

    def error(self, event: str, code: str) -> None:
        """A refusal or a failure that a phone met."""
        name = f"{event}: {code}"
        self.errors[name if name in self.errors or len(self.errors) < ERROR_NAMES else "other"] += 1

    def late(self, wall_s: float) -> None:
        """By how much a scheduled position missed its time: where this process did not keep up."""
        self.late_ms.add(max(0.0, wall_s) * 1000)

    def accepted(self, driver: str, job_id: str, asked_at: Point, here: Point) -> None:
        """The server has given the job to this driver: where he was when asked, and where he is now."""
        self.counts["accepted"] += 1

    def fix_sent(self, sender: str, timestamp: str, point: Point, simulated: bool) -> None:
        """Call just before the position is written to the socket."""
        self.counts["fixes_simulated" if simulated else "fixes_real"] += 1
        self._fixes[fix_key(timestamp, point)] = SentFix(sender, self._now_s())
        if len(self._fixes) > FIX_MEMORY:
            self._fixes.popitem(last=False)

    def asked(self, customer: str, job_id: str, *, driver_free: bool = True) -> None:
        """Call just before a request is written to the socket; only if a driver is free its offer is timed."""
        self.counts["requests"] += 1
        self.counts["waited_for_driver"] += not driver_free
        self._requests[job_id] = self._now_s(), driver_free
        if len(self._requests) > REQUEST_MEMORY:
            self._requests.popitem(last=False)

    def told(self, user: str, event: str, payload: dict[str, Any], answer: dict[str, Any]) -> None:
        """The server acknowledged a reliable event. The tally keeps nothing; the ledger does."""

    def _offered(self, job_id: str) -> None:
        """An offer reached a driver; the first of each job is timed."""
        self.counts["offers"] += 1
        asked_s, driver_free = self._requests.pop(job_id, (0.0, False))
        if driver_free:
            self.offer_ms.add((self._now_s() - asked_s) * 1000)

    def heard(self, user: str, event: str, payload: dict[str, Any]) -> None:
        """Every event that reaches any socket passes here first."""
        if event == "driver_location":
            sent = self.sent_fix(payload)
            if sent is not None:
                self.fix_ms.add((self._now_s() - sent.at_s) * 1000)
        elif event == "offer":
            self._offered(offered_job(payload)[1])
        elif event == "error":
            self.error(str(payload.get("event")), str(payload.get("code")))

    def sent_fix(self, payload: dict[str, Any]) -> SentFix | None:
        """Which sent position a `driver_location` carries."""
        point = Point(float(payload["latitude"]), float(payload["longitude"]))
        return self._fixes.get(fix_key(str(payload.get("timestamp")), point))
