"""A whole ride through the stock python-socketio client, over each transport; and how it is read afterwards."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.phones import (
    accepted,
    assigned_ride,
    drive,
    new_id,
    offered,
    online,
    phone,
    request,
)
from tests.stack import RunningStack
from tests.support import wait_until

STATES = ["searching", "offered", "arrived", "in_progress", "completed"]


@pytest.mark.parametrize("transport", ["websocket", "polling", "upgrade"])
async def test_whole_ride(stack: RunningStack, transport: str) -> None:
    spot = stack.spot()
    async with (
        phone(stack, "driver", transport) as driver,
        phone(stack, "passenger", transport) as passenger,
    ):
        stood = await online(driver, spot.at(500.0))
        assert stood["state"] == "idle" and stood["areaId"] == "plain"
        ride_id = await request(passenger, spot, seats=2, note="By the blue door")
        offer = await offered(driver, ride_id)
        assert offer["kind"] == "ride" and offer["job"]["requester"]["id"] == passenger.person.id
        assert abs(offer["distanceM"] - 500) < 20 and 0 < offer["expiresInMs"] <= 15_000
        assert offer["fare"]["amount"] > 0 and offer["job"]["note"] == "By the blue door"
        assert (await driver.call("offer_seen", {"offerId": offer["offerId"]}))["expiresInMs"] > 0
        taken = await driver.call("accept_offer", {"offerId": offer["offerId"]})
        assert taken["outcome"] == "accepted" and taken["status"] == "confirmed"
        told = await passenger.hears("driver_assigned", rideId=ride_id)
        assert told["driverId"] == driver.person.id and told["driverName"] == driver.person.name
        assert told["vehicle"]

        await driver.hears("driver_assigned", rideId=ride_id)
        place = await drive(driver, passenger, ride_id, spot.at(420.0))
        assert place["heading"] == 45 and place["ageMs"] >= 0 and place["etaSeconds"] > 0
        for state in ("arrived", "in_progress", "completed"):
            moved = await driver.call("ride_status_update", {"rideId": ride_id, "status": state})
            assert moved["state"] == state
            if state != "completed":
                await passenger.status(state)
                await drive(driver, passenger, ride_id, spot.at(340.0 if state == "arrived" else 260.0))
        over = await passenger.status("completed")
        await driver.status("completed")
        assert over["status"] == "completed" and over["driverId"] == driver.person.id

        assert [p["state"] for p in passenger.heard("ride_status_update")] == STATES
        assert passenger.assert_gapless(f"ride:{ride_id}") == [1, 2, 3, 4, 5, 6]
        assert driver.assert_gapless(f"ride:{ride_id}") == [3, 4, 5, 6]
        assert driver.sio.transport() == ("polling" if transport == "polling" else "websocket")


async def test_a_trip_to_where_it_begins_has_no_price(stack: RunningStack) -> None:
    """Neither is it opened; by way of another place it is a trip."""
    spot = stack.spot()
    round_trip = {"pickup": spot.at(), "dropoff": spot.at()}
    async with phone(stack, "passenger") as passenger:
        for kind in ("ride", "package"):
            assert await passenger.refused("quote", {"kind": kind, **round_trip}) == "bad_request"
        ride = {"rideId": new_id(), "class": "economy", **round_trip}
        assert await passenger.refused("request_ride", ride) == "bad_request"
        stops = {"stops": [spot.at(900.0)]}
        assert (await passenger.call("quote", {"kind": "ride", **round_trip, **stops}))["quotes"]
        assert (await passenger.call("request_ride", {**ride, **stops}))["state"] == "searching"


async def test_a_polling_client_leaves_at_once(stack: RunningStack) -> None:
    """His last poll ends when he says goodbye, not at the next heartbeat."""
    async with phone(stack, "passenger", "polling") as passenger:
        await passenger.call("ping")
        async with asyncio.timeout(3.0):
            await passenger.close()


async def test_a_late_fix_after_the_trip_reaches_nobody(stack: RunningStack) -> None:
    spot = stack.spot()
    async with phone(stack, "driver") as driver, phone(stack, "passenger") as passenger:
        ride_id = await assigned_ride(passenger, driver, spot)
        await drive(driver, passenger, ride_id, spot.at(250.0))
        for state in ("arrived", "in_progress", "completed"):
            await driver.call("ride_status_update", {"rideId": ride_id, "status": state})
        await passenger.status("completed")
        await driver.status("completed")
        before = len(passenger.heard("driver_location"))
        late = {**spot.at(200.0), "rideId": ride_id}
        assert (await driver.call("location_update", late))["kept"] is True
        # whatever the fix would have told him stands before this answer in the same queue
        await passenger.call("ping")
        await passenger.hears("pong")
        assert len(passenger.heard("driver_location")) == before


async def test_a_fix_goes_where_the_driver_is_and_not_where_it_says(stack: RunningStack) -> None:
    spot, elsewhere = stack.spot(), stack.spot()
    async with (
        phone(stack, "driver") as driver,
        phone(stack, "passenger") as passenger,
        phone(stack, "driver") as other_driver,
        phone(stack, "passenger") as other,
    ):
        ride_id = await assigned_ride(passenger, driver, spot)
        other_id = await assigned_ride(other, other_driver, elsewhere)
        await driver.call("location_update", {**spot.at(220.0), "rideId": other_id})
        await passenger.hears("driver_location", rideId=ride_id, **spot.at(220.0))
        await other.call("ping")
        assert other.heard("driver_location") == []


async def test_join_tells_where_the_ride_stands(stack: RunningStack) -> None:
    spot = stack.spot()
    async with phone(stack, "driver") as driver, phone(stack, "passenger") as passenger:
        ride_id = await assigned_ride(passenger, driver, spot)
        await drive(driver, passenger, ride_id, spot.at(240.0))
        async with phone(stack, passenger.person) as tablet:
            snap = await tablet.call("join_ride", ride_id)  # a bare id, as the old apps send
            assert snap == {"ok": True, **(await tablet.hears("joined_ride"))}
            assert snap["state"] == "assigned" and snap["seq"] == 3 and snap["epoch"]
            assert snap["members"] == sorted([driver.person.id, passenger.person.id])
            position = snap["position"]
            assert {k: position[k] for k in ("latitude", "longitude")} == spot.at(240.0)
            assert 0 <= position["ageMs"] < 10_000 and position["heading"] == 45
            confirmed = {"rideId": ride_id, "status": "confirmed"}
            step = await driver.call("ride_status_update", confirmed)
            assert await driver.call("ride_status_update", confirmed) == step, (
                "an old app that lost the reply"
            )
            assert (await tablet.status("arrived"))["seq"] == 4
            assert (await driver.call("leave_ride", {"rideId": ride_id}))["rideId"] == ride_id
            await tablet.hears("user_left_ride", userId=driver.person.id)
            assert await driver.refused("leave_ride", {"rideId": ride_id}) == "not_found"


async def test_reconnecting_tells_of_jobs_and_offers(stack: RunningStack) -> None:
    spot = stack.spot()
    async with phone(stack, "passenger") as passenger:
        async with phone(stack, "driver") as driver:
            await online(driver, spot.at(100.0))
            ride_id = await request(passenger, spot)
            offer = await offered(driver, ride_id)
        async with phone(stack, driver.person) as again:
            greeting = again.heard("connected")[0]
            assert greeting["userId"] == driver.person.id
            assert [o["offerId"] for o in greeting["offers"]] == [offer["offerId"]]
            assert greeting["resume"]["events"] > 0
            await online(again, spot.at(100.0))
            await again.call("accept_offer", {"offerId": offer["offerId"]})
            assigned = await again.hears("driver_assigned", rideId=ride_id)
        async with phone(stack, driver.person) as third, phone(stack, passenger.person) as tablet:
            for client in (third, tablet):
                (job,) = client.heard("connected")[0]["jobs"]
                assert (job["rideId"], job["state"], job["seq"]) == (ride_id, "assigned", assigned["seq"])
                assert job["epoch"] == assigned["epoch"] and job["version"] == assigned["version"]
            await passenger.call("cancel_ride", {"rideId": ride_id})
            for client in (third, tablet):
                assert (await client.status("cancelled"))["seq"] == assigned["seq"] + 1


async def test_the_same_command_again_gets_the_first_answer(stack: RunningStack) -> None:
    spot = stack.spot()
    async with phone(stack, "driver") as driver, phone(stack, "passenger") as passenger:
        ride = {"rideId": new_id(), "class": "economy", **spot.trip}
        first = await passenger.call("request_ride", ride)
        assert await passenger.call("request_ride", ride) == first
        assert await passenger.refused("request_ride", {**ride, "seats": 3}) == "duplicate"
        keyed = {"rideId": ride["rideId"], "reason": "late", "commandId": "tap-1"}
        await online(driver, spot.at(100.0))
        await accepted(driver, ride["rideId"])
        arrived = {"rideId": ride["rideId"], "status": "arrived"}
        step = await driver.call("ride_status_update", arrived)
        assert await driver.call("ride_status_update", arrived) == step
        done = await passenger.call("cancel_ride", keyed)
        assert await passenger.call("cancel_ride", keyed) == done
        assert await passenger.refused("cancel_ride", {**keyed, "reason": "other"}) == "duplicate"
        await passenger.status("cancelled")
        assert len(passenger.heard("ride_status_update", state="cancelled")) == 1
        # somebody else's key is nobody's: the driver's tap-1 is another command
        assert await driver.refused("cancel_ride", keyed) in ("wrong_state", "not_found")


async def test_cancel_at_every_state(stack: RunningStack) -> None:
    spot = stack.spot()
    async with phone(stack, "driver") as driver, phone(stack, "passenger") as passenger:
        later = (datetime.now(UTC) + timedelta(hours=2)).isoformat()
        ride_id = await request(passenger, spot, scheduledAt=later)
        assert (await passenger.call("cancel_ride", {"rideId": ride_id}))["state"] == "cancelled"
        ride_id = await request(passenger, spot)
        assert (await passenger.call("cancel_ride", ride_id))["state"] == "cancelled"

        await online(driver, spot.at(100.0))
        ride_id = await request(passenger, spot)
        offer = await offered(driver, ride_id)
        await passenger.call("cancel_ride", {"rideId": ride_id, "reason": "changed my mind"})
        gone = await driver.hears("offer_withdrawn", offerId=offer["offerId"])
        assert gone["reason"] == "withdrawn"
        assert await driver.refused("accept_offer", {"offerId": offer["offerId"]}) == "offer_gone"

        for state in ("assigned", "arrived"):
            ride_id = await request(passenger, spot)
            await accepted(driver, ride_id)
            if state == "arrived":
                await driver.call("ride_status_update", {"rideId": ride_id, "status": "arrived"})
            await passenger.call("cancel_ride", {"rideId": ride_id})
            await driver.hears("ride_status_update", rideId=ride_id, state="cancelled")

        ride_id = await request(passenger, spot)
        await accepted(driver, ride_id)
        for state in ("arrived", "in_progress"):
            await driver.call("ride_status_update", {"rideId": ride_id, "status": state})
        assert await passenger.refused("cancel_ride", {"rideId": ride_id}) == "forbidden"
        async with phone(stack, "admin") as admin:
            assert await admin.refused("cancel_ride", {"rideId": ride_id}) == "bad_request"
            await admin.call("cancel_ride", {"rideId": ride_id, "reason": "accident"})
        over = await passenger.hears("ride_status_update", rideId=ride_id, state="cancelled")
        assert over["reason"] == "accident"
        assert (
            await passenger.refused("cancel_ride", {"rideId": ride_id, "commandId": "again"}) == "wrong_state"
        )


async def test_steps_out_of_order_are_refused(stack: RunningStack) -> None:
    spot = stack.spot()
    async with phone(stack, "driver") as driver, phone(stack, "passenger") as passenger:
        ride_id = await assigned_ride(passenger, driver, spot)
        step = "ride_status_update"
        assert await driver.refused(step, {"rideId": ride_id, "status": "completed"}) == "wrong_state"
        assert await passenger.refused(step, {"rideId": ride_id, "status": "arrived"}) == "forbidden"
        assert await driver.refused(step, {"rideId": ride_id, "status": "teleported"}) == "bad_request"
        assert await driver.refused("go_offline", {}) == "wrong_state"
        answer = await passenger.ask("go_offline", {})
        assert answer["error"]["code"] == "forbidden"
        assert "for the role courier or driver; yours is passenger" in answer["error"]["message"]
        await driver.call(step, {"rideId": ride_id, "status": "arrived"})
        assert await driver.refused(step, {"rideId": ride_id, "status": "no_show"}) == "wrong_state"


async def test_a_scheduled_ride_is_dispatched_in_time(stack: RunningStack) -> None:
    spot = stack.spot("planned")
    async with phone(stack, "driver") as driver, phone(stack, "passenger") as passenger:
        await online(driver, spot.at(100.0))
        at = datetime.now(UTC) + timedelta(seconds=1.2)
        ride_id = await request(passenger, spot, scheduledAt=at.isoformat(timespec="milliseconds"))
        assert (await passenger.hears("ride_status_update", rideId=ride_id))["state"] == "scheduled"
        assert driver.heard("offer") == []
        offer = await offered(driver, ride_id)
        assert datetime.fromisoformat(offer["timestamp"]) > at - timedelta(seconds=0.6)
        await accepted(driver, ride_id)
        assert passenger.assert_gapless(f"ride:{ride_id}")[0] == 1


async def test_a_ride_starts_with_the_code_only(stack: RunningStack) -> None:
    spot = stack.spot("strict")
    async with phone(stack, "driver") as driver, phone(stack, "passenger") as passenger:
        ride_id = await assigned_ride(passenger, driver, spot)
        secret = (await passenger.hears("notification", type="ride_code"))["data"]["code"]
        await driver.call("ride_status_update", {"rideId": ride_id, "status": "arrived"})
        start = {"rideId": ride_id, "status": "in_progress"}
        assert await driver.refused("ride_status_update", start) == "bad_request"
        wrong = f"{(int(secret) + 1) % 1_000_000:06d}"
        assert await driver.refused("ride_status_update", {**start, "otp": wrong}) == "forbidden"
        assert (await driver.call("ride_status_update", {**start, "otp": secret}))["state"] == "in_progress"
        assert secret not in str(driver.log)


async def test_nobody_comes_to_the_pickup(stack: RunningStack) -> None:
    spot = stack.spot("brief")
    async with phone(stack, "driver") as driver, phone(stack, "passenger") as passenger:
        ride_id = await assigned_ride(passenger, driver, spot)
        await driver.call("ride_status_update", {"rideId": ride_id, "status": "arrived"})
        over = await passenger.status("no_show")
        assert over["status"] == "cancelled" and over["updatedBy"] == "system"
        await driver.status("no_show")
        assert (await driver.call("go_offline", {}))["state"] == "offline"


async def test_history_shows_the_ride(stack: RunningStack) -> None:
    spot = stack.spot()
    async with phone(stack, "driver") as driver, phone(stack, "passenger") as passenger:
        ride_id = await assigned_ride(passenger, driver, spot)
        said = await passenger.call("send_message", {"rideId": ride_id, "message": "Здравствуйте 🚕"})
        for step, north_m in enumerate((240.0, 170.0, 100.0)):
            await drive(driver, passenger, ride_id, spot.at(north_m, step * 5.0))
        for state in ("arrived", "in_progress", "completed"):
            await driver.call("ride_status_update", {"rideId": ride_id, "status": state})
        await passenger.status("completed")

    async def written() -> dict[str, Any] | None:
        status, body = await stack.get(passenger.person, f"/api/rides/{ride_id}")
        if status != 200 or body["data"]["state"] != "completed":
            return None
        # facts and positions are drained apart: the last point may come after the last fact
        tracks = [f for f in body["data"]["track"]["features"] if f["properties"]["role"] == "track"]
        return body if tracks and tracks[0]["properties"]["points"] >= 3 else None

    body = await wait_until(written, 10.0)
    ride = body["data"]
    assert ride["driverId"] == driver.person.id and ride["passengerId"] == passenger.person.id
    assert isinstance(body["historyLagMs"], int | float)
    room_facts = [(f["seq"], f["event"]) for f in ride["facts"]]
    assert [seq for seq, _ in room_facts] == list(
        range(1, len(passenger.assert_gapless(f"ride:{ride_id}")) + 1)
    )
    assert room_facts[2] == (3, "driver_assigned") and room_facts[3] == (4, "new_message")
    (line,) = ride["messages"]
    assert (line["id"], line["message"], line["senderId"]) == (
        said["id"],
        "Здравствуйте 🚕",
        passenger.person.id,
    )
    track = next(f for f in ride["track"]["features"] if f["properties"]["role"] == "track")
    assert track["geometry"]["type"] == "LineString"
    first = spot.at(240.0, 0.0)
    assert track["geometry"]["coordinates"][0] == pytest.approx(
        [first["longitude"], first["latitude"]], abs=1e-6
    )
    for who in (passenger.person, driver.person):
        status, body = await stack.get(who, "/api/rides")
        assert status == 200 and [r["id"] for r in body["data"]] == [ride_id]
    stranger = await stack.person("passenger")
    assert (await stack.get(stranger, f"/api/rides/{ride_id}"))[0] == 404


async def test_two_requests_and_one_driver(stack: RunningStack) -> None:
    """Never two jobs for one, and the second goes to him once he is free."""
    spot = stack.spot()
    async with (
        phone(stack, "driver") as driver,
        phone(stack, "passenger") as one,
        phone(stack, "passenger") as two,
    ):
        await online(driver, spot.at(100.0))
        ids = await asyncio.gather(request(one, spot), request(two, spot))
        offer = await driver.hears("offer")
        first = offer["job"]["rideId"]
        (second,) = set(ids) - {first}
        await accepted(driver, first)
        assert len(driver.heard("offer")) == 1
        for state in ("arrived", "in_progress", "completed"):
            await driver.call("ride_status_update", {"rideId": first, "status": state})
        await accepted(driver, second)


async def test_an_id_in_capitals_is_the_same_id(stack: RunningStack) -> None:
    """Swift writes UUIDs so."""
    async with phone(stack, "passenger") as passenger:
        ride_id = new_id().upper()
        asked = {"rideId": ride_id, "class": "economy", **stack.spot().trip}
        first = await passenger.call("request_ride", asked)
        assert await passenger.call("request_ride", {**asked, "rideId": ride_id}) == first
        assert (await passenger.call("join_ride", {"rideId": ride_id}))["rideId"] == first["rideId"]
        assert (await passenger.call("cancel_ride", {"rideId": ride_id}))["state"] == "cancelled"
