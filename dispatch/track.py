"""The GPS filter: which fixes of one driver are believed, and which of those are worth passing on.

Owns the last believed fix of a driver and guarantees that it is never replaced by an older, vague or
impossible one, and that no error of the phone's clock or GPS locks a driver out for good. Synchronous and
allocation-light: it stands on the hot path, once per fix. A `Track` lives as long as its driver is online on
this node.

**Time.** A phone's clock is used only to order fixes and to see how old one is. It is believed as it reads
while a fix seems taken between `stale_fix_s` ago and 5 s ahead. Outside of that either the fix waited (phones
send what they buffered when they reconnect) or the clock is wrong; one fix cannot tell. A wrong clock is
wrong by the same amount in the next fix, while fixes of a buffer arrive together and come ever closer to now:
so an error that is the same (within 2 s) in fixes which arrive at least 1 s apart is adopted as the clock's,
and subtracted, until the clock reads right again. A skewed phone so costs its driver one fix. A clock set
back within those limits makes fixes late for as long as it was set back. A fix without a time was taken now.
Where it matters to the second when a fix was taken, the clock is behind by the least age that a fix had here in the
last minutes: the fastest way through the network takes little, and one wrong time is not held against a phone for long.
While that age falls, what comes is a buffer that is sent, fast or slowly, and tells nothing of the clock (`taken_ms`).

**Place.** A fix that could be reached from the last believed one only faster than `top_speed_mps` is a
teleport. Three in a row that could be reached from one another are where the driver is (a first fix may be
wrong, a tunnel long); a single believed fix between them starts the count again, so of two phones on one
account one is followed, not both in turn.
"""

import math
from collections.abc import Iterable
from enum import IntEnum
from typing import Final

from dispatch.policy import Policy

_AHEAD_MS: Final = 5_000  # a clock this far ahead is believed: nobody sets a phone to the second
_CLOCK_AGREES_MS: Final = 2_000  # delays on a mobile network differ by about this much
_CLOCK_APART_MS: Final = 1_000  # fixes of a flushed buffer arrive closer together than this
_AGE_AGREES_MS: Final = (
    500  # a least age that changes by no more stands; a buffer's falls by what is sent faster
)
_AGE_STANDS_MS: Final = 3_000  # for so long, before it is believed
_AGE_HALF_MS: Final = 120_000  # it is the least of this half of the time that counts and of the one before
_PAST_MS: Final = 86_400_000  # what was recorded while a phone was away is taken for a day
_TELEPORTS: Final = 3  # so many in a row that agree are believed
_NOISE_M: Final = 100.0  # at any speed: between tall houses consecutive fixes differ by this much
_METRES_PER_DEGREE: Final = 111_195.0  # of latitude, on the sphere of dispatch/cells.py
_RADIANS: Final = math.pi / 180.0
_NEVER_MS: Final = -(2**62)


class Verdict(IntEnum):
    """What became of a fix. The first two are believed (`verdict <= Verdict.JITTER`), the others refused."""

    KEPT = 0
    JITTER = 1  # believed and fresh, but the driver stands still: need not be passed on
    LATE = 2  # not newer than the last believed fix: out of order, or sent twice
    STALE = 3  # waited too long, or the phone's clock is behind
    FUTURE = 4  # the phone's clock is ahead
    INACCURATE = 5  # vaguer than `worst_accuracy_m`; negative accuracy is iOS's word for no position
    TELEPORT = 6  # nobody drives that fast


class Track:
    """One driver's last believed fix: `lat_deg`, `lng_deg`, and when it was taken, `at_ms` (server time).

    `at_ms` lies far in the past while there is none, and up to 5 s ahead of now where the phone's clock does.
    """

    __slots__ = (
        "_clock_ms", "_doubt_ms", "_doubt_since_ms", "_far_at_ms", "_far_lat_deg", "_far_lng_deg", "_fars",
        "_half_age_ms", "_half_over_ms", "_least_age_ms", "_past_half_age_ms", "_stands_age_ms", "_stands_since_ms",
        "_told_lat_deg", "_told_lng_deg", "_told_ms", "at_ms", "lat_deg", "lng_deg",
    )  # fmt: skip

    at_ms: int
    lat_deg: float
    lng_deg: float

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forgets everything: for a driver who goes online, perhaps with another phone, somewhere else."""
        self.at_ms = _NEVER_MS
        self.lat_deg = self.lng_deg = 0.0
        self._told_ms = _NEVER_MS  # the last fix that was KEPT: what the others know
        self._told_lat_deg = self._told_lng_deg = 0.0
        self._clock_ms = 0  # how far the phone's clock is behind
        self._doubt_ms = self._doubt_since_ms = _NEVER_MS  # an error of the clock seen once, and when
        self._half_over_ms = _NEVER_MS
        self._half_age_ms = (
            self._past_half_age_ms
        ) = -_NEVER_MS  # the least of a fix with a time, when it came
        self._least_age_ms = -_NEVER_MS  # the lesser of both,
        self._stands_age_ms = self._stands_since_ms = -_NEVER_MS  # and since when it is much the same
        self._far_at_ms = _NEVER_MS  # the last teleport, and how many agreed
        self._far_lat_deg = self._far_lng_deg = 0.0
        self._fars = 0

    def judge(
        self,
        fix_ms: int | None,
        lat_deg: float,
        lng_deg: float,
        accuracy_m: float | None,
        *,
        now_ms: int,
        policy: Policy,
    ) -> Verdict:
        """Judges a fix at a valid position, and remembers it if it is believed."""
        if accuracy_m is not None and not 0.0 <= accuracy_m <= policy.worst_accuracy_m:
            return Verdict.INACCURATE
        at_ms = now_ms
        if fix_ms is not None:
            behind_ms = now_ms - fix_ms
            if -_AHEAD_MS <= behind_ms <= policy.stale_fix_s * 1_000.0:
                self._clock_ms = 0
            else:
                refused = self._read_clock(behind_ms, now_ms, policy)
                if refused is not None:
                    return refused
            at_ms = fix_ms + self._clock_ms
            age_ms = now_ms - at_ms
            if age_ms < self._half_age_ms or now_ms > self._half_over_ms:
                self._learn_age(age_ms, now_ms)
        if at_ms <= self.at_ms:
            return Verdict.LATE
        far_m = _NOISE_M + policy.top_speed_mps * (at_ms - self.at_ms) * 0.001
        # the way round the corner is never shorter, and mostly short enough
        corner_deg = abs(lat_deg - self.lat_deg) + abs(lng_deg - self.lng_deg)
        if (
            corner_deg * _METRES_PER_DEGREE > far_m
            and _apart_m(self.lat_deg, self.lng_deg, lat_deg, lng_deg) > far_m
        ):
            refused = self._far_away(at_ms, lat_deg, lng_deg, policy)
            if refused is not None:
                return refused
        self._fars = 0
        self.at_ms = at_ms
        self.lat_deg = lat_deg
        self.lng_deg = lng_deg
        if (
            now_ms - self._told_ms < policy.jitter_s * 1_000.0
            and abs(lat_deg - self._told_lat_deg) * _METRES_PER_DEGREE < policy.jitter_m
            and _apart_m(self._told_lat_deg, self._told_lng_deg, lat_deg, lng_deg) < policy.jitter_m
        ):
            return Verdict.JITTER
        self._told_ms = now_ms
        self._told_lat_deg = lat_deg
        self._told_lng_deg = lng_deg
        return Verdict.KEPT

    def tell_next(self) -> None:
        """Somebody new watches: the next believed fix is worth passing on, also of who stands still."""
        self._told_ms = _NEVER_MS

    def taken_ms(self, now_ms: int) -> int:
        """When the last believed fix was taken, by a clock that is right; a buffer that is being sent does not tell."""
        return self.at_ms + self._late_ms(now_ms)

    def judge_of_batch(
        self,
        fix_ms: int,
        lat_deg: float,
        lng_deg: float,
        accuracy_m: float | None,
        *,
        now_ms: int,
        policy: Policy,
    ) -> tuple[Verdict, int]:
        """What becomes of a fix that was kept a while, and when it was taken by the clock as it is known; where that
        is too far ahead, the clock was set since. It tells nothing of the clock itself, since one that is ahead and
        one that is right look the same in it."""
        at_ms = fix_ms + self._clock_ms
        if at_ms - now_ms > _AHEAD_MS:
            at_ms = now_ms
        if now_ms - at_ms > policy.stale_fix_s * 1_000.0:
            return Verdict.STALE, at_ms
        return self.judge(None, lat_deg, lng_deg, accuracy_m, now_ms=at_ms, policy=policy), at_ms

    def clock_ms(self, now_ms: int) -> int:
        """By so much the phone's clock is behind, as far as its fixes have told; below 0: ahead."""
        return self._clock_ms + self._late_ms(now_ms)

    def _late_ms(self, now_ms: int) -> int:
        return self._least_age_ms if now_ms - self._stands_since_ms >= _AGE_STANDS_MS else 0

    def _learn_age(self, age_ms: int, now_ms: int) -> None:
        """The least of this half so far, or the first of another. Halves end with a fix that comes, not while none
        does: what was known before a tunnel is known behind it."""
        if now_ms > self._half_over_ms:
            self._past_half_age_ms, self._half_over_ms = self._half_age_ms, now_ms + _AGE_HALF_MS
        self._half_age_ms = age_ms
        self._least_age_ms = min(age_ms, self._past_half_age_ms)
        if abs(self._least_age_ms - self._stands_age_ms) > _AGE_AGREES_MS:
            self._stands_age_ms, self._stands_since_ms = self._least_age_ms, now_ms

    def _read_clock(self, behind_ms: int, now_ms: int, policy: Policy) -> Verdict | None:
        """A fix whose time cannot be true as it reads: None when the error of the clock is known by now."""
        error_ms = behind_ms - self._clock_ms
        if self._clock_ms != 0 and -_AHEAD_MS <= error_ms <= policy.stale_fix_s * 1_000.0:
            return None
        if abs(behind_ms - self._doubt_ms) > _CLOCK_AGREES_MS:
            self._doubt_ms = behind_ms
            self._doubt_since_ms = now_ms
        elif now_ms - self._doubt_since_ms >= _CLOCK_APART_MS:
            self._clock_ms = behind_ms
            return None
        return Verdict.STALE if error_ms > 0 else Verdict.FUTURE

    def _far_away(self, at_ms: int, lat_deg: float, lng_deg: float, policy: Policy) -> Verdict | None:
        """A fix that could not be reached in time: None when enough others in a row agreed with it."""
        if self._fars and at_ms <= self._far_at_ms:
            return Verdict.LATE
        far_m = _NOISE_M + policy.top_speed_mps * (at_ms - self._far_at_ms) * 0.001
        agrees = _apart_m(self._far_lat_deg, self._far_lng_deg, lat_deg, lng_deg) <= far_m
        self._fars = self._fars + 1 if self._fars and agrees else 1
        self._far_at_ms = at_ms
        self._far_lat_deg = lat_deg
        self._far_lng_deg = lng_deg
        return None if self._fars >= _TELEPORTS else Verdict.TELEPORT


def judge_past(
    fixes: Iterable[tuple[int, float, float, float | None]], *, now_ms: int, policy: Policy
) -> list[Verdict]:
    """Fixes that a phone recorded while it was away, as (ms, latitude, longitude, accuracy) in the order of
    their times, at valid positions: each judged as it would have been then, by those before it. Their times are
    believed as they read, up to `_PAST_MS` ago: so late nobody can tell a wrong clock from a long way."""
    track, verdicts = Track(), []
    for at_ms, lat_deg, lng_deg, accuracy_m in fixes:
        if at_ms > now_ms + _AHEAD_MS:
            verdict = Verdict.FUTURE
        elif at_ms < now_ms - _PAST_MS:
            verdict = Verdict.STALE
        else:
            verdict = track.judge(None, lat_deg, lng_deg, accuracy_m, now_ms=at_ms, policy=policy)
        verdicts.append(verdict)
    return verdicts


def _apart_m(lat1_deg: float, lng1_deg: float, lat2_deg: float, lng2_deg: float) -> float:
    """Distance on a flat map about the two: half the cost of the haversine, and as good up to some 100 km."""
    east_deg = lng2_deg - lng1_deg
    if not -180.0 <= east_deg <= 180.0:  # across the antimeridian
        east_deg -= math.copysign(360.0, east_deg)
    east_m = east_deg * math.cos((lat1_deg + lat2_deg) * 0.5 * _RADIANS)
    north_m = lat2_deg - lat1_deg
    return math.sqrt(east_m * east_m + north_m * north_m) * _METRES_PER_DEGREE
