"""Who may come in: a handshake's token becomes a session that stands in its rooms, or a refusal.

The token proves that we made it; the accounts say whether its login still lives, and who that is now. The
session holds back what it is told until `opened` has given it its snapshot.
"""

import time
from typing import Any

from dispatch.commands import Refusal
from dispatch.wording import iso
from rooms import metrics, snapshot
from rooms.gate import House, session_of
from rooms.identity import BadToken, KeyRing
from rooms.introductions import Introductions
from rooms.session import Session, Wire
from storage.postgis import DatabaseUnavailable

BEARER = "bearer "


class Door:
    def __init__(
        self, house: House, keyring: KeyRing, resume: dict[str, int], introductions: Introductions
    ) -> None:
        self._house = house
        self._introductions = introductions
        self._keyring = keyring
        self._resume = resume
        self._greetings: dict[Session, dict[str, Any]] = {}
        self.draining = False

    async def login(self, device: str, environ: dict[str, Any], auth: Any, wire: Wire) -> Session:
        """Raises Refusal: draining, unauthenticated, or unavailable when nobody can be asked."""
        if self.draining:
            raise Refusal("draining")
        try:
            claims = self._keyring.verify(_token(environ, auth), time.time())
            who = await self._introductions.who(claims.session_id, claims.user_id)
        except BadToken:
            raise Refusal("unauthenticated", "Authentication failed") from None
        except DatabaseUnavailable:
            raise Refusal("unavailable") from None
        if who is None:
            raise Refusal("unauthenticated", "Authentication failed")
        session = session_of(who, device, wire)
        await self.enter(session)
        metrics.SOCKETS.inc()
        return session

    async def enter(self, session: Session) -> None:
        """Into its rooms, where it holds back what it is told. Raises Refusal unavailable."""
        session.hold_back()
        self._house.registry.add(session)
        try:
            self._greetings[session] = await snapshot.opening(self._house, session)
        except BaseException:
            self._house.registry.remove(session)
            raise

    async def opened(self, session: Session) -> None:
        """Says where the user stands, then everything that came since."""
        greeting = {
            "message": "Connected",
            "userId": session.user_id,
            "timestamp": iso(self._house.fixes.now_ms()),
            "node": self._house.node.partition(".")[
                0
            ],  # its name, as session ids begin; not which start of it
            "resume": self._resume,
            **self._greetings.pop(session),
        }
        session.say("connected", greeting)
        session.release()

    def closed(self, session: Session) -> None:
        """The client has gone: out of its rooms and, if this was its driver's device, out of the index."""
        self._greetings.pop(session, None)
        self._house.registry.remove(session)
        self._house.fixes.leases.unseat(session)
        metrics.SOCKETS.dec()


def _token(environ: dict[str, Any], auth: Any) -> str:
    if isinstance(auth, dict) and isinstance(token := auth.get("token"), str):
        return token
    header = environ.get("HTTP_AUTHORIZATION", "")
    return header[len(BEARER) :] if header.lower().startswith(BEARER) else ""
