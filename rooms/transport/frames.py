"""What goes over the wire and what is read from it. Pure functions over text and bytes.

A websocket frame that a server sends is a header and the payload (RFC 6455, section 5.2: not masked), so the same
bytes serve every member of a room. An Engine.IO packet is one digit and its data; `4` is a message, whose data is a
Socket.IO packet: a digit, how many attachments follow, the namespace, the ack id, and JSON.
"""

import base64
import re
import struct
from typing import Any, NamedTuple

import msgspec

TEXT, BINARY, CLOSE, PING, PONG = 0x1, 0x2, 0x8, 0x9, 0xA
DEPTH_MAX = 8  # of nested lists and objects in what a client sends
RESERVED = frozenset(
    {"connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"}
)
SEPARATOR = "\x1e"  # between the packets of one polling payload

_PACKET = re.compile(r"4([0-6])(?:([0-9]{1,4})-)?(?:(/[^,]{0,127})(?:,|\Z))?([0-9]{1,15})?(?=[\[{\"]|\Z)")
_LONG, _LONGER = struct.Struct("!BBH"), struct.Struct("!BBQ")
_decode = msgspec.json.Decoder().decode


class Rubbish(ValueError):
    """What a client sent is nothing of the protocol: he is closed."""


def websocket_frame(opcode: int, payload: bytes) -> bytes:
    size = len(payload)
    if size < 126:
        return bytes((0x80 | opcode, size)) + payload
    if size < 65_536:
        return _LONG.pack(0x80 | opcode, 126, size) + payload
    return _LONGER.pack(0x80 | opcode, 127, size) + payload


_new = object.__new__


class Frame:
    """One Engine.IO packet, made once for all who get it: `body` is its text in UTF-8 or, where `binary`, an
    attachment as it is; `wire` is it as a websocket carries it."""

    __slots__ = ("binary", "body", "wire")

    def __init__(self, body: bytes, *, binary: bool = False) -> None:
        self.body = body
        self.binary = binary
        self.wire = websocket_frame(BINARY if binary else TEXT, body)

    @classmethod
    def event(cls, json: bytes) -> "Frame":
        """An event of this JSON: without a call of __init__ from C, which a position would pay most for here."""
        body = b"42" + json
        size = len(body)
        frame = _new(cls)
        frame.body, frame.binary = body, False
        frame.wire = (
            _LONG.pack(0x81, 126, size) + body if 126 <= size < 65_536 else websocket_frame(TEXT, body)
        )
        return frame

    @property
    def text(self) -> str:
        """As polling carries it."""
        return "b" + base64.b64encode(self.body).decode() if self.binary else self.body.decode()


class Packet(NamedTuple):
    """A Socket.IO packet, its JSON not looked at; `kind` is one of 0123456, `ack` digits or empty."""

    kind: str
    attachments: int
    namespace: str
    ack: str
    json: str


def parse(text: str) -> Packet:
    """A message with its `4`. Raises Rubbish."""
    match = _PACKET.match(text)
    if match is None:
        raise Rubbish("not a Socket.IO packet")
    kind, attachments, namespace, ack = match.groups("")
    return Packet(kind, int(attachments or 0), namespace.partition("?")[0] or "/", ack, text[match.end() :])


def decode(text: str) -> Any:
    """JSON of at most DEPTH_MAX levels: no NaN, no number beyond a float's. Raises ValueError, RecursionError."""
    value = _decode(text)
    if text.count("[") + text.count("{") > DEPTH_MAX and _depth(value) > DEPTH_MAX:
        raise Rubbish("too deep")
    return value


def event(text: str) -> list[Any]:
    """The name of an event and its arguments. Raises ValueError, RecursionError."""
    heard = decode(text)
    if not isinstance(heard, list) or not heard or not isinstance(heard[0], str) or heard[0] in RESERVED:
        raise Rubbish("not an event")
    return heard


def _depth(value: Any) -> int:
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, list):
        return 0
    return 1 + max(map(_depth, value), default=0)


def attached(value: Any, parts: list[bytes]) -> Any:
    """`value` with its placeholders replaced by the attachments. Raises Rubbish."""
    if isinstance(value, list):
        return [attached(each, parts) for each in value]
    if not isinstance(value, dict):
        return value
    if value.get("_placeholder") is not True:
        return {key: attached(each, parts) for key, each in value.items()}
    number = value.get("num")
    if not isinstance(number, int) or not 0 <= number < len(parts):
        raise Rubbish("no such attachment")
    return parts[number]
