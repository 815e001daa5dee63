"""The live map's feed: one reader a node while a console is open, one frame for all of them.

Every FRAME_S the facts of the whole shard are read, whatever node they came through, and every PLACES_S where everybody
is; both go into the model (cityview.py), and what changed is told to every console as one volatile event, encoded once.
Who begins is told the city as it is, in parts that follow each other. Who does not read as fast as it changes is told
what he missed once he does, as it is then: nobody is ever told more than he takes, and nobody misses a frame. A new
look at everything comes every SURVEY_S, so that what we missed does not stay wrong.

| when | then |
|---|---|
| no console is open | nothing is read, and the model is forgotten |
| Redis does not answer | no frames (consoles say how old theirs is), one try every PAUSE_S; then a look at everything |
| Redis has another life | what was known is forgotten: old versions mean nothing there; everybody is told a new base |
| more happened than one look reads | the rest comes with the next frame; SURVEY_S later all is right again |
| facts were trimmed unread | the next survey tells |
| a fact or what it carries cannot be read | it is passed over, and the next survey tells |
| a driver is silent, a job waits for a person | no timer names them: known from before, or PostgreSQL names them |
| PostgreSQL does not answer | those who fell silent before anybody watched are missing until it does |
| a console does not read, or slowly | what it is not told waits for it, once each, and comes when it reads, in order |
| a frame is lost on the way all the same | the page sees that `n` jumped, and asks until it is told a base |
| an ask comes twice, for its answer was late | the base that is on its way is enough; it goes on |
| its socket closes, or its admin is blocked | it is left out of the next frame |
| too many consoles | the next one is refused, `rate_limited` |
"""

import asyncio
import logging
import time

import msgspec

from dispatch.commands import Refusal
from rooms.cityview import BASE_A_FRAME, CityView, Due
from rooms.faults import fault
from rooms.registry import Registry
from rooms.session import Session, event_frame
from storage.facts import Entry
from storage.log import Conflict, Log
from storage.postgis import DatabaseUnavailable
from storage.records import Drained, Driver, Job
from storage.shard import Unavailable
from storage.survey import Survey

logger = logging.getLogger(__name__)

CONSOLES_MAX = 50
FRAME_S = 0.5
PAUSE_S = 2.0
PLACES_S = 2.0
SURVEY_S = 60.0
_LOAD = 200  # records at once
_RECORDS = (b'"record":"driver"', b'"record":"job"')


class Watcher:
    """A console, and what it has still to be told up to frame `n`; None: everything, from the beginning. `began`: the
    frame of that beginning."""

    def __init__(self) -> None:
        self.due: Due | None = None
        self.began = self.n = 0


class City:
    def __init__(self, log: Log, survey: Survey, registry: Registry) -> None:
        self._log = log
        self._survey = survey
        self._registry = registry
        self._watchers: dict[Session, Watcher] = {}
        self._wanted = asyncio.Event()
        self._view = CityView()
        self._life = ""
        self._after: str | None = None
        self._surveyed_s = self._placed_s = 0.0
        self._n = 0

    def watch(self, session: Session, n: int | None = None) -> None:
        """From the next frame on, the city from its beginning; `n` is of the newest frame that this console heard: what
        was begun later need not begin anew. Raises Refusal."""
        if session.wire is None:
            raise Refusal("bad_request", "The city is watched over a socket.")
        known = self._watchers.get(session)
        if known is not None and n is not None and (known.due is None or known.began > n):
            return
        if known is None and len(self._watchers) >= CONSOLES_MAX:
            raise Refusal("rate_limited", f"This server shows the city to {CONSOLES_MAX} consoles at most.")
        self._watchers[session] = Watcher()
        self._wanted.set()

    def unwatch(self, session: Session) -> None:
        self._watchers.pop(session, None)

    async def run(self) -> None:
        """For ever; does nothing while nobody watches."""
        while True:
            await self._wanted.wait()
            began_s, every_s = time.monotonic(), FRAME_S
            try:
                await self._round()
            except (Unavailable, Conflict):
                self._after, every_s = None, PAUSE_S
            except Exception as error:
                logger.error("the city cannot be shown: %s", fault(error))
                self._after, every_s = None, PAUSE_S
            if not self._watchers:
                self._wanted.clear()
                self._forget()
            await asyncio.sleep(max(0.05, began_s + every_s - time.monotonic()))

    def _forget(self) -> None:
        """All of it; who watches is told the city from its beginning."""
        self._view, self._after = CityView(), None
        for watcher in self._watchers.values():
            watcher.due = None

    async def _round(self) -> None:
        for session in [each for each in self._watchers if not self._registry.has(each)]:
            del self._watchers[session]
        if not self._watchers:
            return
        if self._after is None or time.monotonic() - self._surveyed_s > SURVEY_S:
            await self._look_at_everything()
        else:
            await self._look()
        if time.monotonic() - self._placed_s > PLACES_S:
            await self._place()
        if self._survey.life != self._life:
            self._after = None  # some of what was read may be of the old one
            return
        self._tell(await self._log.now_ms())

    async def _look(self) -> None:
        """What changed since the last look."""
        assert self._after is not None
        changes = await self._survey.since(self._after)
        self._after = changes.after
        for entry in changes.entries:
            if any(word in entry.data for word in _RECORDS):
                for record in _records(entry):
                    if isinstance(record, Driver):
                        self._view.driver(record)
                    elif isinstance(record, Job):
                        self._view.job(record)

    async def _place(self) -> None:
        """Where everybody is."""
        for at in await self._survey.positions(self._view.everybody()):
            self._view.fix(at.driver_id, at.ts_ms, at.lat_deg, at.lng_deg, at.heading_deg)
        self._placed_s = time.monotonic()

    async def _look_at_everything(self) -> None:
        """Records as they are; the streams are read from where they ended before."""
        after = await self._survey.newest()
        if self._survey.life != self._life:
            self._forget()
            self._life = self._survey.life
        driver_ids, job_ids = await self._survey.timers()
        silent, held = await self._without_timers()
        driver_ids = list(dict.fromkeys([*driver_ids, *silent, *self._view.everybody()]))
        drivers: set[str] = set()
        jobs = dict.fromkeys([*job_ids, *held, *self._view.jobs()])
        for first in range(0, len(driver_ids), _LOAD):
            some = driver_ids[first : first + _LOAD]
            for record in await self._load(Driver, some):
                if isinstance(record, Driver) and record.online:
                    self._view.driver(record)
                    drivers.add(record.id)
                    jobs.update(dict.fromkeys(record.load))
        open_jobs: set[str] = set()
        wanted = list(jobs)
        for first in range(0, len(wanted), _LOAD):
            for record in await self._load(Job, wanted[first : first + _LOAD]):
                if isinstance(record, Job) and not record.ended_ms:
                    self._view.job(record)
                    open_jobs.add(record.id)
        self._view.keep_only(drivers, open_jobs)
        self._after = after
        self._surveyed_s, self._placed_s = time.monotonic(), 0.0

    async def _without_timers(self) -> tuple[list[str], list[str]]:
        try:
            return await self._survey.without_timers()
        except DatabaseUnavailable:
            return [], []

    async def _load(self, kind: type, ids: list[str]) -> list[object]:
        return list((await self._log.load([(kind, id_) for id_ in ids])).records.values())

    def _tell(self, now_ms: int) -> None:
        taken = self._view.due.take()
        self._n += 1
        told = {"n": self._n, "atMs": now_ms}
        frame = event_frame("city", {**told, **self._view.frame(taken, now_ms)})
        for session, watcher in self._watchers.items():
            if session.wire is None or not session.wire.reads():
                if watcher.due is not None:
                    watcher.due.add(taken)
                continue
            if watcher.due is not None and not watcher.due and watcher.n == self._n - 1:
                session.wire.tell_latest("city", frame)
            else:
                self._tell_apart(session, watcher, taken, told)
            watcher.n = self._n

    def _tell_apart(self, session: Session, watcher: Watcher, taken: Due, told: dict[str, int]) -> None:
        """The next part of what waits for this console."""
        first = watcher.due is None
        if watcher.due is None:
            watcher.due, watcher.began = self._view.whole(), self._n
        else:
            watcher.due.add(taken)
        part = self._view.frame(watcher.due.take(BASE_A_FRAME), told["atMs"])
        left = len(watcher.due.new) + len(watcher.due.jobs)
        session.say("city_base", {"first": first, "left": left, **told, **part})


def _records(entry: Entry) -> tuple[Drained, ...]:
    try:
        return entry.records()
    except msgspec.DecodeError:
        return ()
