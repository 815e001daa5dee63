"""Reading a recorded day: the window is exact, the order is time's, the formats are the ones of the README."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from loadtest.geo import Point
from loadtest.trace_motion import TraceMotion
from loadtest.traces import Trace, first_time_s, read_rides, read_traces, window_s
from tests.support import shared_data

FRIDAY_4AM = 1212145200.0


@pytest.fixture
def trace_file(tmp_path: Path) -> Path:
    path = tmp_path / "traces.csv.gz"
    rows = ["100,b,37.1,-122.1,0", "100,a,37.2,-122.2,1", "150,b,37.3,-122.3,0", "200,b,37.4,-122.4,0"]
    path.write_bytes(gzip.compress("\n".join(["ts,vehicle_id,lat,lon,occupied", *rows, ""]).encode()))
    return path


def test_a_window_includes_its_start_and_not_its_end(trace_file: Path) -> None:
    found = read_traces(trace_file, 100, 200)
    assert [(each.vehicle, list(each.ts)) for each in found] == [("a", [100.0]), ("b", [100.0, 150.0])]
    assert found[1].points[1] == Point(37.3, -122.3)
    assert first_time_s(trace_file) == 100


def test_last_before_is_the_newest_fix_at_an_instant(trace_file: Path) -> None:
    trace = read_traces(trace_file, 0, 1000)[1]
    assert [trace.last_before(at_s) for at_s in (99, 100, 149, 150, 999)] == [-1, 0, 0, 1, 2]


@pytest.mark.parametrize(
    ("start", "end", "after_4am_h", "hours"),
    [("18:00", "19:00", 14, 1), ("23:30", "00:30", 19.5, 1), ("04:00", "04:00", 0, 24)],
)
def test_clock_times_mean_the_service_day(start: str, end: str, after_4am_h: float, hours: float) -> None:
    from_s, to_s = window_s(FRIDAY_4AM + 1, start, end)
    assert (from_s - FRIDAY_4AM) / 3600 == after_4am_h
    assert (to_s - from_s) / 3600 == hours


def test_a_cab_on_its_trace_moves_at_the_recorded_times_and_goes_silent_with_it() -> None:
    trace = Trace("a", np.array([10.0, 70.0, 130.0]), [Point(1, 1), Point(2, 2), Point(3, 3)])
    motion = TraceMotion(trace, opens_s=20, closes_s=120, freshest_s=50)
    assert motion.next_fix(0) == (70.0, Point(2, 2))
    assert motion.next_fix(70) is None
    assert motion.position(15) is None
    assert motion.position(30) == Point(1, 1)
    assert motion.position(69) is None


def test_rides_come_in_order_of_pickup(tmp_path: Path) -> None:
    path = tmp_path / "rides.csv.gz"
    head = "trip_id,pickup_ts,pickup_lat,pickup_lon,dropoff_ts,dropoff_lat,dropoff_lon,duration_s,path_m"
    rows = [
        "x,300,37.1,-122.1,400,37.2,-122.2,100,9",
        "y,200,37.1,-122.1,290,37.2,-122.2,90,9",
        "z,500,1,1,1,1,1,1,1",
    ]
    path.write_bytes(gzip.compress("\n".join([head, *rows, ""]).encode()))
    found = read_rides(path, 200, 500)
    assert [(each.trip, each.duration_s) for each in found] == [("y", 90.0), ("x", 100.0)]


def test_the_real_friday_evening_is_there() -> None:
    from_s, to_s = window_s(FRIDAY_4AM, "18:00", "19:00")
    traces = read_traces(shared_data("traces_sf_dev_2008-05-30fri.csv.gz"), from_s, to_s)
    rides = read_rides(shared_data("sf_requests_dev_2008-05-17_05-31.csv.gz"), from_s, to_s)
    assert (len(traces), sum(len(each.points) for each in traces), len(rides)) == (451, 24_304, 1_182)
