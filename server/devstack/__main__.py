"""The commands behind `./dev`: run, test, lint, bench, clean."""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence

from server.devstack import bench, check, procs, run
from server.devstack.paths import DEV, shown
from server.devstack.stack import CLEANED, Busy, end_leftovers

WORKERS_MAX = 64


def clean(*, force: bool) -> int:
    """Ends what was left running below .dev, and removes it with all its data. Raises Busy while somebody still
    works there, unless forced."""
    folders = [file.parent for file in sorted(DEV.glob("*/owner"))]
    # Held until the end, so that nobody begins there meanwhile.
    claims = {folder: procs.Claim(folder) for folder in folders}
    for folder, claim in claims.items():
        if claim.take():
            continue
        if not force:
            text = f"Process {claim.owner} runs the stack in {shown(folder)}"
            raise Busy(f"{text}; stop it with Ctrl-C first, or ./dev clean --force.")
        (folder / CLEANED).touch()
    for folder in folders:
        end_leftovers(folder)
    if DEV.exists():
        shutil.rmtree(DEV)
    procs.say("Clean: nothing of ./dev runs, .dev/ is gone. .venv/ and node_modules/ stay.")
    return 0


def _port(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and 1 <= int(text) <= 65_535):
        raise argparse.ArgumentTypeError(f"{text!r} is no port: a whole number from 1 to 65535")
    return int(text)


def _workers(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and 1 <= int(text) <= WORKERS_MAX):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to {WORKERS_MAX}")
    return int(text)


def main(arguments: Sequence[str]) -> int:
    command, rest = arguments[0], arguments[1:]
    if command == "test":
        return check.test(rest)
    if command == "bench":
        return bench.bench(rest)
    parser = argparse.ArgumentParser(prog=f"./dev {command}")
    if command == "run":
        parser.add_argument("--port", type=_port, help="serve here; without it on the first free from 8080")
        parser.add_argument("--no-demo", action="store_true", help="only serve")
        parser.add_argument(
            "--workers", type=_workers, default=0, metavar="N", help="N processes behind the port"
        )
    if command == "clean":
        parser.add_argument("--force", action="store_true", help="also under a command that still runs")
    chosen = parser.parse_args(rest)
    if command == "run":
        return run.run(chosen.port, with_demo=not chosen.no_demo, workers=chosen.workers)
    return clean(force=chosen.force) if command == "clean" else check.lint()


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except procs.DevError as error:
        procs.say(str(error))
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
