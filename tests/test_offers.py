"""Who is offered what: decline, silence, a lost driver, nobody at all; and a driver with two devices."""

from __future__ import annotations

from tests.phones import accepted, assigned_ride, drive, offered, online, phone, request
from tests.stack import RunningStack
from tests.support import wait_until


async def test_declined_goes_to_the_next_and_never_back(stack: RunningStack) -> None:
    spot = stack.spot()
    async with (
        phone(stack, "driver") as near,
        phone(stack, "driver") as far,
        phone(stack, "passenger") as passenger,
    ):
        await online(near, spot.at(100.0))
        await online(far, spot.at(900.0))
        ride_id = await request(passenger, spot)
        offer = await offered(near, ride_id)
        assert far.heard("offer") == []
        assert await far.refused("accept_offer", {"offerId": offer["offerId"]}) == "offer_gone"
        refusal = {"offerId": offer["offerId"], "reason": "too far"}
        assert (await near.call("decline_offer", refusal))["outcome"] == "declined"
        second = await offered(far, ride_id)
        assert second["offerId"] != offer["offerId"]
        assert await near.refused("accept_offer", offer["offerId"]) == "offer_gone"
        await far.call("decline_offer", second["offerId"])
        await wait_until(lambda: passenger.heard("ride_status_update", state="searching")[2:])
        # the ride searches on, and neither of them is asked a second time
        async with phone(stack, "driver") as third:
            await online(third, spot.at(2500.0))
            await accepted(third, ride_id)
        assert len(near.heard("offer")) == len(far.heard("offer")) == 1
        await passenger.hears("driver_assigned", rideId=ride_id)
        passenger.assert_gapless(f"ride:{ride_id}")


async def test_the_nearest_free_driver_of_the_class_is_asked(stack: RunningStack) -> None:
    spot = stack.spot()
    async with (
        phone(stack, "driver") as comfort,
        phone(stack, "courier") as parcels,
        phone(stack, "driver") as near,
        phone(stack, "driver") as far,
        phone(stack, "passenger") as passenger,
    ):
        await online(comfort, spot.at(10.0), ("comfort",))
        await online(parcels, spot.at(20.0), ("parcel",))
        await online(near, spot.at(-600.0))
        await online(far, spot.at(0.0, 800.0))
        ride_id = await request(passenger, spot)
        await accepted(near, ride_id)
        assert not any(d.heard("offer") for d in (comfort, parcels, far))


async def test_silence_expires_and_goes_on(stack: RunningStack) -> None:
    spot = stack.spot("hasty")
    async with (
        phone(stack, "driver") as silent,
        phone(stack, "driver") as next_one,
        phone(stack, "passenger") as passenger,
    ):
        await online(silent, spot.at(100.0))
        await online(next_one, spot.at(500.0))
        ride_id = await request(passenger, spot)
        offer = await offered(silent, ride_id)
        gone = await silent.hears("offer_withdrawn", offerId=offer["offerId"])
        assert gone["reason"] == "expired"
        await accepted(next_one, ride_id)
        late = await silent.ask("accept_offer", {"offerId": offer["offerId"]})
        assert late["error"]["code"] == "offer_gone"
        assert len(silent.heard("offer")) == 1
        # who let an offer pass is not punished for it: the next ride may be his
        other_id = await request(passenger, spot)
        assert (await offered(silent, other_id))["offerId"] != offer["offerId"]


async def test_an_offer_that_is_not_shown_goes_on_without_a_mark(stack: RunningStack) -> None:
    """A phone that says when it shows an offer; an old one beside it has the old clock."""
    spot = stack.spot("hasty")
    async with (
        phone(stack, "driver") as tunnel,
        phone(stack, "driver") as old,
        phone(stack, "passenger") as passenger,
    ):
        await online(tunnel, spot.at(100.0), offerSeen=True)
        await online(old, spot.at(500.0))
        ride_id = await request(passenger, spot)
        offer = await offered(tunnel, ride_id)
        gone = await tunnel.hears("offer_withdrawn", offerId=offer["offerId"])
        assert gone["reason"] == "unseen"
        assert await tunnel.refused("offer_seen", offer["offerId"]) == "offer_gone"
        await accepted(old, ride_id)
        other_id = await request(passenger, spot)
        second = await offered(tunnel, other_id)
        seen = await tunnel.call("offer_seen", second["offerId"])
        assert 200 < seen["expiresInMs"] <= 300
        tap = {"offerId": second["offerId"], "thoughtMs": 120}
        assert (await tunnel.call("accept_offer", tap))["outcome"] == "accepted"
        # the second tap of an impatient thumb
        assert (await tunnel.call("accept_offer", {**tap, "thoughtMs": 480}))["outcome"] == "accepted"
        rows = await stack.drained(
            "select state from offers where id = $1 and state = 'unseen'", offer["offerId"]
        )
        assert rows == [{"state": "unseen"}]


async def test_a_driver_who_is_lost_loses_what_he_holds(stack: RunningStack) -> None:
    """Silent before the pickup, with an offer and then with a ride: both go to somebody who is there."""
    spot = stack.spot("frail")
    async with phone(stack, "passenger") as passenger:
        async with phone(stack, "driver") as first:
            ride_id = await assigned_ride(passenger, first, spot)
        back = await wait_until(lambda: passenger.heard("ride_status_update", state="searching")[1:])
        assert back[0]["driverId"] is None and back[0]["updatedBy"] == "system"
        async with phone(stack, "driver") as second:
            await online(second, spot.at(100.0))
            await accepted(second, ride_id)
            told = passenger.heard("driver_assigned")
            assert [t["driverId"] for t in told] == [first.person.id, second.person.id]
            passenger.assert_gapless(f"ride:{ride_id}")
            async with phone(stack, first.person) as returned:
                await online(returned, spot.at(300.0))
                assert returned.heard("connected")[0]["jobs"] == []
                assert await returned.refused("join_ride", ride_id) == "not_found"


async def test_an_open_offer_of_a_lost_driver_goes_on(stack: RunningStack) -> None:
    spot = stack.spot("frail")
    async with phone(stack, "passenger") as passenger:
        async with phone(stack, "driver") as first:
            await online(first, spot.at(100.0))
            ride_id = await request(passenger, spot)
            await offered(first, ride_id)
        again = await wait_until(lambda: passenger.heard("ride_status_update", state="searching")[1:])
        assert again[0]["updatedBy"] == "system"
        async with phone(stack, "driver") as second:
            await online(second, spot.at(100.0))
            await accepted(second, ride_id)


async def test_the_driver_gives_the_ride_back(stack: RunningStack) -> None:
    spot = stack.spot()
    async with (
        phone(stack, "driver") as first,
        phone(stack, "driver") as second,
        phone(stack, "passenger") as passenger,
    ):
        ride_id = await assigned_ride(passenger, first, spot)
        await online(second, spot.at(800.0))
        await first.call("cancel_ride", {"rideId": ride_id, "reason": "flat tyre"})
        await accepted(second, ride_id)
        told = await passenger.hears("driver_assigned", driverId=second.person.id)
        assert told["rideId"] == ride_id
        await drive(second, passenger, ride_id, spot.at(720.0))
        # where the first one drives now is no business of this passenger any more
        assert (await first.call("location_update", spot.at(280.0)))["kept"] is True
        await passenger.call("ping")
        assert passenger.heard("driver_location", **spot.at(280.0)) == []
        # the first one has left the room with the fact that said so
        left_at = first.heard("ride_status_update", state="searching")[-1]["seq"]
        assert first.assert_gapless(f"ride:{ride_id}")[-1] == left_at
        assert first.heard("driver_location") == []


async def test_nobody_comes_and_the_search_is_given_up(stack: RunningStack) -> None:
    spot = stack.spot("impatient")
    async with phone(stack, "passenger") as passenger:
        ride_id = await request(passenger, spot)
        over = await passenger.status("no_driver")
        assert over["status"] == "cancelled" and over["rideId"] == ride_id
        assert await passenger.refused("cancel_ride", ride_id) == "wrong_state"
        rows = await stack.drained("select state from rides where id = $1 and ended_at is not null", ride_id)
        assert rows == [{"state": "no_driver"}]


async def test_a_second_device_supersedes_the_first(stack: RunningStack) -> None:
    spot = stack.spot()
    async with (
        phone(stack, "passenger") as passenger,
        phone(stack, "driver") as old,
        phone(stack, old.person) as new,
    ):
        before = await online(old, spot.at(100.0))
        after = await online(new, spot.at(110.0))
        assert after["generation"] == before["generation"] + 1
        assert (await old.hears("superseded"))["generation"] == after["generation"]
        assert new.heard("superseded") == []
        assert await old.refused("location_update", spot.at(5000.0)) == "superseded"
        assert await old.refused("go_offline", {}) == "superseded"
        ride_id = await request(passenger, spot)
        offer = await offered(new, ride_id)
        assert abs(offer["distanceM"] - 110) < 20  # where the new one is
        late = {"offerId": offer["offerId"]}
        for event in ("accept_offer", "decline_offer", "offer_seen"):
            assert await old.refused(event, late) == "superseded"
        await accepted(new, ride_id)
        assert (
            await old.refused("ride_status_update", {"rideId": ride_id, "status": "arrived"}) == "superseded"
        )
        assert await old.refused("cancel_ride", {"rideId": ride_id}) == "superseded"
        await old.close()  # and this takes nobody out of supply
        await drive(new, passenger, ride_id, spot.at(40.0))
        await new.call("cancel_ride", {"rideId": ride_id})
        await new.hears("ride_status_update", state="searching", driverId=None)
        await passenger.call("cancel_ride", ride_id)
        other_id = await request(passenger, spot)
        await accepted(new, other_id)


async def test_a_refused_device_changes_nothing_for_the_one_online(stack: RunningStack) -> None:
    spot = stack.spot()
    async with (
        phone(stack, "driver") as first,
        phone(stack, first.person) as second,
        phone(stack, "passenger") as passenger,
    ):
        await online(first, spot.at(100.0))
        nowhere = {"classes": ["economy"], "latitude": 60.0, "longitude": -30.0}
        assert await second.refused("go_online", nowhere) == "outside_area"
        here = {"classes": ["submarine"], **spot.at(100.0)}
        assert await first.refused("go_online", here) == "bad_request"
        assert (await first.call("location_update", spot.at(150.0)))["kept"] is True
        ride_id = await request(passenger, spot)
        await accepted(first, ride_id)
        await drive(first, passenger, ride_id, spot.at(90.0))


async def test_offline_drivers_are_asked_nothing(stack: RunningStack) -> None:
    spot = stack.spot()
    async with (
        phone(stack, "driver") as gone,
        phone(stack, "driver") as here,
        phone(stack, "passenger") as passenger,
    ):
        await online(gone, spot.at(50.0))
        assert (await gone.call("go_offline", {}))["state"] == "offline"
        assert await gone.refused("location_update", spot.at(60.0)) == "wrong_state"
        await online(here, spot.at(900.0))
        ride_id = await request(passenger, spot)
        await accepted(here, ride_id)
        assert gone.heard("offer") == []
