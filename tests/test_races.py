"""Races for one offer on two nodes, each with one winner; repeats of a command, none with a second effect.

RACES=1000 ./dev test tests/test_races.py    # the long run; 10 repeats for each of as many commands
"""

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator
from random import Random
from typing import Any

import pytest_asyncio
from redis.asyncio import Redis

from dispatch import commands as c
from dispatch.desk import Desk
from dispatch.policy import Policy
from dispatch.wording import user_room
from storage import keys
from storage.fleet import Fleet
from storage.log import Log
from storage.records import Driver, Job, JobId, Offer, OfferId, Place, Room, Stored, UserId
from storage.shard import Shard
from tests.deskkit import CENTRE, S, city
from tests.invariants import wrong

RACES = int(os.environ.get("RACES", "150"))
AT_ONCE = 25  # races that are run side by side
REPEATS = 10
PLACE = Place(*CENTRE)


class Two:
    """Two desks of two nodes, and what became of each command, by its outcome."""

    def __init__(self, shards: list[Shard], redis: Redis) -> None:
        self.redis = redis
        self.logs = [Log(shard) for shard in shards]
        self.desks = [
            Desk(log, Fleet(shard), city(Policy(swap_accepted=True, finishing_s=180.0)))
            for log, shard in zip(self.logs, shards, strict=True)
        ]

    async def ask(self, node: int, command: c.Command) -> str:
        """The refusal's code, or `ok`; who hears `unavailable` asks again."""
        for _ in range(20):
            try:
                await self.desks[node].run(command)
            except c.Refusal as refusal:
                if refusal.code == "unavailable":
                    continue
                return refusal.code
            return "ok"
        return "unavailable"

    async def online(self, user: str) -> None:
        await self.ask(0, go_online(user))


def go_online(user: str) -> c.GoOnline:
    return c.GoOnline(
        user=UserId(user),
        room=user_room(user),
        name=user,
        node="n0",
        device="d",
        classes=("economy",),
        capacity=1,
        latitude=PLACE.latitude,
        longitude=PLACE.longitude,
    )


def open_job(job: str, key: str = "") -> c.OpenJob:
    return c.OpenJob(
        user=UserId(f"p{job}"),
        room=Room(f"ride:{job}"),
        key=key,
        content="first",
        job_id=JobId(job),
        kind="ride",
        name="Pat",
        pickup=PLACE,
        dropoff=Place(CENTRE[0] + 0.02, CENTRE[1]),
        vehicle_class="economy",
    )


def make_offer(job: str, driver: str, beside: str | None = None, rest_s: float | None = None) -> c.MakeOffer:
    return c.MakeOffer(
        user=c.SYSTEM,
        room=Room(f"ride:{job}"),
        job_id=JobId(job),
        driver_id=UserId(driver),
        distance_m=1.0,
        eta_s=1.0,
        beside=UserId(beside) if beside else None,
        rest_s=rest_s,
    )


@pytest_asyncio.fixture
async def two(redis: Redis, redis_url: str) -> AsyncIterator[Two]:
    shards = [Shard(S, redis_url, timeout_s=30.0) for _ in range(2)]
    yield Two(shards, redis)
    for shard in shards:
        await shard.close()


async def _race(two: Two, number: int) -> list[str]:
    """Both nodes offer one job to a driver of their own; then whoever has it accepts from both at once, several
    times, while he declines, the passenger cancels and the timer runs out. The outcomes of offering, and of all
    that followed."""
    r, job = Random(number), f"j{number}"
    drivers = [f"d{number}a", f"d{number}b"]
    await asyncio.gather(*(two.online(driver) for driver in drivers))
    assert await two.ask(0, open_job(job)) == "ok"
    offered = await asyncio.gather(*(two.ask(node, make_offer(job, drivers[node])) for node in (0, 1)))
    assert sorted(offered) != ["ok", "ok"], "one job was offered to two"
    loaded = await two.logs[0].load([(Job, job)])
    record = loaded.records[Job, job]
    assert isinstance(record, Job) and record.offer_id
    driver, offer = UserId(str(record.offered_to)), OfferId(record.offer_id)
    who = {"user": driver, "room": user_room(driver), "offer_id": offer}
    commands: list[c.Command] = [
        *(c.AcceptOffer(**who, key=f"a{n}", content="x", code="123456") for n in range(r.randint(2, 4))),
        *(c.DeclineOffer(**who, key=f"d{n}", content="x") for n in range(r.randint(0, 1))),
        *(
            c.CancelJob(
                user=UserId(f"p{job}"), room=Room(f"ride:{job}"), job_id=JobId(job), kind="ride", key=f"c{n}"
            )
            for n in range(r.randint(0, 1))
        ),
        c.WakeJob(user=c.SYSTEM, room=Room(f"ride:{job}"), job_id=JobId(job)),
    ]
    r.shuffle(commands)
    return list(await asyncio.gather(*(two.ask(r.randrange(2), command) for command in commands)))


async def test_every_race_for_an_offer_has_one_winner(two: Two) -> None:
    outcomes: Counter[str] = Counter()
    for first in range(0, RACES, AT_ONCE):
        numbers = range(first, min(first + AT_ONCE, RACES))
        for codes in await asyncio.gather(*(_race(two, number) for number in numbers)):
            outcomes.update(codes)
    assert outcomes["unavailable"] == 0
    ends: dict[str, list[str]] = {}
    holders: dict[str, set[str]] = {}
    carried: dict[str, int] = {}
    for entry in (await two.logs[0].tail.read("0-0", count=1_000_000, block_ms=1)).entries:
        for record in entry.records():
            if isinstance(record, Offer) and record.state != "open":
                ends.setdefault(record.id, []).append(record.state)
            elif isinstance(record, Job) and record.driver_id:
                holders.setdefault(record.id, set()).add(record.driver_id)
            elif isinstance(record, Driver):
                carried[record.id] = len(record.load)
                assert record.spare >= 0
    print(f"{RACES} races: {dict(outcomes)}, {dict(Counter(states[0] for states in ends.values()))}")
    assert len(ends) == RACES and all(len(set(states)) == 1 for states in ends.values()), (
        "an offer ended twice"
    )
    assert all(len(drivers) == 1 for drivers in holders.values()), "a job had two drivers"
    assert {states[0] for states in ends.values()} >= {"accepted", "declined"}
    assert all(count <= 1 for count in carried.values())


async def _race_for_a_takeover(two: Two, number: int) -> list[str]:
    """Both nodes ask a driver of their own beside the one who has the job; then whoever was asked accepts, on both at
    once and more than once, while its driver says that he is there, or gives it back, or the passenger calls it off.
    The outcomes of all that followed."""
    r, job = Random(number), f"t{number}"
    first, *others = (f"d{number}{letter}" for letter in "xyz")
    await asyncio.gather(*(two.online(driver) for driver in (first, *others)))
    assert await two.ask(0, open_job(job)) == await two.ask(0, make_offer(job, first)) == "ok"
    of = {"room": Room(f"ride:{job}"), "job_id": JobId(job), "kind": "ride"}
    his = {"user": UserId(first), "room": user_room(first), "offer_id": OfferId(f"{job}.1")}
    assert await two.ask(0, c.AcceptOffer(**his, code="1")) == "ok"
    asked = await asyncio.gather(*(two.ask(node, make_offer(job, others[node], first)) for node in (0, 1)))
    assert asked.count("ok") == 1, "two were asked to take it over, or nobody"
    who = {"user": UserId(others[asked.index("ok")]), "offer_id": OfferId(f"{job}.2")}
    commands: list[c.Command] = [
        *(c.AcceptOffer(**who, room=user_room(who["user"]), key=f"a{n}", code="2") for n in range(2)),
        r.choice(
            [
                c.MoveJob(user=UserId(first), **of, status="arrived"),
                c.CancelJob(user=UserId(first), **of),
                c.CancelJob(user=UserId(f"p{job}"), **of),
                c.UnassignJob(user=UserId("admin"), **of, reason="so"),
                c.DeclineOffer(**who, room=user_room(who["user"])),
            ]
        ),
        c.WakeDriver(user=c.SYSTEM, room=user_room(first), driver_id=UserId(first)),
    ]
    r.shuffle(commands)
    return list(await asyncio.gather(*(two.ask(r.randrange(2), command) for command in commands)))


async def test_every_race_for_a_takeover_has_one_winner(two: Two) -> None:
    outcomes: Counter[str] = Counter()
    for at in range(0, RACES, AT_ONCE):
        numbers = range(at, min(at + AT_ONCE, RACES))
        for codes in await asyncio.gather(*(_race_for_a_takeover(two, number) for number in numbers)):
            outcomes.update(codes)
    assert outcomes["unavailable"] == 0
    records: dict[tuple[type, str], Stored] = {}
    ends: Counter[str] = Counter()
    for entry in (await two.logs[0].tail.read("0-0", count=1_000_000, block_ms=1)).entries:
        for record in entry.records():
            if isinstance(record, Job | Driver | Offer):
                records[type(record), record.id] = record
            if isinstance(record, Offer) and record.id.endswith(".2") and record.state != "open":
                ends[record.state] += 1
    assert not wrong(records.values())
    jobs = [record for record in records.values() if isinstance(record, Job)]
    states = Counter(job.state for job in jobs)
    print(f"{RACES} races: {dict(outcomes)}, {dict(ends)}, {dict(states)}")
    assert sum(ends.values()) == RACES, "an offer ended twice, or not at all"
    assert {"accepted", "withdrawn", "declined"} <= set(ends)
    assert {"assigned", "arrived", "cancelled"} <= set(states)


async def _last_moments(two: Two, number: int) -> tuple[str, list[str], list[str]]:
    """One with a passenger on board is offered two rides on two nodes, and takes what he is offered, while his ride
    ends. That ride, and the outcomes of the offers and of what followed."""
    r, driver = Random(number), UserId(f"e{number}")
    await two.online(driver)
    rides = [f"f{number}{which}" for which in "abc"]
    for ride in rides:
        assert await two.ask(0, open_job(ride)) == "ok"
    first, *others = rides
    him: dict[str, Any] = {"user": driver, "room": user_room(driver)}

    def move(status: str) -> c.MoveJob:
        room, job = Room(f"ride:{first}"), JobId(first)
        return c.MoveJob(user=driver, room=room, job_id=job, kind="ride", status=status)

    steps: list[c.Command] = [
        make_offer(first, driver), c.AcceptOffer(**him, offer_id=OfferId(f"{first}.1"), code="1"),
        move("arrived"), move("in_progress"),
    ]  # fmt: skip
    for step in steps:
        assert await two.ask(r.randrange(2), step) == "ok"
    offered = [two.ask(node, make_offer(ride, driver, rest_s=60.0)) for node, ride in enumerate(others)]
    early = r.random() < 0.3
    codes = await asyncio.gather(*offered, *([two.ask(r.randrange(2), move("completed"))] if early else []))
    taken = others[codes.index("ok")]
    answers: list[c.Command] = [c.AcceptOffer(**him, offer_id=OfferId(f"{taken}.1"), code="1")] * 2
    answers += [] if early else [move("completed")]
    r.shuffle(answers)
    rest = await asyncio.gather(*(two.ask(r.randrange(2), answer) for answer in answers))
    record = (await two.logs[0].load([(Driver, driver)])).records[Driver, driver]
    assert isinstance(record, Driver) and list(record.load) == [taken]
    assert [(stop.job_id, stop.what) for stop in record.plan] == [(taken, "pickup"), (taken, "dropoff")]
    return first, [str(code) for code in codes[:2]], [str(code) for code in rest]


async def test_a_ride_after_a_ride_is_one_whatever_ends_meanwhile(two: Two) -> None:
    firsts = set[str]()
    for first in range(0, RACES, AT_ONCE):
        numbers = range(first, min(first + AT_ONCE, RACES))
        for ride, offered, rest in await asyncio.gather(*(_last_moments(two, number) for number in numbers)):
            firsts.add(ride)
            assert sorted(offered) == ["no_supply", "ok"] and set(rest) == {"ok"}
    after = 0
    for entry in (await two.logs[0].tail.read("0-0", count=1_000_000, block_ms=1)).entries:
        for record in entry.records():
            if isinstance(record, Driver) and len(record.load) > 1:
                after += 1
                assert len(record.load) == 2 and set(list(record.load)[:1]) <= firsts and not record.available
    assert after, "the first always ended before"


async def test_repeats_have_no_second_effect(two: Two) -> None:
    """Each command several times on both nodes, some at once, some after: one effect and one answer."""
    for first in range(0, RACES, AT_ONCE):
        jobs = [f"r{number}" for number in range(first, min(first + AT_ONCE, RACES))]
        wanted = [open_job(job, key="k") for job in jobs]
        answers = await asyncio.gather(
            *(two.ask(n % 2, command) for command in wanted for n in range(REPEATS - 2))
        )
        assert set(answers) == {"ok"}
        length = await two.redis.xlen(keys.facts(S))
        later = await asyncio.gather(*(two.ask(n % 2, command) for command in wanted for n in range(2)))
        assert set(later) == {"ok"} and await two.redis.xlen(keys.facts(S)) == length
    spoken = Counter(
        entry.room
        for entry in (await two.logs[0].tail.read("0-0", count=1_000_000, block_ms=1)).entries
        if entry.room.startswith("ride:r") and entry.event
    )
    assert len(spoken) == RACES and set(spoken.values()) == {1}, "a repeat was spoken again"
