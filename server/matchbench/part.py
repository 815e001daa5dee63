"""What a part of the match bench gives back, and what it is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

#: Says one line of progress.
Teller = Callable[[str], None]


@dataclass
class Part:
    """`figures` are keys of the JSON line; `wrong` says what did not hold; `lines` is for people."""

    figures: dict[str, Any]
    wrong: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)


def left_out(why: str) -> Part:
    """No figures, and why not."""
    return Part({}, lines=[f"left out: {why}"])


def not_there(*files: Path) -> str:
    """Which of these files are missing; "" where none is."""
    missing = [file.name for file in files if not file.is_file()]
    return f"{' and '.join(missing)} not there" if missing else ""
