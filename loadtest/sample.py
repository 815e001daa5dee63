"""Bounded samples of measurements: exact for short runs, an even reservoir for runs of hours."""

from __future__ import annotations

import random
from collections.abc import Iterable

CAPACITY = 200_000


def percentile(values: list[float], share: float) -> float | None:
    """The value below which `share` of the sorted values lie (nearest rank); None of nothing."""
    if not values:
        return None
    return values[min(len(values) - 1, max(0, round(share * (len(values) - 1))))]


class Sample:
    """At most `capacity` values; beyond that each value ever seen has the same chance to be among them."""

    def __init__(self, capacity: int = CAPACITY, values: Iterable[float] = ()) -> None:
        self._capacity = capacity
        self._values: list[float] = []
        self._random = random.Random(0)
        self.count = 0
        self.total = 0.0
        for value in values:
            self.add(value)

    def add(self, value: float) -> None:
        self.count += 1
        self.total += value
        if len(self._values) < self._capacity:
            self._values.append(value)
        else:
            place = self._random.randrange(self.count)
            if place < self._capacity:
                self._values[place] = value

    def quantiles(self, digits: int, **shares: float) -> dict[str, float | None]:
        """Named percentiles, rounded, as `quantiles(1, p50=0.5)`."""
        ordered = sorted(self._values)
        found = {name: percentile(ordered, share) for name, share in shares.items()}
        return {name: None if value is None else round(value, digits) for name, value in found.items()}

    def mean(self, digits: int) -> float | None:
        return round(self.total / self.count, digits) if self.count else None
