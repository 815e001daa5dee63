"""Who of this node's users stands in which job's room, told to the other nodes, so that they know where to send.

| when | then |
|---|---|
| Redis does not answer | what was to be said is said when it does; the first failure is logged |
| Redis lost what we said | it is said anew within RENEW_S |
| we die | nobody counts us after NODE_LEASE_MS; our members' leases run out, mail to us expires unread |
| somebody comes and goes while something is being said | only the last counts |
| somebody joins elsewhere while a driver's fix is under way | he misses that one; his snapshot has the position |
"""

import asyncio
import itertools
import logging
import math
import time

from rooms.registry import Registry
from rooms.session import Session
from rooms.tick import Tick
from storage.presence import Leases, Member, lookout
from storage.shard import Unavailable

logger = logging.getLogger(__name__)

ROUND_MAX = 500  # members a call: about a millisecond of Redis
BEAT_S = 1.5  # so often it is said that this node lives, whatever else there is to say
RENEW_S = 10.0
ROUND_S = 0.25
PAUSE_S = 0.5
LEAVE_WITHIN_S = 2.0


class Presence:
    """Listens to the registry; a user's own room concerns no other node. The tick is told whether there are
    other nodes at all."""

    def __init__(self, leases: Leases, registry: Registry, tick: Tick) -> None:
        self._leases = leases
        self._tick = tick
        self._leaving = False
        self._left = asyncio.Event()
        self._registry = registry
        self._new: dict[Member, None] = {}
        self._gone: dict[Member, None] = {}
        self._said_s: dict[Member, float] = {}  # in the order in which they were last said
        self._changed = asyncio.Event()
        registry.moved = self._moved

    def _moved(self, room: str, session: Session, here: bool) -> None:
        member = room, lookout(session.user_id) if session.looks_on else session.user_id
        if room.startswith("user:"):
            return
        if here:
            self._gone.pop(member, None)
            self._new[member] = None
        else:
            self._new.pop(member, None)
            self._said_s.pop(member, None)
            self._gone[member] = None
        self._changed.set()

    async def users(self, room: str) -> list[str]:
        """Who stands in the room, on any node. Raises Unavailable."""
        here = {session.user_id for session in self._registry.members(room) if not session.looks_on}
        return sorted(here | await self._leases.users(room))

    async def run(self) -> None:
        """Says at once what changed, and everything again before its lease runs out; until `leave`."""
        beat_s = -math.inf
        failures = 0
        while not self._leaving:
            now_s = time.monotonic()
            present = [*itertools.islice(self._new, ROUND_MAX), *self._due(now_s)]
            gone = list(itertools.islice(self._gone, ROUND_MAX))
            if present or gone or now_s - beat_s >= BEAT_S:
                try:
                    self._tick.others = await self._leases.say(present, gone)
                except Unavailable as error:
                    if failures == 0:
                        logger.warning("other nodes are not told who is here: %s", error)
                    failures += 1
                    await asyncio.sleep(PAUSE_S)
                    continue
                failures, beat_s = 0, now_s
                self._note(present, gone, now_s)
            if len(present) < ROUND_MAX:
                await self._wait(ROUND_S)
        try:
            await self._leases.end()
        except Unavailable:
            logger.warning("nobody was told that this node goes away; its lease runs out")
        self._left.set()

    async def _wait(self, within_s: float) -> None:
        """Until somebody comes or goes, or `within_s`."""
        if not self._new and not self._gone and not self._leaving:
            self._changed.clear()
            try:
                async with asyncio.timeout(within_s):
                    await self._changed.wait()
            except TimeoutError:
                pass

    def _due(self, now_s: float) -> list[Member]:
        oldest = itertools.islice(self._said_s.items(), ROUND_MAX)
        return [member for member, said_s in oldest if now_s - said_s > RENEW_S]

    def _note(self, present: list[Member], gone: list[Member], now_s: float) -> None:
        """What was said is done, unless it changed meanwhile."""
        for member in present:
            if member in self._new or member in self._said_s:
                self._new.pop(member, None)
                self._said_s.pop(member, None)
                self._said_s[member] = now_s
        for member in gone:
            self._gone.pop(member, None)

    async def leave(self) -> None:
        """This node goes away: nobody shall send it mail any more. Returns when that is said, or LEAVE_WITHIN_S
        later; `run` ends."""
        self._leaving = True
        self._changed.set()
        try:
            async with asyncio.timeout(LEAVE_WITHIN_S):
                await self._left.wait()
        except TimeoutError:
            pass  # its lease runs out
