"""Measures a round of the batch match at its largest, on a Redis of its own.

That is 500 who wait, 2,000 drivers who are free, 100 open offers and 100 drivers on their way who may be others. They
come by the commands and the tick that bring them to a server, and each round is the server's own:
reading, pairs, prices, the assignment, and a commit for each pair. `longest_ms` is the longest step between two chances
for others to run, in processor time, which is what a loop is blocked for on a core of its own; `gap_ms` the longest
time in which a neighbour on the loop was not run, by the clock, of which the mean is judged: a busy machine stops a
process too. Garbage is looked for as seldom as on a node.
"""

import argparse
import asyncio
import random
import sys
import time
from typing import Any

import msgspec
import uvloop

from dispatch import commands as c
from dispatch import rounds
from dispatch.area import Area, Areas
from dispatch.cells import cell_of, distance_m
from dispatch.desk import Desk
from dispatch.eta import pickup_eta_s
from dispatch.policy import Policy
from dispatch.rounds import Done, Rounds
from dispatch.wording import user_room
from rooms.tasks import Tasks
from server.devstack import private_redis
from server.process import settle_memory
from storage.fleet import Fleet, Update, pack
from storage.log import Log
from storage.records import JobId, Place, Room, UserId
from storage.shard import Shard

NEEDS = {"redis"}  # nothing of the stack
S, CENTRE = "bench", (50.0, 36.2)
MOST_MS = 10.0
AT_ONCE = 20
RING = [[36.0, 49.8], [36.4, 49.8], [36.4, 50.2], [36.0, 50.2], [36.0, 49.8]]
WITHIN_S = 30.0  # on a busy machine a round may take longer than a server allows it


def town(options: argparse.Namespace) -> Areas:
    swaps = options.coming > 0 or options.finishing_s > 0.0
    polygon = {"type": "Polygon", "coordinates": [RING]}
    return Areas(
        [
            Area(
                id="bench",
                name="Bench",
                shard=S,
                polygon=polygon,
                currency="USD",
                # whoever was asked thinks about it until all are there
                policy=Policy(
                    plenty=1000.0, offer_s=600.0, finishing_s=options.finishing_s, swap_accepted=swaps
                ),
            )
        ]
    )


class Full:
    """A shard with so many drivers and jobs, new for each round: first those who wait and who are free, then the jobs
    that a driver each thinks about, then those that he has accepted."""

    def __init__(self, url: str, seed: int, options: argparse.Namespace) -> None:
        self.shard = Shard(S, url)
        self.desk = Desk(Log(self.shard), Fleet(self.shard), town(options))
        self._chance = random.Random(seed)
        self._asked, self._held = options.asked, options.asked + options.coming
        self._jobs = [self._place() for _ in range(options.jobs + self._held)]
        self._drivers = [self._place() for _ in range(options.drivers)]
        self._drivers += [self._beside(at) for at in self._jobs[options.jobs :]]

    def _place(self) -> Place:
        return Place(
            CENTRE[0] + self._chance.uniform(-0.09, 0.09), CENTRE[1] + self._chance.uniform(-0.13, 0.13)
        )

    def _beside(self, at: Place) -> Place:
        """Up to three kilometres away."""
        return Place(
            at.latitude + self._chance.uniform(-0.02, 0.02), at.longitude + self._chance.uniform(-0.03, 0.03)
        )

    async def fill(self) -> None:
        updates: list[Update] = []
        for first in range(0, len(self._drivers), AT_ONCE):
            some = range(first, min(len(self._drivers), first + AT_ONCE))
            updates += await asyncio.gather(*(self._driver(number) for number in some))
        await self.desk.fleet.tick("n", "boot", 1, updates, [])
        for first in range(0, len(self._jobs), AT_ONCE):
            some = range(first, min(len(self._jobs), first + AT_ONCE))
            await asyncio.gather(*(self._job(number) for number in some))
        for number in range(self._held):
            await self._hold(number)

    async def _hold(self, number: int) -> None:
        """The last jobs are the last drivers', one each."""
        job, driver = len(self._jobs) - self._held + number, len(self._drivers) - self._held + number
        ride, id_ = JobId(f"r{job}"), UserId(f"d{driver}")
        to, at = self._jobs[job], self._drivers[driver]
        away_m = distance_m(to.latitude, to.longitude, at.latitude, at.longitude)
        (area,) = self.desk.areas
        offer = c.MakeOffer(
            user=c.SYSTEM, room=Room(f"ride:{ride}"), job_id=ride, driver_id=id_,
            distance_m=away_m, eta_s=pickup_eta_s(away_m, area.policy),
        )  # fmt: skip
        made = await self.desk.run(offer)
        if number >= self._asked:
            room = user_room(id_)
            await self.desk.run(c.AcceptOffer(user=id_, room=room, offer_id=made["offerId"], code="1234"))

    async def _driver(self, number: int) -> Update:
        id_, at = UserId(f"d{number}"), self._drivers[number]
        online = c.GoOnline(
            user=id_, room=user_room(id_), name=id_, node="n", device="a", classes=("economy",), capacity=1,
            latitude=at.latitude, longitude=at.longitude,
        )  # fmt: skip
        told = await self.desk.run(online)
        position = pack(at.latitude, at.longitude, await self.desk.log.now_ms(), None)
        cell = cell_of(at.latitude, at.longitude)
        return Update(id_, "e", told["generation"], told["version"], cell, "economy", position, 0, False)

    async def _job(self, number: int) -> None:
        ride = JobId(f"r{number}")
        await self.desk.run(
            c.OpenJob(
                user=UserId(f"p{number}"),
                room=Room(f"ride:{ride}"),
                job_id=ride,
                kind="ride",
                name="Pat",
                vehicle_class="economy",
                pickup=self._jobs[number],
                dropoff=self._place(),
            )
        )


def in_processor_time() -> None:
    """Steps are told in processor time from now on."""

    class Clock:
        perf_counter = staticmethod(time.process_time)
        monotonic = staticmethod(time.monotonic)

    vars(rounds)["time"] = Clock


async def a_round(url: str, options: argparse.Namespace, seed: int) -> dict[str, float]:
    full = Full(url, seed, options)
    await full.shard.client.flushall()
    await full.fill()
    gap_s = 0.0

    async def neighbour() -> None:
        nonlocal gap_s
        while True:
            last_s = time.perf_counter()
            await asyncio.sleep(0)
            gap_s = max(gap_s, time.perf_counter() - last_s)

    settle_memory()
    tasks = Tasks()
    tasks.start(neighbour(), "neighbour")
    await asyncio.sleep(0)
    gap_s = 0.0
    began_s = time.perf_counter()
    done: Done = await Rounds(full.desk).go(WITHIN_S)
    whole_s = time.perf_counter() - began_s
    await tasks.stop()
    await full.shard.close()
    return {
        "offered": done.asked["ok"], "moved": done.asked["moved"], "beside": done.asked["beside"],
        "pairs": done.pairs, "longest_ms": done.longest_s * 1e3,
        "gap_ms": gap_s * 1e3, "whole_ms": whole_s * 1e3,
    }  # fmt: skip


async def _measure(options: argparse.Namespace) -> int:
    in_processor_time()
    with private_redis() as server:
        found = [await a_round(server.url, options, seed) for seed in range(1, options.rounds + 1)]
    line: dict[str, Any] = {
        name: {
            "mean": round(sum(each[name] for each in found) / len(found), 1),
            "most": round(max(each[name] for each in found), 1),
        }
        for name in found[0]
    }
    line |= {name: getattr(options, name) for name in ("jobs", "drivers", "asked", "coming", "rounds")}
    wrong = []
    for name, of in (("longest_ms", "most"), ("gap_ms", "mean")):
        if line[name][of] > MOST_MS:
            wrong.append(f"NOT HELD: {name}, {of}: {line[name][of]:g} ms, {MOST_MS:g} are the most")
    text = [f"{name:12} {value}" for name, value in line.items()]
    (sys.stderr if options.json else sys.stdout).write("\n".join([*text, *wrong]) + "\n")
    if options.json:
        sys.stdout.write(msgspec.json.encode(line).decode() + "\n")
    return 1 if wrong else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="round", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=500, help="that wait (500)")
    parser.add_argument("--drivers", type=int, default=2000, help="who are free (2000)")
    parser.add_argument(
        "--asked", type=int, default=100, help="beside them, whom somebody thinks about (100)"
    )
    parser.add_argument(
        "--coming", type=int, default=100, help="whose driver is on his way, with takeovers (100)"
    )
    parser.add_argument(
        "--finishing-s",
        type=float,
        default=0.0,
        help="the area's finishing_s, with takeovers: also those are looked for whose ride ends soon (0)",
    )
    parser.add_argument("--rounds", type=int, default=5, help="each with others (5)")
    parser.add_argument("--json", action="store_true", help="one line of figures on standard output")
    parser.add_argument("--check", action="store_true", help="nothing is needed but Redis")
    return parser.parse_args()


if __name__ == "__main__":
    chosen = _options()
    sys.exit(0 if chosen.check else uvloop.run(_measure(chosen)))
