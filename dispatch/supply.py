"""Which drivers a batch has to know of: for many requests at once what cells.py finds for one.

Sans-io: it says which cells of the index to read and is fed what stood in them. A request is satisfied when, for
certain (`cells.zone_covered_m`), its nearest drivers are known: EACH of them, and two more for every other request
as near, so that those who ask for the same few do not hide the next ones from each other. Whoever is not satisfied
looks farther, in few steps, to the end of the reach; so in a crowd little is read, and where drivers are short all.
Whoever has waited LONG_MS in a crowd may be one whom few can serve, and they farther off: all in reach are read for
him, after all that is nearer to others.
"""

from collections.abc import Iterable, Sequence
from typing import Final

import h3.api.basic_int as h3
import numpy as np
from scipy.spatial import KDTree

from dispatch.candidates import EACH, globe_m
from dispatch.cells import RESOLUTION, face_angle, zone_covered_m
from storage.fleet import Position

_NEAR: Final = ((8, 1), (8, 3))  # (resolution, rings) of the first steps; the last one covers the reach
_FAR_RESOLUTION: Final = 7
_FAR_RINGS_MAX: Final = 16  # 24 km
LONG_MS: Final = 20_000
CELLS_AT_ONCE: Final = 4_000  # about; naming them takes 3 ms


class SupplySearch:
    """Use: while `ask()` gives cells, read them and `feed()` what may be matched; then `found`."""

    def __init__(
        self, lat_deg: Sequence[float], lng_deg: Sequence[float], waited_ms: Sequence[int], reach_m: float
    ) -> None:
        self._deg = list(zip(lat_deg, lng_deg, strict=True))
        self._angle = max(face_angle(*at) for at in self._deg)
        self._reach_m = reach_m
        self._long = np.asarray(waited_ms) >= LONG_MS
        self._places_m = globe_m(np.asarray(lat_deg), np.asarray(lng_deg))
        self._among: KDTree = KDTree(self._places_m)
        far = next((k for k in range(1, _FAR_RINGS_MAX) if self._covered_m(7, k) >= reach_m), _FAR_RINGS_MAX)
        self._steps = [*_NEAR, (_FAR_RESOLUTION, far)]
        self._known_m = 0.0
        self._zones: list[int] = []  # of this step, still to be asked for
        self._asked: set[int] = set()
        self.found: dict[str, Position] = {}

    def ask(self) -> list[int]:
        """The cells to read next; none when all that matters is known."""
        while self._zones or self._look_farther():
            at_once = CELLS_AT_ONCE // 7 ** (RESOLUTION - h3.get_resolution(self._zones[0]))
            some, self._zones = self._zones[:at_once], self._zones[at_once:]
            cells = {cell for zone in some for cell in h3.cell_to_children(zone, RESOLUTION)} - self._asked
            if cells:
                self._asked |= cells
                return list(cells)
        return []

    def _look_farther(self) -> bool:
        """The next step, about those who need it; all of the one before has been read."""
        hungry = self._hungry() if self._steps and self._known_m < self._reach_m else []
        if hungry:
            resolution, rings = self._steps.pop(0)
            self._known_m = self._covered_m(resolution, rings)
            zones = {h3.latlng_to_cell(*self._deg[at], resolution) for at in hungry}
            self._zones = list({zone for middle in zones for zone in h3.grid_disk(middle, rings)})
        return bool(hungry)

    def feed(self, entries: Iterable[Position]) -> None:
        """One who moves while the search runs may stand in two cells: what was fed last wins."""
        self.found.update((each.driver_id, each) for each in entries)

    def _hungry(self) -> list[int]:
        """The requests whose nearest drivers are not known yet."""
        if not self._known_m or not self.found:
            return list(range(len(self._deg)))
        seen = list(self.found.values())
        drivers_m = globe_m(np.array([p.lat_deg for p in seen]), np.array([p.lng_deg for p in seen]))
        near = KDTree(drivers_m).query_ball_point(self._places_m, self._known_m, return_length=True)
        others = self._among.query_ball_point(self._places_m, self._known_m, return_length=True) - 1
        return [int(at) for at in np.flatnonzero((near < EACH + 2 * others) | self._long)]

    def _covered_m(self, resolution: int, rings: int) -> float:
        return zone_covered_m(self._angle, rings, resolution)
