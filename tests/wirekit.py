"""A socket of the transport on a channel that keeps what is written: for its rules, not for its wires."""

from typing import Any

from rooms.transport import Frame, Socket
from rooms.transport.engine import Engine


class Channel:
    is_websocket = True

    def __init__(self) -> None:
        self.ready = True
        self.written: list[str] = []
        self.aborted = self.finished = self.paused = False

    def write(self, out: list[Frame | None]) -> None:
        self.written += [frame.text for frame in out if frame is not None]

    def write_now(self, frame: Frame) -> None:
        self.write([frame])

    def finish(self) -> None:
        self.finished = True

    def abort(self) -> None:
        self.aborted = True

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False


def an_engine(**bounds: Any) -> Engine:
    engine = Engine(async_mode="aiohttp", **bounds)
    engine.begin()
    engine.lost = lambda socket, reason: None
    return engine


def a_socket(**bounds: Any) -> tuple[Socket, Channel]:
    socket, channel = Socket(an_engine(**bounds), "sid", {}, 0.0), Channel()
    socket.channel = channel
    return socket, channel
