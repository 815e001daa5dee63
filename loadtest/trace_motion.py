"""A recorded cab as a carrier's motion: its real fixes at their real (mapped) times, nothing in between.

Whatever a job did to the cab, the trace goes on; the cab is back on it as soon as it has no job.
"""

from __future__ import annotations

from loadtest.carrying import straight
from loadtest.geo import Point, Route
from loadtest.traces import Trace


class TraceMotion:
    """See `carrying.Motion`. Before `opens_s` the cab is off duty."""

    def __init__(self, trace: Trace, opens_s: float, closes_s: float, freshest_s: float) -> None:
        self._trace = trace
        self._opens_s = opens_s
        self._closes_s = closes_s
        self._freshest_s = freshest_s  # a position older than this is none to go online with

    def next_fix(self, after_s: float) -> tuple[float, Point] | None:
        index = self._trace.last_before(max(after_s, self._opens_s)) + 1
        if index >= len(self._trace.points) or self._trace.ts[index] >= self._closes_s:
            return None
        return float(self._trace.ts[index]), self._trace.points[index]

    def position(self, at_s: float) -> Point | None:
        index = self._trace.last_before(at_s)
        fresh = index >= 0 and at_s - float(self._trace.ts[index]) <= self._freshest_s
        return self._trace.points[index] if fresh and at_s > self._opens_s else None

    def moved(self, to: Point, at_s: float) -> None:
        """The trace does not mind."""

    def route(self, a: Point, b: Point) -> Route:
        return straight(a, b)
