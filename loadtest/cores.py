"""Who works on which core, and what he has used of it, to the microsecond. Linux only.

What is measured gets a core of its own; the load generator and all others share the rest. The time is the kernel's own
account of a process with all its threads, kernel time included: /proc/PID/stat tells the same, in steps of 10 ms.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from loadtest.stage import StageError

CPUCLOCK_SCHED = 2  # of linux/posix-timers.h: the scheduler's account of a process


class Cores(NamedTuple):
    """`measured` is one core."""

    measured: frozenset[int]
    rest: frozenset[int]


def two_sides() -> Cores:
    """Raises StageError where that cannot be had."""
    if not hasattr(os, "sched_setaffinity"):
        raise StageError("processes cannot be bound to a core here: this needs Linux")
    known = sorted(os.sched_getaffinity(0))
    if len(known) < 2:
        raise StageError("two cores are needed: one for what is measured, one for the load")
    return Cores(frozenset(known[:1]), frozenset(known[1:]))


def bind(pids: Iterable[int], cores: frozenset[int]) -> None:
    """All threads of these processes, and of their children; what they start later inherits it."""
    for pid in pids:
        for process in (pid, *_below(pid)):
            with suppress(OSError):
                for thread in Path(f"/proc/{process}/task").iterdir():
                    os.sched_setaffinity(int(thread.name), cores)


@contextmanager
def born_on(cores: frozenset[int]) -> Iterator[None]:
    """What is started inside stands on these cores with all its threads, from its first moment."""
    own = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, own)


def used_s(pid: int) -> float:
    """Processor time of a process so far, without its children. Raises OSError when it is gone."""
    return time.clock_gettime((~pid << 3) | CPUCLOCK_SCHED)


def _below(pid: int) -> list[int]:
    found = []
    with suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            for child in (thread / "children").read_text().split():
                found += [int(child), *_below(int(child))]
    return found
