"""One more parcel for a courier who carries some already: where it goes in his plan of stops, and what that costs.

Pure, from records (the places, hours and units that insertion.py counts with): the batch asks it of all couriers in
reach of a parcel before it chooses, and the commit again of the one who took it, of his plan as it is by then.

His next stop is his: he is on his way there, and nothing is put before it. Of the places after it the parcel gets the
cheapest from which its pickup is in time. A parcel with stops of its own on the way goes to the end of the plan, and
whoever has nothing on his plan has its stops as his plan.

| when | then |
|---|---|
| his plan changed between the offer and his word | the parcel goes where it costs least by the plan as it is |
| no place is in time | it is where it costs least, and the batch sees that it is too late |
| nobody knows where he is when he says yes | in time is what it was from his next stop on when he was asked |
| an admin gives it to him | it goes where it costs least |
| it would have more than insertion.MAX_STOPS stops | he is not offered it; taken all the same, it comes last |
| a stop was done out of order | it is off the plan like any other; the rest keeps its order |
| a parcel is called off, failed for good or given back | its stops go, the others keep their order |
| nobody knows when a stop was promised (a record of before) | it is never late |
| nobody knows what a parcel on board weighs (likewise) | it counts as nothing |
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np

from dispatch import insertion
from dispatch.area import Area
from dispatch.cells import distance_m
from dispatch.policy import Policy
from dispatch.travel import drives_s
from storage.records import Driver, Job, JobId, Place, Stop


class Way(NamedTuple):
    """How a courier would carry a parcel: `cost_s` beside its own trip (extra seconds, and what is late by them;
    infinite where it does not fit), when he can be at its pickup (ready or not), of which `next_s` is until his next
    stop begins, and the straight metres to there by way of the stops."""

    cost_s: float
    eta_s: float
    distance_m: float
    plan: tuple[Stop, ...]
    next_s: float = 0.0


NO_WAY: Final = Way(np.inf, np.inf, np.inf, ())


def stops_of(job: Job, policy: Policy) -> tuple[Stop, ...]:
    """What a job asks of its driver, in order, as if nothing of it was done."""
    due_ms, weight_kg = _promised_ms(job, policy), job.parcel.weight_kg if job.parcel else 0.0
    return (
        Stop(job.kind, job.id, "pickup", job.pickup, ready_ms=job.scheduled_ms),
        *(Stop(job.kind, job.id, "stop", place) for place in job.stops),
        Stop(job.kind, job.id, "dropoff", job.dropoff, due_ms=due_ms, weight_kg=weight_kg),
    )


def ready_ms(job: Job) -> int:
    """From when on a job can begin."""
    return max(job.created_ms, job.scheduled_ms)


def latest_pickup_s(job: Job, policy: Policy, now_ms: int) -> float:
    """Whoever comes to the pickup later than this delivers late: in so many seconds. Infinite for rides."""
    return (_promised_ms(job, policy) - now_ms) / 1000 - job.duration_s if job.kind == "package" else np.inf


def _promised_ms(job: Job, policy: Policy) -> int:
    if job.kind != "package":
        return 0
    return ready_ms(job) + int((policy.promise_s + job.duration_s) * 1000)


def with_job(driver: Driver, job: Job, area: Area, now_ms: int, latest_s: float = np.inf) -> tuple[Stop, ...]:
    """His plan once the job is his: as if he were at his next stop now. A ride comes after what he has on board."""
    new = stops_of(job, area.policy)
    if not driver.plan or job.kind == "ride":
        return (*driver.plan, *new)
    (way,) = ways(job, [(driver, driver.plan[0].place)], area, now_ms, latest_s)
    return way.plan if np.isfinite(way.cost_s) else (*driver.plan, *new)


def ways(
    job: Job,
    couriers: Sequence[tuple[Driver, Place]],
    area: Area,
    now_ms: int,
    latest_s: float = np.inf,
) -> list[Way]:
    """For couriers with a plan, each with where he is now; all at once (insertion.py). At the pickup by `latest_s`,
    if that can be."""
    policy, new = area.policy, stops_of(job, area.policy)
    stops: list[Stop] = [*new]
    units = [_units(stop, job.units) for stop in new]
    begins = list[int]()
    for driver, place in couriers:
        begins.append(len(stops))
        stops += (_here(place), *driver.plan)
        units += (_on_board(driver), *(_units(stop, driver.load.get(stop.job_id, 0)) for stop in driver.plan))
    other = np.full(len(stops), -1)
    other[0], other[len(new) - 1] = len(new) - 1, 0
    places = insertion.stops(
        drives_s(area, [stop.place for stop in stops], now_ms),
        dwell_s=np.array([0.0 if stop.what == "here" else policy.stop_dwell_s for stop in stops]),
        ready_s=np.array([(stop.ready_ms - now_ms) / 1000 if stop.ready_ms else -np.inf for stop in stops]),
        due_s=np.array([(stop.due_ms - now_ms) / 1000 if stop.due_ms else np.inf for stop in stops]),
        units=np.array(units),
        other=other,
    )
    plans = list[insertion.Plan]()
    for (driver, _), here in zip(couriers, begins, strict=True):
        there_s = max(float(places.legs_s[here, here + 1]), float(places.ready_s[here + 1]))
        rest = tuple(range(here + 2, here + 1 + len(driver.plan)))
        load = units[here] + units[here + 1]
        plans.append(insertion.Plan(driver.version, here + 1, there_s, load, driver.capacity, rest))
    itself_s = float(sum(places.legs_s[a, b] for a, b in pairwise(range(len(new)))))
    found = []
    for added_s, plan in _taken(plans, len(new), places, policy.late_weight, latest_s):
        if not np.isfinite(added_s):
            found.append(NO_WAY)
            continue
        order = [stops[row] for row in (plan.start - 1, plan.start, *plan.stops)]
        at = plan.stops.index(0)
        _, begins_s, _ = insertion.timetable(plan, places)
        away_m = sum(_apart_m(a.place, b.place) for a, b in pairwise(order[: at + 3]))
        left_s, before = (begins_s[at - 1], plan.stops[at - 1]) if at else (plan.free_s, plan.start)
        there_s = left_s + float(places.legs_s[before, 0])
        found.append(Way(added_s - itself_s, there_s, away_m, tuple(order[1:]), plan.free_s))
    return found


def _taken(
    plans: Sequence[insertion.Plan], new: int, places: insertion.Stops, late_weight: float, latest_s: float
) -> list[tuple[float, insertion.Plan]]:
    """What the first `new` stops add to each plan, and it with them."""
    if new == 2:
        latest_s = max(latest_s, float(places.ready_s[0]))
        found = at_all = insertion.insertions(plans, 0, places, late_weight, latest_s)
        if not np.isfinite(found.added_s).all():
            at_all = insertion.insertions(plans, 0, places, late_weight)
        best = [found if np.isfinite(added_s) else at_all for added_s in found.added_s.tolist()]
        return [
            (float(of.added_s[at]), of.plan(plans, at) if np.isfinite(of.added_s[at]) else plan)
            for at, (of, plan) in enumerate(zip(best, plans, strict=True))
        ]
    taken = []
    for plan in plans:
        longer = plan._replace(stops=(*plan.stops, *range(new)))
        fits = len(longer.stops) <= insertion.MAX_STOPS
        more_s = insertion.cost_s(longer, places, late_weight) - insertion.cost_s(plan, places, late_weight)
        taken.append((more_s if fits else np.inf, longer))
    return taken


def _here(place: Place) -> Stop:
    return Stop("", JobId(""), "here", place)


def _apart_m(a: Place, b: Place) -> float:
    return distance_m(a.latitude, a.longitude, b.latitude, b.longitude)


def _units(stop: Stop, units: int) -> int:
    return {"pickup": units, "dropoff": -units}.get(stop.what, 0)


def _on_board(driver: Driver) -> int:
    waits = {stop.job_id for stop in driver.plan if stop.what == "pickup"}
    return sum(units for job_id, units in driver.load.items() if job_id not in waits)
