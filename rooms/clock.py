"""What happens by itself: timers that run out, jobs that wait for a driver.

Any node may sweep at any time; what two nodes do at once, the commit lets happen once. Where several nodes look, each
looks so much less often, so that on average a deadline is seen as soon as by one, for the price of one. Work is taken
from one bounded queue by a few workers, each job or driver once at a time; when the queue is full the timers simply
stand, and the next sweep finds them again.
"""

import asyncio
import logging

from dispatch.booking import look_again_ms
from dispatch.commands import SYSTEM, Command, Refusal, WakeDriver, WakeJob
from dispatch.desk import Desk
from dispatch.match import Match
from rooms.faults import fault
from rooms.tick import Tick
from storage.log import Conflict, Loaded
from storage.records import Driver, Job, JobId, Offer, Room, UserId
from storage.shard import Unavailable

logger = logging.getLogger(__name__)

WORKERS = 16
QUEUE_MAX = 10_000
POSTPONE_MS = 2_000
LATE_S = 3.0
GRACE_S = 4.0  # longer than the pause between two tries of a tick, and its timeout
LOOK_MOST_S = 1.0  # between two looks of one node, however many there are
HELD_UP_S = 0.5  # a sweep that took so long: nobody heard anything meanwhile


def pause_between_looks_s(every_s: float, others: int) -> float:
    """For this node, so that it and the others look every `every_s` together, and each at least every LOOK_MOST_S."""
    return max(every_s, min(LOOK_MOST_S, every_s * (1 + others)))


class Clock:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._match = Match(desk)
        self._queue: asyncio.Queue[str | Command] = asyncio.Queue(QUEUE_MAX)
        self._queued: set[str] = set()
        self._grace_until_s = 0.0
        desk.poke = self.poke

    def poke(self, job_id: str) -> None:
        """A job was opened, or came back: match it now, not at its timer."""
        self._put(f"match:{job_id}")

    def soon(self, command: Command) -> bool:
        """Runs a command of the system's own; False when too much waits already."""
        if self._queue.full():
            return False
        self._queue.put_nowait(command)
        return True

    def _put(self, timer: str) -> None:
        if timer not in self._queued and not self._queue.full():
            self._queued.add(timer)
            self._queue.put_nowait(timer)

    async def sweep(self, every_s: float, tick: Tick) -> None:
        """Takes up the timers that ran out, every `every_s` together with the other nodes, of which `tick` knows. After
        an outage of Redis silence proves nothing: the drivers' signs of life get GRACE_S to come in before anybody is
        called lost, and phones as long to say that they show an offer. Nor does it when no node was there to hear
        them: a timer that stands for LATE_S, and so was seen by nobody, gets as long as after a new life of Redis (an
        unseen offer's GRACE_S)."""
        loop = asyncio.get_running_loop()
        last_s = float("-inf")
        while True:
            pause_s = pause_between_looks_s(every_s, tick.others)
            await asyncio.sleep(pause_s)
            began_s = loop.time()
            was_away = began_s - last_s > LATE_S + pause_s
            try:
                if was_away:
                    await self._desk.log.give_back_time(int(LATE_S * 1000))
                timers = await self._desk.log.due()
            except Unavailable:
                self._grace_until_s = loop.time() + GRACE_S
                last_s = float("-inf") if was_away else loop.time()
                continue  # the speaker says so in the log; timers stand
            last_s = loop.time()
            if last_s - began_s > HELD_UP_S:
                self._grace_until_s = last_s + GRACE_S
            for timer in timers:
                if last_s >= self._grace_until_s or not timer.startswith("driver:"):
                    self._put(timer)

    async def work(self) -> None:
        while True:
            work = await self._queue.get()
            try:
                if isinstance(work, str):
                    self._queued.discard(work)
                    await self._serve(work)
                else:
                    await self._desk.run(work)
            except Refusal:
                # it cannot be served now (its area is gone, say): it must not keep others from their turn, nor one
                # that fails
                await self._postpone(work)
            except (Unavailable, Conflict):
                continue  # a timer stands; a revival is asked for again by the next fix
            except Exception as error:
                logger.error("a timer failed: %s", fault(error))
                await self._postpone(work)

    async def _postpone(self, work: str | Command) -> None:
        if isinstance(work, str) and not work.startswith("match:"):
            try:
                await self._desk.log.snooze(work, await self._desk.log.now_ms() + POSTPONE_MS)
            except Unavailable:
                return

    async def _serve(self, timer: str) -> None:
        what, _, id_ = timer.partition(":")
        if what == "match":
            await self._match.at_once(id_)
        elif what == "job":
            await self._wake_job(JobId(id_), timer)
        else:
            await self._wake_driver(UserId(id_), timer)

    async def _wake_job(self, job_id: JobId, timer: str) -> None:
        log = self._desk.log
        loaded = await log.load([(Job, job_id)])
        job = loaded.records[Job, job_id]
        if not isinstance(job, Job):
            await log.forget(timer)
            return
        if job.state == "searching" and loaded.now_ms < job.wake_ms:
            area = self._desk.areas.get(job.area_id)
            retry_ms = int(area.policy.search_retry_s * 1000) if area else 2000
            await log.snooze(timer, min(loaded.now_ms + retry_ms, job.wake_ms))
            await self._match.at_once(job_id)
            return
        if job.state == "scheduled" and 0 < job.wake_ms <= loaded.now_ms:
            area = self._desk.areas.get(job.area_id)
            again_ms = await look_again_ms(self._desk, job, area, loaded.now_ms) if area else 0
            if again_ms > loaded.now_ms:
                await log.snooze(timer, again_ms)
                return
        if job.offer_id is not None and await self._may_not_have_been_seen(job, loaded):
            await log.snooze(timer, loaded.now_ms + int(GRACE_S * 1000))
            return
        await self._desk.run(WakeJob(user=SYSTEM, room=job.room, job_id=job_id))

    async def _may_not_have_been_seen(self, job: Job, loaded: Loaded) -> bool:
        """Is it an offer that no phone said to show, at a moment at which none could have been heard?"""
        stood_ms = loaded.now_ms - loaded.due_ms.get((Job, job.id), loaded.now_ms)
        in_grace = asyncio.get_running_loop().time() < self._grace_until_s
        if not job.offer_id or not (in_grace or stood_ms > LATE_S * 1000):
            return False
        offer = (await self._desk.log.load([(Offer, job.offer_id)])).records[Offer, job.offer_id]
        return isinstance(offer, Offer) and offer.unseen_ms > 0 and not offer.seen_ms

    async def _wake_driver(self, driver_id: UserId, timer: str) -> None:
        loaded = await self._desk.log.load([(Driver, driver_id)])
        if loaded.records[Driver, driver_id] is None:
            await self._desk.log.forget(timer)
            return
        await self._desk.run(WakeDriver(user=SYSTEM, room=Room(f"user:{driver_id}"), driver_id=driver_id))
