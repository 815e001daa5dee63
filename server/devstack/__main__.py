"""The commands behind `./dev`: run, test, lint, bench, clean."""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence

from server.devstack import bench, check, procs, run
from server.devstack.paths import DEV
from server.devstack.stack import end_leftovers

DEFAULT_PORT = 8080


def clean() -> int:
    """Ends what was left running below .dev, and removes it with all its data."""
    if DEV.exists():
        for folder in sorted(DEV.iterdir()):
            if (folder / "owner").exists():
                end_leftovers(folder)
        shutil.rmtree(DEV)
    procs.say("Clean: nothing of ./dev runs, .dev/ is gone.")
    return 0


def main(arguments: Sequence[str]) -> int:
    command, rest = arguments[0], arguments[1:]
    if command == "test":
        return check.test(rest)
    if command == "bench":
        return bench.bench(rest)
    parser = argparse.ArgumentParser(prog=f"./dev {command}")
    if command == "run":
        parser.add_argument("--port", type=int, default=DEFAULT_PORT, help="the first port to try")
        parser.add_argument("--no-demo", action="store_true", help="only serve")
    chosen = parser.parse_args(rest)
    if command == "run":
        return run.run(chosen.port, with_demo=not chosen.no_demo)
    return {"lint": check.lint, "clean": clean}[command]()


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except procs.DevError as error:
        procs.say(str(error))
        sys.exit(1)
