"""The short commands' work: accounts, tokens for load clients, areas. One connection, one transaction each.

Nothing here is on the way of a live request. A minted user has no password (no bcrypt: 2,000 of them take a
second), one session that lives as long as his token, and a vehicle if he drives.
"""

import os
import random
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
import msgspec

from dispatch.area import Area, Areas
from dispatch.policy import Policy
from dispatch.pricing import Prices
from rooms.identity import KeyRing
from rooms.wording_errors import in_words
from server import names
from server.needs import Stop, database_url, ring_path
from server.settings import Settings
from storage import areas
from storage.accounts import SQL
from storage.enrol import Newcomer, enrol, open_sessions
from storage.passwords import hash_now
from storage.postgis import connect

Kind = TypeVar("Kind")

LOAD_DOMAIN = "load.invalid"  # RFC 2606: no mail can ever reach it
PASSWORD_BYTES = 12
#: What an account must look like, by the constraint that says so.
SHAPES = {
    "users_email_shape": "The email must be an email address.",
    "users_name_shape": "First and last name must have 1 to 100 characters each.",
    "users_phone_shape": "The phone must be + and 2 to 15 digits.",
}
BULK_TIMEOUT_S = 60.0


class TokenLine(msgspec.Struct, frozen=True):
    """One line of the file that load clients read."""

    user_id: str
    role: str
    token: str
    name: str


def keyring(settings: Settings) -> KeyRing:
    return KeyRing.load(ring_path(settings), issuer=settings.issuer, audience=settings.audience)


@asynccontextmanager
async def transaction(settings: Settings) -> AsyncIterator[Any]:
    """A connection of this command alone; one that fails leaves nothing behind."""
    conn = await connect(database_url(settings), BULK_TIMEOUT_S)
    try:
        async with conn.transaction():
            yield conn
    finally:
        await conn.close(timeout=5.0)


def new_password() -> str:
    """Random, with a character of every kind that the apps ask for."""
    return f"{secrets.token_urlsafe(PASSWORD_BYTES)}-aA1@"


async def add_user(
    settings: Settings, *, role: str, email: str, first_name: str, last_name: str, phone: str | None
) -> str:
    """Makes an account and returns its password, which is kept nowhere."""
    password = new_password()
    newcomer = Newcomer(
        email=email,
        first_name=first_name,
        last_name=last_name,
        role=role,
        phone=phone,
        password_hash=hash_now(password, settings.bcrypt_cost),
    )
    try:
        async with transaction(settings) as conn:
            (user_id,) = await enrol(conn, [newcomer])
            await conn.execute(SQL["audit"], "users add", "user", user_id, {"role": role})
    except asyncpg.UniqueViolationError:
        raise Stop(f"{email} has an account already. Take another address.") from None
    except asyncpg.CheckViolationError as error:
        raise Stop(SHAPES.get(error.constraint_name, str(error))) from None
    return password


async def change_user(
    settings: Settings,
    action: str,
    email: str,
    *,
    status: str | None = None,
    role: str | None = None,
    reason: str = "",
) -> None:
    """Blocks, unblocks or gives another role; every node closes the user's sockets within seconds."""
    async with transaction(settings) as conn:
        user_id = await conn.fetchval(SQL["change_standing"], email, status, role)
        if user_id is None:
            raise Stop(f"Nobody has the address {email}.")
        if role == "courier":
            await conn.execute(SQL["add_courier_profiles"], [user_id], ["bicycle"])
        details = {"status": status, "reason": reason} if status else {"role": role}
        await conn.execute(SQL["audit"], action, "user", user_id, details)


async def put_paper(settings: Settings, email: str, kind: str, until: datetime, plate: str | None) -> None:
    """Counts from the driver's next login on, or once he names the vehicle (rooms/handlers/supply.py)."""
    async with transaction(settings) as conn:
        subject = await conn.fetchval(SQL["put_paper"], email, kind, until, plate)
        if subject is None:
            vehicle = f" with a vehicle {plate}" if plate else ""
            raise Stop(f"Nobody{vehicle} has the address {email}.")
        details = {"kind": kind, "until": until.isoformat()}
        await conn.execute(SQL["audit"], "users paper", "vehicle" if plate else "user", subject, details)


async def change_courier(
    settings: Settings, email: str, sizes: list[str] | None, max_weight_kg: float | None
) -> None:
    async with transaction(settings) as conn:
        try:
            user_id = await conn.fetchval(SQL["change_courier"], email, sizes, max_weight_kg)
        except asyncpg.CheckViolationError:
            raise Stop("A weight must be above 0, and there are at most 20 sizes.") from None
        if user_id is None:
            raise Stop(f"No courier has the address {email}. `dispatch users role` makes one.")
        details = {"sizes": sizes, "max_weight_kg": max_weight_kg}
        await conn.execute(SQL["audit"], "users courier", "user", user_id, details)


async def mint_tokens(settings: Settings, role: str, count: int, out: Path) -> None:
    """`count` new users of a role, with a token each, as JSON lines in a file for the owner alone."""
    ring = keyring(settings)
    people = load_people(random.Random(), role, count)
    # The file comes first: a name that cannot be written must not leave users behind.
    with _private_file(out) as file:
        async with transaction(settings) as conn:
            ids = await enrol(conn, people)
            sessions = await open_sessions(conn, ids, settings.access_s)
            await conn.execute(SQL["audit"], "users token", "users", role, {"count": count})
        now_s = time.time()
        for person, user_id, session_id in zip(people, ids, sessions, strict=True):
            token = ring.mint(user_id, role, session_id, now_s=now_s, life_s=settings.access_s)
            name = f"{person.first_name} {person.last_name}"
            file.write(msgspec.json.encode(TokenLine(user_id, role, token, name)) + b"\n")


def load_people(chance: random.Random, role: str, count: int, domain: str = LOAD_DOMAIN) -> list[Newcomer]:
    """Invented people with addresses that nobody has had before, and something to drive if they drive."""
    run = secrets.token_hex(4)
    people = []
    for number in range(count):
        first_name, last_name = names.person(chance)
        people.append(
            Newcomer(
                email=f"{first_name}.{last_name}.{run}.{number}@{domain}".lower(),
                first_name=first_name,
                last_name=last_name,
                role=role,
                car=names.car(chance, role) if role in ("driver", "courier") else None,
            )
        )
    return people


def read_area(file: Path) -> areas.Feature:
    """The area of a GeoJSON file, once its rules, prices and polygon are understood."""
    try:
        return checked_area(msgspec.json.decode(file.read_bytes()))
    except msgspec.DecodeError:
        raise Stop(f"{file} is not JSON. It must hold one GeoJSON Feature.") from None


async def put_area(settings: Settings, area: areas.Feature) -> str:
    """Adds or replaces the area."""
    async with transaction(settings) as conn:
        row = await areas.put_area(conn, area)
        await conn.execute(SQL["audit"], "areas put", "area", row.id, {"version": row.version})
    return f"Area {row.id} is at version {row.version}."


async def list_areas(settings: Settings) -> str:
    """One line per area."""
    async with transaction(settings) as conn:
        rows = await areas.list_areas(conn)
    lines = [
        f"{row.id}  {row.name}  shard {row.shard}  {row.currency}  version {row.version}"
        f"{'  paused' if row.paused else ''}  policy {row.policy_version}"
        f"{f'  shadow {row.shadow_version}' if row.shadow_version else ''}\n"
        for row in rows
    ]
    return "".join(lines) or "There are no areas. `dispatch areas put FILE` adds one.\n"


def checked_area(data: Any) -> areas.Feature:
    """Decoded JSON as an area that the dispatcher understands. Raises BadArea or Stop."""
    feature = areas.feature(data)
    p = feature.properties
    policy = _understood(p.id, "policy", p.policy, Policy)
    prices = _understood(p.id, "prices", p.prices, Prices)
    polygon = msgspec.to_builtins(feature.geometry)
    try:
        Areas(
            [
                Area(
                    id=p.id,
                    name=p.name,
                    shard=p.shard,
                    polygon=polygon,
                    currency=p.currency,
                    policy=policy,
                    prices=prices,
                )
            ]
        )
    except ValueError as error:
        raise Stop(f"The polygon cannot be used: {error}.") from None
    return feature


def _understood(area_id: str, what: str, given: dict[str, Any], kind: type[Kind]) -> Kind:
    try:
        return msgspec.convert(given, kind)
    except msgspec.ValidationError as error:
        raise Stop(f"Area {area_id}: its {what} cannot be: {in_words(str(error), kind)}") from None


def _private_file(path: Path) -> Any:
    """Opened for writing with mode 600 even if it was there with another."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.fchmod(descriptor, 0o600)
    return os.fdopen(descriptor, "wb")
