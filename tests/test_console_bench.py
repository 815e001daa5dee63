"""The live map's bench, small: a console hears of every vehicle that moves."""

from __future__ import annotations

from tests.benchkit import bench
from tests.stack import private_stack


async def test_a_short_watch_of_few_vehicles() -> None:
    words = ("--only", "feed", "--vehicles", "60", "--jobs", "6", "--seconds", "2")
    async with private_stack() as stack:  # the bench has vehicles of its own
        _, line, said = await bench(stack, "server.bench_console", *words)
    assert line["kb_s"] > 0.0 and line["base_kb"] > 60 * 0.1 and line["frames_s"] > 0.5, said
