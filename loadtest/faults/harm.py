"""How each kind of fault is done, and undone: the hands of the schedule.

One coroutine a kind: it does the harm, waits as long as the fault lasts, repairs, and returns when what it hurt
says that it is well (`/ready` of a node, a PING of Redis). What could be lost by it is written into `Broken`.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

import asyncpg
import redis.asyncio as aioredis

from loadtest.faults.cluster import POLL_S, READY_S, Cluster, Node, Process
from loadtest.faults.history import Broken, History
from loadtest.faults.proxy import Proxy
from loadtest.faults.schedule import Fault

LATENCY_S = (0.02, 0.4)
#: A power loss under `everysec`: Redis promises no more than the second before last.
UNSYNCED_S = (0.2, 1.5)
FULL_BYTES = 1_000_000
TORN = b"*3\r\n$3\r\nSET\r\n$4\r\ntorn\r\n$9\r\nhal"
LOCKED = ("rides", "chat_messages", "drain_cursors", "sessions")
#: Rows of one in four chat lines are refused, as a constraint of a later schema might.
REFUSE_FUNCTION = """
  create or replace function fault_refuses() returns trigger language plpgsql as $$
  begin raise exception 'a fault refuses this row' using errcode = '23514'; end $$"""
REFUSE_ROWS = """
  create or replace trigger fault_refuses before insert on chat_messages for each row
  when (new.id::text ~ '[0-3]$') execute function fault_refuses()"""
TAKE_ROWS = "drop trigger if exists fault_refuses on chat_messages"
OTHERS = "datname = current_database() and pid <> pg_backend_pid() and backend_type = 'client backend'"

POSTGRES_GONE = (
    TimeoutError,
    OSError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # a connection that breaks in the middle of an answer
)

Harm = Callable[[Cluster, Fault, Broken], Awaitable[None]]


async def inflict(cluster: Cluster, fault: Fault, history: History) -> None:
    """Does one fault to its end and writes it down."""
    broken = Broken(fault.kind, "", time.time())
    history.faults.append(broken)
    try:
        await HARMS[fault.kind](cluster, fault, broken)
    except (*POSTGRES_GONE, aioredis.RedisError) as error:
        broken.note = f"not repaired: {type(error).__name__} {error}"
    finally:
        broken.ended_s = time.time()


def _node(cluster: Cluster, fault: Fault, broken: Broken) -> Node:
    node = cluster.nodes[fault.victim % len(cluster.nodes)]
    broken.victim = node.name
    return node


def _drain(cluster: Cluster, fault: Fault, broken: Broken) -> Process:
    drain = cluster.drains[fault.victim % len(cluster.drains)]
    broken.victim = drain.name
    return drain


def _link(cluster: Cluster, fault: Fault, broken: Broken) -> Proxy:
    link = cluster.links[fault.victim % len(cluster.links)]
    broken.victim = link.name
    return link


async def _end_and_start(process: Process, number: signal.Signals, hold_s: float, broken: Broken) -> None:
    code = await process.end(number)
    if number == signal.SIGTERM and code != 0:
        broken.note += f"{process.name} told to go ended with {code}; "
    await asyncio.sleep(hold_s)
    await process.start()


async def _frozen(process: Process, hold_s: float) -> None:
    process.send(signal.SIGSTOP)
    try:
        await asyncio.sleep(hold_s)
    finally:
        process.send(signal.SIGCONT)


# -- nodes and drains


def _node_ends(number: signal.Signals) -> Harm:
    async def harm(cluster: Cluster, fault: Fault, broken: Broken) -> None:
        node = _node(cluster, fault, broken)
        async with node.lock:
            await _end_and_start(node, number, fault.hold_s, broken)
            await cluster.until_ready(node)

    return harm


async def _node_stopped(cluster: Cluster, fault: Fault, broken: Broken) -> None:
    node = _node(cluster, fault, broken)
    async with node.lock:
        await _frozen(node, fault.hold_s)


async def _rolling_restart(cluster: Cluster, fault: Fault, broken: Broken) -> None:
    broken.victim = "all nodes"
    for node in cluster.nodes:
        async with node.lock:
            await _end_and_start(node, signal.SIGTERM, fault.hold_s, broken)
            await cluster.until_ready(node)


def _drain_ends(number: signal.Signals) -> Harm:
    async def harm(cluster: Cluster, fault: Fault, broken: Broken) -> None:
        drain = _drain(cluster, fault, broken)
        async with drain.lock:
            await _end_and_start(drain, number, fault.hold_s, broken)

    return harm


async def _drain_stopped(cluster: Cluster, fault: Fault, broken: Broken) -> None:
    drain = _drain(cluster, fault, broken)
    async with drain.lock:
        await _frozen(drain, fault.hold_s)


# -- Redis


def _redis_ends(number: signal.Signals, meanwhile: Harm | None = None) -> Harm:
    async def harm(cluster: Cluster, fault: Fault, broken: Broken) -> None:
        redis = cluster.redis
        async with redis.lock:
            await redis.end(number)
            if meanwhile is not None:
                await meanwhile(cluster, fault, broken)
            await asyncio.sleep(fault.hold_s)
            await redis.start()
            await redis.until_answers()

    return harm


async def _torn(cluster: Cluster, fault: Fault, broken: Broken) -> None:
    """The last write was cut in the middle; nobody had been told that it was done."""
    with cluster.redis.tail.open("ab") as file:
        file.write(TORN)


async def _cut_short(cluster: Cluster, fault: Fault, broken: Broken) -> None:
    """The file is as it was a moment before: what came later was in no disk."""
    redis, at_s = cluster.redis, time.time()
    least_s, most_s = UNSYNCED_S
    until_s = at_s - (least_s + fault.draw * (most_s - least_s))
    left = [(when_s, size) for when_s, size in redis.sizes if when_s <= until_s]
    if not left:
        broken.note = "too young to be cut short"
        return
    broken.lost_from_s, size = left[-1]
    broken.forgot_from_s = broken.lost_from_s
    os.truncate(redis.tail, size)


async def _wiped(cluster: Cluster, fault: Fault, broken: Broken) -> None:
    """The disk of Redis is lost: what PostgreSQL has is what there is."""
    rows = await cluster.sql("select reached_at from drain_cursors where stream = 'facts'")
    reached_s = [row[0].timestamp() for row in rows if row[0] is not None]
    broken.lost_from_s = min(reached_s, default=1.0)
    broken.forgot_from_s = 1.0
    cluster.redis.forget_all()
    cluster.redis.sizes.clear()


async def _redis_stopped(cluster: Cluster, fault: Fault, broken: Broken) -> None:
    async with cluster.redis.lock:
        await _frozen(cluster.redis, fault.hold_s)


async def _redis_paused(cluster: Cluster, fault: Fault, broken: Broken) -> None:
    client = cluster.redis.client()
    try:
        await client.execute_command("CLIENT", "PAUSE", int(fault.hold_s * 1000), "ALL")
        await asyncio.sleep(fault.hold_s)
    finally:
        await client.aclose()


async def _redis_full(cluster: Cluster, fault: Fault, broken: Broken) -> None:
    async with cluster.redis.lock:
        client = cluster.redis.client()
        try:
            before = (await client.config_get("maxmemory"))["maxmemory"]
            await client.config_set("maxmemory", FULL_BYTES)
            await asyncio.sleep(fault.hold_s)
            await client.config_set("maxmemory", before)
        finally:
            await client.aclose()


async def _redis_connections_killed(cluster: Cluster, fault: Fault, broken: Broken) -> None:
    client = cluster.redis.client()
    try:
        for _ in range(2):
            await client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            await asyncio.sleep(fault.hold_s)
    finally:
        await client.aclose()


# -- PostgreSQL


async def _postgres_crashed(cluster: Cluster, fault: Fault, broken: Broken) -> None:
    """One backend is killed: PostgreSQL ends all others and recovers from its log, as after any crash."""
    rows = await cluster.sql(f"select pid from pg_stat_activity where {OTHERS}")
    if not rows:
        broken.note = "nobody was connected"
        return
    with suppress(ProcessLookupError):
        os.kill(rows[fault.victim % len(rows)][0], signal.SIGKILL)
    await asyncio.sleep(fault.hold_s)
    await _sql_at_last(cluster, "select 1")


async def _sql_at_last(cluster: Cluster, statement: str) -> None:
    """As soon as PostgreSQL takes it: another fault may have it just now. Raises TimeoutError."""
    async with asyncio.timeout(READY_S):
        while True:
            with suppress(*POSTGRES_GONE):
                await cluster.sql(statement)
                return
            await asyncio.sleep(POLL_S)


async def _postgres_down(cluster: Cluster, fault: Fault, broken: Broken) -> None:
    for link in cluster.database_links:
        await link.refuse()
    await asyncio.sleep(fault.hold_s)
    for link in cluster.database_links:
        await link.heal()


async def _postgres_connections_killed(cluster: Cluster, fault: Fault, broken: Broken) -> None:
    await _sql_at_last(cluster, f"select pg_terminate_backend(pid) from pg_stat_activity where {OTHERS}")
    await asyncio.sleep(fault.hold_s)


async def _postgres_slow(cluster: Cluster, fault: Fault, broken: Broken) -> None:
    for link in cluster.database_links:
        link.delay(_latency_s(fault))
    await asyncio.sleep(fault.hold_s)
    for link in cluster.database_links:
        await link.heal()


async def _postgres_locked(cluster: Cluster, fault: Fault, broken: Broken) -> None:
    broken.victim = LOCKED[fault.victim % len(LOCKED)]
    with suppress(*POSTGRES_GONE):  # a lock that another fault ends early is ended
        connection = await asyncpg.connect(cluster.place.database_url, timeout=10, command_timeout=30)
        try:
            async with connection.transaction():
                await connection.execute(f"lock table {broken.victim} in access exclusive mode")
                await asyncio.sleep(fault.hold_s)
        finally:
            await connection.close(timeout=5)


async def _postgres_refuses_rows(cluster: Cluster, fault: Fault, broken: Broken) -> None:
    try:
        await _sql_at_last(cluster, REFUSE_FUNCTION)
        await _sql_at_last(cluster, REFUSE_ROWS)
        await asyncio.sleep(fault.hold_s)
    finally:
        await _sql_at_last(cluster, TAKE_ROWS)


# -- links


async def _link_cut(cluster: Cluster, fault: Fault, broken: Broken) -> None:
    link = _link(cluster, fault, broken)
    for _ in range(2):
        link.cut()
        await asyncio.sleep(fault.hold_s)


async def _link_delayed(cluster: Cluster, fault: Fault, broken: Broken) -> None:
    link = _link(cluster, fault, broken)
    link.delay(_latency_s(fault))
    await asyncio.sleep(fault.hold_s)
    await link.heal()


async def _link_black_holed(cluster: Cluster, fault: Fault, broken: Broken) -> None:
    link = _link(cluster, fault, broken)
    link.black_hole()
    await asyncio.sleep(fault.hold_s)
    await link.heal()


async def _link_refused(cluster: Cluster, fault: Fault, broken: Broken) -> None:
    link = _link(cluster, fault, broken)
    await link.refuse()
    await asyncio.sleep(fault.hold_s)
    await link.heal()


def _latency_s(fault: Fault) -> float:
    least_s, most_s = LATENCY_S
    return least_s + fault.draw * (most_s - least_s)


HARMS: dict[str, Harm] = {
    "node_killed": _node_ends(signal.SIGKILL),
    "node_stopped": _node_stopped,
    "node_told_to_go": _node_ends(signal.SIGTERM),
    "rolling_restart": _rolling_restart,
    "drain_killed": _drain_ends(signal.SIGKILL),
    "drain_stopped": _drain_stopped,
    "drain_told_to_go": _drain_ends(signal.SIGTERM),
    "redis_killed": _redis_ends(signal.SIGKILL),
    "redis_stopped": _redis_stopped,
    "redis_paused": _redis_paused,
    "redis_restarted": _redis_ends(signal.SIGTERM),
    "redis_torn_tail": _redis_ends(signal.SIGKILL, _torn),
    "redis_cut_short": _redis_ends(signal.SIGKILL, _cut_short),
    "redis_wiped": _redis_ends(signal.SIGKILL, _wiped),
    "redis_full": _redis_full,
    "redis_connections_killed": _redis_connections_killed,
    "postgres_crashed": _postgres_crashed,
    "postgres_down": _postgres_down,
    "postgres_connections_killed": _postgres_connections_killed,
    "postgres_slow": _postgres_slow,
    "postgres_locked": _postgres_locked,
    "postgres_refuses_rows": _postgres_refuses_rows,
    "link_cut": _link_cut,
    "link_delayed": _link_delayed,
    "link_black_holed": _link_black_holed,
    "link_refused": _link_refused,
}
