"""Many accounts at once, for the shell's commands, load clients and the seed; never for a live request.

`enrol` makes users with what belongs to their role and keeps the order of the list; `open_sessions` gives
each of them a session that only an access token can use, because nobody keeps its refresh token. Both work
inside the caller's transaction.
"""

import secrets
from collections.abc import Sequence
from typing import Any

import msgspec

from storage.accounts import REFRESH_BYTES, SQL, recognised_by, refresh_hash
from storage.records import UserId


class Car(msgspec.Struct, frozen=True):
    make: str
    model: str
    year: int
    color: str
    license_plate: str
    type: str
    capacity: int

    @property
    def line(self) -> str:
        return recognised_by(self.color, self.make, self.model, self.license_plate)


class Newcomer(msgspec.Struct, frozen=True, kw_only=True):
    """`password_hash` "" is an account that no password opens."""

    email: str
    first_name: str
    last_name: str
    role: str
    password_hash: str = ""
    phone: str | None = None
    car: Car | None = None


async def enrol(conn: Any, people: Sequence[Newcomer]) -> list[UserId]:
    """Their ids, in order. An address that is taken raises asyncpg.UniqueViolationError."""
    fields = ("email", "password_hash", "first_name", "last_name", "phone", "role")
    columns = [[getattr(person, field) for person in people] for field in fields]
    made = {row["email"]: row["id"] for row in await conn.fetch(SQL["add_users"], *columns)}
    ids = [UserId(made[person.email]) for person in people]
    with_car = [(user_id, p.car) for user_id, p in zip(ids, people, strict=True) if p.car is not None]
    if with_car:
        columns = [[user_id for user_id, _ in with_car]]
        columns += [[getattr(car, field) for _, car in with_car] for field in Car.__struct_fields__]
        await conn.execute(SQL["add_vehicles"], *columns)
    couriers = [(user_id, p) for user_id, p in zip(ids, people, strict=True) if p.role == "courier"]
    if couriers:
        kinds = [p.car.type if p.car is not None else "bicycle" for _, p in couriers]
        await conn.execute(SQL["add_courier_profiles"], [user_id for user_id, _ in couriers], kinds)
    return ids


async def open_sessions(conn: Any, user_ids: Sequence[UserId], life_s: int) -> list[str]:
    """One session id for each user, in order."""
    hashes = [refresh_hash(secrets.token_urlsafe(REFRESH_BYTES)) for _ in user_ids]
    rows = await conn.fetch(SQL["add_sessions"], list(user_ids), hashes, float(life_s))
    session_of = {row["user_id"]: row["id"] for row in rows}
    return [session_of[user_id] for user_id in user_ids]
