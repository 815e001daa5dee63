"""Whose device is here: this node's map of the drivers it moves, and what each is on.

A lease is (node, generation) in the driver's own record; what a driver is on, and whether he stands in the
index, is learnt from that record as the log tells it, never from a payload and never from a handler. A device
that is about to go online is seated first, so that the log's word finds it; it counts once that word came, and
until then whoever counted goes on, and hears of his jobs.

| when | then |
|---|---|
| the log still tells of the earlier lease | its generation is not above `floor`: not about this device |
| a newer device goes online, here or elsewhere | the older is told `superseded`; what it still sends does nothing |
| two are seated at once | each counts when the log tells its generation, so the one that was heard last stays: |
| | the other is superseded, or refused if it comes to Redis later (dispatch/rules/go_online.py) |
| a device is refused | its seat is given up, and nothing else |
| its answer is lost (`unavailable`), but it was committed | where that device counted already it adopts the new lease |
| | another one has been told to ask again |
| a revival is lost | the next fix after REVIVE_AGAIN_MS asks for it again |
| the node lost track of the log | `forget_all`: nobody is told where anybody is; devices go online anew |
"""

from collections.abc import Callable

import msgspec

from dispatch.area import Area, Areas
from dispatch.cells import cell_of, distance_m
from dispatch.commands import Refusal
from dispatch.policy import Policy
from dispatch.rules.go_online import PARCEL_CLASS
from dispatch.track import Track
from dispatch.wording import id_field
from rooms import metrics
from rooms.session import Session
from rooms.speaker import Speaker
from rooms.tick import Tick
from storage.fleet import Update, pack
from storage.keys import soon
from storage.records import Driver, Place

SIGNS_PER_SILENCE = 6  # a driver's sign of life is renewed so many times within what counts as silence
REVIVE_AGAIN_MS = 2_000
FAST_MS = 300  # a phone that is so far ahead is; by less, this node's clock may be behind (rooms/tick.py)
_DEFAULT_POLICY = Policy()


class Binding(msgspec.Struct):
    """A job this driver is on: where to tell his fixes, and where he is going for it: to `target`, his next stop, and
    from there `after_m` in straight lines by way of `between` stops of other jobs. `pace_s_per_m`, until
    `paced_until_ms`, is how long a metre of the straight line takes him. Where he was before `from_ms` is not for its
    parties."""

    room: str
    field: str
    job_id: str
    target: Place
    after_m: float = 0.0
    between: int = 0
    from_ms: int = 0
    pace_s_per_m: float = 0.0
    paced_until_ms: int = 0


class Live:
    """One driver whose device is here; `flag` and `sign_ms` are what the next tick says of him, as in Update."""

    __slots__ = (
        "area", "available", "before", "classes", "count", "driver_id", "finishing", "flag", "floor", "foretold_ms",
        "generation", "heading", "indexed", "jobs", "lat", "latest_ms", "lng", "policy", "revived_ms",
        "session", "shown_ms", "sign_ms", "signed_ms", "soon", "stale", "told_ms", "track", "ts_ms", "version",
    )  # fmt: skip

    def __init__(self, session: Session, policy: Policy) -> None:
        self.driver_id = session.user_id
        self.session = session
        self.policy = policy
        self.area: Area | None = None
        self.track = Track()
        self.generation = self.floor = self.version = 0
        self.before: Live | None = None  # a seat of the same device, of whose lease the log has not told yet
        self.available = self.finishing = self.indexed = self.stale = False
        # cell and entry of where and when his ride ends, if that is soon
        self.soon: tuple[int, bytes] | None = None
        self.foretold_ms = 0
        self.classes = ""
        self.jobs: tuple[Binding, ...] = ()
        self.shown_ms = 0  # from then on where he was is for the parties of all his jobs
        self.lat = self.lng = 0.0
        self.heading: float | None = None
        self.ts_ms = self.signed_ms = self.revived_ms = self.told_ms = 0
        # `ts_ms` is the phone's word; where its clock is fast, he was there no later than this
        self.latest_ms = 0
        self.flag, self.sign_ms = "-", 0
        self.count = 0

    def update(self) -> Update:
        """What waits, as the tick carries it."""
        cell, soon = self.soon or (0, b"")
        if self.flag in "em" and not soon:
            cell = cell_of(self.lat, self.lng)  # the index is not asked otherwise
        return Update(
            self.driver_id,
            self.flag,
            self.generation,
            self.version,
            cell,
            self.classes,
            pack(self.lat, self.lng, self.latest_ms, self.heading),
            self.sign_ms,
            bool(self.jobs),
            soon,
        )


class Leases:
    """`areas` is replaced when an area changes; `revive` is asked to bring a stale driver back."""

    def __init__(self, tick: Tick, speaker: Speaker) -> None:
        self._tick = tick
        self._speaker = speaker
        self._lives: dict[str, Live] = {}  # by driver: the device that counts
        self._seats: dict[str, Live] = {}  # by device: those of which the log has not told yet
        self.areas: Areas | None = None
        self.revive: Callable[[Session], object] = lambda session: None
        speaker.on_driver = self.learn

    def __len__(self) -> int:
        return len(self._lives)

    def held_by(self, session: Session) -> Live:
        """The driver this session may move. Raises Refusal wrong_state or superseded."""
        live = self._lives.get(session.user_id)
        if live is not None and _is_his(live.session, session):
            return live
        if (seat := self._seats.get(session.device)) is not None:
            return seat
        if live is None and not session.superseded:
            metrics.FIXES.n["offline",] += 1
            raise Refusal("wrong_state", "Go online first.")
        metrics.FIXES.n["superseded",] += 1
        raise Refusal("superseded")

    def clock_ms(self, session: Session) -> int:
        """By so much the clock of this driver's phone is behind, as far as is known here."""
        live = self._lives.get(session.user_id)
        return live.track.clock_ms(self._tick.now_ms()) if live and _is_his(live.session, session) else 0

    def last(self, driver_id: str, job_id: str) -> tuple[float, float, int, float | None] | None:
        """(lat, lng, ts_ms, heading) of a driver whose device is here, as far as it is this job's business: while he is
        on it, and from when he was."""
        live = self._lives.get(driver_id)
        if live is None:
            return None
        if not any(job.job_id == job_id and job.from_ms <= live.latest_ms for job in live.jobs):
            return None
        return live.lat, live.lng, live.ts_ms, live.heading

    def seat(self, session: Session, latitude: float, longitude: float) -> Live:
        """This device is about to go online; its record, when the log tells it, makes it count."""
        area = self.areas.find(latitude, longitude) if self.areas else None
        live = Live(session, area.policy if area else _DEFAULT_POLICY)
        counts, before = self._lives.get(session.user_id), self._seats.get(session.device)
        live.floor = counts.generation if counts is not None else 0
        live.before = before and (before.before or before)
        self._seats[session.device] = live
        session.superseded = False
        now_ms = self._tick.now_ms()
        live.track.judge(None, latitude, longitude, None, now_ms=now_ms, policy=live.policy)
        self.moved(live, latitude, longitude, None, now_ms)
        return live

    def give_up(self, seat: Live) -> None:
        """The device may not go online."""
        device = seat.session.device
        if self._seats.get(device) is seat:
            del self._seats[device]
            if seat.before is not None:
                self._seats[device] = seat.before

    def unseat(self, session: Session) -> None:
        """The device went away: it leaves the index; its record is left to its timer."""
        self._seats.pop(session.device, None)
        live = self._lives.get(session.user_id)
        if live is None or live.session is not session:
            return
        del self._lives[session.user_id]
        self._tick.updates.pop(session.user_id, None)
        if live.indexed:
            live.flag, live.sign_ms = "l", 0
            self._tick.put(live.driver_id, live)

    def forget_all(self) -> None:
        """The log was lost track of: nothing here can be trusted any more."""
        self._lives.clear()
        self._seats.clear()
        self._tick.updates.clear()

    def enter_again(self) -> None:
        """Redis may have lost the index: everybody enters it with his next fix."""
        for live in self._lives.values():
            live.indexed = False

    def moved(
        self, live: Live, latitude: float, longitude: float, heading: float | None, now_ms: int
    ) -> None:
        """The believed position changed: it goes into the next tick, over what waits there."""
        live.lat, live.lng, live.heading = latitude, longitude, heading
        live.ts_ms = live.track.at_ms
        live.latest_ms = live.ts_ms if live.ts_ms - now_ms < FAST_MS else now_ms
        if not live.generation:
            return  # what waits in the tick is of the device that counts
        waits = live.driver_id in self._tick.updates
        if not live.available:
            flag = live.flag if waits else "-"  # what was foretold of him goes with it
        elif live.indexed and not (waits and live.flag == "e"):
            flag = "m"
        else:
            flag = "e"
        self._sign(live, waits, now_ms)
        if flag != "-" or live.sign_ms or live.jobs:
            live.indexed, live.flag = live.indexed or live.available, flag
            self._tick.put(live.driver_id, live)

    def foretell(self, live: Live, now_ms: int) -> None:
        """Where his ride ends, and when, goes into the index with the position that waits for the tick, once that is
        soon; and out of it where it turns out not to be."""
        live.foretold_ms, (job, *_) = now_ms, live.jobs
        to = job.target
        rest_s = distance_m(live.lat, live.lng, to.latitude, to.longitude) * job.pace_s_per_m
        if rest_s <= live.policy.finishing_s:
            entry = pack(to.latitude, to.longitude, now_ms + int(rest_s * 1000), None)
            live.soon = cell_of(to.latitude, to.longitude), entry
            live.flag = "m" if live.indexed and live.flag != "e" else "e"
            live.indexed = True
        elif live.indexed:
            live.indexed, live.flag, live.soon = False, "l", None

    def heard(self, live: Live, now_ms: int) -> None:
        """A fix that was not believed is still a sign of life: he is there, only his GPS is not."""
        waits = live.driver_id in self._tick.updates
        self._sign(live, waits, now_ms)
        if live.sign_ms and not waits and live.ts_ms:
            live.flag = "-"
            self._tick.put(live.driver_id, live)

    def _sign(self, live: Live, waits: bool, now_ms: int) -> None:
        """How long he counts as alive from now, when that is due to be said again; else 0."""
        if live.generation and (now_ms - live.signed_ms) * SIGNS_PER_SILENCE > live.policy.stale_s * 1000:
            live.signed_ms, live.sign_ms = now_ms, int(live.policy.stale_s * 1000)
        elif not waits:
            live.sign_ms = 0

    def ask_to_revive(self, live: Live, now_ms: int) -> None:
        if live.stale and now_ms - live.revived_ms > REVIVE_AGAIN_MS:
            live.revived_ms = now_ms
            self.revive(live.session)

    def learn(self, driver: Driver) -> None:
        """A driver's record, as the log tells it: what he is on, and whether he is in supply."""
        live = self._lives.get(driver.id)
        if live is not None and driver.version <= live.version:
            return
        here = driver.node == self._tick.node
        seat = self._seats.get(driver.device) if here else None
        if seat is not None and driver.generation > seat.floor:
            live = self._take(seat, live, driver)
        if live is None:
            return
        if not here or driver.device != live.session.device:
            self._lose(live, driver)
            return
        if not driver.online:
            self._lives.pop(driver.id)
            self._tick.updates.pop(driver.id, None)
            return
        if driver.generation != live.generation:
            live.indexed, live.signed_ms = False, 0
        self._adopt(live, driver)

    def _take(self, seat: Live, before: Live | None, driver: Driver) -> Live:
        """The device in the seat counts from now on, and the one before it no more."""
        del self._seats[driver.device]
        self._tick.updates.pop(driver.id, None)
        if before is not None and before.session is not seat.session:
            self._supersede(before.session, driver.generation)
        self._lives[driver.id] = seat
        return seat

    def _lose(self, live: Live, driver: Driver) -> None:
        del self._lives[driver.id]
        self._tick.updates.pop(driver.id, None)
        self._supersede(live.session, driver.generation)

    def _supersede(self, session: Session, generation: int) -> None:
        session.superseded = True
        self._speaker.superseded(session, generation)

    def _adopt(self, live: Live, driver: Driver) -> None:
        live.generation, live.version = driver.generation, driver.version
        live.stale, live.available = driver.stale, driver.available
        had, live.jobs = {job.job_id for job in live.jobs}, _bindings(driver, live.jobs)
        if any(job.job_id not in had for job in live.jobs):
            live.track.tell_next()
        live.shown_ms = max((job.from_ms for job in live.jobs), default=0)
        if self.areas is not None and (area := self.areas.get(driver.area_id)) is not None:
            live.policy, live.area = area.policy, area
        classes = _soon_classes(driver) if live.policy.finishing_s else []
        live.finishing, live.soon, live.foretold_ms = bool(classes), None, 0
        live.classes = ",".join(classes or driver.classes)
        if live.available and live.ts_ms:
            # free again: he stands in the index now, not only after his next fix
            self._sign(live, driver.id in self._tick.updates, self._tick.now_ms())
            live.indexed, live.flag = True, "e"
            self._tick.put(driver.id, live)
        elif not live.available:
            live.indexed, live.flag = False, "-"


def _soon_classes(driver: Driver) -> list[str]:
    """In which he may have one more ride, after the one on board."""
    if not driver.finishing or not driver.online or driver.stale or driver.offer_id is not None:
        return []
    return [soon(name) for name in driver.classes if name != PARCEL_CLASS]


def _is_his(holder: Session, session: Session) -> bool:
    """The same session, or over HTTP, where each request has one, the same login."""
    return holder is session or (holder.wire is None and holder.device == session.device)


def _bindings(driver: Driver, had: tuple[Binding, ...]) -> tuple[Binding, ...]:
    """The jobs on a driver's plan in its order, each with where he is going for it: to the pickup, and from there to
    the dropoff (nobody tells when a stop of its own on the way is behind him), by way of the stops before. A ride that
    comes after another has no place in it: where he is until then is not for its parties. Nor is where he was before
    the record that gave him a job: the first with it, or a later one where his device came here with it."""
    jobs: dict[str, Binding] = {}
    stops = [stop for stop in driver.plan if stop.what != "stop" and not driver.has_queued(stop.job_id)]
    after_m, known = 0.0, {job.job_id: job.from_ms for job in had}
    for between, stop in enumerate(stops):
        if between:
            before = stops[between - 1].place
            after_m += distance_m(*_deg(before), *_deg(stop.place))
        if stop.job_id not in jobs:
            room = f"{stop.kind}:{stop.job_id}"
            field = id_field(stop.kind)
            from_ms = max(known.get(stop.job_id, driver.changed_ms), driver.ride_over_ms)
            jobs[stop.job_id] = Binding(room, field, stop.job_id, stops[0].place, after_m, between, from_ms)
    return tuple(jobs.values())


def _deg(place: Place) -> tuple[float, float]:
    return place.latitude, place.longitude
