"""Every way a message can be wrong has its words."""

from typing import Any

import msgspec
import pytest

from dispatch.policy import Policy
from dispatch.pricing import Prices
from rooms import messages as m
from rooms.wording_errors import TEXT_CHARS, in_words

HERE = {"latitude": 9, "longitude": 1}
NORTH = {"latitude": 91, "longitude": 1}
TRIP = {"pickup": HERE, "dropoff": HERE}


@pytest.mark.parametrize(
    ("kind", "payload", "said"),
    [
        (m.RequestRide, TRIP | {"rideId": "x"}, "rideId must be a UUID."),
        (m.RequestRide, TRIP | {"pickup": NORTH}, "pickup.latitude must be at most 90."),
        (m.RequestRide, TRIP | {"seats": 9}, "seats must be at most 8."),
        (m.RequestRide, TRIP | {"pickup": None}, "pickup must be an object, not nothing."),
        (m.RequestRide, {"pickup": HERE}, "dropoff is missing."),
        (m.RequestRide, TRIP | {"pickup": {"latitude": 1}}, "pickup.longitude is missing."),
        (m.RequestRide, TRIP | {"stops": [HERE] * 6}, "stops must have at most 5 entries."),
        (m.RequestRide, TRIP | {"stops": [NORTH]}, "stops[0].latitude must be at most 90."),
        (m.Quote, TRIP | {"kind": "car"}, "kind must be ride or package."),
        (m.Quote, TRIP | {"kind": 1}, "kind must be text, not a whole number."),
        (m.Quote, TRIP | {"kind": "ride", "wish": 1}, "There is no field wish."),
        (m.CancelRide, {"rideId": 1.5}, "rideId must be a whole number or text, not a number."),
        (m.CancelRide, {"rideId": ""}, "rideId must not be empty."),
        (m.SendMessage, {"message": "?", "type": "video"}, "type must be text or location or image."),
        (
            m.RequestPackage,
            TRIP | {"recipient": {"name": "a", "phone": "x"}},
            "recipient.phone must be a phone number of 5 to 15 digits.",
        ),
        (
            m.RequestPackage,
            TRIP | {"recipient": {"name": "a", "phone": "123"}},
            "recipient.phone must be a phone number of 5 to 15 digits.",
        ),
    ],
)
def test_what_is_wrong_is_said_in_words(kind: type[m.Message], payload: dict[str, Any], said: str) -> None:
    with pytest.raises(msgspec.ValidationError) as wrong:
        msgspec.convert(payload, kind)
    assert in_words(str(wrong.value), kind) == said


@pytest.mark.parametrize(
    ("kind", "rules", "said"),
    [
        (Policy, {"offer_s": 0.001}, "offer_s must be at least 0.01."),
        (Policy, {"offer_s": "long"}, "offer_s must be a number, not text."),
        (Prices, {"parcel_per_km_minor": 2_000_000_000}, "parcel_per_km_minor must be at most 1000000000."),
        (Prices, {"rides": {"economy": 1}}, "rides[...] must be an object, not a whole number."),
    ],
)
def test_rules_of_an_area_are_refused_in_words(kind: type[Any], rules: dict[str, Any], said: str) -> None:
    with pytest.raises(msgspec.ValidationError) as wrong:
        msgspec.convert(rules, kind)
    assert in_words(str(wrong.value), kind) == said


def test_the_text_is_bounded() -> None:
    assert len(in_words("Object contains unknown field `" + "x`" * 9999 + "`", m.Quote)) <= TEXT_CHARS
    assert len(in_words("?" * 9999, m.Quote)) <= TEXT_CHARS


@pytest.mark.parametrize("phone", ["12345", "+380 50 1234567", "(050) 123-45-67", "+123456789012345"])
def test_a_phone_number_is_taken_as_people_write_it(phone: str) -> None:
    payload = TRIP | {"recipient": {"name": "a", "phone": phone}}
    assert msgspec.convert(payload, m.RequestPackage).recipient.phone == phone
