"""A restarted Redis is never written to as if it were the one before: it may have forgotten what that one said."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path

import pytest

from storage import keys
from storage.log import Conflict, Log
from storage.shard import Shard, Unavailable
from tests.storekit import RIDE, S, told, write
from tests.support import fresh_redis


async def test_a_decision_of_before_a_power_loss_takes_no_number_that_was_told_already(
    tmp_path: Path,
) -> None:
    """The node has loaded; Redis comes back without its last write; nobody has asked it yet who it is."""
    home, kept = tmp_path / "redis", tmp_path / "kept"
    with fresh_redis(home, appendonly="yes", appendfsync="always") as server:
        shard = Shard(S, server.url)
        log = Log(shard)
        try:
            await log.commit(await write(log, facts=(told(),)))
            shutil.copytree(home / "appendonlydir", kept)
            await log.commit(await write(log, facts=(told(),)))  # (epoch, 2): heard, drained, and then gone
            decided = await write(log, facts=(told(),))
            before = shard.epoch
            server.kill()
            shutil.rmtree(home / "appendonlydir")
            kept.rename(home / "appendonlydir")
            server.start()
            outcomes: list[str] = []
            for _ in range(3):  # the first may find that its connection has ended
                with pytest.raises((Conflict, Unavailable)) as refused:
                    await log.commit(decided)
                outcomes.append(refused.type.__name__)
            assert outcomes[-1] == "Conflict"
            await log.commit(await write(log, facts=(told(),)))
            entry = (await log.tail.read("0-0", block_ms=1)).entries[-1]
            assert (entry.room, entry.seq) == (RIDE, 1) and entry.epoch != before
        finally:
            await shard.close()


async def test_whoever_connects_first_names_the_life_and_others_find_it_named(tmp_path: Path) -> None:
    with fresh_redis(tmp_path / "redis", appendonly="yes") as server:
        one, other = Shard(S, server.url), Shard(S, server.url)
        try:
            await one.ensure_life()
            await other.ensure_life()
            assert one.token == other.token and await one.client.hget(keys.life(S), "n") == b"1"
            server.kill()
            server.start()
            for shard in (one, other):
                with suppress(Unavailable):  # its connection may have ended under it
                    await shard.now_ms()
                await shard.now_ms()
            assert await one.client.hget(keys.life(S), "n") == b"2"
            await one.ensure_life()
            await other.ensure_life()
            assert one.token == other.token
        finally:
            await one.close()
            await other.close()
