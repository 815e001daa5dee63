"""The GPS filter on recorded cabs: what is put among their fixes is found, each kind by name, and nothing else is."""

from __future__ import annotations

import csv
import gzip
import math
import random
from collections import Counter, defaultdict
from typing import Any

import pytest
from prometheus_client import REGISTRY

from dispatch.cells import distance_m
from dispatch.policy import Policy
from dispatch.track import Track, Verdict
from loadtest.traces import first_time_s, read_traces, window_s
from tests.nodekit import HERE, ONLINE, node
from tests.support import shared_data, wait_until

# drivers whom another test has left in the same place would be asked for the rides of this one
pytestmark = pytest.mark.usefixtures("redis")

POLICY = Policy()
Fix = tuple[int, float, float]
BELIEVED = {Verdict.KEPT, Verdict.JITTER}


def anomalous() -> list[list[Fix]]:
    """Two ids that are each two cabs: every second fix is a teleport."""
    traces: dict[str, list[Fix]] = defaultdict(list)
    with gzip.open(shared_data("traces_sf_anomalous_dev.csv.gz"), "rt") as lines:
        for row in csv.DictReader(lines):
            traces[row["vehicle_id"]].append((int(row["ts"]) * 1_000, float(row["lat"]), float(row["lon"])))
    return list(traces.values())


def one_cab(fixes: list[Fix]) -> list[Fix]:
    """Of fixes of two cabs those that one could have driven, at 3 s from each other at least."""
    found = fixes[:1]
    for fix in fixes[1:]:
        at_ms, lat, lng = found[-1]
        gap_s = (fix[0] - at_ms) / 1_000.0
        if gap_s >= 3.0 and distance_m(lat, lng, fix[1], fix[2]) < POLICY.top_speed_mps * gap_s:
            found.append(fix)
    return found


class Phone:
    """Sends a cab's fixes and counts what became of them."""

    def __init__(self) -> None:
        self.track, self.counts = Track(), Counter[Verdict]()

    def send(self, fix: Fix, now_ms: int, accuracy_m: float | None = None) -> Verdict:
        at_ms, lat, lng = fix
        verdict = self.track.judge(at_ms, lat, lng, accuracy_m, now_ms=now_ms, policy=POLICY)
        self.counts[verdict] += 1
        return verdict


def spoiled(kind: Verdict, fix: Fix, chance: random.Random, wrong_s: float) -> tuple[Fix, int, float | None]:
    """What a phone sends a second after a good fix, to be judged as `kind`: the fix, when it comes, its accuracy."""
    at_ms, lat, lng = fix
    now_ms = at_ms + 1_000
    if kind is Verdict.TELEPORT:
        turn, far_deg = chance.uniform(0.0, 2 * math.pi), chance.uniform(0.1, 0.5)
        return (now_ms, lat + far_deg * math.cos(turn), lng + far_deg * math.sin(turn)), now_ms, None
    if kind is Verdict.LATE:
        return (at_ms - chance.choice([0, 0, 1_000, 20_000]), lat, lng), now_ms, None
    if kind is Verdict.STALE:
        return (now_ms - round(1_000 * (POLICY.stale_fix_s + wrong_s)), lat, lng), now_ms, None
    if kind is Verdict.FUTURE:
        return (now_ms + round(1_000 * (5.0 + wrong_s)), lat, lng), now_ms, None
    if kind is Verdict.INACCURATE:
        return (now_ms, lat, lng), now_ms, chance.choice([-1.0, 200.1, 5_000.0])
    return (now_ms, lat + chance.uniform(-1e-5, 1e-5), lng), now_ms, 5.0  # a metre, standing


def test_each_kind_of_bad_fix_is_found_among_real_ones_and_no_good_one_is_lost() -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    for fixes in anomalous():
        phone, sent, good = Phone(), Counter[Verdict](), one_cab(fixes)
        assert len(good) > 0.4 * len(fixes)
        for n, fix in enumerate(good):
            verdict = phone.send(fix, fix[0])
            assert verdict in BELIEVED, (n, verdict)
            kind = chance.choice(list(Verdict))
            if kind is Verdict.KEPT or (kind is Verdict.JITTER and verdict is not Verdict.KEPT):
                continue
            # each time another error: the same twice is a wrong clock, which is believed
            bad, now_ms, accuracy_m = spoiled(kind, fix, chance, wrong_s=3.0 + 5.0 * (n % 50))
            assert phone.send(bad, now_ms, accuracy_m) is kind, n
            sent[kind] += 1
        refused = set(Verdict) - BELIEVED
        assert set(sent) == refused | {Verdict.JITTER}
        assert {kind: phone.counts[kind] for kind in refused} == {kind: sent[kind] for kind in refused}
        assert sum(phone.counts[kind] for kind in BELIEVED) == len(good) + sent[Verdict.JITTER]


def test_late_doubled_and_shuffled_fixes_of_real_cabs() -> None:
    """A bad network: delays of up to 20 s, some of minutes, some fixes twice. By the definition of each verdict."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    for fixes in anomalous():
        arrivals = []
        for fix in fixes:
            for _ in range(1 + (chance.random() < 0.05)):
                delay_s = chance.uniform(60.0, 900.0) if chance.random() < 0.05 else chance.uniform(0.0, 20.0)
                arrivals.append((fix[0] + round(1_000 * delay_s), fix))
        phone, believed_ms, clocks = Phone(), -1, 0
        for now_ms, fix in sorted(arrivals):
            old = now_ms - fix[0] > 1_000 * POLICY.stale_fix_s
            verdict = phone.send(fix, now_ms)
            if verdict in BELIEVED:
                assert phone.track.at_ms > believed_ms
                clocks += old
                believed_ms = phone.track.at_ms
            elif not old:
                assert verdict in {Verdict.LATE, Verdict.TELEPORT}
                assert (verdict is Verdict.LATE) or fix[0] > believed_ms
            assert verdict is not Verdict.FUTURE
        assert sum(phone.counts.values()) == len(arrivals)
        assert min(phone.counts[kind] for kind in (Verdict.LATE, Verdict.STALE, Verdict.TELEPORT)) > 100
        assert clocks < 0.01 * len(arrivals)  # two delays of minutes that agree look like a wrong clock


def test_cabs_that_drive_well_are_believed() -> None:
    path = shared_data("traces_sf_dev_2008-05-30fri.csv.gz")
    counts = Counter[Verdict]()
    for trace in read_traces(path, *window_s(first_time_s(path), "18:00", "19:00")):
        phone = Phone()
        for at_s, point in zip(trace.ts.tolist(), trace.points, strict=True):
            phone.send((round(at_s * 1_000), point.latitude, point.longitude), round(at_s * 1_000))
        counts += phone.counts
    assert set(counts) <= {*BELIEVED, Verdict.TELEPORT, Verdict.LATE}
    assert counts[Verdict.TELEPORT] + counts[Verdict.LATE] < 0.005 * sum(counts.values())


@pytest.mark.parametrize("kind", [Verdict.TELEPORT, Verdict.LATE, Verdict.INACCURATE, Verdict.JITTER])
async def test_what_became_of_a_fix_is_counted_by_kind(redis: Any, redis_url: str, kind: Verdict) -> None:
    def counted() -> dict[str, float]:
        names = [verdict.name.lower() for verdict in Verdict]
        return {
            name: REGISTRY.get_sample_value("dispatch_fixes_total", {"outcome": name}) or 0.0
            for name in names
        }

    async with node(redis_url) as n:
        driver, _ = n.arrive("driver")
        assert (await n.say(driver, "go_online", ONLINE))["ok"]
        await wait_until(lambda: n.indexed(driver.user_id))
        before = counted()
        at_ms = await n.log.now_ms() + 100  # after going online, which was a fix as well
        good = (at_ms, HERE["latitude"] + 0.0005, HERE["longitude"])
        (bad_ms, lat, lng), _, accuracy_m = spoiled(kind, good, random.Random(1), 0.0)
        told = {"latitude": good[1], "longitude": good[2], "timestamp": at_ms}
        assert (await n.say(driver, "location_update", told))["kept"]
        fix = {"latitude": lat, "longitude": lng, "timestamp": bad_ms, "accuracy": accuracy_m or 5.0}
        answer = await n.say(driver, "location_update", fix)
        assert answer["kept"] is (kind in BELIEVED)
        after = counted()
    changed = {name: after[name] - before[name] for name in after if after[name] != before[name]}
    assert changed == {"kept": 1.0, kind.name.lower(): 1.0}
