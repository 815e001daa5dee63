"""Where requests will come: counts for each cell and quarter of an hour, and what the next ones will be.

Owns what one area has learned of its demand and guarantees that it stays bounded, forgets, and is never negative.

**The forecast** of a cell (H3, resolution 8) and quarter is a product of what is usual there and then, and of how
far the last hours were from usual:

    usual = the cell at this hour of the week   } each a mean of counts with exponential forgetting, drawn towards
         <- the cell at this hour of the day    } the one below it as if that had been seen a few quarters long:
         <- the cell at any time x the area's   } the Gamma-Poisson estimate, with the lower level as its prior
            curve of the day
    x now / usual in the whole area, half of which is forgotten in a quarter of an hour
    x now / usual in the cell, half of which is forgotten in two hours

Hours are of UTC; between their middles they are interpolated. The strengths below were chosen on San Francisco's
taxis, where any within a factor of two give the same error within 3 %; `./dev bench match --only demand` says how
far the forecast is from the least error possible, that of the Poisson law itself.

Time comes with every call. A quarter that was not watched from its beginning to its end teaches nothing.
"""

from typing import Any, Final

import h3.api.basic_int as h3
import msgspec
import numpy as np
from numpy.typing import NDArray

from dispatch.eta import Floats

RESOLUTION: Final = 8
QUARTER_S: Final = 900.0
FORMAT: Final = 1
MAX_CELLS: Final = 4_096  # 3,000 km², 4 MB; beyond that the quietest cell gives way

_HOURS, _WEEK, _QUARTERS = 24, 168, 4
_WEEKLY_KEEPS: Final = 0.7  # of what an hour of the week had seen, a week later
_DAILY_KEEPS: Final = 0.95  # of what an hour of the day had seen, a day later
_LEVEL_KEEPS: Final = 0.998  # of what the cell had seen, an hour later: half is forgotten in two weeks
_WEEKLY_PRIOR: Final = 10.0  # the prior counts as if it had been seen for so many quarters
_DAILY_PRIOR: Final = 2.0
_LEVEL_PRIOR: Final = 20.0
_RARE: Final = 0.0025  # requests a quarter in a cell of which nothing is known
_AREA_KEEPS: Final = 0.5
_AREA_PRIOR: Final = 20.0  # requests
_CELL_KEEPS: Final = 0.5 ** (1 / 8)
_CELL_PRIOR: Final = 6.0
_LONGEST_GAP: Final = 96  # quarters: after a day without a look, "now" means nothing


class _Document(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What is kept, as MessagePack: cells, and arrays of float32 for them. No request and no person is in it."""

    format: int = FORMAT
    learned_s: float
    cells: list[int]
    weekly: bytes
    weekly_seen: bytes
    daily: bytes
    daily_seen: bytes
    level: bytes
    level_seen: float


class Demand:
    """The demand of one area. Not for several threads; a closed quarter costs about 0.2 ms with 400 cells."""

    def __init__(self) -> None:
        self.cells: list[int] = []  # rows of everything below, and of every forecast
        self._row: dict[int, int] = {}
        self._weekly = np.zeros((0, _WEEK), np.float32)  # counts, fading; beside them for how many quarters
        self._weekly_seen = np.zeros(_WEEK, np.float32)
        self._daily = np.zeros((0, _HOURS), np.float32)
        self._daily_seen = np.zeros(_HOURS, np.float32)
        self._level = np.zeros(0, np.float32)
        self._level_seen = 0.0
        self.learned_s = 0.0  # the end of the last quarter in it, Unix seconds
        self._area = [0.0, 0.0]  # requests and usual ones of the last quarters
        self._real = np.zeros(0)  # the same for each cell
        self._usual = np.zeros(0)
        self._open: dict[int, int] = {}  # this quarter's counts
        self._quarter = -1
        self._whole = False  # was this quarter watched from its beginning?

    @property
    def watching(self) -> bool:
        """Is there a quarter open that was watched from its beginning?"""
        return self._quarter >= 0 and self._whole

    def add(self, cell: int, now_s: float, count: int = 1) -> None:
        """A request was made in this cell (of `RESOLUTION`), or so many."""
        self.advance(now_s)
        self._open[cell] = self._open.get(cell, 0) + count

    def advance(self, now_s: float) -> None:
        """Closes the quarters that are over; to be called at least once in a quarter. Time does not run back."""
        quarter = int(now_s // QUARTER_S)
        if quarter <= self._quarter:
            return
        if self._quarter < 0 or quarter - self._quarter > _LONGEST_GAP:
            self._open, self._quarter, self._whole = {}, quarter, False
            return
        while self._quarter < quarter:
            if self._whole:
                self._close()
            self._open, self._quarter, self._whole = {}, self._quarter + 1, True

    def pause(self) -> None:
        """Nobody looks any more: the quarter that is open will not be closed, whoever looks next."""
        self._open, self._quarter, self._whole = {}, -1, False

    def counted(self) -> Floats:
        """The requests of the open quarter so far, a row for each of `cells`."""
        found = np.zeros(len(self.cells))
        for cell, count in self._open.items():
            if cell in self._row:
                found[self._row[cell]] = count
        return found

    def forecast(self, now_s: float) -> Floats:
        """Requests expected in the `QUARTER_S` from now on, a row for each of `cells`."""
        quarter, into = divmod(now_s / QUARTER_S, 1.0)
        return (1.0 - into) * self._expect(int(quarter)) + into * self._expect(int(quarter) + 1)

    def dumps(self) -> bytes:
        arrays = {name: getattr(self, f"_{name}").tobytes() for name in _SHAPES}
        document = _Document(
            learned_s=self.learned_s, cells=self.cells, level_seen=self._level_seen, **arrays
        )
        return msgspec.msgpack.encode(document)

    @classmethod
    def loads(cls, document: bytes) -> "Demand":
        """What was learned, without the open quarter and "now". Raises ValueError for any other document."""
        try:
            kept = msgspec.msgpack.decode(document, type=_Document)
            if kept.format != FORMAT or len(kept.cells) > MAX_CELLS or len(set(kept.cells)) < len(kept.cells):
                raise ValueError(f"format {kept.format}, {len(kept.cells)} cells")
            demand = cls()
            demand.cells, demand._row = kept.cells, {cell: row for row, cell in enumerate(kept.cells)}
            for name, shape in _SHAPES.items():
                found = np.frombuffer(getattr(kept, name), np.float32).reshape(
                    [len(kept.cells) if size < 0 else size for size in shape]
                )
                if not (np.isfinite(found).all() and (found >= 0.0).all()):
                    raise ValueError(f"{name} out of range")
                setattr(demand, f"_{name}", found.copy())
        except (ValueError, msgspec.MsgspecError) as error:
            raise ValueError(f"not the demand of an area: {error}") from None
        if not (0.0 <= kept.level_seen < 1e9 and 0.0 <= kept.learned_s < 1e12):
            raise ValueError("not the demand of an area: a number out of range")
        demand._level_seen, demand.learned_s = kept.level_seen, kept.learned_s
        demand._real, demand._usual = np.zeros(len(kept.cells)), np.zeros(len(kept.cells))
        return demand

    def _expect(self, quarter: int) -> Floats:
        """Of one quarter: what is usual, and how far now is from usual."""
        area = (self._area[0] + _AREA_PRIOR) / (self._area[1] + _AREA_PRIOR)
        cell = (self._real + _CELL_PRIOR) / (self._usual + _CELL_PRIOR)
        return self._usually(quarter) * area * cell

    def _usually(self, quarter: int) -> Floats:
        hour = quarter // _QUARTERS
        past = (quarter % _QUARTERS + 0.5) / _QUARTERS - 0.5  # the middle of the hour is 0
        other, share = hour + (1 if past > 0 else -1), abs(past)

        def mixed(values: NDArray[Any], hours: int) -> NDArray[Any]:
            return np.asarray((1.0 - share) * values[..., hour % hours] + share * values[..., other % hours])

        level = (self._level + _RARE * _LEVEL_PRIOR) / (self._level_seen + _LEVEL_PRIOR)
        mean = float(self._level.sum()) / max(self._level_seen, 1.0)
        curve = (self._daily.sum(axis=0) + _DAILY_PRIOR * mean) / (self._daily_seen + _DAILY_PRIOR)
        shape = float(mixed(curve, _HOURS)) / max(float(curve.mean()), 1e-9)
        daily = (mixed(self._daily, _HOURS) + _DAILY_PRIOR * level * shape) / (
            mixed(self._daily_seen, _HOURS) + _DAILY_PRIOR
        )
        weekly = (mixed(self._weekly, _WEEK) + _WEEKLY_PRIOR * daily) / (
            mixed(self._weekly_seen, _WEEK) + _WEEKLY_PRIOR
        )
        return np.asarray(weekly, np.float64)

    def _close(self) -> None:
        """Learns the quarter that is over."""
        for cell in self._open:
            if cell not in self._row:
                self._new_row(cell)
        real, usual = self.counted(), self._usually(self._quarter)
        area = (self._area[0] + _AREA_PRIOR) / (self._area[1] + _AREA_PRIOR)
        hour = self._quarter // _QUARTERS
        if self._quarter % _QUARTERS == 0:
            self._fade(hour)
        self._weekly[:, hour % _WEEK] += real
        self._weekly_seen[hour % _WEEK] += 1.0
        self._daily[:, hour % _HOURS] += real
        self._daily_seen[hour % _HOURS] += 1.0
        self.learned_s = (self._quarter + 1) * QUARTER_S
        self._level += real
        self._level_seen += 1.0
        self._area[0] = self._area[0] * _AREA_KEEPS + float(real.sum())
        self._area[1] = self._area[1] * _AREA_KEEPS + float(usual.sum())
        self._real = self._real * _CELL_KEEPS + real
        self._usual = self._usual * _CELL_KEEPS + usual * area

    def _fade(self, hour: int) -> None:
        self._weekly[:, hour % _WEEK] *= _WEEKLY_KEEPS
        self._weekly_seen[hour % _WEEK] *= _WEEKLY_KEEPS
        self._daily[:, hour % _HOURS] *= _DAILY_KEEPS
        self._daily_seen[hour % _HOURS] *= _DAILY_KEEPS
        self._level *= _LEVEL_KEEPS
        self._level_seen *= _LEVEL_KEEPS

    def _new_row(self, cell: int) -> None:
        if len(self.cells) < MAX_CELLS:
            self._row[cell] = len(self.cells)
            self.cells.append(cell)
            self._weekly = np.vstack([self._weekly, np.zeros((1, _WEEK), np.float32)])
            self._daily = np.vstack([self._daily, np.zeros((1, _HOURS), np.float32)])
            self._level = np.append(self._level, np.float32(0.0))
            self._real, self._usual = np.append(self._real, 0.0), np.append(self._usual, 0.0)
            return
        row = int(np.argmin(self._level))
        del self._row[self.cells[row]]
        self.cells[row], self._row[cell] = cell, row
        for values in (self._weekly, self._daily, self._level, self._real, self._usual):
            values[row] = 0.0


_SHAPES: Final[dict[str, tuple[int, ...]]] = {
    "weekly": (-1, _WEEK),
    "weekly_seen": (_WEEK,),
    "daily": (-1, _HOURS),
    "daily_seen": (_HOURS,),
    "level": (-1,),
}


def demand_cell(lat_deg: float, lng_deg: float) -> int:
    """The cell of a valid position."""
    return int(h3.latlng_to_cell(lat_deg, lng_deg, RESOLUTION))
