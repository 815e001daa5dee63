"""Quotes: good for their user, trip and time only, on every node, and through a rotation of the keys."""

from pathlib import Path

import pytest

from dispatch.commands import Refusal
from rooms.identity import KeyRing, Ring
from rooms.quotes import Quoted, Quotes, trip_digest

NOW_MS = 1_700_000_000_000
TRIP = trip_digest("ride", "economy", (0.5, 0.5), (0.6, 0.5))
QUOTED = Quoted("u1", TRIP, 1250, NOW_MS + 60_000)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "keys.json"
    Ring.new().write(file)
    return file


def node(path: Path) -> tuple[KeyRing, Quotes]:
    ring = KeyRing.load(path, issuer="us", audience="apps")
    return ring, Quotes(ring)


def refused(quotes: Quotes, quote_id: str, user: str = "u1", trip: str = TRIP, now_ms: int = NOW_MS) -> str:
    with pytest.raises(Refusal) as refusal:
        quotes.fare_minor(quote_id, user, trip, now_ms)
    assert refusal.value.code == "bad_request"
    return refusal.value.message


def test_a_quote_is_its_users_for_its_trip_and_time(path: Path) -> None:
    _, quotes = node(path)
    id_ = quotes.issue(QUOTED)
    assert len(id_) < 400
    assert quotes.fare_minor(id_, "u1", TRIP, NOW_MS + 60_000) == 1250
    assert "expired" in refused(quotes, id_, now_ms=NOW_MS + 60_001)
    assert "another trip" in refused(quotes, id_, user="u2")
    assert "another trip" in refused(quotes, id_, trip=trip_digest("ride"))


def test_an_altered_or_invented_quote_is_none(path: Path) -> None:
    _, quotes = node(path)
    id_ = quotes.issue(QUOTED)
    kid, _, text = id_.rpartition(".")
    for at in range(len(text)):
        letter = "A" if text[at] != "A" else "B"
        if at < len(text) - 1:  # the last one may hold bits that say nothing
            refused(quotes, f"{kid}.{text[:at]}{letter}{text[at + 1 :]}")
    for bad in (
        "",
        ".",
        kid,
        text,
        f".{text}",
        f"other.{text}",
        f"{kid}.",
        f"{kid}.é",
        "x" * 400,
        "\ud800.x",
    ):
        refused(quotes, bad)


def test_a_rotation_makes_no_quote_invalid(path: Path) -> None:
    """Whichever node sees the new key first."""
    (ring_one, one), (_, two) = node(path), node(path)
    before = one.issue(QUOTED)
    Ring.read(path).rotated().write(path)
    ring_one._looked_s = 0.0  # it looks now, the other has just looked
    after = one.issue(QUOTED)
    assert after.partition(".")[0] != before.partition(".")[0]

    def good(quotes: Quotes, id_: str) -> bool:
        try:
            return quotes.fare_minor(id_, "u1", TRIP, NOW_MS) == 1250
        except Refusal:
            return False

    assert all(good(quotes, id_) for quotes in (one, two) for id_ in (before, after))
    Ring.read(path).rotated().write(path)
    ring_one._looked_s = 0.0
    assert good(one, after) and not good(one, before)
