"""What a trip costs: the tariff of an area and the two pure functions that apply it.

Guarantees: integer arithmetic only, in minor units of the area's currency (cents for USD), rounded half up
once, at the end; never negative; the same inputs give the same fare. Surge and urgency factors are not part
of it yet. Who keeps a quote, and for how long, is the caller's business (`Policy.quote_s`).

The default figures are the platform's own: its apps' ride table (base, per km, per minute, minimum) and its
parcel formula, price = ((base + per km x km) x size + fragile) x tier.
"""

from typing import Annotated

import msgspec
from msgspec import Meta

Minor = Annotated[int, Meta(ge=0, le=1_000_000_000)]  # money: minor units of the area's currency
Percent = Annotated[int, Meta(ge=1, le=10_000)]  # a factor: 150 means x 1.5


class RideTariff(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One vehicle class: fare = base + per_km x km + per_min x minutes, at least the minimum."""

    base_minor: Minor
    per_km_minor: Minor
    per_min_minor: Minor
    minimum_minor: Minor


class ParcelTier(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One speed of delivery: what a parcel starts at, and the factor on the whole; `pickup_proof`: a courier takes it
    only with a photo or a signature."""

    base_minor: Minor
    price_pct: Percent
    pickup_proof: bool = False


def _rides() -> dict[str, RideTariff]:
    return {
        "economy": RideTariff(250, 120, 25, 500),
        "comfort": RideTariff(350, 160, 35, 700),
        "premium": RideTariff(500, 220, 50, 1_200),
        "shared": RideTariff(150, 80, 15, 350),
    }


def _parcel_tiers() -> dict[str, ParcelTier]:
    return {
        "lightning": ParcelTier(5_000, 300),
        "express": ParcelTier(3_500, 200),
        "standard": ParcelTier(2_500, 130),
        "economy": ParcelTier(1_800, 100),
    }


def _parcel_sizes_pct() -> dict[str, Percent]:
    return {"small": 100, "medium": 120, "large": 150, "custom": 200}


class Prices(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The tariff of one area. A class, tier or size that is not listed is not served there."""

    rides: dict[str, RideTariff] = msgspec.field(default_factory=_rides)
    parcel_tiers: dict[str, ParcelTier] = msgspec.field(default_factory=_parcel_tiers)
    parcel_sizes_pct: dict[str, Percent] = msgspec.field(default_factory=_parcel_sizes_pct)
    parcel_per_km_minor: Minor = 125
    parcel_fragile_minor: Minor = 500


class Fare(msgspec.Struct, frozen=True):
    """What the requester pays."""

    amount_minor: int
    currency: str


def ride_fare(
    prices: Prices, currency: str, vehicle_class: str, *, distance_m: float, duration_s: float
) -> Fare | None:
    """The fare of a ride; None when the area does not serve this class."""
    tariff = prices.rides.get(vehicle_class)
    if tariff is None:
        return None
    amount_60_000 = (
        tariff.base_minor * 60_000
        + tariff.per_km_minor * _whole(distance_m) * 60
        + tariff.per_min_minor * _whole(duration_s) * 1_000
    )
    return Fare(max(tariff.minimum_minor, _half_up(amount_60_000, 60_000)), currency)


def parcel_fare(
    prices: Prices, currency: str, tier: str, size: str, *, fragile: bool, distance_m: float
) -> Fare | None:
    """The fare of a parcel; None when the area does not serve this tier or size."""
    parcel_tier, size_pct = prices.parcel_tiers.get(tier), prices.parcel_sizes_pct.get(size)
    if parcel_tier is None or size_pct is None:
        return None
    carried_1_000 = parcel_tier.base_minor * 1_000 + prices.parcel_per_km_minor * _whole(distance_m)
    fragile_minor = prices.parcel_fragile_minor if fragile else 0
    amount_10_000_000 = (carried_1_000 * size_pct + fragile_minor * 100_000) * parcel_tier.price_pct
    return Fare(_half_up(amount_10_000_000, 10_000_000), currency)


def surged(fare: Fare, tenths: int) -> Fare:
    """The fare with a surge of so many tenths, 10 for none (surge.py)."""
    return Fare(_half_up(fare.amount_minor * tenths, 10), fare.currency)


def _whole(value: float) -> int:
    """Metres or seconds as a whole number, never negative."""
    return max(0, round(value))


def _half_up(numerator: int, denominator: int) -> int:
    return (2 * numerator + denominator) // (2 * denominator)
