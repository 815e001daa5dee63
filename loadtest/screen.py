"""The demo city's summary: a few lines, redrawn in place on a terminal and cut to its width, one plain line
a minute elsewhere.
"""

from __future__ import annotations

import shutil
import sys
from collections import Counter
from collections.abc import Sequence
from typing import TextIO

from loadtest.carrier import Carrier
from loadtest.customer import Customer
from loadtest.tally import Tally
from loadtest.words import UNASSIGNED_STATES

ERRORS_SHOWN = 5
REDRAW_S = 1.0
PLAIN_S = 60.0  # what was said before (addresses, logins) stays on the screen


class Screen:
    """Writes to one stream; knows whether it is a terminal."""

    def __init__(self, out: TextIO = sys.stdout) -> None:
        self._out = out
        self._drawn = 0
        self.redraws = out.isatty()
        self.every_s = REDRAW_S if self.redraws else PLAIN_S

    def show(
        self, uptime_s: float, carriers: Sequence[Carrier], customers: Sequence[Customer], tally: Tally
    ) -> None:
        """The city as it is now."""
        lines = summary(uptime_s, carriers, customers, tally)
        if self.redraws:
            # A line that the terminal breaks in two would stay behind when the next picture is drawn.
            width = shutil.get_terminal_size().columns - 1
            lines = [line[:width] for line in lines]
            # Up over what was drawn before, and clear to the end of the screen.
            back = f"\x1b[{self._drawn}F\x1b[J" if self._drawn else ""
            self._out.write(back + "\n".join(lines) + "\n")
            self._drawn = len(lines)
        else:
            self._out.write("  ".join(line.strip() for line in lines) + "\n")
        self._out.flush()


def summary(
    uptime_s: float, carriers: Sequence[Carrier], customers: Sequence[Customer], tally: Tally
) -> list[str]:
    """The lines, without any terminal's codes."""
    counts = tally.counts
    busy = Counter(each.trip.job.kind.name for each in carriers if each.trip is not None)
    online = sum(each.ready.is_set() and each.state != "offline" for each in carriers)
    searching = sum(each.job is not None and each.job.state in UNASSIGNED_STATES for each in customers)
    phones = [*carriers, *customers]
    lines = [
        f"Demo city {_clock(uptime_s)}: {sum(each.ready.is_set() for each in phones)} of {len(phones)} phones here",
        f"  online {online}  searching {searching}  on a ride {busy['ride']}  on a parcel {busy['package']}",
        f"  offers {counts['offers']}  accepted {counts['accepted']}  declined {counts['declined']}"
        f"  expired {counts['ignored']}",
        f"  finished rides {counts['finished_ride']}  parcels {counts['finished_package']}"
        f"  cancelled {counts['ended_cancelled']}  not served {counts['ended_no_driver'] + counts['ended_no_courier']}",
        f"  request → offer {_times(tally.offer_ms.quantiles(1, p50=0.5, p95=0.95))}"
        f"  waited for a driver {counts['waited_for_driver']}",
        f"  fix → watcher {_times(tally.fix_ms.quantiles(1, p50=0.5, p95=0.95))}"
        f"  fixes {counts['fixes_simulated']} (all invented)",
    ]
    if tally.errors:
        worst = tally.errors.most_common(ERRORS_SHOWN)
        lines.append("  errors " + "  ".join(f"{name} ×{count}" for name, count in worst))
    return lines


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


def _times(found: dict[str, float | None]) -> str:
    return "-" if found["p50"] is None else f"p50 {found['p50']:g} ms p95 {found['p95']:g} ms"
