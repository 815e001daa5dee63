"""The play of tests/test_two_desks.py: what one random step does, and what each answer must be."""

import asyncio
import itertools
from collections.abc import Awaitable
from random import Random
from typing import Any

from msgspec.structs import replace
from redis.asyncio import Redis

from dispatch import commands as c
from dispatch.cells import cell_of
from dispatch.policy import Policy
from dispatch.wording import user_room
from storage import keys
from storage.fleet import Update, pack
from storage.log import Conflict
from storage.records import Driver, Job, JobId, Offer, Room, UserId
from storage.shard import Unavailable
from tests.deskcommands import DRIVERS, Commands, near_centre
from tests.deskkit import TRAVELLED, Fold, Node, S, has_one_more
from tests.invariants import BEFORE_PICKUP, NOBODYS

TRIES = 5
RECENT = 60  # answers that are repeated; a room keeps 128
SETTLE_ROUNDS = 12


class Play:
    """`trace` tells what happened, `happened` names it; `phones` are the records the devices know."""

    def __init__(self, nodes: list[Node], client: "Redis", fold: Fold, policy: Policy) -> None:
        self.fold = fold
        self.trace: list[str] = []
        self.happened: set[str] = set()
        self._nodes = nodes
        self._client = client
        self._policy = policy
        self._commands = Commands(fold)
        self._first: dict[tuple[str, str], tuple[c.Command, c.Answer]] = {}
        self._phones: dict[tuple[str, str], Driver] = {}

    async def begin(self) -> None:
        r = Random(0)
        for user in DRIVERS:
            await self._ask(self._nodes[0], self._commands.online(user, "a", r))
        await self.fold.catch_up()
        await self._everyone(r)

    async def step(self, seed: int) -> None:
        r = Random(seed)
        steps = {
            self._alone: 34,
            self._several: 22,
            self._sweep: 9,
            self._match: 7,
            self._round: 7,
            self._on_top: 6,
            self._beside: 6,
            self._next_ride: 6,
            self._ticks: 6,
            self._everyone: 8,
            self._travel: 5,
            self._last_second: 2,
            self._repeat: 8,
            self._another_content: 1,
            self._another_life: 1,
        }
        what = r.choices(list(steps), list(steps.values()))[0]
        self.trace.append(f"-- {seed} {what.__name__}")
        self.happened.add(what.__name__)
        await what(r)

    def look_at_plans(self) -> None:
        """Whether anybody carries several, and not one after the other: that they are right, `wrong` says."""
        for driver in self.fold.all(Driver):
            if len(driver.load) > 1:
                if driver.plan[0].kind == "ride":
                    self.happened.add("a ride after a ride")
                    continue
                self.happened.add("two on one plan")
                jobs = [id_ for id_, _ in itertools.groupby(stop.job_id for stop in driver.plan)]
                if len(jobs) > len(set(jobs)) or jobs != [id_ for id_ in driver.load if id_ in jobs]:
                    self.happened.add("a plan in another order")

    async def _alone(self, r: Random) -> None:
        """One command; when its reply gets lost, its repeat on the other node has no second effect."""
        command, node = self._commands.any(r), r.choice(self._nodes)
        node.flaky.fate = r.choices(["", "lost", "never", "late"], [70, 14, 6, 10])[0]
        lost = node.flaky.fate == "lost"
        answer = await self._once(node, command)
        node.flaky.fate = ""
        if isinstance(answer, c.Refusal) and answer.code == "unavailable":
            before = await self._client.xlen(keys.facts(S))
            answer = await self._ask(self._other(node), command)
            if lost and command.key and not isinstance(answer, c.Refusal):
                assert await self._client.xlen(keys.facts(S)) == before, f"a second effect of {command}"
                self.happened.add("lost, and found again")

    async def _several(self, r: Random) -> None:
        """Several commands at once, on both desks; some of them twice, while timers run out and time passes."""
        makers = [self._commands.any, self._commands.chat]
        commands = [r.choices(makers, [5, 1])[0](r) for _ in range(r.randint(2, 4))]
        if r.random() < 0.6:
            commands += commands[:2]
        if r.random() < 0.3:
            r.choice(self._nodes).flaky.fate = r.choice(["lost", "late"])
        work: list[Awaitable[Any]] = [self._ask(r.choice(self._nodes), command) for command in commands]
        if r.random() < 0.3:
            work.append(self._sweep(r))
        if r.random() < 0.2:
            work.append(self._ticks(r))
        if r.random() < 0.1:
            work.append(self._travel(r))
        await asyncio.gather(*work)
        for node in self._nodes:
            node.flaky.fate = ""

    async def _repeat(self, r: Random) -> None:
        """The same key again, later, on any desk: the first answer, and nothing happens."""
        if not self._first:
            return
        command, _ = r.choice(list(self._first.values())[-RECENT:])
        before = await self._client.xlen(keys.facts(S))
        await self._ask(r.choice(self._nodes), command)
        assert await self._client.xlen(keys.facts(S)) == before, f"a second effect of {command}"

    async def _another_content(self, r: Random) -> None:
        if not self._first:
            return
        command, _ = r.choice(list(self._first.values())[-RECENT:])
        answer = await self._once(r.choice(self._nodes), replace(command, content="other"))
        # the id of a line is everybody's: who is no party of its job any more is told nothing
        codes = {"duplicate", "not_found"} if command.key.startswith("message:") else {"duplicate"}
        assert isinstance(answer, c.Refusal) and answer.code in codes, answer

    async def _sweep(self, r: Random) -> None:
        """Both desks serve all timers that have run out, at once."""
        await asyncio.gather(*(self._serve(node) for node in self._nodes))

    async def _serve(self, node: Node) -> None:
        try:
            for timer in await node.log.due():
                what, _, id_ = timer.partition(":")
                if what == "driver":
                    user = UserId(id_)
                    await self._ask(node, c.WakeDriver(user=c.SYSTEM, room=user_room(id_), driver_id=user))
                else:
                    await node.log.snooze(timer, await node.log.now_ms() + 2_000)
                    room = Room(f"ride:{id_}")
                    await self._ask(node, c.WakeJob(user=c.SYSTEM, room=room, job_id=JobId(id_)))
                    await node.match.at_once(id_)
        except Unavailable:
            self.trace.append(f"   {node.name} sweep: unavailable")

    async def _match(self, r: Random) -> None:
        searching = [job.id for job in self.fold.all(Job) if job.state == "searching"]
        r.shuffle(searching)
        await asyncio.gather(*(node.match.at_once(id_) for id_ in searching[:3] for node in self._nodes))

    async def _round(self, r: Random) -> None:
        """Two leaders at once, while one of the jobs is matched as well; a reply may get lost on the way."""
        if r.random() < 0.3:
            r.choice(self._nodes).flaky.fate = r.choice(["lost", "late", "never"])
        work: list[Awaitable[Any]] = [self._lead(node) for node in self._nodes]
        if r.random() < 0.5:
            work.append(self._match(r))
        if r.random() < 0.3:
            work.append(self._ask(r.choice(self._nodes), self._commands.any(r)))
        await asyncio.gather(*work)
        for node in self._nodes:
            node.flaky.fate = ""

    async def _lead(self, node: Node) -> None:
        try:
            done = await node.rounds.go(2.0)
        except (Unavailable, Conflict):
            return
        self.happened |= {f"round {outcome}" for outcome in done.asked}

    async def _on_top(self, r: Random) -> None:
        """A courier with room is asked for a parcel, whatever he carries, and takes it, while others do anything."""
        free = [each for each in self.fold.all(Driver) if each.available and "parcel" in each.classes]
        if not free:
            return
        courier, node = (
            r.choice(sorted(free, key=lambda each: (-len(each.load), each.id))[:2]),
            r.choice(self._nodes),
        )
        opened = self._commands.open_job(r, "package")
        assert isinstance(opened, c.OpenJob)
        await self._ask(node, opened)
        near: dict[str, Any] = {"driver_id": courier.id, "distance_m": 500.0, "eta_s": 60.0}
        await self._ask(node, c.MakeOffer(user=c.SYSTEM, room=opened.room, job_id=opened.job_id, **near))
        await self.fold.catch_up()
        offers = [
            each for each in self.fold.all(Offer) if each.state == "open" and each.job_id == opened.job_id
        ]
        work = [self._ask(r.choice(self._nodes), self._commands.accept(offer)) for offer in offers]
        if r.random() < 0.5:
            work.append(self._ask(r.choice(self._nodes), self._commands.any(r)))
        await asyncio.gather(*work)

    async def _beside(self, r: Random) -> None:
        """Another is asked to take a job over, on both nodes, and says yes, while its driver or anybody does
        anything."""
        jobs = [job for job in self.fold.all(Job) if job.may_change]
        if not jobs:
            return
        job = r.choice(jobs)
        free = [
            each
            for each in self.fold.all(Driver)
            if each.state == "idle" and job.vehicle_class in each.classes and each.id not in job.excluded
        ]
        asked = [self._commands.beside(job, each) for each in free[:2]]
        if r.random() < 0.5:
            await self._everyone(r)
            await asyncio.gather(*(self._lead(node) for node in self._nodes))
        await asyncio.gather(*(self._ask(r.choice(self._nodes), command) for command in asked))
        await self.fold.catch_up()
        offers = [each for each in self.fold.all(Offer) if each.state == "open" and each.job_id == job.id]
        work = [self._ask(r.choice(self._nodes), self._commands.accept(offer)) for offer in offers]
        if r.random() < 0.6:
            work.append(self._ask(r.choice(self._nodes), self._commands.about(job, r)))
        if r.random() < 0.3:
            work.append(self._ask(r.choice(self._nodes), self._commands.any(r)))
        r.shuffle(work)
        await asyncio.gather(*work)
        await self.fold.catch_up()
        after = self.fold.records[Job, job.id]
        assert isinstance(after, Job)
        if offers and after.driver_id == offers[0].driver_id:
            self.happened.add("taken over")
        elif offers:
            self.happened.add(f"not taken over, {after.state}")

    async def _next_ride(self, r: Random) -> None:
        """Whose ride ends soon is found in the index by both desks, is offered one more, and takes it, while others do
        anything."""
        for job in [each for each in self.fold.all(Job) if each.state in ("assigned", "arrived")][:1]:
            for status in ("arrived", "in_progress"):
                await self._ask(r.choice(self._nodes), self._commands.step_of(job, status))
        await self.fold.catch_up()
        await self._everyone(r)
        if not any(has_one_more(each) for each in self.fold.all(Driver)):
            return
        opened = self._commands.open_job(r, "ride")
        await self._ask(r.choice(self._nodes), opened)
        await asyncio.gather(*(self._lead(node) for node in self._nodes))
        await self.fold.catch_up()
        offers = [each for each in self.fold.all(Offer) if each.state == "open" and each.finishing]
        self.happened |= {"offered a ride after a ride" for _ in offers}
        work = [self._ask(r.choice(self._nodes), self._commands.accept(offer)) for offer in offers]
        if r.random() < 0.5:
            work.append(self._ask(r.choice(self._nodes), self._commands.progress(r)))
        await asyncio.gather(*work)

    async def _travel(self, r: Random) -> None:
        seconds = r.choice([1, 2, 3, 5, 8, 12, 25, 50])
        self.trace.append(f"   {seconds} s pass")
        await self._client.incrby(TRAVELLED, seconds)

    async def _last_second(self, r: Random) -> None:
        """An offer is answered within the last second that counts, and the commit may come just after it."""
        offers = [offer for offer in self.fold.all(Offer) if offer.state == "open"]
        if not offers:
            return
        offer, node = r.choice(offers), r.choice(self._nodes)
        until_ms = offer.deadline_ms + int(self._policy.offer_grace_s * 1000)
        await self._client.incrby(TRAVELLED, max(0, (until_ms - await node.log.now_ms()) // 1000))
        node.flaky.fate = r.choice(["", "late", "late"])
        await self._ask(node, self._commands.accept(offer))
        node.flaky.fate = ""

    async def _another_life(self, r: Random) -> None:
        """Redis was restarted: its run id is another; one node's new connection notices."""
        await self._client.hset(keys.life(S), "run_id", f"another {r.random()}")
        r.choice(self._nodes).shard.life_changed = True

    async def _everyone(self, r: Random) -> None:
        """Every device that holds a lease sends where it is, and is seen."""
        self._learn()
        current = [phone for phone in self._phones.values() if self._leased(phone)]
        enters = [p.available or has_one_more(p) for p in current]
        parts = [(p, "e" if into else "-", True) for p, into in zip(current, enters, strict=True)]
        await self._tick(r, r.choice(self._nodes), parts)

    async def _ticks(self, r: Random) -> None:
        """Late and odd ticks: of superseded devices, with old versions, sent twice."""
        if r.random() < 0.5:
            self._learn()
        some = [phone for phone in self._phones.values() if r.random() < 0.5]
        parts = [
            (phone, r.choice("eml" if phone.available or has_one_more(phone) else "-l"), r.random() < 0.5)
            for phone in some
        ]
        node = r.choice(self._nodes)
        if r.random() < 0.2:
            node.ticks -= 1
        await self._tick(r, node, parts)

    async def _tick(self, r: Random, node: Node, parts: list[tuple[Driver, str, bool]]) -> None:
        now_ms = await node.log.now_ms()
        updates = []
        for phone, flag, alive in parts:
            lat, lng = near_centre(r)
            classes, ends = ",".join(phone.classes), b""
            if has_one_more(phone):
                classes = ",".join(keys.soon(name) for name in phone.classes if name != "parcel")
                ends = pack(lat, lng, now_ms + r.randrange(150_000), None)
            updates.append(
                Update(
                    driver_id=phone.id,
                    flag=flag,
                    generation=phone.generation,
                    version=phone.version,
                    cell=cell_of(lat, lng),
                    classes=classes,
                    position=pack(lat, lng, now_ms, None),
                    stale_ms=phone.silence_ms if alive else 0,
                    carries=bool(phone.load),
                    soon=ends,
                )
            )
        node.ticks += 1
        await node.fleet.tick(node.name, "boot", node.ticks, updates, [])

    def _learn(self) -> None:
        for driver in self.fold.all(Driver):
            self._phones[driver.id, driver.device] = driver

    def _leased(self, phone: Driver) -> bool:
        driver = self.fold.records[Driver, phone.id]
        return isinstance(driver, Driver) and driver.online and driver.generation == phone.generation

    def _other(self, node: Node) -> Node:
        return self._nodes[1 - self._nodes.index(node)]

    async def _ask(self, node: Node, command: c.Command) -> c.Answer | c.Refusal:
        """A client: what was unavailable is asked again, at the other node."""
        known = self._first.get((command.user, command.key)) if command.key else None
        answer = await self._once(node, command)
        for _ in range(TRIES):
            if not isinstance(answer, c.Refusal) or answer.code != "unavailable":
                break
            node = self._other(node)
            answer = await self._once(node, command)
        if isinstance(answer, c.Refusal):
            assert known is None or answer.code == "unavailable", (
                f"{command} was answered {known}, now {answer}"
            )
        return answer

    async def _once(self, node: Node, command: c.Command) -> c.Answer | c.Refusal:
        try:
            answer: c.Answer | c.Refusal = await node.desk.run(command)
        except c.Refusal as refusal:
            answer = refusal
        self.trace.append(f"   {node.name} {command} -> {answer!r}")
        self.happened.add(
            f"{type(command).__name__} {answer.code if isinstance(answer, c.Refusal) else 'ok'}"
        )
        if command.key and not isinstance(answer, c.Refusal):
            _, first = self._first.setdefault((command.user, command.key), (command, answer))
            assert answer == first, f"{command} was answered {first}, now {answer}"
        return answer

    async def settle(self) -> None:
        """Everyone is seen once more: the free stand in the index. Then all fall silent: nothing hangs."""
        await self._client.hset(keys.life(S), "run_id", "the last")
        r = Random(1)
        await self._everyone(r)
        spots = {id_.decode() for id_ in await self._client.hkeys(keys.spot(S))}
        may = {driver.id for driver in self.fold.all(Driver) if driver.available or has_one_more(driver)}
        assert spots == may
        await self.fold.check_live()
        reached = [job.state for job in self.fold.all(Job)]
        for _ in range(SETTLE_ROUNDS):
            await self._client.incrby(TRAVELLED, 120)
            await self._sweep(r)
            await self.fold.catch_up()
        await self.fold.check_live()
        reached += [job.state for job in self.fold.all(Job)]
        self.happened |= {f"state:{state}" for state in reached}
        hanging = [job for job in self.fold.all(Job) if job.state in NOBODYS | BEFORE_PICKUP]
        assert not hanging, f"nobody looks after {hanging}"
