"""Who there is: accounts, the sessions that tokens name, and vehicles. PostgreSQL owns these rows.

A session is one login: access tokens carry its id, and one refresh token belongs to it, kept only as its
SHA-256 and good until logout or expiry (the apps keep two copies of it and renew them independently). `who`
is the one question of a handshake or request, `whos` of many at once: is the session alive and its user active, who
is he, what does he drive. The role is the account's, never a payload's. A user keeps at most SESSIONS_PER_USER
sessions.
"""

import hashlib
import re
import secrets
from collections.abc import Collection
from datetime import date, datetime
from typing import Any

import asyncpg
import msgspec

from storage.postgis import Database, queries
from storage.records import UserId

SQL = queries("accounts")
SESSIONS_PER_USER = 20
REFRESH_BYTES = 32
USER_AGENT_CHARS = 200
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.I)


class EmailTaken(Exception):
    """Another account has this address, in whatever case it is written."""


class NotActive(Exception):
    """The account is suspended, deactivated or gone."""


class User(msgspec.Struct, frozen=True, kw_only=True):
    """An account as its owner may see it."""

    id: UserId
    email: str
    phone: str | None
    first_name: str
    last_name: str
    role: str
    status: str
    profile_picture: str | None
    is_email_verified: bool
    is_phone_verified: bool
    created_at: datetime
    updated_at: datetime

    @property
    def name(self) -> str:
        return f"{self.first_name} {self.last_name}"


class NewUser(msgspec.Struct, frozen=True, kw_only=True):
    """What an account is made of; the caller has checked every field."""

    email: str
    password_hash: str
    first_name: str
    last_name: str
    role: str
    phone: str | None = None
    date_of_birth: date | None = None


class Changes(msgspec.Struct, frozen=True, kw_only=True):
    """A partial profile; None leaves the field as it is."""

    first_name: str | None = None
    last_name: str | None = None
    phone: str | None = None
    profile_picture: str | None = None
    date_of_birth: date | None = None


def recognised_by(color: str, make: str, model: str, license_plate: str) -> str:
    """How a passenger knows the vehicle that comes for him."""
    return f"{color} {make} {model}, {license_plate}"


class Vehicle(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    make: str
    model: str
    year: int
    color: str
    license_plate: str
    type: str
    capacity: int
    status: str
    is_verified: bool

    @property
    def line(self) -> str:
        return recognised_by(self.color, self.make, self.model, self.license_plate)


class Carrier(msgspec.Struct, frozen=True, kw_only=True):
    """What a driver or courier carries jobs out with: his vehicle; the sizes of parcels that he takes (none: all) and
    the heaviest (0: no bound of his own); his and its papers, each with the ms since 1970 until which it is good."""

    vehicle: Vehicle | None = None
    sizes: tuple[str, ...] = ()
    max_weight_kg: float = 0.0
    papers: dict[str, int] = {}


class Who(msgspec.Struct, frozen=True, kw_only=True):
    """The identity behind a socket or request: `role` and `name` are the account's of this moment."""

    user_id: UserId
    session_id: str
    role: str
    name: str
    carrier: Carrier = Carrier()


class Session(msgspec.Struct, frozen=True):
    """A new login. The refresh token exists here and with the client, nowhere else."""

    session_id: str
    refresh_token: str


class Refreshed(msgspec.Struct, frozen=True):
    session_id: str
    user_id: UserId
    role: str


def is_uuid(text: str) -> bool:
    """Whether the text can be an id of ours; PostgreSQL would answer anything else with an error."""
    return _UUID.fullmatch(text) is not None


def refresh_hash(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="surrogatepass")).digest()


class Accounts:
    """All questions about accounts. Raises DatabaseUnavailable when PostgreSQL does not answer."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def register(self, new: NewUser) -> User:
        """Raises EmailTaken. A courier gets the courier's page with it."""
        values = (new.email, new.password_hash, new.first_name, new.last_name, new.phone, new.date_of_birth)
        try:
            async with self._database.transaction() as conn:
                row = await conn.fetchrow(SQL["add_user"], *values, new.role)
                if new.role == "courier":
                    await conn.execute(SQL["add_courier_profiles"], [row["id"]], ["bicycle"])
        except asyncpg.UniqueViolationError:
            raise EmailTaken from None
        return _user(row)

    async def find_by_email(self, email: str) -> tuple[User, str] | None:
        """The account and its password hash ("" when it has none), however the address is written."""
        row = await self._database.fetchrow(SQL["user_by_email"], email)
        return None if row is None else (_user(row), row["password_hash"])

    async def profile(self, user_id: UserId) -> User:
        return _user(await self._database.fetchrow(SQL["user_by_id"], user_id))

    async def change(self, user_id: UserId, changes: Changes) -> User:
        row = await self._database.fetchrow(
            SQL["change_user"],
            user_id,
            changes.first_name,
            changes.last_name,
            changes.phone,
            changes.profile_picture,
            changes.date_of_birth,
        )
        return _user(row)

    async def open_session(self, user_id: UserId, *, life_s: int, user_agent: str = "") -> Session:
        """A login. Raises NotActive. The user's oldest session goes when he has too many."""
        token = secrets.token_urlsafe(REFRESH_BYTES)
        agent = user_agent.replace("\0", "")[:USER_AGENT_CHARS]
        async with self._database.transaction() as conn:
            session_id = await conn.fetchval(
                SQL["open_session"], user_id, refresh_hash(token), agent, float(life_s)
            )
            if session_id is None:
                raise NotActive
            await conn.execute(SQL["tidy_sessions"], user_id, SESSIONS_PER_USER)
            await conn.execute(SQL["seen"], user_id)
        return Session(session_id, token)

    async def refresh(self, token: str) -> Refreshed | None:
        """The session that the refresh token belongs to; None when it is unknown, over or blocked."""
        row = await self._database.fetchrow(SQL["refresh_session"], refresh_hash(token))
        if row is None:
            return None
        await self._database.execute(SQL["seen"], row["user_id"])
        return Refreshed(row["session_id"], UserId(row["user_id"]), row["role"])

    async def revoke(self, session_id: str) -> None:
        await self._database.execute(SQL["revoke_session"], session_id)

    async def who(self, session_id: str, user_id: str) -> Who | None:
        """None when the session is over, belongs to somebody else, or the user is not active."""
        return (await self.whos([(session_id, user_id)])).get((session_id, user_id))

    async def whos(self, asked: Collection[tuple[str, str]]) -> dict[tuple[str, str], Who]:
        """The same for many (session id, user id), in one query; who is none is left out."""
        named = {(s, u): (s.lower(), u.lower()) for s, u in asked if is_uuid(s) and is_uuid(u)}
        if not named:
            return {}
        sessions, users = (",".join(column) for column in zip(*named, strict=True))
        rows = await self._database.fetch(SQL["who"], sessions, users)
        found = {(row["session_id"], row["id"]): _who(row) for row in rows}
        return {login: found[ids] for login, ids in named.items() if ids in found}

    async def ended(self, logins: Collection[tuple[str, str]]) -> set[tuple[str, str]]:
        """Of these (session id, role), which `who` would not answer so any more. One query, however many."""
        if not logins:
            return set()
        ids, roles = (",".join(column) for column in zip(*logins, strict=True))
        return {
            (row["session_id"], row["role"]) for row in await self._database.fetch(SQL["ended"], ids, roles)
        }

    async def id_taken(self, job_id: str, user_id: UserId) -> bool:
        """Whether history has a job of this id that the user cannot mean: another's, or one that is over."""
        return bool(await self._database.fetchval(SQL["job_id_taken"], job_id, user_id))

    async def carrier(self, user_id: UserId, vehicle_id: str | None) -> Carrier | None:
        """As `who` would answer now, with the vehicle of this id where one is named; None for anybody else's."""
        if vehicle_id is not None and not is_uuid(vehicle_id):
            return None
        row = await self._database.fetchrow(SQL["carrier"], user_id, vehicle_id)
        return None if row is None else _carrier(row)


def _user(row: Any) -> User:
    if row is None:
        raise NotActive
    return User(**{name: row[name] for name in User.__struct_fields__})


def _who(row: Any) -> Who:
    return Who(
        user_id=UserId(row["id"]),
        session_id=row["session_id"],
        role=row["role"],
        name=row["name"],
        carrier=_carrier(row),
    )


def _carrier(row: Any) -> Carrier:
    return Carrier(
        vehicle=None if row["vehicle_id"] is None else _vehicle(row),
        sizes=tuple(row["preferred_sizes"] or ()),
        max_weight_kg=row["max_weight_kg"] or 0.0,
        papers=row["papers"] or {},
    )


def _vehicle(row: Any) -> Vehicle:
    values = {name: row[name] for name in Vehicle.__struct_fields__ if name != "id"}
    return Vehicle(id=row["vehicle_id"], **values)
