"""By whom a booking begins to search: by those who may be asked for it, whoever else stands at the door."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from dispatch.booking import look_again_ms
from dispatch.match import LOOKS
from storage.records import Parcel, Place
from tests.deskkit import CENTRE
from tests.rules.build import PAT, a_job
from tests.test_rounds import Town, town

__all__ = ["town"]

EARLIEST_S, LATEST_S, OFFER_S = 900.0, 120.0, 15.0  # the policy's own
FAR_M, FAR_S = 3_000.0, 554.0
VAN = {"seats": 7, "sizes": ("small", "large"), "max_weight_kg": 40.0}
LARGE = Parcel(size="large", weight_kg=30.0)


async def lead_s(town: Town, kind: str = "ride", **more: Any) -> float:
    """How long before its hour a job begins, found by the looks that a node would take."""
    node = town.nodes[0]
    (area,) = node.desk.areas
    area = replace(area, policy=replace(area.policy, stale_s=3_600.0))
    hour_ms = await node.log.now_ms() + 1_000_000
    job = a_job(
        kind, "scheduled", vehicle_class="economy", pickup=Place(*CENTRE), scheduled_ms=hour_ms, **more
    )
    at_ms = hour_ms - int(EARLIEST_S * 1000)
    while (again_ms := await look_again_ms(node.desk, job, area, at_ms)) > at_ms:
        at_ms = again_ms
    return (hour_ms - at_ms) / 1000


@pytest.mark.parametrize("nearer", [3, 20])
@pytest.mark.parametrize(
    ("kind", "asked", "theirs"),
    [
        ("ride", {"seats": 6}, {"seats": 4}),
        ("ride", {"seats": 6}, {}),
        ("package", {"parcel": LARGE}, {"sizes": ("small",)}),
        ("package", {"parcel": LARGE}, {"max_weight_kg": 5.0}),
    ],
    ids=("seats", "usual seats", "size", "weight"),
)
async def test_who_may_not_be_asked_keeps_it_waiting_for_nobody(
    town: Town, nearer: int, kind: str, asked: dict[str, Any], theirs: dict[str, Any]
) -> None:
    """It begins in time for the one who may, however many stand at the door who may not."""
    for number in range(nearer):
        await town.driver(f"near {number}", 10.0 * number, **theirs)
    await town.driver("van", FAR_M, **VAN)
    assert await lead_s(town, kind, **asked) == pytest.approx(FAR_S + OFFER_S, abs=10.0)


async def test_for_whom_they_may_be_asked_it_waits(town: Town) -> None:
    for number in range(3):
        await town.driver(f"near {number}", 10.0 * number, seats=4)
    await town.driver("van", FAR_M, **VAN)
    assert await lead_s(town, seats=4) == LATEST_S


async def test_nor_who_is_kept_apart_or_whose_papers_run_out(town: Town) -> None:
    expires_ms = await town.nodes[0].log.now_ms() + 60_000  # before the first look
    await town.driver("blocked", 0.0)
    await town.driver("expired", 10.0, papers={"licence": expires_ms})
    await town.driver("van", FAR_M)
    town.nodes[0].desk.blocks.put(PAT, "blocked", True)
    assert await lead_s(town) == pytest.approx(FAR_S + OFFER_S, abs=10.0)


async def test_where_too_many_are_nearer_it_begins_as_early_as_may_be(town: Town) -> None:
    (area,) = town.nodes[0].desk.areas
    for number in range(LOOKS * area.policy.candidates):
        await town.driver(f"near {number}", 10.0 * number, seats=4)
    await town.driver("van", 1_000.0, **VAN)
    assert await lead_s(town, seats=6) == EARLIEST_S
