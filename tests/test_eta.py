"""Estimates without roads: by hand, and monotone, which the exact search by distance relies on."""

import pytest

from dispatch.cells import distance_m
from dispatch.eta import pickup_eta_s, trip_estimate
from dispatch.policy import Policy, scaled
from storage.records import Place

POLICY = Policy(cruise_speed_mps=10.0, detour=1.5, pickup_overhead_s=20.0, stop_dwell_s=60.0)
A, B, C = Place(50.0, 36.0), Place(50.0, 36.1), Place(50.05, 36.1)


@pytest.mark.parametrize(("straight_m", "eta_s"), [(0.0, 20.0), (1_000.0, 170.0), (6_000.0, 920.0)])
def test_pickup(straight_m: float, eta_s: float) -> None:
    assert pickup_eta_s(straight_m, POLICY) == pytest.approx(eta_s)


def test_the_nearer_is_never_later() -> None:
    etas = [pickup_eta_s(metres * 10.0, Policy()) for metres in range(1_000)]
    assert etas == sorted(etas)


def test_a_trip_follows_its_stops_and_dwells_at_each() -> None:
    ab_m = distance_m(50.0, 36.0, 50.0, 36.1)
    bc_m = distance_m(50.0, 36.1, 50.05, 36.1)
    assert trip_estimate(A, [], B, POLICY) == pytest.approx((1.5 * ab_m, 0.15 * ab_m))
    road_m = 1.5 * (ab_m + bc_m)
    assert trip_estimate(A, (B,), C, POLICY) == pytest.approx((road_m, road_m / 10.0 + 60.0))
    assert trip_estimate(A, (B, B), C, POLICY) == pytest.approx((road_m, road_m / 10.0 + 120.0))
    assert trip_estimate(A, [], A, POLICY) == (0.0, 0.0)


def test_in_a_scaled_city_everything_takes_its_nth_part() -> None:
    fast = scaled(POLICY, 15.0)
    assert pickup_eta_s(1_000.0, fast) == pytest.approx(pickup_eta_s(1_000.0, POLICY) / 15.0)
    slow_m, slow_s = trip_estimate(A, [B], C, POLICY)
    assert trip_estimate(A, [B], C, fast) == pytest.approx((slow_m, slow_s / 15.0))
