"""What breaks when: from a seed, a list of faults, each with its moment, its victim and how long it lasts.

Pure. Every kind comes as often as every other, give or take one: decks of all kinds are shuffled and dealt one
after another. Most faults get time to be over before the next; one in five comes together with the next.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """`hold_s`: from the least to the most that it lasts; `room_s`: what repair and recovery need besides."""

    name: str
    victims: str  # node, drain, link, redis or postgres
    hold_s: tuple[float, float]
    room_s: float = 2.5


@dataclass(frozen=True)
class Fault:
    """`victim` counts among its kind's victims; `draw` is a number of its own for whatever else is chance."""

    at_s: float
    kind: str
    victim: int
    hold_s: float
    draw: float


#: Faults that may cost nothing that was acknowledged.
KINDS = (
    Kind("node_killed", "node", (0.2, 1.0), 4.0),
    Kind("node_stopped", "node", (0.5, 2.5)),
    Kind("node_told_to_go", "node", (0.1, 0.5), 4.5),
    Kind("rolling_restart", "node", (0.1, 0.3), 12.0),
    Kind("drain_killed", "drain", (0.2, 1.0), 1.5),
    Kind("drain_stopped", "drain", (0.5, 3.0), 1.0),
    Kind("drain_told_to_go", "drain", (0.1, 0.5), 1.5),
    Kind("redis_killed", "redis", (0.1, 1.0), 3.5),
    Kind("redis_stopped", "redis", (0.3, 2.5)),
    Kind("redis_paused", "redis", (0.3, 2.0)),
    Kind("redis_restarted", "redis", (0.1, 0.5), 3.5),
    Kind("redis_torn_tail", "redis", (0.1, 0.5), 3.5),
    Kind("redis_full", "redis", (0.3, 2.0)),
    Kind("redis_connections_killed", "redis", (0.1, 0.3)),
    Kind("postgres_crashed", "postgres", (0.1, 0.2), 4.0),
    Kind("postgres_down", "postgres", (0.5, 3.0)),
    Kind("postgres_connections_killed", "postgres", (0.1, 0.3)),
    Kind("postgres_slow", "postgres", (0.5, 2.5)),
    Kind("postgres_locked", "postgres", (0.5, 3.0)),
    Kind("postgres_refuses_rows", "postgres", (0.5, 2.0), 1.5),
    Kind("link_cut", "link", (0.1, 0.2)),
    Kind("link_delayed", "link", (0.5, 2.0), 2.0),
    Kind("link_black_holed", "link", (0.5, 2.5)),
    Kind("link_refused", "link", (0.5, 2.0)),
)
#: Faults that take away the last moments of Redis, or all of it, as a power loss or a lost disk would.
POWER_LOSSES = (
    Kind("redis_cut_short", "redis", (0.1, 0.5), 4.0),
    Kind("redis_wiped", "redis", (0.1, 0.3), 6.0),
)
#: For short runs: quickly done and quickly over.
CHEAP = (
    "node_killed",
    "node_stopped",
    "drain_killed",
    "redis_connections_killed",
    "redis_killed",
    "link_cut",
)

TOGETHER_SHARE = 0.2


def kinds_named(names: Sequence[str]) -> list[Kind]:
    """Raises KeyError for a name that is none."""
    known = {kind.name: kind for kind in (*KINDS, *POWER_LOSSES)}
    return [known[name] for name in names]


def plan(seed: int, length_s: float, kinds: Sequence[Kind], first_s: float = 0.0) -> list[Fault]:
    """Faults in the order of their moments, all over by `length_s` if everything recovers as it should."""
    source = random.Random(f"faults/{seed}")
    faults: list[Fault] = []
    deck: list[Kind] = []
    at_s = first_s
    while True:
        if not deck:
            deck = list(kinds)
            source.shuffle(deck)
        kind = deck.pop()
        hold_s = round(source.uniform(*kind.hold_s), 3)
        needs_s = hold_s + kind.room_s
        if at_s + needs_s > length_s:
            return faults
        faults.append(Fault(round(at_s, 3), kind.name, source.randrange(1 << 16), hold_s, source.random()))
        together = source.random() < TOGETHER_SHARE
        at_s += source.uniform(0.0, 0.5) if together else needs_s + source.uniform(0.0, 1.0)
