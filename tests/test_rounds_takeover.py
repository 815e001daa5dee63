"""Accepted jobs in a round of the batch: who is nearer by so much is asked beside the one who is on his way."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from msgspec.structs import replace
from prometheus_client import Histogram

from dispatch import commands as c
from dispatch import rounds
from dispatch.area import Areas
from dispatch.cells import cell_of
from dispatch.wording import user_room
from rooms import metrics
from rooms.rounds import Leader
from storage import keys
from storage.facts import entry_of
from storage.fleet import Update, pack
from storage.records import Choice, Driver, JobId, Parcel, Place, Room, UserId
from tests.deskkit import CENTRE, TRAVELLED, S, city
from tests.support import wait_until
from tests.test_cells import moved
from tests.test_rounds import POLICY, Town, town

__all__ = ["town"]


@pytest.fixture
def swaps(town: Town) -> Town:
    """The same town, where an accepted job may get another driver."""
    policy(town)
    return town


def policy(town: Town, **more: Any) -> None:
    for node in town.nodes:
        node.desk.areas = city(replace(POLICY, **({"swap_accepted": True} | more)))


async def accept(town: Town, job: str, node: int = 0) -> str:
    asked = await town.job(job)
    who = UserId(asked.offered_to or "")
    command = c.AcceptOffer(user=who, room=user_room(who), offer_id=asked.offer_id or c.OfferId(""), code="1")
    try:
        await town.nodes[node].desk.run(command)
    except c.Refusal as refusal:
        return refusal.code
    return "ok"


async def on_the_way(town: Town, job: str, pickup_m: float, driver: str, from_m: float) -> None:
    """The only free driver takes the job."""
    await town.driver(driver, from_m)
    await town.ride(job, pickup_m)
    assert (await town.nodes[0].rounds.go(2.0)).asked == {"ok": 1}
    assert await accept(town, job) == "ok"
    assert (await town.job(job)).driver_id == driver


async def courier(town: Town, id_: str, east_m: float, tick: int) -> None:
    """Stands in the index with room for three."""
    node, (lat, lng) = town.nodes[0], moved(*CENTRE, 1.5708, east_m)
    who = {"user": UserId(id_), "room": user_room(id_), "name": id_, "node": "n1", "device": "a"}
    online = c.GoOnline(**who, classes=("parcel",), capacity=3, latitude=lat, longitude=lng)
    answer = await node.desk.run(online)
    position = pack(lat, lng, await node.log.now_ms(), None)
    generation, version = answer["generation"], answer["version"]
    entry = Update(id_, "e", generation, version, cell_of(lat, lng), "parcel", position, 0, carries=True)
    await node.fleet.tick("n1", "boot", tick, [entry], [])


async def parcel(town: Town, id_: str, east_m: float) -> None:
    lat, lng = moved(*CENTRE, 1.5708, east_m)
    what = {"job_id": JobId(id_), "kind": "package", "name": id_, "vehicle_class": "parcel"}
    opened = c.OpenJob(
        user=UserId(f"of {id_}"),
        room=Room(f"package:{id_}"),
        **what,
        pickup=Place(lat, lng),
        dropoff=Place(*moved(lat, lng, 0.0, 3_000.0)),
        parcel=Parcel(size="small"),
    )
    await town.nodes[0].desk.run(opened)


async def who(town: Town, job: str) -> tuple[str | None, str | None]:
    """Who has it, and who is asked for it."""
    record = await town.job(job)
    return record.driver_id, record.offered_to


async def spoken(town: Town, room: str) -> list[tuple[str, dict[str, Any]]]:
    entries = [entry_of(id_, fields) for id_, fields in await town.client.xrange(keys.facts(S))]
    return [(each.event, json.loads(each.text)[1]) for each in entries if each.room == room and each.event]


async def driver(town: Town, id_: str) -> Driver:
    found = (await town.nodes[0].log.load([(Driver, id_)])).records[Driver, id_]
    assert isinstance(found, Driver)
    return found


async def test_a_nearer_driver_takes_over(swaps: Town) -> None:
    await on_the_way(swaps, "r", 0.0, "far", 4_000.0)
    assert not (await swaps.nodes[0].rounds.go(2.0)).asked
    heard = await spoken(swaps, "ride:r")
    await swaps.driver("near", 100.0)
    assert (await swaps.nodes[1].rounds.go(2.0)).asked == {"beside": 1}
    assert await who(swaps, "r") == ("far", "near")
    assert await spoken(swaps, "ride:r") == heard, "nobody else is told that somebody thinks about it"
    assert not (await swaps.nodes[0].rounds.go(2.0)).asked, "he is asked, and nobody beside him"

    assert await accept(swaps, "r", 1) == "ok"
    assert await who(swaps, "r") == ("near", None)
    event, told = (await spoken(swaps, "ride:r"))[-1]
    assert (event, told["driverId"], told["takenOver"]) == ("driver_assigned", "near", True)
    event, told = (await spoken(swaps, "user:far"))[-1]
    assert (event, told["type"], told["data"]["rideId"]) == ("notification", "job_taken_over", "r")
    # and he is free for others, at once
    free = await driver(swaps, "far")
    assert free.available and free.state == "idle"
    await swaps.driver("far", 4_000.0)
    await swaps.ride("next", 4_100.0)
    assert (await swaps.nodes[0].rounds.go(2.0)).asked == {"ok": 1}
    assert await who(swaps, "next") == (None, "far")


async def test_only_for_what_the_area_asks_for(swaps: Town) -> None:
    """87 s are saved, then 44."""
    await on_the_way(swaps, "r", 0.0, "far", 1_500.0)
    await swaps.driver("nearer", 1_250.0)
    assert not (await swaps.nodes[0].rounds.go(2.0)).asked
    policy(swaps, swap_saves_s=40.0)
    assert (await swaps.nodes[0].rounds.go(2.0)).asked == {"beside": 1}


async def test_what_he_has_done_of_his_way_counts(swaps: Town) -> None:
    """Half a minute later he has read and turned, which another has before him: 57 s are saved, not 87."""
    await on_the_way(swaps, "r", 0.0, "far", 1_500.0)
    await swaps.client.set(TRAVELLED, 30)
    await swaps.driver("nearer", 1_000.0)
    assert not (await swaps.nodes[0].rounds.go(2.0)).asked


async def test_not_where_the_area_does_not_allow_it(town: Town) -> None:
    await on_the_way(town, "r", 0.0, "far", 4_000.0)
    await town.driver("near", 100.0)
    assert not (await town.nodes[0].rounds.go(2.0)).asked
    policy(town)  # what was accepted before it was switched on may change as well
    assert (await town.nodes[0].rounds.go(2.0)).asked == {"beside": 1}


async def test_once_a_job_and_two_are_asked_at_most(swaps: Town) -> None:
    await on_the_way(swaps, "r", 0.0, "far", 4_500.0)
    for number in range(3):
        await swaps.driver(f"d{number}", 100.0 + number)
        done = await swaps.nodes[0].rounds.go(2.0)
        if number == 2:
            assert not done.asked, "it is left alone"
            continue
        assert done.asked == {"beside": 1}
        offer = (await swaps.job("r")).offer_id or c.OfferId("")
        no = c.DeclineOffer(user=UserId(f"d{number}"), room=user_room(f"d{number}"), offer_id=offer)
        await swaps.nodes[1].desk.run(no)
        assert await who(swaps, "r") == ("far", None)
        await swaps.nodes[1].desk.run(
            c.GoOffline(user=UserId(f"d{number}"), room=user_room(f"d{number}"), device="a")
        )
    assert await swaps.client.zscore(keys.coming(S, "city"), "r") is None


async def test_it_does_not_change_again(swaps: Town) -> None:
    await on_the_way(swaps, "r", 0.0, "far", 4_500.0)
    await swaps.driver("nearer", 2_500.0)
    await swaps.nodes[0].rounds.go(2.0)
    assert await accept(swaps, "r") == "ok"
    await swaps.driver("near", 100.0)
    assert not (await swaps.nodes[0].rounds.go(2.0)).asked
    assert await who(swaps, "r") == ("nearer", None)


async def test_who_waits_comes_first(swaps: Town) -> None:
    """The one free driver is the only one in reach of who waits."""
    await on_the_way(swaps, "r", 0.0, "far", -4_000.0)
    await swaps.driver("near", 100.0)
    await swaps.ride("waits", 4_500.0)
    assert (await swaps.nodes[0].rounds.go(2.0)).asked == {"ok": 1}
    assert await swaps.asked("waits", "r") == ["near", None]


async def test_a_change_for_somebody_else(swaps: Town) -> None:
    """Nobody free reaches who waits; the one on his way would, and another can take his job over, though not sooner:
    the rest of the exchange comes when he has said yes."""
    await on_the_way(swaps, "r", 0.0, "between", -1_000.0)
    await swaps.driver("free", 2_000.0)
    await swaps.ride("waits", -4_500.0)
    assert (await swaps.nodes[0].rounds.go(2.0)).asked == {"beside": 1}
    assert await who(swaps, "r") == ("between", "free")
    assert await accept(swaps, "r") == "ok"
    await swaps.driver("between", -1_000.0)
    assert (await swaps.nodes[0].rounds.go(2.0)).asked == {"ok": 1}
    assert await swaps.asked("waits") == ["between"]


async def test_nobody_gives_his_near_driver_for_one_far_away(swaps: Town) -> None:
    """Who waits is in reach of nobody but him; but the first passenger would wait ten minutes longer for it."""
    await on_the_way(swaps, "r", 0.0, "near", 300.0)
    await swaps.driver("far", -3_600.0)
    await swaps.ride("waits", 1_500.0)
    assert not (await swaps.nodes[0].rounds.go(2.0)).asked
    assert await who(swaps, "r") == ("near", None) and await swaps.asked("waits") == [None]


async def test_no_change_for_somebody_whom_another_reaches(swaps: Town) -> None:
    """`between` is much nearer to who waits than both who are free. But until one of these had taken his ride over, the
    other would have been asked for the one who waits; and the first passenger would have waited longer for nothing."""
    await on_the_way(swaps, "r", 0.0, "between", -1_000.0)
    await swaps.driver("free", 2_000.0)
    await swaps.driver("free too", 2_100.0)
    await swaps.ride("waits", -1_500.0)
    assert (await swaps.nodes[0].rounds.go(2.0)).asked == {"ok": 1}, "he is asked at once"
    assert await who(swaps, "r") == ("between", None) and await swaps.asked("waits") == ["free"]
    assert not (await swaps.nodes[1].rounds.go(2.0)).asked
    assert await accept(swaps, "waits") == "ok"
    assert not (await swaps.nodes[0].rounds.go(2.0)).asked
    assert [await who(swaps, id_) for id_ in ("r", "waits")] == [("between", None), ("free", None)]


async def test_how_long_a_round_took_is_told_though_nobody_waited(
    swaps: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    took = Histogram("took", "A round.", registry=None)
    monkeypatch.setattr(metrics, "ROUND_BLOCKED_S", took)
    await on_the_way(swaps, "r", 0.0, "far", 4_000.0)
    node = swaps.nodes[0]
    await swaps.driver("near", 100.0)
    leader = asyncio.create_task(Leader(node.rounds, node.log.waiting, "n0").run(0.02))
    try:
        await wait_until(
            lambda: any(each.value for each in took.collect()[0].samples if each.name == "took_count")
        )
    finally:
        leader.cancel()
        await asyncio.gather(leader, return_exceptions=True)


async def test_why_he_is_asked_is_noted(swaps: Town) -> None:
    await on_the_way(swaps, "r", 0.0, "far", 4_000.0)
    await swaps.driver("near", 100.0)
    await swaps.nodes[0].rounds.go(2.0)
    entries = [entry_of(id_, fields) for id_, fields in await swaps.client.xrange(keys.facts(S))]
    made = [record for entry in entries for record in entry.records() if isinstance(record, Choice)]
    assert (made[-1].driver_id, made[-1].path) == ("near", "rematch")
    assert [each.driver_id for each in made[-1].considered] == ["near"], "nobody else could be asked"


async def test_rounds_of_two_nodes_at_once(swaps: Town) -> None:
    places = [-14_000.0, -5_000.0, 4_000.0, 13_000.0]
    for number, place_m in enumerate(places):
        await on_the_way(swaps, f"r{number}", place_m, f"far{number}", place_m + 3_000.0)
    for number, place_m in enumerate(places):
        await swaps.driver(f"near{number}", place_m + 100.0)
    both = await asyncio.gather(*(node.rounds.go(2.0) for node in swaps.nodes))
    asked = both[0].asked + both[1].asked
    assert asked.pop("beside") == 4 and set(asked) <= {"already_assigned", "no_supply"}
    assert [await who(swaps, f"r{n}") for n in range(4)] == [(f"far{n}", f"near{n}") for n in range(4)]


async def test_where_nobody_knows_where_he_is(swaps: Town) -> None:
    await on_the_way(swaps, "r", 0.0, "far", 4_000.0)
    await swaps.client.delete(keys.pos(S, "far"))
    await swaps.driver("near", 100.0)
    assert not (await swaps.nodes[0].rounds.go(2.0)).asked


def halves() -> Areas:
    """The same city as two areas, west and east of the centre."""
    (one,) = city(replace(POLICY, swap_accepted=True))
    spans = {"west": (36.0, CENTRE[1]), "east": (CENTRE[1], 36.5)}
    rings = {
        id_: [[west, 49.8], [east, 49.8], [east, 50.2], [west, 50.2], [west, 49.8]]
        for id_, (west, east) in spans.items()
    }
    return Areas(
        [replace(one, id=id_, polygon={"type": "Polygon", "coordinates": [rings[id_]]}) for id_ in rings]
    )


@pytest.mark.parametrize("areas", [1, 2])
async def test_more_are_on_their_way_than_a_round_looks_at(
    swaps: Town, monkeypatch: pytest.MonkeyPatch, areas: int
) -> None:
    """They take turns: neither who accepted last nor another area keeps anybody from being looked at."""
    monkeypatch.setattr(rounds, "COMING_MAX", 1)
    if areas == 2:
        for node in swaps.nodes:
            node.desk.areas = halves()
    await on_the_way(swaps, "first", -10_000.0, "a", -14_000.0)
    await swaps.client.set(TRAVELLED, 2)
    await on_the_way(swaps, "second", 10_000.0, "b", 14_000.0)
    assert len({(await swaps.job(id_)).area_id for id_ in ("first", "second")}) == areas
    await swaps.driver("near", -9_900.0)
    await swaps.driver("beside", 10_100.0)
    node = swaps.nodes[1]
    done = [await node.rounds.go(2.0) for _ in range(2)]
    assert [each.asked for each in done] == [{"beside": 1}] * 2
    assert [each.bounds for each in done] == [{"coming": 1}, {}]
    assert [await who(swaps, id_) for id_ in ("first", "second")] == [("a", "near"), ("b", "beside")]


async def test_who_can_change_no_more_keeps_nobody_from_being_looked_at(
    swaps: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody knows where the one is who accepted last, and goes on not knowing."""
    monkeypatch.setattr(rounds, "COMING_MAX", 1)
    await on_the_way(swaps, "first", -10_000.0, "a", -14_000.0)
    await swaps.client.set(TRAVELLED, 2)
    await on_the_way(swaps, "second", 10_000.0, "b", 14_000.0)
    await swaps.client.delete(keys.pos(S, "b"))
    await swaps.driver("near", -9_900.0)
    asked = [(await swaps.nodes[0].rounds.go(2.0)).asked for _ in range(3)]
    assert asked.count({"beside": 1}) == 1 and await who(swaps, "first") == ("a", "near")


async def test_a_courier_with_room_is_asked_as_he_is(swaps: Town) -> None:
    """He stands in the index with the parcel he is on his way to, and is nobody's to be let go for another's sake."""
    node = swaps.nodes[0]
    await courier(swaps, "c", 4_000.0, 1)
    await parcel(swaps, "p", 0.0)
    assert (await node.rounds.go(2.0)).asked == {"ok": 1}
    assert await accept(swaps, "p") == "ok"
    await courier(swaps, "c", 4_000.0, 2)
    assert await swaps.client.hexists(keys.spot(S), "c")
    await swaps.driver("near", 100.0, ("parcel",))
    assert (await node.rounds.go(2.0)).asked == {"beside": 1}
    assert await who(swaps, "p") == ("c", "near")
    assert await accept(swaps, "p") == "ok"
    assert (await driver(swaps, "c")).load == {}
