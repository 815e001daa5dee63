"""The learned ETA: what it is at first, what it learns, forgets and keeps, and that searches stay exact."""

import math
import random
from typing import Any

import h3.api.basic_int as h3
import msgspec
import numpy as np
import pytest

from dispatch import etatable
from dispatch.cells import NearestSearch, cell_of, distance_m
from dispatch.etatable import MAX_CELLS, RESOLUTION, Belief, EtaTable, Learned, distances_m
from dispatch.policy import Policy
from server.matchbench.eta import BOUND, best_pace, learn, mape
from server.matchbench.rides import NEW_YORK_DAY, plausible, read_rides
from tests.support import shared_data

POLICY = Policy(cruise_speed_mps=7.5, detour=1.5, top_speed_mps=50.0)
HERE = (50.0, 36.2)
MONDAY_S = 1_700_438_400.0  # 2023-11-20 00:00 UTC
HOUR_S, DAY_S = 3_600.0, 86_400.0


def at(north_m: float, east_m: float) -> tuple[float, float]:
    return HERE[0] + north_m / 111_195.0, HERE[1] + east_m / (111_195.0 * math.cos(math.radians(HERE[0])))


def one(
    table: EtaTable, origin: tuple[float, float], destination: tuple[float, float], when_s: float
) -> float:
    return float(table.seconds(np.array([origin]), np.array([destination]), when_s)[0, 0])


def drives(chance: random.Random, count: int, noise: float) -> list[tuple[Any, Any, float, float]]:
    """A city with a slow centre, slow mornings and a root law of distance, over two weeks."""
    found = []
    for _ in range(count):
        origin, destination = (at(*(chance.uniform(-6e3, 6e3) for _ in "ne")) for _ in "od")
        when_s = MONDAY_S + chance.uniform(0, 14 * DAY_S)
        found.append(
            (
                origin,
                destination,
                when_s,
                truth(origin, destination, when_s) * math.exp(chance.gauss(0, noise)),
            )
        )
    return sorted(found, key=lambda drive: drive[2])


def truth(origin: tuple[float, float], destination: tuple[float, float], when_s: float) -> float:
    seconds = 12.0 * distance_m(*origin, *destination) ** 0.5
    for place in (origin, destination):
        seconds *= 1.25 if distance_m(*place, *HERE) < 2_000.0 else 0.95
    return seconds * (1.3 if 7 <= when_s // HOUR_S % 24 < 10 else 1.0)


def errors(table: EtaTable, asked: list[tuple[Any, Any, float, float]]) -> list[float]:
    return [abs(one(table, o, d, when_s) / truth(o, d, when_s) - 1.0) for o, d, when_s, _ in asked]


def test_before_it_has_learned_it_is_the_constant_speed() -> None:
    table = EtaTable(POLICY)
    for metres in (0.0, 1.0, 99.0, 101.0, 1_234.0, 70_000.0, 200_000.0):
        there = at(metres, 0.0)
        straight_m = distance_m(*HERE, *there)
        assert one(table, HERE, there, MONDAY_S) == pytest.approx(straight_m * 1.5 / 7.5, rel=1e-6, abs=1e-3)


def test_it_learns_distance_place_and_hour_and_its_p80_holds() -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    table = EtaTable(POLICY)
    for drive in drives(chance, 12_000, noise=0.3):
        table.learn(*drive)
    fresh = drives(chance, 2_000, noise=0.3)
    wrong = errors(table, fresh)
    assert np.mean(wrong) < 0.09 and np.mean(errors(EtaTable(POLICY), fresh)) > 0.3
    origins, destinations = (np.array([drive[n] for drive in fresh]) for n in (0, 1))
    when_s, real_s = (np.array([drive[n] for drive in fresh]) for n in (2, 3))
    median_s = table.legs(origins, destinations, when_s)
    late_s = median_s * table.late_factor(distances_m(origins, destinations))
    assert 0.42 < np.mean(real_s <= median_s) < 0.58
    assert 0.73 < np.mean(real_s <= late_s) < 0.87
    assert table.learned.trips > 11_900  # a few are too short to teach anything


def test_an_hour_that_nothing_is_known_of_is_as_those_beside_it_and_then_itself() -> None:
    table = EtaTable(POLICY)
    o, d, eight_s = at(3e3, 3e3), at(-3e3, 3e3), MONDAY_S + 8 * HOUR_S
    for n in range(300):
        for away_h, pace in ((-5, 1.0), (-1, 1.5), (1, 1.5), (5, 1.0)):
            table.learn(o, d, eight_s + away_h * HOUR_S + n, 900.0 * pace)
    assert one(table, o, d, eight_s) == pytest.approx(one(table, o, d, eight_s - HOUR_S), rel=0.01)
    assert one(table, o, d, eight_s + DAY_S - HOUR_S) == pytest.approx(one(table, o, d, eight_s), rel=0.01)
    assert one(table, o, d, eight_s + 12 * HOUR_S) < 0.9 * one(table, o, d, eight_s)
    for n in range(300):
        table.learn(o, d, eight_s + DAY_S + n, 900.0)
    assert one(table, o, d, eight_s + DAY_S) < 0.85 * one(table, o, d, eight_s - HOUR_S)


def test_what_real_drives_took_stays_when_the_policys_pace_changes() -> None:
    table, other = EtaTable(POLICY), msgspec.structs.replace(POLICY, cruise_speed_mps=15.0)
    for drive in drives(random.Random(8), 12_000, noise=0.2):
        table.learn(*drive)
    again = EtaTable.loads(other, table.dumps())
    near, far = at(1_500.0, 1_500.0), at(40_000.0, 0.0)
    assert one(again, near, at(-1_500.0, 0.0), MONDAY_S) == pytest.approx(
        one(table, near, at(-1_500.0, 0.0), MONDAY_S), rel=0.02
    )
    assert one(again, HERE, far, MONDAY_S) < 0.6 * one(table, HERE, far, MONDAY_S)  # of that nothing is known
    back = EtaTable.loads(POLICY, again.dumps())
    assert one(back, HERE, far, MONDAY_S) == pytest.approx(one(table, HERE, far, MONDAY_S), rel=0.02)


def test_a_place_thrice_as_slow_is_told_of_by_what_is_read_of_it() -> None:
    """Cells are read up to a factor of two: what is more is no secret of theirs, or the p80 would not hold."""
    table, chance = EtaTable(POLICY), random.Random(9)
    took = [600.0 * math.exp(chance.gauss(0, 0.2)) for _ in range(3_000)]
    for n, seconds in enumerate(took):
        table.learn(at(4e3, 0.0), at(7e3, 0.0), MONDAY_S + n, 200.0 * seconds / 600.0)
        table.learn(at(-3e3, 0.0), at(-6e3, 0.0), MONDAY_S + n, seconds * 5.0)
    median_s = one(table, at(-3e3, 0.0), at(-6e3, 0.0), MONDAY_S)
    late = float(table.late_factor(np.array([3_000.0]))[0])
    assert max(abs(belief.mean) for belief in table.learned.origins.values()) <= math.log(2.0)
    assert np.mean([seconds * 5.0 <= median_s * late for seconds in took]) > 0.5


def test_a_city_that_changes_is_followed() -> None:
    table, chance = EtaTable(POLICY), random.Random(1)
    for drive in drives(chance, 4_000, noise=0.2):
        table.learn(*drive)
    for origin, destination, when_s, seconds in drives(chance, 4_000, noise=0.2):
        table.learn(origin, destination, when_s + 200 * DAY_S, seconds * 1.5)
    assert one(table, at(3e3, 3e3), at(-3e3, 3e3), MONDAY_S) == pytest.approx(
        1.5 * truth(at(3e3, 3e3), at(-3e3, 3e3), MONDAY_S), rel=0.15
    )


@pytest.mark.parametrize(
    ("metres", "seconds"),
    [(50.0, 60.0), (900.0, 19.0), (1_001.0, 20.0), (5e3, -1.0), (5e3, math.nan), (5e3, 90_000.0), (5e3, math.inf)],
)  # fmt: skip
def test_what_teaches_nothing_changes_nothing_but_its_count(metres: float, seconds: float) -> None:
    table = EtaTable(POLICY)
    before = msgspec.structs.replace(msgspec.msgpack.decode(table.dumps(), type=Learned), refused=1)
    assert not table.learn(HERE, at(metres, 0.0), MONDAY_S, seconds)
    assert table.learned == before


def test_one_lost_taxi_teaches_little() -> None:
    table = EtaTable(POLICY)
    for drive in drives(random.Random(6), 4_000, noise=0.2):
        table.learn(*drive)
    asked = (at(2e3, 0.0), at(-2e3, 0.0), MONDAY_S + 14 * DAY_S)
    before_s = one(table, *asked)
    assert table.learn(*asked, 80_000.0)
    assert before_s < one(table, *asked) < 1.2 * before_s


def test_cells_are_bounded_and_the_best_known_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(etatable, "MAX_CELLS", 40)
    table, chance = EtaTable(POLICY), random.Random(2)
    for n in range(2_000):
        origin = HERE if n % 2 else at(*(chance.uniform(-20e3, 20e3) for _ in "ne"))
        table.learn(origin, at(30e3, chance.uniform(-20e3, 20e3)), MONDAY_S + 60.0 * n, 3_000.0)
        assert len(table.learned.origins) <= 40 and len(table.learned.destinations) <= 40
    assert h3.latlng_to_cell(*HERE, RESOLUTION) in table.learned.origins


def random_table(chance: random.Random) -> EtaTable:
    """Beliefs of any size, as no real traffic would teach them: what is promised must hold all the same."""
    learned = Learned(middle=chance.gauss(0, 0.2))
    for belief in (*learned.curve, *learned.hours):
        belief.mean = chance.gauss(0, 1.0)
    for cells in (learned.origins, learned.destinations):
        for cell in h3.grid_disk(h3.latlng_to_cell(*HERE, RESOLUTION), 6):
            if chance.random() < 0.7:
                cells[cell] = Belief(chance.gauss(0, 0.5), 0.01, MONDAY_S)
    return EtaTable(POLICY, learned)


def test_from_one_cell_the_nearer_is_never_later() -> None:
    for seed in range(50):
        table = random_table(random.Random(seed))
        straight_m = np.geomspace(1.0, 500e3, 2_000)
        log_s = table._curve(straight_m)
        assert (np.diff(log_s) >= -1e-12).all(), seed
        seconds = np.maximum(np.exp(log_s), straight_m / 50.0)
        assert (np.diff(seconds) >= -1e-9).all(), seed


@pytest.mark.parametrize("seed", range(20))
def test_nearest_by_eta_is_exact_within_reach(seed: int) -> None:
    """As the module says: K by distance, the K-th ETA, all within its reach; against every driver there is."""
    chance = random.Random(seed)
    table, want = random_table(chance), 5
    drivers = {f"d{n}": at(*(chance.gauss(0, 3e3) for _ in "ne")) for n in range(chance.choice([3, 40, 400]))}
    by_cell: dict[int, list[str]] = {}
    for name, place in drivers.items():
        by_cell.setdefault(cell_of(*place), []).append(name)

    def search(count: int, radius_m: float) -> list[str]:
        looking: NearestSearch[None] = NearestSearch(*HERE, count, radius_m)
        while (cells := looking.ask()) is not None:
            looking.feed((name, *drivers[name], None) for cell in cells for name in by_cell.get(cell, ()))
        return [near.driver_id for near in looking.best()]

    def ranked(names: list[str]) -> list[tuple[float, str]]:
        return sorted((one(table, drivers[name], HERE, MONDAY_S), name) for name in names)[:want]

    first = ranked(search(want, 12_000.0))
    within_s = first[-1][0] if len(first) == want else math.inf
    reach_m = min(12_000.0, table.reach_m(within_s, HERE, MONDAY_S))
    inside = [name for name, place in drivers.items() if distance_m(*place, *HERE) <= 12_000.0]
    assert ranked(search(len(drivers), max(reach_m, 1.0))) == ranked(inside)


def test_reach_at_its_ends() -> None:
    table = EtaTable(POLICY)
    assert table.reach_m(0.0, HERE, MONDAY_S) == table.reach_m(-1.0, HERE, MONDAY_S) == 0.0
    assert table.reach_m(1e-3, HERE, MONDAY_S) == pytest.approx(5e-3)
    assert table.reach_m(100.0, HERE, MONDAY_S) == pytest.approx(500.0)
    assert table.reach_m(math.inf, HERE, MONDAY_S) == math.inf
    assert table.reach_m(1e6, HERE, MONDAY_S) == pytest.approx(5e6)


def test_a_kept_table_is_the_same_table() -> None:
    table = random_table(random.Random(3))
    for drive in drives(random.Random(4), 200, noise=0.3):
        table.learn(*drive)
    again = EtaTable.loads(POLICY, table.dumps())
    assert again.learned == table.learned and again.dumps() == table.dumps()
    assert one(again, HERE, at(1e3, 2e3), MONDAY_S) == one(table, HERE, at(1e3, 2e3), MONDAY_S)


def _with(**changes: Any) -> bytes:
    return msgspec.msgpack.encode(msgspec.to_builtins(Learned()) | changes)


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"nonsense",
        msgspec.msgpack.encode([1]),
        _with(format=2),
        _with(curve=[]),
        _with(late=[0.1]),
        _with(extra=1),
        _with(origins={n: [0.0, 0.1, 0.0] for n in range(MAX_CELLS + 1)}),
        _with(middle=math.nan),
        _with(hours=[[math.inf, 1.0, 0.0]] * 168),
        _with(curve=[[0.0, -1.0, 0.0]] * 20),
    ],
)
def test_another_document_is_refused(document: bytes) -> None:
    with pytest.raises(ValueError, match="table of ETAs"):
        EtaTable.loads(POLICY, document)


def test_arrays_say_what_one_by_one_says() -> None:
    chance = random.Random(5)
    table = random_table(chance)
    places = np.array([at(*(chance.uniform(-9e3, 9e3) for _ in "ne")) for _ in range(12)])
    seconds, straight_m = (
        table.seconds(places, places[:5], MONDAY_S),
        distances_m(places[:, None], places[None, :5]),
    )
    assert seconds.shape == straight_m.shape == (12, 5)
    for i, j in np.ndindex(12, 5):
        assert straight_m[i, j] == pytest.approx(distance_m(*places[i], *places[j]), abs=1e-6)
        assert seconds[i, j] == pytest.approx(one(table, tuple(places[i]), tuple(places[j]), MONDAY_S))
        assert seconds[i, j] >= straight_m[i, j] / 50.0 - 1e-9
    assert table.legs(places[:5], places[:5], np.full(5, MONDAY_S)) == pytest.approx(
        np.diagonal(seconds), abs=1e-9
    )
    assert table.seconds(places[:0], places, MONDAY_S).shape == (0, 12)


def test_across_the_antimeridian_is_near() -> None:
    assert one(EtaTable(POLICY), (-17.0, 179.999), (-17.0, -179.999), MONDAY_S) == pytest.approx(
        42.5, rel=0.01
    )


def test_real_rides_of_hours_it_did_not_learn_from() -> None:
    """New York; `./dev bench match --only eta_mape` has the other cities and days."""
    rides = read_rides(shared_data(NEW_YORK_DAY))
    rides = rides.where(plausible(rides))
    even = rides.pickup_s // 900 % 2 == 0
    seen, unseen = rides.where(even), rides.where(~even)
    table = EtaTable(Policy())
    learn(table, seen)
    constant_s = distances_m(unseen.pickup_deg, unseen.dropoff_deg) * best_pace(
        distances_m(seen.pickup_deg, seen.dropoff_deg), seen.duration_s
    )
    learned_s = table.legs(unseen.pickup_deg, unseen.dropoff_deg, unseen.pickup_s)
    assert mape(learned_s, unseen.duration_s) < BOUND * mape(constant_s, unseen.duration_s)


def test_one_drive_without_arrays_is_the_same_drive() -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    table = EtaTable(Policy())
    for n in range(300):
        start = 37.75 + chance.uniform(-0.05, 0.05), -122.42 + chance.uniform(-0.05, 0.05)
        end = start[0] + chance.uniform(-0.04, 0.04), start[1] + chance.uniform(-0.04, 0.04)
        if n % 3:
            table.learn(start, end, 1_700_000_000.0 + 600.0 * n, chance.uniform(60.0, 2_000.0))
        for far in (1.0, 0.0, 1e-6, 30.0):
            there = start[0] + (end[0] - start[0]) * far, end[1]
            when_s = 1_700_000_000.0 + chance.uniform(0.0, 1e6)
            drive_s = table.drive_s(distance_m(*start, *there), start, there, when_s)
            expected = table.seconds(np.array([start]), np.array([there]), when_s)[0, 0]
            assert drive_s == pytest.approx(expected, rel=1e-6)
