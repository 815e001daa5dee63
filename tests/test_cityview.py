"""The model behind the live map against a plain one: whoever hears every frame knows the city, however it changed."""

import random
from typing import Any

import pytest

from rooms.cityview import JOBS_A_FRAME, PLACES_A_FRAME, STATES, CityView, Due
from storage.records import JobId, OfferId, UserId
from tests.rules.build import a_driver, a_job

NOW_MS = 1_700_000_000_000


class Console:
    """What a page keeps of the frames."""

    def __init__(self) -> None:
        self.drivers: dict[int, list[Any]] = {}
        self.places: dict[int, list[int]] = {}
        self.jobs: dict[str, dict[str, Any]] = {}

    def hear(self, frame: dict[str, Any]) -> None:
        if not frame:
            return
        for number in frame["gone"]:
            self.drivers.pop(number, None)
            self.places.pop(number, None)
        self.drivers.update({row[0]: row for row in frame["drivers"]})
        self.places.update({row[0]: row for row in frame["places"]})
        for id_ in frame["over"]:
            self.jobs.pop(id_, None)
        self.jobs.update({job["id"]: job for job in frame["jobs"]})

    def shown(self) -> tuple[dict[str, tuple[int, int, str] | None], dict[str, str]]:
        places = {
            row[1]: (at[1], at[2], STATES[at[4]]) if (at := self.places.get(number)) else None
            for number, row in self.drivers.items()
        }
        return places, {id_: job["state"] for id_, job in self.jobs.items()}


def changes(view: CityView) -> dict[str, Any]:
    return view.frame(view.due.take(), NOW_MS)


@pytest.mark.parametrize("seed", range(5))
def test_frames_add_up_to_the_city(seed: int) -> None:
    rng = random.Random(seed)
    view, early, late = CityView(), Console(), Console()
    truth: dict[str, Any] = {}
    at: dict[str, tuple[int, int]] = {}
    jobs: dict[str, str] = {}
    versions: dict[str, int] = {}
    due: Due | None = None
    for step in range(400):
        id_ = f"d{rng.randrange(12)}"
        what = rng.random()
        if what < 0.4:
            versions[id_] = versions.get(id_, 0) + 1
            offer = OfferId("o") if rng.random() < 0.3 else None
            online, stale = rng.random() < 0.8, rng.random() < 0.1
            driver = a_driver(UserId(id_), version=versions[id_], online=online, stale=stale, offer_id=offer)
            view.driver(driver)
            if driver.online:
                truth[id_] = driver
            else:
                truth.pop(id_, None)
                at.pop(id_, None)
        elif what < 0.7:
            lat, lng = rng.randrange(-9_000_000, 9_000_000), rng.randrange(-18_000_000, 18_000_000)
            view.fix(id_, NOW_MS + step, lat / 1e5, lng / 1e5, None)
            if id_ in truth:
                at[id_] = lat, lng
            view.fix(id_, NOW_MS + step - 1, 0.0, 0.0, 90.0)  # an older one says nothing
        elif what < 0.9:
            job = f"j{rng.randrange(6)}"
            versions[job] = versions.get(job, 0) + 1
            ended = rng.random() < 0.3
            state = "cancelled" if ended else rng.choice(["searching", "offered", "assigned"])
            view.job(a_job("ride", state, id=JobId(job), ended_ms=int(ended), version=versions[job]))
            jobs.pop(job, None) if ended else jobs.update({job: state})
        else:
            taken = view.due.take()
            early.hear(view.frame(taken, NOW_MS))
            if due is not None:
                due.add(taken)
                if rng.random() < 0.3:  # he seldom reads, and little at once
                    late.hear(view.frame(due.take(2), NOW_MS))
        if step == 200:
            early.hear(changes(view))
            due = view.whole()
    taken = view.due.take()
    early.hear(view.frame(taken, NOW_MS))
    assert due is not None
    due.add(taken)
    while due:
        late.hear(view.frame(due.take(2), NOW_MS))
    wanted = {id_: (*at[id_], driver.state) if id_ in at else None for id_, driver in truth.items()}
    assert early.shown() == late.shown() == (wanted, jobs), f"seed {seed}"
    fresh = Console()
    fresh.hear(view.frame(view.whole(), NOW_MS))
    assert fresh.shown() == (wanted, jobs)
    assert changes(view) == {}


def test_a_frame_is_bounded_and_the_rest_comes_next() -> None:
    view, console = CityView(), Console()
    count = PLACES_A_FRAME + 200
    for n in range(count):
        view.driver(a_driver(UserId(f"d{n}")))
    changes(view)
    for n in range(count):
        view.fix(f"d{n}", NOW_MS, 1.0, 1.0, 359.6)
    first = changes(view)
    assert first and len(first["places"]) == PLACES_A_FRAME and first["places"][0][3] == 0
    console.hear(first)
    console.hear(changes(view))
    assert len(console.places) == count


def test_so_are_newcomers_and_jobs_and_a_survey_tells_nothing_twice() -> None:
    view, console = CityView(), Console()
    count = PLACES_A_FRAME + 50
    jobs = [a_job("ride", "searching", id=JobId(f"j{n}")) for n in range(JOBS_A_FRAME + 20)]
    for n in range(count):
        view.driver(a_driver(UserId(f"d{n}")))
        view.fix(f"d{n}", NOW_MS, 1.0, 1.0, None)
    for job in jobs:
        view.job(job)
    first = changes(view)
    assert first and len(first["drivers"]) == PLACES_A_FRAME and len(first["jobs"]) == JOBS_A_FRAME
    assert {row[0] for row in first["places"]} <= {row[0] for row in first["drivers"]}
    console.hear(first)
    console.hear(changes(view))
    assert len(console.places) == len(console.drivers) == count and len(console.jobs) == len(jobs)
    for job in jobs:
        view.job(job)
    assert changes(view) == {}


def test_another_name_or_class_is_told_under_the_same_number() -> None:
    view, console = CityView(), Console()
    view.driver(a_driver(version=1))
    console.hear(changes(view))
    view.driver(a_driver(version=2, classes=("xl",), area_id="hills"))
    console.hear(changes(view))
    assert [row[3:] for row in console.drivers.values()] == [["xl", "hills"]]


def test_what_a_survey_does_not_find_is_gone() -> None:
    view, console = CityView(), Console()
    for n in range(3):
        view.driver(a_driver(UserId(f"d{n}")))
        view.job(a_job("ride", "searching", id=JobId(f"j{n}")))
    console.hear(changes(view))
    view.keep_only({"d1"}, {"j2"})
    console.hear(changes(view))
    places, jobs = console.shown()
    assert [*places] == ["d1"] and [*jobs] == ["j2"]
