"""One client: what he sends in its order, what waits for him, and when he counts as gone.

What enters: websocket messages (websocket.py) or polled packets (polling.py), through `receive`. What is a message
goes to `engine.hear` at once, in the callback that read it; what that returns, where it is a coroutine, is awaited by a
task that also serves what came meanwhile, so that a client's events keep their order. What leaves: frames, told by
`tell` and `tell_latest`, written joined: at the end of the read that told them, else once per turn of the loop.

| when | then |
|---|---|
| a frame is rubbish, or of a kind nobody asked for, or what it asks for fails | closed at once |
| more frames or bytes than the budgets allow | closed, before anything is decoded |
| many frames in one read | after FRAMES_A_TURN of them the others get their turn |
| a client does not read | of volatile values the newest wait; beyond the bounds of reliable frames he is closed |
| he goes while a command of his is at work | it is finished first; what he sent after it is heard no more |
| nothing came in since a ping was sent, in time | closed; while a command of his is at work, he lives |
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any

from rooms.bucket import Bucket
from rooms.faults import fault
from rooms.transport import frames
from rooms.transport.frames import Frame, Rubbish

if TYPE_CHECKING:
    from rooms.transport.engine import Engine

logger = logging.getLogger(__name__)

# Of one client; beyond either he is closed. A frame costs us its handling, a long one its decoding too.
FRAMES_A_SECOND, FRAMES_AT_ONCE = 200.0, 1000.0
BYTES_A_SECOND, BYTES_AT_ONCE = 128 * 1024.0, 2048 * 1024.0
LONG_FRAME = 64 * 1024  # bytes; facts are shorter, answers to `sync` may not be
FRAMES_A_TURN = 32  # of one client, before the others get their turn
BACKLOG_MAX = 64  # frames that wait for a command before we read no more of him
LATEST_MAX = 256  # volatile values that wait for one client
CONTROL_MAX = 16  # characters of a packet that is no message
BROKEN = (ValueError, KeyError, IndexError, RecursionError)  # what looking at a client's frame can raise
Message = tuple[int, Any]  # a websocket's opcode and what came with it


class Socket:
    """`channel` carries it; `user` is whatever the layer above keeps of the client, `clients` his namespaces."""

    __slots__ = (
        "_backlog", "_budget", "_bytes", "_dirty", "_fence", "_frames", "_latest", "_long", "_out", "_reliable",
        "_told", "channel", "clients", "closed", "engine", "environ", "heard_s", "leaving", "parts", "session", "sid",
        "upgrading", "user", "why",
    )  # fmt: skip

    def __init__(self, engine: "Engine", sid: str, environ: dict[str, Any], now_s: float) -> None:
        self.engine = engine
        self.sid = sid
        self.environ = environ
        self.channel: Any = None
        self.heard_s = now_s
        self.closed = self.leaving = False
        self.upgrading: Any = None  # the websocket he is moving to
        self.user: Any = None
        self.clients: dict[str, Any] = {}
        self.session: dict[str, Any] = {}  # python-engineio's, of the application
        self.parts: Any = None  # a packet whose attachments are still to come
        self._frames = Bucket()
        self._budget = Bucket()
        self._backlog: deque[Message] | None = None
        self._out: list[Frame | None] = []
        self._latest: dict[str, int] = {}
        self._fence = -1
        self._reliable = self._bytes = 0
        self._dirty = self._told = False
        self._long: Frame | None = None
        self.why = ""

    # What python-engineio asks its sockets
    @property
    def upgraded(self) -> bool:
        return self.channel is not None and self.channel.is_websocket

    @property
    def busy(self) -> bool:
        """Something he sent is still being served."""
        return self._backlog is not None

    # Inwards
    def afford(self, now_s: float, size: int) -> bool:
        """Counts what came in before anybody looks at it; False: he is closed for it."""
        self.heard_s = now_s
        if self._budget.take(now_s, BYTES_A_SECOND, BYTES_AT_ONCE, size):
            return True
        self.close("flood")
        return False

    def receive(self, messages: list[Message]) -> None:
        if not self._frames.take(self.heard_s, FRAMES_A_SECOND, FRAMES_AT_ONCE, len(messages)):
            self.close("flood")
        if self.closed:
            return
        if self._backlog is not None:
            self._backlog.extend(messages)
            if len(self._backlog) > BACKLOG_MAX:
                self.channel.pause_reading()
            return
        if len(messages) == 1:  # as nearly always
            later = self._hear(messages[0])
            if later is not None:
                self._backlog = deque()
                self.engine.tasks.start(self._serve(later), "client")
            return
        for number, message in enumerate(messages, 1):
            later = self._hear(message)
            if later is not None or number == FRAMES_A_TURN < len(messages):
                self._backlog = deque(messages[number:])
                self.engine.tasks.start(self._serve(later), "client")
                return

    async def _serve(self, later: Awaitable[None] | None) -> None:
        """Awaits what takes time, then serves what came meanwhile, in its order."""
        assert self._backlog is not None
        backlog, turn = self._backlog, 0
        try:
            while True:
                if later is not None:
                    await self._finish(later)
                elif not backlog or self.closed:
                    break
                else:
                    await asyncio.sleep(0)
                later, turn = None, 0
                while backlog and later is None and turn < FRAMES_A_TURN:
                    later = self._hear(backlog.popleft())
                    turn += 1
        finally:
            self._backlog = None
            self.channel.resume_reading()
            self._tell_gone()

    async def _finish(self, later: Awaitable[None]) -> None:
        try:
            await later
        except Exception as error:
            self._failed(error)

    def _failed(self, error: Exception) -> None:
        """What he sent was rubbish, or is beyond us. Closed now, for he might go on and never say goodbye."""
        if not isinstance(error, BROKEN):
            logger.error("what a client sent could not be served: %s", fault(error))
        self.lose(self.engine.reason.TRANSPORT_ERROR)

    def _hear(self, message: Message) -> Awaitable[None] | None:
        """One message, here and now; a coroutine is what is left to do."""
        if self.closed:
            return None
        kind, data = message[0], message[1]
        try:
            if kind == frames.TEXT:
                if data[0] == "4":
                    return self.engine.hear(self, data)
                self._control(data)
            elif kind == frames.BINARY:
                return self.engine.hear_binary(self, data)
            elif kind == frames.PING:
                self.channel.pong(bytes(data))
            elif kind == frames.CLOSE:
                self._leave(self.engine.reason.TRANSPORT_CLOSE)
        except Exception as error:
            self._failed(error)
        return None

    def _control(self, text: str) -> None:
        kind = text[0]
        if len(text) > CONTROL_MAX:
            raise Rubbish("a control packet that long")
        if kind == "1":
            self._leave(self.engine.reason.CLIENT_DISCONNECT)
        elif kind not in "35":  # a pong; an upgrade that is over
            raise Rubbish("not a packet of a client")

    # Outwards
    def tell(self, frame: Frame) -> None:
        """A reliable frame, after all that was told before."""
        if self.closed:
            return
        self._fence = len(self._out)  # what is newer than this frame must not take a place before it
        self._out.append(frame)
        self._reliable += 1
        size = len(frame.body)
        if size > LONG_FRAME and self._long is None:
            self._long = frame
        else:
            self._bytes += size
        if not self._dirty:
            self._dirty = True
            self.engine.flush_soon(self)
        if self._reliable > self.engine.frames_max or self._bytes > self.engine.bytes_max:
            if self.channel.ready:
                self._write()
            else:
                self.close("slow client")

    def tell_latest(self, key: str, frame: Frame) -> None:
        """A volatile one: of those with one key only the newest waits."""
        if self.closed:
            return
        channel = self.channel
        if self.engine.hearing == 1 and channel.ready and not self._out:
            channel.write_now(frame)  # what was read holds nothing newer that could take its place
            return
        out, at = self._out, self._latest.get(key)
        if at is not None:
            if at > self._fence:
                out[at] = frame
                return
            out[at] = None
        elif len(self._latest) >= LATEST_MAX:
            return
        self._latest[key] = len(out)
        out.append(frame)
        if not self._dirty:
            self._dirty = True
            self.engine.flush_soon(self)

    def laden(self) -> bool:
        """A long frame still waits: whoever asks for another must have read this one."""
        return self._long is not None

    def reads(self) -> bool:
        """What is told now goes out: he has taken all that was told before."""
        return bool(self.channel.ready)

    def flush(self) -> None:
        """Writes what waits, if the channel takes it now; else it is called again when it does."""
        self._dirty = False
        if self._out and self.channel.ready:
            self._write()
        if self.channel.ready:
            self._long = None
        if self.leaving and not self._out and not self.closed:
            self._leave(self.engine.reason.SERVER_DISCONNECT)

    def _write(self) -> None:
        out = self._out
        if self._fence >= 0 or self._latest:
            self._latest.clear()
            self._fence, self._reliable, self._bytes = -1, 0, 0
        self._out = []
        self.channel.write(out)

    # The end
    def close(self, why: str) -> None:
        """Drops the connection under the client, who so comes back by himself; what he sent and nobody has read is
        heard no more."""
        if not self.closed:
            self.engine.count_closed(why)
            self.lose(self.engine.reason.SERVER_DISCONNECT)

    def end(self, why: str) -> None:
        """Closes once everything that waits is written; what is not in time is lost."""
        if not self.closed and not self.leaving:
            self.engine.count_closed(why)
            self.leaving = True
            self.engine.ends.add(self)
            self.flush()

    def _leave(self, reason: str) -> None:
        """Goodbye, once what was written has gone out."""
        self.channel.finish()
        self.engine.ends.add(self)
        self._over(reason)

    def lose(self, reason: str) -> None:
        """Drops the connection, if it is not lost yet."""
        self.channel.abort()
        self._over(reason)

    def _over(self, reason: str) -> None:
        """Those above hear of it soon, not from within this call."""
        if self.closed:
            return
        self.closed, self.why = True, reason
        self._out = []
        self._latest.clear()
        if self.upgrading is not None:
            self.upgrading.give_up()
        self.engine.forget(self)
        if self._backlog is None:
            self._tell_gone()

    def _tell_gone(self) -> None:
        if self.closed and not self._told:
            self._told = True
            self.engine.gone(self, self.why)
