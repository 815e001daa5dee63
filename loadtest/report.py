"""The end of a replay: one table for people, one JSON line for machines, and a verdict.

The keys of the line are the contract; extra keys follow them. The verdict names every promise that did not
hold.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from loadtest.accounting import PARTS
from loadtest.ledger import Ledger
from loadtest.oracle import Served
from loadtest.sample import Sample
from loadtest.verify import Findings

SERVED_AT_LEAST = 0.8
PICKUP_AT_MOST = 1.2
MUST_BE_ZERO = (
    "lost",
    "duplicated",
    "double_assignments",
    "leaked",
    "gaps",
    "heard_differently",
    "fixes_unaccounted",
    "refused_rows",
    "untold_rows",
    "positions_missing",
)


@dataclass(frozen=True)
class Outcome:
    """Everything a finished replay knows."""

    speed: float
    drivers: int
    ledger: Ledger
    oracle: Served
    findings: Findings
    cpu_us_per_fix: dict[str, float | None]
    server_fixes: dict[str, int]  # what the server counted, by outcome
    wall_s: float

    @property
    def fixes_sent(self) -> int:
        counts = self.ledger.counts
        return counts["fixes_real"] + counts["fixes_simulated"] - counts["fixes_cut_off"]


def figures(out: Outcome) -> dict[str, Any]:
    """The JSON line as a dict: the agreed keys first."""
    ledger, found = out.ledger, out.findings
    taken = [ask for ask in ledger.asks.values() if ask.accepted_m is not None]
    pickup = Sample(values=[ask.offered_m for ask in taken if ask.offered_m is not None])
    nearest = Sample(values=[ask.nearest_m for ask in taken if ask.nearest_m is not None])
    requests = len(ledger.asks)
    return {
        "speed": out.speed,
        "drivers": out.drivers,
        "fixes_sent": out.fixes_sent,
        "requests": requests,
        "matched_share": _share(len(taken), requests),
        "offers_per_job": round(ledger.counts["offers"] / requests, 3) if requests else None,
        "pickup_m": {"mean": pickup.mean(1)} | pickup.quantiles(1, p95=0.95),
        "nearest_pickup_m": {"mean": nearest.mean(1)} | nearest.quantiles(1, p95=0.95),
        "offer_ms": ledger.offer_ms.quantiles(1, p50=0.5, p95=0.95, p99=0.99),
        "fix_ms": ledger.fix_ms.quantiles(1, p50=0.5, p95=0.95, p99=0.99),
        "cpu_us_per_fix": {part: out.cpu_us_per_fix.get(part) for part in PARTS},
        "acked": ledger.told_ids(),
        "rows": found.rows,
        "lost": found.lost,
        "duplicated": found.duplicated,
        "double_assignments": max(found.double_assignments, ledger.doubled()),
        "leaked": ledger.leaked(),
        **_extras(out),
    }


def _extras(out: Outcome) -> dict[str, Any]:
    ledger, found = out.ledger, out.findings
    accepted = Sample(values=[ask.accepted_m for ask in ledger.asks.values() if ask.accepted_m is not None])
    ended = {name.removeprefix("ended_"): n for name, n in ledger.counts.items() if name.startswith("ended_")}
    return {
        "brute_force": {
            "matched_share": round(out.oracle.matched_share, 4),
            "pickup_m_mean": Sample(values=out.oracle.pickup_m).mean(1),
            "offers_per_job": round(out.oracle.offers / max(1, out.oracle.requests), 3),
        },
        "pickup_at_accept_m": {"mean": accepted.mean(1)} | accepted.quantiles(1, p95=0.95),
        "fixes_real": ledger.counts["fixes_real"],
        "fixes_simulated": ledger.counts["fixes_simulated"],
        "fixes_by_outcome": out.server_fixes,
        "fixes_unaccounted": out.fixes_sent - sum(out.server_fixes.values()),
        "locations": found.locations,
        "positions_missing": found.positions_missing,
        "offer_any_ms": ledger.offer_any_ms.quantiles(1, p50=0.5, p95=0.95, p99=0.99),
        "late_ms": ledger.late_ms.quantiles(1, p50=0.5, p95=0.95, p99=0.99),
        "untold_rows": found.untold,
        "refused_rows": found.refused,
        "gaps": ledger.gaps,
        "heard_differently": ledger.heard_differently,
        "drain_caught_up_s": found.drained_s,
        "leaks": {name: count for name, count in ledger.leaks.items() if count},
        "ended": ended,
        "errors": dict(ledger.errors.most_common(12)),
        "examples": found.examples,
        "wall_s": round(out.wall_s, 1),
    }


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None


def failures(line: dict[str, Any]) -> list[str]:
    """Which promises did not hold; empty when all did."""
    found = [f"{name} is {line[name]}, not 0" for name in MUST_BE_ZERO if line[name]]
    best = line["brute_force"]["matched_share"]
    if (line["matched_share"] or 0.0) < SERVED_AT_LEAST * best:
        found.append(
            f"matched share {line['matched_share']} is below {SERVED_AT_LEAST:g} of brute force's {best}"
        )
    mean_m, nearest_m = line["pickup_m"]["mean"], line["nearest_pickup_m"]["mean"]
    if mean_m is None or nearest_m is None or mean_m > PICKUP_AT_MOST * nearest_m:
        found.append(f"mean pickup {mean_m} m is more than {PICKUP_AT_MOST:g} × the nearest's {nearest_m} m")
    return found


def table(line: dict[str, Any], notes: list[str]) -> str:
    """The figures for a person, what they mean beside them."""
    rows = [
        (name, _cell(value)) for name, value in line.items() if name != "examples" and value not in ({}, [])
    ]
    width = max(len(name) for name, _ in rows)
    body = "\n".join(f"  {name:{width}}  {value}" for name, value in rows)
    wrong = "".join(f"\n  example   {each}" for each in line["examples"])
    return "\n".join([body + wrong, "", *(f"  {note}" for note in notes)])


def _cell(value: Any) -> str:
    if isinstance(value, dict):
        return "  ".join(f"{key} {_cell(each)}" for key, each in value.items())
    return "-" if value is None else str(value)


def json_line(line: dict[str, Any]) -> str:
    """One line, keys in their order."""
    return msgspec.json.encode(line).decode()
