"""Token buckets: what may come a second, and at once."""

_ROUNDING_S = 1e-9


class Bucket:
    """`rate` a second, `burst` at once. All it keeps is when it will be full again (the generic cell rate algorithm,
    ITU-T I.371). Time is an argument, seconds of any steady clock."""

    __slots__ = ("_full_s",)

    def __init__(self) -> None:
        self._full_s = 0.0

    def take(self, now_s: float, rate: float, burst: float, amount: float = 1.0) -> bool:
        """Whether `amount` was there to take; what is larger than `burst` never is."""
        full_s = self._full_s
        if full_s < now_s:  # noqa: PLR1730 - a call of max is a third of all this
            full_s = now_s
        full_s += amount / rate
        if full_s - now_s > burst / rate + _ROUNDING_S:
            return False
        self._full_s = full_s
        return True

    def wait_s(self, now_s: float, rate: float, burst: float) -> float:
        """How long until there will be one to take."""
        return max(0.0, self._full_s + (1.0 - burst) / rate - now_s)
