"""The demo city's picture: cut to the terminal, and timing only what the server could serve at once."""

from __future__ import annotations

import io
import os
import re

import pytest

from loadtest import screen
from loadtest.screen import Screen
from loadtest.tally import Tally


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("columns", [20, 40, 80])
async def test_no_line_is_longer_than_the_terminal(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setattr(screen.shutil, "get_terminal_size", lambda: os.terminal_size((columns, 24)))
    out, tally = Terminal(), Tally()
    tally.error("request_ride", "a long story " * 20)
    shown = Screen(out)
    shown.show(1.0, [], [], tally)
    first = out.getvalue()
    shown.show(2.0, [], [], tally)
    assert max(map(len, first.splitlines())) < columns
    assert out.getvalue()[len(first) :].startswith(f"\x1b[{first.count(chr(10))}F\x1b[J")


async def test_only_requests_with_a_free_driver_are_timed() -> None:
    tally = Tally()
    for job_id, free in (("served", True), ("waiting", False)):
        tally.asked("somebody", job_id, driver_free=free)
        tally.heard("driver", "offer", {"kind": "ride", "job": {"rideId": job_id}})
    assert (tally.offer_ms.count, tally.counts["waited_for_driver"], tally.counts["offers"]) == (1, 1, 2)
    lines = screen.summary(1.0, [], [], tally)
    assert any(re.search(r"waited for a driver 1$", line) for line in lines)
