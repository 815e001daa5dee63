"""Who those are that stand at the door: one question to PostgreSQL for all who came while the last was being asked.

A node that takes over another's clients is asked thousands of times in seconds; a question of its own for each would
keep PostgreSQL, and everybody else, waiting. Who comes alone waits for nobody.

| when | then |
|---|---|
| PostgreSQL is away, or its answer is lost | whose login it confirmed lately is known (rooms/acquaintances.py) |
| | the others who were asked about hear DatabaseUnavailable; the next are asked anew |
| it refuses the question | likewise, with its own error |
| somebody goes while he is asked about | his answer is nobody's; the others have theirs |
| the same login comes twice at once | one line of the question, two answers |
| a login ends while it is asked about | this answer or rooms/logins.py finds it |
| more come than one question holds | those who came first are asked about first |
"""

import asyncio
from collections.abc import Iterable
from itertools import islice

from rooms.acquaintances import Acquaintances, Login
from rooms.tasks import Tasks
from storage.accounts import Accounts, Who
from storage.postgis import DatabaseUnavailable

AT_ONCE = 200


class Introductions:
    """`waiting` is bounded by the sockets that are open."""

    def __init__(self, accounts: Accounts, known: Acquaintances, tasks: Tasks) -> None:
        self._accounts, self._known, self._tasks = accounts, known, tasks
        self._waiting: dict[Login, asyncio.Future[Who | None]] = {}
        self._asking = False

    async def who(self, session_id: str, user_id: str) -> Who | None:
        """As Accounts.who. Raises DatabaseUnavailable."""
        login = session_id, user_id
        answer = self._waiting.get(login)
        if answer is None:
            answer = self._waiting[login] = asyncio.get_running_loop().create_future()
        if not self._asking:
            self._asking = True
            self._tasks.start(self._ask(), "who")
        return await asyncio.shield(answer)

    async def _ask(self) -> None:
        try:
            while self._waiting:
                asked = {login: self._waiting.pop(login) for login in [*islice(self._waiting, AT_ONCE)]}
                try:
                    found = await self._accounts.whos(asked)
                except DatabaseUnavailable as error:
                    found = await self._known.recall(asked)
                    for login, who in found.items():
                        asked.pop(login).set_result(who)
                    _fail(asked.values(), error)
                except Exception as error:
                    _fail(asked.values(), error)
                else:
                    self._known.heard()
                    for login, answer in asked.items():
                        answer.set_result(found.get(login))
                    await self._known.confirm(found.values())
        finally:
            self._asking = False


def _fail(answers: Iterable[asyncio.Future[Who | None]], error: Exception) -> None:
    for answer in answers:
        answer.set_exception(error)
        answer.exception()  # all who asked may have gone
