"""Where a job ends counts in a batch as its area weighs it: of two alike, who ends where work is near is served."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from dispatch import commands as c
from dispatch.area import Area, Areas
from dispatch.demand import demand_cell
from dispatch.heat import FRESH_S, LONGEST_WAIT_S, Heat, Heats
from dispatch.policy import Policy
from storage.records import Job, JobId, Place, UserId
from tests.deskkit import CENTRE
from tests.rules.build import a_job
from tests.test_cells import moved
from tests.test_rounds import POLICY, Town, town

__all__ = ["town"]

NOW_S = 1_000.0
BUSY, QUIET = Place(*moved(*CENTRE, 0.0, 3_000.0)), Place(*moved(*CENTRE, 3.1416, 3_000.0))


def heat(area_id: str, at_s: float) -> Heat:
    """Nine requests for each vehicle around BUSY; of the rest nothing is known."""
    cell = demand_cell(BUSY.latitude, BUSY.longitude)
    none = {"up_since_s": [at_s], "down_since_s": [at_s]}
    return Heat(
        area_id=area_id, at_s=at_s, cells=[cell], forecast=[9.0], waiting=[0], supply=[0], pressure=[9.0],
        tenths=[10], **none,
    )  # fmt: skip


def area(id_: str, weight: float = 0.5, shadow: float | None = None) -> Area:
    tried = None if shadow is None else Policy(end_weight=shadow)
    policy = Policy(end_weight=weight)
    return Area(id=id_, name=id_, shard="main", polygon={}, currency="USD", policy=policy, shadow=tried)


def to(place: Place, kind: str = "ride") -> Job:
    return a_job(kind, "searching", dropoff=place)


def test_an_end_counts_beside_the_others_of_its_area_while_the_look_is_fresh() -> None:
    heats = Heats()
    heats.put([heat("a", NOW_S), heat("plain", NOW_S), heat("tries", NOW_S)])
    a, plain, tries, unseen = area("a"), area("plain", 0.0), area("tries", 0.0, 1.0), area("unseen")
    jobs = [(to(place), at) for at in (a, plain, tries, unseen) for place in (BUSY, QUIET)]
    half_s = (LONGEST_WAIT_S - 100.0) / 2
    assert heats.ends_s(jobs, NOW_S).tolist() == [-half_s, half_s, 0.0, 0.0, -half_s, half_s, 0.0, 0.0]
    assert not heats.ends_s(jobs, NOW_S + FRESH_S + 1.0).any()
    # a parcel ends where parcels are sent: it is compared with parcels, by what is known of these
    parcels = [(to(place, "package"), a) for place in (BUSY, QUIET)]
    assert heats.ends_s([*jobs[:2], *parcels], NOW_S).tolist() == [-half_s, half_s, 0.0, 0.0]
    at_s = NOW_S + 1.0
    heats.put([replace(heat("a", at_s), packages=heat("a", at_s))])
    assert heats.ends_s([*jobs[:1], *parcels], at_s).tolist() == [0.0, -half_s, half_s]


@pytest.mark.parametrize(
    ("weight", "looked", "served"),
    [(0.5, True, "to busy"), (0.0, True, "to quiet"), (0.5, False, "to quiet")],
)
async def test_of_two_who_end_where_is_served(town: Town, weight: float, looked: bool, served: str) -> None:
    """The one to the quiet place stands a little nearer, which decides where ends do not count."""
    node = town.nodes[0]
    (here,) = node.desk.areas
    node.desk.areas = Areas([replace(here, policy=replace(POLICY, end_weight=weight))])
    await town.driver("d", 0.0)
    for name, east_m, dropoff in (("to busy", 120.0, BUSY), ("to quiet", -100.0, QUIET)):
        pickup = Place(*moved(*CENTRE, 1.5708, east_m))
        what: dict[str, Any] = {"kind": "ride", "name": name, "vehicle_class": "economy"}
        who: dict[str, Any] = {"user": UserId(f"of {name}"), "room": f"ride:{name}", "job_id": JobId(name)}
        await node.desk.run(c.OpenJob(**who, **what, pickup=pickup, dropoff=dropoff))
    if looked:
        node.desk.heats.put([heat(here.id, await node.log.now_ms() / 1000)])
    assert (await node.rounds.go(2.0)).asked == {"ok": 1}
    assert await town.asked(served) == ["d"]
