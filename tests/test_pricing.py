"""Fares: tables worked out by hand, rounding, and what is never true of any fare."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatch.pricing import Fare, ParcelTier, Prices, RideTariff, parcel_fare, ride_fare

PRICES = Prices()
CENT = Prices(
    rides={"cent": RideTariff(0, 1, 0, 0), "minute": RideTariff(0, 0, 1, 0)},
    parcel_tiers={"plain": ParcelTier(0, 100), "half": ParcelTier(0, 50)},
    parcel_sizes_pct={"small": 100},
    parcel_per_km_minor=1,
    parcel_fragile_minor=0,
)


@pytest.mark.parametrize(
    ("vehicle_class", "distance_m", "duration_s", "amount_minor"),
    [
        ("economy", 10_000, 1_200, 250 + 1_200 + 500),
        ("comfort", 10_000, 1_200, 350 + 1_600 + 700),
        ("premium", 10_000, 1_200, 500 + 2_200 + 1_000),
        ("shared", 10_000, 1_200, 150 + 800 + 300),
        ("economy", 0, 0, 500),  # the minimum
        ("comfort", 500, 60, 700),
        ("premium", 1_000, 120, 1_200),
        ("shared", 100, 10, 350),
        ("economy", 4_321, 567, 1_005),  # 250 + 518.52 + 236.25 = 1,004.77
        ("economy", -5, -5, 500),
    ],
)
def test_rides(vehicle_class: str, distance_m: float, duration_s: float, amount_minor: int) -> None:
    fare = ride_fare(PRICES, "USD", vehicle_class, distance_m=distance_m, duration_s=duration_s)
    assert fare == Fare(amount_minor, "USD")


@pytest.mark.parametrize(
    ("tier", "size", "fragile", "distance_m", "amount_minor"),
    [
        ("economy", "small", False, 0, 1_800),
        ("economy", "small", False, 10_000, 3_050),
        ("economy", "medium", False, 10_000, 3_660),
        ("economy", "large", False, 10_000, 4_575),
        ("economy", "custom", False, 10_000, 6_100),
        ("economy", "custom", True, 10_000, 6_600),  # fragile is not multiplied by the size ...
        ("standard", "small", False, 10_000, 4_875),
        ("standard", "medium", True, 4_000, 5_330),  # ... but by the tier: ((2500 + 500) x 1.2 + 500) x 1.3
        ("express", "small", False, 10_000, 9_500),
        ("lightning", "large", True, 7_777, 28_375),  # ((5000 + 972.125) x 1.5 + 500) x 3 = 28,374.5625
    ],
)
def test_parcels(tier: str, size: str, fragile: bool, distance_m: float, amount_minor: int) -> None:
    fare = parcel_fare(PRICES, "EUR", tier, size, fragile=fragile, distance_m=distance_m)
    assert fare == Fare(amount_minor, "EUR")


@pytest.mark.parametrize(
    ("distance_m", "amount_minor"), [(499, 0), (500, 1), (1_499, 1), (1_500, 2), (2_500, 3)]
)
def test_halves_are_rounded_up(distance_m: float, amount_minor: int) -> None:
    assert ride_fare(CENT, "USD", "cent", distance_m=distance_m, duration_s=0) == Fare(amount_minor, "USD")
    fare = parcel_fare(CENT, "USD", "plain", "small", fragile=False, distance_m=distance_m)
    assert fare == Fare(amount_minor, "USD")


def test_rounding_happens_once_at_the_end() -> None:
    """0.5 of a half-price cent is a quarter: nothing; rounded step by step it would be a whole cent."""
    assert parcel_fare(CENT, "USD", "half", "small", fragile=False, distance_m=500) == Fare(0, "USD")
    assert ride_fare(CENT, "USD", "minute", distance_m=0, duration_s=29) == Fare(0, "USD")
    assert ride_fare(CENT, "USD", "minute", distance_m=0, duration_s=30) == Fare(1, "USD")


def test_what_is_not_listed_is_not_served() -> None:
    assert ride_fare(PRICES, "USD", "helicopter", distance_m=1, duration_s=1) is None
    assert parcel_fare(PRICES, "USD", "yesterday", "small", fragile=False, distance_m=1) is None
    assert parcel_fare(PRICES, "USD", "economy", "house", fragile=False, distance_m=1) is None


@given(
    vehicle_class=st.sampled_from(sorted(PRICES.rides)),
    distance_m=st.floats(-10.0, 1e7),
    duration_s=st.floats(-10.0, 1e6),
    more_m=st.floats(0.0, 1e5),
)
def test_a_longer_ride_is_never_cheaper_and_none_is_below_the_minimum(
    vehicle_class: str, distance_m: float, duration_s: float, more_m: float
) -> None:
    fare = ride_fare(PRICES, "USD", vehicle_class, distance_m=distance_m, duration_s=duration_s)
    longer = ride_fare(PRICES, "USD", vehicle_class, distance_m=distance_m + more_m, duration_s=duration_s)
    assert fare and longer and type(fare.amount_minor) is int
    assert PRICES.rides[vehicle_class].minimum_minor <= fare.amount_minor <= longer.amount_minor


@pytest.mark.parametrize(
    "stored",
    [
        '{"rides": {"economy": [250, 120, 25]}}',
        '{"rides": {"economy": {"base_minor": -1, "per_km_minor": 1, "per_min_minor": 1, "minimum_minor": 1}}}',
        '{"rides": {"economy": {"base_minor": 2.5, "per_km_minor": 1, "per_min_minor": 1, "minimum_minor": 1}}}',
        '{"parcel_sizes_pct": {"small": 0}}',
        '{"surge": 2}',
    ],
)
def test_a_tariff_that_makes_no_sense_is_refused(stored: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(stored, type=Prices)


def test_a_tariff_survives_its_json() -> None:
    assert msgspec.json.decode(msgspec.json.encode(PRICES), type=Prices) == PRICES
