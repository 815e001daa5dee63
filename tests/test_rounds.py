"""A round of the batch match on a real Redis, row by row of what can go wrong with it, and who leads."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from redis.asyncio import Redis

from dispatch import commands as c
from dispatch import rounds
from dispatch.area import Areas
from dispatch.cells import cell_of, distance_m
from dispatch.policy import Policy
from dispatch.wording import user_room
from rooms.rounds import Leader
from storage import keys
from storage import shard as shard_module
from storage.fleet import Fleet, Position, Update, pack
from storage.log import Conflict
from storage.records import Driver, Job, JobId, Offer, Place, UserId
from storage.shard import Unavailable
from storage.waiting import Waiting
from tests.deskkit import CENTRE, TRAVELLED, Node, S, travelling_lua
from tests.support import wait_until
from tests.test_cells import moved

POLICY = Policy(plenty=1_000.0)  # nothing is matched at once


class Town:
    """Two nodes; drivers and riders on a line through the centre, so many metres to the east."""

    def __init__(self, nodes: list[Node], client: Redis) -> None:
        self.nodes, self.client = nodes, client
        self._ticks = 0

    async def driver(
        self, id_: str, east_m: float, classes: tuple[str, ...] = ("economy",), **more: Any
    ) -> None:
        node, (lat, lng) = self.nodes[0], moved(*CENTRE, 1.5708, east_m)
        who = {"user": UserId(id_), "room": user_room(id_), "name": id_, "node": "n0", "device": "a"}
        online = c.GoOnline(**who, classes=classes, capacity=1, latitude=lat, longitude=lng, **more)
        answer = await node.desk.run(online)
        position = pack(lat, lng, await node.log.now_ms(), None)
        cell, served = cell_of(lat, lng), ",".join(classes)
        entry = Update(id_, "e", answer["generation"], answer["version"], cell, served, position, 0, False)
        self._ticks += 1
        await node.fleet.tick("n0", "boot", self._ticks, [entry], [])

    async def ride(
        self,
        id_: str,
        east_m: float,
        vehicle_class: str = "economy",
        middle: tuple[float, float] = CENTRE,
    ) -> JobId:
        lat, lng = moved(*middle, 1.5708, east_m)
        to = Place(*moved(*middle, 0.0, 3_000.0))
        job = JobId(id_)
        what = {"job_id": job, "kind": "ride", "name": id_, "vehicle_class": vehicle_class}
        opened = c.OpenJob(
            user=UserId(f"of {id_}"), room=f"ride:{id_}", **what, pickup=Place(lat, lng), dropoff=to
        )
        await self.nodes[0].desk.run(opened)
        return job

    async def job(self, id_: str) -> Job:
        record = (await self.nodes[0].log.load([(Job, id_)])).records[Job, id_]
        assert isinstance(record, Job)
        return record

    async def asked(self, *jobs: str) -> list[str | None]:
        return [(await self.job(id_)).offered_to for id_ in jobs]


@pytest_asyncio.fixture
async def town(
    redis: Redis, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Town]:
    monkeypatch.setattr(shard_module, "LUA", travelling_lua(tmp_path))
    nodes = [Node(name, redis_url, POLICY) for name in ("n0", "n1")]
    yield Town(nodes, redis)
    for node in nodes:
        await node.close()


async def test_the_batch_serves_all_where_the_nearest_would_leave_one(town: Town) -> None:
    """The first asks next to `near`; only `near` is in reach of the second."""
    await town.driver("far", -4_000.0)
    await town.driver("near", 100.0)
    await town.ride("first", 0.0)
    await town.ride("second", 5_000.0)
    done = await town.nodes[0].rounds.go(2.0)
    assert (done.waiting, done.drivers, done.pairs, dict(done.asked)) == (2, 2, 3, {"ok": 2})
    assert await town.asked("first", "second") == ["far", "near"]
    first = await town.job("first")
    offered = await town.nodes[0].log.load([(type_, id_) for type_, id_ in [(Job, "first"), (Driver, "far")]])
    assert offered.records[Driver, UserId("far")].offer_id == first.offer_id  # type: ignore[union-attr]


async def test_classes_areas_and_the_excluded(town: Town) -> None:
    await town.driver("both", 0.0, ("economy", "comfort"))
    await town.driver("plain", 500.0)
    await town.ride("plain ride", 0.0)
    await town.ride("comfortable", 100.0, "comfort")
    assert (await town.nodes[0].rounds.go(2.0)).asked == {"ok": 2}
    assert await town.asked("plain ride", "comfortable") == ["plain", "both"]
    job = await town.job("comfortable")
    no = c.DeclineOffer(user=UserId("both"), room=job.room, offer_id=job.offer_id or c.OfferId(""))
    await town.nodes[1].desk.run(no)
    done = await town.nodes[0].rounds.go(2.0)
    assert done.waiting == 1 and done.pairs == 0 and not done.asked  # he is never asked twice


async def test_who_waits_in_another_city_bends_no_distance_in_this_one(town: Town) -> None:
    here = town.nodes[0].desk.areas.find(*CENTRE)
    assert here is not None
    ring = [[-79, -1], [-78, -1], [-78, 1], [-79, 1], [-79, -1]]
    equator = msgspec.structs.replace(here, id="quito", polygon={"type": "Polygon", "coordinates": [ring]})
    town.nodes[0].desk.areas = Areas([here, equator])
    await town.ride("far away", 0.0, middle=(0.0, -78.5))
    await town.driver("d", 3_000.0)
    await town.ride("r", 0.0)
    assert (await town.nodes[0].rounds.go(2.0)).asked == {"ok": 1}
    found = await town.nodes[0].log.load([(Offer, (await town.job("r")).offer_id or "")])
    (offer,) = found.records.values()
    assert isinstance(offer, Offer) and abs(offer.distance_m - 3_000.0) < 5.0


async def test_an_area_that_is_gone_is_left_out(town: Town) -> None:
    await town.driver("d", 0.0)
    await town.ride("r", 0.0)
    town.nodes[0].desk.areas = Areas([])
    done = await town.nodes[0].rounds.go(2.0)
    assert done.bounds == {"no_area": 1} and not done.asked
    assert (await town.nodes[1].rounds.go(2.0)).asked == {"ok": 1}


async def test_two_leaders_at_once_are_harmless(town: Town) -> None:
    for number in range(12):
        await town.driver(f"d{number}", 100.0 * number)
        await town.ride(f"r{number}", 100.0 * number + 40.0)
    both = await asyncio.gather(*(node.rounds.go(2.0) for node in town.nodes))
    asked = both[0].asked + both[1].asked
    assert asked.pop("ok") == 12 and set(asked) <= {"already_assigned", "no_supply"}
    offered = await town.asked(*(f"r{number}" for number in range(12)))
    assert sorted(str(id_) for id_ in offered) == sorted(f"d{number}" for number in range(12))


def between(town: Town, monkeypatch: pytest.MonkeyPatch, happens: Callable[[], Awaitable[Any]]) -> None:
    """`happens` once, after the round has chosen and before it offers."""
    desk = town.nodes[0].desk
    run, done = desk.run, [False]

    async def running(command: c.Command) -> c.Answer:
        if isinstance(command, c.MakeOffer) and not done[0]:
            done[0] = True
            await happens()
        return await run(command)

    monkeypatch.setattr(desk, "run", running)


async def test_what_changed_meanwhile_is_refused_and_the_others_go_on(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(4):
        await town.driver(f"d{number}", 300.0 * number)
        await town.ride(f"r{number}", 300.0 * number + 10.0)

    async def meanwhile() -> None:
        job = await town.job("r1")
        other = town.nodes[1].desk
        await other.run(c.CancelJob(user=UserId("of r1"), room=job.room, job_id=job.id, kind="ride"))
        await other.run(c.GoOffline(user=UserId("d2"), room=user_room("d2"), device="a"))

    monkeypatch.setattr(rounds, "_COMMITS", 1)
    between(town, monkeypatch, meanwhile)
    done = await town.nodes[0].rounds.go(2.0)
    assert done.asked == {"ok": 2, "already_assigned": 1, "no_supply": 1}
    assert await town.asked("r0", "r1", "r2", "r3") == ["d0", None, None, "d3"]
    assert (await town.nodes[1].rounds.go(2.0)).asked == {"ok": 1}  # who was left of each
    assert await town.asked("r2") == ["d1"]


async def test_the_leader_dies_between_two_commits(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(10):
        await town.driver(f"d{number}", 300.0 * number)
        await town.ride(f"r{number}", 300.0 * number + 10.0)
    run, made = town.nodes[0].desk.run, [0]

    async def dying(command: c.Command) -> c.Answer:
        if made[0] == 4:
            await asyncio.Event().wait()
        made[0] += 1
        return await run(command)

    monkeypatch.setattr(town.nodes[0].desk, "run", dying)
    work = asyncio.create_task(town.nodes[0].rounds.go(2.0))
    await wait_until(lambda: made[0] == 4 and town.client.zcard(keys.asked(S)))
    await wait_until(lambda: _count(town, 4))
    work.cancel()
    assert (await town.nodes[1].rounds.go(2.0)).asked == {"ok": 6}
    assert await _count(town, 10)


async def _count(town: Town, count: int) -> bool:
    return int(await town.client.zcard(keys.asked(S))) == count


async def test_a_round_that_is_late_offers_nothing(town: Town) -> None:
    await town.driver("d", 0.0)
    await town.ride("r", 0.0)
    assert (await town.nodes[0].rounds.go(0.0)).asked == {"late": 1}
    assert await town.asked("r") == [None]


async def test_more_wait_than_a_round_takes(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    """The longest waiting cannot be served and do not hide the others for ever."""
    monkeypatch.setattr(rounds, "WAITING_MAX", 3)
    for number in range(5):
        await town.ride(f"lonely{number}", -15_000.0)
        await town.client.incrby(TRAVELLED, 1)
    await town.driver("d", 0.0)
    await town.ride("r", 0.0)
    first = await town.nodes[0].rounds.go(2.0)
    assert first.bounds == {"waiting": 3} and not first.asked
    assert (await town.nodes[0].rounds.go(2.0)).asked == {"ok": 1}
    assert (await town.nodes[0].rounds.go(2.0)).waiting == 3  # and from the beginning


async def test_more_drivers_than_a_round_takes(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "DRIVERS_MAX", 2)
    for number in range(4):
        await town.driver(f"d{number}", 10.0 * number)
    await town.ride("r", 0.0)
    done = await town.nodes[0].rounds.go(2.0)
    assert done.bounds == {"drivers": 1} and done.asked == {"ok": 1}


async def test_who_waits_where_nobody_is_costs_no_look_about_him(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many they are, and however far apart, the others are served as if they were not there."""
    for number in range(20):
        await town.ride(f"lonely{number}", -7_000.0 - 2_000.0 * (number % 5))
    await town.driver("d", 0.0)
    await town.ride("r", 100.0)
    fleet, read = town.nodes[0].fleet, list[int]()

    async def counted(vehicle_class: str, cells: list[int]) -> list[Position]:
        read.extend(cells)
        return await Fleet.read(fleet, vehicle_class, cells)

    monkeypatch.setattr(fleet, "read", counted)
    assert (await town.nodes[0].rounds.go(2.0)).asked == {"ok": 1}
    assert await town.asked("r", "lonely0") == ["d", None] and len(read) == 1


async def test_silent_drivers_are_not_asked(town: Town) -> None:
    await town.driver("silent", 0.0)
    await town.client.incrby(TRAVELLED, 46)
    await town.ride("r", 0.0)
    await town.driver("there", 900.0)
    await town.nodes[0].rounds.go(2.0)
    assert await town.asked("r") == ["there"]


async def test_another_life_of_redis_ends_the_round(town: Town) -> None:
    await town.driver("d", 0.0)
    await town.ride("r", 0.0)
    await town.client.hset(keys.life(S), "run_id", "another")  # type: ignore[misc]
    town.nodes[1].shard.life_changed = True
    await town.nodes[1].shard.ensure_life()
    with pytest.raises(Conflict):
        await town.nodes[0].rounds.go(2.0)
    assert (await town.nodes[0].rounds.go(2.0)).asked == {"ok": 1}


async def test_at_once_only_where_drivers_are_plenty(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three drivers for each who waits nearby; who waits elsewhere, or for another class, does not count."""
    node = town.nodes[0]
    policy = Policy(plenty=3.0, candidates=4)
    (area,) = list(node.desk.areas)
    node.desk.areas = Areas([rounds.msgspec.structs.replace(area, policy=policy)])
    await town.ride("far", 14_000.0)
    await town.ride("comfortable", 0.0, "comfort")
    await town.ride("a", 0.0)
    for number in range(2):
        await town.driver(f"d{number}", 50.0 * number)
    assert not await node.match.at_once("a")
    await town.driver("d2", 200.0)
    assert await node.match.at_once("a")
    assert await town.asked("a") == ["d0"]
    # two wait: six are needed, more than are read at first
    await town.ride("b", 0.0)
    await town.ride("c", 100.0)
    for number in range(3, 7):
        await town.driver(f"d{number}", 50.0 * number)
    assert await node.match.at_once("b")
    assert await node.match.at_once("c")
    await town.ride("e", 0.0)
    await town.ride("f", 0.0)
    assert not await node.match.at_once("e")


async def test_the_batch_is_as_good_as_what_can_be_done(town: Town) -> None:
    """Against every assignment of four to four, with no one's age or idle time to count."""
    from itertools import permutations

    rng = random.Random(8)
    drivers = {f"d{n}": rng.uniform(-3_000, 3_000) for n in range(4)}
    rides = {f"r{n}": rng.uniform(-3_000, 3_000) for n in range(4)}
    for id_, east_m in drivers.items():
        await town.driver(id_, east_m)
    for id_, east_m in rides.items():
        await town.ride(id_, east_m)
    await town.nodes[0].rounds.go(2.0)
    asked = await town.asked(*rides)
    best = min(
        sum(abs(drivers[d] - rides[r]) for d, r in zip(p, rides, strict=True)) for p in permutations(drivers)
    )
    total = sum(abs(drivers[str(d)] - rides[r]) for d, r in zip(asked, rides, strict=True))
    assert total <= best + 20.0  # seconds of idle time and of fixes are of the cost
    assert distance_m(*CENTRE, *moved(*CENTRE, 1.5708, 100.0)) == pytest.approx(100.0, abs=1.0)


class Counted:
    """Rounds that only count."""

    def __init__(self) -> None:
        self.done = 0
        self.hang = False

    async def go(self, within_s: float) -> rounds.Done:
        self.done += 1
        if self.hang:
            await asyncio.Event().wait()
        return rounds.Done()


async def test_one_leads_and_another_takes_over(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rooms.rounds.LEASE_S", 0.3)
    work = [Counted(), Counted()]
    leaders = [
        asyncio.create_task(Leader(did, node.log.waiting, node.name).run(0.02))  # type: ignore[arg-type]
        for did, node in zip(work, town.nodes, strict=True)
    ]
    await wait_until(lambda: work[0].done + work[1].done > 5)
    assert min(did.done for did in work) == 0
    led = 0 if work[0].done else 1
    # it hangs: within its lease the other leads, and it does not while that one does
    work[led].hang = True
    await wait_until(lambda: work[1 - led].done > 2)
    work[led].hang = False
    # it goes in order: the lease is given up at once
    leaders[1 - led].cancel()
    await asyncio.gather(leaders[1 - led], return_exceptions=True)
    before = work[led].done
    await wait_until(lambda: work[led].done > before)
    leaders[led].cancel()
    await asyncio.gather(leaders[led], return_exceptions=True)
    assert await town.client.get(keys.leader(S)) is None


async def test_the_lease_is_the_holders_alone(town: Town) -> None:
    waiting, other = (Waiting(node.shard) for node in town.nodes)
    assert await waiting.lead("a", 60_000) and await waiting.lead("a", 60_000)
    assert not await other.lead("b", 60_000)
    assert not await other.lead("b", 0) and await waiting.lead("a", 60_000)  # nobody gives up another's
    assert not await waiting.lead("a", 0) and await other.lead("b", 60_000)
    assert 0 < await town.client.pttl(keys.leader(S)) <= 60_000


async def test_redis_gives_no_answer(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    await town.driver("d", 0.0)
    await town.ride("r", 0.0)

    async def never(wanted: list[str], args: list[Any]) -> None:
        raise TimeoutError

    with monkeypatch.context() as hung:
        hung.setattr(town.nodes[0].shard, "near_script", never)
        with pytest.raises(Unavailable):
            await town.nodes[0].rounds.go(2.0)
    assert (await town.nodes[0].rounds.go(2.0)).asked == {"ok": 1}
