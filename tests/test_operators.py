"""Admin commands end to end: what PostgreSQL owns in one transaction with its line, live jobs by way of the drain.

The rows of storage/operators.py's table, and what people outside notice of each command.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from storage import operators as o
from storage.postgis import Database, DatabaseUnavailable
from tests.phones import accepted, assigned_ride, new_id, online, phone, request
from tests.stack import Person, RunningStack
from tests.support import wait_until

WHY = {"reason": "Asked for by phone"}


async def lines(stack: RunningStack, subject: str) -> list[dict[str, Any]]:
    return await stack.rows(
        "select actor_id, action, subject_type, details from audit_log where subject_id = $1 order by at, id",
        subject,
    )


async def over_http(stack: RunningStack, who: Person, event: str, body: dict[str, Any]) -> tuple[int, Any]:
    status, text = await stack.http("POST", f"/api/commands/{event}", who.token, json=body)
    return status, json.loads(text)


async def test_who_is_blocked_is_out_and_comes_back_when_he_may(stack: RunningStack) -> None:
    async with phone(stack, "admin") as admin, phone(stack, "driver") as driver:
        admin_id, his = admin.person.id, driver.person.id
        block = {"userId": his.upper(), "commandId": "block-1", **WHY}
        first = await admin.call("block_user", block)
        assert first == {"ok": True, "userId": his, "status": "suspended"}
        await driver.hears("error", code="unauthenticated")
        await wait_until(lambda: not driver.sio.connected, 10.0)
        assert (await stack.get(driver.person, "/api/auth/verify"))[0] == 401
        assert await admin.call("block_user", block) == first
        assert await admin.refused("block_user", {**block, "reason": "Another"}) == "duplicate"
        status, answer = await over_http(stack, admin.person, "block_user", block)
        assert status == 200 and answer["data"] == {"userId": his, "status": "suspended"}
        (line,) = await lines(stack, his)
        assert (line["actor_id"], line["action"], line["subject_type"]) == (admin_id, "users block", "user")
        assert line["details"] == {"before": {"status": "active"}, "after": {"status": "suspended"}, **WHY}

        await admin.call("unblock_user", {"userId": his, **WHY})
        assert (await stack.get(driver.person, "/api/auth/verify"))[0] == 200
        assert [line["action"] for line in await lines(stack, his)] == ["users block", "users unblock"]
        assert await admin.refused("block_user", {"userId": admin_id, **WHY}) == "wrong_state"
        assert await admin.refused("block_user", {"userId": new_id(), **WHY}) == "not_found"
        assert await admin.refused("block_user", {"userId": his}) == "bad_request", "without a reason"


async def test_two_people_are_kept_apart_with_a_reason(stack: RunningStack) -> None:
    admin, one, other = (
        await stack.person("admin"),
        await stack.person("passenger"),
        await stack.person("driver"),
    )
    pair = {"userId": one.id, "otherId": other.id, "commandId": "apart-1", **WHY}
    status, answer = await over_http(stack, admin, "keep_apart", pair)
    assert (status, answer["data"]) == (200, {"userId": one.id, "otherId": other.id, "apart": True})
    assert (await over_http(stack, admin, "keep_apart", pair))[0] == 200
    assert (await over_http(stack, admin, "keep_apart", {**pair, "reason": "Another"}))[0] == 409
    assert await stack.rows("select 1 from blocks where blocker_id = $1 and by_admin and stands", one.id)
    for wrong, refused in (({"reason": ""}, 400), ({"otherId": new_id()}, 404), ({"otherId": one.id}, 404)):
        assert (await over_http(stack, admin, "keep_apart", {**pair, "commandId": new_id(), **wrong}))[
            0
        ] == refused
    assert (await over_http(stack, one, "keep_apart", pair))[0] == 403
    assert (await over_http(stack, admin, "let_meet", {**pair, "commandId": "meet-1"}))[0] == 200
    assert not await stack.rows("select 1 from blocks where blocker_id = $1 and stands", one.id)
    apart, meet = await lines(stack, one.id)
    assert (apart["action"], meet["action"]) == ("users keep apart", "users let meet")
    assert apart["details"] == {"before": {"other": other.id, "apart": False},
                                "after": {"other": other.id, "apart": True}, **WHY}  # fmt: skip


async def test_a_job_by_hand_and_its_lines(stack: RunningStack) -> None:
    spot = stack.spot()
    async with (
        phone(stack, "admin") as admin,
        phone(stack, "passenger") as passenger,
        phone(stack, "driver") as first,
        phone(stack, "driver") as second,
    ):
        ride = await assigned_ride(passenger, first, spot)
        await online(second, spot.at(50_000.0))  # too far for the match
        taken = await admin.call("unassign_job", {"rideId": ride, **WHY})
        assert taken["state"] == "searching"
        await first.hears("ride_status_update", state="searching")
        give = {"rideId": ride, "driverId": second.person.id, "commandId": "give", **WHY}
        given = await admin.call("assign_job", give)
        assert await admin.call("assign_job", give) == given
        told = await passenger.hears("driver_assigned", driverId=second.person.id)
        assert told["etaSeconds"] is None
        await second.hears("driver_assigned", rideId=ride)
        await second.call("ride_status_update", {"rideId": ride, "status": "arrived"})
        await second.call("ride_status_update", {"rideId": ride, "status": "in_progress"})
        assert await admin.refused("unassign_job", {"rideId": ride, **WHY}) == "wrong_state"
        assert await admin.refused("lift_hold", {"rideId": ride, **WHY}) == "wrong_state"
        assert (
            await admin.refused("ride_status_update", {"rideId": ride, "status": "completed"})
            == "bad_request"
        )
        await admin.call("ride_status_update", {"rideId": ride, "status": "completed", **WHY})
        await passenger.status("completed")
        passenger.assert_gapless(f"ride:{ride}")

        async def all_of_it() -> list[dict[str, Any]]:
            kept = await lines(stack, ride)
            return kept if len(kept) == 3 else []

        kept = await wait_until(all_of_it, 10.0)
        assert [line["action"] for line in kept] == ["jobs unassign", "jobs assign", "jobs move"]
        assert {line["actor_id"] for line in kept} == {admin.person.id}
        moved = kept[1]["details"]
        assert (moved["before"]["driverId"], moved["after"]["driverId"]) == (None, second.person.id)
        assert moved["after"]["version"] == given["version"] and moved["reason"] == WHY["reason"]


async def test_a_driver_who_gets_his_job_back_goes_every_step_again(stack: RunningStack) -> None:
    """Old apps name a step by nothing but itself: the answer of the first time would leave the job where it is."""
    async with (
        phone(stack, "admin") as admin,
        phone(stack, "passenger") as passenger,
        phone(stack, "driver") as driver,
    ):
        ride = await assigned_ride(passenger, driver, stack.spot())
        arrived = {"rideId": ride, "status": "arrived"}
        first = await driver.call("ride_status_update", arrived)
        assert await driver.call("ride_status_update", arrived) == first
        await admin.call("unassign_job", {"rideId": ride, **WHY})
        for _ in range(2):  # he gives it back both times, and is known to have done so both times
            await admin.call("assign_job", {"rideId": ride, "driverId": driver.person.id, **WHY})
            given_back = await driver.call("cancel_ride", {"rideId": ride})
            assert (await driver.call("cancel_ride", {"rideId": ride}))["state"] == "searching"
            assert (await passenger.call("join_ride", {"rideId": ride}))["version"] == given_back["version"]
        await admin.call("assign_job", {"rideId": ride, "driverId": driver.person.id, **WHY})
        again = await driver.call("ride_status_update", arrived)
        assert again["state"] == "arrived" and again["version"] > first["version"]
        for status in ("in_progress", "completed"):
            await driver.call("ride_status_update", {"rideId": ride, "status": status})
        passenger.assert_gapless(f"ride:{ride}")


async def test_a_paused_area_takes_nothing_new_and_lets_trips_end(stack: RunningStack) -> None:
    spot = stack.spot("halted")
    async with (
        phone(stack, "admin") as admin,
        phone(stack, "passenger") as passenger,
        phone(stack, "driver") as driver,
    ):
        ride = await assigned_ride(passenger, driver, spot)
        assert (await admin.call("pause_area", {"areaId": "halted", **WHY}))["paused"]
        new = {"class": "economy", **spot.trip}

        async def refused() -> dict[str, Any]:
            ask = {"rideId": new_id(), **new}
            answer = await passenger.ask("request_ride", ask)
            if answer["ok"]:
                await passenger.call("cancel_ride", {"rideId": ask["rideId"]})
                return {}
            return {} if answer["error"]["code"] == "rate_limited" else dict(answer["error"])

        error = await wait_until(refused, 10.0)
        assert error["code"] == "no_supply" and "takes no new jobs" in error["message"]
        for state in ("arrived", "in_progress", "completed"):
            await driver.call("ride_status_update", {"rideId": ride, "status": state})
        await passenger.status("completed")
        (line,) = [line for line in await lines(stack, "halted") if line["action"] == "areas pause"]
        assert line["details"]["before"] == {"paused": False} and line["details"]["after"] == {"paused": True}


async def test_an_area_is_edited_by_whoever_has_seen_it_as_it_is(stack: RunningStack) -> None:
    admin = await stack.person("admin")
    (row,) = await stack.rows("select policy, prices, version from areas where id = 'halted'")
    edit = {"areaId": "halted", "version": row["version"], **WHY}

    async def refused(code: str, **more: Any) -> str:
        status, answer = await over_http(stack, admin, "edit_area", {**edit, **more})
        assert (status, answer["code"]) == ({"bad_request": 400, "wrong_state": 409}[code], code), answer
        return str(answer["error"])

    assert "offer_s" in await refused("bad_request", policy={"offer_s": -1})
    assert "offer_sec" in await refused("bad_request", policy={"offer_sec": 9})
    assert "rides" in await refused("bad_request", prices={"rides": {"economy": [1]}})
    prices = {"parcel_per_km_minor": 77}
    status, answer = await over_http(
        stack, admin, "edit_area", {**edit, "policy": {"offer_s": 9}, "prices": prices}
    )
    assert (status, answer["data"]["version"]) == (200, row["version"] + 1)
    await refused("wrong_state", policy={"offer_s": 8})
    (now,) = await stack.rows("select policy, prices, version from areas where id = 'halted'")
    assert now == {"policy": {"offer_s": 9}, "prices": prices, "version": row["version"] + 1}
    line = (await lines(stack, "halted"))[-1]
    assert line["details"]["after"] == {"policy.offer_s": 9, "prices.parcel_per_km_minor": 77}


@pytest.mark.parametrize("role", ["passenger", "driver", "courier"])
async def test_nobody_else_may(stack: RunningStack, role: str) -> None:
    person = await stack.person(role)
    for event in ("block_user", "assign_job", "pause_area", "edit_area", "retry_letter", "lift_hold"):
        status, answer = await over_http(stack, person, event, {"userId": person.id, **WHY})
        assert (status, answer["code"]) == (403, "forbidden"), event


async def letter(stack: RunningStack, target: str, content: dict[str, Any]) -> str:
    (row,) = await stack.rows(
        "insert into dead_letters (shard, life, stream, entry_id, item, target, sqlstate, reason, content)"
        " values ('main', 'l', 'facts', $1, 1, $2, '23514', 'a check', $3) returning id",
        new_id(), target, json.dumps(content).encode(),
    )  # fmt: skip
    return str(row["id"])


async def test_a_dead_letter_is_written_again_or_thrown_away(stack: RunningStack) -> None:
    admin, job, driver = await stack.person("admin"), new_id(), new_id()
    offer = {"id": f"{job}.1", "shard": "main", "job_id": job, "kind": "ride", "driver_id": driver, "state": "lost",
             "made_ms": 1000, "deadline_ms": 2000, "seen_ms": 0, "ended_ms": 3000, "distance_m": 1.0, "eta_s": 2.0,
             "reason": "", "version": 1, "life": "l", "committed_ms": 4000}  # fmt: skip

    async def retry(id_: str, event: str = "retry_letter") -> tuple[int, Any]:
        status, answer = await over_http(stack, admin, event, {"letterId": id_, **WHY})
        return status, answer.get("data", answer).get("outcome", answer.get("code"))

    bad = await letter(stack, "offers", {**offer, "state": "flying"})
    assert await retry(bad) == (200, "refused")
    (kept,) = await stack.rows("select reason from dead_letters where id = $1", bad)
    assert "offers_state" in kept["reason"]
    good = await letter(stack, "offers", offer)
    assert await retry(good) == (200, "written")
    assert await stack.rows("select 1 from offers where id = $1", offer["id"])
    assert await retry(good) == (404, "not_found")
    again = await letter(stack, "offers", offer)
    assert await retry(again) == (200, "nothing")
    said = await letter(stack, "chat_messages", {})
    assert await retry(said) == (409, "wrong_state")
    for one in (bad, again, said):
        assert await retry(one, "discard_letter") == (200, "discarded")
    assert not await stack.rows("select 1 from dead_letters where id = any($1)", [bad, good, again, said])
    assert [line["details"]["after"]["outcome"] for line in await lines(stack, bad)] == [
        "refused",
        "discarded",
    ]


def block(actor: str, subject: str, **more: Any) -> o.Command:
    values = {"actor": actor, "action": "users block", "subject_type": "user", "subject_id": subject}
    return o.Command(**(values | {"reason": "why", "content": "x"} | more))


async def test_the_same_command_twice_at_once(stack: RunningStack) -> None:
    admin, victim = await stack.person("admin"), await stack.person("passenger")
    store = o.Operators(stack.database)
    command = block(admin.id, victim.id, id="twice")
    answers = await asyncio.gather(*(store.set_status(command, "suspended") for _ in range(4)))
    assert answers == [answers[0]] * 4 and len(await lines(stack, victim.id)) == 1


async def test_two_edits_of_one_version(stack: RunningStack) -> None:
    """One after the other, and only the first is of what its admin saw."""
    admin = await stack.person("admin")
    (row,) = await stack.rows("select version from areas where id = 'halted'")
    edit = {"areaId": "halted", "version": row["version"], **WHY}
    told = await asyncio.gather(
        *(over_http(stack, admin, "edit_area", {**edit, "policy": {"offer_s": 10 + n}}) for n in range(4))
    )
    assert sorted(status for status, _ in told) == [200, 409, 409, 409]
    (now,) = await stack.rows("select version from areas where id = 'halted'")
    assert now["version"] == row["version"] + 1


async def test_without_postgresql_nothing_is_said_to_be_done() -> None:
    away = await Database.open("postgresql://127.0.0.1:1/nowhere", size=1, timeout_s=1.0)
    with pytest.raises(DatabaseUnavailable):
        await o.Operators(away).set_status(block(new_id(), new_id()), "suspended")
    await away.close()


async def test_who_is_no_admin_any_more(stack: RunningStack) -> None:
    admin, victim = await stack.person("admin"), await stack.person("passenger")
    await stack.rows("update users set status = 'suspended' where id = $1 returning 1", admin.id)
    with pytest.raises(o.NotAdmin):
        await o.Operators(stack.database).set_status(block(admin.id, victim.id), "suspended")
    assert await lines(stack, victim.id) == []


async def test_without_its_line_nothing_has_happened(stack: RunningStack) -> None:
    admin, victim = await stack.person("admin"), await stack.person("passenger")
    store = o.Operators(stack.database)
    with pytest.raises(Exception, match="audit_log"):  # a line that cannot be: its subject is nobody
        await store.set_status(block(admin.id, victim.id, subject_type=None), "suspended")
    (row,) = await stack.rows("select status from users where id = $1", victim.id)
    assert row["status"] == "active"


async def test_a_ride_that_an_admin_cancels(stack: RunningStack) -> None:
    spot = stack.spot()
    async with (
        phone(stack, "admin") as admin,
        phone(stack, "passenger") as passenger,
        phone(stack, "driver") as driver,
    ):
        await online(driver, spot.at(100.0))
        ride = await request(passenger, spot)
        await accepted(driver, ride)
        status, answer = await over_http(stack, admin.person, "cancel_ride", {"rideId": ride, **WHY})
        assert status == 200 and answer["data"]["state"] == "cancelled"
        assert (await passenger.status("cancelled"))["reason"] == WHY["reason"]
        (line,) = await stack.drained("select action, details from audit_log where subject_id = $1", ride)
        assert line["action"] == "jobs cancel" and line["details"]["before"]["state"] == "assigned"
