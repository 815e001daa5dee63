"""The benches of the live match as a whole, small: that every request is offered, and every answer is the nearest."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from redis.asyncio import Redis

from server.devstack.procs import is_alive
from storage import keys
from tests.benchkit import alone, bench
from tests.stack import RunningStack, private_stack
from tests.support import CHECKOUT, wait_until


async def test_a_short_run_of_requests_and_offers() -> None:
    words = ("--drivers", "60", "--passengers", "6", "--rate", "12", "--fixes", "60", "--seconds", "1.5")
    async with private_stack() as stack:  # the bench has an area of its own
        _, line, said = await bench(stack, "loadtest.offers", *words, "--entries", "3000")
        async with Redis.from_url(stack.redis_url) as redis:
            spot = await redis.hlen(keys.spot("main"))
    assert line["offers"] == line["requests"] >= 15 and line["trouble"] == {}, said
    # published at its commit: after the command was heard, before a socket is told; by whole milliseconds of a clock
    assert line["published"] == line["offers"], said
    assert 0.0 < line["publish_ms"]["p50"] <= line["offer_ms"]["p50"] + 1.5, said
    assert line["entries"] == {"in": 3000, "until the end": 3000} and spot <= 60, said


async def test_the_live_parts_of_the_match_bench() -> None:
    """By the benches that they are, on the stack that the match bench has."""
    words = ("--only", "offers", "--only", "index", "--share", "0.02")
    async with private_stack() as stack:
        _, line, said = await bench(stack, "server.bench_match", *words)
    assert set(line) == {"offer_ms", "publish_ms", "candidates", "index_bytes"}, said
    assert line["offer_ms"]["p99"] > line["offer_ms"]["p50"] > 0.0 and line["candidates"]["wrong"] == 0, said
    assert "'in': 1000, 'until the end': 1000" in said


async def test_a_live_part_ends_with_the_match_bench() -> None:
    async with private_stack() as stack:
        argv, pipe = (sys.executable, "-m", "server.bench_match", "--only", "offers"), asyncio.subprocess.PIPE
        child = await asyncio.create_subprocess_exec(*argv, env=stack.app.env, cwd=CHECKOUT, stderr=pipe)

        def children(pid: int) -> list[int]:
            return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

        try:
            assert child.stderr is not None
            assert b"running loadtest.offers" in await child.stderr.readline()
            (part,) = await wait_until(lambda: children(child.pid))
            await wait_until(lambda: children(part))  # it is at work
        finally:
            child.terminate()
            code = await child.wait()
        assert code == 130 and not is_alive(part)


async def test_further_entries_go_when_the_measurement_is_killed(redis: Redis, redis_url: str) -> None:
    started = """
import asyncio
from loadtest.further import entries

async def measure():
    async with entries(50, (-60.0, 10.0, -59.9, 10.1)):
        print("there", flush=True)
        await asyncio.Event().wait()

asyncio.run(measure())
"""
    argv, pipe = (sys.executable, "-c", started), asyncio.subprocess.PIPE
    env = os.environ | {"DISPATCH_REDIS_URL": redis_url, "DISPATCH_SHARD": "crowded"}
    child = await asyncio.create_subprocess_exec(*argv, env=env, cwd=CHECKOUT, stdout=pipe)
    try:
        assert child.stdout is not None and await child.stdout.readline() == b"there\n"
        assert await redis.hlen(keys.spot("crowded")) == 50
    finally:
        child.kill()
        await child.wait()

    async def gone() -> bool:
        left = [key async for key in redis.scan_iter(match="{crowded}:idx:*")]
        return not left and not await redis.hlen(keys.spot("crowded"))

    await wait_until(gone, 15.0)


async def test_a_small_index(stack: RunningStack) -> None:
    _, line, said = await bench(stack, "server.bench_index", "--drivers", "1500", "--questions", "8")
    assert line["candidates"]["wrong"] == 0 and line["index_bytes"] > 18.0, said
    assert line["spot_bytes"] > 40.0, said


async def test_a_small_round() -> None:
    words = (
        "--jobs",
        "20",
        "--drivers",
        "60",
        "--rounds",
        "1",
        "--finishing-s",
        "60",
        "--asked",
        "5",
        "--coming",
        "5",
    )
    _, line, said = await alone("server.bench_round", *words)
    assert line["offered"]["most"] == 20 and line["longest_ms"]["most"] > 0.0, said
    assert line["moved"]["most"] > 0 and line["beside"]["most"] > 0, said
