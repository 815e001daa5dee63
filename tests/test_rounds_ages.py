"""Who has waited for long goes before who came just now, whatever happened to him in between."""

from __future__ import annotations

import pytest

from dispatch import commands as c
from dispatch.wording import user_room
from storage.records import UserId
from tests.deskkit import TRAVELLED
from tests.rules.build import NOW
from tests.test_looks import batch, ride
from tests.test_rounds import Town, town

__all__ = ["town"]

MIN_MS = 60_000


async def test_whose_driver_gave_the_ride_back_has_waited_since_he_asked(town: Town) -> None:
    """His patience begins anew, his wait does not."""
    desk = town.nodes[0].desk
    await town.driver("d", 0.0)
    await town.ride("old", 0.0)
    assert (await town.nodes[0].rounds.go(2.0)).asked == {"ok": 1}
    offer_id = (await town.job("old")).offer_id or c.OfferId("")
    await desk.run(c.AcceptOffer(user=UserId("d"), room=user_room("d"), offer_id=offer_id, code="1"))
    await town.client.set(TRAVELLED, 120)
    await town.ride("new", 0.0)
    await town.client.set(TRAVELLED, 180)
    job = await town.job("old")
    await desk.run(c.CancelJob(user=UserId("d"), room=job.room, job_id=job.id, kind="ride"))
    await town.driver("e", 100.0)
    assert (await town.nodes[0].rounds.go(2.0)).asked == {"ok": 1}
    assert await town.asked("old", "new") == ["e", None]


@pytest.mark.parametrize(
    ("hour_min", "searching_min", "first"),
    [
        (5, -3, "booked"),  # searched for already when the other came
        (5, -1, "now"),
        (-3, 0, "booked"),  # given back, and it should have begun before the other came
        (-1, 0, "now"),
    ],
)
def test_a_booking_waits_since_its_search_or_since_its_hour(
    hour_min: int, searching_min: int, first: str
) -> None:
    """However long ago it was made."""
    times = {"scheduled_ms": NOW + hour_min * MIN_MS, "searching_ms": NOW + searching_min * MIN_MS}
    booked = ride("booked", 0.0, created_ms=NOW - 600 * MIN_MS, **times)
    now = ride("now", 0.0, created_ms=NOW - 2 * MIN_MS, searching_ms=NOW - 2 * MIN_MS)
    for jobs in ([booked, now], [now, booked]):
        assert [id_ for id_, each in batch(jobs, {"d": 0.0}).items() if each.driver_id] == [first]
