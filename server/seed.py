"""Demo data for an empty database: two areas, a user of every role, and a few days of history.

Idempotent and whole: a second run changes nothing, and one that fails leaves nothing. The passwords are
random; the text that `seed` returns is the only place where they ever stand.
"""

import random
import time
from typing import Any, NamedTuple

import msgpack
import msgspec

from dispatch.area import Area, Areas
from dispatch.policy import Policy
from dispatch.pricing import Prices
from server import names
from server.chores import checked_area, new_password, transaction
from server.needs import Stop
from server.seedpast import Past
from server.seedtrips import TRIPS, Person, a_past
from server.settings import Settings
from storage.accounts import SQL
from storage.areas import AreaRow, put_area
from storage.enrol import Newcomer, enrol
from storage.fixrows import Packer, dates_of
from storage.passwords import hash_now
from storage.projection import merge, project
from storage.sink import SQL as DRAIN_SQL
from storage.sink import Sink

DOMAIN = "arynov.example"
LIFE = "seed"
CHANCE = 20_081_017  # any number: the same invented past every time

# About 10 x 8 km; nothing outside is served.
ARYNOV = [
    [36.1608, 49.9640], [36.2000, 49.9572], [36.2650, 49.9578], [36.2990, 49.9700], [36.3000, 50.0150],
    [36.2780, 50.0290], [36.2050, 50.0298], [36.1640, 50.0180], [36.1608, 49.9640],
]  # fmt: skip
STATION = [
    [36.2010, 49.9850], [36.2190, 49.9850], [36.2190, 49.9960], [36.2010, 49.9960], [36.2010, 49.9850],
]  # fmt: skip
STATION_PRICES = {
    "rides": {
        "economy": {"base_minor": 350, "per_km_minor": 130, "per_min_minor": 25, "minimum_minor": 700},
        "comfort": {"base_minor": 450, "per_km_minor": 170, "per_min_minor": 35, "minimum_minor": 900},
        "premium": {"base_minor": 600, "per_km_minor": 230, "per_min_minor": 50, "minimum_minor": 1_400},
        "shared": {"base_minor": 250, "per_km_minor": 90, "per_min_minor": 15, "minimum_minor": 500},
    }
}


class Login(NamedTuple):
    role: str
    local: str
    first_name: str
    last_name: str


LOGINS = (
    Login("admin", "admin", "Vera", "Lindgren"),
    Login("passenger", "passenger", "Mira", "Okafor"),
    Login("passenger", "sender", "Jonas", "Weber"),
    Login("driver", "driver", "Samir", "Kovac"),
    Login("courier", "courier", "Olena", "Bondar"),
)


async def seed(settings: Settings) -> str:
    """Writes the demo data; the text says what was made, with the passwords. Harmless where it was done before."""
    passwords = {login.local: new_password() for login in LOGINS}
    chance = random.Random(CHANCE)
    async with transaction(settings) as conn:
        await conn.execute(SQL["seed_lock"])
        if await conn.fetchval(SQL["seeded"]):
            return "The demo data is there already; nothing was changed.\n"
        features = [checked_area(area) for area in demo_areas(settings.shard)]
        known = Areas([_area(await put_area(conn, feature)) for feature in features])
        people = [_newcomer(chance, login, passwords[login.local], settings) for login in LOGINS]
        ids = await enrol(conn, people)
        persons = {
            login.local: Person(user_id, f"{p.first_name} {p.last_name}", p.car.line if p.car else "")
            for login, user_id, p in zip(LOGINS, ids, people, strict=True)
        }
        past = Past(known)
        a_past(past, persons, int(time.time() * 1000), chance)
        await _write(conn, settings.shard, past)
        await conn.execute(SQL["audit"], "seed", "database", settings.shard, {"trips": len(TRIPS)})
    lines = [
        f"  {login.role:<10} {f'{login.local}@{DOMAIN}':<25} {passwords[login.local]}\n" for login in LOGINS
    ]
    return (
        f"Made the areas Arynov and Arynov Station, {len(LOGINS)} users, {len(TRIPS)} finished jobs.\n"
        "Demo logins; the passwords are shown only now:\n" + "".join(lines)
    )


def demo_areas(shard: str) -> list[dict[str, Any]]:
    def feature(ring: list[list[float]], **properties: Any) -> dict[str, Any]:
        geometry = {"type": "Polygon", "coordinates": [ring]}
        about = {"shard": shard, "currency": "USD", **properties}
        return {"type": "Feature", "geometry": geometry, "properties": about}

    return [
        feature(ARYNOV, id="arynov", name="Arynov"),
        feature(STATION, id="arynov-station", name="Arynov Station", prices=STATION_PRICES),
    ]


async def _write(conn: Any, shard: str, past: Past) -> None:
    """Through the drain's own door, so that the tables hold what they would have held."""
    rows = []
    for entry_id, fields in past.entries:
        made, refused = project(entry_id, fields, shard, LIFE)
        rows += made
        if refused:
            raise Stop(
                f"The demo history does not fit the tables ({refused[0].reason}). This is a fault of the seed."
            )
    facts = Sink(conn, shard, "facts", LIFE)
    await facts.write_rows(merge(rows))
    tick = (b"0-1", {b"b": msgpack.packb(past.fixes)})
    packed = Packer().pack([tick], int(time.time() * 1000))
    days = dates_of(packed.days)
    await conn.execute(DRAIN_SQL["partitions"], days[0], days[-1])
    track = Sink(conn, shard, "fixes", LIFE)
    await track.write_fixes(packed.fixes)
    if facts.refused or track.refused or packed.refused:
        raise Stop("The database refused a part of the demo history. This is a fault of the seed.")


def _newcomer(chance: random.Random, login: Login, password: str, settings: Settings) -> Newcomer:
    return Newcomer(
        email=f"{login.local}@{DOMAIN}",
        first_name=login.first_name,
        last_name=login.last_name,
        role=login.role,
        password_hash=hash_now(password, settings.bcrypt_cost),
        car=names.car(chance, login.role) if login.role in ("driver", "courier") else None,
    )


def _area(row: AreaRow) -> Area:
    return Area(
        id=row.id,
        name=row.name,
        shard=row.shard,
        polygon=row.polygon,
        currency=row.currency,
        policy=msgspec.convert(row.policy, Policy),
        prices=msgspec.convert(row.prices, Prices),
    )
