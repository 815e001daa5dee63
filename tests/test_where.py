"""A shard's Redis that moves: a failover by Sentinel with nothing acked lost, and slots of a Redis Cluster."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
from redis.asyncio import Redis

from loadtest.faults.proxy import Address, Proxy
from server.devstack import procs
from server.devstack.find import find_or_install
from server.devstack.redis import RedisServer, free_port
from storage import keys
from storage.fleet import Fleet
from storage.log import Again, Conflict, Log
from storage.shard import Shard, Unavailable
from storage.where import BadRedisUrl, pool_for
from tests import nodekit
from tests.storekit import RIDE, head, told, write
from tests.support import fresh_redis, wait_until

FAILOVER_S = 20.0


@contextmanager
def a_server(**options: str | int) -> Iterator[RedisServer]:
    with fresh_redis(port=free_port(), appendonly="yes", appendfsync="always", **options) as server:
        yield server


@contextmanager
def sentinel(folder: Path, master: RedisServer) -> Iterator[str]:
    """One sentinel that decides alone; where to ask it."""
    program, port = find_or_install(postgres=False).redis, free_port()
    conf, pid_file = folder / "sentinel.conf", folder / "sentinel.pid"
    conf.write_text(
        f"port {port}\nbind 127.0.0.1\ndir {folder}\n"
        f"sentinel monitor city 127.0.0.1 {master.port} 1\n"
        "sentinel down-after-milliseconds city 400\nsentinel failover-timeout city 3000\n"
    )
    argv: list[str | Path] = [program.path, conf, "--sentinel"]
    child = procs.spawn(
        argv, log=folder / "sentinel.log", pid_file=pid_file, env={**os.environ, **program.env}
    )
    try:
        yield f"127.0.0.1:{port}"
    finally:
        procs.stop(pid_file)
        child.wait()


@asynccontextmanager
async def a_shard(name: str, url: str, **options: Any) -> AsyncIterator[Shard]:
    shard = Shard(name, url, **options)
    try:
        yield shard
    finally:
        await shard.close()


async def until_kept(log: Log, **what: Any) -> None:
    """A client who repeats his command until it is acked."""

    async def acked() -> bool:
        try:
            try:
                await log.commit(await write(log, **what))
            except Again:
                await log.settled()
        except (Unavailable, Conflict):
            return False
        return True

    await wait_until(acked, FAILOVER_S)


async def test_a_failover_loses_nothing_that_a_replica_had(tmp_path: Path) -> None:
    """With `redis_replicas` 1 an ack is given when the replica has it; the new master is another life."""
    with (
        a_server() as first,
        a_server(replicaof=f"127.0.0.1 {first.port}") as second,
        a_server(replicaof=f"127.0.0.1 {first.port}") as third,
        sentinel(tmp_path, first) as at,
    ):
        url = f"redis+sentinel://{at}/city"
        async with a_shard("t", url, timeout_s=0.5, replicas=1) as shard:
            log = Log(shard)
            for n in range(50):
                await until_kept(log, field=f"a:pat:{n}", answer=b"x", facts=(told(n=n),))
            fleet, epoch = Fleet(shard), shard.epoch
            await fleet.tick("n1", "boot", 1, [], [])
            first.kill()
            with pytest.raises((Unavailable, Conflict)):
                await log.commit(await write(log, facts=(told(n=-1),)))
            await until_kept(log, field="a:pat:50", answer=b"x", facts=(told(n=50),))
            assert shard.epoch != epoch

            async def ticked() -> bool:
                """Over the connection that broke, and is made anew to where the master is now."""
                try:
                    await fleet.tick("n1", "boot", 2, [], [("d", 1)])
                except Unavailable:
                    return False
                return True

            await wait_until(ticked, FAILOVER_S)
        (master,) = [server for server in (second, third) if await _is_master(server)]
        async with Redis.from_url(master.url) as redis:
            entries = await redis.xrange(keys.facts("t"))
            assert await redis.xlen(keys.fixes("t")) == 1
    seen = [fields[b"p"].decode().split('"n":')[1].split(",")[0] for _, fields in entries]
    assert [n for n in seen if n != "-1"] == [str(n) for n in range(51)]


async def test_no_commit_reaches_a_restarted_redis_under_the_old_epoch() -> None:
    """Not even the first one over a new connection: the restarted one may have lost what was said in it."""
    with a_server() as server:
        async with a_shard("t", server.url) as shard:
            log = Log(shard)
            await log.commit(await write(log, facts=(told(n=1),)))
            epoch, late = shard.epoch, await write(log, facts=(told(n=2),))
            server.kill()
            server.start()

            async def answered() -> str:
                try:
                    await log.commit(late)
                except Unavailable:
                    return ""  # over a connection of the one before
                except Conflict:
                    return "conflict"
                return "committed"

            assert await wait_until(answered) == "conflict"
            await until_kept(log, facts=(told(n=3),))
            entries = (await log.tail.read("0-0", block_ms=1)).entries
    assert [(entry.epoch.startswith(f"{epoch}."), entry.seq) for entry in entries] == [(True, 1), (False, 1)]


async def _is_master(server: RedisServer) -> bool:
    async with Redis.from_url(server.url) as redis:
        return bool((await redis.info("replication"))["role"] == "master")


async def test_what_no_replica_has_is_not_acked() -> None:
    with a_server() as server:
        async with a_shard("t", server.url, timeout_s=0.3, replicas=1) as shard:
            log = Log(shard)
            what = {"field": "a:pat:1", "answer": b"x", "facts": (told(),)}
            with pytest.raises(Unavailable, match="Unreplicated"):
                await log.commit(await write(log, **what))
            with pytest.raises(Unavailable):  # it happened, and is still not safe
                await log.settled()
            with a_server(replicaof=f"127.0.0.1 {server.port}"):
                await until_kept(log, **what)
            assert len((await log.tail.read("0-0", block_ms=1)).entries) == 1, "no second effect"


async def test_what_no_replica_has_is_not_acked_when_it_is_said_again_without_a_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """That it is so already promises as much as the command that made it so."""
    monkeypatch.setattr(nodekit, "Shard", partial(Shard, timeout_s=0.3, replicas=1))
    with a_server() as server:
        async with nodekit.node(server.url) as n:
            driver, _ = n.arrive("driver")
            codes = []
            for event, payload in (("go_online", nodekit.ONLINE), ("go_offline", {}), ("go_offline", {})):
                codes.append((await n.say(driver, event, payload))["error"]["code"])
            assert codes == ["unavailable"] * 3
            assert not (await n.driver(driver.user_id)).online
            with a_server(replicaof=f"127.0.0.1 {server.port}"):

                async def acked() -> bool:
                    return bool((await n.say(driver, "go_offline", {}))["ok"])

                await wait_until(acked, FAILOVER_S, every_s=0.6)


async def _masters(*servers: tuple[RedisServer, int]) -> None:
    """A cluster of two masters; each holds half of the slots. Servers with the ports of their bus."""
    clients = [Redis.from_url(server.url) for server, _ in servers]
    for number, client in enumerate(clients):
        await client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        await client.execute_command("CLUSTER", "ADDSLOTSRANGE", number * 8192, number * 8192 + 8191)
    other, bus = servers[1]
    await clients[0].execute_command("CLUSTER", "MEET", "127.0.0.1", other.port, bus)
    for client in clients:

        async def whole(client: Redis = client) -> bool:
            info = await client.execute_command("CLUSTER", "INFO")
            return b"cluster_state:ok" in info and b"cluster_slots_ok:16384" in info

        await wait_until(whole, 15.0)
        await client.aclose()


async def test_two_shards_on_two_masters_of_a_cluster() -> None:
    """Each shard finds its master, whichever node is asked; every script stays in the shard's slot."""
    ports = free_port(), free_port()
    with (
        a_server(cluster_enabled="yes", cluster_port=ports[0]) as first,
        a_server(cluster_enabled="yes", cluster_port=ports[1]) as second,
    ):
        await _masters((first, ports[0]), (second, ports[1]))
        url = f"redis+cluster://127.0.0.1:{first.port},127.0.0.1:{second.port}"
        found = {}
        for name in ("kharkiv", "lviv"):
            async with a_shard(name, url) as shard:
                log = Log(shard)
                await log.commit(await write(log, facts=(told(),)))
                assert (await Fleet(shard).tick("n1", "boot", 1, [], [("d", 1)])).others == 0
                assert len((await log.tail.read("0-0", block_ms=1)).entries) == 1
                epoch, seq = await head(shard, RIDE)
                assert seq == 1 and epoch.startswith(f"{shard.epoch}.")
            for server in (first, second):
                async with Redis.from_url(server.url) as redis:
                    if [key for key in await redis.keys("*") if key.startswith(b"{%s}" % name.encode())]:
                        found[name] = server.port
        assert set(found) == {"kharkiv", "lviv"} and len(set(found.values())) == 2, found


@pytest.mark.parametrize("with_reset", [False, True])
async def test_a_connection_that_broke_while_it_lay_idle_costs_no_command(*, with_reset: bool) -> None:
    """All that a burst has left in the pool are ended, in order or by a reset; the next burst meets none of them."""
    port = free_port()
    proxy = Proxy("idle", Address(port=port))
    await proxy.start()
    shard = Shard("main", f"redis://127.0.0.1:{proxy.port}")
    with fresh_redis(port=port):
        await asyncio.gather(*(shard.now_ms() for _ in range(20)))
        idle = list(cast(Any, shard.client.connection_pool)._available_connections)
        assert len(idle) > 5
        for pair in proxy._pairs if with_reset else ():
            linger = struct.pack("ii", 1, 0)
            pair.near.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        proxy.cut()
        readers = [connection._reader for connection in idle]
        await wait_until(lambda: all(each.at_eof() or each.exception() for each in readers))
        assert any(each.exception() for each in readers) == with_reset
        await asyncio.gather(*(shard.now_ms() for _ in range(20)))
        await shard.close()
        await proxy.close()


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://here",
        "redis+sentinel://here:1",
        "redis+sentinel://:pw@here/name",
        "redis+cluster://here",
        "redis+cluster://",
    ],
)
def test_an_address_that_cannot_be_read(url: str) -> None:
    with pytest.raises(BadRedisUrl) as refused:
        pool_for(url, "t", connections_max=1, timeout_s=1.0)
    assert "pw" not in str(refused.value)


async def test_passwords_and_names_are_told_to_redis() -> None:
    pool = pool_for("redis+cluster://me:p%40w@here:1,there:2", "t", connections_max=1, timeout_s=1.0)
    assert pool.connection_kwargs["username"] == "me" and pool.connection_kwargs["password"] == "p@w"
