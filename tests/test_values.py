"""Values of places in time: the mean of what moves led to, and what they are good for."""

import argparse

import numpy as np
import pytest

from server.matchbench import kdd18
from server.matchbench.values import Moves, gains, learn

GAMMA = 0.9


def moves(*rows: tuple[int, int, int, int, float]) -> Moves:
    slot, cell, next_slot, next_cell, reward = zip(*rows, strict=True)
    return Moves(
        *(np.array(each) for each in (slot, cell, next_slot, next_cell)), np.array(reward, dtype=float)
    )


def test_a_value_is_the_mean_of_its_moves_targets_from_the_end_backwards() -> None:
    seen = moves(
        (2, 1, 3, 1, 0.0),  # waits until the day is over
        (2, 1, 5, 0, 1.0),  # a job beyond its end: earned over three slots
        (1, 0, 2, 1, 0.0),
        (0, 0, 2, 1, 1.0),
        (0, 0, 1, 0, 0.0),
    )
    values = learn(seen, slots=3, cells=2, discount=GAMMA)
    job = (1 + GAMMA + GAMMA**2) / 3
    assert values[2].tolist() == pytest.approx([0.0, job / 2])
    assert values[1].tolist() == pytest.approx([GAMMA * job / 2, 0.0])
    assert values[0, 0] == pytest.approx(((1 + GAMMA) / 2 + GAMMA**2 * job / 2 + GAMMA * values[1, 0]) / 2)
    assert values[3].tolist() == [0.0, 0.0]
    # of moves from the same place, the gains are 0 on average: that is what its value means
    assert gains(values, seen, GAMMA)[3:].mean() == pytest.approx(0.0)


def test_without_a_discount_values_are_sums() -> None:
    seen = moves((0, 0, 2, 1, 3.0), (2, 1, 3, 1, 2.0))
    assert learn(seen, 3, 2, 1.0)[0, 0] == 5.0


def test_the_order_of_moves_does_not_matter() -> None:
    chance = np.random.default_rng(1)
    slot = chance.integers(0, 6, 400)
    seen = Moves(
        slot,
        chance.integers(0, 9, 400),
        slot + chance.integers(1, 4, 400),
        chance.integers(0, 9, 400),
        chance.random(400),
    )
    mixed = chance.permutation(400)
    shuffled = Moves(*(each[mixed] for each in seen))
    assert np.allclose(learn(seen, 6, 9, GAMMA), learn(shuffled, 6, 9, GAMMA))


def test_in_the_toy_city_values_serve_more_than_distance() -> None:
    """A tenth of the published days; `./dev bench match --only kdd18` plays all of them."""
    part = kdd18.measure(argparse.Namespace(days=50), lambda text: None)
    for drivers, told in part.figures["kdd18"].items():
        low = told["gain"][1]
        assert low > 0.0, (drivers, told)
        assert told["by_values"][0] >= told["published"][1] - 0.03, (drivers, told)
