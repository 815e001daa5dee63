"""Chat, read marks, typing and who is here, between the parties of a job; and what becomes of it in history."""

from __future__ import annotations

from typing import Any

from tests.phones import assigned_ride, new_id, phone
from tests.stack import RunningStack
from tests.support import wait_until


async def test_lines_come_in_order_to_both_and_to_every_device(stack: RunningStack) -> None:
    spot = stack.spot()
    async with phone(stack, "driver") as driver, phone(stack, "passenger") as passenger:
        ride_id = await assigned_ride(passenger, driver, spot)
        async with phone(stack, passenger.person) as tablet:
            told = []
            for number in range(6):
                who = driver if number % 2 else passenger
                answer = await who.call("send_message", {"rideId": ride_id, "message": f"line {number}"})
                told.append(answer["id"])
            for client in (driver, passenger, tablet):
                lines = await wait_until(
                    lambda c=client: c.heard("new_message")[5:] and c.heard("new_message")
                )
                assert [line["id"] for line in lines] == told
                assert [line["senderId"] for line in lines[:2]] == [passenger.person.id, driver.person.id]
                assert lines[0]["senderName"] == passenger.person.name and lines[0]["type"] == "text"
                client.assert_gapless(f"ride:{ride_id}")


async def test_a_line_sent_again_is_said_once(stack: RunningStack) -> None:
    spot = stack.spot()
    async with phone(stack, "driver") as driver, phone(stack, "passenger") as passenger:
        ride_id = await assigned_ride(passenger, driver, spot)
        line = {"id": new_id(), "rideId": ride_id, "message": "I am at the gate"}
        first = await passenger.call("send_message", line)
        assert await passenger.call("send_message", line) == first
        assert await passenger.refused("send_message", {**line, "message": "or not"}) == "duplicate"
        assert await driver.refused("send_message", line) == "duplicate", "acked, it would not be kept"
        old_app = {**line, "id": new_id(), "senderId": driver.person.id, "timestamp": "2020-01-01T00:00:00Z"}
        last = await passenger.call("send_message", {**old_app, "message": "last"})
        await driver.hears("new_message", id=last["id"])
        lines = driver.heard("new_message")
        assert [entry["message"] for entry in lines] == ["I am at the gate", "last"]
        # who sent it is who was logged in, and when is ours to say
        assert {entry["senderId"] for entry in lines} == {passenger.person.id}
        assert lines[1]["timestamp"] == last["timestamp"] > "2021"
        rows = await stack.drained(
            "select count(*) from chat_messages where job_id = $1 having count(*) > 1", ride_id
        )
        assert rows == [{"count": 2}]


async def test_a_line_is_known_by_its_own_id_whatever_else_it_carries(stack: RunningStack) -> None:
    """Under another commandId it is still the same line: never acked twice and kept once."""
    spot = stack.spot()
    async with phone(stack, "driver") as driver, phone(stack, "passenger") as passenger:
        ride_id = await assigned_ride(passenger, driver, spot)
        line = {"id": new_id(), "rideId": ride_id, "message": "one", "commandId": "a"}
        first = await passenger.call("send_message", line)
        assert await passenger.call("send_message", {**line, "commandId": "b"}) == first
        assert await passenger.refused("send_message", {**line, "message": "two", "commandId": "c"}) == (
            "duplicate"
        )


async def test_read_marks_are_told_and_kept(stack: RunningStack) -> None:
    spot = stack.spot()
    async with phone(stack, "driver") as driver, phone(stack, "passenger") as passenger:
        ride_id = await assigned_ride(passenger, driver, spot)
        line = await passenger.call("send_message", {"rideId": ride_id, "message": "Where are you?"})
        await driver.call("message_read", {"rideId": ride_id, "messageId": line["id"]})
        mark = await passenger.hears("message_read", messageId=line["id"])
        assert mark["readerId"] == driver.person.id

        async def read() -> list[dict[str, Any]]:
            status, body = await stack.get(passenger.person, f"/api/rides/{ride_id}")
            lines = body["data"]["messages"] if status == 200 else []
            return [entry for entry in lines if entry["readAt"]]

        assert [entry["id"] for entry in await wait_until(read, 10.0)] == [line["id"]]


async def test_chat_begins_with_the_driver_and_ends_with_the_ride(stack: RunningStack) -> None:
    spot = stack.spot()
    async with phone(stack, "driver") as driver, phone(stack, "passenger") as passenger:
        ride_id = new_id()
        await passenger.call("request_ride", {"rideId": ride_id, **spot.trip})
        line = {"rideId": ride_id, "message": "hello?"}
        assert await passenger.refused("send_message", line) == "wrong_state"
        await passenger.call("cancel_ride", ride_id)
        ride_id = await assigned_ride(passenger, driver, spot)
        await passenger.call("cancel_ride", ride_id)
        for client in (passenger, driver):
            assert await client.refused("send_message", {**line, "rideId": ride_id}) == "wrong_state"


async def test_typing_and_who_is_here(stack: RunningStack) -> None:
    spot = stack.spot()
    async with phone(stack, "driver") as driver, phone(stack, "passenger") as passenger:
        ride_id = await assigned_ride(passenger, driver, spot)
        await driver.call("typing_start", {"rideId": ride_id})
        sign = await passenger.hears("user_typing", isTyping=True)
        assert (sign["userId"], sign["userName"]) == (driver.person.id, driver.person.name)
        await driver.call("typing_stop", ride_id)
        await passenger.hears("user_typing", isTyping=False)
        await driver.call("ping")
        assert driver.heard("user_typing") == []
        everybody = sorted([driver.person.id, passenger.person.id])
        here = await passenger.call("get_online_users", {"rideId": ride_id})
        assert here["userIds"] == everybody and here["count"] == 2
        assert (await passenger.hears("online_users"))["userIds"] == everybody
        async with phone(stack, "admin") as admin:  # who looks on is no party's business
            assert (await admin.call("join_ride", {"rideId": ride_id}))["members"] == everybody
            assert (await passenger.call("get_online_users", {"rideId": ride_id}))["userIds"] == everybody
            await driver.call("typing_start", {"rideId": ride_id})
            await admin.hears("user_typing", isTyping=True)
            await admin.call("leave_ride", {"rideId": ride_id})
            await driver.call("typing_stop", {"rideId": ride_id})
            await passenger.hears("user_typing", isTyping=False)
            for event in ("user_joined_ride", "user_left_ride"):
                assert admin.person.id not in [told["userId"] for told in passenger.heard(event)]
        await driver.close()
        await wait_until(lambda: _alone(passenger, ride_id))


async def _alone(passenger: Any, ride_id: str) -> bool:
    answer = await passenger.ask("get_online_users", {"rideId": ride_id})
    return bool(answer.get("count") == 1)
