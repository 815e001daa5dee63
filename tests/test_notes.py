"""Why nobody was found: noted seldom, and never in the way of what was promised. Row by row of dispatch/notes.py."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from dispatch import notes
from dispatch.notes import GAP_MS, PAUSE_MS, Notes
from storage import keys
from storage.log import Log
from storage.records import Job, JobId
from storage.shard import Shard, Unavailable
from storage.strain import BEHIND_MS
from tests.rules.build import a_job
from tests.test_decisions import a_choice

S = "notes"
T0 = 1_800_000_000_000
KEPT_S = 5.0


@pytest_asyncio.fixture
async def log(redis_url: str, redis: Redis) -> AsyncIterator[Log]:
    shard = Shard(S, redis_url)
    yield Log(shard, kept_s=KEPT_S)
    await redis.config_set("maxmemory", "0")
    await shard.close()


def jobs(*ids: str, offers: int = 0) -> list[Job]:
    return [a_job("ride", "searching", id=JobId(id_), offers=offers) for id_ in ids]


async def look(kept: Notes, waiting: list[Job], at_ms: int, **choice: Any) -> Counter[str]:
    """One look of the match at them, and what it added to the counts; everybody's reasons are new each time, unless
    the `choice` says otherwise."""
    before = Counter(kept.told)
    due = await kept.due(waiting, at_ms)
    found = [
        a_choice(job.id, at_ms, **{"driver_id": None, "policy": at_ms % 2**31, **choice}) for job in waiting
    ]
    await kept.keep([each for each in found if each.job_id in due], at_ms)
    return Counter(kept.told) - before


async def noted(redis: Redis) -> int:
    return await redis.xlen(keys.facts(S))


async def test_the_gap_between_two_notes_of_a_job_grows(redis: Redis, log: Log) -> None:
    kept, waiting = Notes(log), jobs("one")
    for second in range(181):
        await look(kept, waiting, T0 + second * 1000)
    assert kept.told == Counter(kept=5) and await noted(redis) == 5
    # a whole hour of it: at 310 s, and then whenever the longest gap is over
    for second in range(181, 3600, 5):
        await look(kept, waiting, T0 + second * 1000)
    assert kept.told == Counter(kept=5 + 1 + (3600 - 310) * 1000 // notes.GAP_MAX_MS)


async def test_the_same_is_not_said_twice_and_not_asked_more_often(redis: Redis, log: Log) -> None:
    kept, waiting = Notes(log), jobs("one")
    for second in range(181):
        await look(kept, waiting, T0 + second * 1000, policy=1)
    assert kept.told == Counter(kept=1, same=4) and await noted(redis) == 1


async def test_an_offer_that_came_to_nothing_is_new(log: Log) -> None:
    kept = Notes(log)
    await look(kept, jobs("one"), T0)
    await look(kept, jobs("one"), T0 + GAP_MS)
    assert await look(kept, jobs("one"), T0 + GAP_MS + 1000) == Counter()
    assert await look(kept, jobs("one", offers=1), T0 + GAP_MS + 1000) == Counter(kept=1)
    assert await look(kept, jobs("one", offers=1), T0 + 2 * GAP_MS + 1000) == Counter(kept=1), "the first gap"


async def test_two_nodes_note_each_for_itself(redis: Redis, log: Log) -> None:
    for kept in (Notes(log), Notes(log)):
        assert await look(kept, jobs("one"), T0, policy=1) == Counter(kept=1)
    assert await noted(redis) == 2


async def test_who_was_asked_longest_ago_is_forgotten(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notes, "KNOWN_MAX", 2)
    kept = Notes(log)
    for id_ in ("one", "two", "three"):
        await look(kept, jobs(id_), T0)
    assert await look(kept, jobs("two", "three"), T0 + 1000) == Counter()
    assert await look(kept, jobs("one"), T0 + 1000) == Counter(kept=1)


async def test_notes_wait_while_the_drain_lags(redis: Redis, log: Log) -> None:
    now_ms = int(time.time() * 1000)
    old_ms = now_ms - int(KEPT_S * 1000) - BEHIND_MS - 2_000
    await redis.xadd(keys.facts(S), {"r": "ride:x"}, id=f"{old_ms}-0")
    kept, waiting = Notes(log), jobs("one", "two")
    assert await look(kept, waiting, T0) == Counter(held=2)
    assert await look(kept, waiting, T0 + 1000) == Counter(), "each note that was not made is counted once"
    assert await look(kept, waiting, T0 + GAP_MS) == Counter(held=2)
    assert await noted(redis) == 1, "the old one alone"
    # drained: what stands there is no older than it is kept in any case
    await redis.xtrim(keys.facts(S), minid=old_ms + 4_000)
    assert await look(kept, waiting, T0 + GAP_MS + 1000) == Counter(), "not made up for"
    assert await look(kept, waiting, T0 + 2 * GAP_MS) == Counter(kept=2)


async def test_notes_wait_while_memory_is_short(redis: Redis, log: Log) -> None:
    kept, waiting = Notes(log), jobs("one")
    used = (await redis.info("memory"))["used_memory"]
    await redis.config_set("maxmemory", int(used * 1.25))
    assert await look(kept, waiting, T0) == Counter(held=1)
    await redis.config_set("maxmemory", used * 2)
    assert await look(kept, waiting, T0 + GAP_MS) == Counter(kept=1)


class Failing(Log):
    """What is noted is `lost` before it is written, or after."""

    lost = ""

    async def note(self, facts: Any) -> None:
        if self.lost == "before":
            raise Unavailable
        await super().note(facts)
        if self.lost == "after":
            raise Unavailable


async def test_a_loss_is_counted_and_holds_the_others_back(redis: Redis, redis_url: str, log: Log) -> None:
    failing = Failing(log._shard, kept_s=KEPT_S)
    kept, many = Notes(failing), jobs(*(f"job {n}" for n in range(2 * notes.AT_ONCE)))
    failing.lost = "before"
    half = notes.AT_ONCE
    assert await look(kept, many, T0) == Counter(lost=half, held=half), "one loss is enough to see it"
    one = jobs("one")
    pause_ms, at_ms = PAUSE_MS, T0
    for _ in range(8):
        # whoever was held has a turn of his own, so somebody else asks each time
        other = jobs(f"other {at_ms}")
        assert await look(kept, other, at_ms + pause_ms - 1) == Counter(held=1)
        at_ms += pause_ms
        assert await look(kept, one, at_ms) == Counter(lost=1), "the next look tries again"
        pause_ms = min(2 * pause_ms, notes.PAUSE_MAX_MS)
    failing.lost = ""
    assert await look(kept, one, at_ms + pause_ms) == Counter(kept=1)
    failing.lost = "before"
    await look(kept, jobs("two"), at_ms + pause_ms)
    assert await look(kept, jobs("three"), at_ms + pause_ms + PAUSE_MS) == Counter(lost=1), "the first pause"
    assert await noted(redis) == 1


async def test_a_full_redis_loses_them(redis: Redis, log: Log) -> None:
    kept = Notes(log)
    assert await look(kept, jobs("one"), T0) == Counter(kept=1)
    due = await kept.due(jobs("two", "three"), T0)
    await redis.config_set("maxmemory", "1")
    await kept.keep([a_choice(id_, T0, driver_id=None) for id_ in due], T0)
    assert kept.told == Counter(kept=1, lost=2) and await noted(redis) == 1


async def test_an_answer_that_was_lost_is_counted_and_said_again(redis: Redis, log: Log) -> None:
    failing = Failing(log._shard, kept_s=KEPT_S)
    kept, failing.lost = Notes(failing), "after"
    assert await look(kept, jobs("one"), T0, policy=1) == Counter(lost=1)
    failing.lost = ""
    assert await look(kept, jobs("one"), T0 + PAUSE_MS, policy=1) == Counter(kept=1)
    said = {fields[b"d"] for _, fields in await redis.xrange(keys.facts(S))}
    assert len(said) == 2, "each under its own moment"


async def test_what_cannot_be_asked_is_held() -> None:
    shard = Shard(S, "unix:///nowhere/redis.sock", timeout_s=0.2)
    kept = Notes(Log(shard))
    assert await look(kept, jobs("one"), T0) == Counter(held=1)
    await shard.close()
