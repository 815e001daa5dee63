"""The solver that insertion is held against solves the same problem: sound plans, the same costs, never dearer."""

import numpy as np
import pytest
from msgspec.structs import replace

from dispatch.area import Area
from dispatch.insertion import insert, set_out
from dispatch.policy import Policy
from server.matchbench.couriers import MOVING, SERVER, Evening, Way, play, search_begins_s, under_way
from server.matchbench.insertion import evening, total_s
from server.matchbench.oracle import best_plans
from server.matchbench.rides import SAN_FRANCISCO, read_rides
from tests.support import shared_data
from tests.test_insertion import LATE, City, cheapest_of_all, is_sound, stops_of

LIMIT_S = 0.2
POLICY = Policy(late_weight=LATE)


@pytest.mark.parametrize("from_these", [True, False])
def test_its_plans_are_sound_and_what_is_on_board_stays(from_these: bool) -> None:
    city = City(3, couriers=4, parcels=12)
    for pickup in city.filled():
        chosen = insert(city.plans, pickup, city.places, LATE)
        if chosen is not None:
            city.plans[chosen[0]] = chosen[1]
    plans = [set_out(plan, city.places, 600.0) for plan in city.plans]
    found = best_plans(plans, city.places, LATE, LIMIT_S, from_these=from_these)
    assert found is not None and is_sound(found, city.places) and stops_of(found) == stops_of(plans)
    for before, after in zip(plans, found, strict=True):
        assert after._replace(stops=()) == before._replace(stops=())
        assert {stop for stop in before.stops if city.places.other[stop] not in before.stops} <= set(
            after.stops
        )
    if from_these:
        assert (
            total_s(found, city.places, LATE) <= total_s(plans, city.places, LATE) + 5.0
        )  # tenths are rounded


def test_of_a_small_city_it_finds_the_best_there_is() -> None:
    city = City(1, couriers=2, parcels=3)
    for pickup in city.pickups():
        chosen = insert(city.plans, pickup, city.places, LATE)
        assert chosen is not None
        city.plans[chosen[0]] = chosen[1]
    found = best_plans(city.plans, city.places, LATE, LIMIT_S, from_these=False)
    assert found is not None
    assert total_s(found, city.places, LATE) == pytest.approx(cheapest_of_all(city, city.pickups()), abs=2.0)


@pytest.mark.parametrize("way", [SERVER, MOVING], ids=("server", "moving"))
def test_an_evening_of_real_rides_is_played_to_its_end(way: Way) -> None:
    shown = evening(read_rides(shared_data(SAN_FRANCISCO)), seed=5)
    places, parcels = shown.places, len(shown.known_s)
    played = play(shown, POLICY, way, (50,))
    [(parcel, plans, _)] = played.moments
    assert parcel == 50 and is_sound(plans, places) and len(played.spent_ms) == parcels == 200
    newest = max((stop - 40) % parcels for plan in plans for stop in plan.stops)
    assert (newest > 50) == way.holds, "others that are not ready were held back"
    direct_s = places.legs_s[40 : 40 + parcels, 40 + parcels : 40 + 2 * parcels].diagonal().sum()
    assert np.isfinite(played.cost_s) and played.cost_s < 2.5 * direct_s


def test_the_server_holds_what_is_not_ready_and_its_couriers_go_at_once() -> None:
    """A parcel ready in half an hour begins as late as its least lead says; in a plan it is taken all the same."""
    city = City(1, couriers=2, parcels=2)
    pickup = city.pickups()[0]
    ready_s = city.places.ready_s.copy()
    ready_s[pickup] = 1_800.0
    places = city.places._replace(ready_s=ready_s)
    area = Area(id="a", name="", shard="", polygon={}, currency="USD", policy=POLICY)
    begins_s = search_begins_s(city.plans, pickup, places, area)
    assert 1_800.0 - POLICY.schedule_lead_s <= begins_s <= 1_800.0 - POLICY.schedule_least_s
    chosen = insert(city.plans, pickup, places, LATE)
    assert chosen is not None
    assert set_out(chosen[1], places, 400.0).stops == chosen[1].stops, "who waits leaves later"
    going = under_way(chosen[1], places, 400.0)
    assert (going.start, going.free_s, going.stops) == (pickup, 1_800.0, chosen[1].stops[1:])
    # so it is played, where its search begins as soon as it is known
    early = replace(POLICY, schedule_lead_s=3_600.0, schedule_least_s=3_600.0)
    for way in (SERVER, MOVING):
        played = play(Evening(places, city.plans, np.array([400.0])), early, way, (0,))
        [(_, plans, _)] = played.moments
        assert any(plan.start == pickup for plan in plans) == way.holds
