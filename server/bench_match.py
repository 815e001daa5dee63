"""Measures the match: the batch engine against simpler policies and the literature, ETA, demand and insertion.

Each part of the measurement is a module of server/matchbench/ with a function `measure(options, tell) -> Part`, and a
line in PARTS under the keys that it gives the JSON line. `--only` runs some of them. It stands here and not in
loadtest/ because it calls the engine itself; `offers` and `index` run the benches of these names as they are.
"""

import argparse
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from server.matchbench import demand, eta, insertion, kdd18, live, policies, rides, solving
from server.matchbench.part import Part, Teller

TRACES: Final = rides.DATA / "traces_sf_dev_2008-05-30fri.csv.gz"
REQUESTS: Final = rides.DATA / rides.SAN_FRANCISCO
RIDES: Final = rides.DATA / rides.NEW_YORK_AFTERNOON
DAY: Final = rides.DATA / rides.NEW_YORK_DAY

PARTS: Final[dict[str, Callable[[argparse.Namespace, Teller], Part]]] = {
    "policies": policies.measure,
    "kdd18": kdd18.measure,
    "solve": solving.measure,
    "eta_mape": eta.measure,
    "demand": demand.measure,
    "insertion": insertion.measure,
    "offers": live.offers,
    "index": live.index,
}


def main() -> int:
    options = _options()
    if options.check:
        return 0
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what a part has started ends with it
    try:
        return _measure(options)
    except (OSError, ValueError) as unreadable:
        sys.stderr.write(f"match: {unreadable}\n")
        return 2
    except KeyboardInterrupt:
        return 130


def _measure(options: argparse.Namespace) -> int:
    began_s = time.monotonic()
    line, lines, wrong = dict[str, object](), list[str](), list[str]()
    for name in options.only or PARTS:
        part = PARTS[name](options, _teller(name, began_s))
        line |= part.figures
        lines += [f"{name}:", *(f"  {each}" for each in part.lines)]
        wrong += part.wrong
    lines += [f"NOT HELD: {each}" for each in wrong]
    (sys.stderr if options.json else sys.stdout).write("\n".join([*lines, ""]))
    if options.json:
        sys.stdout.write(f"{msgspec.json.encode(line).decode()}\n")
    return 1 if wrong else 0


def _teller(part: str, began_s: float) -> Teller:
    def tell(text: str) -> None:
        sys.stderr.write(f"{time.monotonic() - began_s:6.1f} s  {part}: {text}\n")

    return tell


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="match", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", action="append", choices=PARTS, help="this part (may be given again; all)")
    parser.add_argument("--seeds", type=int, default=10, help="draws of each city of `policies` (10)")
    parser.add_argument(
        "--city", action="append", choices=policies.CITIES, help="of `policies` this one (all)"
    )
    parser.add_argument("--traces", type=_there, default=TRACES, help=f"cabs' fixes, CSV ({_shown(TRACES)})")
    parser.add_argument(
        "--requests", type=_there, default=REQUESTS, help=f"their rides, of many days ({_shown(REQUESTS)})"
    )
    parser.add_argument("--rides", type=_there, default=RIDES, help=f"rides without cabs ({_shown(RIDES)})")
    parser.add_argument(
        "--day", type=_there, default=DAY, help=f"the whole day of these, for `eta_mape` ({_shown(DAY)})"
    )
    parser.add_argument(
        "--share",
        type=float,
        default=1.0,
        help="of each city's requests, and of `offers` and `index`, for a quick look (1)",
    )
    parser.add_argument("--rounds", type=int, default=200, help="of each shape of `solve` (200)")
    parser.add_argument(
        "--days", type=int, default=500, help="of `kdd18`, to learn from and to test on (500)"
    )
    parser.add_argument("--json", action="store_true", help="one line of figures on standard output")
    parser.add_argument("--check", action="store_true", help="recordings that are not there are left out")
    return parser.parse_args()


def _there(name: str) -> Path:
    """A file that is named must be there; those of ../shared/data may not be, and what needs them is left out."""
    if not (file := Path(name)).is_file():
        raise argparse.ArgumentTypeError(f"there is no file {name}: name another, or leave the option out")
    return file


def _shown(file: Path) -> str:
    return f"../shared/data/{file.name}"


if __name__ == "__main__":
    sys.exit(main())
