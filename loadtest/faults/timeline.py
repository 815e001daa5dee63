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
    """One driver has one job from an event of its room to another; `to` is None while it does not end. `before`: from
    whom he took it over."""

    job: str
    driver: str
    from_: Moment
    to: Moment | None
    from_ms: float
    to_ms: float | None
    before: str | None = None


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
                open_ = Stretch(each.job, driver, now, None, each.at_ms, None, each.before)
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
    """Jobs with two drivers at a time, and drivers (of one job each) with two jobs at a time."""
    by_driver: dict[str, list[Stretch]] = defaultdict(list)
    by_job: dict[str, list[Stretch]] = defaultdict(list)
    for each in spans:
        by_driver[each.driver].append(each)
        by_job[each.job].append(each)
    for name, groups in (("driver", by_driver), ("job", by_job)):
        for id_, mine in groups.items():
            yield from (f"{name} {id_} {a} and {b}" for a, b in _overlaps(mine, name == "driver"))


def wrong_takeovers(lines: Timelines) -> Iterator[str]:
    """Jobs that were taken over from somebody who did not have them, or was there already, or twice. Of a Redis that
    never forgot: another may do again what it had done."""
    for room, said in lines.rooms.items():
        moves = [each for each in said if each.state]
        for last, each in pairwise(moves):
            if each.before is not None and (last.state, last.driver) != ("assigned", each.before):
                yield f"{room} was taken over from {each.before} after {last}"
        if (count := sum(each.before is not None for each in moves)) > 1:
            yield f"{room} was taken over {count} times"


def _overlaps(spans: list[Stretch], of_driver: bool) -> Iterator[tuple[str, str]]:
    """Neighbours in time that overlap. A job handed on in one event overlaps with itself as well, unless that event
    says from whom it was taken over."""
    last: Stretch | None = None
    for each in sorted(spans, key=lambda one: (one.from_ms, one.from_)):
        if last is not None:
            until_ms = float("inf") if last.to_ms is None else last.to_ms
            # one that a Redis forgot has ended before the event by which that shows
            at_once = last.to == each.from_ and last.to_ms == each.from_ms
            handed_on = not of_driver and at_once and each.before != last.driver
            if each.from_ms < until_ms or handed_on:
                yield (last.job, each.job) if of_driver else (last.driver, each.driver)
        if last is None or (last.to_ms is not None and (each.to_ms is None or each.to_ms >= last.to_ms)):
            last = each
