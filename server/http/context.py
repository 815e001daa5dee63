"""What the HTTP handlers may use: one object, made by the composition root and handed to `build_http`.

Handlers get it inside their `Call`; nothing here is global. The gate and the registry are named by what HTTP
asks of them, so that a test needs neither sockets nor Redis.
"""

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from dispatch.heat import Heats
from rooms.acquaintances import Acquaintances
from rooms.identity import KeyRing
from server.http.limits import Limiter
from server.settings import Settings
from storage.accounts import Accounts, Who
from storage.history import History
from storage.passwords import Passwords
from storage.postgis import Database
from storage.pulses import Pulses
from storage.tables import Tables

Ready = Callable[[], Awaitable[bool]]

LOGIN_WINDOW_S = 900.0
LOGIN_TRIES = 10  # wrong passwords of one account from one address
ADDRESS_TRIES = 200  # wrong passwords from one address: whole cities sit behind one
REGISTRATIONS = 100


class Ear(Protocol):
    """The gate: one command of a known person; the acknowledgement comes back as on a socket."""

    async def hear_http(self, who: Who, event: str, body: dict[str, Any]) -> dict[str, Any]: ...


class Counts(Protocol):
    """The registry, as far as strangers may know it."""

    @property
    def users(self) -> int: ...
    @property
    def sessions(self) -> int: ...


@dataclass(frozen=True)
class Context:
    """`ready` has one question per part that must live before clients are sent here; each answers quickly."""

    settings: Settings
    database: Database
    accounts: Accounts
    known: Acquaintances
    history: History
    tables: Tables
    pulses: Pulses
    passwords: Passwords
    keyring: KeyRing
    gate: Ear
    registry: Counts
    ready: Mapping[str, Ready]
    version: str = ""
    heats: Heats = field(default_factory=Heats)
    #: What Redis' clock says now, as far as this node knows.
    store_ms: Callable[[], int] = lambda: int(time.time() * 1000)
    started_s: float = field(default_factory=time.monotonic)
    login_tries: Limiter = field(default_factory=lambda: Limiter(LOGIN_TRIES, LOGIN_WINDOW_S))
    address_tries: Limiter = field(default_factory=lambda: Limiter(ADDRESS_TRIES, LOGIN_WINDOW_S))
    registrations: Limiter = field(default_factory=lambda: Limiter(REGISTRATIONS, LOGIN_WINDOW_S))
