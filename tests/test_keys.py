"""What a busy day leaves in Redis: every key expires or is on the permanent list, and the facts tell it all."""

import asyncio
import re
from collections.abc import Coroutine
from pathlib import Path
from random import Random
from typing import TypeVar

import pytest
from redis.asyncio import Redis

from storage import keys
from storage import shard as shard_module
from tests.deskkit import TRAVELLED, Fold, S, travelling_lua
from tests.test_two_desks import POLICY, two_desks

STEPS = 400
CLASSES = ("economy", "comfort", "parcel")


def permanent() -> set[str]:
    """The keys that storage/keys.py says never expire."""
    said = re.search(r"Permanent \(never expire\): ([\w, ]+)\.", keys.__doc__ or "")
    assert said, "storage/keys.py has no permanent list"
    names = said[1].split(", ")
    by_class = {keys.want(S, c) for c in CLASSES} | {keys.coming(S, "city")}
    return {getattr(keys, n)(S) for n in names if n not in ("want", "coming")} | by_class


def known() -> re.Pattern[str]:
    """Every key that storage/keys.py can make."""
    one = [
        keys.life(S),
        keys.facts(S),
        keys.fixes(S),
        keys.fixed(S),
        keys.past(S),
        keys.due(S),
        keys.wait(S),
        keys.asked(S),
        keys.leader(S),
        keys.seer(S),
        keys.heat(S),
        keys.spot(S),
        keys.nodes(S),
        keys.copied(S),
    ]
    of = [keys.tick, keys.pos, keys.driver, keys.job, keys.offer, keys.mine, keys.head, keys.log]
    of += [keys.at, keys.mail, keys.pulse, keys.want, keys.coming, keys.looked, keys.confirmed, keys.named]
    made = [*one, *(function(S, "*") for function in of), keys.index(S, "*", "*"), keys.batch(S, "*", "*")]
    return re.compile("|".join(re.escape(key).replace(r"\*", ".+") for key in made))


T = TypeVar("T")


def in_a_loop(work: Coroutine[None, None, T]) -> T:
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        return runner.run(work)


@pytest.fixture
def busy_redis(redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A Redis in the middle of a day of commands of every kind."""
    monkeypatch.setattr(shard_module, "LUA", travelling_lua(tmp_path))
    with two_desks(redis_url) as run:
        play = run([Random(number).getrandbits(32) for number in range(STEPS)], settle=False)
    assert {"AcceptOffer ok", "SendMessage ok", "MoveJob ok", "_ticks", "_sweep"} <= play.happened
    return redis_url


def test_every_key_expires_or_is_permanent(busy_redis: str) -> None:
    async def look() -> dict[str, int]:
        client = Redis.from_url(busy_redis)
        found = {key.decode(): await client.pttl(key) for key in await client.keys("*")}
        await client.aclose()
        return found

    found = in_a_loop(look())
    del found[TRAVELLED]
    assert {key for key, ttl_ms in found.items() if ttl_ms < 0} <= permanent()
    strange = [key for key in found if not known().fullmatch(key)]
    assert not strange, "keys that storage/keys.py does not make"
    kinds = {key.split(":")[1] for key in found}
    assert {"life", "facts", "head", "room", "job", "driver", "offer", "spot", "tick", "idx"} <= kinds


def test_replay_equals_refetch(busy_redis: str) -> None:
    """The facts from the first to the last give exactly the live records, rooms, timers and lists."""

    async def replay() -> Fold:
        client = Redis.from_url(busy_redis)
        fold = Fold(client, POLICY)
        await fold.catch_up()
        await fold.check_live()
        await client.aclose()
        return fold

    assert in_a_loop(replay()).entries > STEPS // 2
