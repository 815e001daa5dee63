"""A job's room as one story over all lives of Redis: who carried the job, and when.

Pure. Within a life the numbers order the events; lives follow one another by the time of their first event.
Where Redis was made to forget, what it had begun since that moment ends there: the server may give a job or a
driver it does not know to be taken.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from loadtest.spoken import Spoken
from loadtest.words import TERMINAL_STATES, UNASSIGNED_STATES

Moment = tuple[int, int]  # the life's rank, and the number in it


class Stretch(NamedTuple):
    """One driver has one job from an event of its room to another; `to` is None while it does not end. `taken_over`
    from who had it; `began_ms` is when he came to the pickup, `on_board_ms` when a ride's passenger got in."""

    job: str
    driver: str
    from_: Moment
    to: Moment | None
    from_ms: float
    to_ms: float | None
    ride: bool = False
    taken_over: bool = False
    began_ms: float | None = None
    on_board_ms: float | None = None

    def comes_after(self, other: Stretch) -> bool:
        """Whether a ride was taken with another on board, and nothing of it began before that was over."""
        if not (self.ride and other.ride) or other.on_board_ms is None or self.from_ms < other.on_board_ms:
            return False
        return self.began_ms is None or (other.to_ms is not None and other.to_ms <= self.began_ms)


class Timelines(NamedTuple):
    """The events of each room in their order, and the rank of each life."""

    rooms: Mapping[str, Sequence[Spoken]]
    ranks: Mapping[str, int]

    def without(self, forgotten: Callable[[Spoken], bool]) -> Timelines:
        """The same moments, some events less."""
        rooms = {room: [each for each in said if not forgotten(each)] for room, said in self.rooms.items()}
        return Timelines(rooms, self.ranks)

    def moment(self, epoch: str, seq: int) -> Moment:
        return self.ranks.get(epoch, len(self.ranks)), seq


def timelines(events: Iterable[Spoken]) -> Timelines:
    by_room: dict[str, list[Spoken]] = defaultdict(list)
    first_ms: dict[str, int] = {}
    for each in events:
        by_room[each.room].append(each)
        first_ms[each.epoch] = min(first_ms.get(each.epoch, each.at_ms), each.at_ms)
    ranks = {epoch: rank for rank, epoch in enumerate(sorted(first_ms, key=first_ms.__getitem__))}
    for said in by_room.values():
        said.sort(key=lambda one: (ranks[one.epoch], one.seq))
    return Timelines(by_room, ranks)


def stretches(lines: Timelines, forgets: Sequence[tuple[float, float]] = ()) -> list[Stretch]:
    """Who had which job when. `forgets`: (from_ms, at_ms), when Redis forgot what it had since from_ms."""
    found: list[Stretch] = []
    for said in lines.rooms.values():
        open_: Stretch | None = None
        for each in said:
            if not each.state:
                continue
            driver = None if each.state in UNASSIGNED_STATES | TERMINAL_STATES else each.driver
            now = lines.moment(each.epoch, each.seq)
            if open_ is not None and driver != open_.driver:
                found.append(open_._replace(to=now, to_ms=each.at_ms))
                open_ = None
            if open_ is None and driver is not None:
                ride = each.room.startswith("ride:")
                open_ = Stretch(each.job, driver, now, None, each.at_ms, None, ride, each.taken_over)
            if open_ is not None and open_.ride and each.state not in {"assigned", *TERMINAL_STATES}:
                began_ms = each.at_ms if open_.began_ms is None else open_.began_ms
                on_board_ms = open_.on_board_ms
                if on_board_ms is None and each.state == "in_progress":
                    on_board_ms = each.at_ms
                open_ = open_._replace(began_ms=began_ms, on_board_ms=on_board_ms)
        if open_ is not None:
            found.append(open_)
    return [_until_forgotten(each, forgets) for each in found]


def _until_forgotten(stretch: Stretch, forgets: Sequence[tuple[float, float]]) -> Stretch:
    for from_ms, at_ms in sorted(forgets, key=lambda one: one[1]):
        open_then = stretch.to_ms is None or stretch.to_ms > at_ms
        if from_ms <= stretch.from_ms <= at_ms and open_then:
            return stretch._replace(to_ms=at_ms)
    return stretch


def doubles(spans: Iterable[Stretch]) -> Iterator[str]:
    """Jobs with two drivers at a time, and drivers with two jobs at a time (but for a ride that comes after another),
    or with three."""
    by_driver: dict[str, list[Stretch]] = defaultdict(list)
    by_job: dict[str, list[Stretch]] = defaultdict(list)
    for each in spans:
        by_driver[each.driver].append(each)
        by_job[each.job].append(each)
    for driver, mine in by_driver.items():
        yield from (f"driver {driver} {a} and {b}" for a, b in _at_once(mine))
    for job, its in by_job.items():
        yield from (f"job {job} {a} and {b}" for a, b in _overlaps(its))


def wrong_takeovers(lines: Timelines) -> Iterator[str]:
    """Jobs that were taken over from somebody who did not have them, or was there already, or twice. Of a Redis that
    never forgot: another may do again what it had done."""
    for room, said in lines.rooms.items():
        moves = [each for each in said if each.state]
        for last, each in pairwise(moves):
            if each.taken_over and (last.state != "assigned" or last.driver in (None, each.driver)):
                yield f"{room} was taken over by {each.driver} after {last}"
        if (count := sum(each.taken_over for each in moves)) > 1:
            yield f"{room} was taken over {count} times"


def _at_once(spans: list[Stretch]) -> Iterator[tuple[str, str]]:
    """Jobs that one driver has at a time: more than one, and the next after it."""
    mine: list[Stretch] = []
    for each in sorted(spans, key=lambda one: (one.from_ms, one.from_)):
        mine = [one for one in mine if one.to_ms is None or one.to_ms > each.from_ms]
        if len(mine) > 1 or any(not each.comes_after(one) for one in mine):
            yield mine[0].job, each.job
        mine.append(each)


def _overlaps(spans: list[Stretch]) -> Iterator[tuple[str, str]]:
    """Neighbours in time that overlap: drivers of one job. One handed on in one event overlaps with itself as well,
    unless that event says that it was taken over."""
    last: Stretch | None = None
    for each in sorted(spans, key=lambda one: (one.from_ms, one.from_)):
        if last is not None:
            until_ms = float("inf") if last.to_ms is None else last.to_ms
            # one that a Redis forgot has ended before the event by which that shows
            at_once = last.to == each.from_ and last.to_ms == each.from_ms
            if each.from_ms < until_ms or (at_once and not each.taken_over):
                yield last.driver, each.driver
        if last is None or (last.to_ms is not None and (each.to_ms is None or each.to_ms >= last.to_ms)):
            last = each
