"""The simulator of the match bench: its world keeps its promises whoever matches, its figures are right, and the bench
runs whole, small."""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dispatch.eta import pickup_eta_s
from dispatch.policy import Policy
from server.bench_match import PARTS
from server.matchbench import insertion, live, policies, synthetic
from server.matchbench.city import DECLINE_SHARE, FASTEST_S, SILENT_SHARE, SLOWEST_S, City
from server.matchbench.crowds import CELL_M, Crowds
from server.matchbench.matchers import Batch, BatchRematch, FirstComeNearest, SortedPairs
from server.matchbench.paired import difference, estimate, gini, ratio
from server.matchbench.policies import MATCHERS, figures_of
from server.matchbench.recorded import evening_of
from server.matchbench.rides import read_rides
from server.matchbench.world import ASKED, COMING, IDLE, NOBODY, Matcher, World
from tests.support import CHECKOUT

POLICY = Policy(swap_accepted=True, swap_saves_s=20.0)


def small(seed: int, requests: int = 90, vehicles: int = 9) -> City:
    """Scarce: about twice as many requests as can be served, in a tenth of the big city's area."""
    city = synthetic.city("small", seed, (requests * 10, vehicles), POLICY, share=0.1)
    smaller = {
        name: getattr(city, name) / 10**0.5 for name in ("pickup_m", "dropoff_m", "vehicles_m", "trip_s")
    }
    return replace(city, **smaller)


class Watched:
    """A matcher, and a look at the whole world before and after each of its turns."""

    def __init__(self, matcher: Matcher) -> None:
        self.matcher = matcher
        self.looks = 0

    def asked(self, world: World, job: int) -> None:
        self.matcher.asked(world, job)
        self.look(world)

    def tick(self, world: World) -> None:
        self.look(world)
        self.matcher.tick(world)
        self.look(world)

    def look(self, world: World) -> None:
        self.looks += 1
        assert not world.waiting & world.open and not world.open & world.coming
        offers = {int(d): j for j, d in enumerate(world.offered_to) if d != NOBODY}
        assert len(offers) == int((world.offered_to != NOBODY).sum()), "a driver with two offers"
        on_way = {int(world.driver_of[job]): job for job in world.coming}
        assert len(on_way) == len(world.coming), "a driver on his way to two"
        assert set(np.flatnonzero(world.vehicle_state == ASKED)) == set(offers)
        assert set(np.flatnonzero(world.vehicle_state == COMING)) == set(on_way)
        assert all(job in world.open or job in world.coming for job in offers.values())
        assert all(driver not in world.barred.get(job, ()) for driver, job in offers.items())


@pytest.mark.parametrize("name", MATCHERS)
def test_nobody_has_two_and_everything_ends(name: str) -> None:
    for seed in range(1, 4):
        watched, world = Watched(MATCHERS[name]()), World(city := small(seed), POLICY, 2.0)
        world.run(watched)
        served = ~np.isnan(world.wait_s)
        assert watched.looks > 100 and not world.waiting | world.open | world.coming, f"seed {seed}"
        assert (world.vehicle_state == IDLE).all(), f"seed {seed}"
        assert served.sum() + len(world.gone_s) == len(city.asked_s), f"seed {seed}: a request is nowhere"
        assert 0.2 < served.mean() < 0.95, f"seed {seed}: {served.mean()} is not scarce"
        assert (world.wait_s[served] <= city.limit_s + POLICY.offer_s + 0.01).all(), f"seed {seed}"
        assert (world.offers[served] >= 1).all() and (world.driver_of[served] != NOBODY).all()
        assert not world.swapped.any() or name == "batch_rematch"


def test_the_same_city_and_matcher_give_the_same_outcome() -> None:
    runs = []
    for _ in range(2):
        world = World(small(7), POLICY, 2.0)
        world.run(BatchRematch())
        runs.append(figures_of(world))
    assert runs[0] == runs[1]
    other = World(small(8), POLICY, 2.0)
    other.run(BatchRematch())
    assert figures_of(other) != runs[0]


def test_people_answer_as_often_and_as_fast_as_is_said() -> None:
    city = small(1)
    answers = [city.answer(driver, job) for driver in range(100) for job in range(100)]
    shares = {
        each: sum(answer == each for answer, _ in answers) / len(answers) for each in ("decline", "silent")
    }
    assert shares["decline"] == pytest.approx(DECLINE_SHARE, abs=0.01)
    assert shares["silent"] == pytest.approx(SILENT_SHARE, abs=0.01)
    delays_s = [delay_s for _, delay_s in answers]
    assert min(delays_s) >= FASTEST_S and max(delays_s) <= SLOWEST_S
    assert np.mean(delays_s) == pytest.approx((FASTEST_S + SLOWEST_S) / 2, abs=0.05)
    assert city.answer(3, 5) == small(1).answer(3, 5)


def one_line(asked_s: list[float], pickups_m: list[float], vehicles_m: list[float]) -> City:
    """All on one street, everybody accepts; seed found by looking."""
    n = len(asked_s)
    along = lambda each: np.array([[x, 0.0] for x in each])  # noqa: E731
    made = [
        City("line", seed, np.array(asked_s), along(pickups_m), along([x + 500.0 for x in pickups_m]),
             np.full(n, 100.0), np.full(n, 300.0), 900.0, along(vehicles_m))
        for seed in range(200)
    ]  # fmt: skip
    pairs = [(driver, job) for driver in range(len(vehicles_m)) for job in range(n)]
    return next(city for city in made if all(city.answer(*pair)[0] == "accept" for pair in pairs))


def test_a_ride_takes_its_answer_its_way_and_its_trip() -> None:
    city = one_line([10.0], [1_000.0], [0.0])
    world = World(city, POLICY, 2.0)
    world.run(FirstComeNearest())
    assert world.wait_s[0] == pytest.approx(city.answer(0, 0)[1] + pickup_eta_s(1_000.0, POLICY))
    assert world.approach_m[0] == pytest.approx(1_000.0)
    assert world.places_m(np.array([0]))[0].tolist() == [1_500.0, 0.0]


def test_a_takeover_frees_who_was_on_his_way() -> None:
    """Driver 0 is on his way from far; driver 1 comes free next door, takes over, and 0 is free where he is."""
    city = one_line([0.0, 1.0], [3_000.0, 2_600.0], [2_550.0, 0.0])
    world, policy = World(city, POLICY, 2.0), Policy(swap_accepted=True, plenty=0.0)

    class Script:
        def __init__(self) -> None:
            self.rematch, self.driven_m = BatchRematch(), 0.0

        def asked(self, world: World, job: int) -> None:
            world.offer(job, 1 - job)  # the far one to the first, the near one to the second

        def tick(self, world: World) -> None:
            self.rematch.tick(world)

    world.policy = policy
    world.run(Script())
    assert world.swapped.tolist() == [True, False] and world.driver_of.tolist() == [0, 0]
    assert world.offers.tolist() == [2, 1] and world.withdrawn.sum() == 0
    assert 0.0 < world.places_m(np.array([1]))[0, 0] < 3_000.0
    driven_m = world.places_m(np.array([1]))[0, 0]
    from_dropoff_m = abs(3_000.0 - 3_100.0)
    assert world.approach_m[0] == pytest.approx(driven_m + from_dropoff_m)


def test_more_is_made_of_the_same_city_by_the_batch() -> None:
    """Over a few draws of a small scarce city; `./dev bench match` measures the large ones."""
    found = {}
    for make in (FirstComeNearest, SortedPairs, Batch, BatchRematch):
        worlds = [World(small(seed, 120, 12), Policy(swap_accepted=True), 2.0) for seed in range(1, 4)]
        for world in worlds:
            world.run(make())
        found[make] = np.mean([figures_of(world)["wait_s"] for world in worlds])
    assert found[BatchRematch] < found[FirstComeNearest] and found[Batch] < found[FirstComeNearest], found


def test_crowds_are_counted_in_squares() -> None:
    city = small(3)
    crowds = Crowds(city, 1_500.0)
    chance = np.random.default_rng(3)
    others_m, places_m = chance.uniform(0, 4_400, (50, 2)), chance.uniform(0, 4_400, (20, 2))
    low_m = np.quantile(city.pickup_m, 0.01, axis=0)
    half = round(1_500.0 * np.sqrt(np.pi) / 2 / CELL_M)
    most = ((np.quantile(city.pickup_m, 0.99, axis=0) - low_m) // CELL_M).astype(int)
    cell: Callable[[np.ndarray], np.ndarray] = lambda m: np.clip((m - low_m) // CELL_M, 0, most)  # noqa: E731
    expected = [(np.abs(cell(others_m) - cell(place)) <= half).all(axis=1).sum() for place in places_m]
    near = crowds.near(places_m, others_m, others_m[:0])
    assert near.idle.tolist() == expected and not near.waiting.any() and not near.rate_per_s.any()
    crowds.look(float(city.asked_s[-1]), [0.0, float(city.asked_s[-1])])
    assert crowds.near(places_m, others_m, others_m).rate_per_s.sum() > 0.0 and 0.0 < crowds.lost_share < 0.1


def test_figures_are_what_books_say() -> None:
    assert estimate([1.0, 2.0, 3.0, 4.0]).rounded(3) == [2.5, 0.446, 4.554]  # t(3, .975) = 3.182
    assert difference([2.0, 3.0], [1.0, 2.0]).rounded(6) == [1.0, 1.0, 1.0]
    assert ratio([2.0, 4.0, 6.0], [4.0, 8.0, 12.0]).rounded(6) == [0.5, 0.5, 0.5]
    assert gini(np.array([5.0, 5.0, 5.0])) == pytest.approx(0.0)
    assert gini(np.array([0.0, 0.0, 0.0, 8.0])) == pytest.approx(0.75)
    assert gini(np.zeros(3)) == 0.0


def test_an_interval_holds_the_truth_nineteen_times_in_twenty() -> None:
    chance, hits, rounds = np.random.default_rng(1), {"mean": 0, "ratio": 0}, 1_000
    for _ in range(rounds):
        theirs = chance.normal(10.0, 1.0, 10)
        ours = 0.8 * theirs + chance.normal(0.0, 0.3, 10)
        got, share = estimate(theirs), ratio(ours, theirs)
        hits["mean"] += got.low <= 10.0 <= got.high
        hits["ratio"] += share.low <= 0.8 <= share.high
    assert all(0.92 <= count / rounds <= 0.975 for count in hits.values()), hits


def test_the_whole_bench_small() -> None:
    words = ["--seeds", "2", "--share", "0.02", "--days", "3", "--rounds", "2", "--json"]
    words += [f"--only={name}" for name in ("policies", "kdd18", "solve")]
    words += [f"--city={name}" for name in ("scarce", "dense")]
    done = match(*words)
    assert done.returncode in (0, 1), done.stderr
    line = json.loads(done.stdout)
    assert set(line) == {"policies", "kdd18", "solve"}
    assert set(line["policies"]) == {"scarce", "dense"} and set(line["policies"]["scarce"]) == set(MATCHERS)
    assert set(line["kdd18"]) == {"25", "50", "75"}
    assert done.returncode == (1 if "NOT HELD" in done.stderr else 0)


def test_a_few_draws_are_shown_and_not_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(policies.LIMITS, "scarce", policies.Limits(wait=0.0))  # which nobody holds
    drawn = {"share": 0.02, "city": ["scarce"], "traces": None, "requests": None, "rides": None}
    for seeds, judged in ((1, False), (policies.JUDGED_FROM, True)):
        part = policies.measure(argparse.Namespace(seeds=seeds, **drawn), lambda _: None)
        assert bool(part.wrong) == judged
        assert any("not judged" in line for line in part.lines) != judged


def match(*words: str, **env: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DISPATCH_")}
    argv = [sys.executable, "-m", "server.bench_match", *words]
    return subprocess.run(
        argv, cwd=CHECKOUT, env=kept | env, capture_output=True, text=True, check=False, timeout=120
    )


@pytest.mark.parametrize("name", ["traces", "requests", "rides", "day"])
def test_a_file_that_is_named_and_not_there_is_an_error(tmp_path: Path, name: str) -> None:
    done = match("--only=demand", f"--{name}={tmp_path / 'gone.csv.gz'}", "--json")
    assert done.returncode == 2 and not done.stdout
    assert f"argument --{name}: there is no file {tmp_path}/gone.csv.gz: name another" in done.stderr


def files(tmp_path: Path, **named: Path) -> argparse.Namespace:
    """Of which those that are not named are not there, as where the recordings are not."""
    gone = {name: tmp_path / f"no {name}" for name in ("traces", "requests", "rides", "day")}
    return argparse.Namespace(**{**gone, **named}, city=["san_francisco", "new_york"], seeds=1, share=1.0)


@pytest.mark.parametrize("part", ["policies", "eta_mape", "demand", "insertion"])
def test_recordings_that_are_not_there_are_left_out_and_named(tmp_path: Path, part: str) -> None:
    found = PARTS[part](files(tmp_path), lambda text: None)
    assert not found.figures.get(part) and not found.wrong
    assert "left out: " in found.lines[0] and "no requests" in found.lines[0]


def days(path: Path, count: int, an_hour: int = 4) -> Path:
    """Rides of two hundred metres, by chance over day and night."""
    chance, hours = random.Random(1), count * 24
    columns = "pickup_ts,duration_s,pickup_lat,pickup_lon,dropoff_lat,dropoff_lon"
    asked_s = sorted(3_600 * (480_000 + chance.uniform(0, hours)) for _ in range(hours * an_hour))
    rows = [f"{each_s:.0f},{chance.randint(90, 150)},37.77,-122.41,37.772,-122.41" for each_s in asked_s]
    with gzip.open(path, "wt") as out:
        out.write("\n".join([columns, *rows]) + "\n")
    return path


def test_other_days_are_measured_where_they_are_named(tmp_path: Path) -> None:
    """Not those that are in ../shared/data, whether these are there or not."""
    many = files(tmp_path, requests=days(tmp_path / "many.csv.gz", 10))
    demand = PARTS["demand"](many, lambda text: None).figures["demand"]
    assert demand["cells"] == 1 and 150 < demand["requests"] < 230
    eta = PARTS["eta_mape"](many, lambda text: None).figures["eta_mape"]
    learned, predicted = (eta["san_francisco"][name] for name in ("learned", "predicted"))
    assert list(eta) == ["san_francisco"] and learned + predicted == 960 and 700 < learned < 840
    few = files(tmp_path, requests=days(tmp_path / "few.csv.gz", 3))
    for part in ("demand", "eta_mape"):
        found = PARTS[part](few, lambda text: None)
        assert not found.figures and "few.csv.gz" in found.lines[0] and "name more days" in found.lines[0]


def test_parcels_are_of_the_evening_of_the_traces(tmp_path: Path) -> None:
    traces = tmp_path / "traces.csv.gz"
    with gzip.open(traces, "wt") as out:
        out.write(f"ts,vehicle_id,lat,lon,occupied\n{3_600 * 480_000},c1,37.77,-122.41,0\n")
    requests = days(tmp_path / "requests.csv.gz", 1, an_hour=150)
    shown = insertion.evening(read_rides(requests), 1, evening_of(traces))
    assert len(shown.known_s) == insertion.PARCELS
    few = files(tmp_path, requests=days(tmp_path / "few.csv.gz", 1), traces=traces)
    found = insertion.measure(few, lambda text: None)
    assert not found.figures and " rides, 200 are needed: name traces and requests" in found.lines[0]


def test_traces_and_requests_of_different_days_are_an_error(tmp_path: Path) -> None:
    traces = tmp_path / "traces.csv.gz"
    with gzip.open(traces, "wt") as out:
        out.write("ts,vehicle_id,lat,lon,occupied\n1212145200,c1,37.77,-122.41,0\n")
    requests = days(tmp_path / "requests.csv.gz", 1)
    done = match(
        "--only=policies", "--city=san_francisco", f"--traces={traces}", f"--requests={requests}", "--json"
    )
    assert done.returncode == 2 and not done.stdout
    assert "no ride on the evening of traces.csv.gz: name both of one day" in done.stderr


def test_insertion_that_is_dear_or_slow_is_not_held() -> None:
    most = {"gap": insertion.GAP_MOST, "ms_a_parcel": insertion.MS_MOST}
    assert insertion.wrong_of(most) == []
    (dear,) = insertion.wrong_of(most | {"gap": 0.101})
    assert "10.1% more than the oracle's, 10% is the most" in dear
    (slow,) = insertion.wrong_of(most | {"ms_a_parcel": 5.01})
    assert "5.01 ms, 5 is the most" in slow


def test_the_live_parts_say_where_they_have_their_stack_from() -> None:
    done = match("--only=offers", "--only=index", "--json")
    assert done.returncode == 1 and json.loads(done.stdout) == {}
    for module in ("loadtest.offers", "server.bench_index"):
        assert f"{module} was not run: DISPATCH_URL is not set; `./dev bench match` sets it" in done.stderr


def test_what_a_live_bench_says_is_taken_over() -> None:
    said = "offer_ms  3\nNOT HELD: p99 is 50 ms, 40 are the most\n"
    part = live.part_of("b", 1, '{"offer_ms":{"p50":3},"rate":50}\n', said, ("offer_ms",))
    assert part.figures == {"offer_ms": {"p50": 3}} and part.lines == ["offer_ms  3"]
    assert part.wrong == ["p99 is 50 ms, 40 are the most"]
    broken = live.part_of("b", 2, "", "Traceback\nb: no such host\n", ("offer_ms",))
    assert not broken.figures and broken.wrong == ["b ended with code 2: b: no such host"]
