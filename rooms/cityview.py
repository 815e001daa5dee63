"""The city as a console sees it: a model of vehicles and jobs, and the frames that tell its changes. Pure.

A vehicle is told once with its names and a number, and until these change by the number alone; a position has five
decimals of a degree (a metre), sent as whole numbers. What changes several times between two frames is told once, as
it is then.

    driver row   [number, id, name, "class,class", area]
    place row    [number, latitude x 1e5, longitude x 1e5, heading or -1, state, fix: ms before the frame's atMs]
    state        0 idle, 1 offered, 2 busy, 3 stale
"""

from itertools import islice
from typing import Any, Final

from storage.records import Driver, Job, Place

VEHICLES_MAX: Final = 20_000  # further ones are not shown
PLACES_A_FRAME: Final = 1_500
JOBS_A_FRAME: Final = 400
BASE_A_FRAME: Final = 400  # vehicles, and as many jobs
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


class CityView:
    def __init__(self) -> None:
        self._drivers: dict[str, Seen] = {}
        self._jobs: dict[str, Job] = {}
        self._number = 0
        self._moved: dict[str, None] = {}
        self._new: dict[str, None] = {}
        self._gone: list[int] = []
        self._opened: dict[str, None] = {}
        self._over: dict[str, None] = {}

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
            self._new[driver.id] = None
        else:
            row, state = seen.row(), seen.state
            seen.take(driver)
            if seen.row() != row:
                self._new[driver.id] = None
            elif seen.state != state:
                self._moved[driver.id] = None

    def fix(
        self, driver_id: str, ts_ms: int, lat_deg: float, lng_deg: float, heading_deg: float | None
    ) -> None:
        seen = self._drivers.get(driver_id)
        if seen is not None and ts_ms > seen.ts_ms:
            seen.lat, seen.lng, seen.heading, seen.ts_ms = lat_deg, lng_deg, heading_deg, ts_ms
            self._moved[driver_id] = None

    def job(self, job: Job) -> None:
        known = self._jobs.get(job.id)
        if known is not None and job.version <= known.version:
            return
        if job.ended_ms:
            if self._jobs.pop(job.id, None) is not None:
                self._opened.pop(job.id, None)
                self._over[job.id] = None
        else:
            self._jobs[job.id] = job
            self._opened[job.id] = None
            self._over.pop(job.id, None)

    def keep_only(self, driver_ids: set[str], job_ids: set[str]) -> None:
        """Whoever is not among these is gone."""
        for id_ in self._drivers.keys() - driver_ids:
            self._forget(id_)
        for id_ in self._jobs.keys() - job_ids:
            del self._jobs[id_]
            self._opened.pop(id_, None)
            self._over[id_] = None

    def changes(self, now_ms: int) -> Frame | None:
        """What changed since the last call, and bounded; None when nothing did."""
        new = _taken(self._new, PLACES_A_FRAME)
        rows = [self._drivers[id_].row() for id_ in new]
        for id_ in new:
            self._moved.pop(id_, None)
        moved = _taken(self._moved, PLACES_A_FRAME - len(new))
        # who is still to be told of is told with his place
        placed = [*new, *(id_ for id_ in moved if id_ not in self._new)]
        places = [place for id_ in placed if (place := self._place(id_, now_ms))]
        jobs = [self._told(id_) for id_ in _taken(self._opened, JOBS_A_FRAME)]
        over, gone = list(self._over), self._gone
        self._over, self._gone = {}, []
        if not (rows or places or gone or jobs or over):
            return None
        return {"drivers": rows, "places": places, "gone": gone, "jobs": jobs, "over": over}

    def everybody(self) -> list[str]:
        """The vehicles, for `base`."""
        return list(self._drivers)

    def jobs(self) -> list[str]:
        """The jobs, for `base`."""
        return list(self._jobs)

    def base(self, driver_ids: list[str], job_ids: list[str], now_ms: int) -> Frame:
        """These as they are now, for who knows nothing of them yet."""
        here = [id_ for id_ in driver_ids if id_ in self._drivers]
        places = [place for id_ in here if (place := self._place(id_, now_ms))]
        jobs = [self._told(id_) for id_ in job_ids if id_ in self._jobs]
        rows = [self._drivers[id_].row() for id_ in here]
        return {"drivers": rows, "places": places, "gone": [], "jobs": jobs, "over": []}

    def _place(self, driver_id: str, now_ms: int) -> list[int] | None:
        return self._drivers[driver_id].place(now_ms)

    def _forget(self, driver_id: str) -> None:
        seen = self._drivers.pop(driver_id, None)
        if seen is not None:
            self._gone.append(seen.number)
            self._moved.pop(driver_id, None)
            self._new.pop(driver_id, None)

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
