"""Who is here: this node's sessions by user and by room, both ways, so that leaving costs what was joined."""

from collections.abc import Callable, Iterable

from rooms.session import Attempt, Session


class Registry:
    """`moved` hears of a user's first session in a room, and of the last one's going."""

    def __init__(self, sockets_per_user: int = 5) -> None:
        self._sockets_per_user = sockets_per_user
        self._rooms: dict[str, dict[Session, None]] = {}
        self._users: dict[str, dict[Session, None]] = {}
        self._since_ms: dict[str, int] = {}
        self._heard: dict[str, tuple[str, int]] = {}
        self._ahead: dict[str, tuple[str, int, str | None]] = {}
        self.moved: Callable[[str, Session, bool], None] = lambda room, session, here: None

    def add(self, session: Session) -> None:
        """A session arrives in its user's room; beyond the cap the user's oldest one goes."""
        mine = self._users.setdefault(session.user_id, {})
        mine[session] = None
        self.enter(f"user:{session.user_id}", session)
        if len(mine) > self._sockets_per_user:
            oldest = next(iter(mine))
            self.remove(oldest)
            if oldest.wire is not None:
                oldest.wire.close("too many sockets")

    def remove(self, session: Session) -> None:
        for room in tuple(session.rooms):
            self.leave(room, session)
        mine = self._users.get(session.user_id)
        if mine is not None:
            mine.pop(session, None)
            if not mine:
                del self._users[session.user_id]

    def has(self, session: Session) -> bool:
        return session in self._users.get(session.user_id, {})

    def enter(self, room: str, session: Session) -> None:
        if room not in session.rooms:
            if not self.stands(room, session.user_id):
                self.moved(room, session, True)
            self._rooms.setdefault(room, {})[session] = None
            session.rooms.add(room)

    def attempt(self, room: str, session: Session) -> Attempt | None:
        """Into a room, until it is known whether it may be there: what it hears meanwhile is held back. None where
        it is there already."""
        attempt = session.attempts.get(room)
        if attempt is None:
            if room in session.rooms:
                return None
            attempt = session.attempts[room] = Attempt(len(session.hold or ()))
        attempt.readings += 1
        self.enter(room, session)
        return attempt

    def give_up(self, room: str, session: Session, attempt: Attempt) -> None:
        """It may not, or nobody can tell. With the last reading nothing was heard, unless a fact has let it in or out
        meanwhile, or another reading has: then that stands."""
        attempt.readings -= 1
        if session.attempts.get(room) is attempt and not attempt.readings:
            del session.attempts[room]
            session.forget(room, attempt.first)
            self.leave(room, session)

    def let_in(self, room: str, session: Session) -> None:
        """By a fact, which is the first that it may hear."""
        if (attempt := session.attempts.pop(room, None)) is not None:
            session.forget(room, attempt.first)
        self.enter(room, session)

    def let_out(self, room: str, session: Session) -> None:
        """By a fact: it was there by right until now, and may hear what it held back."""
        session.attempts.pop(room, None)
        self.leave(room, session)

    def leave(self, room: str, session: Session) -> None:
        if room not in session.rooms:
            return
        session.rooms.discard(room)
        members = self._rooms[room]
        del members[session]
        if not members:
            del self._rooms[room]
            self._since_ms.pop(room, None)
            self._heard.pop(room, None)
            self._ahead.pop(room, None)
        if not self.stands(room, session.user_id):
            self.moved(room, session, False)

    def close_room(self, room: str) -> None:
        for session in tuple(self._rooms.get(room, ())):
            self.leave(room, session)

    def members(self, room: str) -> Iterable[Session]:
        return self._rooms.get(room, ())

    def stands(self, room: str, user: str) -> bool:
        """Whether any session of the user is in the room."""
        return any(member.user_id == user for member in self._rooms.get(room, ()))

    def changed(self, room: str, at_ms: int) -> None:
        """Who is on this job was another before `at_ms` of Redis' clock, or was not known here."""
        if room in self._rooms:
            self._since_ms[room] = max(at_ms, self._since_ms.get(room, 0))

    def stood(self, room: str, epoch: str, seq: int, driver_id: str | None) -> None:
        """A job's room was read as it stood at `seq`: who is its driver there may be another than by what was heard. A
        reading that comes later than what was heard, or than a newer one, says nothing."""
        ahead, heard = self._ahead.get(room), self._heard.get(room)
        if any(known and known[0] == epoch and known[1] >= seq for known in (ahead, heard)):
            return
        if room in self._rooms:
            self._ahead[room] = epoch, seq, driver_id

    def heard(self, room: str, epoch: str, seq: int) -> None:
        """The log has been heard up to this fact of the room."""
        if room in self._rooms:
            self._heard[room] = epoch, seq
        ahead = self._ahead.get(room)
        if ahead is not None and (ahead[0] != epoch or ahead[1] <= seq):
            del self._ahead[room]

    def drives(self, room: str, user: str) -> bool:
        """Whether somebody who drove here by what was heard may still do so."""
        ahead = self._ahead.get(room)
        return ahead is None or ahead[2] == user

    def since_ms(self, room: str) -> int:
        """What was said elsewhere up to this moment may be of somebody who is not on the job any more."""
        return self._since_ms.get(room, 0)

    def count(self, room: str) -> int:
        return len(self._rooms.get(room, ()))

    def of_user(self, user: str) -> Iterable[Session]:
        return tuple(self._users.get(user, ()))

    def all(self) -> list[Session]:
        return [session for sessions in self._users.values() for session in sessions]

    @property
    def users(self) -> int:
        return len(self._users)

    @property
    def sessions(self) -> int:
        return sum(len(sessions) for sessions in self._users.values())
