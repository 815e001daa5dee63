"""How many are near a place: requests of the last quarter of an hour, who waits, who is idle. Counted on a grid."""

from __future__ import annotations

from bisect import bisect_left
from typing import Final, NamedTuple

import numpy as np

from dispatch.assignment import Floats, Ints
from server.matchbench.city import City

WINDOW_S: Final = 900.0
EVERY_S: Final = 60.0
CELL_M: Final = 500.0
BUSY_SHARE: Final = (0.01, 0.99)  # of the pickups lie on the grid; who is outside counts at its edge


class Near(NamedTuple):
    """By place (m,)."""

    rate_per_s: Floats  # of requests
    idle: Floats
    waiting: Floats


class Crowds:
    """Near means in a square with the area of the circle, to the cell."""

    def __init__(self, city: City, reach_m: float) -> None:
        self._city = city
        self._half = max(1, round(reach_m * np.sqrt(np.pi) / 2.0 / CELL_M))
        self._low_m, high_m = np.quantile(city.pickup_m, BUSY_SHARE, axis=0)
        self._most = ((high_m - self._low_m) // CELL_M).astype(int)
        self._looked_s = -np.inf
        self._rates_per_s = np.zeros(self._most + 1)
        self.lost_share = 0.0  # of the requests of the last quarter of an hour

    def look(self, now_s: float, gone_s: list[float]) -> None:
        """Counts what came lately, and what left; once a minute."""
        if now_s - self._looked_s >= EVERY_S:
            self._looked_s = now_s
            asked_s = self._city.asked_s
            first, end = np.searchsorted(asked_s, [now_s - WINDOW_S, now_s], side="right")
            seconds = min(WINDOW_S, max(EVERY_S, now_s - float(asked_s[0])))
            self._rates_per_s = self._sums(self._city.pickup_m[first:end]) / seconds
            gone = len(gone_s) - bisect_left(gone_s, now_s - WINDOW_S)
            self.lost_share = gone / max(1, end - first)

    def near(self, places_m: Floats, idle_m: Floats, waiting_m: Floats) -> Near:
        """What is near each place (m, 2), of drivers and requests at these places."""
        cells = self._cells(places_m)
        return Near(self._rates_per_s[cells], self._sums(idle_m)[cells], self._sums(waiting_m)[cells])

    def _cells(self, places_m: Floats) -> tuple[Ints, Ints]:
        cell = np.clip(((places_m - self._low_m) // CELL_M).astype(int), 0, self._most)
        return cell[:, 0], cell[:, 1]

    def _sums(self, places_m: Floats) -> Floats:
        """Of each cell, how many are in the square around it."""
        sums, half = np.zeros(self._most + 1), self._half
        np.add.at(sums, self._cells(places_m), 1.0)
        for _ in range(
            2
        ):  # along one axis, then along the other: a sum is the difference of two sums from the edge
            n = len(sums)
            upto = np.zeros((n + 1, sums.shape[1]))
            np.cumsum(sums, axis=0, out=upto[1:])
            at = np.arange(n)
            sums = (upto[np.minimum(n, at + half + 1)] - upto[np.maximum(0, at - half)]).T
        return sums
