"""Measures what the match stands on: how far ETA and demand are off on real days, and what parcels in plans cost.

Each part is a module of server/matchbench/ with a function `measure(options, tell) -> Part`, under the key that it
gives the JSON line. They call the code itself, and so stand here and not in loadtest/.
"""

import argparse
import sys
import time
from collections.abc import Callable
from typing import Final

import msgspec

from server.matchbench import demand, eta, insertion
from server.matchbench.part import Part, Teller

PARTS: Final[dict[str, Callable[[argparse.Namespace, Teller], Part]]] = {
    "eta_mape": eta.measure,
    "demand": demand.measure,
    "insertion": insertion.measure,
}


def main() -> int:
    options = _options()
    if options.check:
        return 0
    began_s, line, lines, wrong = time.monotonic(), dict[str, object](), list[str](), list[str]()

    def tell(text: str) -> None:
        sys.stderr.write(f"{time.monotonic() - began_s:6.1f} s  {text}\n")

    for name in options.only or PARTS:
        part = PARTS[name](options, tell)
        line |= part.figures
        lines += [f"{name}:", *(f"  {each}" for each in part.lines)]
        wrong += part.wrong
    shown = "\n".join([*lines, *(f"NOT HELD: {each}" for each in wrong)])
    (sys.stderr if options.json else sys.stdout).write(f"{shown}\n")
    if options.json:
        sys.stdout.write(f"{msgspec.json.encode(line).decode()}\n")
    return 1 if wrong else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="estimates", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", action="append", choices=PARTS, help="this part (may be given again; all)")
    parser.add_argument("--json", action="store_true", help="one line of figures on standard output")
    parser.add_argument("--check", action="store_true", help="recordings that are not there are left out")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
