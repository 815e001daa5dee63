"""The benches of the live match as a whole, small: that every request is offered, and every answer is the nearest."""

from __future__ import annotations

from tests.benchkit import alone, bench
from tests.stack import RunningStack, private_stack


async def test_a_short_run_of_requests_and_offers() -> None:
    words = ("--drivers", "60", "--passengers", "6", "--rate", "12", "--fixes", "60", "--seconds", "1.5")
    async with private_stack() as stack:  # the bench has an area of its own
        _, line, said = await bench(stack, "loadtest.offers", *words)
    assert line["offers"] == line["requests"] >= 15 and line["trouble"] == {}, said


async def test_a_small_index(stack: RunningStack) -> None:
    _, line, said = await bench(stack, "server.bench_index", "--drivers", "1500", "--questions", "8")
    assert line["candidates"]["wrong"] == 0 and line["index_bytes"] > 18.0, said


async def test_a_small_round() -> None:
    words = ("--jobs", "20", "--drivers", "60", "--rounds", "1", "--finishing-s", "60")
    _, line, said = await alone("server.bench_round", *words)
    assert line["offered"]["most"] == 20 and line["longest_ms"]["most"] > 0.0, said
