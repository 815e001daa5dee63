"""Values that are nearly right, over every handler and over HTTP: an answer with a code, never a fault."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dispatch.commands import CODES
from rooms.handlers import HANDLERS
from tests.hostile import arguments_of, bystanding
from tests.phones import Raw, accepted, assigned_ride, new_id, online, phone, raw, send
from tests.stack import Person, RunningStack
from tests.support import wait_until

BATCH = 4  # fewer than the smallest burst of an event
EXAMPLES = 8  # of a batch, for each event
ODD_NUMBERS = ["NaN", "Infinity", "-Infinity", "1e999", "-1e999", "180.0001", "-181", "1e308", "1" + "0" * 400,
               '"50"', "true", "null", "[1]", '{"a":1}']  # fmt: skip
ODD_IDS = [
    "",
    "x" * 65,
    "../../etc",
    "a'b",
    "*",
    "{main}:life",
    "ride:1",
    "null",
    0,
    -1,
    10**30,
    1.5,
    True,
    [],
    {},
]


async def _tell(client: Raw, event: str, batch: list[list[Any]], own: dict[str, str]) -> None:
    for ack, arguments in enumerate(batch):
        text = json.dumps([event, *arguments])
        for name, id_ in own.items():
            text = text.replace(name, id_)
        await client.ws.send_str(f"42{ack}{text}")
        answer = await client.answer(ack)
        assert answer is not None, f"{text}: closed"
        if not answer["ok"]:
            error = answer["error"]
            assert error["code"] in CODES and len(error["message"]) < 500, f"{text}: {answer}"
            assert "our side" not in error["message"], f"{text}: {answer}"


@asynccontextmanager
async def parties(stack: RunningStack) -> AsyncIterator[tuple[dict[str, Person], dict[str, str]]]:
    """Who sends: people of every role, the first three parties of a ride and a parcel under way; and its ids."""
    spot = stack.spot("wild")
    async with (
        phone(stack, "passenger") as passenger,
        phone(stack, "driver") as driver,
        phone(stack, "courier") as courier,
    ):
        await online(courier, spot.at(100.0), ("parcel",), capacity=5)
        package = await send(passenger, spot)
        await accepted(courier, package)
        ride = await assigned_ride(passenger, driver, spot)
        people = {"passenger": passenger.person, "driver": driver.person, "courier": courier.person}
        yield people | {"admin": await stack.person("admin")}, {"$ride": ride, "$package": package}


async def test_messages_nearly_right(stack: RunningStack) -> None:
    """Over every handler, from its own class; a fault of ours would be an answer that says so, and a log."""
    async with bystanding(stack) as pair, parties(stack) as (people, own):
        loop = asyncio.get_running_loop()

        async def tell_all(event: str, role: str, batch: list[list[Any]]) -> None:
            async with raw(stack.url, people[role].token) as client:
                await _tell(client, event, batch, own)

        def run(event: str) -> None:
            roles = st.sampled_from(sorted(HANDLERS[event].who))

            @settings(max_examples=EXAMPLES)
            @given(roles, st.lists(arguments_of(event), min_size=BATCH, max_size=BATCH))
            def told(role: str, batch: list[list[Any]]) -> None:
                asyncio.run_coroutine_threadsafe(tell_all(event, role, batch), loop).result(30.0)

            told()

        # what may end the ride comes last
        for event in sorted(HANDLERS, key=lambda name: ("cancel" in name, "status" in name)):
            await asyncio.to_thread(run, event)
        await pair.undisturbed()


@pytest.mark.parametrize("field", ["latitude", "longitude"])
async def test_positions_that_are_none(stack: RunningStack, field: str) -> None:
    spot = stack.spot("patient")
    other = "longitude" if field == "latitude" else "latitude"
    async with bystanding(stack), phone(stack, "driver") as driver:
        person = await stack.person("passenger")
        await driver.call("go_online", {"classes": ["economy"], **spot.at()})
        for number in ODD_NUMBERS:
            place = f'{{"{field}":{number},"{other}":1.5}}'
            for token, event, payload in (
                (driver.person.token, "location_update", place),
                (driver.person.token, "go_online", f'{{"classes":["economy"],{place[1:]}'),
                (
                    person.token,
                    "request_ride",
                    f'{{"pickup":{place},"dropoff":{json.dumps(spot.at(900.0))}}}',
                ),
                (
                    person.token,
                    "quote",
                    f'{{"kind":"ride","dropoff":{place},"pickup":{json.dumps(spot.at())}}}',
                ),
            ):
                async with raw(stack.url, token) as client:
                    await client.ws.send_str(f'421["{event}",{payload}]')
                    answer = await client.answer(1)
                    assert answer is not None and answer["error"]["code"] == "bad_request", (
                        event,
                        number,
                        answer,
                    )
        # and minus nothing is nothing
        edge = {"heading": -0.0, "speed": 0, "accuracy": 5}
        assert (await driver.call("location_update", {**spot.at(30.0), **edge}))["kept"] is True


async def test_ids_that_are_nobodys(stack: RunningStack) -> None:
    async with bystanding(stack) as pair:
        admin = await stack.person("admin")
        for event, field in (
            ("join_ride", "rideId"), ("join_package", "packageId"), ("cancel_ride", "rideId"),
            ("leave_ride", "rideId"), ("get_online_users", "rideId"),
        ):  # fmt: skip
            async with raw(stack.url, admin.token) as client:
                for ack, id_ in enumerate(ODD_IDS[: int(HANDLERS[event].burst)]):
                    answer = await client.ask(event, {field: id_}, ack)
                    assert answer is not None and not answer["ok"], (event, id_, answer)
                    assert answer["error"]["code"] in ("bad_request", "not_found"), (event, id_, answer)
        async with phone(stack, "driver") as driver:
            for id_ in (
                "",
                ".",
                "1.1",
                f"{pair.ride}.",
                f"{pair.ride}.x",
                f"{pair.ride}.²",
                "." * 80,
                "x" * 81,
            ):
                code = await driver.refused("accept_offer", {"offerId": id_})
                assert code in ("bad_request", "offer_gone"), id_


async def test_times_that_are_none(stack: RunningStack) -> None:
    """A scheduled time far from any calendar must not come back to haunt its passenger, or the drain."""
    spot = stack.spot("patient")
    moments = ["", "yesterday", "2030-01-01", "2030-01-01T00:00:00", "0001-01-01T00:00:00+23:59",
               "9999-12-31T23:59:59-23:59", "1900-01-01T00:00:00Z", "2030-13-01T00:00:00Z"]  # fmt: skip
    async with bystanding(stack), phone(stack, "passenger") as passenger:
        for moment in moments:
            payload = {"rideId": new_id(), "scheduledAt": moment, **spot.trip}
            assert await passenger.refused("request_ride", payload) == "bad_request", moment
            parcel = {
                "packageId": new_id(),
                "recipient": {"name": "R", "phone": "+380501112233"},
                **spot.trip,
            }
            assert await passenger.refused("request_package", parcel | {"readyAt": moment}) == "bad_request"
        async with phone(stack, passenger.person) as again:
            assert again.heard("connected")[0]["jobs"] == []


async def test_text_is_kept_as_it_was_said(stack: RunningStack) -> None:
    """What PostgreSQL cannot hold is refused, over HTTP as well; all else comes back to the letter."""
    spot = stack.spot("patient")
    odd = ["'; drop table rides; --", "<script>alert(1)</script>", "\u202eright to left", "🚕" * 500, "a\tb\r\nc",
           "%s %d {0} \\x00 \\u0000", "\ufffe\uffff", "null", "x" * 4000]  # fmt: skip
    async with bystanding(stack), phone(stack, "driver") as driver, phone(stack, "passenger") as passenger:
        ride = await assigned_ride(passenger, driver, spot)
        said = {}
        for number, text in enumerate(odd):
            line = {"rideId": ride, "message": text}
            answer = await (passenger if number % 2 else driver).ask("send_message", line)
            if answer["ok"]:
                said[answer["id"]] = text
        assert len(said) == len(odd)
        path, token = "/api/commands/send_message", passenger.person.token
        for text in ("nul \x00 byte", "\x00"):
            status, body = await stack.http("POST", path, token, json={"rideId": ride, "message": text})
            assert status == 400 and json.loads(body)["code"] in ("bad_request", "VALIDATION_ERROR"), body
            refused = await passenger.ask("send_message", {"rideId": ride, "message": text})
            assert refused["error"]["message"] == json.loads(body)["error"], "one fault, the same words"
        status, body = await stack.http("POST", path, token, json={"rideId": ride, "message": "end"})
        assert status == 200
        said[json.loads(body)["data"]["id"]] = "end"

        async def kept() -> dict[str, str] | None:
            rows = await stack.rows("select id, text from chat_messages where job_id = $1", ride)
            found = {row["id"]: row["text"] for row in rows}
            return found if len(found) == len(said) else None

        assert await wait_until(kept, 10.0) == said
        assert await stack.rows("select * from dead_letters") == []


async def test_http_commands_nearly_right(stack: RunningStack) -> None:
    person = await stack.person("passenger")
    path = "/api/commands/send_message"
    bodies: list[tuple[bytes, set[int]]] = [
        (b"{", {400}), (b"[]", {400}), (b'"x"', {400}), (b"null", {400}), (b"\xff\xfe", {400}), (b"", {400}),
        (b'{"rideId":NaN}', {400}), (b"[" * 20_000, {400}), (b'{"message":"\\ud800","rideId":"x"}', {400}),
        (b'{"message":"' + b"x" * 70_000 + b'"}', {413}), (b'{"rideId":"x","message":"hi"}', {404}),
    ]  # fmt: skip
    async with bystanding(stack):
        for body, expected in bodies:
            for kind in ("application/json", "text/plain", "multipart/form-data; boundary=x", "nonsense"):
                headers = {"Content-Type": kind, "Authorization": f"Bearer {person.token}"}
                status, text = await stack.http("POST", path, data=body, headers=headers)
                assert status in expected | {429}, (body[:40], kind, status, text)
                answer = json.loads(text)
                assert answer["success"] is False and answer["code"] and answer["error"] == answer["message"]
        for event in ("connect", "nothing", "__class__", "%00", "..%2f..", "x" * 500):
            status, _ = await stack.http("POST", f"/api/commands/{event}", person.token, json={})
            assert status in (400, 404), event
        for method, where in (
            ("BREW", "/api/rides"),
            ("DELETE", "/api/users"),
            ("GET", "/api/nothing"),
            ("GET", "/x"),
        ):
            status, _ = await stack.http(method, where, person.token)
            # a method that HTTP does not know is refused by its parser
            assert status == 400 if method == "BREW" else status in (404, 405), (method, where)
