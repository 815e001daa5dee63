"""Whose login has ended while its sockets are open: they are closed, on every node, within ASK_EVERY_S and one query.

Logout, block, a new role, a deleted or expired session: PostgreSQL owns all of them, and says so to whoever asks.
Every node asks for the logins that are open on it, in one query, whether they would still be let in as they
are. Nothing is sent between nodes, so there is nothing to miss. What is answered counts for a while when PostgreSQL is
away (rooms/acquaintances.py): those who stay are confirmed there, those whose login ended are forgotten.

| at | what happens | outcome |
|---|---|---|
| asking | PostgreSQL is away, slow or refuses, or its answer is lost | nobody is closed; it is asked again |
| | a login ends meanwhile | this answer or the next says so |
| | a handshake was answered before | who comes in is registered in the same turn: the next question has him |
| answered | the client has gone, or come back in his new role | only sessions that were asked about are closed |
| | blocked, and unblocked at once | if an answer saw it, he is closed and comes back by himself |
| closing | the client does not read | it is closed all the same, a second later (`Wire.end`) |
| | he has left less than FRESH_MS ago | he is asked about all the same, and forgotten if his login ended |
| | his device moved a driver | he leaves the index as when a connection breaks; timers do the rest |
| we die | | our sockets die with us, and the next handshake asks for itself |
| clocks | differ | only PostgreSQL's is read |

tests/test_logins.py has a test for each.
"""

import asyncio
import logging
import time

from dispatch.commands import Refusal
from rooms.acquaintances import FRESH_MS, Acquaintances
from rooms.faults import fault
from rooms.gate import Gate, refused
from rooms.registry import Registry
from rooms.session import Session
from storage.accounts import Accounts, Who
from storage.postgis import DatabaseUnavailable

logger = logging.getLogger(__name__)

ASK_EVERY_S = 2.0
CONFIRM_EVERY_S = 60.0  # less than FRESH_MS
CLOSED_A_TURN = 200
ENDED = "This login has ended, or its account has changed: connect again, or log in."


class Logins:
    def __init__(self, accounts: Accounts, registry: Registry, gate: Gate, known: Acquaintances) -> None:
        self._accounts = accounts
        self._registry = registry
        self._gate = gate
        self._known = known
        self._left: dict[tuple[str, str], float] = {}  # (login, role) -> until when it is asked about
        self._confirm_s = 0.0

    async def watch(self) -> None:
        """Asks without end."""
        while True:
            await asyncio.sleep(ASK_EVERY_S)
            try:
                await self.ask()
            except DatabaseUnavailable:
                pass  # nobody is closed for that
            except (
                Exception
            ) as error:  # nor because PostgreSQL refuses the question, which it may not always do
                logger.error("whose login has ended cannot be asked: %s", fault(error))

    async def ask(self) -> None:
        """One question, and what follows. Raises DatabaseUnavailable."""
        here: dict[tuple[str, str], list[Session]] = {}
        for session in (*self._registry.all(), *self._gate.http_sessions):
            here.setdefault((session.login, session.role), []).append(session)
        now_s = time.monotonic()
        left = {login: until_s for login, until_s in self._left.items() if until_s > now_s}
        ended = await self._accounts.ended(left.keys() | here.keys())
        self._known.heard()
        self._left = left | dict.fromkeys(here, now_s + FRESH_MS / 1000)
        for login in ended:
            del self._left[login]
        await self._known.forget({login for login, _ in ended})
        sessions = [session for login in ended for session in here.get(login, ())]
        for number, session in enumerate(sessions, 1):
            self._end(session)
            if number % CLOSED_A_TURN == 0:
                await asyncio.sleep(0)
        stay = {login: some[0] for login, some in here.items() if login not in ended}
        if now_s < self._confirm_s:  # those with a wire were confirmed as they came in
            stay = {login: one for login, one in stay.items() if login not in left and one.wire is None}
        else:
            self._confirm_s = now_s + CONFIRM_EVERY_S
        await self._known.confirm(map(_who, stay.values()))

    def _end(self, session: Session) -> None:
        """Says why and closes; the next handshake is refused, or finds the new role."""
        if session.wire is None:
            self._gate.forget_http(session)
            return
        session.say("error", {**refused(Refusal("unauthenticated", ENDED))["error"], "event": ""})
        session.wire.end("login ended")


def _who(session: Session) -> Who:
    return Who(
        user_id=session.user_id,
        session_id=session.login,
        role=session.role,
        name=session.name,
        carrier=session.carrier,
    )
