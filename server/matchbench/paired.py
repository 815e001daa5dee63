"""Figures of the same draws under two policies: means, and differences with their 95 % intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import stdtrit

from dispatch.assignment import Floats

Values = Sequence[float] | Floats


class Estimate(NamedTuple):
    """A mean over seeds and its 95 % interval (Student's t)."""

    mean: float
    low: float
    high: float

    def rounded(self, digits: int) -> list[float]:
        return [round(each, digits) for each in self]


def estimate(values: Values) -> Estimate:
    """Of at least two values; of one, the interval is the value."""
    mean, n = float(np.mean(values)), len(values)
    half = float(stdtrit(n - 1, 0.975) * np.std(values, ddof=1) / np.sqrt(n)) if n > 1 else 0.0
    return Estimate(mean, mean - half, mean + half)


def difference(ours: Values, theirs: Values) -> Estimate:
    """Of paired values."""
    return estimate(np.asarray(ours) - np.asarray(theirs))


def ratio(ours: Values, theirs: Values) -> Estimate:
    """Of the means of paired values; its interval by the delta method (Fieller's linearisation)."""
    mean = float(np.mean(ours) / np.mean(theirs))
    spread = estimate((np.asarray(ours) - mean * np.asarray(theirs)) / np.mean(theirs))
    return Estimate(mean, mean + spread.low, mean + spread.high)


def gini(values: Floats) -> float:
    """0: all equal; towards 1: one has everything. Of nothing: 0."""
    total, n = float(values.sum()), len(values)
    if not total:
        return 0.0
    return float((2.0 * np.arange(1, n + 1) - n - 1) @ np.sort(values)) / (n * total)
