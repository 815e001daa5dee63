"""One client's presence: who it is, what it may still send, and what waits to be told.

A session speaks for one user on one device. `hold` collects reliable frames while a snapshot is being made,
so that a client never sees a fact before the snapshot that it follows, and none between the two is lost.
"""

from typing import Any, Protocol

import msgspec

from storage.records import UserId


class Wire(Protocol):
    """The client's end, as engine.py gives it."""

    def tell(self, frame: "Frame") -> None: ...
    def tell_latest(self, key: str, text: str) -> None: ...
    def close(self, why: str) -> None: ...
    def end(self, why: str) -> None: ...


class Frame:
    """One Socket.IO event text, encoded once for all who get it. `wire` is the transport's own form."""

    __slots__ = ("text", "wire")

    def __init__(self, text: str) -> None:
        self.text = text
        self.wire: object = None


def event_text(event: str, payload: dict[str, Any]) -> str:
    """A Socket.IO event as the transport sends it."""
    return "2" + msgspec.json.encode([event, payload]).decode()


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


class Session:
    """`device` names the socket (or, over HTTP, the login); `wire` is None over HTTP; `vehicle` is the id and
    the words of the vehicle a driver usually drives; `superseded`: a newer device drives since, until this one goes
    online again."""

    __slots__ = (
        "buckets", "device", "hold", "login", "name", "role", "rooms", "superseded", "user_id", "vehicle", "wire",
    )  # fmt: skip

    def __init__(
        self, user_id: UserId, device: str, *, name: str, role: str, login: str, wire: Wire | None
    ) -> None:
        self.user_id = user_id
        self.name = name
        self.role = role
        self.device = device
        self.login = login
        self.wire = wire
        self.vehicle: tuple[str, str] | None = None
        self.rooms: set[str] = set()
        self.buckets: dict[str, Bucket] = {}
        self.hold: list[tuple[str, int, Frame]] | None = None
        self.superseded = False

    def allow(self, event: str, now_s: float, rate: float, burst: float) -> bool:
        bucket = self.buckets.get(event)
        if bucket is None:
            bucket = self.buckets[event] = Bucket(burst)
        return bucket.take(now_s, rate, burst)

    def tell(self, room: str, seq: int, frame: Frame) -> None:
        """A reliable frame; kept back while a snapshot is being made."""
        if self.hold is not None:
            self.hold.append((room, seq, frame))
        elif self.wire is not None:
            self.wire.tell(frame)

    def say(self, event: str, payload: dict[str, Any]) -> None:
        """An event of no room, to this client alone."""
        if self.wire is not None:
            self.wire.tell(Frame(event_text(event, payload)))

    def release(self, seen: dict[str, int]) -> None:
        """Tells what was kept back and is newer than the snapshot, whose seq per room is `seen`."""
        held, self.hold = self.hold or [], None
        for room, seq, frame in held:
            if seq > seen.get(room, 0) and self.wire is not None:
                self.wire.tell(frame)
