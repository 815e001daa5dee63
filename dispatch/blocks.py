"""Who does not want to meet whom, as every node knows it: asked for each candidate, so it must cost nothing.

A block works both ways, whoever of the two asked for it. It is no part of a job's or driver's record, but of what a
node knows beside them, as areas are: so a block counts for jobs and drivers that were there before it, and a request
asks PostgreSQL nothing.
"""

from collections.abc import Iterator


class Blocks:
    """Changed in place as PostgreSQL's rows change (server/ground.py); about 150 bytes a pair."""

    def __init__(self) -> None:
        self._pairs: set[str] = set()

    def __len__(self) -> int:
        return len(self._pairs)

    def pairs(self) -> Iterator[tuple[str, str]]:
        for pair in self._pairs:
            one, _, other = pair.partition(" ")
            yield one, other

    def put(self, one: str, other: str, stands: bool) -> None:
        """`stands` says whether any of the two blocks the other."""
        (self._pairs.add if stands else self._pairs.discard)(_pair(one, other))

    def between(self, one: str, other: str) -> bool:
        return bool(self._pairs) and _pair(one, other) in self._pairs


def _pair(one: str, other: str) -> str:
    return f"{one} {other}" if one < other else f"{other} {one}"
