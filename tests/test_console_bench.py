"""The live map's bench, small: a console hears of every vehicle that moves, and the page shows every one."""

from __future__ import annotations

import pytest

from server.devstack.find import find_chromium
from tests.benchkit import bench
from tests.stack import private_stack
from tests.support import NO_CHROMIUM


async def test_a_short_watch_of_few_vehicles() -> None:
    words = ("--only", "feed", "--vehicles", "60", "--jobs", "6", "--seconds", "2")
    async with private_stack() as stack:  # the bench has vehicles of its own
        _, line, said = await bench(stack, "server.bench_console", *words)
    assert line["kb_s"] > 0.0 and line["base_kb"] > 60 * 0.1 and line["frames_s"] > 0.5, said


@pytest.mark.skipif(find_chromium() is None, reason=NO_CHROMIUM)
async def test_the_page_plays_recorded_frames() -> None:
    words = ("--only", "page", "--vehicles", "60", "--jobs", "6", "--seconds", "5")
    async with private_stack() as stack:
        _, line, said = await bench(stack, "server.bench_console", *words)
    for name in ("far", "near"):
        show = line["frame_ms"][name]
        assert show["vehicles"] == 60 and 0.0 < show["p50"] <= show["p95"] <= show["max"], said
        assert show["cpu_p50"] > 0.0 and show["drag_p95"] > 0.0, said
