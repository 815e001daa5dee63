"""Several parcels on one courier: where in whose plan of stops a parcel costs least, and what moves when it came.

Pure, over arrays. **Stops** are all places that matter now, as rows: where each courier is (or is bound for), and the
pickup and dropoff of each parcel that waits or is on board. **A plan** is a courier's next stops in order. Its cost is
the seconds of its legs, and `late_weight` for each second after a promise; waiting for a parcel that is not ready
costs nothing but what it makes late. Capacity holds at every stop; a pickup comes before its dropoff, in one plan.

**Insertion** tries the pickup at each place in each plan, with the dropoff at each place after it, the order of the
others unchanged (cheapest insertion: Solomon 1987; Jaw et al. 1986 for pickups with dropoffs), all at once: with C_i
the seconds of driving up to stop i and r_i when it is ready, service begins at C_i + max(free, max_{j<=i}(r_j - C_j)),
so that a running maximum gives the times of thousands of orders without a loop. 0.3 ms with 40 couriers.

**Held until they leave.** Whoever would wait at a pickup leaves later instead (`leaves_s`), and until then his parcels
may still go to somebody else: `relocate` takes parcels that nobody has set out for, those next to the new one first,
and puts each where it costs least. It never makes the whole dearer. Only `set_out` binds a stop to its courier. The
server does without both: it holds what is not ready before anybody has it (booking.py), and whoever has a parcel keeps
it; what moving them would save, the measurement says (server/matchbench/insertion.py).

A plan is versioned: what was found out about version n becomes version n + 1.
"""

from collections.abc import Sequence
from functools import cache
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dispatch.eta import Floats

Ints = NDArray[np.int64]

MAX_STOPS: Final = 24  # in a plan; a courier with more gets nothing on top
_LEAST_S: Final = 1e-6  # a smaller gain is rounding


class Stops(NamedTuple):
    """p places and, as the last row, nowhere: (p + 1,) each. Made by `stops`."""

    legs_s: Floats  # (p + 1, p + 1) seconds from beginning a stop to beginning the next, the dwell included
    dwell_s: Floats  # how long one stays
    ready_s: Floats  # when it can begin at the earliest
    due_s: Floats  # when it was promised at the latest; infinite for anything but dropoffs
    units: Ints  # what comes on board, negative for dropoffs
    other: Ints  # a pickup's dropoff and the other way round; nowhere's row for a courier's place


class Plan(NamedTuple):
    """One courier: he begins at the row `start`, whose dwell begins at `free_s`, with `load` of `capacity` units."""

    version: int
    start: int
    free_s: float
    load: int
    capacity: int
    stops: tuple[int, ...] = ()


class Inserted(NamedTuple):
    """One parcel into each of k plans: what it adds (infinite where it does not fit), and all that was tried."""

    added_s: Floats  # (k,)
    cost_s: Floats  # (orders,) of each order of each plan, plan after plan
    orders: Ints  # (longest + 2, orders) rows of stops; the rest is nowhere
    first: Ints  # (k,) where each plan's orders begin

    def plan(self, plans: Sequence[Plan], at: int) -> Plan:
        """The plan at this place with the parcel in it, as its next version."""
        begin = int(self.first[at])
        end = int(self.first[at + 1]) if at + 1 < len(self.first) else len(self.cost_s)
        order = self.orders[: len(plans[at].stops) + 2, begin + int(np.argmin(self.cost_s[begin:end]))]
        return plans[at]._replace(version=plans[at].version + 1, stops=tuple(order.tolist()))


def stops(
    drive_s: Floats, *, dwell_s: Floats, ready_s: Floats, due_s: Floats, units: Ints, other: Ints
) -> Stops:
    """From seconds of driving (p, p) and a row for each of p places; `other` is -1 for a courier's place.

    Places that are 0 s apart are one: who serves several there stays once, for the dwell of the last.
    """
    p = len(drive_s)
    legs_s = np.zeros((p + 1, p + 1))
    legs_s[:p, :p] = np.where(drive_s > 0.0, drive_s + dwell_s[:, None], 0.0)
    return Stops(
        legs_s,
        np.append(dwell_s, 0.0),
        np.append(ready_s, -np.inf),
        np.append(due_s, np.inf),
        np.append(units, 0),
        np.append(np.where(other < 0, p, other), p),
    )


def cost_s(plan: Plan, places: Stops, late_weight: float) -> float:
    """What a plan costs from here on."""
    total_s, _, late_s = timetable(plan, places)
    return total_s + late_weight * late_s


def timetable(plan: Plan, places: Stops) -> tuple[float, list[float], float]:
    """Seconds of all legs, when each stop begins, and the seconds of all that is late."""
    now_s, at, legs_s, late_s, begins_s = plan.free_s, plan.start, 0.0, 0.0, list[float]()
    for stop in plan.stops:
        leg_s = float(places.legs_s[at, stop])
        now_s = max(now_s + leg_s, float(places.ready_s[stop]))
        legs_s += leg_s
        late_s += max(0.0, now_s - float(places.due_s[stop]))
        begins_s.append(now_s)
        at = stop
    return legs_s, begins_s, late_s


def insertions(
    plans: Sequence[Plan], pickup: int, places: Stops, late_weight: float, latest_s: float = np.inf
) -> Inserted:
    """The cheapest way to take one parcel into each plan, its pickup begun by `latest_s`."""
    nowhere = len(places.ready_s) - 1
    counts = [len(plan.stops) for plan in plans]
    longest = max([each for each in counts if each <= MAX_STOPS], default=0)
    rows = np.full((len(plans), longest + 3), nowhere)
    for at, plan in enumerate(plans):
        if counts[at] <= longest:
            rows[at, : counts[at]] = plan.stops
    rows[:, longest] = pickup
    rows[:, longest + 1] = places.other[pickup]
    tried = [_orders(count if count <= longest else 0, longest) for count in counts]
    first = np.cumsum([0, *(orders.shape[1] for orders in tried[:-1])])
    plan_of = np.repeat(np.arange(len(plans)), [orders.shape[1] for orders in tried])
    sequences = rows[plan_of, np.concatenate(tried, axis=1)]
    cost, begins_s = _costs(sequences, plans, plan_of, places, late_weight)
    if np.isfinite(latest_s):
        cost[((sequences == pickup) & (begins_s > latest_s)).any(axis=0)] = np.inf
    before = cost[first]
    cost[first] = np.inf  # the first order of each is the plan as it is
    best = np.minimum.reduceat(cost, first)
    fits = np.isfinite(before) & (np.array(counts) <= longest)
    added_s = np.where(fits, best - np.where(fits, before, 0.0), np.inf)
    return Inserted(added_s, cost, sequences, first)


def insert(plans: Sequence[Plan], pickup: int, places: Stops, late_weight: float) -> tuple[int, Plan] | None:
    """The place of the plan in which a parcel costs least, and that plan with it; None when it fits nowhere."""
    if not plans:
        return None
    found = insertions(plans, pickup, places, late_weight)
    best = int(np.argmin(found.added_s))
    return (best, found.plan(plans, best)) if np.isfinite(found.added_s[best]) else None


def relocate(plans: Sequence[Plan], new: int, places: Stops, late_weight: float, tries: int) -> list[Plan]:
    """After the parcel `new` came: at most `tries` parcels that nobody has set out for are taken out, the nearest to
    the new one first, and each put where it costs least. Plans that change get one version more."""
    now = dict(enumerate(plans))
    at_of = {
        stop: at for at, plan in now.items() for stop in plan.stops if places.units[stop] > 0 and stop != new
    }
    ends = places.other

    def far_s(pickup: int) -> float:
        return float(min(places.legs_s[pickup, new], places.legs_s[ends[pickup], ends[new]]))

    with_new = next((at for at, plan in now.items() if new in plan.stops), -1)
    waiting = sorted(at_of, key=lambda pickup: (at_of[pickup] != with_new, far_s(pickup), pickup))
    for _ in range(tries):
        if not waiting:
            break
        pickup = waiting.pop(0)
        source = now[at_of[pickup]]
        without = source._replace(
            stops=tuple(each for each in source.stops if each not in (pickup, ends[pickup]))
        )
        saved_s = cost_s(source, places, late_weight) - cost_s(without, places, late_weight)
        trial = [without if at == at_of[pickup] else plan for at, plan in now.items()]
        found = insertions(trial, pickup, places, late_weight)
        best = int(np.argmin(found.added_s))
        if found.added_s[best] < saved_s - _LEAST_S:
            now[at_of[pickup]] = without
            now[best] = found.plan(trial, best)
            at_of[pickup] = best
            beside = [each for each in now[best].stops if each in at_of and each != pickup]
            waiting = beside + [each for each in waiting if each not in beside]
    return [
        now[at]._replace(version=plan.version + (now[at].stops != plan.stops))
        for at, plan in enumerate(plans)
    ]


def leaves_s(plan: Plan, places: Stops) -> float:
    """When he has to set out for his next stop: not before it can begin when he is there; infinite without a stop."""
    if not plan.stops:
        return np.inf
    leg_s = float(places.legs_s[plan.start, plan.stops[0]])
    return max(plan.free_s, float(places.ready_s[plan.stops[0]]) - leg_s)


def set_out(plan: Plan, places: Stops, now_s: float) -> Plan:
    """The plan as of now: every stop that it was time to set out for is bound to him, and behind `start`."""
    while plan.stops and (leaves := leaves_s(plan, places)) <= now_s:
        stop = plan.stops[0]
        begins_s = leaves + float(places.legs_s[plan.start, stop])
        load = plan.load + int(places.units[stop])
        plan = Plan(plan.version + 1, stop, begins_s, load, plan.capacity, plan.stops[1:])
    # who stays on after his dwell can leave at once
    return plan._replace(free_s=max(plan.free_s, now_s - float(places.dwell_s[plan.start])))


@cache
def _orders(count: int, longest: int) -> Ints:
    """(longest + 2, 1 + orders): a column for each order of `count` stops with a pickup and a dropoff among them, as
    places in a plan's row [stops ..., pickup, dropoff, nowhere]; the first column is the plan without them."""
    pickup, dropoff, nowhere = longest, longest + 1, longest + 2
    old = list(range(count))
    orders = [old]
    for i in range(count + 1):
        for j in range(i, count + 1):
            orders.append([*old[:i], pickup, *old[i:j], dropoff, *old[j:]])
    return np.array([each + [nowhere] * (longest + 2 - len(each)) for each in orders]).T


def _costs(
    sequences: Ints, plans: Sequence[Plan], plan_of: Ints, places: Stops, late_weight: float
) -> tuple[Floats, Floats]:
    """The cost of each column of `sequences`, a sequence of plan `plan_of`; infinite where the load is too much. And
    when each stop begins."""
    start, load, room = (
        np.array(each)[plan_of] for each in zip(*((p.start, p.load, p.capacity) for p in plans), strict=True)
    )
    free_s = np.array([plan.free_s for plan in plans])[plan_of]
    upto_s = places.legs_s[np.vstack([start, sequences[:-1]]), sequences]
    np.cumsum(upto_s, axis=0, out=upto_s)
    begins_s = places.ready_s[sequences] - upto_s
    np.maximum(begins_s, free_s, out=begins_s)
    np.maximum.accumulate(begins_s, axis=0, out=begins_s)
    begins_s += upto_s
    late_s = begins_s - places.due_s[sequences]
    np.maximum(late_s, 0.0, out=late_s)
    cost: Floats = upto_s[-1] + late_weight * late_s.sum(axis=0)
    most = np.cumsum(places.units[sequences], axis=0).max(axis=0) + load
    cost[most > room] = np.inf
    return cost, begins_s
