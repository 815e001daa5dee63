"""How a node goes away: what was begun is finished, and its clients are sent to the others, not all at once.

| when | what happens | outcome |
|---|---|---|
| told to | `/ready` is 503 and the shared port is closed from this turn on | who comes now comes to another node |
| | a handshake, also one under way | dropped at the transport: stock clients try again, elsewhere |
| | a new command | `draining`, which says: again, elsewhere, under the same key |
| | a command at work | finished, at most COMMANDS_FINISH_S; its answer is written before its socket is closed |
| | it takes longer | its client has no answer, and asks again under the same key |
| closing | thousands of clients | in shuffled batches over at most SPREAD_S, so that the others are not stormed |
| | a client who does not read | `Socket.end` closes him all the same, a second later |
| | a driver's device, also one that speaks over HTTP | leaves the index, as when a connection breaks, and comes |
| | | back online elsewhere |
| | anything hangs | after LEAVE_MOST_S the kernel ends the process (`server/app.py`); what was acked is committed |
| told twice | | nothing more |

Told in tests/test_leaving.py.
"""

import asyncio
import math
import random
import time

from aiohttp import web

from rooms.door import Door
from rooms.gate import Gate
from rooms.session import Session
from rooms.sockets import Sockets
from rooms.transport.engine import END_S

COMMANDS_FINISH_S = 3.0
SPREAD_S = 2.5
BATCH_S = 0.05
BATCH_LEAST = 10
LOOK_S = 0.02
RECONNECT_WITHIN_S = 10


async def leave(gate: Gate, door: Door, sockets: Sockets, shared: web.BaseSite | None) -> None:
    """From the last command to the last socket. `shared` listens on a port where others listen too. Takes about
    COMMANDS_FINISH_S + SPREAD_S + 2 END_S at most."""
    gate.draining = door.draining = True
    if shared is not None:
        await shared.stop()
    for session in sockets.sessions:
        session.say("server_draining", {"reconnectWithin_s": RECONNECT_WITHIN_S})
    for _ in range(int(COMMANDS_FINISH_S / LOOK_S)):
        if not gate.busy:
            break
        await asyncio.sleep(LOOK_S)
    for session in gate.http_sessions:
        gate.forget_http(session)
    closed: set[Session] = set()
    await _close(sockets.sessions, closed)
    gone_s = time.monotonic() + 2 * END_S
    while sockets.sessions and time.monotonic() < gone_s:
        await _close(
            [session for session in sockets.sessions if session not in closed], closed
        )  # came in late
        await asyncio.sleep(LOOK_S)


async def _close(sessions: list[Session], closed: set[Session]) -> None:
    """Adds them to `closed`."""
    random.shuffle(sessions)
    batch = max(BATCH_LEAST, math.ceil(len(sessions) * BATCH_S / SPREAD_S))
    for number, session in enumerate(sessions, 1):
        closed.add(session)
        if session.wire is not None:
            session.wire.end("draining")
        if number % batch == 0 and number < len(sessions):
            await asyncio.sleep(BATCH_S * random.uniform(0.5, 1.5))
