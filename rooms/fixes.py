"""The hot path of a fix: heard, judged, told to the watchers and put into the tick, all in plain calls.

This node's map of the drivers whose device is here. What a driver is on, and whether he stands in the index,
is learnt from his own record as the log tells it, never from a payload and never from a handler; if the log
has not been read for 5 s, nobody is told where anybody is. Every tick one call carries all changes to Redis;
one is under way at a time, and while Redis is slow the newest position of each driver waits, not a queue.

| when | then |
|---|---|
| the reply of a tick is lost | the same tick (node, boot, number) is sent again; Redis applies it once |
| we die with a tick in memory | up to a tick of fixes is lost; positions are volatile, an ack means received |
| a newer device of the driver goes online, anywhere | ours is told `superseded`; what it still sends does nothing |
| a fix arrives between the end of a trip and the log telling it | the watchers get it before they hear of the end |
| the driver's record changed while his entry was under way | the index takes it only for the version this node knew |
"""

import asyncio
import secrets
import time
from collections.abc import Callable
from typing import Any

import msgspec

from dispatch.area import Areas
from dispatch.cells import cell_of, distance_m
from dispatch.commands import Refusal
from dispatch.policy import Policy
from dispatch.track import Track, Verdict
from dispatch.wording import id_field, iso
from rooms import metrics
from rooms.messages import LocationUpdate
from rooms.session import Session, event_text
from rooms.speaker import Speaker
from storage.fleet import Fleet, Update, pack
from storage.records import Driver, Place
from storage.shard import Unavailable

FIXES_WAITING_MAX = 50_000  # kept fixes waiting for Redis; beyond it the oldest are shed and counted
SIGNS_PER_SILENCE = 6  # a driver's sign of life is renewed so many times within what counts as silence
_DEFAULT_POLICY = Policy()


class Binding(msgspec.Struct):
    """A job this driver is on: where to tell his fixes, and the next stop of it for the ETA."""

    room: str
    field: str
    job_id: str
    target: Place


class Live:
    """One driver whose device is here."""

    __slots__ = (
        "area_id",
        "available",
        "before",
        "cell",
        "classes",
        "count",
        "driver_id",
        "floor",
        "generation",
        "heading",
        "indexed",
        "jobs",
        "lat",
        "lng",
        "policy",
        "reviving",
        "session",
        "signed_ms",
        "stale",
        "track",
        "ts_ms",
        "version",
    )

    def __init__(self, session: Session, policy: Policy) -> None:
        self.driver_id = session.user_id
        self.session = session
        self.policy = policy
        self.track = Track()
        self.generation = 0
        self.floor = 0
        self.before: Session | None = None
        self.version = 0
        self.available = self.indexed = self.stale = self.reviving = False
        self.classes = ""
        self.jobs: tuple[Binding, ...] = ()
        self.area_id = ""
        self.cell = 0
        self.lat = self.lng = 0.0
        self.ts_ms = 0
        self.heading: float | None = None
        self.signed_ms = 0
        self.count = 0


class Fixes:
    def __init__(self, fleet: Fleet, speaker: Speaker, node: str) -> None:
        self._fleet = fleet
        self._speaker = speaker
        self._node = node
        self._boot = secrets.token_hex(6)
        self._lives: dict[str, Live] = {}
        self._updates: dict[str, Update] = {}
        self._fixes: list[tuple[Any, ...]] = []
        self._offset_ms = 0
        self._epoch = fleet.epoch
        self._outcomes = {verdict: metrics.FIXES.labels(verdict.name.lower()) for verdict in Verdict}
        self.areas: Areas | None = None
        self.revive: Callable[[Session], bool] = lambda session: False
        speaker.on_driver = self.learn

    def now_ms(self) -> int:
        """The shard's clock, as the last tick's answer set it."""
        return time.time_ns() // 1_000_000 + self._offset_ms

    def set_clock(self, redis_ms: int) -> None:
        self._offset_ms = redis_ms - time.time_ns() // 1_000_000

    def seat(self, session: Session, latitude: float, longitude: float) -> "Live | None":
        """This device is about to go online; its record, when the log tells it, makes it count. Returns what
        stood here before, for `restore`."""
        area = self.areas.find(latitude, longitude) if self.areas else None
        live = Live(session, area.policy if area else _DEFAULT_POLICY)
        before = self._lives.get(session.user_id)
        if before is not None:
            # what the log has yet to tell of the earlier lease is not about this one
            live.floor = max(before.floor, before.generation)
            live.before = before.session if before.session is not session else before.before
        self._lives[session.user_id] = live
        live.track.judge(None, latitude, longitude, None, now_ms=self.now_ms(), policy=live.policy)
        self._moved(live, latitude, longitude, None)
        return before

    def restore(self, session: Session, before: "Live | None") -> None:
        """The device may not go online: what stood here before stands again."""
        live = self._lives.get(session.user_id)
        if live is None or live.session is not session or live.generation:
            return
        if before is None:
            del self._lives[session.user_id]
            return
        self._lives[session.user_id] = before
        if before.available:
            # his entry may have waited in this tick and been overwritten by the device that was refused
            self._updates[session.user_id] = self._update(before, "e", 0)

    def unseat(self, session: Session) -> None:
        """The device went away or was refused: it leaves the index; its record is left to its timer."""
        live = self._lives.get(session.user_id)
        if live is None or live.session is not session:
            return
        del self._lives[session.user_id]
        if live.indexed:
            self._updates[live.driver_id] = self._update(live, "l", 0)
        else:
            self._updates.pop(live.driver_id, None)

    def last(self, driver_id: str) -> tuple[float, float, int, float | None] | None:
        """(lat, lng, ts_ms, heading) of a driver whose device is here."""
        live = self._lives.get(driver_id)
        return (live.lat, live.lng, live.ts_ms, live.heading) if live and live.ts_ms else None

    @property
    def drivers(self) -> int:
        return len(self._lives)

    def hear(self, session: Session, fix: LocationUpdate, ts_ms: int | None) -> dict[str, Any]:
        """One fix. An ack means received; `kept` says whether it was believed. Raises Refusal."""
        live = self._lives.get(session.user_id)
        if live is None:
            metrics.FIXES.labels("offline").inc()
            raise Refusal("wrong_state", "Go online first.")
        if live.session is not session and (
            live.session.wire is not None or session.device != live.session.device
        ):
            metrics.FIXES.labels("superseded").inc()
            raise Refusal("superseded")
        now_ms = self.now_ms()
        latitude, longitude = fix.latitude, fix.longitude
        verdict = live.track.judge(
            ts_ms, latitude, longitude, fix.accuracy, now_ms=now_ms, policy=live.policy
        )
        self._outcomes[verdict].inc()
        if verdict > Verdict.JITTER:
            return {"kept": False, "reason": verdict.name.lower()}
        self._moved(live, latitude, longitude, fix.heading)
        jobs = live.jobs
        live.count += 1
        job_id = jobs[0].job_id if jobs else None
        # unique among all fixes of this driver: only the lease holder numbers them
        seq = live.generation << 32 | live.count
        self._fixes.append(
            (
                live.driver_id,
                live.ts_ms,
                seq,
                latitude,
                longitude,
                fix.heading,
                fix.speed,
                fix.accuracy,
                job_id,
            )
        )
        if jobs and verdict is Verdict.KEPT and self._speaker.fresh():
            self._tell(live, fix, now_ms)
        if live.stale and not live.reviving:
            live.reviving = self.revive(session)
        return {"kept": True}

    def _tell(self, live: Live, fix: LocationUpdate, now_ms: int) -> None:
        policy = live.policy
        for job in live.jobs:
            away_m = distance_m(live.lat, live.lng, job.target.latitude, job.target.longitude)
            payload = {
                job.field: job.job_id,
                "latitude": live.lat,
                "longitude": live.lng,
                "heading": fix.heading,
                "speed": fix.speed,
                "timestamp": iso(live.ts_ms),
                "ageMs": max(0, now_ms - live.ts_ms),
                "etaSeconds": round(away_m * policy.detour / policy.cruise_speed_mps),
            }
            text = event_text("driver_location", payload)
            self._speaker.volatile(job.room, job.room, text, but=live.driver_id)

    def _moved(self, live: Live, latitude: float, longitude: float, heading: float | None) -> None:
        """The believed position changed: it goes into the next tick, over what waits there."""
        live.lat, live.lng, live.heading = latitude, longitude, heading
        live.ts_ms = live.track.at_ms
        cell = cell_of(latitude, longitude)
        live.cell = cell
        flag = "-"
        if live.available:
            flag = "m" if live.indexed else "e"
        silence_ms = int(live.policy.stale_s * 1000)
        sign_ms = silence_ms if live.ts_ms - live.signed_ms > silence_ms // SIGNS_PER_SILENCE else 0
        waiting = self._updates.get(live.driver_id)
        if waiting is not None:
            sign_ms = sign_ms or waiting.stale_ms
            if waiting.flag == "e" and flag == "m":
                flag = "e"
        if sign_ms:
            live.signed_ms = live.ts_ms
        if flag != "-" or sign_ms or live.jobs:
            live.indexed = flag != "-"
            self._updates[live.driver_id] = self._update(live, flag, sign_ms)

    def _update(self, live: Live, flag: str, sign_ms: int) -> Update:
        return Update(
            live.driver_id,
            flag,
            live.generation,
            live.version,
            live.cell,
            live.classes,
            pack(live.lat, live.lng, live.ts_ms, live.heading),
            sign_ms,
            bool(live.jobs),
        )

    def learn(self, driver: Driver) -> None:
        """A driver's record, as the log tells it: what he is on, and whether he is in supply."""
        live = self._lives.get(driver.id)
        if live is None or driver.generation <= live.floor or driver.version <= live.version:
            return
        if driver.device != live.session.device:
            if live.generation:
                del self._lives[driver.id]
                self._updates.pop(driver.id, None)
                self._speaker.superseded(live.session, driver.generation)
            return
        if not driver.online:
            del self._lives[driver.id]
            self._updates.pop(driver.id, None)
            return
        if driver.generation != live.generation:
            live.indexed = False
            if live.before is not None:
                self._speaker.superseded(live.before, driver.generation)
                live.before = None
        live.generation, live.version = driver.generation, driver.version
        live.stale, live.available = driver.stale, driver.available
        live.reviving = False
        live.classes = ",".join(driver.classes)
        live.jobs = _bindings(driver)
        if self.areas is not None and (area := self.areas.get(driver.area_id)) is not None:
            live.policy = area.policy
        if not live.available:
            live.indexed = False
            waiting = self._updates.get(driver.id)
            if waiting is not None:
                waiting.flag = "-"
                waiting.carries = bool(live.jobs)
        elif live.ts_ms:
            # free again: he stands in the index now, not only after his next fix
            live.indexed = True
            self._updates[driver.id] = self._update(live, "e", 0)

    async def run(self, tick_s: float) -> None:
        """Sends a tick every `tick_s`; a tick that was not answered is sent again, unchanged."""
        number = 0
        while True:
            await asyncio.sleep(tick_s)
            if not self._updates and not self._fixes:
                continue
            number += 1
            updates, self._updates = list(self._updates.values()), {}
            fixes, self._fixes = self._fixes, []
            await self._deliver(number, updates, fixes)

    async def _deliver(self, number: int, updates: list[Update], fixes: list[tuple[Any, ...]]) -> None:
        pause_s = 0.05
        while True:
            try:
                with metrics.TICK_S.time():
                    now_ms = await self._fleet.tick(self._node, self._boot, number, updates, fixes)
                self.set_clock(now_ms)
                self._after_a_new_life()
                return
            except Unavailable:
                await asyncio.sleep(pause_s)
                pause_s = min(1.0, pause_s * 2)
                if (excess := len(self._fixes) - FIXES_WAITING_MAX) > 0:
                    del self._fixes[:excess]
                    metrics.SHED.inc(excess)

    def _after_a_new_life(self) -> None:
        """Redis came back as another life and may have lost the index: everybody enters it again."""
        if self._fleet.epoch != self._epoch:
            self._epoch = self._fleet.epoch
            for live in self._lives.values():
                live.indexed = False


def _bindings(driver: Driver) -> tuple[Binding, ...]:
    """The jobs on a driver's plan, each with its next stop, in the plan's order."""
    jobs: dict[str, Binding] = {}
    for stop in driver.plan:
        jobs.setdefault(
            stop.job_id,
            Binding(f"{stop.kind}:{stop.job_id}", id_field(stop.kind), stop.job_id, stop.place),
        )
    return tuple(jobs.values())
