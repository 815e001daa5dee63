"""One client's presence: who it is, what it may still send, and what waits to be told.

A session speaks for one user on one device. While a snapshot is being made and until it is told, reliable
frames are held back: a client never sees a fact before the snapshot that it follows, and none between the two
is lost. What a snapshot covers is not told again, however late this node reads it in the log.
"""

from typing import Any, Protocol

import msgspec

from rooms.bucket import Bucket
from rooms.transport.frames import Frame
from storage.accounts import Carrier
from storage.records import UserId


class Wire(Protocol):
    """The client's end, as the transport gives it."""

    def tell(self, frame: Frame) -> None: ...
    def tell_latest(self, key: str, frame: Frame) -> None: ...
    def laden(self) -> bool: ...
    def reads(self) -> bool: ...
    def close(self, why: str) -> None: ...
    def end(self, why: str) -> None: ...


_encode = msgspec.json.Encoder().encode


def event_json(event: str, payload: dict[str, Any]) -> bytes:
    """What the log and the mail keep of an event."""
    return _encode([event, payload])


def frame_of(json: bytes) -> Frame:
    """That as the transport sends it."""
    return Frame.event(json)


def event_frame(event: str, payload: dict[str, Any]) -> Frame:
    return Frame(b"42" + event_json(event, payload))


COVERED_MAX = 64  # rooms that it has left are forgotten beyond it: no node is so many rides behind
HELD_MAX = 1_000  # frames that wait for one snapshot; beyond it the client is closed


class Attempt:
    """A session's stay in a room of which `readings` at work shall tell whether it may be there; what it holds back
    of the room from `first` on is nobody's until then. It ends with the first that says yes, or a fact that does."""

    __slots__ = ("first", "readings")

    def __init__(self, first: int) -> None:
        self.first = first
        self.readings = 0


class Session:
    """`device` names the socket (or, over HTTP, the login); `wire` is None over HTTP; `carrier` is
    what a driver usually drives and may carry; `superseded`: a newer device drives since, until this one goes
    online again; `drove` is the device, once it went online; `attempts` are by room."""

    __slots__ = (
        "_covered", "_holds", "attempts", "buckets", "carrier", "device", "drove", "hold", "login", "name", "role",
        "rooms", "superseded", "user_id", "wire",
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
        self.carrier = Carrier()
        self.rooms: set[str] = set()
        self.attempts: dict[str, Attempt] = {}
        self.buckets: dict[str, Bucket] = {}
        self.hold: list[tuple[str, str, int, Frame] | None] | None = None
        self._holds = 0
        self._covered: dict[str, tuple[str, int]] = {}
        self.superseded = False
        self.drove = ""

    @property
    def looks_on(self) -> bool:
        """He is in a job's room as an administrator: its parties are not told, nor is he counted among who is there."""
        return self.role == "admin"

    def allow(self, event: str, now_s: float, rate: float, burst: float) -> bool:
        bucket = self.buckets.get(event)
        if bucket is None:
            bucket = self.buckets[event] = Bucket()
        return bucket.take(now_s, rate, burst)

    def wait_s(self, event: str, now_s: float, rate: float, burst: float) -> float:
        """How long until this event, which was not allowed, will be."""
        return self.buckets[event].wait_s(now_s, rate, burst)

    def tell(self, room: str, epoch: str, seq: int, frame: Frame) -> None:
        """A reliable frame; kept back while a snapshot is being made, and dropped when one covers it."""
        if self.wire is None:
            return
        if self.hold is not None:
            if len(self.hold) >= HELD_MAX:
                self.wire.close("slow client")
                return
            self.hold.append((room, epoch, seq, frame))
            return
        covered = self._covered.get(room)
        if covered is None or epoch != covered[0] or seq > covered[1]:
            self.wire.tell(frame)

    def say(self, event: str, payload: dict[str, Any]) -> None:
        """An event of no room, to this client alone."""
        if self.wire is not None:
            self.wire.tell(event_frame(event, payload))

    def hold_back(self) -> None:
        """A snapshot begins; each `hold_back` has its `release`, after the snapshot was told."""
        self._holds += 1
        if self.hold is None:
            self.hold = []

    def cover(self, room: str, epoch: str, seq: int) -> None:
        """The client is being told all of the room up to `seq` in another way."""
        covered = self._covered.pop(room, None)  # the newest stand last
        if covered is None or covered[0] != epoch or covered[1] < seq:
            covered = (epoch, seq)
        self._covered[room] = covered
        if len(self._covered) > COVERED_MAX:
            left = next((each for each in self._covered if each not in self.rooms), room)
            if left != room:
                del self._covered[left]

    def forget(self, room: str, first: int) -> None:
        """Of what is held back from `first` on, nothing of this room may be told."""
        for at, held in enumerate(self.hold or ()):
            if self.hold is not None and at >= first and held is not None and held[0] == room:
                self.hold[at] = None

    def release(self) -> None:
        """Tells what was held back and no snapshot covers, once the last of them was told."""
        self._holds -= 1
        if self._holds == 0:
            held, self.hold = self.hold or [], None
            for frame in held:
                if frame is not None:
                    self.tell(*frame)
