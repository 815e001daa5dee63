"""What a part of the match bench gives back, and what it is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

#: Says one line of progress.
Teller = Callable[[str], None]


@dataclass
class Part:
    """`figures` are keys of the JSON line; `wrong` says what did not hold; `lines` is for people."""

    figures: dict[str, Any]
    wrong: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
