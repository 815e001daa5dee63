"""What this node says of itself every BEAT_S: connections, rates, latencies, what it costs; for the health page.

Rates and latencies are of the last WINDOW beats, from the counters that Prometheus reads. No person and no place is in
any of it.
"""

import asyncio
import resource
import time
from collections import deque
from collections.abc import Iterable
from typing import Any, NamedTuple

from prometheus_client import Histogram

from rooms import metrics
from rooms.gate import Gate, House
from storage.pulses import Pulses
from storage.shard import Unavailable

BEAT_S = 2.0
WINDOW = 5
KIB = 1024

Buckets = tuple[tuple[float, float], ...]  # (at most this many seconds, so many since the start), cumulative


class Beat(NamedTuple):
    """All counters at a moment of this process' clock."""

    at_s: float
    cpu_s: float
    counts: dict[str, float]
    commands: Buckets
    ticks: Buckets


def quantile_ms(before: Buckets, after: Buckets, share: float) -> float | None:
    """The `share` quantile of what came between two readings of a histogram, in milliseconds, by straight lines within
    a bucket (as Prometheus' histogram_quantile); None when nothing came. Beyond the last bound it is that bound."""
    counts = [late - early for (_, early), (_, late) in zip(before, after, strict=True)]
    if not counts or counts[-1] <= 0:
        return None
    rank, low_s, below = share * counts[-1], 0.0, 0.0
    for (high_s, _), count in zip(after, counts, strict=True):
        if count >= rank:
            if high_s == float("inf"):
                return low_s * 1000
            inside = (rank - below) / (count - below) if count > below else 1.0
            return (low_s + (high_s - low_s) * inside) * 1000
        low_s, below = high_s, count
    return low_s * 1000


def buckets_of(histogram: Histogram) -> Buckets:
    (family,) = histogram.collect()
    samples = (s for s in family.samples if s.name.endswith("_bucket"))
    return tuple(sorted((float(s.labels["le"]), s.value) for s in samples))


def read() -> Beat:
    """The counters now."""
    events = metrics.EVENTS.n
    answered = sum(n for (_, code), n in events.items() if code == "ok")
    (facts,) = metrics.FACTS.collect()
    counts = {
        "events": float(sum(events.values())),
        "refused": float(sum(events.values()) - answered),
        "fixes": float(sum(metrics.FIXES.n.values())),
        "frames": float(sum(metrics.FRAMES.n.values())),
        "facts": next(s.value for s in facts.samples if s.name.endswith("_total")),
    }
    return Beat(
        time.monotonic(),
        time.process_time(),
        counts,
        buckets_of(metrics.COMMAND_S),
        buckets_of(metrics.TICK_S),
    )


def told(beats: Iterable[Beat]) -> dict[str, Any]:
    """Rates a second, latencies in milliseconds and the share of a core, between the first and the last of them."""
    first, *_, last = [*beats] * 2
    over_s = max(last.at_s - first.at_s, 1e-9)
    rates = {name: round((n - first.counts[name]) / over_s, 2) for name, n in last.counts.items()}
    latencies = {
        name: _rounded(quantile_ms(getattr(first, of), getattr(last, of), share))
        for of in ("commands", "ticks")
        for name, share in ((f"{of}P50Ms", 0.5), (f"{of}P95Ms", 0.95))
    }
    return {"rates": rates, "latencies": latencies, "cpu": round((last.cpu_s - first.cpu_s) / over_s, 4)}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)


class Pulse:
    def __init__(self, pulses: Pulses, house: House, gate: Gate, version: str) -> None:
        self.pulses = pulses
        self._house = house
        self._gate = gate
        self._version = version
        self._started_s = time.time()
        self._beats: deque[Beat] = deque(maxlen=WINDOW + 1)

    async def beat(self) -> None:
        """Says it every BEAT_S, without end; what Redis does not take is said with the next beat."""
        while True:
            self._beats.append(read())
            before_s = time.monotonic()
            try:
                await self.pulses.say(self.status())
            except Unavailable:
                pass  # the speaker says so in the log
            await asyncio.sleep(max(0.0, BEAT_S - (time.monotonic() - before_s)))

    def status(self) -> dict[str, Any]:
        """Shape: docs/http.md, `GET /api/admin/health`."""
        registry = self._house.registry
        return {
            "version": self._version,
            "startedAtMs": int(self._started_s * 1000),
            "atMs": int(time.time() * 1000),
            "connections": registry.sessions,
            "users": registry.users,
            "commandsAtWork": self._gate.busy,
            "draining": self._gate.draining,
            "logIsRead": self._house.speaker.fresh(),
            "memoryBytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * KIB,
            **told(self._beats or [read()]),
        }
