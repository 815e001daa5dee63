"""How a benchmark ends: its figures a line each, what was not held, and with `--json` one line for machines."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec


def tell(line: Mapping[str, Any], wrong: Sequence[str], *, as_json: bool) -> int:
    """Prints the figures and what is wrong with them, beside the line of JSON where one is wanted; the exit code."""
    text = [f"{name:18} {value}" for name, value in line.items()]
    shown = "\n".join([*text, *(f"NOT HELD: {each}" for each in wrong)])
    print(shown, file=sys.stderr if as_json else sys.stdout, flush=True)
    if as_json:
        print(msgspec.json.encode(line).decode(), flush=True)
    return 1 if wrong else 0
