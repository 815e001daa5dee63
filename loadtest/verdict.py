"""How a benchmark runs and ends: its figures a line each, what was not held, and with `--json` a line for machines."""

from __future__ import annotations

import asyncio
import signal
import statistics
import sys
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from typing import Any

import msgspec
import uvloop

from loadtest.stage import StageError


def tell(line: Mapping[str, Any], wrong: Sequence[str], *, as_json: bool) -> int:
    """Prints the figures and what is wrong with them, beside the line of JSON where one is wanted; the exit code."""
    text = [f"{name:18} {value}" for name, value in _flat(line)]
    shown = "\n".join([*text, *(f"NOT HELD: {each}" for each in wrong)])
    print(shown, file=sys.stderr if as_json else sys.stdout, flush=True)
    if as_json:
        print(msgspec.json.encode(line).decode(), flush=True)
    return 1 if wrong else 0


def _flat(line: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """A row of rows is told a row each."""
    for name, value in line.items():
        if isinstance(value, dict) and any(isinstance(each, dict) for each in value.values()):
            yield from ((f"{name}.{inner}", each) for inner, each in value.items())
        else:
            yield name, value


def spread(values: Sequence[float], digits: int) -> dict[str, float]:
    """What rounds come to. Raises StatisticsError of none."""
    return {
        "median": round(statistics.median(values), digits),
        "min": round(min(values), digits),
        "max": round(max(values), digits),
    }


def run(name: str, measure: Callable[[], Coroutine[Any, Any, int]]) -> int:
    """Measures until the end or SIGTERM, either way with everything ended that it started; the exit code."""

    async def measured() -> int:
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        return await measure()

    try:
        return uvloop.run(measured())
    except KeyError as unset:
        print(f"{name}: {unset} is not set; `./dev bench {name}` sets it", file=sys.stderr)
    except (StageError, OSError, TimeoutError) as error:
        print(f"{name}: {error or type(error).__name__}", file=sys.stderr)
    except (asyncio.CancelledError, KeyboardInterrupt):
        return 130
    return 2
