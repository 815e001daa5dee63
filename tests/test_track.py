"""The GPS filter: what is refused and why, that nobody is locked out, and real traces that two cabs share."""

import csv
import gzip
from collections import Counter, defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatch.cells import distance_m
from dispatch.policy import Policy
from dispatch.track import Track, Verdict, judge_past
from tests.support import shared_data

POLICY = Policy(stale_fix_s=30.0, top_speed_mps=50.0, jitter_m=3.0, jitter_s=10.0, worst_accuracy_m=200.0)
NOW_MS = 1_700_000_000_000
KHARKIV = (50.0, 36.2)
NORTH_100_M = 100.0 / 111_195.0  # degrees of latitude

KEPT, JITTER, LATE, STALE = Verdict.KEPT, Verdict.JITTER, Verdict.LATE, Verdict.STALE
FUTURE, INACCURATE, TELEPORT = Verdict.FUTURE, Verdict.INACCURATE, Verdict.TELEPORT


class Phone:
    """Sends fixes to one track: `behind_s` is how long before the server's now the phone says it took them."""

    def __init__(self) -> None:
        self.track = Track()

    def send(
        self,
        at_s: float,
        north_m: float = 0.0,
        *,
        behind_s: float | None = 0.0,
        accuracy_m: float | None = None,
    ) -> Verdict:
        now_ms = NOW_MS + round(at_s * 1_000)
        fix_ms = None if behind_s is None else now_ms - round(behind_s * 1_000)
        lat_deg = KHARKIV[0] + north_m / 100.0 * NORTH_100_M
        return self.track.judge(fix_ms, lat_deg, KHARKIV[1], accuracy_m, now_ms=now_ms, policy=POLICY)


def test_a_drive_is_kept() -> None:
    phone = Phone()
    assert [phone.send(3.0 * step, 40.0 * step) for step in range(20)] == [KEPT] * 20
    assert phone.track.at_ms == NOW_MS + 57_000
    assert phone.track.lat_deg == pytest.approx(KHARKIV[0] + 7.6 * NORTH_100_M)


def test_a_refused_fix_changes_nothing() -> None:
    phone = Phone()
    phone.send(0.0)
    before = (phone.track.at_ms, phone.track.lat_deg, phone.track.lng_deg)
    assert phone.send(1.0, accuracy_m=999.0) is INACCURATE
    assert phone.send(2.0, 9_000.0) is TELEPORT
    assert phone.send(3.0, behind_s=3.0) is LATE
    assert phone.send(4.0, behind_s=500.0) is STALE
    assert phone.send(5.0, behind_s=-500.0) is FUTURE
    assert (phone.track.at_ms, phone.track.lat_deg, phone.track.lng_deg) == before


@pytest.mark.parametrize(
    ("accuracy_m", "verdict"),
    [(None, KEPT), (0.0, KEPT), (200.0, KEPT), (200.1, INACCURATE), (-1.0, INACCURATE)],
)
def test_accuracy(accuracy_m: float | None, verdict: Verdict) -> None:
    assert Phone().send(0.0, accuracy_m=accuracy_m) is verdict


def test_out_of_order_and_twice_is_late() -> None:
    phone = Phone()
    assert phone.send(10.0, 0.0, behind_s=2.0) is KEPT
    assert phone.send(11.0, 50.0, behind_s=3.0) is LATE  # the same time
    assert phone.send(12.0, 50.0, behind_s=9.0) is LATE
    assert phone.send(12.0, 50.0, behind_s=3.0) is KEPT


def test_a_fix_without_a_time_was_taken_now() -> None:
    phone = Phone()
    assert phone.send(0.0, behind_s=None) is KEPT
    assert phone.send(0.0, behind_s=None) is LATE
    assert phone.send(3.0, 50.0, behind_s=None) is KEPT
    assert phone.track.at_ms == NOW_MS + 3_000


@pytest.mark.parametrize(
    ("behind_s", "verdict"), [(30.0, KEPT), (30.001, STALE), (-5.0, KEPT), (-5.001, FUTURE), (10**9, STALE)]
)
def test_old_and_future_fixes(behind_s: float, verdict: Verdict) -> None:
    assert Phone().send(0.0, behind_s=behind_s) is verdict


@pytest.mark.parametrize("behind_s", [3_600.0, 40.0, -6.0, -3_600.0, -86_400.0])
def test_a_skewed_clock_costs_one_fix(behind_s: float) -> None:
    """Its fixes count as taken when they came, and the delays of its network are still seen."""
    phone = Phone()
    assert phone.send(0.0, behind_s=behind_s) in {STALE, FUTURE}
    delays_s = [0.3, 0.0, 1.5, 0.1, 0.7, 20.0]
    sent = [
        phone.send(30.0 * step, 100.0 * step, behind_s=behind_s + d) for step, d in enumerate(delays_s, 1)
    ]
    assert sent == [KEPT] * 6
    assert phone.track.at_ms == pytest.approx(NOW_MS + 180_000 - 20_000, abs=6_500)
    assert phone.send(190.0, 600.0, behind_s=behind_s + 40.0) is STALE


def test_a_clock_that_is_set_right_is_believed_at_once_and_one_set_wrong_after_one_fix() -> None:
    phone = Phone()
    phone.send(0.0, behind_s=600.0)
    assert phone.send(3.0, 0.0, behind_s=600.0) is KEPT
    assert phone.send(6.0, 50.0, behind_s=0.2) is KEPT
    assert phone.send(9.0, 100.0, behind_s=-7_200.0) is FUTURE
    assert phone.send(12.0, 150.0, behind_s=-7_200.0) is KEPT
    assert phone.send(15.0, 200.0, behind_s=0.2) is KEPT


@pytest.mark.parametrize("every_s", [1, 3])
def test_a_flushed_buffer_is_stale_not_a_skewed_clock(every_s: int) -> None:
    """A phone that was offline for five minutes sends what it kept, 10 ms apart."""
    phone = Phone()
    phone.send(0.0)
    for index, behind_s in enumerate(range(297, -1, -every_s)):
        verdict = phone.send(300.0 + index * 0.01, behind_s=behind_s)
        assert verdict in ({STALE} if behind_s > 30 else {KEPT, JITTER})


@pytest.mark.parametrize("behind_s", [20.0, 0.2, -4.0])
def test_when_a_fix_was_taken_is_told_by_the_least_age_that_one_had(behind_s: float) -> None:
    """A clock that is slow, right or fast; one fix that waits 5 s longer on its way was taken 5 s before it came."""
    phone = Phone()
    for step, late_s in enumerate((0.3, 0.0, 0.7, 0.1)):
        phone.send(3.0 * step, 40.0 * step, behind_s=behind_s + late_s)
    assert phone.track.taken_ms(NOW_MS + 9_000) == NOW_MS + 9_000 - 100
    phone.send(20.0, 200.0, behind_s=behind_s + 5.0)
    assert phone.track.taken_ms(NOW_MS + 20_000) == NOW_MS + 15_000


def test_a_flushed_buffer_alone_does_not_tell_how_slow_a_clock_is() -> None:
    phone = Phone()
    for step in range(5):
        phone.send(step * 0.1, 40.0 * step, behind_s=25.0 - 3.0 * step)
        assert phone.track.taken_ms(NOW_MS + step * 100) == phone.track.at_ms
    for at_s in (4.0, 8.0):  # the first is the end of the buffer
        phone.send(at_s, 300.0, behind_s=0.1)
    assert phone.track.taken_ms(NOW_MS + 8_000) == NOW_MS + 8_000
    phone.track.reset()
    phone.send(9.0, behind_s=None)
    assert phone.track.taken_ms(NOW_MS + 20_000) == NOW_MS + 9_000, "no fix had a time yet"


@pytest.mark.parametrize("every_s", [0.05, 0.2, 0.6, 0.85])
def test_an_outbox_that_is_sent_slowly_is_not_a_slow_clock(every_s: float) -> None:
    """A fix a second since half a minute ago, sent in their order one at a time, while more are taken: nothing of it
    was taken later than the phone says."""
    phone = Phone()
    phone.send(0.0, behind_s=None)  # where he is as he goes online: what was taken before is late
    taken_s, at_s = -29.0, 0.0
    while taken_s <= at_s:
        phone.send(at_s, taken_s, behind_s=at_s - taken_s)
        assert phone.track.clock_ms(NOW_MS + round(at_s * 1_000)) <= 0
        taken_s, at_s = taken_s + 1.0, at_s + every_s
    for _ in range(4):
        at_s += 1.0
        phone.send(at_s, at_s, behind_s=0.2)
    assert phone.track.clock_ms(NOW_MS + round(at_s * 1_000)) == pytest.approx(200, abs=250)


@pytest.mark.parametrize("every_s", [1, 3, 10])
@pytest.mark.parametrize("ahead_s", [1.0, 4.9])
def test_one_fix_ahead_is_held_against_a_phone_for_minutes_and_not_for_its_shift(
    ahead_s: float, every_s: int
) -> None:
    phone = Phone()
    phone.send(0.0, behind_s=-ahead_s)
    for at_s in range(every_s, 300, every_s):
        phone.send(at_s, 10.0 * at_s, behind_s=0.1)
    assert phone.track.taken_ms(NOW_MS + at_s * 1_000) == NOW_MS + at_s * 1_000


def test_what_is_known_of_a_clock_is_known_behind_a_tunnel() -> None:
    phone = Phone()
    for at_s in range(10):
        phone.send(at_s, 10.0 * at_s, behind_s=0.1)
    for step in range(26):  # ten minutes later
        phone.send(610.0 + 0.5 * step, 500.0, behind_s=25.0 - step + 0.5 * step)
        assert phone.track.clock_ms(NOW_MS + 610_000 + 500 * step) == 100


@pytest.mark.parametrize(
    ("clock_s", "kept_s", "taken_s", "verdict"),
    [
        (0.0, 9.0, -9.0, KEPT),
        (0.0, -0.9, 0.9, KEPT),  # the phone's word, like that of a single fix: our own clock may be behind
        (0.0, 31.0, -31.0, STALE),
        (-60.0, -43.0, -17.0, KEPT),
        (-60.0, -3.0, -57.0, STALE),  # as if taken 3 s from now
        (60.0, 65.0, -5.0, KEPT),
        (60.0, 20.0, 0.0, KEPT),  # it must have been set since
    ],
)
def test_a_batchs_newest_is_as_old_as_the_known_clock_says(
    clock_s: float, kept_s: float, taken_s: float, verdict: Verdict
) -> None:
    phone = Phone()
    for at_s in (0.0, 2.0):
        phone.send(at_s, behind_s=clock_s)
    now_ms = NOW_MS + 100_000
    fix_ms = now_ms - round(kept_s * 1_000)
    judged = phone.track.judge_of_batch(fix_ms, *KHARKIV, None, now_ms=now_ms, policy=POLICY)
    assert judged == (verdict, now_ms + round(taken_s * 1_000))
    assert phone.send(101.0, behind_s=clock_s) in {KEPT, JITTER}


def test_faster_than_anything_is_a_teleport_and_slower_is_not() -> None:
    phone = Phone()
    phone.send(0.0)
    assert phone.send(10.0, 601.0) is TELEPORT  # 10 s x 50 m/s and 100 m of noise
    assert phone.send(10.5, 601.0) is KEPT
    assert phone.send(11.0, 701.0) is KEPT  # 200 m/s, but it is noise


def test_a_wrong_first_fix_locks_nobody_out() -> None:
    phone = Phone()
    phone.send(0.0, 900_000.0)
    assert [phone.send(3.0 * step, 30.0 * step) for step in range(1, 5)] == [TELEPORT, TELEPORT, KEPT, KEPT]


def test_teleports_that_disagree_or_repeat_are_not_believed() -> None:
    phone = Phone()
    phone.send(0.0)
    assert [phone.send(1.0 + step, 9_000.0 * (step + 1)) for step in range(8)] == [TELEPORT] * 8
    phone = Phone()
    phone.send(0.0)
    repeated = [phone.send(10.0 + step, 90_000.0, behind_s=float(step)) for step in range(4)]
    assert repeated == [TELEPORT, LATE, LATE, LATE]


def test_of_two_phones_on_one_account_one_is_followed() -> None:
    phone = Phone()
    verdicts = [phone.send(3.0 * step, 20_000.0 * (step % 2) + 10.0 * step) for step in range(40)]
    assert verdicts == [KEPT, TELEPORT] * 20


def test_across_the_antimeridian_is_near() -> None:
    track = Track()
    for step, lng_deg in enumerate([179.9998, -179.9999, 179.9999, -179.9]):
        at_ms = NOW_MS + 3_000 * step
        verdict = track.judge(at_ms, -17.0, lng_deg, None, now_ms=at_ms, policy=POLICY)
        assert verdict is (TELEPORT if step == 3 else KEPT)


def test_standing_still_is_passed_on_every_ten_seconds_and_creeping_adds_up() -> None:
    phone = Phone()
    assert [phone.send(4.0 * step, 0.5 * (step % 2)) for step in range(7)] == [
        KEPT, JITTER, JITTER, KEPT, JITTER, JITTER, KEPT,
    ]  # fmt: skip
    assert phone.track.at_ms == NOW_MS + 24_000
    phone = Phone()
    assert [phone.send(float(step), 1.1 * step) for step in range(7)] == [
        KEPT, JITTER, JITTER, KEPT, JITTER, JITTER, KEPT,
    ]  # fmt: skip


def test_going_online_forgets_the_place_and_the_clock() -> None:
    phone = Phone()
    phone.send(0.0)
    phone.send(1.0, 50_000.0)
    phone.track.reset()
    assert phone.send(0.5, 90_000.0) is KEPT


@given(
    st.lists(
        st.tuples(
            st.floats(0.0, 20.0),  # seconds since the last
            st.one_of(st.none(), st.floats(-10.0, 60.0), st.floats(-1e6, 1e6)),  # how far behind
            st.one_of(st.floats(-500.0, 500.0), st.floats(-1e6, 1e6)),  # metres north
            st.one_of(st.none(), st.floats(-10.0, 400.0)),
        ),
        max_size=60,
    )
)
def test_whatever_comes_time_runs_forward_and_a_good_phone_gets_through(
    sent: list[tuple[float, float | None, float, float | None]],
) -> None:
    phone, at_s = Phone(), 0.0
    for wait_s, behind_s, north_m, accuracy_m in sent:
        at_s += wait_s
        before_ms = phone.track.at_ms
        verdict = phone.send(at_s, north_m, behind_s=behind_s, accuracy_m=accuracy_m)
        believed = verdict <= Verdict.JITTER
        assert (phone.track.at_ms > before_ms) is believed
    # From now on the phone is well: at most 5 s ahead of now and three teleports stand in its way.
    well = [phone.send(at_s + 6.0 + 3.0 * step, 10.0 * step) for step in range(4)]
    assert well[-1] <= Verdict.JITTER


def test_real_traces_of_two_cabs_under_one_id() -> None:
    """Every second fix is a teleport. Nearly a third of the fixes is refused (the cabs are often near enough for
    both to be possible), an impossible step is only taken when three in a row agree, and nobody is locked out."""
    traces: dict[str, list[tuple[int, float, float]]] = defaultdict(list)
    with gzip.open(shared_data("traces_sf_anomalous_dev.csv.gz"), "rt") as lines:
        for row in csv.DictReader(lines):
            traces[row["vehicle_id"]].append((int(row["ts"]) * 1_000, float(row["lat"]), float(row["lon"])))
    for fixes in traces.values():
        track, verdicts, impossible, refused = Track(), Counter[Verdict](), 0, 0
        at_ms, lat_deg, lng_deg = fixes[0]
        for ts_ms, lat, lng in fixes:
            verdict = track.judge(ts_ms, lat, lng, None, now_ms=ts_ms, policy=POLICY)
            verdicts[verdict] += 1
            refused = 0 if verdict <= Verdict.JITTER else refused + 1
            assert refused < 60
            if verdict <= Verdict.JITTER:
                far_m = 105.0 + POLICY.top_speed_mps * (ts_ms - at_ms) / 1_000.0
                impossible += distance_m(lat_deg, lng_deg, lat, lng) > far_m
                at_ms, lat_deg, lng_deg = ts_ms, lat, lng
        assert set(verdicts) == {KEPT, JITTER, TELEPORT}
        assert 0.3 * len(fixes) < verdicts[TELEPORT] < 0.5 * len(fixes)
        assert impossible < 0.01 * len(fixes)


def test_fixes_of_the_past_are_judged_as_they_would_have_been_then() -> None:
    now_ms, day_ms = 1_800_000_000_000, 86_400_000
    policy = Policy()
    times = [now_ms - day_ms - 1, now_ms - day_ms, now_ms - 1_000, now_ms - 1_000, now_ms, now_ms + 5_000]
    asked = [(ms, 50.0 + n * 1e-6, 36.0, None) for n, ms in enumerate([*times, now_ms + 5_001])]
    names = [verdict.name for verdict in judge_past(asked, now_ms=now_ms, policy=policy)]
    assert names == ["STALE", "KEPT", "KEPT", "LATE", "JITTER", "JITTER", "FUTURE"]
    far = [(now_ms + ms, lat, 36.0, None) for ms, lat in ((0, 50.0), (10, 51.0), (20, 50.0), (30, 51.0))]
    names = [verdict.name for verdict in judge_past(far, now_ms=now_ms, policy=policy)]
    assert names == ["KEPT", "TELEPORT", "JITTER", "TELEPORT"]
