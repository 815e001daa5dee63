"""Parcels of one place: who waits for the courier of another, row by row; and a round that does so, on a real Redis."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from dispatch import commands as c
from dispatch.blocks import Blocks
from dispatch.bundles import Going, held_back
from dispatch.cells import cell_of
from dispatch.wording import user_room
from storage.fleet import Update, pack
from storage.records import Driver, Job, Parcel, Place, UserId
from tests.deskkit import CENTRE
from tests.rules.build import DEE, DOV, NOW, PAT, a_driver
from tests.test_carrying import TOWN, assigned, parcel
from tests.test_cells import moved
from tests.test_rounds import Town, town

__all__ = ["town"]


def fresh(id_: str, start_m: float, end_m: float) -> Job:
    of_5_kg = Parcel(size="small", weight_kg=5.0)
    return parcel(id_, start_m, end_m, searching_ms=NOW - 1_000, parcel=of_5_kg)


ONE, TWO = fresh("job-1", 0.0, 2_000.0), fresh("job-2", 0.0, 2_500.0)


def held(
    asked: list[tuple[Job, Driver]], chosen: list[tuple[Job, Driver, float]], blocks: Blocks | None = None
) -> set[str]:
    found: set[Any] = set()
    going = [Going(job, driver, TOWN) for job, driver in asked]
    picked = [Going(job, driver, TOWN, eta_s) for job, driver, eta_s in chosen]
    for _ in held_back(going, picked, blocks or Blocks(), NOW, found):
        pass
    return found


def couriers(capacity: int = 3, **more: Any) -> tuple[Driver, Driver]:
    return a_driver(DEE, capacity=capacity, **more), a_driver(DOV, capacity=3)


def test_the_second_waits_for_the_courier_of_the_first() -> None:
    dee, dov = couriers()
    assert held([], [(TWO, dov, 120.0), (ONE, dee, 100.0)]) == {"job-2"}
    asked = replace(dee, offer_id="job-1.1")
    assert held([(ONE, asked)], [(TWO, dov, 120.0)]) == {"job-2"}
    elsewhere = fresh("job-2", 300.0, 2_500.0)
    assert held([(ONE, asked)], [(elsewhere, dov, 120.0)]) == set()


def test_as_many_as_he_has_room_for() -> None:
    dee, dov = couriers()
    others = [fresh(f"job-{n}", 0.0, 2_000.0 + n) for n in range(2, 6)]
    assert held([(ONE, dee)], [(job, dov, 120.0) for job in others]) == {"job-2", "job-3", "job-5"}, (
        "two with the first, and the last with the one that was not held"
    )


@pytest.mark.parametrize(("why", "job", "driver"), [
    ("room", {}, {"capacity": 1}),
    ("size", {}, {"sizes": ("large",)}),
    ("too heavy together", {"parcel": Parcel(size="small", weight_kg=6.0)}, {"max_weight_kg": 10.0}),
    ("he gave it back", {"excluded": (DEE,)}, {}),
    ("ready much later", {"scheduled_ms": NOW + 700_000}, {}),
    ("waited too long", {"searching_ms": NOW - 30_000}, {}),
])  # fmt: skip
def test_who_could_not_take_it_or_not_in_time(why: str, job: dict[str, Any], driver: dict[str, Any]) -> None:
    dee, dov = couriers(**driver)
    second = replace(TWO, searching_ms=NOW - 29_000)
    assert held([(ONE, couriers()[0])], [(second, dov, 120.0)]) == {"job-2"}
    assert held([(ONE, dee)], [(replace(second, **job), dov, 120.0)]) == set(), why


def test_a_block() -> None:
    dee, dov = couriers()
    blocks = Blocks()
    blocks.put(PAT, DEE, True)
    assert held([(ONE, dee)], [(TWO, dov, 120.0)], blocks) == set()


def test_its_own_courier_is_cheaper_or_carries_already() -> None:
    dee, dov = couriers()
    away = fresh("job-2", 0.0, -5_000.0)
    assert held([(ONE, dee)], [(away, dov, 40.0)]) == set(), "the other way, and there at once"
    busy = assigned(dov, parcel("job-7", 0.0, 900.0))
    assert held([(ONE, dee)], [(TWO, busy, 120.0)]) == set()


async def courier(town: Town, id_: str, east_m: float) -> None:
    node, (lat, lng) = town.nodes[0], moved(*CENTRE, 1.5708, east_m)
    who = {"user": UserId(id_), "room": user_room(id_), "name": id_, "node": "n0", "device": "a"}
    online = c.GoOnline(**who, classes=("parcel",), capacity=2, latitude=lat, longitude=lng)
    answer = await node.desk.run(online)
    await seen(town, id_, answer["generation"], answer["version"], east_m)


async def seen(town: Town, id_: str, generation: int, version: int, east_m: float) -> None:
    node, (lat, lng) = town.nodes[0], moved(*CENTRE, 1.5708, east_m)
    position = pack(lat, lng, await node.log.now_ms(), None)
    entry = Update(id_, "e", generation, version, cell_of(lat, lng), "parcel", position, 0, False)
    town._ticks += 1
    await node.fleet.tick("n0", "boot", town._ticks, [entry], [])


async def opened(town: Town, id_: str) -> None:
    await town.nodes[0].desk.run(
        c.OpenJob(
            user=UserId(f"of {id_}"),
            room=f"package:{id_}",
            job_id=c.JobId(id_),
            kind="package",
            name=id_,
            vehicle_class="parcel",
            pickup=Place(*CENTRE),
            dropoff=Place(*moved(*CENTRE, 0.0, 3_000.0)),
            parcel=Parcel(size="small", recipient_name="Rae", recipient_phone="+380501112233"),
        )
    )


async def test_two_parcels_of_one_shop_go_to_one_of_two_couriers(town: Town) -> None:
    await courier(town, "near", 300.0)
    await courier(town, "beside", 400.0)
    node = town.nodes[0]
    for id_ in ("one", "two"):
        await opened(town, id_)
        assert not await node.match.at_once(id_), "parcels are for the batch"
    done = await node.rounds.go(2.0)
    assert (done.asked, done.bounds) == ({"ok": 1}, {"bundled": 1})
    (first,) = [id_ for id_ in ("one", "two") if (await town.job(id_)).offered_to]
    (second,) = {"one", "two"} - {first}
    his = (await town.job(first)).offered_to
    assert (await node.rounds.go(2.0)).bounds == {"bundled": 1}, "he thinks about it"
    job = await town.job(first)
    assert his is not None and job.offer_id is not None
    await node.desk.run(c.AcceptOffer(user=his, room=user_room(his), offer_id=job.offer_id, code="428913"))
    driver = (await node.log.load([(Driver, his)])).records[Driver, his]
    assert isinstance(driver, Driver)
    await seen(town, his, driver.generation, driver.version, 300.0)
    assert (await town.nodes[1].rounds.go(2.0)).asked == {"ok": 1}
    assert (await town.job(second)).offered_to == his
