"""A job that few may serve finds them, though a crowd of others stands nearer and others ask for those too."""

from __future__ import annotations

import numpy as np
import pytest

from dispatch import candidates
from dispatch.blocks import Blocks
from dispatch.candidates import at_once, farther_in_steps, near
from dispatch.proposal import Proposal
from storage.fleet import Position
from storage.records import Job, Parcel, Place, UserId
from tests.rules.build import NOW, a_driver, a_job, town
from tests.test_cells import moved

CENTRE = (49.99, 36.23)
(AREA,) = town()
BIKES, VANS, LIGHT = 300, 20, 15
HEAVY_KG, MOST_KG = 40.0, 10.0


def place(east_m: float, north_m: float) -> tuple[float, float]:
    return moved(*moved(*CENTRE, 1.5708, east_m), 0.0, north_m)


def parcel(id_: str, at: tuple[float, float], weight_kg: float) -> Job:
    what = Parcel(size="small", weight_kg=weight_kg)
    return a_job(
        "package", "searching", id=id_, requester_id=f"of {id_}", pickup=Place(*at), parcel=what, excluded=()
    )


def batch(heavy: int, now_ms: int = NOW) -> tuple[dict[str, str], int]:
    """A market: heavy parcels in the middle of light ones, bicycles that take only these, vans 800 m away. Who is
    asked for what, and how many pairs may be matched."""
    rng = np.random.default_rng(1)
    spots = [place(*rng.uniform(-300.0, 300.0, 2)) for _ in range(LIGHT + BIKES)]
    jobs = [parcel(f"light {n}", spots.pop(), 2.0) for n in range(LIGHT)]
    jobs += [parcel(f"heavy {n}", place(5.0 * n, 0.0), HEAVY_KG) for n in range(heavy)]
    drivers = {f"bike {n}": at for n, at in enumerate(spots)}
    drivers |= {f"van {n}": moved(*CENTRE, 0.3 * n, 800.0) for n in range(VANS)}
    found = {id_: Position(id_, *at, now_ms, None) for id_, at in drivers.items()}
    made = Proposal([(job, AREA) for job in jobs], {"parcel": found}, now_ms, {}, np.zeros(len(jobs)))
    wanted = at_once(made.candidates())
    records = {
        id_: a_driver(UserId(id_), max_weight_kg=MOST_KG if id_.startswith("bike") else 0.0) for id_ in wanted
    }
    at_once(made.judge(records, Blocks()))
    at_once(made.choose())
    return {each.job.id: each.to.driver_id for each in made.offers()}, made.pairs


@pytest.mark.parametrize("heavy", [1, 5])
def test_the_heavy_ones_get_the_vans(heavy: int) -> None:
    asked, _ = batch(heavy)
    vans = {asked.get(f"heavy {n}", "").split(" ")[0] for n in range(heavy)}
    assert vans == {"van"} and len(asked) == LIGHT + heavy
    assert len(set(asked.values())) == len(asked)


def test_where_they_are_many_each_has_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """One a round here; no round is without one, and which it is changes."""
    _, without = batch(0)
    monkeypatch.setattr(candidates, "FARTHER", 1)
    turns = set()
    for second in range(60):
        asked, pairs = batch(3, NOW + 1_000 * second)
        (served,) = [id_ for id_ in asked if id_.startswith("heavy")]
        assert pairs <= without + VANS
        turns.add(served)
    assert len(turns) == 3


@pytest.mark.parametrize(("n", "m"), [(300, 40), (80, 90), (20, 500), (5, 5)])
def test_the_rest_are_all_in_reach_but_those(n: int, m: int) -> None:
    rng = np.random.default_rng(n)
    requests_m, drivers_m = rng.uniform(0.0, 3_000.0, (n, 2)), rng.uniform(0.0, 3_000.0, (m, 2))
    known = near(requests_m, drivers_m, 900.0, each=3)
    left = rng.permutation(n)[:12]
    rest = at_once(farther_in_steps(known, left, requests_m, drivers_m, 900.0))
    away_m = np.linalg.norm(requests_m[:, None] - drivers_m[None, :], axis=-1)
    expected = {(r, d) for r in left.tolist() for d in np.flatnonzero(away_m[r] <= 900.0).tolist()}
    pairs = list(zip(rest.request.tolist(), rest.driver.tolist(), strict=True))
    seen = set(zip(known.request.tolist(), known.driver.tolist(), strict=True))
    assert len(pairs) == len(set(pairs)) and set(pairs) == expected - seen
    assert np.allclose(rest.distance_m, away_m[rest.request, rest.driver])
