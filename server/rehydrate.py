"""`dispatch rehydrate`: live jobs of PostgreSQL that Redis has lost come back, each by a command of its own.

A page of jobs is read only when PostgreSQL has all that this Redis says (a job that ended lately would come back
otherwise), and is worked off long before a job that ends meanwhile is forgotten. Each job is one commit, or none,
so that whoever is cut off runs it again. docs/failures-rehydrate.md lists what can happen.
"""

import asyncio
import secrets
import time
from collections import Counter
from typing import Any

from dispatch.area import Areas
from dispatch.commands import SYSTEM, Refusal, RestoreJob
from dispatch.desk import Desk
from server.areas import Atlas
from server.needs import Stop, database_url, redis_url
from server.settings import Settings
from storage.accounts import SQL
from storage.areas import Asks
from storage.fleet import Fleet
from storage.log import Conflict, Log
from storage.postgis import Database
from storage.records import Job
from storage.remembered import FIRST_ID, KINDS, Remembered, drained_to, live_jobs
from storage.shard import Shard

PAGE = 100
PREVIEW_TRIES = 3
DRAIN_WITHIN_S = 20.0
DRAIN_LOOK_S = 0.1
SAMPLE = 20  # of each kind: if Redis knows none of them, it has lost them
MEANING = {
    "lives": "Redis has it: left as it is",
    "searching": "searches for a driver",
    "scheduled": "waits for its hour",
    "kept": "keeps its driver, who must go online again",
    "held": "waits for a person: what is known of it does not agree",
    "ended": "cancelled as lost: nothing was heard of it for too long",
}


class Rehydration:
    """One run over a shard. `counts` are by (kind, outcome), `left` by why a job was not brought back."""

    def __init__(
        self, database: Database, shard: Shard, desk: Desk, max_age_ms: int, *, dry_run: bool = False
    ) -> None:
        self._database = database
        self._shard = shard
        self._desk = desk
        self._max_age_ms = max_age_ms
        self._dry_run = dry_run
        self.counts: Counter[tuple[str, str]] = Counter()
        self.left: Counter[str] = Counter()

    async def run(self) -> None:
        """Raises Stop when the drain does not follow, or Redis was lost again; Unavailable or
        DatabaseUnavailable. What was done until then stays done."""
        await self._desk.log.tail.newest()
        life = self._shard.token
        for table in KINDS:
            after = FIRST_ID
            while page := await self._page(table, after):
                after = page[-1].job.id
                for remembered in page:
                    await self._restore(remembered)
        await self._desk.log.tail.newest()
        if self._shard.token != life:
            raise Stop("Redis was lost or restarted meanwhile. Run `dispatch rehydrate` again.")

    async def _page(self, table: str, after: str) -> list[Remembered]:
        await self._drained()
        return await live_jobs(self._database, table, self._shard.name, after, PAGE)

    async def _drained(self) -> None:
        """Waits until PostgreSQL has all that Redis said up to now."""
        said = await self._desk.log.tail.newest()
        give_up_s = time.monotonic() + DRAIN_WITHIN_S
        while said.number:
            life, last_id = await drained_to(self._database, self._shard.name)
            if life == said.life and _place(last_id) >= _place(said.id):
                return
            if time.monotonic() > give_up_s:
                raise Stop(
                    "PostgreSQL does not have yet what Redis says now. "
                    "Start `dispatch drain`, or wait until it has caught up, and run this again."
                )
            await asyncio.sleep(DRAIN_LOOK_S)

    async def _restore(self, remembered: Remembered) -> None:
        job = remembered.job
        command = RestoreJob(
            user=SYSTEM,
            room=job.room,
            job=job,
            offer=remembered.offer,
            driver=remembered.driver,
            same_life=remembered.same_life,
            committed_ms=remembered.committed_ms,
            max_age_ms=self._max_age_ms,
            code=f"{secrets.randbelow(1_000_000):06d}",
        )
        try:
            answer = await (self._preview(command) if self._dry_run else self._desk.run(command))
        except Refusal as refusal:
            await self._desk.log.now_ms()  # if it is Redis that does not answer, this says so
            self.left[refusal.message] += 1
        else:
            self.counts[job.kind, answer["outcome"]] += 1

    async def _preview(self, command: RestoreJob) -> dict[str, Any]:
        for _ in range(PREVIEW_TRIES):
            try:
                return await self._desk.preview(command)
            except Conflict:
                continue
        raise Refusal("unavailable")

    def table(self) -> str:
        """What was done, for a person."""
        lines = [f"{'':10} {'rides':>6} {'parcels':>8}"]
        for outcome, meaning in MEANING.items():
            rides, parcels = self.counts["ride", outcome], self.counts["package", outcome]
            if rides or parcels:
                lines.append(f"{outcome:10} {rides:6} {parcels:8}   {meaning}")
        if not self.counts:
            lines = ["PostgreSQL has no live jobs of this shard."]
        lines += [f"{number} could not be brought back: {why}" for why, number in self.left.items()]
        return "\n".join(lines) + "\n"


async def rehydrate(settings: Settings, *, max_age_h: float, dry_run: bool) -> Rehydration:
    """Brings back what the shard's Redis has lost, or finds out what would be. Raises as Rehydration.run."""
    database = await Database.open(database_url(settings), size=2, timeout_s=settings.database_timeout_s)
    shard = Shard(
        settings.shard, redis_url(settings), settings.redis_timeout_ms / 1000, settings.redis_replicas
    )
    try:
        areas = await Atlas(database, settings.shard).read() or Areas([])
        desk = Desk(Log(shard, settings.room_facts), Fleet(shard), areas)
        run = Rehydration(database, shard, desk, int(max_age_h * 3_600_000), dry_run=dry_run)
        await run.run()
        if not dry_run:
            did = {f"{kind} {outcome}": number for (kind, outcome), number in run.counts.items()}
            await database.execute(SQL["audit"], "rehydrate", "shard", settings.shard, did)
        return run
    finally:
        await shard.close()
        await database.close()


async def is_lost(db: Asks, log: Log, shard: str) -> bool:
    """Has PostgreSQL live jobs of the shard, and its Redis none of them? Raises Unavailable or Conflict."""
    found: list[tuple[type, str]] = []
    for table in KINDS:
        found += [(Job, each.job.id) for each in await live_jobs(db, table, shard, FIRST_ID, SAMPLE)]
    if not found:
        return False
    loaded = await log.load(found)
    return not any(loaded.records.values())


def _place(stream_id: str) -> tuple[int, int]:
    milliseconds, _, number = stream_id.partition("-")
    return int(milliseconds), int(number)
