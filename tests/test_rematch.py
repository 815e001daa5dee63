"""Re-match: against every way to change things, and what of it can be done at once."""

import math
import random
from collections.abc import Iterator

import numpy as np
import pytest

from dispatch.assignment import Pairs
from dispatch.policy import Policy
from dispatch.rematch import ACCEPTED, LOSES_MOST, OFFERED, PLANNED, Standing, now_possible, rematch, saves_s

POLICY = Policy(keep_offer_s=10.0, swap_saves_s=60.0)
SPARED_S = 300.0
Costs = dict[tuple[int, int], float]


def pairs_of(costs: Costs) -> Pairs:
    keys = np.array(list(costs), dtype=np.int64).reshape(-1, 2)
    return Pairs(keys[:, 0], keys[:, 1], np.array(list(costs.values()), dtype=float))


def standing(costs: Costs, driver: list[int], bound: list[int]) -> Standing:
    cost_s = [costs.get(at, 0.0) for at in enumerate(driver)]
    return Standing(
        np.array(driver, dtype=np.int64),
        np.array(cost_s),
        np.array(bound, dtype=np.int64),
        np.array([saves_s(how, POLICY) for how in bound]),
        np.full(len(bound), SPARED_S),
    )


def town(rng: random.Random) -> tuple[Costs, list[int], list[int], int]:
    """Costs in seconds, who stands for each job (whose pair is always there), how bound, and how many drivers."""
    jobs, drivers = rng.randint(1, 5), rng.randint(1, 6)
    most, share = rng.choice([60, 400]), rng.random()
    costs = {
        (j, d): float(rng.randint(0, most))
        for j in range(jobs)
        for d in range(drivers)
        if rng.random() < share
    }
    free = list(range(drivers))
    rng.shuffle(free)
    stands = [free.pop() if free and rng.random() < 0.6 else -1 for _ in range(jobs)]
    bound = [PLANNED if driver < 0 else rng.choice([PLANNED, OFFERED, ACCEPTED]) for driver in stands]
    for at in enumerate(stands):
        if at[1] >= 0:
            costs.setdefault(at, float(rng.randint(0, most)))
    return costs, stands, bound, drivers


def every_choice(
    costs: Costs, stands: list[int], on_way: set[int], job: int, taken: frozenset[int]
) -> Iterator[list[int]]:
    """Every assignment in which each job that has a driver has one, those on their way are nobody else's but of
    whom has none, and nobody to whom one is on his way loses too much."""
    if job == len(stands):
        yield []
        return
    nobody, mine = ([-1], on_way) if stands[job] < 0 else ([], {stands[job]} & on_way)
    may = [d for j, d in costs if j == job and d not in taken and (d not in on_way or d in mine)]
    if stands[job] in on_way:
        most_s = costs[job, stands[job]] + LOSES_MOST * POLICY.swap_saves_s
        may = [d for d in may if costs[job, d] <= most_s]
    for driver in [*nobody, *may]:
        for rest in every_choice(costs, stands, on_way, job + 1, taken | {driver} - {-1}):
            yield [driver, *rest]


def worth(chosen: list[int], costs: Costs, stands: list[int], bound: list[int]) -> float:
    """To be least: costs, what a change must save, and the price of who waits on."""
    total = 0.0
    for job, driver in enumerate(chosen):
        if driver < 0:
            total += SPARED_S
            continue
        total += costs[job, driver]
        if stands[job] not in {-1, driver}:
            total += {PLANNED: 0.0, OFFERED: POLICY.keep_offer_s, ACCEPTED: POLICY.swap_saves_s}[bound[job]]
    return total


@pytest.mark.parametrize("part", range(3))
def test_the_best_of_all_changes(part: int) -> None:
    for seed in range(part * 1_000, part * 1_000 + 400):
        costs, stands, bound, _ = town(random.Random(seed))
        chosen = rematch(pairs_of(costs), standing(costs, stands, bound)).tolist()
        taken = [driver for driver in chosen if driver >= 0]
        assert len(taken) == len(set(taken)), f"seed {seed}: a driver twice"
        assert all(now >= 0 for now, before in zip(chosen, stands, strict=True) if before >= 0), (
            f"seed {seed}"
        )
        on_way = {driver for driver, how in zip(stands, bound, strict=True) if how == ACCEPTED}
        choices = every_choice(costs, stands, on_way, 0, frozenset())
        best = min(worth(each, costs, stands, bound) for each in choices)
        assert math.isclose(worth(chosen, costs, stands, bound), best), f"seed {seed}"


def test_a_change_of_accepted_jobs_saves_what_is_asked_in_sum_and_at_once() -> None:
    """Over every connected change of a big town where each would have somebody: what stood before, without it, cost so
    much more; and nothing of it is left for later, when it may not be done."""
    changes = 0
    for seed in range(100):
        rng = random.Random(seed)
        costs = {(j, d): rng.uniform(0.0, 600.0) for j in range(12) for d in range(16) if rng.random() < 0.6}
        stands = list(range(12))
        costs |= {(j, j): rng.uniform(0.0, 600.0) for j in range(12)}
        bound = [rng.choice([PLANNED, OFFERED, ACCEPTED, ACCEPTED]) for _ in stands]
        stood = standing(costs, stands, bound)
        found = rematch(pairs_of(costs), stood)
        chosen = found.tolist()
        idle = np.array([d >= 12 or bound[d] == PLANNED for d in range(16)])
        now = now_possible(found, stood, idle).tolist()
        assert now == [bound[job] == PLANNED or chosen[job] != job for job in stands], f"seed {seed}"
        for group in hang_together(stands, chosen):
            changes += any(bound[job] == ACCEPTED for job in group)
            saved = sum(costs[job, job] - costs[job, chosen[job]] for job in group)
            asked_s = {PLANNED: 0.0, OFFERED: POLICY.keep_offer_s, ACCEPTED: POLICY.swap_saves_s}
            least_s = sum(asked_s[bound[job]] for job in group)
            assert saved >= least_s - 0.01, f"seed {seed}: {group} saves {saved}"
    assert changes > 100


def hang_together(stands: list[int], chosen: list[int]) -> list[set[int]]:
    """The jobs that change, grouped by the drivers whom they leave to one another."""
    groups: list[tuple[set[int], set[int]]] = []
    for job, (before, now) in enumerate(zip(stands, chosen, strict=True)):
        if before != now:
            jobs, drivers = {job}, {before, now}
            for group in [each for each in groups if each[1] & drivers]:
                groups.remove(group)
                jobs |= group[0]
                drivers |= group[1]
            groups.append((jobs, drivers))
    return [jobs for jobs, _ in groups]


@pytest.mark.parametrize(
    ("bound", "nearer_s", "changes"),
    [
        (ACCEPTED, 60.5, True),
        (ACCEPTED, 59.5, False),
        (OFFERED, 10.5, True),
        (OFFERED, 9.5, False),
        (PLANNED, 0.5, True),
    ],
)
def test_what_a_change_must_save(bound: int, nearer_s: float, changes: bool) -> None:
    costs = {(0, 0): 200.0, (0, 1): 200.0 - nearer_s}
    chosen = rematch(pairs_of(costs), standing(costs, [0], [bound])).tolist()
    assert chosen == [1 if changes else 0]


@pytest.mark.parametrize(("saved_s", "served"), [(60.5, True), (59.5, False)])
def test_who_waits_may_be_served_by_a_change_that_saves_enough(saved_s: float, served: bool) -> None:
    """Driver 0 is on his way to job 0; driver 1 is free, but reaches only job 0. Job 1 waits."""
    costs = {(0, 0): 100.0, (0, 1): 100.0 + SPARED_S - 150.0 - saved_s, (1, 0): 150.0}
    chosen = rematch(pairs_of(costs), standing(costs, [0, -1], [ACCEPTED, PLANNED]))
    assert chosen.tolist() == ([1, 0] if served else [0, -1])


@pytest.mark.parametrize(("loses_s", "served"), [(179.5, True), (180.5, False)])
def test_nobody_waits_so_much_longer_for_whom_nobody_is_free(loses_s: float, served: bool) -> None:
    """Whatever it is worth that the other is served."""
    costs = {(0, 0): 100.0, (0, 1): 100.0 + loses_s, (1, 0): 50.0}
    stood = standing(costs, [0, -1], [ACCEPTED, PLANNED])._replace(spared_s=np.full(2, 900.0))
    assert rematch(pairs_of(costs), stood).tolist() == ([1, 0] if served else [0, -1])


def test_each_job_by_the_numbers_of_its_own_area() -> None:
    """Two open offers, each with a driver 60 s nearer, and two who wait, both 200 s away: an offer stays for an
    hour in the one area, and nobody is sent so far in the other."""
    costs = {(0, 0): 100.0, (0, 4): 40.0, (1, 1): 100.0, (1, 5): 40.0, (2, 6): 200.0, (3, 7): 200.0}
    stood = standing(costs, [0, 1, -1, -1], [OFFERED, OFFERED, PLANNED, PLANNED])._replace(
        saves_s=np.array([10.0, 3_600.0, 0.0, 0.0]), spared_s=np.array([900.0, 900.0, 900.0, 100.0])
    )
    assert rematch(pairs_of(costs), stood).tolist() == [4, 1, 6, -1]


@pytest.mark.parametrize("bound", [PLANNED, OFFERED, ACCEPTED])
def test_who_would_have_somebody_gets_nobody_who_is_on_his_way(bound: int) -> None:
    """Driver 0 is on his way to job 0, and so near job 1 that all would save by an exchange: which may not come to its
    end, once driver 2 has taken job 0 over."""
    costs = {(0, 0): 100.0, (0, 2): 200.0, (1, 0): 10.0, (1, 1): 500.0, (1, 2): 600.0}
    stood = standing(costs, [0, 1], [ACCEPTED, bound])
    assert rematch(pairs_of(costs), stood).tolist() == [0, 1]


def test_what_stands_costs_what_is_said_of_it_and_is_kept_without_a_pair() -> None:
    """He has come nearer than his pair says, or too late for it to be one."""
    stands = standing({(0, 0): 10.0}, [0], [ACCEPTED])
    assert rematch(pairs_of({(0, 0): 500.0, (0, 1): 40.0}), stands).tolist() == [0]
    assert rematch(pairs_of({}), stands).tolist() == [0]


@pytest.mark.parametrize(
    ("chosen", "stands", "bound", "idle", "now"),
    [
        pytest.param([0], [-1], [PLANNED], [True], [True], id="who waits gets who is idle"),
        pytest.param([0], [0], [PLANNED], [True], [True], id="as the batch planned"),
        pytest.param([0], [0], [OFFERED], [False], [False], id="an offer stands"),
        pytest.param([1], [0], [OFFERED], [False, True], [True], id="an offer goes to who is idle"),
        pytest.param([1], [0], [ACCEPTED], [False, True], [True], id="who is idle takes over"),
        pytest.param([0, 1], [1, -1], [ACCEPTED, PLANNED], [True, False], [True, False], id="and the other after that"),
        pytest.param([0, 1], [1, -1], [OFFERED, PLANNED], [True, False], [True, True], id="an offer moves at once"),
        pytest.param([1, 0], [0, 1], [OFFERED, OFFERED], [False, False], [True, True], id="two offers change places"),
        pytest.param([1, 0], [0, 1], [ACCEPTED, ACCEPTED], [False, False], [False, False], id="two on their way stay"),
        pytest.param([1, 0], [0, 1], [OFFERED, ACCEPTED], [False, False], [False, False], id="nor one of them"),
        pytest.param([-1], [-1], [PLANNED], [True], [False], id="nobody"),
    ],
)  # fmt: skip
def test_what_can_be_done_at_once(
    chosen: list[int], stands: list[int], bound: list[int], idle: list[bool], now: list[bool]
) -> None:
    said = now_possible(np.array(chosen), standing({}, stands, bound), np.array(idle))
    assert said.tolist() == now


def test_what_is_done_at_once_gives_nobody_two_jobs_and_takes_nobody_off_his_way() -> None:
    for seed in range(600):
        costs, stands, bound, drivers = town(random.Random(seed))
        stood = standing(costs, stands, bound)
        chosen = rematch(pairs_of(costs), stood)
        held = {driver for driver, how in zip(stands, bound, strict=True) if driver >= 0 and how != PLANNED}
        idle = np.array([driver not in held for driver in range(drivers)])
        now = now_possible(chosen, stood, idle)
        after = {job: stands[job] for job in range(len(stands)) if bound[job] != PLANNED and not now[job]}
        asked = {job: int(chosen[job]) for job in range(len(stands)) if now[job]}
        on_way = {stands[job] for job in range(len(stands)) if bound[job] == ACCEPTED}
        used = [*after.values(), *asked.values()]
        assert len(used) == len(set(used)), f"seed {seed}: a driver with two"
        assert not on_way & set(asked.values()), f"seed {seed}: asked on his way"
        if all(how == PLANNED for how in bound):
            assert all(now[job] == (chosen[job] >= 0) for job in range(len(stands))), f"seed {seed}"
