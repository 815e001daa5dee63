"""The brute-force matcher: exact, fair, and it can fail to serve."""

from __future__ import annotations

import dataclasses

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from loadtest.geo import Point, distance_m
from loadtest.oracle import Cabs, Rules, distances_m, serve
from loadtest.replay_area import rules
from loadtest.temper import Temper
from loadtest.traces import Ride, Trace

ALWAYS = Temper(decline_share=0.0, silent_share=0.0)
NEVER = Temper(decline_share=1.0, silent_share=0.0)
HERE = Point(37.77, -122.42)


def cab(name: str, north_m: float, *, every_s: float = 60.0, until_s: float = 7200.0) -> Trace:
    """Stands so many metres north of HERE."""
    ts = np.arange(0.0, until_s, every_s)
    return Trace(name, ts, [Point(HERE.latitude + north_m / 111_195, HERE.longitude)] * len(ts))


def ride(trip: str, pickup_s: float, duration_s: float = 600.0) -> Ride:
    return Ride(trip, pickup_s, duration_s, HERE, Point(37.80, -122.40))


def test_the_nearest_cab_is_taken() -> None:
    served = serve(
        [cab("far", 900), cab("near", 200), cab("middle", 500)], [ride("a", 1000)], rules(), ALWAYS
    )
    assert (served.matched, served.offers) == (1, 1)
    assert abs(served.pickup_m[0] - 200) < 1


def test_a_decline_passes_the_job_to_the_next_and_nobody_is_asked_twice() -> None:
    served = serve([cab("a", 100), cab("b", 200)], [ride("a", 1000)], rules(), NEVER)
    assert (served.matched, served.offers) == (0, 2)


def test_a_cab_serves_one_job_at_a_time() -> None:
    rides = [ride("a", 1000, duration_s=3000), ride("b", 1001, duration_s=3000)]
    assert serve([cab("a", 100)], rides, rules(), ALWAYS).matched == 1


def test_a_cab_is_free_again_after_its_ride() -> None:
    rides = [ride("a", 1000, duration_s=60), ride("b", 1600, duration_s=60)]
    assert serve([cab("a", 100)], rides, rules(), ALWAYS).matched == 2


def test_a_silent_or_distant_cab_is_no_supply() -> None:
    silent = cab("silent", 100, until_s=300)
    distant = cab("distant", rules().radius_m + 100)
    assert serve([silent, distant], [ride("a", 3000)], rules(), ALWAYS).matched == 0


def test_a_customer_waits_for_his_patience_and_no_longer() -> None:
    one, two = ride("a", 1000, duration_s=100), ride("b", 1000, duration_s=100)
    patient: Rules = dataclasses.replace(rules(), patience_s=600)
    hasty = dataclasses.replace(patient, patience_s=30)
    assert serve([cab("a", 100)], [one, two], patient, ALWAYS).matched == 2
    assert serve([cab("a", 100)], [one, two], hasty, ALWAYS).matched == 1


def test_the_same_seed_gives_the_same_day() -> None:
    cabs = [cab(f"c{i}", 100 + 37 * i) for i in range(12)]
    rides = [ride(f"t{i}", 600 + 40 * i) for i in range(60)]
    first = serve(cabs, rides, rules(), Temper(seed=7))
    assert first == serve(cabs, rides, rules(), Temper(seed=7))
    assert first != serve(cabs, rides, rules(), Temper(seed=8))


near = st.tuples(st.floats(-0.05, 0.05), st.floats(-0.05, 0.05))


@given(st.lists(near, min_size=1, max_size=20), near)
def test_the_vector_arithmetic_finds_what_a_loop_finds(
    places: list[tuple[float, float]], at: tuple[float, float]
) -> None:
    points = [Point(HERE.latitude + a, HERE.longitude + b) for a, b in places]
    pickup = Point(HERE.latitude + at[0], HERE.longitude + at[1])
    cabs = Cabs([Trace(f"c{i}", np.array([0.0]), [point]) for i, point in enumerate(points)])
    cabs.move_to(0.0)
    found = cabs.nearest(pickup, 0.0, 60.0, set())
    assert found is not None
    assert abs(found[1] - min(distance_m(point, pickup) for point in points)) < 1e-3
    both = np.array(points)
    assert abs(distances_m(both[:, 0], both[:, 1], pickup)[found[0]] - found[1]) < 1e-6
