"""Whom this node lets in while PostgreSQL cannot be asked: whose login it confirmed lately, and nobody else.

PostgreSQL owns logins. What it last said of those who are connected is kept in Redis for all nodes; it counts while
PostgreSQL is away, and only where it was said FRESH_MS before its last word to this node or later.

| when | then |
|---|---|
| PostgreSQL is away, and the line of somebody who was connected breaks | he comes back, to any node, as who he was |
| he was connected, or spoke over HTTP, and gives a command over HTTP | it is his, by the same rules |
| he was not connected in the last moments of PostgreSQL, or never | dropped, so that he comes again; over HTTP 503 |
| his token has run out | refused, as always: it is verified first |
| he had logged out, been blocked or given another role before | forgotten with it; dropped |
| he logs out, or is blocked, while PostgreSQL is away | 503: it did not happen |
| it happens in PostgreSQL, which only this node cannot reach | another node that had him sees it, and all forget him |
| it happens when he has just left | nodes ask for FRESH_MS more about who has left, and forget him |
| PostgreSQL is back | the next question of rooms/logins.py closes who would not be let in any more |
| Redis does not take what was confirmed, or is wiped | he is dropped while PostgreSQL is away |
| Redis does not answer at the door | dropped |
| a node starts while PostgreSQL is away | its last word is the one that others heard (server/ground.py) |
| nobody confirmed him for an hour | forgotten |
"""

from collections.abc import Callable, Collection, Iterable

from rooms import metrics
from storage.accounts import Who
from storage.confirmed import Confirmed
from storage.shard import Unavailable

FRESH_MS = 150_000

Login = tuple[str, str]  # session id, user id


class Acquaintances:
    def __init__(self, confirmed: Confirmed, now_ms: Callable[[], int]) -> None:
        """`now_ms` is the shard's clock."""
        self._confirmed = confirmed
        self._now_ms = now_ms
        self._heard_ms = now_ms()

    def heard(self, at_ms: int | None = None) -> None:
        """PostgreSQL has just answered; or others heard it last at `at_ms`, and this node not yet."""
        self._heard_ms = self._now_ms() if at_ms is None else at_ms

    async def confirm(self, whos: Iterable[Who]) -> None:
        """PostgreSQL has just said so. Raises nothing: what Redis does not take is not known later."""
        try:
            await self._confirmed.keep(list(whos), self._now_ms())
        except Unavailable:
            pass

    async def recall(self, logins: Collection[Login]) -> dict[Login, Who]:
        """Of these, who may come in although PostgreSQL is away."""
        named = {(session.lower(), user.lower()): (session, user) for session, user in logins}
        try:
            found = await self._confirmed.find([session for session, _ in named])
        except Unavailable:
            return {}
        known = {
            login: found[login[0]].who
            for login in named
            if login[0] in found
            and found[login[0]].who.user_id == login[1]
            and found[login[0]].at_ms >= self._heard_ms - FRESH_MS
        }
        metrics.RECALLED.inc(len(known))
        return {named[login]: who for login, who in known.items()}

    async def forget(self, sessions: Collection[str]) -> None:
        """Raises nothing: whoever is not forgotten is asked about as soon as he comes, or is not fresh."""
        try:
            await self._confirmed.forget(sessions)
        except Unavailable:
            pass
