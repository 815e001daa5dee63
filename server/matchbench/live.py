"""Part (c): the live path and the index. Each is measured by a bench of its own, which is run here as it is.

`loadtest.offers` speaks to nodes over sockets and may not import the engine, `server.bench_index` fills a Redis of
its own; both want to be the only thing that their process does.

| when | then |
|---|---|
| there is no stack, for `./dev bench` did not start this | that it starts one is told, as what did not hold |
| the bench ends without figures | so is what it said last |
| the match bench is ended meanwhile | the bench is told to end (SIGINT), and takes down what it has started |
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from server.matchbench.part import Part, Teller

CHECKOUT: Final = Path(__file__).resolve().parents[2]
NEEDED: Final = ("DISPATCH_URL", "DISPATCH_DATABASE_URL", "DISPATCH_REDIS_URL")
NOT_HELD: Final = "NOT HELD: "
END_S: Final = 10.0
#: What is asked of each where all is asked; `--share` takes less.
OFFERS: Final = {"drivers": 5_000, "fixes": 2_000, "seconds": 20, "entries": 50_000}
INDEX: Final = {"drivers": 50_000, "questions": 300}


def offers(options: argparse.Namespace, tell: Teller) -> Part:
    """`offer_ms`, and how soon the offer was published."""
    return _run("loadtest.offers", _words(OFFERS, options.share), ("offer_ms", "publish_ms"), tell)


def index(options: argparse.Namespace, tell: Teller) -> Part:
    """`candidates` and `index_bytes`."""
    return _run("server.bench_index", _words(INDEX, options.share), ("candidates", "index_bytes"), tell)


def _words(full: Mapping[str, int], share: float) -> list[str]:
    some = {
        name: count * share if name == "seconds" else max(1, round(count * share))
        for name, count in full.items()
    }
    return [f"--{name}={count:g}" for name, count in some.items()]


def _run(module: str, words: list[str], keys: tuple[str, ...], tell: Teller) -> Part:
    if missing := [name for name in NEEDED if not os.environ.get(name)]:
        return Part({}, [f"{module} was not run: {missing[0]} is not set; `./dev bench match` sets it"])
    tell(f"running {module} {' '.join(words)}")
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
        argv = [sys.executable, "-m", module, *words, "--json"]
        with subprocess.Popen(argv, cwd=CHECKOUT, stdout=out, stderr=errors) as child:
            try:
                code = child.wait()
            except BaseException:
                _end(child)
                raise
        out.seek(0), errors.seek(0)
        return part_of(module, code, out.read().decode(), errors.read().decode(errors="replace"), keys)


def part_of(module: str, code: int, out: str, said: str, keys: tuple[str, ...]) -> Part:
    """What a bench that has ended gave: its line of figures, and what it said beside it."""
    lines = said.splitlines()
    if code not in (0, 1):
        return Part({}, [f"{module} ended with code {code}: {' '.join(lines[-1:])}"])
    line: dict[str, Any] = msgspec.json.decode(out)
    wrong = [each.removeprefix(NOT_HELD) for each in lines if each.startswith(NOT_HELD)]
    told = [each for each in lines if not each.startswith(NOT_HELD)]
    return Part({key: line[key] for key in keys}, wrong, told)


def _end(child: subprocess.Popen[bytes]) -> None:
    child.send_signal(signal.SIGINT)
    try:
        child.wait(END_S)
    except subprocess.TimeoutExpired:
        child.kill()
