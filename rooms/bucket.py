"""Token buckets: what may come a second, and at once."""


class Bucket:
    """Token bucket: `rate` a second, `burst` at once. Time is an argument, seconds of any steady clock."""

    __slots__ = ("_at_s", "_left")

    def __init__(self, burst: float) -> None:
        self._left = burst
        self._at_s = 0.0

    def take(self, now_s: float, rate: float, burst: float, amount: float = 1.0) -> bool:
        """Whether `amount` was there to take; what is larger than `burst` never is."""
        left = min(burst, self._left + (now_s - self._at_s) * rate)
        self._at_s = now_s
        if left < amount:
            self._left = left
            return False
        self._left = left - amount
        return True
