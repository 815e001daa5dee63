"""The one ear: every event of every client, over sockets and HTTP, comes in here, and is answered.

decode → who → allowed → limits → run → answer. What may be said is the table rooms/handlers and
nothing else; reserved names and unknown ones are refused. The user is the one of the token, whatever ids the
payload names. Volatile events run at once, as plain calls; a command is awaited, and the caller keeps one
client's commands in order. The answer is always an object: `{"ok": true, …}` or `{"ok": false, "error": …}`.
"""

import functools
import hashlib
import logging
import math
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from dispatch.commands import Refusal
from dispatch.desk import Desk
from rooms import metrics
from rooms.city import City
from rooms.faults import fault
from rooms.fixes import Fixes
from rooms.messages import Message, Reliable
from rooms.presence import Presence
from rooms.quotes import Quotes
from rooms.registry import Registry
from rooms.session import Session
from rooms.speaker import Speaker
from rooms.wording_errors import in_words
from storage.accounts import Accounts, Who
from storage.operators import Operators
from storage.postgis import DatabaseUnavailable
from storage.roomlog import RoomLog

if TYPE_CHECKING:
    from rooms.handlers import Handler

logger = logging.getLogger(__name__)

HTTP_SESSIONS_MAX = 10_000
UNKEPT = Refusal("bad_request", "A text holds a character that cannot be kept.")
Answer = dict[str, Any]


class House(NamedTuple):
    """What the handlers work with."""

    desk: Desk
    roomlog: RoomLog
    registry: Registry
    speaker: Speaker
    fixes: Fixes
    accounts: Accounts
    quotes: Quotes
    presence: Presence
    operators: Operators
    city: City
    node: str


_events = metrics.EVENTS.n


def _count(event: str, code: str) -> None:
    """Both words come from our own tables."""
    _events[event, code] += 1


def refused(refusal: Refusal) -> Answer:
    error = {"code": refusal.code, "message": refusal.message, "retry": refusal.retry}
    if refusal.again_in_s:
        error["againInS"] = refusal.again_in_s
    return {"ok": False, "error": error}


def content_of(message: Message) -> str:
    """A digest of what was asked, without the key it was asked under."""
    if isinstance(message, Reliable):
        message = msgspec.structs.replace(message, command_id=msgspec.UNSET)
    return hashlib.blake2b(msgspec.json.encode(message), digest_size=9).hexdigest()


class Gate:
    def __init__(self, house: House, handlers: "dict[str, Handler]", in_flight_max: int = 512) -> None:
        self.house = house
        self.handlers = handlers
        self.draining = False
        self._in_flight = 0
        self._in_flight_max = in_flight_max
        self._http: OrderedDict[str, Session] = OrderedDict()

    def hear(
        self,
        session: Session,
        event: str,
        args: Sequence[Any],
        strict: bool = True,
        message: Message | None = None,
    ) -> Answer | Awaitable[Answer]:
        """One event. `strict` refuses unknown fields (sockets); otherwise they are ignored (HTTP). `message` is it
        where `straight` could tell, and `args` are not looked at."""
        try:
            handler = self.handlers.get(event)
            if handler is None:
                raise Refusal("bad_request", "There is no such event; see docs/protocol.md.")
            if session.role not in handler.who:
                roles = " or ".join(sorted(handler.who))
                raise Refusal("forbidden", f"{event} is for the role {roles}; yours is {session.role}.")
            now_s = time.monotonic()
            if not session.allow(event, now_s, handler.rate, handler.burst):
                wait_s = session.wait_s(event, now_s, handler.rate, handler.burst)
                raise Refusal("rate_limited", again_in_s=max(1, math.ceil(wait_s)))
            if message is None:
                message = decode(handler.message, args, strict)
            if not handler.awaits:
                answer = {"ok": True, **handler.run(self.house, session, message)}
                _events[event, "ok"] += 1
                return answer
            if self.draining:
                raise Refusal("draining")
            if self._in_flight >= self._in_flight_max:
                raise Refusal("unavailable", "Too many commands at once; try again.")
        except Refusal as refusal:
            _count(event if event in self.handlers else "unknown", refusal.code)
            return refused(refusal)
        return self._run(session, event, message, handler.run)

    async def _run(
        self, session: Session, event: str, message: Message, run: Callable[..., Awaitable[Answer]]
    ) -> Answer:
        self._in_flight += 1
        try:
            with metrics.COMMAND_S.time():
                answer = {"ok": True, **await run(self.house, session, message)}
            code = "ok"
        except Refusal as refusal:
            answer, code = refused(refusal), refusal.code
        except DatabaseUnavailable:
            answer, code = refused(Refusal("unavailable")), "unavailable"
        except Exception as error:
            # a fault of ours: told as such, and logged without what the client sent
            logger.error("event %s failed: %s", event, fault(error))
            answer = refused(Refusal("unavailable", f"This failed on our side ({type(error).__name__})."))
            code = "fault"
        finally:
            self._in_flight -= 1
        _count(event, code)
        return answer

    @property
    def busy(self) -> int:
        """Commands at work."""
        return self._in_flight

    @property
    def http_sessions(self) -> list[Session]:
        """Logins that have spoken over HTTP lately."""
        return list(self._http.values())

    def forget_http(self, session: Session) -> None:
        """This login speaks no more; the driver it moved leaves the index."""
        if self._http.get(session.login) is session:
            del self._http[session.login]
        self.house.fixes.leases.unseat(session)

    async def hear_http(self, who: Who, event: str, body: Any) -> Answer:
        """The same ear for `POST /api/commands/{event}`; limits hold per login."""
        session = self._http.get(who.session_id)
        if session is not None and session.role != who.role:
            self.forget_http(session)
            session = None
        if session is None:
            session = session_of(who, f"http:{who.session_id}", None)
            self._http[who.session_id] = session
            if len(self._http) > HTTP_SESSIONS_MAX:
                self._http.popitem(last=False)
        if holds_nul(body):
            return refused(UNKEPT)
        answer = self.hear(session, event, [body], strict=False)
        return answer if isinstance(answer, dict) else await answer


def session_of(who: Who, device: str, wire: Any) -> Session:
    session = Session(who.user_id, device, name=who.name, role=who.role, login=who.session_id, wire=wire)
    session.carrier = who.carrier
    return session


def holds_nul(value: Any) -> bool:
    """PostgreSQL cannot store U+0000: what was acked with one would be refused later, by the drain."""
    if isinstance(value, str):
        return "\0" in value
    if isinstance(value, dict):
        return any(holds_nul(key) or holds_nul(part) for key, part in value.items())
    return isinstance(value, list) and any(map(holds_nul, value))


@functools.cache
def _straight(kind: type[Message]) -> msgspec.json.Decoder[Message]:
    """For JSON as sockets send it: what apps say beside it and nobody reads is passed over undecoded."""
    unread = sorted(kind.legacy - set(kind.__struct_encode_fields__))
    fields = [
        (f"unread_{number}", msgspec.Raw | msgspec.UnsetType, msgspec.field(default=msgspec.UNSET, name=name))
        for number, name in enumerate(unread)
    ]
    sent = msgspec.defstruct(kind.__name__, fields, bases=(kind,), frozen=True, kw_only=True)
    return msgspec.json.Decoder(sent)


def straight(handler: "Handler | None", json: str) -> Message | None:
    """The message of a volatile event from the JSON of its one argument, without a look at it as JSON; None where
    `decode` must look, be it to refuse."""
    if handler is None or handler.awaits or "\\u0000" in json:
        return None
    try:
        return _straight(handler.message).decode(json)
    except (ValueError, RecursionError):
        return None


def decode(kind: type[Message], args: Sequence[Any], strict: bool) -> Message:
    """One event's arguments as its message. Raises Refusal bad_request, naming the field."""
    if len(args) > 1:
        raise Refusal("bad_request", "An event has one argument, an object.")
    payload = args[0] if args else None
    if payload is None:
        payload = {}
    elif kind.bare and isinstance(payload, str | int) and not isinstance(payload, bool):
        payload = {kind.bare: payload}
    if not isinstance(payload, dict):
        raise Refusal("bad_request", "An event's argument is an object.")
    known = kind.__struct_encode_fields__
    if strict:
        payload = {k: v for k, v in payload.items() if k not in kind.legacy or k in known}
    else:
        payload = {k: v for k, v in payload.items() if k in known}
    try:
        return msgspec.convert(payload, kind)
    except msgspec.ValidationError as error:
        raise Refusal("bad_request", in_words(str(error), kind)) from None
