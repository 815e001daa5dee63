"""Which node does the rounds of the batch match: one at a time, by a lease in Redis that is taken over in seconds.

| when | then |
|---|---|
| the leader goes in order | it gives the lease up; another leads from its next beat on |
| it dies, hangs or cannot reach Redis | its lease runs out after LEASE_S, and whoever asks first leads |
| it wakes after that | it holds another's lease no more, and what its round had read is too old to offer anything |
| a round takes longer than its lease | it is ended (`overran`); the next beat begins anew |
"""

import asyncio
import logging
import secrets

from dispatch.rounds import Done, Rounds
from rooms import metrics
from rooms.faults import fault
from storage.log import Conflict
from storage.shard import Unavailable
from storage.waiting import Waiting

logger = logging.getLogger(__name__)

LEASE_S = 3.0
_ROUND_S = 2.0  # of the lease: the rest is for the last commit


class Leader:
    def __init__(self, rounds: Rounds, waiting: Waiting, node: str) -> None:
        self._rounds = rounds
        self._waiting = waiting
        self._token = f"{node} {secrets.token_hex(4)}"

    async def run(self, every_s: float) -> None:
        try:
            while True:
                await asyncio.sleep(every_s)
                metrics.ROUNDS.n[await self._beat(),] += 1
        finally:
            await self._leave()

    async def _beat(self) -> str:
        """One beat, and what it was."""
        try:
            if not await self._waiting.lead(self._token, int(LEASE_S * 1000)):
                return "followed"
            async with asyncio.timeout(LEASE_S):
                return self._told(await self._rounds.go(_ROUND_S))
        except TimeoutError:
            return "overran"
        except (Unavailable, Conflict):
            return "unavailable"
        except Exception as error:
            logger.error("a round failed: %s", fault(error))
            return "failed"

    @staticmethod
    def _told(done: Done) -> str:
        for bound, count in done.bounds.items():
            metrics.LEFT.n[bound,] += count
        for outcome, count in done.asked.items():
            metrics.OFFERS.n[outcome,] += count
        for outcome, count in done.noted.items():
            metrics.NOTES.n[outcome,] += count
        # also where all whom it looked at are asked or served
        metrics.ROUND_BLOCKED_S.observe(done.longest_s)
        return "led" if done.waiting else "empty"

    async def _leave(self) -> None:
        try:
            await self._waiting.lead(self._token, 0)
        except Unavailable:
            pass  # it runs out by itself
