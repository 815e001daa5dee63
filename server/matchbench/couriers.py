"""An evening of couriers is played: parcels go into plans, as the server puts them there, or as one that moves them.

**The server's way** (`SERVER`): a parcel that is not ready is held until booking.py lets its search begin, and is in no
plan before; a courier's next stop is his, ready or not (carrying.py); of those who carry something the nearest are
looked at, as many as in the batch; whoever has a parcel keeps it. Everybody says yes at once. **The other**
(`MOVING`): a parcel is planned as soon as it is known, nobody sets out before he has to, and when one comes some of
those that nobody has set out for are put elsewhere (insertion.relocate).
"""

from __future__ import annotations

import heapq
import time
from typing import Final, NamedTuple

import numpy as np

from dispatch.area import Area
from dispatch.booking import BEST, lead_s
from dispatch.eta import Floats
from dispatch.insertion import Plan, Stops, cost_s, insert, relocate, set_out
from dispatch.matching import Ranked
from dispatch.policy import Policy
from dispatch.proposal import BUSY_MAX


class Evening(NamedTuple):
    """Rows of `places`: the couriers, the pickups in the order in which they are known, the dropoffs."""

    places: Stops
    plans: list[Plan]
    known_s: Floats


class Way(NamedTuple):
    """So many parcels may move when one comes; `holds`: who is not ready is in no plan, and a next stop is taken."""

    moves: int
    holds: bool


SERVER: Final = Way(0, True)
MOVING: Final = Way(6, False)


class Played(NamedTuple):
    """`cost_s` is of what was driven in the end; `moments` are (how many parcels are planned, plans, places)."""

    cost_s: float
    spent_ms: list[float]
    moments: list[tuple[int, list[Plan], Stops]]


def play(shown: Evening, policy: Policy, way: Way, look_at: tuple[int, ...]) -> Played:
    places, plans, cost, spent_ms = shown.places, list(shown.plans), 0.0, list[float]()
    moments, late_weight, area = list[tuple[int, list[Plan], Stops]](), policy.late_weight, _of(policy)

    def go_on(now_s: float) -> float:
        """What was driven up to now, since the last time."""
        driven = 0.0
        for at, plan in enumerate(plans):
            plans[at] = (under_way if way.holds else set_out)(plan, places, now_s)
            bound = plan.stops[: len(plan.stops) - len(plans[at].stops)]
            driven += cost_s(plan._replace(stops=bound), places, late_weight)
        return driven

    waiting = [
        (known_s, len(plans) + parcel, way.holds) for parcel, known_s in enumerate(shown.known_s.tolist())
    ]
    heapq.heapify(waiting)
    while waiting:
        now_s, pickup, may_wait = heapq.heappop(waiting)
        cost += go_on(now_s)
        if may_wait and (begins_s := search_begins_s(plans, pickup, places, area)) > now_s:
            heapq.heappush(waiting, (begins_s, pickup, False))
            continue
        began_s = time.perf_counter()
        asked = _asked(plans, pickup, places) if way.holds else list(range(len(plans)))
        chosen = insert([plans[at] for at in asked], pickup, places, late_weight)
        if chosen is None:
            raise RuntimeError("no courier has room")
        plans[asked[chosen[0]]] = chosen[1]
        if way.moves:
            plans[:] = relocate(plans, pickup, places, late_weight, way.moves)
        spent_ms.append((time.perf_counter() - began_s) * 1e3)
        if way.holds:
            cost += go_on(now_s)  # who had nothing else is on his way there
        if len(spent_ms) - 1 in look_at:
            moments.append((len(spent_ms) - 1, list(plans), places))
    return Played(cost + go_on(np.inf), spent_ms, moments)


def search_begins_s(plans: list[Plan], pickup: int, places: Stops, area: Area) -> float:
    """When somebody is asked for a parcel, by those who are nearest as they are now (booking.py)."""
    there_s = sorted(_there_s(plans, pickup, places))[:BEST]
    best = [Ranked("", 0.0, area.policy.pickup_overhead_s + each_s) for each_s in there_s]
    return float(places.ready_s[pickup]) - lead_s(best, area)


def under_way(plan: Plan, places: Stops, now_s: float) -> Plan:
    """The plan as of now: as soon as a stop is done, the next is his, whether it is ready or not."""
    while plan.stops and plan.free_s + float(places.dwell_s[plan.start]) <= now_s:
        stop = plan.stops[0]
        begins_s = max(plan.free_s + float(places.legs_s[plan.start, stop]), float(places.ready_s[stop]))
        load = plan.load + int(places.units[stop])
        plan = Plan(plan.version + 1, stop, begins_s, load, plan.capacity, plan.stops[1:])
    return plan._replace(free_s=max(plan.free_s, now_s - float(places.dwell_s[plan.start])))


def _asked(plans: list[Plan], pickup: int, places: Stops) -> list[int]:
    """Who is free, and the nearest of those who carry something or are on their way to."""
    there_s = _there_s(plans, pickup, places)
    busy = [at for at, plan in enumerate(plans) if plan.stops or plan.load]
    nearest = sorted(busy, key=lambda at: (there_s[at], at))[:BUSY_MAX]
    return sorted({*range(len(plans))} - {*busy} | {*nearest})


def _there_s(plans: list[Plan], pickup: int, places: Stops) -> list[float]:
    """Of driving, from where each is or is bound for."""
    return [float(places.legs_s[plan.start, pickup] - places.dwell_s[plan.start]) for plan in plans]


def _of(policy: Policy) -> Area:
    return Area(id="evening", name="", shard="", polygon={}, currency="USD", policy=policy)
