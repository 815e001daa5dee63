"""How long it takes, learned from finished jobs: distance curve x origin x destination x hour of the week.

Owns what one area has learned about its traffic (`Learned`, the document that is kept) and guarantees that it
stays bounded, forgets, and gives the constant-speed estimate of dispatch/eta.py where it has learned nothing.

**The model.** log seconds = log(pace x metres) + curve(log metres) + origin + destination + hour, where curve is
piecewise linear between knots half an octave apart, origin and destination are one number for each H3 cell of
resolution 8 (0.7 km²), hour one for each of the 168 hours of a week (UTC: what summer time shifts, it forgets).
An hour of which nothing is known is as those beside it: the two before and after, and the same hour of the days beside.

**Learning.** Each finished job moves the five or so numbers that its estimate was made of, each in proportion to
how little is known of it: the diagonal form of a recursive Bayesian regression (the Kalman filter of a constant
state, Kalman 1960; diagonal as in AROW, Crammer, Kulesza & Dredze, NIPS 2009). What is known of a number fades
with `_FADES_S` (an Ornstein-Uhlenbeck process about its prior), so that traffic may change. A surprise counts as
at most `_CLIP` standard deviations: one lost taxi teaches little. The estimate is a median: the middle of the
surprises is followed by stochastic approximation (Robbins & Monro 1951), and so is, for each knot, their 80 %
point, which makes the p80.

**Nearest by ETA is still exact.** For one origin cell the estimate never falls as the distance grows (the curve is
made monotone where it is read), so within a cell the nearer driver is never later. Between cells a farther driver
may be sooner, by the ratio of the two factors, so the search by distance alone (cells.py) is not one by ETA.
`reach_m` closes that gap: nobody farther away than this, whatever his cell, arrives within so many seconds.
Search K by distance; take the K-th ETA; search all within its reach; the K best by ETA of these are exact. Where
times come from elsewhere (osrm.py), the bound is the top speed, which no estimate here or there may exceed.
tests/test_etatable.py compares with brute force.
"""

import math
from collections.abc import Iterator
from typing import Annotated, Final, NamedTuple

import h3.api.basic_int as h3
import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from dispatch.cells import EARTH_RADIUS_M, distance_m
from dispatch.eta import Floats, Positions
from dispatch.policy import Policy

RESOLUTION: Final = 8
FORMAT: Final = 1
MAX_CELLS: Final = 20_000  # of origins and of destinations: 14,000 km², about 1 MB of document

_HOURS: Final = 168
_BESIDE: Final = ((-1, 1.0), (1, 1.0), (-24, 1.0), (24, 1.0), (-2, 0.5), (2, 0.5))  # (hours away, weight)
_KNOTS: Final = 20
_STEP: Final = 0.5 * math.log(2.0)
_KNOT_LOG_M: Final[Floats] = math.log(100.0) + _STEP * np.arange(_KNOTS, dtype=np.float64)  # 100 m ... 72 km

_FIRST_LOG_M: Final = float(_KNOT_LOG_M[0])
_LAST_LOG_M: Final = float(_KNOT_LOG_M[-1])

# Standard deviations, as logarithms: how far each number may be from "nothing learned", and what stays unexplained.
_CURVE_SD: Final = 0.2
_CELL_SD: Final = 0.15
_HOUR_SD: Final = 0.25
_UNKNOWN: Final = 0.9 * _HOUR_SD**2  # a single job brings the variance of an hour below this
_NOISE_SD: Final = 0.3
_CLIP: Final = 1.5
_FADES_S: Final = 90 * 86_400.0

_FACTOR: Final = math.log(2.0)  # no cell and no hour makes it more than twice as slow, or as fast
_MIDDLE_STEP: Final = 0.002  # of the stochastic approximations in the long run
_LATE_STEP: Final = 0.004
_LATE: Final = 0.8
_LATE_FIRST: Final = 0.3  # p80 = 1.35 x median before anything was learned

# What teaches nothing: too short to tell driving from parking, or faster than anybody drives.
_LEARN_M: Final = 100.0
_LEARN_S: Final = 20.0

Finite = Annotated[float, Meta(ge=-1e12, le=1e12)]


class Belief(msgspec.Struct, array_like=True):
    """One learned number: its mean and variance as of `at_s` (Unix seconds)."""

    mean: Finite
    variance: Annotated[float, Meta(ge=0.0, le=10.0)]
    at_s: Finite


def _beliefs(count: int, sd: float) -> list[Belief]:
    return [Belief(0.0, sd * sd, 0.0) for _ in range(count)]


class Learned(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The document that is kept of one area, as MessagePack; nothing in it tells of a person or a single trip."""

    format: int = FORMAT
    trips: int = 0
    refused: int = 0
    learned_s: Finite = 0.0
    log_pace: Finite | None = None  # of the policy, seconds a metre, that `curve` bends
    curve: list[Belief] = msgspec.field(default_factory=lambda: _beliefs(_KNOTS, _CURVE_SD))
    hours: list[Belief] = msgspec.field(default_factory=lambda: _beliefs(_HOURS, _HOUR_SD))
    origins: dict[int, Belief] = {}
    destinations: dict[int, Belief] = {}
    middle: Finite = 0.0
    late: list[Finite] = msgspec.field(default_factory=lambda: [_LATE_FIRST] * _KNOTS)
    late_trips: list[int] = msgspec.field(default_factory=lambda: [0] * _KNOTS)


class Drives(NamedTuple):
    """k drives, of known straight lines, by rows of the places (n, 2) and (m, 2) that they begin and end at."""

    straight_m: Floats  # (k,)
    origins_deg: Positions
    origin: NDArray[np.int64]  # (k,)
    destinations_deg: Positions
    destination: NDArray[np.int64]


class EtaTable:
    """The estimates of one area. Not for several threads; a few microseconds for a job learned."""

    def __init__(self, policy: Policy, learned: Learned | None = None) -> None:
        self.learned = learned or Learned()
        self._log_pace = math.log(policy.detour / policy.cruise_speed_mps)
        self._top_speed_mps = policy.top_speed_mps
        self._keep_times()
        self._drawn: tuple[Floats, Floats, float] | None = None
        self._knots_log_s: list[float] = []  # the curve of `_drawn` as plain numbers

    def _keep_times(self) -> None:
        """With another policy's pace what is known of real drives stays; where nothing is, the new pace holds."""
        known = self.learned
        if known.log_pace is not None and known.log_pace != self._log_pace:
            for belief in known.curve:
                belief.mean += (known.log_pace - self._log_pace) * (1.0 - belief.variance / _CURVE_SD**2)
        known.log_pace = self._log_pace

    def dumps(self) -> bytes:
        return msgspec.msgpack.encode(self.learned)

    @classmethod
    def loads(cls, policy: Policy, document: bytes) -> "EtaTable":
        """Raises ValueError when it is not a document of this format."""
        try:
            learned = msgspec.msgpack.decode(document, type=Learned)
        except msgspec.MsgspecError as error:
            raise ValueError(f"not a table of ETAs: {error}") from None
        lengths = [len(each) for each in (learned.curve, learned.hours, learned.late, learned.late_trips)]
        if learned.format != FORMAT or lengths != [_KNOTS, _HOURS, _KNOTS, _KNOTS]:
            raise ValueError(f"a table of ETAs of format {learned.format}, not {FORMAT}")
        if max(len(learned.origins), len(learned.destinations)) > MAX_CELLS:
            raise ValueError(f"a table of ETAs with more than {MAX_CELLS} cells")
        return cls(policy, learned)

    def learn(
        self,
        origin_deg: tuple[float, float],
        destination_deg: tuple[float, float],
        started_s: float,
        duration_s: float,
    ) -> bool:
        """One finished drive without stops between; False when it teaches nothing (and is counted)."""
        known = self.learned
        straight_m = distance_m(*origin_deg, *destination_deg)
        if not (straight_m >= _LEARN_M and _LEARN_S <= duration_s <= 86_400.0) or (
            straight_m > duration_s * self._top_speed_mps
        ):
            known.refused += 1
            return False
        log_m = math.log(straight_m)
        used = list(self._used(log_m, origin_deg, destination_deg, started_s))
        guess, variance = self._log_pace + log_m, _NOISE_SD**2
        for belief, share, sd, _ in used:
            _fade(belief, sd * sd, started_s)
            guess += belief.mean * share
            variance += belief.variance * share * share
        surprise = math.log(duration_s) - guess
        limit = _CLIP * math.sqrt(variance)
        bounded = max(-limit, min(limit, surprise))
        for belief, share, _, most in used:
            gain = belief.variance * share / variance
            belief.mean = max(-most, min(most, belief.mean + gain * bounded))
            belief.variance *= 1.0 - gain * share
        self._spread(surprise, log_m)
        known.trips += 1
        known.learned_s = max(known.learned_s, started_s + duration_s)
        self._drawn, self._knots_log_s = None, []
        return True

    def seconds(self, origins_deg: Positions, destinations_deg: Positions, when_s: float) -> Floats:
        """Median seconds of driving, (n, m), for positions (n, 2) and (m, 2) in degrees, latitude first."""
        straight_m = distances_m(origins_deg[:, None], destinations_deg[None, :])
        log_s = self._curve(straight_m) + self._hour(when_s)
        log_s += _effects(self.learned.origins, origins_deg)[:, None]
        log_s += _effects(self.learned.destinations, destinations_deg)[None, :]
        return np.maximum(np.exp(log_s), straight_m / self._top_speed_mps)

    def legs(self, origins_deg: Positions, destinations_deg: Positions, when_s: Floats) -> Floats:
        """Median seconds, (n,), of n drives from one position each to one each, begun at n times."""
        straight_m = distances_m(origins_deg, destinations_deg)
        log_s = self._curve(straight_m) + np.array([self._hour(each_s) for each_s in when_s.tolist()])
        log_s += _effects(self.learned.origins, origins_deg)
        log_s += _effects(self.learned.destinations, destinations_deg)
        return np.asarray(np.maximum(np.exp(log_s), straight_m / self._top_speed_mps))

    def pairs(self, drives: Drives, when_s: float) -> Floats:
        """Median seconds, (k,), of drives between a few places: each place is looked up once."""
        log_s = self._curve(drives.straight_m) + self._hour(when_s)
        for cells, places_deg, rows in (
            (self.learned.origins, drives.origins_deg, drives.origin),
            (self.learned.destinations, drives.destinations_deg, drives.destination),
        ):
            if cells:
                used, at = np.unique(rows, return_inverse=True)
                log_s += _effects(cells, places_deg[used])[at]
        return np.asarray(np.maximum(np.exp(log_s), drives.straight_m / self._top_speed_mps))

    def drive_s(
        self,
        straight_m: float,
        origin_deg: tuple[float, float],
        destination_deg: tuple[float, float],
        when_s: float,
    ) -> float:
        """`seconds` of one drive, whose straight line is known, without arrays: a tenth of the time."""
        log_m = math.log(max(straight_m, 1e-3))
        log_s = self._drawn_list()
        along = (log_m - _FIRST_LOG_M) / _STEP
        knot = min(max(int(along), 0), _KNOTS - 2)
        if along <= 0.0:
            bent = log_s[0] + log_m - _FIRST_LOG_M
        elif along >= _KNOTS - 1.0:
            bent = log_s[-1] + log_m - _LAST_LOG_M
        else:
            bent = log_s[knot] + (along - knot) * (log_s[knot + 1] - log_s[knot])
        bent += self._hour(when_s) + _effect(self.learned.origins, origin_deg)
        bent += _effect(self.learned.destinations, destination_deg)
        return max(math.exp(bent), straight_m / self._top_speed_mps)

    async def matrix(self, origins_deg: Positions, destinations_deg: Positions, when_s: float) -> Floats:
        """`seconds`, as an EtaProvider."""
        return self.seconds(origins_deg, destinations_deg, when_s)

    def late_factor(self, straight_m: Floats) -> Floats:
        """p80 / median at these distances: four of five trips take no longer than the median times this."""
        log_m = np.log(np.maximum(straight_m, 1.0))
        factor: Floats = np.exp(np.interp(log_m, _KNOT_LOG_M, np.array(self.learned.late)))
        return factor

    def reach_m(self, within_s: float, destination_deg: tuple[float, float], when_s: float) -> float:
        """Nobody whose straight line is longer arrives within these seconds, whatever his cell."""
        if within_s <= 0.0:
            return 0.0
        log_m, log_s, fastest = self._draw()
        factors = (
            self._hour(when_s)
            + fastest
            + float(_effects(self.learned.destinations, np.array([destination_deg]))[0])
        )
        # Where the curve is flat the farthest point counts: searched from the right.
        place = int(np.searchsorted(log_s, math.log(within_s) - factors, side="right"))
        if place == len(log_s):
            beyond = log_m[-1] + math.log(within_s) - factors - log_s[-1]
        elif place == 0:
            beyond = log_m[0] + math.log(within_s) - factors - log_s[0]
        else:
            rise = log_s[place] - log_s[place - 1]
            part = (math.log(within_s) - factors - log_s[place - 1]) / rise
            beyond = log_m[place - 1] + part * (log_m[place] - log_m[place - 1])
        return min(math.exp(beyond) * (1.0 + 1e-9), within_s * self._top_speed_mps)

    def _used(
        self,
        log_m: float,
        origin_deg: tuple[float, float],
        destination_deg: tuple[float, float],
        when_s: float,
    ) -> Iterator[tuple[Belief, float, float, float]]:
        """What an estimate is made of: each number, its share in the sum, its prior standard deviation, and how far
        from 0 it may be."""
        known = self.learned
        along = min(max((log_m - float(_KNOT_LOG_M[0])) / _STEP, 0.0), _KNOTS - 1.0)
        knot = min(int(along), _KNOTS - 2)
        yield known.curve[knot], knot + 1.0 - along, _CURVE_SD, math.inf
        yield known.curve[knot + 1], along - knot, _CURVE_SD, math.inf
        for cells, at_deg in ((known.origins, origin_deg), (known.destinations, destination_deg)):
            yield _belief(cells, h3.latlng_to_cell(*at_deg, RESOLUTION), when_s), 1.0, _CELL_SD, _FACTOR
        hour = _hour_of_week(when_s)
        _fade(known.hours[hour], _HOUR_SD**2, when_s)
        if known.hours[hour].variance > _UNKNOWN:
            known.hours[hour] = Belief(self._hour_mean(hour), _HOUR_SD**2, when_s)
        yield known.hours[hour], 1.0, _HOUR_SD, _FACTOR

    def _spread(self, surprise: float, log_m: float) -> None:
        """Follows the middle of the surprises, and their 80 % point at this distance."""
        known = self.learned
        step = max(_MIDDLE_STEP, 1.0 / (known.trips + 10.0))
        known.middle += step * (0.5 if surprise > known.middle else -0.5)
        knot = min(max(round((log_m - float(_KNOT_LOG_M[0])) / _STEP), 0), _KNOTS - 1)
        step = max(_LATE_STEP, 1.0 / (known.late_trips[knot] + 10.0))
        above = surprise - known.middle > known.late[knot]
        known.late[knot] = max(0.0, known.late[knot] + step * (_LATE if above else _LATE - 1.0))
        known.late_trips[knot] += 1

    def _hour(self, when_s: float) -> float:
        return max(-_FACTOR, min(_FACTOR, self._hour_mean(_hour_of_week(when_s))))

    def _hour_mean(self, hour: int) -> float:
        hours = self.learned.hours
        if hours[hour].variance <= _UNKNOWN:
            return hours[hour].mean
        beside = ((hours[(hour + away) % _HOURS], weight) for away, weight in _BESIDE)
        known = [(each.mean, weight) for each, weight in beside if each.variance <= _UNKNOWN]
        return (
            sum(mean * weight for mean, weight in known) / sum(weight for _, weight in known)
            if known
            else 0.0
        )

    def _draw(self) -> tuple[Floats, Floats, float]:
        """The curve as it is read, monotone, as (log metres, log seconds), and the fastest origin's effect."""
        drawn = self._drawn
        if drawn is None:
            bends = np.array([belief.mean for belief in self.learned.curve])
            log_s: Floats = np.maximum.accumulate(self._log_pace + self.learned.middle + _KNOT_LOG_M + bends)
            fastest = min((belief.mean for belief in self.learned.origins.values()), default=0.0)
            drawn = self._drawn = _KNOT_LOG_M, log_s, max(-_FACTOR, min(0.0, fastest))
        return drawn

    def _drawn_list(self) -> list[float]:
        if not self._knots_log_s:
            self._knots_log_s = self._draw()[1].tolist()
        return self._knots_log_s

    def _curve(self, straight_m: Floats) -> Floats:
        """Log seconds at these distances; beyond the knots the speed is that of the last one."""
        log_m, log_s, _ = self._draw()
        asked = np.log(np.maximum(straight_m, 1e-3))
        outside = np.minimum(asked - log_m[0], 0.0) + np.maximum(asked - log_m[-1], 0.0)
        log_seconds: Floats = np.interp(asked, log_m, log_s) + outside
        return log_seconds


def distances_m(from_deg: Positions, to_deg: Positions) -> Floats:
    """Great-circle distances between positions (..., 2) that broadcast: `cells.distance_m` for arrays."""
    start, end = np.radians(from_deg), np.radians(to_deg)
    half_lat = np.sin((end[..., 0] - start[..., 0]) * 0.5)
    half_lng = np.sin((end[..., 1] - start[..., 1]) * 0.5)
    square = half_lat * half_lat + np.cos(start[..., 0]) * np.cos(end[..., 0]) * half_lng * half_lng
    arc: Floats = np.arcsin(np.sqrt(np.minimum(square, 1.0)))
    return 2.0 * EARTH_RADIUS_M * arc


def _hour_of_week(when_s: float) -> int:
    return int(when_s // 3_600.0) % _HOURS


def _fade(belief: Belief, prior: float, now_s: float) -> None:
    """What was known long ago is known less: mean and variance go back to the prior's."""
    if now_s > belief.at_s:
        kept = math.exp((belief.at_s - now_s) / _FADES_S)
        belief.mean *= kept
        belief.variance = prior + (belief.variance - prior) * kept * kept
        belief.at_s = now_s


def _belief(cells: dict[int, Belief], cell: int, now_s: float) -> Belief:
    belief = cells.get(cell)
    if belief is None:
        if len(cells) >= MAX_CELLS:
            _forget(cells)
        belief = cells[cell] = Belief(0.0, _CELL_SD**2, now_s)
    return belief


def _forget(cells: dict[int, Belief]) -> None:
    """Room for a tenth: those of which least is known go first, then those learned longest ago."""
    least = sorted(cells, key=lambda cell: (-cells[cell].variance, cells[cell].at_s, cell))
    for cell in least[: max(1, MAX_CELLS // 10)]:
        del cells[cell]


def _effect(cells: dict[int, Belief], position_deg: tuple[float, float]) -> float:
    belief = cells.get(h3.latlng_to_cell(*position_deg, RESOLUTION)) if cells else None
    return 0.0 if belief is None else max(-_FACTOR, min(_FACTOR, belief.mean))


def _effects(cells: dict[int, Belief], positions_deg: Positions) -> Floats:
    found = (cells.get(h3.latlng_to_cell(lat, lng, RESOLUTION)) for lat, lng in positions_deg.tolist())
    effects = np.fromiter(
        (0.0 if each is None else each.mean for each in found), np.float64, len(positions_deg)
    )
    return np.clip(effects, -_FACTOR, _FACTOR)
