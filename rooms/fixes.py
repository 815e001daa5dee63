"""The hot path of a fix: heard, judged, told to the watchers and put into the tick, all in plain calls.

| when | then |
|---|---|
| the reply of a tick is lost | the same tick is sent again; Redis applies it once |
| we die with a tick in memory | up to a tick of fixes is lost; positions are volatile, an ack means received |
| a fix arrives between the end of a trip and the log telling it | the watchers get it before they hear of the end |
| it was taken before a job was his, or the ride before it was over | it is not for that job: not told, not kept |
| the log has not been read for 5 s | nobody is told where anybody is: who drives whom may have changed |
| the driver's record changed while his entry was under way | the index takes it only for the version we knew |
| his ride ends later than was foretold, or he falls silent | he stands there as of then; in the end like any ghost |
| the same, while his position was on its way to another node | it is not sent: who is on the job may have changed |
"""

import asyncio
import time
from collections.abc import Collection, Iterable
from typing import Any

from dispatch.cells import distance_m
from dispatch.track import Verdict
from dispatch.travel import pace_s_per_m
from dispatch.wording import iso
from rooms import metrics
from rooms.leases import Binding, Leases, Live
from rooms.messages import LocationUpdate, PastFix
from rooms.session import Session, event_json
from rooms.speaker import Speaker
from rooms.tick import Tick
from storage.fleet import Fleet

_KEPT, _JITTER = Verdict.KEPT, Verdict.JITTER  # an enum's member takes twice as long
_OUTCOMES = [(verdict.name.lower(),) for verdict in Verdict]
_NOBODYS = (None,)
_heard = metrics.FIXES.n
PACE_MS = 60_000
FORETELL_MS = 4_000


class Fixes:
    """`leases` says who may move whom; `tick` carries what changed to Redis."""

    def __init__(self, fleet: Fleet, speaker: Speaker, node: str) -> None:
        self.tick = Tick(fleet, node)
        self.leases = Leases(self.tick, speaker)
        self.now_ms = self.tick.now_ms
        self._speaker = speaker
        speaker.elsewhere = self.tick

    def forget_all(self) -> None:
        self.leases.forget_all()

    def hear(self, session: Session, fix: LocationUpdate, ts_ms: int | None) -> dict[str, Any]:
        """One fix. An ack means received; `kept` says whether it was believed. Raises Refusal."""
        leases = self.leases
        live = leases.held_by(session)
        now_ms = self.now_ms()
        latitude, longitude = fix.latitude, fix.longitude
        verdict = live.track.judge(
            ts_ms, latitude, longitude, fix.accuracy, now_ms=now_ms, policy=live.policy
        )
        _heard[_OUTCOMES[verdict]] += 1
        if verdict > _JITTER:
            leases.heard(live, now_ms)
            return {"kept": False, "reason": verdict.name.lower()}
        leases.moved(live, latitude, longitude, fix.heading, now_ms)
        jobs = live.jobs
        if ts_ms is not None and jobs and (taken_ms := live.track.taken_ms(now_ms)) < live.shown_ms:
            jobs = tuple([job for job in jobs if taken_ms >= job.from_ms])
        self._keep(live, jobs, fix)
        if verdict is _KEPT and jobs and self._speaker.fresh():
            self._tell(live, jobs, fix, live.ts_ms, now_ms)
            if live.finishing and now_ms - live.foretold_ms > FORETELL_MS:
                leases.foretell(live, now_ms)
        if live.stale:
            leases.ask_to_revive(live, now_ms)
        return {"kept": True}

    def tell_past(self, session: Session, fix: PastFix, ts_ms: int, job_ids: Collection[str]) -> None:
        """The newest fix of a batch that has been kept. It moves its driver if it would have by itself; the watchers
        of these jobs are told, unless they were told a newer one. It goes by the clock that its phone is known to have,
        as what they are told of single fixes does. Raises Refusal."""
        live = self.leases.held_by(session)
        now_ms = self.now_ms()
        verdict, at_ms = live.track.judge_of_batch(
            ts_ms, fix.latitude, fix.longitude, fix.accuracy, now_ms=now_ms, policy=live.policy
        )
        if verdict > _JITTER:
            self.leases.heard(live, now_ms)
        else:
            self.leases.moved(live, fix.latitude, fix.longitude, fix.heading, now_ms)
            if live.stale:
                self.leases.ask_to_revive(live, now_ms)
        if at_ms > live.told_ms and self._speaker.fresh():
            self._tell(live, [job for job in live.jobs if job.job_id in job_ids], fix, at_ms, now_ms)

    def _keep(self, live: Live, jobs: tuple[Binding, ...], fix: LocationUpdate) -> None:
        """A row of history: one for each of the jobs he was on then, or one of nobody's."""
        keep = self.tick.keep
        for job in jobs or _NOBODYS:
            live.count += 1
            # unique among all fixes of this driver: only the lease holder numbers them
            seq = live.generation << 32 | live.count
            where = live.driver_id, live.ts_ms, seq, live.lat, live.lng
            keep((*where, fix.heading, fix.speed, fix.accuracy, job.job_id if job else None))

    def _tell(
        self, live: Live, jobs: Iterable[Binding], fix: LocationUpdate | PastFix, ts_ms: int, now_ms: int
    ) -> None:
        live.told_ms, latitude, longitude = ts_ms, fix.latitude, fix.longitude
        age_ms = now_ms - ts_ms if now_ms > ts_ms else 0
        for job in jobs:
            target = job.target
            away_m = distance_m(latitude, longitude, target.latitude, target.longitude) + job.after_m
            if now_ms >= job.paced_until_ms:
                _pace(live, job, fix, now_ms)
            payload = {
                job.field: job.job_id,
                "latitude": latitude,
                "longitude": longitude,
                "heading": fix.heading,
                "speed": fix.speed,
                "timestamp": iso(ts_ms),
                "ageMs": age_ms,
                "etaSeconds": round(away_m * job.pace_s_per_m + job.between * live.policy.stop_dwell_s),
            }
            json = event_json("driver_location", payload)
            self._speaker.volatile(job.room, job.room, json, live.driver_id, live.version)

    async def run(self, tick_s: float) -> None:
        """Sends a tick when there is anything to say, every `tick_s` at most."""
        number, next_s = 0, 0.0
        while True:
            await self.tick.wanted()
            await asyncio.sleep(max(0.0, next_s - time.monotonic()))
            next_s = time.monotonic() + tick_s
            number += 1
            await self.tick.deliver(number)
            if self.tick.new_life():
                self.leases.enter_again()


def _pace(live: Live, job: Binding, fix: LocationUpdate | PastFix, now_ms: int) -> None:
    """How fast it goes from here to there; on the way it changes slowly, and is not asked for with every fix."""
    target = job.target.latitude, job.target.longitude
    learned = pace_s_per_m(live.area, (fix.latitude, fix.longitude), target, now_ms)
    job.pace_s_per_m = live.policy.detour / live.policy.cruise_speed_mps if learned is None else learned
    job.paced_until_ms = now_ms + PACE_MS
