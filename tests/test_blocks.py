"""Who does not want to meet whom: kept in PostgreSQL, known to every node, and obeyed by the match."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio

from dispatch.blocks import Blocks
from server import blocks as kept
from storage import blocks
from storage.postgis import Database
from tests.historykit import Town
from tests.phones import Phone, accepted, assigned_ride, offered, online, phone, request
from tests.stack import RunningStack
from tests.support import wait_until


@pytest_asyncio.fixture
async def town(database_url: str) -> AsyncIterator[Town]:
    db = await Database.open(database_url, size=2, timeout_s=5.0)
    async with db.connection() as conn:
        town = Town(conn, db)
        await town.settle()
        await town.keep(town.job("ride"))
        yield town
    await db.close()


async def test_only_for_who_was_met_or_by_an_admin(town: Town) -> None:
    assert await blocks.block(town.db, town.ann, town.cy) == "not_met"
    assert await blocks.block(town.db, town.ann, town.bob) == "kept"
    assert await blocks.block(town.db, town.ann, town.bob) == "kept"  # said again
    assert await blocks.block(town.db, town.bob, town.ann) == "kept"  # each of the two may
    assert await blocks.block(town.db, town.ann, town.cy, by_admin=True) == "kept"
    for nobody in (town.ann, "me", "00000000-0000-0000-0000-000000000000"):
        assert await blocks.block(town.db, town.ann, nobody, by_admin=True) == "not_met"
    assert [row["id"] for row in await blocks.blocked_by(town.db, town.ann)] == [town.bob]
    await blocks.unblock(town.db, town.ann, town.bob)
    await blocks.unblock(town.db, town.cy, town.ann)  # nobody blocked him
    assert await blocks.blocked_by(town.db, town.ann) == []


async def test_what_an_admin_said_only_an_admin_takes_back(town: Town) -> None:
    async def stands() -> bool:
        [row] = await town.db.fetch("select stands from blocks")
        return bool(row["stands"])

    assert await blocks.block(town.db, town.ann, town.bob) == "kept"
    assert await blocks.block(town.db, town.ann, town.bob, by_admin=True) == "kept"
    assert await blocks.block(town.db, town.ann, town.bob) == "kept"  # said again, it stays the admin's
    await blocks.unblock(town.db, town.ann, town.bob)
    assert await stands()
    await blocks.unblock(town.db, town.ann, town.bob, by_admin=True)
    assert not await stands()
    assert await blocks.block(town.db, town.ann, town.bob) == "kept"  # his own again
    await blocks.unblock(town.db, town.ann, town.bob)
    assert not await stands()


async def test_there_is_an_end_to_it(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "BLOCKS_MAX", 1)
    assert await blocks.block(town.db, town.ann, town.bob) == "kept"
    assert await blocks.block(town.db, town.ann, town.cy, by_admin=True) == "too_many"
    assert await blocks.block(town.db, town.ann, town.bob) == "kept"
    assert await blocks.block(town.db, town.ann, town.di) == "too_many"


async def test_a_node_follows_what_changes(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "PAGE", 1)
    known, pair = Blocks(), (town.bob, town.ann)
    place = await kept.read_blocks(town.db, known)
    assert place == blocks.BEGINNING and len(known) == 0
    for blocker, other in (pair, pair[::-1], (town.di, town.cy)):
        await blocks.block(town.db, blocker, other, by_admin=True)
    place = await kept.read_blocks(town.db, known, place)
    assert len(known) == 2 and known.between(*pair) and known.between(town.cy, town.di)
    await blocks.unblock(town.db, *pair, by_admin=True)
    place = await kept.read_blocks(town.db, known, place)
    assert known.between(*pair), "the other still does not want to meet him"
    await blocks.unblock(town.db, *pair[::-1], by_admin=True)
    assert await kept.read_blocks(town.db, known, place) > place
    assert not known.between(*pair) and len(known) == 1


async def test_what_commits_late_is_read_all_the_same(town: Town) -> None:
    known = Blocks()
    await blocks.block(town.db, town.ann, town.bob)
    place = await kept.read_blocks(town.db, known)
    await blocks.block(town.db, town.di, town.cy, by_admin=True)
    earlier = place.at - blocks.OVERLAP + timedelta(seconds=5)
    await town.conn.execute("update blocks set changed_at = $1 where blocker_id = $2", earlier, town.di)
    await kept.read_blocks(town.db, known, place)
    assert known.between(town.di, town.cy)


async def blocked(stack: RunningStack, method: str, token: str, path: str) -> tuple[int, Any]:
    return await stack.http(method, f"/api/{path}", token)


def _asked(driver: Phone, ride: str) -> str:
    return driver.person.id if any(o["job"]["rideId"] == ride for o in driver.heard("offer")) else ""


async def test_two_who_do_not_want_to_meet_are_not_matched(stack: RunningStack) -> None:
    spot = stack.spot()
    async with (
        phone(stack, "passenger") as passenger,
        phone(stack, "driver") as near,
        phone(stack, "driver") as far,
    ):
        ride = await assigned_ride(passenger, near, spot)
        await stack.drained("select 1 from rides where id = $1 and driver_id is not null", ride)
        path = f"users/{near.person.id}/block"
        assert (await blocked(stack, "POST", passenger.person.token, f"users/{far.person.id}/block"))[
            0
        ] == 404
        assert (await blocked(stack, "POST", passenger.person.token, path))[0] == 200
        await passenger.call("cancel_ride", {"rideId": ride})
        await online(far, spot.at(900.0))

        async def asks_the_far_one() -> bool:
            """A node knows it within seconds."""
            again = await request(passenger, spot)
            found = await wait_until(lambda: _asked(near, again) or _asked(far, again))
            await passenger.call("cancel_ride", {"rideId": again})
            return found == far.person.id

        await wait_until(asks_the_far_one, 15.0, 0.3)
        ride = await request(passenger, spot)
        await offered(far, ride)
        assert not _asked(near, ride)
        assert near.person.id in (await blocked(stack, "GET", passenger.person.token, "users/blocked"))[1]
        assert (await blocked(stack, "DELETE", passenger.person.token, path))[0] == 200
        await accepted(far, ride)
