"""What happens to a city, whoever matches: requests, vehicles, and how people answer. One city is one set of draws.

Every policy meets the same city: the same requests at the same moments with the same patience, the same vehicles at
the same places, and each driver meets an offer of the same job with the same answer after the same time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from dispatch.assignment import Bools, Floats

Answer = Literal["accept", "decline", "silent"]
DECLINE_SHARE, SILENT_SHARE = 0.10, 0.05
FASTEST_S, SLOWEST_S = 1.0, 6.0

_MASK = (1 << 64) - 1


class Trails(NamedTuple):
    """Where each vehicle is when it has nothing to do, every `step_s` from `from_s` on."""

    from_s: float
    step_s: float
    places_m: Floats  # (vehicles, steps, 2)
    seen: Bools  # (vehicles, steps) on duty: there was a fix lately


@dataclass(frozen=True)
class City:
    """n requests in order of time, m vehicles; seconds, and metres on a plane."""

    name: str
    seed: int
    asked_s: Floats  # (n,) ascending
    pickup_m: Floats  # (n, 2)
    dropoff_m: Floats  # (n, 2)
    trip_s: Floats  # (n,) from pickup to dropoff
    patience_s: Floats  # (n,) who has no driver who accepted by then is gone
    limit_s: float  # nobody is sent to a pickup later than this after the request
    vehicles_m: Floats  # (m, 2) at the beginning
    trails: Trails | None = None  # without: a vehicle stands where it became idle

    def answer(self, driver: int, job: int) -> tuple[Answer, float]:
        """What this driver does with an offer of this job, and after how many seconds."""
        fate, delay = _draws(self.seed, driver, job)
        delay_s = FASTEST_S + (SLOWEST_S - FASTEST_S) * delay
        if fate < SILENT_SHARE:
            return "silent", delay_s
        return ("decline" if fate < SILENT_SHARE + DECLINE_SHARE else "accept"), delay_s


def _draws(seed: int, driver: int, job: int) -> tuple[float, float]:
    """Two numbers of [0, 1) for this driver and job (SplitMix64: Steele, Lea, Flood 2014)."""
    state = (seed * 0x9E3779B97F4A7C15 + driver * 0xD1B54A32D192ED03 + job * 0x8CB92BA72F3D8DD7) & _MASK
    numbers = []
    for _ in range(2):
        state = (state + 0x9E3779B97F4A7C15) & _MASK
        mixed = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
        numbers.append((mixed ^ (mixed >> 31)) / 2.0**64)
    return numbers[0], numbers[1]
