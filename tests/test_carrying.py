"""A parcel more on a courier: by every order tried one by one, and what he is told of it."""

from __future__ import annotations

import itertools
import random
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from dispatch.area import Area
from dispatch.blocks import Blocks
from dispatch.candidates import at_once
from dispatch.carrying import NO_WAY, latest_pickup_s, stops_of, ways, with_job
from dispatch.cells import distance_m
from dispatch.commands import AcceptOffer
from dispatch.insertion import MAX_STOPS
from dispatch.match import offer_to
from dispatch.policy import Policy
from dispatch.proposal import Proposal
from dispatch.rules.release import past_pickup, without_job
from storage.fleet import Position
from storage.records import Driver, Job, Place, Stop
from tests.invariants import wrong
from tests.rules.build import DEE, JOB, NOW, OFFER, a_driver, a_job, carrying, home, town, world
from tests.test_cells import moved

POLICY = Policy()
(TOWN,) = town()
CENTRE = (49.99, 36.23)


def east(metres: float) -> Place:
    return Place(*moved(*CENTRE, np.pi / 2, metres))


def parcel(id_: str, start_m: float, end_m: float, **more: Any) -> Job:
    state = more.pop("state", "searching")
    return a_job("package", state, id=id_, pickup=east(start_m), dropoff=east(end_m), **more)


def drive_s(a: Place, b: Place) -> float:
    away_m = distance_m(a.latitude, a.longitude, b.latitude, b.longitude)
    return away_m * POLICY.detour / POLICY.cruise_speed_mps


def cost_s(plan: tuple[Stop, ...], at: Place) -> float:
    """Seconds of the plan and what is late in it, counted stop by stop."""
    now_s = total_s = late_s = 0.0
    dwell_s = 0.0
    for stop in plan:
        leg_s = drive_s(at, stop.place)
        leg_s += dwell_s if leg_s > 0.0 else 0.0
        total_s += leg_s
        now_s = max(now_s + leg_s, (stop.ready_ms - NOW) / 1000 if stop.ready_ms else now_s + leg_s)
        late_s += max(0.0, now_s - (stop.due_ms - NOW) / 1000) if stop.due_ms else 0.0
        at, dwell_s = stop.place, POLICY.stop_dwell_s
    return total_s + POLICY.late_weight * late_s


def begins_s(plan: tuple[Stop, ...], job_id: str, at: Place) -> float:
    """When the pickup of a parcel begins."""
    now_s = dwell_s = 0.0
    for stop in plan:
        leg_s = drive_s(at, stop.place)
        now_s = max(now_s + leg_s + (dwell_s if leg_s > 0.0 else 0.0), (stop.ready_ms - NOW) / 1000)
        if stop.job_id == job_id:
            break
        at, dwell_s = stop.place, POLICY.stop_dwell_s
    return now_s


def assigned(driver: Driver, job: Job, area: Area = TOWN) -> Driver:
    return replace(driver, load={**driver.load, job.id: job.units}, plan=with_job(driver, job, area, NOW))


def names(plan: tuple[Stop, ...]) -> list[str]:
    return [f"{'+' if stop.what == 'pickup' else '-'}{stop.job_id}" for stop in plan]


@pytest.mark.parametrize("seed", range(40))
def test_no_other_order_is_cheaper(seed: int) -> None:
    """With the next stop first, the others in their order, the pickup before its dropoff, and in time if it can be."""
    r = random.Random(seed)
    driver = a_driver(capacity=5)

    def some(number: int) -> Job:
        return parcel(
            f"job-{number}",
            r.uniform(-4_000, 4_000),
            r.uniform(-4_000, 4_000),
            scheduled_ms=NOW + r.randrange(900_000) if r.random() < 0.3 else 0,
            duration_s=r.uniform(100.0, 600.0),
            created_ms=NOW - r.randrange(4_000_000),
        )

    for number in range(r.randint(1, 3)):
        driver = assigned(driver, some(number + 1))
    if r.random() < 0.5:  # the first is on board
        driver = replace(driver, plan=driver.plan[1:])
    new, at = some(9), east(r.uniform(-5_000, 5_000))
    latest_s = r.choice([200.0, 600.0, np.inf])
    (way,) = ways(new, [(driver, at)], TOWN, NOW, latest_s)
    pickup, dropoff = stops_of(new, POLICY)
    first, rest = driver.plan[0], driver.plan[1:]
    orders = []
    for one, two in itertools.combinations_with_replacement(range(len(rest) + 1), 2):
        orders.append((first, *rest[:one], pickup, *rest[one:two], dropoff, *rest[two:]))
    latest_s = max(latest_s, (pickup.ready_ms - NOW) / 1000)
    in_time = [order for order in orders if begins_s(order, new.id, at) <= latest_s]
    tried = [cost_s(order, at) for order in in_time or orders]
    itself_s = drive_s(new.pickup, new.dropoff) + POLICY.stop_dwell_s
    least_s = min(tried) - cost_s(driver.plan, at) - itself_s
    assert way.cost_s == pytest.approx(least_s, abs=1e-3)
    assert cost_s(way.plan, at) == pytest.approx(min(tried), abs=1e-3)


@pytest.mark.parametrize("seed", range(20))
def test_many_at_once_are_each_alone(seed: int) -> None:
    r = random.Random(seed)
    couriers = []
    for _ in range(r.randint(2, 8)):
        driver = a_driver(capacity=4)
        for number in range(r.randint(1, 3)):
            job = parcel(f"job-{number + 1}", r.uniform(-4_000, 4_000), r.uniform(-4_000, 4_000))
            driver = assigned(driver, job)
        couriers.append((driver, east(r.uniform(-4_000, 4_000))))
    new = parcel("job-9", 100.0, 2_000.0)
    together = ways(new, couriers, TOWN, NOW)
    for courier, way in zip(couriers, together, strict=True):
        (alone,) = ways(new, [courier], TOWN, NOW)
        assert way.plan == alone.plan and way.cost_s == pytest.approx(alone.cost_s)
        assert (way.eta_s, way.distance_m) == pytest.approx((alone.eta_s, alone.distance_m))


@pytest.mark.parametrize("away_m", [0.0, 2_000.0])
@pytest.mark.parametrize("dropoffs", [4, 8, 11])
def test_in_time_though_it_costs_more(dropoffs: int, away_m: float) -> None:
    """A street of dropoffs, and the parcel lies at its end. He is asked as long as any place is in time, and has it
    there once he said yes, wherever he is by then."""
    on_board = [
        parcel(f"job-{n + 1}", 0.0, 150.0 * n, state="picked_up", created_ms=NOW + 3_600_000, started_ms=NOW)
        for n in range(1, dropoffs + 1)
    ]
    plan = tuple(stops_of(job, POLICY)[1] for job in on_board)
    driver = a_driver(capacity=20, classes=("parcel",), plan=plan, load={job.id: 1 for job in on_board})
    new = parcel(JOB, 142.5 * dropoffs, 142.5 * dropoffs + 400.0)
    here = east(-away_m)
    left_s = POLICY.longest_pickup_s - POLICY.pickup_overhead_s
    (way,), (cheapest,) = (ways(new, [(driver, here)], TOWN, NOW, by_s) for by_s in (left_s, np.inf))
    eta_s = POLICY.pickup_overhead_s + way.eta_s
    assert eta_s <= POLICY.longest_pickup_s
    assert (way == cheapest) is (POLICY.pickup_overhead_s + cheapest.eta_s <= POLICY.longest_pickup_s)
    assert way.cost_s >= cheapest.cost_s and (dropoffs + away_m / 500.0 < 11) is (way == cheapest)
    found = {"parcel": {DEE: Position(DEE, here.latitude, here.longitude, NOW, None)}}
    made = Proposal([(new, TOWN)], found, NOW, {}, np.zeros(1))
    at_once(made.candidates())
    at_once(made.judge({DEE: driver}, Blocks()))
    at_once(made.choose())
    (offered,) = made.offers()
    assert offered.to.eta_s == pytest.approx(eta_s)
    before = world(new, driver, *on_board)
    asked = before.run(offer_to(new, offered.to, made.look(0)), NOW)
    yes = AcceptOffer(user=DEE, room=home(DEE), offer_id=OFFER, code="1")
    assert asked.run(yes, NOW + 9_000).dee.plan == way.plan


def test_who_can_be_nowhere_in_time_has_it_where_it_costs_least() -> None:
    driver = assigned(a_driver(capacity=3), parcel("job-1", 500.0, 4_000.0))
    found = [
        ways(parcel("job-2", 3_000.0, 3_500.0), [(driver, east(0.0))], TOWN, NOW, by_s)
        for by_s in (1.0, np.inf)
    ]
    assert found[0] == found[1] != [NO_WAY]


def test_what_is_on_the_way_costs_next_to_nothing_and_a_detour_its_seconds() -> None:
    driver = assigned(a_driver(capacity=3), parcel("job-1", 500.0, 4_000.0))
    there = east(0.0)
    (on_the_way,) = ways(parcel("job-2", 1_000.0, 3_000.0), [(driver, there)], TOWN, NOW)
    assert names(on_the_way.plan) == ["+job-1", "+job-2", "-job-2", "-job-1"]
    assert on_the_way.cost_s == pytest.approx(POLICY.stop_dwell_s - drive_s(east(1_000), east(3_000)), abs=1)
    assert on_the_way.distance_m == pytest.approx(1_000.0, abs=1)
    assert on_the_way.eta_s == pytest.approx(drive_s(there, east(1_000.0)) + POLICY.stop_dwell_s, abs=1)
    (back,) = ways(parcel("job-2", -2_000.0, -3_000.0), [(driver, there)], TOWN, NOW)
    assert names(back.plan) == ["+job-1", "-job-1", "+job-2", "-job-2"]
    assert back.cost_s == pytest.approx(drive_s(east(4_000.0), east(-2_000.0)) + POLICY.stop_dwell_s, abs=1)


def test_who_would_wait_for_a_parcel_has_no_longer_way_to_it() -> None:
    """So he is not passed over for who is as far and carries nothing; the wait costs what it makes late."""
    driver = assigned(a_driver(capacity=3), parcel("job-1", 500.0, 4_000.0))
    here = [(driver, east(0.0))]
    (now,) = ways(parcel("job-2", 4_000.0, 5_000.0), here, TOWN, NOW)
    (later,) = ways(parcel("job-2", 4_000.0, 5_000.0, scheduled_ms=NOW + 1_800_000), here, TOWN, NOW)
    assert names(later.plan) == names(now.plan)
    assert later.eta_s == pytest.approx(now.eta_s) and later.cost_s == pytest.approx(now.cost_s)


def test_parcels_of_one_shop_are_fetched_in_one_stop() -> None:
    driver = assigned(a_driver(capacity=3), parcel("job-1", 500.0, 4_000.0))
    (way,) = ways(parcel("job-2", 500.0, 4_000.0), [(driver, east(0.0))], TOWN, NOW)
    assert names(way.plan)[:2] == ["+job-1", "+job-2"]
    assert way.cost_s == pytest.approx(-drive_s(east(500.0), east(4_000.0)) - POLICY.stop_dwell_s, abs=1)


def test_who_was_promised_sooner_is_served_first() -> None:
    """Nearer first, unless the one on board would be late by it."""
    soon = parcel("job-1", 0.0, 3_000.0, duration_s=600.0)
    driver = replace(assigned(a_driver(capacity=2), soon), plan=stops_of(soon, POLICY)[1:])
    other = parcel("job-2", 500.0, -1_000.0)
    driver = assigned(
        replace(driver, plan=(Stop("package", soon.id, "dropoff", east(100.0)), *driver.plan)), other
    )
    assert names(driver.plan)[1:] == ["+job-2", "-job-2", "-job-1"]
    late = replace(soon, created_ms=NOW - 4_200_000)
    driver = replace(driver, plan=(driver.plan[0], stops_of(late, POLICY)[1]), load={soon.id: 1})
    assert names(assigned(driver, other).plan)[1:] == ["-job-1", "+job-2", "-job-2"]


def test_latest_pickup() -> None:
    job = parcel("job-1", 0.0, 1.0, created_ms=NOW, scheduled_ms=NOW + 60_000, duration_s=900.0)
    assert latest_pickup_s(job, POLICY, NOW) == POLICY.promise_s + 60.0
    assert latest_pickup_s(a_job("ride", "searching"), POLICY, NOW) == np.inf
    pickup, dropoff = stops_of(job, POLICY)
    assert pickup.ready_ms == NOW + 60_000
    assert dropoff.due_ms == pickup.ready_ms + int((POLICY.promise_s + 900.0) * 1000)
    assert [(s.ready_ms, s.due_ms) for s in stops_of(a_job("ride", "searching"), POLICY)] == [(0, 0), (0, 0)]


# --- rows of the table -----------------------------------------------------------------------------------------------


def test_whoever_has_nothing_has_its_stops() -> None:
    job = parcel("job-1", 0.0, 900.0, stops=(east(500.0),))
    assert with_job(a_driver(), job, TOWN, NOW) == stops_of(job, POLICY)


def test_stops_on_the_way_come_last() -> None:
    driver = assigned(a_driver(capacity=3), parcel("job-1", 500.0, 4_000.0))
    new = parcel("job-2", 600.0, 700.0, stops=(east(650.0),))
    (way,) = ways(new, [(driver, east(0.0))], TOWN, NOW)
    assert way.plan == (*driver.plan, *stops_of(new, POLICY))
    # and a further one goes around and between them, in their order
    later = assigned(
        replace(driver, plan=way.plan, load={**driver.load, new.id: 1}), parcel("job-3", 500.0, 4_000.0)
    )
    assert [stop.what for stop in later.plan if stop.job_id == new.id] == ["pickup", "stop", "dropoff"]


def test_too_many_stops() -> None:
    driver = a_driver(capacity=100)
    while len(driver.plan) <= MAX_STOPS:
        number = len(driver.plan)
        driver = assigned(driver, parcel(f"job-{number}", float(number), 3_000.0 + number))
    for new in (parcel("job-n", 5.0, 3_000.0), parcel("job-n", 5.0, 3_000.0, stops=(east(9.0),))):
        (way,) = ways(new, [(driver, east(0.0))], TOWN, NOW)
        assert way == NO_WAY
        assert with_job(driver, new, TOWN, NOW) == (*driver.plan, *stops_of(new, POLICY))


def test_a_plan_of_before_is_never_late() -> None:
    """carrying() makes stops without hours, as records of before have them."""
    job = parcel("job-1", 500.0, 4_000.0, state="assigned", created_ms=NOW - 9_000_000)
    driver = carrying(a_driver(capacity=2), job)
    (way,) = ways(parcel("job-2", 500.0, 3_900.0), [(driver, east(0.0))], TOWN, NOW)
    assert names(way.plan) == ["+job-1", "+job-2", "-job-2", "-job-1"]


def test_what_is_done_or_called_off_leaves_the_others_in_their_order() -> None:
    driver, jobs = a_driver(capacity=3), [parcel(f"job-{n}", 500.0 * n, 4_000.0) for n in (1, 2, 3)]
    for job in jobs:
        driver = assigned(driver, job)
    assert names(driver.plan)[:3] == ["+job-1", "+job-2", "+job-3"]
    order = names(driver.plan)
    early = past_pickup(driver, "job-2", NOW)  # before the first
    assert names(early.plan) == [name for name in order if name != "+job-2"]
    for left, id_ in ((early, "job-1"), (early, "job-2"), (driver, "job-3")):
        without = without_job(left, id_, NOW)
        assert names(without.plan) == [name for name in names(left.plan) if not name.endswith(id_)]
        # and one who says yes then gets the parcel by the plan that is left
        after = assigned(without, parcel("job-9", 1_600.0, 3_900.0))
        assert [name for name in names(after.plan) if not name.endswith("9")] == names(without.plan)
        assert len(after.plan) == len(without.plan) + 2


def test_the_records_stay_right() -> None:
    one, two = (parcel(f"job-{n}", 500.0 * n, 4_000.0, state="assigned") for n in (1, 2))
    driver = assigned(assigned(a_driver(capacity=2), one), two)
    assert not wrong([driver, one, two])
    mixed = replace(driver, plan=driver.plan[::-1])
    assert any("stops" in each for each in wrong([mixed, one, two]))
    assert driver.id == DEE
