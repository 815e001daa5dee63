"""Every knob of the server: name, default, unit and one sentence; docs/settings.md is printed from here.

A setting NAME is read from the environment variable DISPATCH_NAME, or, so that a secret need not stand in
the environment, from the file named by DISPATCH_NAME_FILE. Numbers that are rules of an area (offer time,
patience, prices) are not here but in dispatch/policy.py, and live in the `areas` table.
"""

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import msgspec
from msgspec import Meta

from rooms.wording_errors import in_words
from server.proxies import BadProxies, trusted


def about(text: str, **limits: Any) -> Meta:
    return Meta(description=text, **limits)


HEAD = """# Settings

Printed by `.venv/bin/dispatch settings`; do not edit. A setting `DISPATCH_NAME` may stand in a file instead, so that
a secret is not in the environment: `DISPATCH_NAME_FILE` names it, and is read before `DISPATCH_NAME`. A variable
`DISPATCH_…` that is none of these is told at the start and ignored.
"""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    database_url: Annotated[str, about("PostgreSQL with PostGIS, as a postgresql:// URL.")] = ""
    redis_url: Annotated[
        str,
        about(
            "Redis of the shard: redis://, unix://, redis+sentinel://HOST:PORT,…/NAME or "
            "redis+cluster://HOST:PORT,…"
        ),
    ] = ""
    shard: Annotated[str, about("Name of the shard (metropolis) this server works for.")] = "main"
    host: Annotated[str, about("Address to listen on.")] = "127.0.0.1"
    port: Annotated[int, about("Port to listen on; 0 takes a free one.", ge=0, le=65535)] = 8080
    reuse_port: Annotated[
        bool, about("Share `port` with other processes of this machine; `dispatch serve --workers` says it.")
    ] = False
    own_port: Annotated[
        int,
        about("Listen here as well, alone, for a balancer that knows the node; 0: nowhere.", ge=0, le=65535),
    ] = 0
    node: Annotated[
        str,
        about(
            "Name of this process, of letters, digits and _; empty makes one of host and process id "
            "(of worker i: that of its parent, _, and i).",
            pattern=r"^\w*$",
        ),
    ] = ""
    keys_file: Annotated[str, about("Key ring that signs access tokens (`dispatch keys init`).")] = ""
    issuer: Annotated[str, about("`iss` of access tokens.")] = "aryv-dispatch"
    audience: Annotated[str, about("`aud` of access tokens.")] = "aryv-apps"
    access_s: Annotated[int, about("Life of an access token, seconds.", ge=60)] = 86_400
    refresh_s: Annotated[int, about("Life of a refresh token, seconds.", ge=60)] = 30 * 86_400
    bcrypt_cost: Annotated[int, about("Work factor of password hashes.", ge=4, le=16)] = 12
    login_queue: Annotated[int, about("Password checks that may wait; more are refused with 429.", ge=1)] = 32
    tick_ms: Annotated[
        int, about("Fixes are sent to Redis in batches every so many milliseconds.", ge=5, le=1000)
    ] = 40
    sweep_ms: Annotated[
        int, about("All nodes together look at deadlines every so many milliseconds.", ge=10, le=5000)
    ] = 100
    batch_ms: Annotated[
        int,
        about(
            "Parcels, and all who wait where drivers are not plenty, are matched every so many milliseconds.",
            ge=50,
            le=10_000,
        ),
    ] = 1000
    heat_ms: Annotated[
        int,
        about("Demand and supply are looked at every so many milliseconds.", ge=100, le=20_000),
    ] = 5000
    redis_timeout_ms: Annotated[int, about("A Redis call that takes longer is an outage.", ge=50)] = 1500
    redis_replicas: Annotated[
        int, about("Replicas of Redis that must have a command before it is acked; 0: none.", ge=0, le=5)
    ] = 0
    database_timeout_s: Annotated[float, about("A query that takes longer is an outage.", gt=0)] = 10.0
    database_pool: Annotated[int, about("Connections to PostgreSQL of one process.", ge=1)] = 8
    commands_in_flight: Annotated[
        int, about("Commands at work in this process; more get `unavailable`.", ge=1)
    ] = 512
    sockets_per_user: Annotated[int, about("Live sockets of one user; the oldest goes.", ge=1)] = 5
    payload_kib: Annotated[int, about("Largest message a client may send, KiB.", ge=1)] = 64
    queue_frames: Annotated[int, about("Frames waiting for a slow client before it is closed.", ge=16)] = 256
    queue_kib: Annotated[int, about("KiB waiting for a slow client before it is closed.", ge=64)] = 256
    ping_interval_s: Annotated[int, about("Heartbeat of idle sockets, whole seconds.", ge=1)] = 8
    ping_timeout_s: Annotated[
        int, about("Silence after a heartbeat before a socket is closed, seconds.", ge=1)
    ] = 6
    cors_origins: Annotated[
        str, about("Origins browsers may come from, comma separated; empty: same origin.")
    ] = ""
    trusted_proxies: Annotated[
        str,
        about(
            "Proxies whose X-Forwarded-For counts for the limits per address: addresses and networks, comma separated."
        ),
    ] = ""
    room_facts: Annotated[int, about("Facts kept per room for resume.", ge=50)] = 300
    facts_max_age_s: Annotated[
        int, about("Drained facts stay on the stream so long for slow nodes.", ge=5)
    ] = 120
    fixes_max: Annotated[
        int, about("Ticks kept on the fixes stream before the oldest are thinned.", ge=100)
    ] = 200_000
    drain_batch: Annotated[int, about("Stream entries the drain takes at once.", ge=1)] = 2_000
    drain_idle_ms: Annotated[int, about("The drain waits so long for more before it writes.", ge=1)] = 100
    decisions_days: Annotated[
        float, Meta(gt=0.0, le=3_650.0, description="Decisions of the match are kept for so many days.")
    ] = 30.0
    route_settle_s: Annotated[
        float, about("A finished job's route is drawn after this: late fixes count.", ge=0)
    ] = 5.0
    router_url: Annotated[
        str,
        about(
            "OSRM router, as http://HOST:5000, which has 20 ms for a question; empty: times are learned alone."
        ),
    ] = ""
    basemap_file: Annotated[
        str,
        about(
            "GeoJSON that maps draw under the areas: streets, water, parks, as `kind` of each feature says."
        ),
    ] = ""
    tiles_url: Annotated[
        str, about("Map tiles, as https://HOST/{z}/{x}/{y}.png; empty: maps ask nobody outside.")
    ] = ""
    tiles_attribution: Annotated[str, about("Whose tiles they are; maps say it.")] = ""
    demo: Annotated[
        bool,
        about("Serve /demo, where anybody becomes a passenger, driver or courier; for development only."),
    ] = False
    debug: Annotated[bool, about("Verbose logs; never with secrets, positions or message texts.")] = False


#: `./dev` hands these to what it starts beside the server.
TOLD_TO_BENCHES = frozenset({"URL", "PIDS", "LOGS", "REDIS_PROGRAM", "POSTGRES_SWITCH"})


class BadSetting(Exception):
    """A setting is missing or cannot be read; the text says which and what to do."""


def load(environ: dict[str, str] | None = None, **overrides: Any) -> Settings:
    """Settings from the environment; `overrides` win. Raises BadSetting naming the variable."""
    env = os.environ if environ is None else environ
    values: dict[str, Any] = {}
    for name in Settings.__struct_fields__:
        variable = f"DISPATCH_{name.upper()}"
        if file := env.get(f"{variable}_FILE"):
            try:
                values[name] = Path(file).read_text().strip()
            except OSError as error:
                raise BadSetting(f"{variable}_FILE: cannot read {file}: {error.strerror}") from None
        elif variable in env:
            values[name] = env[variable]
    values.update(overrides)
    try:
        settings = msgspec.convert(values, Settings, strict=False)
        trusted(settings.trusted_proxies)
        return settings
    except BadProxies as error:
        raise BadSetting(f"DISPATCH_TRUSTED_PROXIES is wrong: {error}.") from None
    except msgspec.ValidationError as error:
        name, _, wrong = in_words(str(error), Settings).partition(" ")
        text = f"DISPATCH_{name.upper()} {wrong} `dispatch settings` lists them all."
        raise BadSetting(text) from None


def unknown(environ: Mapping[str, str]) -> list[str]:
    """One sentence for each variable that looks like a setting and is none: a typo would go unnoticed."""
    known = [name.upper() for name in Settings.__struct_fields__]
    sentences = []
    for variable in sorted(environ):
        name = variable.removeprefix("DISPATCH_")
        if name == variable or not {name, name.removesuffix("_FILE")}.isdisjoint({*known, *TOLD_TO_BENCHES}):
            continue
        near = difflib.get_close_matches(name, known, 1)
        meant = f"; is DISPATCH_{near[0]} meant?" if near else "."
        sentences.append(f"{variable} is no setting and is ignored{meant}")
    return sentences


def table() -> str:
    """docs/settings.md as Markdown."""
    hints = get_type_hints(Settings, include_extras=True)
    defaults = Settings()
    rows = [HEAD, "| variable | default | meaning |", "|---|---|---|"]
    for name, hint in hints.items():
        meta = hint.__metadata__[0]
        default = getattr(defaults, name)
        shown = "empty" if default == "" else str(default)
        rows.append(f"| `DISPATCH_{name.upper()}` | {shown} | {meta.description} |")
    return "\n".join(rows) + "\n"
