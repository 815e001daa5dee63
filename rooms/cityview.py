"""The city as a console sees it: a model of vehicles and jobs, and the frames that tell its changes. Pure.

A vehicle is told once with its names and a number, and until these change by the number alone; a position has five
decimals of a degree (a metre), sent as whole numbers. What changes several times between two frames is told once, as
it is then.

    driver row   [number, id, name, "class,class", area]
    place row    [number, latitude x 1e5, longitude x 1e5, heading or -1, state, fix: ms before the frame's atMs]
    state        0 idle, 1 offered, 2 busy, 3 stale
"""

from collections.abc import Iterable
from itertools import islice
from typing import Any, Final

from storage.records import Driver, Job, Place

VEHICLES_MAX: Final = 20_000  # further ones are not shown
PLACES_A_FRAME: Final = 1_500
JOBS_A_FRAME: Final = 400
BASE_A_FRAME: Final = 400  # vehicles, to one console
STATES: Final = ("idle", "offered", "busy", "stale")

Frame = dict[str, Any]


class Seen:
    """One vehicle. `lat` is None until anybody knows where it is."""

    __slots__ = (
        "area",
        "classes",
        "heading",
        "id",
        "lat",
        "lng",
        "name",
        "number",
        "state",
        "ts_ms",
        "version",
    )

    def __init__(self, number: int, driver: Driver) -> None:
        self.number, self.id = number, str(driver.id)
        self.lat: float | None = None
        self.lng = 0.0
        self.heading: float | None = None
        self.ts_ms = 0
        self.version = -1
        self.take(driver)

    def take(self, driver: Driver) -> None:
        self.name, self.classes, self.area = driver.name, ",".join(driver.classes), driver.area_id
        self.state, self.version = STATES.index(driver.state), driver.version

    def row(self) -> list[Any]:
        return [self.number, self.id, self.name, self.classes, self.area]

    def place(self, now_ms: int) -> list[int] | None:
        if self.lat is None:
            return None
        lat, lng = round(self.lat * 1e5), round(self.lng * 1e5)
        heading = -1 if self.heading is None else round(self.heading) % 360
        return [self.number, lat, lng, heading, self.state, max(0, now_ms - self.ts_ms)]


class Due:
    """What somebody has still to be told of, by id (`gone` by number): what it is, is looked up when he is told."""

    __slots__ = ("gone", "jobs", "moved", "new", "over")

    def __init__(self, new: Iterable[str] = (), jobs: Iterable[str] = ()) -> None:
        self.new = dict.fromkeys(new)  # who is told with his place; so nobody is here and in `moved`
        self.moved: dict[str, None] = {}
        self.gone: dict[int, None] = {}
        self.jobs = dict.fromkeys(jobs)
        self.over: dict[str, None] = {}

    def __bool__(self) -> bool:
        return bool(self.new or self.moved or self.gone or self.jobs or self.over)

    def introduce(self, driver_id: str) -> None:
        self.moved.pop(driver_id, None)
        self.new[driver_id] = None

    def move(self, driver_id: str) -> None:
        if driver_id not in self.new:
            self.moved[driver_id] = None

    def open(self, job_id: str) -> None:
        self.over.pop(job_id, None)
        self.jobs[job_id] = None

    def end(self, job_id: str) -> None:
        self.jobs.pop(job_id, None)
        self.over[job_id] = None

    def add(self, later: "Due") -> None:
        for id_ in later.new:
            self.introduce(id_)
        for id_ in later.moved:
            self.move(id_)
        for id_ in later.jobs:
            self.open(id_)
        for id_ in later.over:
            self.end(id_)
        self.gone |= later.gone

    def take(self, newcomers: int = PLACES_A_FRAME) -> "Due":
        """A frame's worth of it; the rest goes on waiting."""
        taken = Due(_taken(self.new, newcomers), _taken(self.jobs, JOBS_A_FRAME))
        taken.moved = dict.fromkeys(_taken(self.moved, PLACES_A_FRAME - len(taken.new)))
        taken.gone, taken.over, self.gone, self.over = self.gone, self.over, {}, {}
        return taken


class CityView:
    """`due`: what changed since somebody took it."""

    def __init__(self) -> None:
        self._drivers: dict[str, Seen] = {}
        self._jobs: dict[str, Job] = {}
        self._number = 0
        self.due = Due()

    def driver(self, driver: Driver) -> None:
        seen = self._drivers.get(driver.id)
        if seen is not None and driver.version < seen.version:
            return
        if not driver.online:
            self._forget(driver.id)
        elif seen is None:
            if len(self._drivers) >= VEHICLES_MAX:
                return
            self._number += 1
            self._drivers[driver.id] = Seen(self._number, driver)
            self.due.introduce(driver.id)
        else:
            row, state = seen.row(), seen.state
            seen.take(driver)
            if seen.row() != row:
                self.due.introduce(driver.id)
            elif seen.state != state:
                self.due.move(driver.id)

    def fix(
        self, driver_id: str, ts_ms: int, lat_deg: float, lng_deg: float, heading_deg: float | None
    ) -> None:
        seen = self._drivers.get(driver_id)
        if seen is not None and ts_ms > seen.ts_ms:
            seen.lat, seen.lng, seen.heading, seen.ts_ms = lat_deg, lng_deg, heading_deg, ts_ms
            self.due.move(driver_id)

    def job(self, job: Job) -> None:
        known = self._jobs.get(job.id)
        if known is not None and job.version <= known.version:
            return
        if job.ended_ms:
            if self._jobs.pop(job.id, None) is not None:
                self.due.end(job.id)
        else:
            self._jobs[job.id] = job
            self.due.open(job.id)

    def keep_only(self, driver_ids: set[str], job_ids: set[str]) -> None:
        """Whoever is not among these is gone."""
        for id_ in self._drivers.keys() - driver_ids:
            self._forget(id_)
        for id_ in self._jobs.keys() - job_ids:
            del self._jobs[id_]
            self.due.end(id_)

    def everybody(self) -> list[str]:
        return list(self._drivers)

    def jobs(self) -> list[str]:
        return list(self._jobs)

    def whole(self) -> Due:
        """All there is, for who knows nothing of it."""
        return Due(self._drivers, self._jobs)

    def frame(self, due: Due, now_ms: int) -> Frame:
        """These as they are now; empty when there is nothing to tell. Who is not here any more is told as gone."""
        new = [seen for id_ in due.new if (seen := self._drivers.get(id_))]
        moved = [seen for id_ in due.moved if (seen := self._drivers.get(id_))]
        rows = [seen.row() for seen in new]
        places = [place for seen in (*new, *moved) if (place := seen.place(now_ms))]
        jobs = [self._told(id_) for id_ in due.jobs if id_ in self._jobs]
        if not (rows or places or due.gone or jobs or due.over):
            return {}
        return {
            "drivers": rows,
            "places": places,
            "gone": list(due.gone),
            "jobs": jobs,
            "over": list(due.over),
        }

    def _forget(self, driver_id: str) -> None:
        seen = self._drivers.pop(driver_id, None)
        if seen is not None:
            self.due.gone[seen.number] = None
            self.due.moved.pop(driver_id, None)
            self.due.new.pop(driver_id, None)

    def _told(self, job_id: str) -> dict[str, Any]:
        job = self._jobs[job_id]
        return {
            "id": job.id,
            "kind": job.kind,
            "state": job.state,
            "version": job.version,
            "class": job.vehicle_class,
            "pickup": _point(job.pickup),
            "dropoff": _point(job.dropoff),
            "stops": [_point(stop) for stop in job.stops],
            "driverId": job.driver_id,
            "offeredTo": job.offered_to,
            "sinceMs": job.searching_ms or job.created_ms,
            "needsPerson": bool(job.needs_person),
        }


def _point(place: Place) -> list[float]:
    return [round(place.latitude, 5), round(place.longitude, 5)]


def _taken(waiting: dict[str, None], count: int) -> list[str]:
    """The first of those who wait; the others go on waiting."""
    some = list(islice(waiting, count))
    for id_ in some:
        del waiting[id_]
    return some
