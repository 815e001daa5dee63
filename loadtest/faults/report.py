"""The end of a fault run: one table for people, one JSON line for machines, and a verdict.

The first keys of the line are the contract; extra keys follow them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec

from loadtest.faults.checker import Verdict, settled
from loadtest.faults.held import Held
from loadtest.faults.history import History

MUST_BE_ZERO = (
    *("lost", "duplicated", "out_of_order", "foreign", "double_assignments"),
    *("died", "not_repaired", "unsettled"),
)
#: A run that did less in a minute proves less than it says; of each kind of fault as well.
A_MINUTE = {"acked": 2_000.0, "assignments": 50.0, "takeovers": 5.0, "faults": 10.0}
OF_A_KIND_A_MINUTE = 0.3
#: So many drivers, and as many riders, make that much of it.
FULL_CROWD = 30
ACKED_SHARE_AT_LEAST = 0.999
SHOWN = 8
UNTABLED = ("examples", "notes", "least", "outage")


def figures(seed: int, history: History, held: Held, verdict: Verdict, died: list[str]) -> dict[str, Any]:
    kinds = Counter(fault.kind for fault in history.faults)
    refusals = Counter(
        f"{each.event}: {each.outcome}" for each in history.commands if each.outcome not in ("", "ok")
    )
    notes = [f"{fault.kind} {fault.victim}: {fault.note}" for fault in history.faults if fault.note]
    return {
        "seed": seed,
        "faults": len(history.faults),
        "acked": verdict.acked,
        "assignments": verdict.assignments,
        "lost": len(verdict.lost),
        "duplicated": len(verdict.duplicated),
        "out_of_order": len(verdict.out_of_order),
        "foreign": len(verdict.foreign),
        "double_assignments": len(verdict.double_assignments),
        "lost_in_window": len(verdict.lost_in_window),
        "worst_recovery_s": verdict.worst_recovery_s,
        "acked_share_outside_windows": verdict.acked_share_outside_windows,
        "died": len(died),
        "takeovers": verdict.takeovers,
        "not_repaired": sum("not repaired" in note for note in notes),
        "after_a_ride": verdict.after_a_ride,
        "said_outside_windows": dict(verdict.outside),
        "said_again": sum(len(each.attempts) - 1 for each in history.commands if each.attempts),
        "unsettled": sum(not settled(each) for each in history.commands),
        "heard": len(history.heard),
        "connections": len(history.links),
        "resumed": dict(Counter("recovered" if each.recovered else "anew" for each in history.resumes)),
        "rows": held.rows,
        "refused_rows": dict(held.refused),
        "jobs": dict(Counter(state for _, state, _ in held.jobs)),
        "refusals": dict(refusals.most_common(12)),
        "kinds": dict(sorted(kinds.items())),
        "recoveries_s": dict(sorted(verdict.recoveries_s.items())),
        "notes": notes[:SHOWN],
        "examples": _examples(verdict, died),
    }


def _examples(verdict: Verdict, died: list[str]) -> list[str]:
    found = [f"died: {each}" for each in died[:SHOWN]]
    for name in ("lost", "duplicated", "out_of_order", "foreign", "double_assignments", "lost_in_window"):
        found += [f"{name}: {each}" for each in getattr(verdict, name)[:SHOWN]]
    return found


def least(minutes: float, crowd: int, kinds: Sequence[str]) -> dict[str, float]:
    """What a run of so many minutes with so many drivers (or riders, if they are fewer) must have done."""
    share = min(1.0, crowd / FULL_CROWD)
    found = {name: a_minute * minutes * share for name, a_minute in A_MINUTE.items()}
    found["faults"] = A_MINUTE["faults"] * minutes  # nobody has to be there to be cut off
    return {name: float(int(most)) for name, most in found.items()} | {
        f"kind {kind}": float(int(OF_A_KIND_A_MINUTE * minutes)) for kind in kinds
    }


def failures(line: dict[str, Any]) -> list[str]:
    """Which promises did not hold; empty when all did."""
    found = [f"{name} is {line[name]}, not 0" for name in MUST_BE_ZERO if line[name]]
    share = line["acked_share_outside_windows"]
    if share is not None and share < ACKED_SHARE_AT_LEAST:
        found.append(
            f"outside fault windows {share:.3%} of commands were acked, not {ACKED_SHARE_AT_LEAST:.1%}"
        )
    for name, most in line.get("least", {}).items():
        done = line["kinds"].get(name.removeprefix("kind "), 0) if name.startswith("kind ") else line[name]
        if done < most:
            found.append(f"{name} is {done}, fewer than {most:g}: this run proves too little")
    found += [f"outage: {each}" for each in line.get("outage", {}).get("not_held", ())]
    if not line["acked"] or not line["assignments"]:
        found.append("nothing was acked or nobody was assigned: this run proves nothing")
    return found


def table(line: dict[str, Any]) -> str:
    """The figures for a person."""
    rows = [(name, _cell(value)) for name, value in line.items() if name not in UNTABLED]
    rows += [(f"outage {name}", _cell(value)) for name, value in line.get("outage", {}).items()]
    width = max(len(name) for name, _ in rows)
    said = [f"  {name:{width}}  {value}" for name, value in rows]
    said += [f"  {name[:-1]:{width}}  {each}" for name in ("notes", "examples") for each in line[name]]
    said += [f"  NOT HELD: {each}" for each in failures(line)]
    return "\n".join(said)


def _cell(value: Any) -> str:
    if isinstance(value, dict):
        return "  ".join(f"{key} {each}" for key, each in value.items())
    return "-" if value is None else str(value)


def json_line(line: dict[str, Any]) -> str:
    """One line, keys in their order."""
    return msgspec.json.encode(line).decode()
