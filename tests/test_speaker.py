"""The tail and the speaker: rubbish in the log, facts that were trimmed too soon, and a crowd of commands."""

from __future__ import annotations

import asyncio
import json
import logging
import math
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from redis.asyncio import Redis

from rooms import speaker as speaker_module
from rooms.registry import Registry
from rooms.session import Session
from rooms.speaker import Speaker
from rooms.tasks import Tasks
from rooms.transport import Frame
from storage import keys
from storage.facts import Entry, entry_or_fault
from storage.fleet import Fleet
from storage.log import Log
from storage.mail import Mail, Said
from storage.records import UserId
from storage.shard import CONNECTIONS_MAX, Shard, Unavailable
from storage.tail import Heard, Position
from tests.storekit import RIDE, S, told, write
from tests.support import wait_until


class Kept:
    def __init__(self) -> None:
        self.told: list[str] = []

    def tell(self, frame: Frame) -> None:
        self.told.append(frame.text[1:])

    def tell_latest(self, key: str, frame: Frame) -> None:
        self.told.append(frame.text[1:])

    def reads(self) -> bool:
        return True

    def laden(self) -> bool:
        return False

    def close(self, why: str) -> None: ...

    def end(self, why: str) -> None: ...


class Ear:
    """A speaker, one member of a room, and how often everybody had to come anew."""

    def __init__(self, shard: Shard) -> None:
        self.log, self.registry = Log(shard), Registry()
        registry, self.speaker = self.registry, Speaker(self.log, self.registry)
        self.wire = Kept()
        self.session = Session(UserId("u"), "d", name="U", role="passenger", login="l", wire=self.wire)
        registry.add(self.session)
        registry.enter(RIDE, self.session)
        self.gaps = 0
        self.speaker.on_gap = self._gap

    def _gap(self) -> None:
        self.gaps += 1

    async def say(self, *numbers: int) -> None:
        for n in numbers:
            await self.log.commit(await write(self.log, facts=(told(n=n),)))

    def heard(self, n: int) -> bool:
        return any(f'"n":{n},' in text for text in self.wire.told)


@pytest_asyncio.fixture
async def ear(redis: Redis, redis_url: str) -> AsyncIterator[Ear]:
    shard = Shard(S, redis_url)
    yield Ear(shard)
    await shard.close()


@pytest_asyncio.fixture
async def tasks() -> AsyncIterator[Tasks]:
    made = Tasks()
    yield made
    await made.stop()


def spoilt(**fields: bytes) -> dict[bytes, bytes]:
    entry = {"r": RIDE.encode(), "n": b"e", "s": b"1", "e": b"x", "p": b"[]", "d": b"", "m": b"", "t": b"1"}
    return {name.encode(): value for name, value in {**entry, "a": b"u", **fields}.items()}


async def test_nobody_is_let_in_before_the_log_was_read_to_its_end(
    ear: Ear, tasks: Tasks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node listens once it has started, and says at once that it is ready."""
    look, asked, go, started = ear.log.tail.look, asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def slow(*args: Any) -> Any:
        asked.set()
        await go.wait()
        return await look(*args)

    monkeypatch.setattr(ear.log.tail, "look", slow)
    tasks.start(ear.speaker.run(started), "speaker")
    await asked.wait()
    assert not started.is_set() and not ear.speaker.fresh()
    go.set()
    await started.wait()
    assert ear.speaker.fresh()


async def test_what_cannot_be_read_is_passed_over(
    redis: Redis, ear: Ear, tasks: Tasks, caplog: pytest.LogCaptureFixture
) -> None:
    started = asyncio.Event()
    task = tasks.start(ear.speaker.run(started), "speaker")
    await started.wait()
    secret = b"SECRET"
    rubbish: list[Any] = [
        {b"nobody": secret},
        spoilt(s=secret),
        spoilt(r=b"\xff" + secret),
        spoilt(p=b"\xff" + secret),
        spoilt(m=b"{" + secret),
        spoilt(m=b'{"leave":["u"],"close":7}'),
        spoilt(d=b'[{"record":"driver","id":"' + secret + b'"}]'),
    ]
    with caplog.at_level(logging.ERROR):
        ids = [(await redis.xadd(keys.facts(S), fields)).decode() for fields in rubbish]
        await ear.say(7)
        await wait_until(lambda: ear.heard(7) or task.done())
    assert ear.heard(7) and not task.done() and ear.gaps == 0
    assert all(f"fact {id_} cannot be told" in caplog.text for id_ in ids)
    assert "SECRET" not in caplog.text and "Traceback" not in caplog.text


@pytest.mark.parametrize("refused", [True, False])
@pytest.mark.parametrize("let_in", [True, False])
async def test_what_is_heard_while_it_is_unknown_whether_one_may(
    ear: Ear, refused: bool, let_in: bool
) -> None:
    """Of a room that he was not in: two readings at once, of which the first cannot tell."""
    session, registry = ear.session, ear.registry
    registry.leave(RIDE, session)
    session.hold_back()
    first, second = registry.attempt(RIDE, session), registry.attempt(RIDE, session)
    assert first is not None and first is second
    at = await ear.speaker._tail.newest()
    await ear.say(1)
    if let_in:
        fact = msgspec.structs.replace(told(n=2), join=(UserId("u"),))
        await ear.log.commit(await write(ear.log, facts=(fact,)))
    await ear.say(3)
    at = await ear.speaker._step(at)
    registry.give_up(RIDE, session, first)
    assert RIDE in session.rooms
    if refused:
        registry.give_up(RIDE, session, second)
    session.release()
    assert [n for n in (1, 2, 3) if ear.heard(n)] == {
        (True, True): [2, 3],
        (True, False): [2, 3],
        (False, True): [],
        (False, False): [1, 3],
    }[let_in, refused]
    assert (RIDE in session.rooms) == (let_in or not refused)


async def test_who_drives_is_who_was_read_last_until_the_log_is_heard_so_far(ear: Ear) -> None:
    registry = ear.registry
    epoch = "e"
    registry.stood(RIDE, epoch, 5, "new")
    assert registry.drives(RIDE, "new") and not registry.drives(RIDE, "old")
    registry.stood(RIDE, epoch, 4, "old")  # an older reading that comes late
    assert not registry.drives(RIDE, "old")
    silent = spoilt(e=b"", n=b"life", s=b"0", m=b"")
    ear.speaker.hear(entry_or_fault(b"1-0", silent))
    registry.heard(RIDE, epoch, 4)
    assert not registry.drives(RIDE, "old")
    registry.heard(RIDE, epoch, 5)
    assert registry.drives(RIDE, "old")  # what the log says counts again
    registry.stood(RIDE, epoch, 5, "new")
    assert registry.drives(RIDE, "whoever came by fact 6")


async def test_who_cannot_be_told_still_leaves(redis: Redis, ear: Ear) -> None:
    at = await ear.speaker._tail.newest()
    await redis.xadd(keys.facts(S), spoilt(p=b"\xff", m=b'{"leave":["u"]}'))
    await ear.speaker._step(at)
    assert RIDE not in ear.session.rooms


async def test_it_is_fresh_only_at_the_end(ear: Ear, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speaker_module, "BATCH", 2)
    at = await ear.speaker._tail.newest()
    await ear.say(1, 2, 3, 4, 5)
    for _ in range(2):
        at = await ear.speaker._step(at)
        assert not ear.speaker.fresh(), "there is more that we do not know"
    at = await ear.speaker._step(at)
    assert ear.speaker.fresh() and ear.heard(5) and at[:3] == (await ear.speaker._tail.newest())[:3]


@pytest.mark.parametrize("looks_first", [True, False])
async def test_facts_trimmed_before_they_were_read(redis: Redis, ear: Ear, looks_first: bool) -> None:
    await ear.say(1)
    at = await ear.speaker._step(await ear.speaker._tail.newest())
    await ear.say(2, 3, 4)
    await redis.xtrim(keys.facts(S), maxlen=1, approximate=False)
    if looks_first:
        ear.speaker._looked_s = -math.inf
    at = await ear.speaker._step(at)  # the facts that are left look like the next ones
    assert ear.heard(4) and not ear.heard(2) and ear.gaps == looks_first
    for _ in range(2):
        await ear.say(5)
        ear.speaker._looked_s = -math.inf
        at = await ear.speaker._step(at)
        assert ear.gaps == 1


async def test_trimming_what_was_read_is_no_gap(redis: Redis, ear: Ear) -> None:
    at = await ear.speaker._tail.newest()
    await ear.say(1, 2)
    at = await ear.speaker._step(at)
    await redis.xtrim(keys.facts(S), maxlen=0, approximate=False)
    ear.speaker._looked_s = -math.inf
    at = await ear.speaker._step(at)
    await ear.say(3)
    ear.speaker._looked_s = -math.inf
    await ear.speaker._step(at)
    assert ear.heard(3) and ear.gaps == 0


async def test_a_gap_is_noticed_after_an_outage(
    redis: Redis, ear: Ear, tasks: Tasks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speaker_module, "LOOK_S", 3600.0)
    tail, away = ear.speaker._tail, asyncio.Event()
    read = tail.read

    async def failing(*args: Any) -> Any:
        if away.is_set():
            raise Unavailable("away")
        return await read(*args)

    monkeypatch.setattr(tail, "read", failing)
    started = asyncio.Event()
    tasks.start(ear.speaker.run(started), "speaker")
    await started.wait()
    await ear.say(1)
    await wait_until(lambda: ear.heard(1))
    look = tail.look

    async def also_away(*args: Any) -> Any:
        if away.is_set():
            raise Unavailable("away")
        return await look(*args)

    monkeypatch.setattr(tail, "look", also_away)
    away.set()
    await wait_until(lambda: ear.speaker._looked_s == -math.inf)
    await ear.say(2, 3)
    await redis.xtrim(keys.facts(S), maxlen=1, approximate=False)
    away.clear()
    await wait_until(lambda: ear.gaps == 1)
    await ear.say(4)
    await wait_until(lambda: ear.heard(4))
    assert ear.heard(3) and not ear.heard(2)


@pytest.mark.parametrize("how", ["wiped", "restarted"])
async def test_a_new_life_is_noticed_and_named(redis: Redis, ear: Ear, how: str) -> None:
    await ear.say(1, 2)
    at = await ear.speaker._step(await ear.speaker._tail.newest())
    if how == "wiped":
        await redis.flushall()
    else:
        await redis.hset(keys.life(S), mapping={"token": "another", "run_id": "another"})
    ear.speaker._looked_s = -math.inf
    new = await ear.speaker._step(at)
    assert ear.gaps == 1 and new.life != at.life
    assert new[:3] == (await ear.speaker._tail.newest())[:3]
    assert (await redis.hget(keys.life(S), "token")).decode() == new.life
    await ear.say(3)
    await ear.speaker._step(new)
    assert ear.heard(3) and ear.gaps == 1


async def test_a_crowd_of_commands_starves_neither_tail_nor_tick(redis: Redis, redis_url: str) -> None:
    shard = Shard(S, redis_url, timeout_s=0.5)
    log, fleet = Log(shard), Fleet(shard)
    pool = shard.client.connection_pool
    await log.load([])
    async with AsyncExitStack() as crowd:
        for _ in range(CONNECTIONS_MAX):
            crowd.push_async_callback(pool.release, await pool.get_connection())
        with pytest.raises(Unavailable):
            await log.now_ms()
        at = await log.tail.newest()
        assert await log.tail.read(at.id, block_ms=1) == ([], [])
        assert (await log.tail.look(at.id)).life == at.life
        assert await fleet.tick("n", "b", 1, [], []) > (0, 0)
    await shard.close()


def entry(id_: str, n: int, **fields: bytes) -> Entry:
    return entry_or_fault(id_.encode(), spoilt(p=f'["new_message",{{"n":{n},"x":1}}]'.encode(), **fields))


def letter(id_: str, *numbers: int) -> Mail:
    said = [Said(RIDE, "k", f'["driver_location",{{"n":{n},"x":1}}]'.encode(), "") for n in numbers]
    return Mail(id_, msgspec.msgpack.encode(said))


def numbers(ear: Ear) -> list[int]:
    return [json.loads(text[1:])[1]["n"] for text in ear.wire.told]


async def test_facts_and_mail_are_told_in_the_order_of_their_moments(ear: Ear) -> None:
    start = Position("life", "0-0", 0, "0-0")
    facts = [entry("10-0", 1), entry("20-0", 3), entry("20-1", 4)]
    mail = [letter("11-0", 2), letter("20-0", 5), letter("30-0", 6, 7)]
    at = ear.speaker._hear_all(Heard(facts, mail), start)
    assert numbers(ear) == [1, 2, 3, 4, 5, 6, 7] and (at.id, at.mail) == ("20-1", "30-0")


async def test_mail_waits_for_the_facts_before_it(ear: Ear, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speaker_module, "BATCH", 2)
    facts, mail = (
        [entry("10-0", 1), entry("20-0", 3)],
        [letter("11-0", 2), letter("20-0", 9), letter("21-0", 9)],
    )
    at = ear.speaker._hear_all(Heard(facts, mail), Position("life", "0-0", 0, "0-0"))
    assert numbers(ear) == [1, 2, 3] and at.mail == "11-0", "the rest is read again"


@pytest.mark.parametrize("moves", [b'{"leave":["v"]}', b'{"join":["v"]}'])
async def test_mail_from_before_a_change_is_not_told(ear: Ear, moves: bytes) -> None:
    start = Position("life", "0-0", 0, "0-0")
    ear.speaker._hear_all(Heard([entry("20-0", 1, m=moves)], []), start)
    ear.speaker._hear_all(Heard([], [letter("19-0", 2), letter("20-5", 3), letter("21-0", 4)]), start)
    assert numbers(ear) == [1, 4]
    ear.registry.leave(RIDE, ear.session)
    ear.registry.enter(RIDE, ear.session)
    ear.registry.changed(RIDE, 30)  # as a snapshot that was read then
    ear.speaker._hear_all(Heard([], [letter("30-0", 5), letter("31-0", 6)]), start)
    assert numbers(ear) == [1, 4, 6]


@pytest.mark.parametrize("body", [b"\xc1", b"\x01", b"\x94\x01\x02\x03\x04", b"\x91\xa1x", b"\x94\xa1r"])
async def test_rubbish_in_the_mail(ear: Ear, body: bytes, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        mail = [Mail("5-0", body), letter("6-0", 1)]
        ear.speaker._hear_all(Heard([], mail), Position("life", "0-0", 0, "0-0"))
    assert numbers(ear) == [1] and "Traceback" not in caplog.text
