"""The rehearsal of an outage can fail: whatever did not go as promised is said. Its run is `./dev bench faults
--outage 300`; what it rests on is in tests/test_postgres_down.py and tests/test_drain_postgres.py."""

from __future__ import annotations

from typing import Any

import pytest

from loadtest.faults.held import Counts
from loadtest.faults.history import History
from loadtest.faults.outage import Outage, failures, figures
from loadtest.faults.report import failures as run_failures
from loadtest.faults.report import table
from tests.faultkit import DRIVER, ZERO_S, ack, connect, hear, story

STREAMS = ("facts", "fixes", "past")


def cursors(entries: int, rows: int) -> dict[str, dict[str, int]]:
    return {name: {"entries": entries, "rows": rows, "thinned": 0} for name in STREAMS}


def seen() -> Outage:
    """A hundred seconds, from ZERO_S + 1 on; 1,000 fixes and 10 facts a second, caught up in 10 s."""
    return Outage(
        stopped_s=ZERO_S + 1,
        started_s=ZERO_S + 101,
        back_s=ZERO_S + 102,
        caught_up_s=ZERO_S + 112,
        before=cursors(100, 1_000),
        after=cursors(1_100, 61_000),
        given=[{"facts": 100, "fixes": 1_000}, {"facts": 1_100, "fixes": 101_000}],
        waiting=dict.fromkeys(STREAMS, 9),
        waiting_bytes=dict.fromkeys(STREAMS, 2_048),
    )


def sound() -> dict[str, Any]:
    history = History()
    link = connect(history, DRIVER)
    hear(history, DRIVER, link, story()[1])
    ack(history, DRIVER, "send_message", 3)
    ack(history, DRIVER, "send_message", 300)
    kept = Counts(facts=1_500, fixes=70_000, fixes_counted=70_000, fixes_thinned=40_000, fixes_refused=1)
    line = figures(seen(), history, {"facts": 1_500, "fixes": 110_001}, kept)
    load = {
        "disconnected": 0,
        "asked": {
            f"{what} {phase}": {status: 3}
            for what, well in (("login", "401"), ("history", "200"))
            for phase, status in (("before", well), ("during", "503 says so"), ("after", well))
        },
        "slowest_answer_s": 0.1,
        "redis_peak_mb": 30.0,
        "redis_most_mb": 32.0,
        "rss_mb": {"node0": (80.0, 90.0, 90.0), "redis": (20.0, 200.0, 30.0)},
    }
    return line | load


def test_an_outage_as_it_should_be() -> None:
    line = sound()
    assert failures(line) == []
    assert (line["said_meanwhile"], line["assigned_meanwhile"]) == ({"ok": 1}, 1)
    assert line["came_s"] == {"facts": 10, "fixes": 1_000}
    assert line["ratio"] == {"facts": 10.0, "fixes": 6.0}
    assert (line["caught_up_after_s"], line["on_streams_kib"]["fixes"]) == (10.0, 2)


@pytest.mark.parametrize(
    ("planted", "says"),
    [
        ({"fixes_in_postgis": 69_999}, "1 fixes are neither in PostGIS nor counted"),
        ({"fixes_thinned": 0, "fixes_in_postgis": 110_000}, "no fix had to be thinned"),
        ({"facts_drained": 1_499}, "1500 facts were given and 1499 drained"),
        ({"ratio": {"facts": 2.9, "fixes": 6.0}}, "facts were caught up at 2.9 times"),
        ({"redis_peak_mb": 32.1}, "Redis had 32.1 MB"),
        ({"rss_mb": {"drain0": (40.0, 105.0, 50.0)}}, "drain0 grew from 40.0 to 105.0 MB"),
        ({"disconnected": 1}, "1 drivers were disconnected"),
        ({"assigned_meanwhile": 0}, "nobody was assigned meanwhile"),
        ({"slowest_answer_s": 2.1}, "an answer over HTTP took 2.1 s"),
    ],
)
def test_what_did_not_go_as_promised_is_said(planted: dict[str, Any], says: str) -> None:
    found = failures(sound() | planted)
    assert len(found) == 1 and found[0].startswith(says), found
    line: dict[str, Any] = {
        "outage": {"not_held": found},
        "acked_share_outside_windows": None,
        "acked": 1,
        "assignments": 1,
    }
    zeros = ("lost", "duplicated", "out_of_order", "foreign", "double_assignments", "died", "not_repaired")
    line |= dict.fromkeys((*zeros, "unsettled"), 0) | {"notes": [], "examples": []}
    assert run_failures(line) == [f"outage: {found[0]}"] and found[0] in table(line)


@pytest.mark.parametrize("asked", ["login during", "history during", "login after", "history before"])
def test_an_answer_that_is_not_clear_is_said(asked: str) -> None:
    line = sound()
    line["asked"][asked]["429"] = 1
    assert len(failures(line)) == 1
    line["asked"][asked] = {"503": 3}
    assert failures(line) == [f"{asked} was answered ['503'], not {line_wanted(asked)}"]
    del line["asked"][asked]
    assert len(failures(line)) == 1, "nobody asked"


def line_wanted(asked: str) -> str:
    return (
        "503 says so"
        if asked.endswith("during")
        else {"login": "401", "history": "200"}[asked.split(maxsplit=1)[0]]
    )
