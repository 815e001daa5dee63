"""Servers that take turns: who begins a round, what each did in it, and whether that counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from loadtest.stream import Streamed

Name = str


class Turn(NamedTuple):
    """`us` of processor time, each for one position or one recipient, of the server and of what it works with."""

    streamed: Streamed
    us: dict[str, float]


Round = Mapping[Name, Turn]


def in_order(names: Sequence[Name], number: int) -> list[Name]:
    """Another begins each round, so that what comes before a turn is not always the same."""
    return [names[(number + i) % len(names)] for i in range(len(names))]


def voids(rounds: Sequence[Round]) -> list[str]:
    """Why rounds do not count."""
    return [
        f"{name}: {why}" for turns in rounds for name, turn in turns.items() if (why := turn.streamed.void())
    ]


def sound(rounds: Sequence[Round]) -> Sequence[Round]:
    """Those that count; all of them when none does, so that there is something to look at beside the `voids`."""
    return [turns for turns in rounds if not voids([turns])] or rounds


def about(rounds: Sequence[Round]) -> dict[str, float]:
    """What the load generator was, at its worst, and how many rounds there were."""
    streamed = [turn.streamed for turns in rounds for turn in turns.values()]
    return {
        "own_share": round(max(each.own_share for each in streamed), 2),
        "own_late_ms": round(max(each.late_ms for each in streamed), 1),
        "rounds": len(rounds),
        "void_rounds": sum(bool(voids([turns])) for turns in rounds),
    }
