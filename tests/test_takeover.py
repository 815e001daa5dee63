"""A ride whose driver is on his way, taken over by one who is nearer: what each of the phones is told, and may."""

from __future__ import annotations

from dispatch.wording import NEARER
from tests.phones import Phone, accepted, assigned_ride, drive, offered, online, phone, request
from tests.stack import RunningStack, Spot
from tests.support import wait_until


async def ride_of(passenger: Phone, far: Phone, spot: Spot) -> str:
    """One driver is three kilometres away, and takes it."""
    await online(far, spot.at(3_000.0))
    ride_id = await request(passenger, spot)
    await accepted(far, ride_id)
    await passenger.hears("driver_assigned", rideId=ride_id, driverId=far.person.id)
    return ride_id


async def test_who_is_nearer_takes_the_ride_over(stack: RunningStack) -> None:
    spot = stack.spot("nearer")
    async with (
        phone(stack, "driver") as far,
        phone(stack, "driver") as near,
        phone(stack, "passenger") as passenger,
    ):
        ride_id = await ride_of(passenger, far, spot)
        await drive(far, passenger, ride_id, spot.at(2_950.0))
        before = len(passenger.log)
        await online(near, spot.at(100.0))
        offer = await offered(near, ride_id)
        assert offer["job"]["driver"] is None and offer["job"]["status"] == "pending"
        # while he thinks, the ride is the other one's
        await drive(far, passenger, ride_id, spot.at(2_900.0))
        assert not [event for event, _ in passenger.log[before:] if event != "driver_location"]
        assert await near.refused("join_ride", {"rideId": ride_id}) == "not_found"

        answer = await near.call("accept_offer", {"offerId": offer["offerId"]})
        told = await passenger.hears("driver_assigned", driverId=near.person.id)
        assert (told["takenOver"], told["reason"]) == (True, NEARER)
        assert told["version"] == answer["version"] and told["etaSeconds"] == offer["etaSeconds"]
        note = await far.hears("notification", type="job_taken_over")
        assert note["data"] == {"rideId": ride_id, "version": told["version"], "reason": NEARER}
        await near.hears("driver_assigned", driverId=near.person.id)

        # the first one is out of the room, whatever he says, and is heard and seen there no more
        await drive(near, passenger, ride_id, spot.at(90.0))
        seen = len(passenger.heard("driver_location"))
        await far.call("location_update", spot.at(2_800.0))
        status = {"rideId": ride_id, "status": "arrived"}
        line = {"rideId": ride_id, "message": "Wait!", "type": "text"}
        assert await far.refused("ride_status_update", status) == "not_found"
        assert await far.refused("send_message", line) == "not_found"
        assert await far.refused("cancel_ride", {"rideId": ride_id}) == "not_found"
        assert await far.refused("join_ride", {"rideId": ride_id}) == "not_found"
        heard = len(far.log)
        await near.call("send_message", line)
        await near.call("ride_status_update", status)
        await passenger.status("arrived")
        assert len(passenger.heard("driver_location")) == seen
        assert not [event for event, each in far.log[heard:] if each.get("rideId") == ride_id]
        assert near.person.id not in str(far.log) and far.person.id not in str(near.log)
        passenger.assert_gapless(f"ride:{ride_id}")

        # he is free, and nobody holds it against him: the next ride is his
        async with phone(stack, "passenger") as other:
            next_id = await request(other, spot)
            await accepted(far, next_id)
        assert [each["driverId"] for each in passenger.heard("driver_assigned")] == [
            far.person.id,
            near.person.id,
        ]
    rides = "select driver_id::text, state from rides where id = $1 and state = 'arrived'"
    assert (await stack.drained(rides, ride_id))[0]["driver_id"] == near.person.id
    offers = await stack.rows("select driver_id::text, state from offers where job_id = $1", ride_id)
    assert {(each["driver_id"], each["state"]) for each in offers} == {
        (far.person.id, "accepted"),
        (near.person.id, "accepted"),
    }


async def test_who_says_no_changes_nothing(stack: RunningStack) -> None:
    spot = stack.spot("nearer")
    async with (
        phone(stack, "driver") as far,
        phone(stack, "driver") as near,
        phone(stack, "passenger") as passenger,
    ):
        ride_id = await ride_of(passenger, far, spot)
        before = len(passenger.log)
        await online(near, spot.at(100.0))
        await near.call("decline_offer", {"offerId": (await offered(near, ride_id))["offerId"]})
        await far.call("ride_status_update", {"rideId": ride_id, "status": "arrived"})
        await passenger.status("arrived")
        said = [event for event, _ in passenger.log[before:] if event != "driver_location"]
        assert said == ["ride_status_update"] and len(near.heard("offer")) == 1
        passenger.assert_gapless(f"ride:{ride_id}")


async def test_who_is_there_meanwhile_keeps_it(stack: RunningStack) -> None:
    spot = stack.spot("nearer")
    async with (
        phone(stack, "driver") as far,
        phone(stack, "driver") as near,
        phone(stack, "passenger") as passenger,
    ):
        ride_id = await ride_of(passenger, far, spot)
        await online(near, spot.at(100.0))
        offer = await offered(near, ride_id)
        await far.call("ride_status_update", {"rideId": ride_id, "status": "arrived"})
        gone = await near.hears("offer_withdrawn", offerId=offer["offerId"])
        assert gone["reason"] == "withdrawn"
        assert await near.refused("accept_offer", {"offerId": offer["offerId"]}) == "offer_gone"
        assert not far.heard("notification")


async def test_who_was_away_when_it_was_taken_over(stack: RunningStack) -> None:
    """His app connects again without the ride, and `sync` of his own room says what became of it."""
    spot = stack.spot("nearer")
    async with phone(stack, "driver") as near, phone(stack, "passenger") as passenger:
        async with phone(stack, "driver") as far:
            ride_id = await ride_of(passenger, far, spot)
            await online(near, spot.at(100.0))
            offer = await offered(near, ride_id)
            heard = far.heard("offer")[-1]
            place = [heard["room"], heard["epoch"], heard["seq"]]
        await near.call("accept_offer", {"offerId": offer["offerId"]})
        async with phone(stack, far.person) as again:
            greeting = (await wait_until(lambda: again.heard("connected")))[0]
            assert greeting["jobs"] == [] and greeting["offers"] == []
            (told,) = (await again.call("sync", {"rooms": [place]}))["rooms"]
            assert [event for event, _ in told["events"]] == ["notification"]
            assert told["events"][0][1]["data"]["rideId"] == ride_id


async def test_an_area_that_does_not_do_it(stack: RunningStack) -> None:
    spot = stack.spot("plain")
    async with (
        phone(stack, "driver") as far,
        phone(stack, "driver") as near,
        phone(stack, "passenger") as passenger,
        phone(stack, "passenger") as other,
    ):
        await ride_of(passenger, far, spot)
        await online(near, spot.at(100.0))
        next_id = await request(other, spot)
        await accepted(near, next_id)
        assert len(near.heard("offer")) == 1


async def test_a_ride_by_hand_keeps_its_driver(stack: RunningStack) -> None:
    spot = stack.spot("nearer")
    async with (
        phone(stack, "driver") as far,
        phone(stack, "driver") as near,
        phone(stack, "passenger") as passenger,
        phone(stack, "admin") as admin,
    ):
        ride_id = await request(passenger, spot)
        await online(far, spot.at(3_000.0))
        await offered(far, ride_id)
        by_hand = {"rideId": ride_id, "driverId": far.person.id, "reason": "He knows the way."}
        await admin.call("assign_job", by_hand)
        await passenger.hears("driver_assigned", rideId=ride_id)
        await online(near, spot.at(100.0))
        async with phone(stack, "passenger") as other:
            second = await assigned_ride(other, near, spot)
        assert [each["job"]["rideId"] for each in near.heard("offer")] == [second]


async def test_who_gave_it_back_while_another_thought_about_it_can_do_so_again(stack: RunningStack) -> None:
    """Named by nothing but the ride: the answer of the first time would leave it his, and his phone would not know."""
    spot = stack.spot("nearer")
    async with (
        phone(stack, "admin") as admin,
        phone(stack, "driver") as far,
        phone(stack, "driver") as near,
        phone(stack, "passenger") as passenger,
    ):
        ride_id = await ride_of(passenger, far, spot)
        await online(near, spot.at(100.0))
        offer_id = (await offered(near, ride_id))["offerId"]
        assert (await far.call("cancel_ride", {"rideId": ride_id}))["state"] == "offered"
        await near.call("decline_offer", {"offerId": offer_id})
        by_hand = {"rideId": ride_id, "driverId": far.person.id, "reason": "by hand"}
        given = await admin.call("assign_job", by_hand)
        again = await far.call("cancel_ride", {"rideId": ride_id})
        assert again["state"] == "searching" and again["version"] > given["version"]
        await passenger.call("cancel_ride", {"rideId": ride_id})
