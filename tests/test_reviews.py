"""Stars over HTTP: from the parties of a job that was carried out, once, and from nobody else."""

from __future__ import annotations

from typing import Any

import pytest

from tests.phones import accepted, assigned_ride, new_id, online, phone, request
from tests.stack import Person, RunningStack
from tests.support import wait_until


async def rate(stack: RunningStack, who: Person, ride_id: str, **body: Any) -> tuple[int, str]:
    """Status, and the code of a refusal."""
    status, text = await stack.http("POST", f"/api/rides/{ride_id}/rate", who.token, json=body)
    code = text.partition('"code":"')[2].partition('"')[0]
    return status, code


async def test_each_party_once_and_when_it_is_over(stack: RunningStack) -> None:
    async with phone(stack, "driver") as driver, phone(stack, "passenger") as passenger:
        ride = await assigned_ride(passenger, driver, stack.spot())
        await stack.drained("select 1 from rides where id = $1 and driver_id is not null", ride)
        assert await rate(stack, passenger.person, ride, rating=5) == (409, "NOT_FINISHED")
        for status in ("arrived", "in_progress", "completed"):
            await driver.call("ride_status_update", {"rideId": ride, "status": status})

        async def kept() -> bool:
            return (await rate(stack, passenger.person, ride, rating=5, comment="Kind."))[0] == 201

        await wait_until(kept, 10.0)
        assert await rate(stack, passenger.person, ride, rating=5) == (201, "")
        assert await rate(stack, passenger.person, ride, rating=1) == (409, "ALREADY_RATED")
        assert await rate(stack, driver.person, ride, rating=4) == (201, "")
        rows = await stack.rows(
            "select reviewer_id, reviewed_id, rating, comment from reviews where job_id = $1", ride
        )
        people = (passenger.person.id, driver.person.id)
        assert {(r["reviewer_id"], r["reviewed_id"], r["rating"], r["comment"]) for r in rows} == {
            (*people, 5, "Kind."),
            (*reversed(people), 4, ""),
        }
        _, seen = await stack.get(passenger.person, f"/api/rides/{ride}")
        assert seen["data"]["driver"]["rating"] == 5


async def test_nobody_rates_what_was_not_carried_out_or_is_not_his(stack: RunningStack) -> None:
    async with phone(stack, "passenger") as passenger, phone(stack, "driver") as former:
        spot = stack.spot()
        await online(former, spot.at(200.0))
        ride = await request(passenger, spot)
        await accepted(former, ride)
        await former.call("cancel_ride", {"rideId": ride})
        await passenger.call("cancel_ride", {"rideId": ride})
        await stack.drained("select 1 from rides where id = $1 and state = 'cancelled'", ride)
        assert await rate(stack, passenger.person, ride, rating=5) == (409, "NOT_COMPLETED")
        assert await rate(stack, former.person, ride, rating=1) == (404, "RIDE_NOT_FOUND")
        for nothing in (new_id(), "R1", "%00"):
            assert await rate(stack, passenger.person, nothing, rating=5) == (404, "RIDE_NOT_FOUND")


@pytest.mark.parametrize("body", [{}, {"rating": 0}, {"rating": 6}, {"rating": "5"}, {"rating": True},
                                  {"rating": 4.5}, {"rating": 5, "comment": "x" * 2_001}])  # fmt: skip
async def test_wrong_stars_are_refused(stack: RunningStack, body: dict[str, Any]) -> None:
    assert await rate(stack, await stack.person("passenger"), new_id(), **body) == (400, "VALIDATION_ERROR")
