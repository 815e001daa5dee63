"""Open offers in a round of the batch: moved to who is nearer by so much, and left alone otherwise."""

from __future__ import annotations

import asyncio

from msgspec.structs import replace

from dispatch import commands as c
from dispatch.area import Areas
from dispatch.wording import user_room
from storage.records import Offer, UserId
from tests.deskkit import city
from tests.test_rounds import POLICY, Town, town
from tests.test_rounds_takeover import accept, courier, parcel, who

__all__ = ["town"]


async def test_a_nearer_driver_is_asked_instead(town: Town) -> None:
    await town.driver("far", 2_000.0)
    await town.ride("r", 0.0)
    assert (await town.nodes[0].rounds.go(2.0)).asked == {"ok": 1}
    first = await town.job("r")
    await town.driver("hardly nearer", 1_960.0)  # 7 s
    assert not (await town.nodes[0].rounds.go(2.0)).asked
    await town.driver("near", 100.0)
    assert (await town.nodes[1].rounds.go(2.0)).asked == {"moved": 1}
    assert await town.asked("r") == ["near"]
    loaded = await town.nodes[0].log.load([(Offer, first.offer_id or "")])
    gone = loaded.records[Offer, first.offer_id or ""]
    assert isinstance(gone, Offer) and gone.state == "withdrawn"
    # and not back again, nor for nothing
    assert not (await town.nodes[0].rounds.go(2.0)).asked
    # but the one who is left is asked at once when the other says no
    no = c.DeclineOffer(user=UserId("near"), room=user_room("near"), offer_id=c.offer_id(first.id, 2))
    await town.nodes[0].desk.run(no)
    await town.driver("hardly nearer", 12_000.0)
    await town.driver("far", 2_000.0)
    assert (await town.nodes[0].rounds.go(2.0)).asked == {"ok": 1}
    assert await town.asked("r") == ["far"]


async def test_who_waits_takes_the_near_one_where_that_is_better_for_both(town: Town) -> None:
    """A free driver is for the one who waits first; an open offer takes what is left."""
    await town.driver("far", 3_000.0)
    await town.ride("asked", 0.0)
    assert (await town.nodes[0].rounds.go(2.0)).asked == {"ok": 1}
    await town.ride("waits", 4_500.0)
    await town.driver("between", 2_000.0)
    await town.driver("beside", 200.0)
    done = await town.nodes[0].rounds.go(2.0)
    assert done.asked == {"ok": 1, "moved": 1}
    assert await town.asked("asked", "waits") == ["beside", "between"]


async def test_a_parcel_stays_with_who_takes_it_on_top_of_one_from_the_same_street(town: Town) -> None:
    """It costs him next to nothing: a free courier who is there sooner is not asked instead."""
    node = town.nodes[0]
    node.desk.areas = city(replace(POLICY, offer_s=60.0))
    await courier(town, "busy", -600.0, 1)
    await parcel(town, "first", 0.0)
    assert (await node.rounds.go(2.0)).asked == {"ok": 1}
    assert await accept(town, "first") == "ok"
    await courier(town, "busy", -600.0, 2)
    await courier(town, "free", 160.0, 3)
    await parcel(town, "second", 60.0)
    assert (await node.rounds.go(2.0)).asked == {"ok": 1}
    assert not (await node.rounds.go(2.0)).asked
    assert await who(town, "second") == (None, "busy")


async def test_a_parcel_goes_to_who_can_take_it_on_top(town: Town) -> None:
    """Also while one thinks about it who is there sooner, and would drive for nothing else."""
    node = town.nodes[0]
    node.desk.areas = city(replace(POLICY, offer_s=60.0))
    await courier(town, "busy", -600.0, 1)
    await parcel(town, "first", 0.0)
    assert (await node.rounds.go(2.0)).asked == {"ok": 1}
    await courier(town, "free", 160.0, 2)
    await parcel(town, "second", 1_060.0)
    assert (await node.rounds.go(2.0)).asked == {"ok": 1}
    assert await who(town, "second") == (None, "free")
    assert await accept(town, "first") == "ok"
    await courier(town, "busy", -600.0, 3)
    assert (await node.rounds.go(2.0)).asked == {"moved": 1}
    assert await who(town, "second") == (None, "busy")


async def test_what_another_area_asks_of_a_move_is_of_no_concern_here(town: Town) -> None:
    node = town.nodes[0]
    (area,) = node.desk.areas
    ring = [[-79, -1], [-78, -1], [-78, 1], [-79, 1], [-79, -1]]
    quito = replace(
        area,
        id="quito",
        polygon={"type": "Polygon", "coordinates": [ring]},
        policy=replace(area.policy, keep_offer_s=3_600.0),
    )
    node.desk.areas = Areas([area, quito])
    await town.driver("far", 3_000.0)
    await town.ride("here", 0.0)
    assert (await node.rounds.go(2.0)).asked == {"ok": 1}
    await town.ride("elsewhere", 0.0, middle=(0.0, -78.5))
    await town.driver("near", 50.0)
    assert (await node.rounds.go(2.0)).asked == {"moved": 1}
    assert await town.asked("here", "elsewhere") == ["near", None]


async def test_an_answer_in_the_same_moment_wins_or_loses_whole(town: Town) -> None:
    for number in range(6):
        await town.driver(f"far{number}", 12_000.0 * (number % 2) + 2_500.0 + 10.0 * number)
        await town.ride(f"r{number}", 12_000.0 * (number % 2))
    await town.nodes[0].rounds.go(2.0)
    jobs = [await town.job(f"r{number}") for number in range(6)]
    held = [job for job in jobs if job.offer_id]
    for number in range(6):
        await town.driver(f"near{number}", 12_000.0 * (number % 2) + 100.0)

    async def accept(who: UserId, offer_id: str) -> str:
        command = c.AcceptOffer(user=who, room=user_room(who), offer_id=c.OfferId(offer_id), code="1")
        try:
            await town.nodes[1].desk.run(command)
        except c.Refusal as refusal:
            return refusal.code
        return "ok"

    accepts = [accept(job.offered_to or UserId(""), job.offer_id or "") for job in held]
    done, *answers = await asyncio.gather(town.nodes[0].rounds.go(2.0), *accepts)
    assert set(answers) <= {"ok", "offer_gone"}
    after = [await town.job(job.id) for job in held]
    assert answers.count("ok") == sum(job.state == "assigned" for job in after)
    assert all(job.state in {"assigned", "offered"} for job in after) and done.asked["moved"] >= 0
