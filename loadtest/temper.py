"""What people do by chance, drawn from the seed: the same person meets the same job in the same way in
every run.

Each draw is a pure function of (seed, who, what), so the brute-force matcher of the replay asks the very
same drivers and gets the very same answers as the server does.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Answer = Literal["accept", "decline", "silent"]


@dataclass(frozen=True)
class Temper:
    """Shares and delays of human behaviour; delays in simulated seconds."""

    seed: int = 1
    decline_share: float = 0.10
    silent_share: float = 0.05
    fastest_s: float = 1.0
    slowest_s: float = 6.0
    cancel_share: float = 0.0
    job_name: Callable[[str], str] = str  # the name a job has in every run, by its id in this one

    def answer(self, driver: str, job: str) -> tuple[Answer, float]:
        """What this driver does with an offer of this job, and after how long."""
        draw = random.Random(f"{self.seed}/answer/{driver}/{self.job_name(job)}")
        fate, delay_s = draw.random(), draw.uniform(self.fastest_s, self.slowest_s)
        if fate < self.silent_share:
            return "silent", delay_s
        if fate < self.silent_share + self.decline_share:
            return "decline", delay_s
        return "accept", delay_s

    def cancels_after_s(self, customer: str, job: str) -> float | None:
        """After how long this customer gives up a job, if at all."""
        draw = random.Random(f"{self.seed}/cancel/{customer}/{self.job_name(job)}")
        return draw.uniform(5.0, 120.0) if draw.random() < self.cancel_share else None

    def source(self, who: str) -> random.Random:
        """A person's own stream of chance, for whatever needs more than one draw."""
        return random.Random(f"{self.seed}/{who}")
