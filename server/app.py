"""The composition root: opens the floors from the bottom up, closes them in reverse.

`serve` runs one node until SIGTERM or SIGINT: it refuses a database of another schema, listens only when the
log is being tailed, and on its way out lets running commands finish and drops the sockets at the transport,
so that clients come back by themselves.
"""

import asyncio
import logging
import os
import secrets
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import version

import aiohttp
import uvloop
from aiohttp import web

from dispatch.area import Areas
from dispatch.commands import Revive
from dispatch.desk import Desk
from dispatch.roads import Roads
from dispatch.rounds import Rounds
from dispatch.wording import user_room
from rooms import metrics
from rooms.acquaintances import Acquaintances
from rooms.city import City
from rooms.clock import WORKERS, Clock
from rooms.counting import Counting
from rooms.door import Door
from rooms.fixes import Fixes
from rooms.gate import Gate, House
from rooms.handlers import HANDLERS
from rooms.identity import KeyRing
from rooms.introductions import Introductions
from rooms.logins import Logins
from rooms.presence import Presence
from rooms.quotes import Quotes
from rooms.registry import Registry
from rooms.rounds import Leader
from rooms.seer import Seer
from rooms.session import Session
from rooms.sockets import Sockets
from rooms.speaker import Speaker
from rooms.tasks import Tasks
from server.areas import Atlas
from server.ground import Ground
from server.http.context import Context, Ready
from server.http.endpoint import build_http
from server.leaving import leave
from server.needs import Stop, database_url, redis_url
from server.process import open_files, settle_memory
from server.pulse import Pulse
from server.rehydrate import is_lost
from server.settings import Settings
from server.tether import Tether
from storage.accounts import Accounts
from storage.confirmed import Confirmed
from storage.copied import Copies
from storage.fleet import Fleet
from storage.heat import HeatStore
from storage.history import History
from storage.log import OVER_TTL_MS, Conflict, Log
from storage.operators import Operators
from storage.passwords import Passwords
from storage.postgis import Database, DatabaseUnavailable
from storage.presence import Leases
from storage.pulses import Pulses
from storage.roomlog import RoomLog
from storage.shard import Shard, Unavailable
from storage.survey import Survey
from storage.tables import Tables

logger = logging.getLogger(__name__)

VERSION = version("aryv-dispatch")
START_S = 20.0
LAST_TICK_S = 1.0  # a node that leaves waits so long for Redis to take its drivers out of the index
LEAVE_MOST_S = 9  # then the process is ended, whatever it waits for
IDLE_S = 75.0  # a connection without a request for longer is closed
SEND_BUFFER_BYTES = 64 * 1024
UNACKNOWLEDGED_MS = (
    15_000  # that long what was sent may stay unacknowledged before the kernel ends a connection
)
BACKLOG = 4096


@dataclass
class Node:
    """A running node: `port` is where it listens."""

    port: int
    gate: Gate
    door: Door
    registry: Registry
    ended: asyncio.Event  # it can no longer do its work


def _router_told(outcome: str) -> None:
    metrics.ROUTER.n[outcome,] += 1


def node_name(settings: Settings) -> str:
    """Names this process; it begins every session id, for the load balancer."""
    name = settings.node or f"{socket.gethostname().split('.')[0][:20]}_{os.getpid()}"
    return name.replace("-", "_")  # a session id is NODE-CHANCE


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[Node]:
    """One node, from opened to closed. Raises StaleSchema, BadKeys, DatabaseUnavailable, Unavailable, or Stop
    when it cannot listen."""
    async with AsyncExitStack() as closing:
        keyring = KeyRing.load(settings.keys_file, issuer=settings.issuer, audience=settings.audience)
        database = await Database.open(
            database_url(settings), size=settings.database_pool, timeout_s=settings.database_timeout_s
        )
        closing.push_async_callback(database.close)
        shard = Shard(
            settings.shard, redis_url(settings), settings.redis_timeout_ms / 1000, settings.redis_replicas
        )
        closing.push_async_callback(shard.close)
        passwords = Passwords(settings.bcrypt_cost, settings.login_queue)
        closing.callback(passwords.close)
        tasks = Tasks()
        closing.push_async_callback(tasks.stop)

        ground = Ground(database, Copies(shard), Atlas(database, settings.shard))
        await ground.check()
        house = await _house(settings, database, shard, keyring)
        known = Acquaintances(Confirmed(shard), house.fixes.now_ms)
        known.heard(await ground.open(house.desk, house.fixes))
        if settings.router_url:
            session = await closing.enter_async_context(aiohttp.ClientSession())
            house.desk.roads = Roads(session, settings.router_url, _router_told)
        if ground.away is None:
            await _warn_if_lost(database, house.desk.log, settings.shard)
        gate = Gate(house, HANDLERS, settings.commands_in_flight)
        resume = {"events": settings.room_facts, "window_s": OVER_TTL_MS // 1000}
        door = Door(house, keyring, resume, Introductions(house.accounts, known, tasks))
        await _start(tasks, house, settings, database, shard)
        tasks.start(ground.keep(house.desk, house.fixes, tasks.ended), "ground")
        tasks.start(Logins(house.accounts, house.registry, gate, known).watch(), "logins", essential=True)
        app = web.Application(client_max_size=settings.payload_kib * 1024)
        sockets = sockets_of(settings, gate, door, node_name(settings))
        sockets.attach(app)
        if settings.demo:
            logger.warning("DISPATCH_DEMO is on: whoever reaches this server may become anybody but an admin")
        context = _context(
            settings, gate, shard, database=database, passwords=passwords, keyring=keyring, known=known
        )
        tasks.start(Pulse(context.pulses, house, gate, VERSION).beat(), "pulse")
        build_http(app, context)
        runner = web.AppRunner(
            app, access_log=None, handle_signals=False, shutdown_timeout=2.0, keepalive_timeout=IDLE_S
        )
        await runner.setup()
        closing.push_async_callback(runner.cleanup)
        listener = listening(settings, settings.port, settings.reuse_port)
        public = web.SockSite(runner, listener, backlog=BACKLOG)
        await public.start()
        if settings.own_port:
            await web.SockSite(runner, listening(settings, settings.own_port), backlog=BACKLOG).start()
        try:
            yield Node(listener.getsockname()[1], gate, door, house.registry, tasks.ended)
        finally:
            await leave(gate, door, sockets, public if settings.reuse_port else None)
            await house.fixes.tick.emptied(LAST_TICK_S)
            await house.presence.leave()


async def _house(settings: Settings, database: Database, shard: Shard, keyring: KeyRing) -> House:
    # one start of this node: what one of the same name left behind is nobody's
    node = f"{node_name(settings)}.{secrets.token_hex(3)}"
    log = Log(shard, settings.room_facts, node, settings.facts_max_age_s)
    fleet = Fleet(shard, settings.fixes_max)
    registry = Registry(settings.sockets_per_user)
    speaker = Speaker(log, registry)
    fixes = Fixes(fleet, speaker, node)
    fixes.tick.set_clock(await log.now_ms())
    desk = Desk(log, fleet, Areas([]))
    presence = Presence(Leases(shard, node), registry, fixes.tick)
    roomlog = RoomLog(shard, settings.room_facts)
    accounts, quotes = Accounts(database), Quotes(keyring)
    operators, city = Operators(database), City(log, Survey(shard, fleet, database), registry)
    return House(desk, roomlog, registry, speaker, fixes, accounts, quotes, presence, operators, city, node)


async def _warn_if_lost(database: Database, log: Log, shard: str) -> None:
    """Says so when live work stands in PostgreSQL only; what to do about it is for a person to decide."""
    try:
        lost = await is_lost(database, log, shard)
    except (Conflict, Unavailable, DatabaseUnavailable):
        return  # others say so
    if lost:
        logger.warning(
            "PostgreSQL has live jobs of shard %s and Redis knows none of them: "
            "if Redis was lost, run `dispatch rehydrate`",
            shard,
        )


async def _start(tasks: Tasks, house: House, settings: Settings, database: Database, shard: Shard) -> None:
    """Everything that goes on by itself; returns when the log is being read."""
    started = asyncio.Event()
    clock = Clock(house.desk)

    def revive(session: Session) -> bool:
        command = Revive(user=session.user_id, room=user_room(session.user_id), device=session.device)
        return clock.soon(command)

    def gap() -> None:
        """What this node knows may be wrong: everybody comes back and is told anew."""
        for session in house.registry.all():
            if session.wire is not None:
                session.wire.close("log gap")
        house.fixes.forget_all()
        tasks.start(_warn_if_lost(database, house.desk.log, settings.shard), "lost")

    house.fixes.leases.revive = revive
    house.speaker.on_gap = gap
    tasks.start(house.speaker.run(started), "speaker", essential=True)
    await asyncio.wait_for(started.wait(), START_S)
    tasks.start(house.fixes.run(settings.tick_ms / 1000), "fixes", essential=True)
    tasks.start(house.presence.run(), "presence", essential=True)
    leader = Leader(Rounds(house.desk), house.desk.log.waiting, house.node)
    tasks.start(leader.run(settings.batch_ms / 1000), "rounds", essential=True)
    counting = Counting(database, settings.shard)
    seer = Seer(house.desk, HeatStore(shard), counting, house.node)
    tasks.start(seer.run(settings.heat_ms / 1000), "seer", essential=True)
    tasks.start(clock.sweep(settings.sweep_ms / 1000, house.fixes.tick), "sweep", essential=True)
    for number in range(WORKERS):
        tasks.start(clock.work(), f"clock {number}")
    tasks.start(house.city.run(), "city")


def sockets_of(settings: Settings, gate: Gate, door: Door, node: str) -> Sockets:
    """Socket.IO behind the gate, as these settings want it."""
    origins = [origin.strip() for origin in settings.cors_origins.split(",") if origin.strip()]
    sockets = Sockets(
        gate,
        frames_max=settings.queue_frames,
        bytes_max=settings.queue_kib * 1024,
        payload_max=settings.payload_kib * 1024,
        node=node,
        ping_interval=settings.ping_interval_s,
        ping_timeout=settings.ping_timeout_s,
        cors_allowed_origins=origins or None,
    )
    sockets.login, sockets.opened, sockets.closed = door.login, door.opened, door.closed
    return sockets


def _context(
    settings: Settings,
    gate: Gate,
    shard: Shard,
    *,
    database: Database,
    passwords: Passwords,
    keyring: KeyRing,
    known: Acquaintances,
) -> Context:
    """What HTTP may use."""
    return Context(
        settings=settings,
        database=database,
        accounts=gate.house.accounts,
        known=known,
        history=History(database),
        tables=Tables(database),
        pulses=Pulses(shard, gate.house.node),
        heats=gate.house.desk.heats,
        store_ms=gate.house.fixes.now_ms,
        passwords=passwords,
        keyring=keyring,
        gate=gate,
        registry=gate.house.registry,
        ready=_ready(gate, shard),
        version=VERSION,
    )


def _ready(gate: Gate, shard: Shard) -> dict[str, Ready]:
    """The questions of /ready; PostgreSQL is none of them, for live work goes on without it."""

    async def redis_lives() -> bool:
        try:
            await shard.now_ms()
        except Unavailable:
            return False
        return True

    async def log_is_read() -> bool:
        return gate.house.speaker.fresh()

    async def stays() -> bool:
        return not gate.draining

    return {"redis": redis_lives, "log": log_is_read, "staying": stays}


def listening(settings: Settings, port: int, shared: bool = False) -> socket.socket:
    """A listening socket; its send buffer is small, so that a client who does not read is noticed here."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux; its connections inherit it
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNACKNOWLEDGED_MS)
    if shared:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        listener.bind((settings.host, port))
    except OSError as error:
        listener.close()
        raise Stop(
            f"Cannot listen on {settings.host}:{port} ({error.strerror}). End what has this port, "
            "or set DISPATCH_HOST and DISPATCH_PORT to a free one."
        ) from None
    return listener


async def _serve(settings: Settings, tether: Tether | None) -> bool:
    """Whether it ended because it was told to."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    if tether is not None:
        tether.on_end(stop.set)
    async with running(settings) as node:
        settle_memory()
        logger.info("listening on %s:%d", settings.host, node.port)
        if tether is not None:
            tether.up()
        asked = stop.is_set
        watching = Tasks()
        waiting = [watching.start(event.wait(), "end") for event in (stop, node.ended)]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        await watching.stop()
        if not asked():
            logger.error(
                "something this process cannot do without has ended: it ends too, to be started again"
            )
        logger.info("going away")
        signal.alarm(LEAVE_MOST_S)
    return asked()


def serve(settings: Settings, tether: Tether | None = None) -> None:
    """Runs one node until it is told to stop; exits with 1 when it cannot go on."""
    open_files()
    if not uvloop.run(_serve(settings, tether)):
        sys.exit(1)
