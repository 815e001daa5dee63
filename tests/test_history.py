"""History: who may read what, in the shapes the apps expect, page by page."""

import re
from datetime import timedelta
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from storage.keyset import BadCursor
from storage.postgis import Database
from storage.projection import Row, merge
from storage.records import Message, Parcel, Read, UserId
from storage.sink import Sink
from tests.drainkit import looking, new_id
from tests.historykit import START, Town, ms

ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


@pytest_asyncio.fixture
async def town(database_url: str) -> Any:
    db = await Database.open(database_url, size=2, timeout_s=5.0)
    async with looking(database_url) as kept:
        town = Town(kept.conn, db)
        await town.settle()
        yield town
    await db.close()


async def test_ride_is_what_the_apps_expect(town: Town) -> None:
    job = town.job("ride", note="blue door")
    await town.keep(job)
    page = await town.history.my_jobs(town.ann, "ride")
    (ride,) = page["rides"]
    assert page["pagination"] == {"limit": 20, "hasMore": False, "nextCursor": None}
    assert (ride["id"], ride["status"], ride["state"]) == (job.id, "completed", "completed")
    assert ride["origin"] == {"latitude": 37.78, "longitude": -122.41, "address": "1 Market St"}
    assert (ride["pricePerSeat"], ride["fare"]) == (12.5, {"amount": 1250, "currency": "USD"})
    assert (ride["distance"], ride["estimatedDuration"]) == (3.1, 10.0)
    assert ride["driver"] == {
        "id": town.bob, "firstName": "Bob", "lastName": "Lee", "profilePicture": None, "rating": 0, "totalRides": 1,
    }  # fmt: skip
    assert ride["vehicle"]["licensePlate"] == "ABC 1" and ride["passenger"]["firstName"] == "Ann"
    for name in ("createdAt", "updatedAt", "departureTime", "endedAt"):
        assert ISO.fullmatch(ride[name])
    text = msgspec.json.encode(page)
    assert b"9182" not in text and msgspec.json.decode(text) == page


async def test_package_is_what_the_apps_expect(town: Town) -> None:
    parcel = Parcel(
        size="small", weight_kg=1.5, recipient_name="Eve", recipient_phone="+15550100", tier="express"
    )
    job = town.job("package", parcel=parcel)
    open_job = town.job(
        "package", parcel=parcel, state="searching", driver_id=None, ended_ms=0, created_ms=ms() - 1
    )
    await town.keep(job, open_job)
    delivered, searching = (await town.history.my_jobs(town.ann, "package"))["packages"]
    assert (delivered["id"], delivered["title"], delivered["packageSize"]) == (
        job.id,
        "Small package",
        "small",
    )
    assert delivered["pickupCoordinates"] == [-122.41, 37.78]
    assert (delivered["senderPriceOffer"], delivered["isActive"]) == (12.5, True)
    agreement = delivered["deliveryAgreement"]
    assert (agreement["courierId"], agreement["status"], agreement["agreedPrice"]) == (
        town.bob,
        "completed",
        12.5,
    )
    assert ISO.fullmatch(agreement["deliveryConfirmedAt"]) and agreement["courier"]["firstName"] == "Bob"
    assert searching["deliveryAgreement"] is None and searching["status"] == "pending"


async def test_only_parties_and_admins_read_a_job(town: Town) -> None:
    for kind in ("ride", "package"):
        job = town.job(kind, parcel=Parcel(size="small") if kind == "package" else None)
        await town.keep(job)
        await town.say(job, job.room, 1, "driver_assigned", 61)
        await town.say(job, f"user:{town.bob}", 1, "offer", 0)
        await town.conn.execute(
            "insert into chat_messages values ($1, $2, $3, $4, 'Ann', 'text', 'hello', $5)",
            job.id, new_id(), kind, town.ann, START + timedelta(minutes=2),
        )  # fmt: skip
        await town.drive(job, 3)
        await town.conn.execute("delete from locations where job_id <> $1", job.id)
        for asker in (town.ann, town.bob, town.di):
            whole = await town.history.job(asker, kind, job.id)
            assert whole is not None
            # the job's own room only: what was said to a user alone stays with him
            assert [(fact["event"], fact["room"]) for fact in whole["facts"]] == [
                ("driver_assigned", job.room)
            ]
            assert [line["message"] for line in whole["messages"]] == ["hello"]
            assert len(whole["track"]["features"]) == 3
        for asker in (town.cy, new_id()):
            assert await town.history.job(asker, kind, job.id) is None
            assert await town.history.track(asker, kind, job.id) is None
            assert (await town.history.facts(asker, kind, job.id))["facts"] == []
            assert (await town.history.messages(asker, kind, job.id))["messages"] == []
            assert (await town.history.my_jobs(asker, kind))[f"{kind}s"] == []
        other = "package" if kind == "ride" else "ride"
        for where in ((other, job.id), (kind, new_id()), (kind, "temp_17"), ("users", job.id), (kind, "")):
            assert await town.history.job(town.di, *where) is None
        await town.conn.execute("truncate locations")


async def test_lists_of_everybody_are_for_admins(town: Town) -> None:
    await town.keep(town.job("ride"), town.job("package", parcel=Parcel(size="small")))
    h = town.history
    for asker in (town.ann, town.bob, town.cy, new_id()):
        assert (await h.all_users(asker))["data"] == (await h.all_couriers(asker))["data"] == []
        assert (await h.all_jobs(asker, "ride"))["data"] == (await h.all_jobs(asker, "package"))["data"] == []
        assert await h.courier_analytics(asker) is None
    await town.conn.execute("update users set status = 'suspended' where id = $1", town.di)
    assert (await h.all_users(town.di))["data"] == []


async def test_admin_shapes(town: Town) -> None:
    rides = [
        town.job("ride"),
        town.job("ride", state="searching", driver_id=None, driver_name="", ended_ms=0),
    ]
    parcel = Parcel(size="medium", weight_kg=3.0)
    await town.keep(
        *rides, town.job("package", parcel=parcel), town.job("package", parcel=parcel, state="cancelled")
    )
    await town.conn.execute(
        "insert into reviews (job_id, reviewer_id, reviewed_id, rating) values ($1, $2, $3, 4)",
        rides[0].id,
        town.ann,
        town.bob,
    )
    h = town.history
    users = (await h.all_users(town.di))["data"]
    assert {user["name"] for user in users} == {"Ann Lee", "Bob Lee", "Cy Lee", "Di Lee"}
    assert set(users[0]) == {"id", "name", "email", "role", "status", "verified", "joinDate", "lastActive"}
    found = {row["id"]: row for row in (await h.all_jobs(town.di, "ride"))["data"]}
    assert found[rides[0].id]["status"] == "completed" and found[rides[0].id]["driverName"] == "Bob Lee"
    assert found[rides[1].id]["status"] == "active" and found[rides[1].id]["driverId"] is None
    assert found[rides[0].id]["route"] == {"from": "1 Market St", "to": "2 Castro St"}
    packages = (await h.all_jobs(town.di, "package", status="completed"))["data"]
    assert [(row["sender"]["email"], row["courier"], row["price"]) for row in packages] == [
        ("ann@example.com", "Bob Lee", 12.5)
    ]
    (courier,) = (await h.all_couriers(town.di))["data"]
    assert (courier["name"], courier["totalDeliveries"], courier["successRate"], courier["earnings"]) == (
        "Bob Lee",
        1,
        0.5,
        12.5,
    )
    assert (courier["rating"], courier["isActive"], courier["isAvailable"]) == (4.0, True, False)
    numbers = await h.courier_analytics(town.di)
    assert numbers is not None
    assert numbers["packages"] == {
        "total": 2, "pending": 0, "inTransit": 0, "completed": 1, "totalRevenue": 12.5, "totalFees": 0,
        "avgDistance": 3.1,
    }  # fmt: skip
    assert numbers["couriers"] == {
        "total": 1, "active": 1, "available": 0, "avgRating": 4.0, "totalDeliveries": 1, "totalEarnings": 12.5,
    }  # fmt: skip
    assert numbers["today"] == {"packages": 0, "revenue": 0}
    assert msgspec.json.decode(msgspec.json.encode(numbers)) == numbers


async def test_sums_of_money_are_exact(town: Town) -> None:
    """Seven times 12.51 is 87.57, not 87.57000000000001."""
    parcel = Parcel(size="small")
    await town.keep(*(town.job("package", parcel=parcel, fare_minor=1_251) for _ in range(7)))
    numbers = await town.history.courier_analytics(town.di)
    assert numbers is not None and numbers["packages"]["totalRevenue"] == 87.57
    assert numbers["couriers"]["totalEarnings"] == 87.57
    (courier,) = (await town.history.all_couriers(town.di))["data"]
    assert courier["earnings"] == 87.57
    await town.keep(*(town.job("ride", fare_minor=1_251) for _ in range(7)))
    await town.conn.execute("update rides set created_at = now()")
    assert await town.conn.fetchval("select total_revenue from ride_analytics") == 87.57


async def test_pages_give_everything_once(town: Town) -> None:
    """Also where many rows share a moment, and where one is both asked for and driven by others."""
    jobs = [town.job("ride", created_ms=ms(timedelta(seconds=i // 5))) for i in range(23)]
    driven = [
        town.job("ride", requester_id=town.cy, driver_id=town.ann, created_ms=ms(timedelta(seconds=i)))
        for i in range(7)
    ]
    await town.keep(*jobs, *driven)
    seen: list[str] = []
    cursor: str | None = None
    for _ in range(10):
        page = await town.history.my_jobs(town.ann, "ride", limit=4, cursor=cursor)
        seen += [ride["id"] for ride in page["rides"]]
        cursor = page["pagination"]["nextCursor"]
        if cursor is None:
            break
    assert len(seen) == 30 and set(seen) == {job.id for job in (*jobs, *driven)}
    newest_first = sorted((*jobs, *driven), key=lambda job: (job.created_ms, job.id), reverse=True)
    assert seen == [job.id for job in newest_first]
    only = await town.history.my_jobs(town.ann, "ride", role="driver", limit=50)
    assert {ride["id"] for ride in only["rides"]} == {job.id for job in driven}
    assert (await town.history.my_jobs(town.ann, "ride", status="cancelled"))["rides"] == []
    assert len((await town.history.all_users(town.di, limit=3))["data"]) == 3


@pytest.mark.parametrize(
    "cursor", ["x", "????", "MjAyNg", "bm90IGEgZGF0ZXxh", "MjAyNi0wMS0wMVQwMDowMDowMHxh", "é"]
)
async def test_bad_cursor_is_refused(town: Town, cursor: str) -> None:
    for ask in (
        town.history.my_jobs(town.ann, "ride", cursor=cursor),
        town.history.facts(town.ann, "ride", new_id(), cursor=cursor),
        town.history.messages(town.ann, "ride", new_id(), cursor=cursor),
        town.history.all_users(town.di, cursor=cursor),
    ):
        with pytest.raises(BadCursor):
            await ask


async def test_a_later_driver_reads_what_was_said_since_he_has_the_job(town: Town) -> None:
    for kind in ("ride", "package"):
        job = town.job(kind, parcel=Parcel(size="small") if kind == "package" else None)  # assigned at 60 s
        await town.keep(job)
        for seq, (event, at_s) in enumerate((("before", 30), ("assigned", 60), ("after", 90)), 1):
            await town.say(job, job.room, seq, event, at_s)
            await town.conn.execute(
                "insert into chat_messages values ($1, $2, $3, $4, 'Ann', 'text', $5, $6)",
                job.id, new_id(), kind, town.ann, event, START + timedelta(seconds=at_s),
            )  # fmt: skip
        whole, late = ["before", "assigned", "after"], ["assigned", "after"]
        for asker, words in ((town.ann, whole), (town.di, whole), (town.bob, late)):
            read = await town.history.job(asker, kind, job.id)
            assert read is not None
            assert [fact["event"] for fact in read["facts"]] == words
            assert [line["message"] for line in read["messages"]] == words


async def test_facts_and_messages_in_order(town: Town) -> None:
    job = town.job("ride", assigned_ms=ms())
    await town.keep(job)
    for seq in range(1, 8):
        await town.say(job, job.room, seq, f"event_{seq}", seq // 3)
    first = await town.history.facts(town.ann, "ride", job.id, limit=5)
    rest = await town.history.facts(town.ann, "ride", job.id, cursor=first["pagination"]["nextCursor"])
    assert [fact["seq"] for fact in (*first["facts"], *rest["facts"])] == [1, 2, 3, 4, 5, 6, 7]
    assert first["facts"][0]["payload"] == {"a": 1}
    lines = [
        Message(id=new_id(), job_id=job.id, kind="ride", sender_id=UserId(town.ann if i % 2 else town.bob),
                sender_name="N", type="text", text=str(i), sent_ms=ms(timedelta(seconds=i // 2)))
        for i in range(6)
    ]  # fmt: skip
    read = Read(
        job_id=job.id,
        kind="ride",
        reader_id=UserId(town.bob),
        message_id=lines[3].id,
        read_ms=ms(timedelta(seconds=9)),
    )
    rows = [
        Row("chat_messages", (line.job_id, line.id), "1-0", 1, msgspec.structs.asdict(line)) for line in lines
    ]
    rows.append(Row("chat_reads", (job.id, town.bob), "1-0", 2, msgspec.structs.asdict(read)))
    async with town.db.transaction() as conn:
        await Sink(conn, "main", "facts", "one").write_rows(merge(rows))
    page = await town.history.messages(town.bob, "ride", job.id, limit=4)
    rest = await town.history.messages(town.bob, "ride", job.id, cursor=page["pagination"]["nextCursor"])
    found = (*page["messages"], *rest["messages"])
    assert sorted(line["message"] for line in found) == list("012345") and found[0]["rideId"] == job.id
    assert {line["message"] for line in found if line["readAt"]} == {"1", "3"}


async def test_track_is_bounded(town: Town) -> None:
    job = town.job("ride", ended_ms=ms(timedelta(hours=1)))
    await town.keep(job)
    assert len((await town.history.track(town.ann, "ride", job.id) or {})["features"]) == 2
    await town.drive(job, 3210)
    await town.drive(job, 10, driver=town.cy)
    track = await town.history.track(town.ann, "ride", job.id)
    assert track is not None and track["type"] == "FeatureCollection"
    line = track["features"][2]
    assert line["geometry"]["type"] == "LineString" and line["properties"]["points"] == 3210
    assert 800 <= len(line["geometry"]["coordinates"]) <= 1001
    assert len(line["properties"]["timestamps"]) == len(line["geometry"]["coordinates"])
    assert line["geometry"]["coordinates"][-1] == [pytest.approx(-122.3679), 37.7]


async def test_lag_is_said(town: Town) -> None:
    await town.conn.execute(
        "insert into drain_cursors (shard, stream, lag_ms, refused) values ('main', 'facts', 12, 3)"
    )
    lag = await town.history.lag("main")
    assert (lag["facts"]["lag_ms"], lag["facts"]["refused"]) == (12, 3)
