"""Papers that have expired: refused at go_online in words, no longer matched, and good again once they are renewed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from tests.phones import offered, online, phone, request, send
from tests.stack import RunningStack
from tests.support import wait_until

PAPER = """insert into papers (subject_id, kind, valid_until) values ($1, $2, $3)
           on conflict (subject_id, kind) do update set valid_until = excluded.valid_until"""


async def test_who_has_no_valid_papers_does_not_drive(stack: RunningStack) -> None:
    spot, now = stack.spot(), datetime.now(UTC)
    driver, insured = await stack.people("driver", 2)
    await stack.database.execute(PAPER, driver.vehicle_id, "insurance", now - timedelta(days=1))
    await stack.database.execute(PAPER, insured.vehicle_id, "insurance", now + timedelta(seconds=2))
    async with (
        phone(stack, driver) as near,
        phone(stack, insured) as far,
        phone(stack, "passenger") as passenger,
    ):
        refusal = (await near.ask("go_online", {"classes": ["economy"], **spot.at()}))["error"]
        assert refusal["code"] == "forbidden" and "insurance" in refusal["message"]
        await online(far, spot.at(900.0))
        # until the moment it expires, and no longer
        await wait_until(lambda: datetime.now(UTC) > now + timedelta(seconds=2))
        ride = await request(passenger, spot)
        # renewed: counts from the next go_online on, on the same connection
        await stack.database.execute(PAPER, driver.vehicle_id, "insurance", now + timedelta(days=9))
        await online(near, spot.at(2500.0))
        await offered(near, ride)
        assert far.heard("offer") == []


async def test_a_parcel_goes_to_a_courier_who_takes_it(stack: RunningStack) -> None:
    spot = stack.spot()
    weak, strong = await stack.people("courier", 2)
    limits = "update courier_profiles set max_weight_kg = $2, preferred_sizes = $3 where user_id = $1"
    await stack.database.execute(limits, weak.id, 3.0, ["small", "large"])
    async with phone(stack, weak) as near, phone(stack, strong) as far, phone(stack, "passenger") as sender:
        await online(near, spot.at(100.0), ("parcel",))
        await online(far, spot.at(900.0), ("parcel",))
        parcel = await send(sender, spot, size="large", weightKg=3.5)
        await offered(far, parcel)
        assert near.heard("offer") == []
        await offered(near, await send(sender, spot, size="large", weightKg=2.5))


async def test_seven_people_want_seven_seats(stack: RunningStack) -> None:
    spot = stack.spot()
    small, large = await stack.people("driver", 2)
    await stack.database.execute("update vehicles set capacity = 7 where id = $1", large.vehicle_id)
    async with (
        phone(stack, small) as near,
        phone(stack, large) as far,
        phone(stack, "passenger") as passenger,
    ):
        await online(near, spot.at(100.0))
        await online(far, spot.at(900.0))
        await offered(far, await request(passenger, spot, seats=7))
        assert await wait_until(lambda: far.heard("offer")) and near.heard("offer") == []
