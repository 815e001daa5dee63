"""A job's id and a command's key, used again: by the same one, by another, and after the live record is gone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from redis.asyncio import Redis

from rooms.snapshot import JOBS_MAX
from storage import keys
from storage.records import OPEN_JOBS_MAX
from tests.drainkit import SHARD
from tests.phones import new_id, phone
from tests.stack import RunningStack, Spot

Asked = dict[str, Any]
RECIPIENT = {"name": "Rosa Recipient", "phone": "+380 50 1234567"}


def _ride(spot: Spot) -> Asked:
    return {"class": "economy", **spot.trip}


def _package(spot: Spot) -> Asked:
    return {"size": "small", "recipient": RECIPIENT, **spot.trip}


both = pytest.mark.parametrize(("kind", "what"), [("ride", _ride), ("package", _package)])


async def _expire(stack: RunningStack, kind: str, job_id: str) -> None:
    """What the lifetimes of the keys do some time after a job's end."""
    room = f"{kind}:{job_id}"
    async with Redis.from_url(stack.redis_url) as redis:
        gone = [keys.job(SHARD, job_id), keys.head(SHARD, room), keys.log(SHARD, room)]
        assert await redis.delete(*gone) == 3


@both
async def test_an_id_is_never_used_again(
    stack: RunningStack, kind: str, what: Callable[[Spot], Asked]
) -> None:
    spot, id_ = stack.spot(), f"{kind}Id"
    async with phone(stack, "passenger") as owner, phone(stack, "passenger") as stranger:
        asked = {id_: new_id(), **what(spot)}
        job_id, event = asked[id_], f"request_{kind}"
        first = await owner.call(event, asked)
        row = f"select * from {kind}s where id = $1"
        await stack.drained(row, job_id)
        # the row of a live job is its own: a repeat finds the first answer, before and after the end
        assert await owner.call(event, asked) == first
        assert await stranger.refused(event, asked) == "duplicate"
        await owner.call(f"cancel_{kind}", {id_: job_id})
        before = await stack.drained(f"{row} and ended_at is not null", job_id)
        assert await owner.call(event, asked) == first
        await _expire(stack, kind, job_id)
        other = {"ride": "package", "package": "ride"}[kind]
        as_other = (_package if kind == "ride" else _ride)(spot)
        for who in (stranger, owner):
            assert await who.refused(event, asked) == "duplicate"
            assert await who.refused(event, {**asked, id_: job_id.upper()}) == "duplicate"
            assert await who.refused(f"request_{other}", {f"{other}Id": job_id, **as_other}) == "duplicate"
        assert await stack.rows(row, job_id) == before


@both
async def test_a_command_without_an_id_is_repeated_by_its_key(
    stack: RunningStack, kind: str, what: Callable[[Spot], Asked]
) -> None:
    spot, id_, event = stack.spot(), f"{kind}Id", f"request_{kind}"
    async with phone(stack, "passenger") as owner, phone(stack, "passenger") as other:
        asked = {"commandId": "tap-1", **what(spot)}
        first = await owner.call(event, asked)
        assert await owner.call(event, asked) == first
        assert await owner.refused(event, {**asked, "note": "another wish"}) == "duplicate"
        assert (await owner.call(event, {**asked, "commandId": "tap-2"}))[id_] != first[id_]
        assert (await other.call(event, asked))[id_] != first[id_]
        found = "select id from {}s where {} = $1".format(*_owner_column(kind))
        await owner.call(f"cancel_{kind}", {id_: first[id_]})
        await stack.drained(f"{found} and ended_at is not null", owner.person.id)
        await _expire(stack, kind, first[id_])
        assert await owner.refused(event, asked) == "duplicate", (
            "a key of long ago opens nothing over the old"
        )


def _owner_column(kind: str) -> tuple[str, str]:
    return kind, {"ride": "passenger_id", "package": "sender_id"}[kind]


async def test_a_requester_has_so_many_open_jobs(stack: RunningStack) -> None:
    assert OPEN_JOBS_MAX <= JOBS_MAX, "all of them fit into what a reconnecting client is told"
    spot = stack.spot()
    async with (
        phone(stack, "passenger") as owner,
        phone(stack, "passenger") as other,
        Redis.from_url(stack.redis_url) as redis,
    ):
        mine = keys.mine(SHARD, owner.person.id)
        await redis.sadd(mine, *(new_id() for _ in range(OPEN_JOBS_MAX - 1)))
        last = {"rideId": new_id(), **_ride(spot)}
        first = await owner.call("request_ride", last)
        for event, asked in (("request_ride", _ride(spot)), ("request_package", _package(spot))):
            answer = await owner.ask(event, asked)
            assert answer["error"]["code"] == "rate_limited"
            assert str(OPEN_JOBS_MAX) in answer["error"]["message"]
            assert "againInS" not in answer["error"], "waiting alone ends none of them"
        assert await owner.call("request_ride", last) == first
        await other.call("request_ride", _ride(spot))
        await owner.call("cancel_ride", {"rideId": last["rideId"]})
        await owner.call("request_ride", _ride(spot))
        await redis.delete(mine)
