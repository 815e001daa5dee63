"""Two nodes without a wire: desks on one real Redis whose clock can be moved and whose replies can get lost.

`travelling_lua` copies the scripts with a clock that reads the key `travelled_s` on top of Redis' own, so that
time passes for everything at once and no test sleeps; it can break a script on the way, to show that a check
notices. `Fold` reads the facts stream as the drain does and holds what follows from it: its records must be
the live ones (replay equals refetch), its rooms gapless and in the order of their logs.
"""

from pathlib import Path
from typing import Any

import msgspec
from redis.asyncio import Redis

from dispatch.area import Area, Areas
from dispatch.desk import Desk
from dispatch.match import Match
from dispatch.policy import Policy
from dispatch.rounds import Rounds
from storage import keys
from storage import shard as shard_module
from storage.facts import Entry, entry_of
from storage.fleet import Fleet
from storage.log import Log, record_key
from storage.records import Driver, Job, Offer, Stored
from storage.shard import Shard
from tests.invariants import wrong

S = "t"
TRAVELLED = "travelled_s"
_CLOCK = "local time = redis.call('TIME')"
_MOVED = f"{_CLOCK}; time[1] = time[1] + (redis.call('GET', '{TRAVELLED}') or 0)"
CENTRE = (49.99, 36.23)


def travelling_lua(folder: Path, **broken: tuple[str, str]) -> Path:
    """A copy of the scripts with the moved clock; `broken` names a script and what to write instead of what."""
    for path in sorted(shard_module.LUA.glob("*.lua")):
        source = path.read_text()
        if path.stem in ("load", "commit", "tick", "room", "due"):
            assert source.count(_CLOCK) == 1, f"{path.name} reads the clock in another way now"
            source = source.replace(_CLOCK, _MOVED)
        if path.stem in broken:
            before, after = broken[path.stem]
            assert source.count(before) == 1, f"{path.name} has no single {before!r} to break"
            source = source.replace(before, after)
        (folder / path.name).write_text(source)
    return folder


def city(policy: Policy) -> Areas:
    ring = [[36.0, 49.8], [36.5, 49.8], [36.5, 50.2], [36.0, 50.2], [36.0, 49.8]]
    polygon = {"type": "Polygon", "coordinates": [ring]}
    return Areas([Area(id="city", name="City", shard=S, polygon=polygon, currency="UAH", policy=policy)])


class TravellingShard(Shard):
    async def now_ms(self) -> int:
        moved = int(await self.client.get(TRAVELLED) or 0)
        return await super().now_ms() + moved * 1000


class Flaky:
    """The commit script, whose next call may fail ("never" happened, "lost" its reply) or come a second "late"."""

    def __init__(self, script: Any, client: "Redis") -> None:
        self._script = script
        self._client = client
        self.fate = ""

    async def __call__(self, keys_: list[str], args: list[Any]) -> Any:
        fate, self.fate = self.fate, ""
        if fate == "never":
            raise TimeoutError
        if fate == "late":
            await self._client.incrby(TRAVELLED, 1)
        reply = await self._script(keys_, args)
        if fate == "lost":
            raise TimeoutError
        return reply


class Node:
    """What one process holds of dispatch: its own connections, log, fleet and desk."""

    def __init__(self, name: str, url: str, policy: Policy, room_facts: int = 300) -> None:
        self.name = name
        self.shard = TravellingShard(S, url)
        self.flaky = Flaky(self.shard.commit_script, self.shard.client)
        self.shard.commit_script = self.flaky  # type: ignore[assignment]
        self.log = Log(self.shard, room_facts)
        self.fleet = Fleet(self.shard)
        self.desk = Desk(self.log, self.fleet, city(policy))
        self.match = Match(self.desk)
        self.rounds = Rounds(self.desk)
        self.ticks = 0

    async def close(self) -> None:
        await self.shard.close()


def has_one_more(driver: Driver) -> bool:
    """He has a passenger on board, and may be asked for the ride after it."""
    return driver.finishing and driver.online and not driver.stale and driver.offer_id is None


class Fold:
    """The facts stream, read up to `last`, under an area's policy."""

    def __init__(self, client: "Redis", policy: Policy) -> None:
        self._client = client
        self._policy = policy
        self.last = "0-0"
        self.at_ms = 0
        self.entries = 0
        self.records: dict[tuple[type, str], Stored] = {}
        self.rooms: dict[str, list[Entry]] = {}  # of the room's present epoch

    def all(self, kind: type) -> list[Any]:
        return [record for (of, _), record in self.records.items() if of is kind]

    async def catch_up(self) -> None:
        """Reads on, checking every entry against what was known before it; then the records as a whole."""
        for id_, fields in await self._client.xrange(keys.facts(S), f"({self.last}"):
            self._take(entry_of(id_, fields))
            self.last = id_.decode()
        found = wrong(self.records.values())
        assert not found, "\n".join(found)

    def _take(self, entry: Entry) -> None:
        self.entries += 1
        self.at_ms = entry.at_ms
        if entry.seq:
            room = self.rooms.setdefault(entry.room, [])
            if room and room[-1].epoch != entry.epoch:
                room.clear()
            assert entry.seq == len(room) + 1, f"{entry.room} goes from {len(room)} to {entry.seq}"
            room.append(entry)
            event, payload = msgspec.json.decode(entry.text)
            assert event == entry.event
            told = (payload["room"], payload["epoch"], payload["seq"])
            assert told == (entry.room, entry.epoch, entry.seq)
        for record in entry.records():
            if isinstance(record, Job | Offer | Driver):
                self._record(record, entry)

    def _record(self, record: Stored, entry: Entry) -> None:
        before = self.records.get((type(record), record.id))
        known = before.version if before else 0
        assert record.version == known + 1, f"{record.id} goes from version {known} to {record.version}"
        # who gives a job away by hand asks no offer's clock
        if isinstance(record, Offer) and record.state == "accepted" and entry.by == record.driver_id:
            late_ms = entry.at_ms - record.deadline_ms - int(self._policy.offer_grace_s * 1000)
            assert late_ms <= 0, f"{record.id} was accepted {late_ms} ms too late"
        if isinstance(record, Job):
            assert record.offers - record.unseen <= self._policy.max_offers, (
                f"{record.id} was offered {record.offers} times"
            )
            if (
                record.state in ("no_driver", "no_courier")
                and record.offers - record.unseen < self._policy.max_offers
            ):
                since_ms = max(record.searching_ms, record.scheduled_ms)
                early_ms = since_ms + int(self._policy.patience_s * 1000) - entry.at_ms
                assert early_ms <= 0, f"{record.id} was given up {early_ms} ms too early"
        self.records[type(record), record.id] = record

    async def check_live(self) -> None:
        """Replay equals refetch: the folded records and rooms are the live ones, and there are no others."""
        pipe = self._client.pipeline(transaction=False)
        for kind, id_ in self.records:
            pipe.hmget(record_key(S, kind, id_), "v", "r")
        for (kind, id_), (version, body) in zip(self.records, await pipe.execute(), strict=True):
            record = self.records[kind, id_]
            live = msgspec.json.decode(body or b"null", type=kind | None)
            assert live == record and int(version) == record.version, f"live {live}, told {record}"
        for kind, pattern in ((Job, "job"), (Driver, "driver"), (Offer, "offer")):
            live_keys = {key.decode() for key in await self._client.keys(f"{{{S}}}:{pattern}:*")}
            assert live_keys == {record_key(S, kind, r.id) for r in self.all(kind)}
        for room, entries in self.rooms.items():
            log = await self._client.xrange(keys.log(S, room))
            assert [id_.decode() for id_, _ in log] == [f"{e.seq}-0" for e in entries][-len(log) :]
            assert [fields[b"p"] for _, fields in log] == [e.text for e in entries][-len(log) :]
            epoch, seq = await self._client.hmget(keys.head(S, room), "epoch", "seq")
            assert (epoch.decode(), int(seq)) == (entries[-1].epoch, entries[-1].seq)
        await self.check_timers()
        await self.check_index()

    async def check_timers(self) -> None:
        """Whatever must be looked at has a timer, and nothing else has; the lists follow from the records."""
        jobs, drivers = self.all(Job), self.all(Driver)
        due = {f"job:{job.id}" for job in jobs if job.state == "searching" or job.wake_ms}
        due |= {f"driver:{driver.id}" for driver in drivers if driver.online and not driver.stale}
        assert {timer.decode() for timer in await self._client.zrange(keys.due(S), 0, -1)} == due
        waiting = {job.id for job in jobs if job.state == "searching"}
        assert {id_.decode() for id_ in await self._client.zrange(keys.wait(S), 0, -1)} == waiting
        wanted = {(keys.want(S, j.vehicle_class), j.id) for j in jobs if j.state == "searching"}
        pickups = set()
        for key in await self._client.keys(keys.want(S, "*")):
            pickups |= {(key.decode(), id_.decode()) for id_ in await self._client.zrange(key, 0, -1)}
        assert pickups == wanted
        asked = {job.id for job in jobs if job.state == "offered"}
        assert {id_.decode() for id_ in await self._client.zrange(keys.asked(S), 0, -1)} == asked
        coming = {(keys.coming(S, job.area_id), job.id) for job in jobs if job.may_change}
        found_coming = set()
        for key in await self._client.keys(keys.coming(S, "*")):
            found_coming |= {(key.decode(), id_.decode()) for id_ in await self._client.zrange(key, 0, -1)}
        assert found_coming == coming
        mine: dict[str, set[str]] = {}
        for job in jobs:
            if not job.ended_ms:
                mine.setdefault(keys.mine(S, job.requester_id), set()).add(job.id)
        found = {
            key.decode(): {id_.decode() for id_ in await self._client.smembers(key)}
            for key in await self._client.keys(keys.mine(S, "*"))
        }
        assert found == mine

    async def check_index(self) -> None:
        """The index holds only drivers who may be offered a job, each where the spot list says."""
        spots = {id_.decode(): at.decode() for id_, at in (await self._client.hgetall(keys.spot(S))).items()}
        expected = set()
        for driver_id, at in spots.items():
            driver = self.records[Driver, driver_id]
            assert isinstance(driver, Driver), f"{driver_id} is nobody"
            generation, cell, classes = at.split()
            # whose ride is over stands where it ended, until his node hears of it
            may = driver.available or (keys.is_soon(classes) and has_one_more(driver))
            assert may, f"{driver_id} is offered in the index"
            assert int(generation) == driver.generation, f"{driver_id} stands there for an older device"
            expected |= {(keys.index(S, c, cell), driver_id) for c in classes.split(",")}
        found = set()
        for key in await self._client.keys(keys.index(S, "*", "*")):
            found |= {(key.decode(), keys.entered(id_)) for id_ in await self._client.hkeys(key)}
        assert found == expected, "entries that nobody would take out again, or none where one should be"
