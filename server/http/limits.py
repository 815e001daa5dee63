"""How often one may try: counters in a window, in bounded memory.

A `Limiter` remembers at most `entries` keys; the one that tried longest ago is forgotten first. Time is an
argument, seconds of any steady clock. A try is counted before its outcome is known, so that many at once
cannot slip through, and taken back by the caller when it was a good one.
"""

import math
from collections import OrderedDict
from dataclasses import dataclass, field

MAX_ENTRIES = 20_000


@dataclass
class Limiter:
    """At most `tries` counted tries of a key within `window_s` of the first."""

    tries: int
    window_s: float
    entries: int = MAX_ENTRIES
    _seen: OrderedDict[str, tuple[float, int]] = field(default_factory=OrderedDict)

    def wait_s(self, key: str, now_s: float) -> int:
        """0 when the key may try; else whole seconds until it may."""
        begun_s, count = self._seen.get(key, (now_s, 0))
        if count < self.tries or now_s >= begun_s + self.window_s:
            return 0
        return max(1, math.ceil(begun_s + self.window_s - now_s))

    def count(self, key: str, now_s: float) -> None:
        begun_s, count = self._seen.get(key, (now_s, 0))
        if now_s >= begun_s + self.window_s:
            begun_s, count = now_s, 0
        self._seen[key] = (begun_s, count + 1)
        self._seen.move_to_end(key)
        if len(self._seen) > self.entries:
            self._seen.popitem(last=False)

    def take_back(self, key: str) -> None:
        """The last try was a good one."""
        begun_s, count = self._seen.get(key, (0.0, 0))
        if count > 1:
            self._seen[key] = (begun_s, count - 1)
        else:
            self._seen.pop(key, None)

    def forget(self, key: str) -> None:
        self._seen.pop(key, None)
