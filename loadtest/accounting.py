"""What the machine spent and what the server counted: CPU of other processes, and counters of /metrics.

CPU is read from /proc (user and system time, in clock ticks). A process's finished children count with it;
living children are added, so that PostgreSQL's backends are in its postmaster's sum whether they have ended
or not.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PARTS = ("server", "redis", "drain", "postgres")


def pids_of(text: str) -> dict[str, list[int]]:
    """`{"server": [pid], …}` as `./dev bench` hands it over; parts that it does not name are left out."""
    return msgspec.json.decode(text, type=dict[str, list[int]]) if text else {}


def cpu_s(pids: Mapping[str, Sequence[int]]) -> dict[str, float]:
    """CPU seconds so far, per part."""
    children = _children()
    return {part: sum(_tree_ticks(pid, children) for pid in of) / TICKS_PER_S for part, of in pids.items()}


def per_fix_us(
    before: Mapping[str, float], after: Mapping[str, float], fixes: int
) -> dict[str, float | None]:
    """CPU microseconds per fix, per part; None for a part that was not measured."""
    return {
        part: round((after[part] - before[part]) * 1e6 / fixes, 1)
        if fixes and part in before and part in after
        else None
        for part in PARTS
    }


def counters(text: str, name: str, label: str) -> dict[str, float]:
    """One counter of a Prometheus page, by the value of one label, summed over all others."""
    found: dict[str, float] = {}
    for line in text.splitlines():
        if not line.startswith(name + "{"):
            continue
        labels, _, value = line[len(name) + 1 :].rpartition("} ")
        pairs = dict(pair.split("=", 1) for pair in labels.split(",") if "=" in pair)
        key = pairs.get(label, '""').strip('"')
        found[key] = found.get(key, 0.0) + float(value)
    return found


def increase(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, int]:
    """By how much each counter grew; those that did not are left out."""
    return {
        key: round(value - before.get(key, 0.0))
        for key, value in after.items()
        if value > before.get(key, 0.0)
    }


def _tree_ticks(pid: int, children: Mapping[int, Sequence[int]]) -> int:
    fields = _stat(pid)
    if fields is None:
        return 0
    own = sum(int(fields[i]) for i in (11, 12, 13, 14))  # utime, stime, and both of children waited for
    return own + sum(_tree_ticks(child, children) for child in children.get(pid, ()))


def _children() -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))) is not None:
            found.setdefault(int(fields[1]), []).append(int(entry.name))
    return found


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/pid/stat from the state on: the name before them may hold spaces and brackets."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
