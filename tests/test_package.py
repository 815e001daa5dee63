"""A whole parcel through the stock client, with its proof code; couriers with room for more than one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.phones import Phone, accepted, drive, offered, online, phone, send
from tests.stack import RunningStack
from tests.support import wait_until

STEP = "package_status_update"


async def on_board(sender: Phone, courier: Phone, package_id: str) -> str:
    """The parcel is picked up; the code that the sender was given for it."""
    for state in ("arrived_pickup", "picked_up"):
        await courier.call(STEP, {"packageId": package_id, "status": state})

    def secret() -> list[str]:
        notes = sender.heard("notification", type="delivery_code")
        return [n["data"]["code"] for n in notes if n["data"]["packageId"] == package_id]

    return (await wait_until(secret))[0]


def other_than(code: str) -> str:
    return f"{(int(code) + 1) % 1_000_000:06d}"


@pytest.mark.parametrize("transport", ["websocket", "polling", "upgrade"])
async def test_whole_parcel(stack: RunningStack, transport: str) -> None:
    spot = stack.spot()
    async with (
        phone(stack, "courier", transport) as courier,
        phone(stack, "passenger", transport) as sender,
    ):
        await online(courier, spot.at(200.0), ("parcel",))
        package_id = await send(sender, spot, weightKg=2.5, fragile=True, note="Third floor")
        offer = await offered(courier, package_id)
        parcel = offer["job"]["parcel"]
        assert offer["kind"] == "package" and parcel["weightKg"] == 2.5 and parcel["fragile"]
        assert parcel["recipient"] == {"name": "Rosa Recipient"}
        taken = await accepted(courier, package_id)
        assert taken["status"] == "pending_pickup"
        await sender.hears("driver_assigned", packageId=package_id)
        await drive(courier, sender, package_id, spot.at(120.0))

        code = await on_board(sender, courier, package_id)
        await sender.status("picked_up", "package")
        await drive(courier, sender, package_id, spot.at(40.0))
        # the old name of the event, and the platform's word for the state
        await courier.call("update_package_status", {"packageId": package_id, "status": "arrived_dropoff"})
        done = {"packageId": package_id, "status": "completed", "proof": {"code": code}}
        assert (await courier.call(STEP, done))["state"] == "delivered"
        over = await sender.status("delivered", "package")
        assert over["status"] == "completed"
        await courier.status("delivered", "package")
        assert sender.assert_gapless(f"package:{package_id}")[0] == 1
        assert courier.assert_gapless(f"package:{package_id}")[-1] == over["seq"]
        # only the sender ever hears the code
        assert code not in str(courier.log)


async def test_one_that_is_not_ready_is_asked_for_in_time(stack: RunningStack) -> None:
    spot = stack.spot("planned")
    async with phone(stack, "courier") as courier, phone(stack, "passenger") as sender:
        await online(courier, spot.at(100.0), ("parcel",))
        at = datetime.now(UTC) + timedelta(seconds=1.2)
        ready = at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        package_id = await send(sender, spot, readyAt=ready)
        assert (await sender.hears(STEP, packageId=package_id))["state"] == "scheduled"
        assert courier.heard("offer") == []
        offer = await offered(courier, package_id)
        assert offer["job"]["readyAt"] == ready
        assert datetime.fromisoformat(offer["timestamp"]) > at - timedelta(seconds=0.6)
        await accepted(courier, package_id)
        sql = "select scheduled_at from packages where id = $1"
        assert abs((await stack.drained(sql, package_id))[0]["scheduled_at"] - at) < timedelta(milliseconds=2)


async def test_a_sender_who_was_away_at_the_pickup_gets_his_code(stack: RunningStack) -> None:
    spot = stack.spot()
    async with phone(stack, "courier") as courier:
        await online(courier, spot.at(200.0), ("parcel",))
        async with phone(stack, "passenger") as sender:
            package_id = await send(sender, spot)
            await accepted(courier, package_id)
            assert "code" not in await sender.call("join_package", package_id), "not before it is on board"
        for state in ("arrived_pickup", "picked_up"):
            await courier.call(STEP, {"packageId": package_id, "status": state})
        assert "code" not in await courier.call("join_package", package_id)
        async with phone(stack, sender.person) as back:
            (job,) = back.heard("connected")[0]["jobs"]
            assert (await back.call("join_package", package_id))["code"] == job["code"]
        await courier.call(STEP, {"packageId": package_id, "status": "arrived_dropoff"})
        done = {"packageId": package_id, "status": "completed", "proof": {"code": job["code"]}}
        assert (await courier.call(STEP, done))["state"] == "delivered"
        assert job["code"] not in str(courier.log)


async def test_only_the_right_code_delivers(stack: RunningStack) -> None:
    spot = stack.spot("strict")  # two wrong codes are one too many
    async with phone(stack, "courier") as courier, phone(stack, "passenger") as sender:
        await online(courier, spot.at(100.0), ("parcel",))
        package_id = await send(sender, spot)
        await accepted(courier, package_id)
        code = await on_board(sender, courier, package_id)
        await courier.call(STEP, {"packageId": package_id, "status": "arrived_dropoff"})
        deliver: dict[str, Any] = {"packageId": package_id, "status": "delivered"}
        assert await courier.refused(STEP, deliver) == "bad_request"
        assert await sender.refused(STEP, {**deliver, "proof": {"code": code}}) == "forbidden"
        wrong = {**deliver, "proof": {"code": other_than(code)}}
        assert await courier.refused(STEP, wrong) == "forbidden"
        assert await courier.refused(STEP, wrong) == "forbidden"  # counted: a refusal is no first answer
        right = {**deliver, "proof": {"code": code}}
        answer = await courier.ask(STEP, right)
        assert answer["error"]["code"] == "forbidden" and "Too many" in answer["error"]["message"]
        rows = await stack.drained(
            "select state, to_jsonb(packages)::text as text from packages where id = $1", package_id
        )
        assert rows[0]["state"] != "delivered" and f'"{code}"' not in rows[0]["text"]


async def test_a_parcel_that_nobody_takes_goes_back(stack: RunningStack) -> None:
    spot = stack.spot()
    async with phone(stack, "courier") as courier, phone(stack, "passenger") as sender:
        await online(courier, spot.at(100.0), ("parcel",))
        package_id = await send(sender, spot)
        await accepted(courier, package_id)
        await on_board(sender, courier, package_id)
        assert await sender.refused("cancel_package", package_id) == "wrong_state"
        move = {"packageId": package_id}
        for _ in range(2):  # a second attempt, which fails as well
            await courier.call(STEP, {**move, "status": "arrived_dropoff"})
            assert await courier.refused(STEP, {**move, "status": "failed"}) == "bad_request"
            await courier.call(STEP, {**move, "status": "failed", "reason": "nobody at home"})
        await courier.call(STEP, {**move, "status": "returning", "reason": "refused"})
        assert await courier.refused(STEP, {**move, "status": "returned"}) == "bad_request"
        proof = {"signature": "uploads/7"}
        assert (await courier.call(STEP, {**move, "status": "returned", "proof": proof}))[
            "state"
        ] == "returned"
        states = [p["state"] for p in sender.heard(STEP)]
        await sender.status("returned", "package")
        assert states.count("failed") == 2 and states.count("arrived_dropoff") == 2


async def test_a_courier_with_room_for_two(stack: RunningStack) -> None:
    """Two parcels of two senders at once; the third waits until one is delivered; no sender sees another's."""
    spot = stack.spot()
    async with (
        phone(stack, "courier") as courier,
        phone(stack, "passenger") as one,
        phone(stack, "passenger") as two,
        phone(stack, "passenger") as three,
    ):
        await online(courier, spot.at(200.0), ("parcel",), capacity=2)
        first = await send(one, spot)
        await accepted(courier, first)
        second = await send(two, spot)
        await accepted(courier, second)
        third = await send(three, spot)
        assert await courier.refused("go_online", {"classes": ["parcel"], **spot.at(), "capacity": 1}) == (
            "bad_request"
        )
        for sender, package_id in ((one, first), (two, second)):
            await drive(courier, sender, package_id, spot.at(120.0 if sender is one else 60.0))
        assert await courier.refused("go_offline", {}) == "wrong_state"
        assert [o["job"]["packageId"] for o in courier.heard("offer")] == [first, second]
        code = await on_board(one, courier, first)
        await courier.call(STEP, {"packageId": first, "status": "arrived_dropoff"})
        await courier.call(STEP, {"packageId": first, "status": "delivered", "proof": {"code": code}})
        await accepted(courier, third)
        for sender, own in ((one, first), (two, second), (three, third)):
            said = {p["packageId"] for _, p in sender.log if "packageId" in p}
            assert said == {own}


async def test_two_parcels_on_one_way(stack: RunningStack) -> None:
    """The second lies on the way of the first: fetched after it, delivered before it, and everybody is told so."""
    spot = stack.spot()
    way = {"pickup": spot.at(200.0), "dropoff": spot.at(1_000.0)}
    async with phone(stack, "passenger") as one, phone(stack, "passenger") as two:
        async with phone(stack, "courier") as courier:
            await online(courier, spot.at(-50.0), ("parcel",), capacity=3)
            first = await send(one, spot)
            await accepted(courier, first)
            second = await send(two, spot, **way)
            offer = await offered(courier, second)
            assert offer["distanceM"] == pytest.approx(250.0, abs=10.0), "by way of the first pickup"
            await accepted(courier, second)
            codes = {first: await on_board(one, courier, first)}
            there = await drive(courier, two, second, spot.at(0.0))
            last = await drive(courier, one, first, spot.at(10.0))
            assert last["etaSeconds"] > there["etaSeconds"] + 120.0, "two stops of another come before"
            codes[second] = await on_board(two, courier, second)
        async with phone(stack, courier.person) as back:
            order = [job["packageId"] for job in back.heard("connected")[0]["jobs"]]
            assert order == [second, first]
            await online(back, spot.at(50.0), ("parcel",), capacity=3)
            for package_id in order:
                move = {"packageId": package_id}
                await back.call(STEP, {**move, "status": "arrived_dropoff"})
                proof = {"code": codes[package_id]}
                done = await back.call(STEP, {**move, "status": "delivered", "proof": proof})
                assert done["state"] == "delivered"
        for sender, own in ((one, first), (two, second)):
            await sender.status("delivered", "package")
            assert {p["packageId"] for _, p in sender.log if "packageId" in p} == {own}


async def test_history_shows_the_parcel_without_its_code(stack: RunningStack) -> None:
    spot = stack.spot()
    async with phone(stack, "courier") as courier, phone(stack, "passenger") as sender:
        await online(courier, spot.at(100.0), ("parcel",))
        package_id = await send(sender, spot)
        await accepted(courier, package_id)
        code = await on_board(sender, courier, package_id)
        await courier.call(STEP, {"packageId": package_id, "status": "arrived_dropoff"})
        await courier.call(STEP, {"packageId": package_id, "status": "delivered", "proof": {"code": code}})

        async def delivered() -> dict[str, Any] | None:
            status, body = await stack.get(sender.person, f"/api/packages/{package_id}")
            return body if status == 200 and body["data"]["state"] == "delivered" else None

        body = await wait_until(delivered, 10.0)
        package = body["data"]
        assert package["deliveryAgreement"]["courierId"] == courier.person.id
        assert package["dropoffContactPhone"] == "+380 50 1234567" and package["status"] == "completed"
        assert isinstance(package["senderPriceOffer"], int | float)
        events = [fact["event"] for fact in package["facts"]]
        assert events[:3] == [STEP, STEP, "driver_assigned"] and "notification" not in events
        assert code not in str(body)
        # the courier reads what was said since he has it
        _, body = await stack.get(courier.person, f"/api/packages/{package_id}")
        assert body["data"]["facts"][0]["event"] == "driver_assigned" and code not in str(body)
