"""Where a shard's Redis is: at an address, or wherever Sentinel or a Redis Cluster says that its master is now.

    redis://host:port/0, rediss://…, unix://path?db=0      there
    redis+sentinel://[:password@]host:port,…/NAME          the master NAME, as any of these sentinels says
    redis+cluster://[:password@]host:port,…                the master that holds the shard's slot

The place is asked for at every new connection, so a failover or a moved slot is followed by connecting again: an
answer that says "not here any more" (READONLY, MOVED) ends its connection. Nothing is repeated by itself; who
asked hears Unavailable. Every key of a shard has its hash tag, so one master has all of it.
"""

from collections.abc import Awaitable, Callable
from typing import Any, cast
from urllib.parse import unquote, urlsplit

import redis.asyncio as aioredis
from redis.asyncio.connection import AbstractConnection, BlockingConnectionPool, Connection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.crc import key_slot
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import MovedError, ReadOnlyError, RedisError
from redis.maint_notifications import MaintNotificationsConfig

from storage import keys

Address = tuple[str, int]
Finder = Callable[[], Awaitable[Address]]


class BadRedisUrl(ValueError):
    """The text says what is wrong; it holds no password."""


class Following(Connection):
    """A connection to wherever the shard's master is when it is made."""

    def __init__(self, find: Finder, **options: Any) -> None:
        super().__init__(**options)
        self._find = find

    async def connect_check_health(self, *args: Any, **options: Any) -> None:
        # not `connect`, which a client with a connection of its own does not call when that has broken
        if not self.is_connected:
            self.host, self.port = await self._find()
        await cast(Any, super()).connect_check_health(*args, **options)

    async def read_response(self, *args: Any, **options: Any) -> Any:
        try:
            return await super().read_response(*args, **options)
        except (ReadOnlyError, MovedError) as error:
            await self.disconnect()
            raise RedisConnectionError("this Redis is not the shard's master any more") from error


class Pool(BlockingConnectionPool):
    """Gives no connection out that was broken while it lay idle: the command that got it would be `unavailable` for
    an outage that is over. The library looks for an orderly end only, and only where it does not expect notices of
    maintenance; a reset is an exception that waits in the reader."""

    async def ensure_connection(self, connection: AbstractConnection) -> None:
        reader = cast(Any, connection)._reader
        if reader is not None and reader.exception() is not None:
            await connection.disconnect(nowait=True)
        await super().ensure_connection(connection)


def pool_for(url: str, shard: str, *, connections_max: int, timeout_s: float) -> BlockingConnectionPool:
    """Connections to the shard's master, at most `connections_max`; waiting for one, and each call, takes at most
    `timeout_s`. Raises BadRedisUrl."""
    options: dict[str, Any] = {
        "max_connections": connections_max,
        "timeout": timeout_s,  # a burst of commands waits for a connection, but not for long
        "socket_timeout": timeout_s,
        "socket_connect_timeout": timeout_s,
        "retry": Retry(NoBackoff(), 0),  # a repeated write is a second write
        "maint_notifications_config": MaintNotificationsConfig(
            enabled=False
        ),  # else timeouts grow, see also Pool
    }
    parts = urlsplit(url)
    if parts.scheme not in ("redis+sentinel", "redis+cluster"):
        try:
            return Pool.from_url(url, **options)
        except ValueError as error:
            raise BadRedisUrl(
                "A Redis URL begins with redis://, unix:// or one of storage/where.py."
            ) from error
    credentials, _, places = parts.netloc.rpartition("@")
    user, _, password = credentials.partition(":")
    login: dict[str, Any] = {"username": unquote(user) or None, "password": unquote(password) or None}
    hosts = [_address(place) for place in places.split(",")]
    if parts.scheme == "redis+cluster":
        find = _slot_owner(hosts, key_slot(keys.life(shard).encode()), login, timeout_s)
    elif not (name := parts.path.strip("/")):
        raise BadRedisUrl("A redis+sentinel:// URL ends with the name of its master: …/NAME.")
    else:
        find = _sentinels_word(hosts, name, timeout_s)
    return Pool(connection_class=Following, find=find, **login, **options)


def _address(place: str) -> Address:
    host, colon, port = place.rpartition(":")
    if not colon or not port.isdecimal():
        raise BadRedisUrl("Sentinels and cluster nodes are named host:port,host:port.")
    return host, int(port)


def _sentinels_word(hosts: list[Address], name: str, timeout_s: float) -> Finder:
    async def find() -> Address:
        found = await _ask(hosts, ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", name), {}, timeout_s)
        if not found:
            raise RedisConnectionError("Sentinel knows no master of this name")
        return found[0].decode(), int(found[1])

    return find


def _slot_owner(hosts: list[Address], slot: int, login: dict[str, Any], timeout_s: float) -> Finder:
    async def find() -> Address:
        for first, last, owner, *_ in await _ask(hosts, ("CLUSTER", "SLOTS"), login, timeout_s):
            if first <= slot <= last:
                return owner[0].decode(), int(owner[1])
        raise RedisConnectionError(f"nobody in the cluster holds slot {slot}")

    return find


async def _ask(
    hosts: list[Address], command: tuple[str, ...], login: dict[str, Any], timeout_s: float
) -> Any:
    """The answer of the first of these that answers, all of them within `timeout_s`; they are asked seldom, so no
    connection is kept."""
    problem: Exception | None = None
    timeout_s /= len(hosts)
    for host, port in hosts:
        client = aioredis.Redis(
            host=host,
            port=port,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            retry=Retry(NoBackoff(), 0),
            **login,
        )
        try:
            return await cast(Any, client).execute_command(*command)
        except (RedisError, OSError, TimeoutError) as error:
            problem = error
        finally:
            await client.aclose()
    raise RedisConnectionError("none of the places that know the master answers") from problem
