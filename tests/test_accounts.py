"""Accounts on a real database: who may come in, with what, and how soon that ends."""

import asyncio
import time
from collections.abc import AsyncIterator

import bcrypt
import pytest
import pytest_asyncio

from storage.accounts import (
    SESSIONS_PER_USER,
    Accounts,
    Changes,
    EmailTaken,
    NewUser,
    NotActive,
    User,
    refresh_hash,
)
from storage.enrol import Car, Newcomer, enrol
from storage.passwords import Passwords, TooManyChecks, fits, hash_now
from storage.postgis import Database, DatabaseUnavailable

NOBODY = "00000000-0000-7000-8000-000000000000"


@pytest_asyncio.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    database = await Database.open(database_url, size=4, timeout_s=5.0)
    yield database
    await database.close()


@pytest.fixture
def accounts(database: Database) -> Accounts:
    return Accounts(database)


def new(email: str = "ada@example.org", role: str = "passenger") -> NewUser:
    return NewUser(email=email, password_hash="x", first_name="Ada", last_name="Byron", role=role)


async def test_an_address_belongs_to_one_account_however_it_is_written(accounts: Accounts) -> None:
    user = await accounts.register(new("Ada@Example.org"))
    with pytest.raises(EmailTaken):
        await accounts.register(new("ada@example.ORG"))
    found = await accounts.find_by_email("ADA@EXAMPLE.ORG")
    assert found is not None and found[0] == user and found[1] == "x"
    assert await accounts.find_by_email("nobody@example.org") is None


async def test_registering_twice_at_once_makes_one_account(accounts: Accounts) -> None:
    done = await asyncio.gather(*(accounts.register(new()) for _ in range(4)), return_exceptions=True)
    assert [type(result) for result in done if not isinstance(result, User)] == [EmailTaken] * 3


async def test_a_profile_changes_field_by_field(accounts: Accounts, database: Database) -> None:
    user = await accounts.register(new())
    await database.execute(
        "update users set is_phone_verified = true, phone = '+49123' where id = $1", user.id
    )
    same = await accounts.change(user.id, Changes(first_name="Augusta", phone="+49123"))
    assert (same.first_name, same.last_name, same.is_phone_verified) == ("Augusta", "Byron", True)
    assert not (await accounts.change(user.id, Changes(phone="+49999"))).is_phone_verified
    assert (await accounts.profile(user.id)).phone == "+49999"
    with pytest.raises(NotActive):
        await accounts.change(NOBODY, Changes(first_name="Nobody"))


async def test_a_session_is_known_until_it_is_revoked(accounts: Accounts) -> None:
    user = await accounts.register(new(role="driver"))
    session = await accounts.open_session(user.id, life_s=60)
    who = await accounts.who(session.session_id, user.id)
    assert who is not None
    assert (who.user_id, who.session_id, who.role, who.name) == (
        user.id,
        session.session_id,
        "driver",
        "Ada Byron",
    )
    assert who.carrier.vehicle is None
    assert (await accounts.refresh(session.refresh_token)).session_id == session.session_id
    assert (await accounts.refresh(session.refresh_token)).user_id == user.id, "reusable until logout"
    await accounts.revoke(session.session_id)
    await accounts.revoke(session.session_id)
    assert await accounts.who(session.session_id, user.id) is None
    assert await accounts.refresh(session.refresh_token) is None


async def test_a_session_ends_by_itself(accounts: Accounts, database: Database) -> None:
    user = await accounts.register(new())
    session = await accounts.open_session(user.id, life_s=3600)
    await database.execute("update sessions set created_at = now() - interval '2 h', expires_at = now()")
    assert await accounts.who(session.session_id, user.id) is None
    assert await accounts.refresh(session.refresh_token) is None


@pytest.mark.parametrize("status", ["suspended", "deactivated", "pending_verification"])
async def test_a_blocked_user_is_nobody_at_once(accounts: Accounts, database: Database, status: str) -> None:
    user = await accounts.register(new())
    session = await accounts.open_session(user.id, life_s=60)
    await database.execute("update users set status = $2 where id = $1", user.id, status)
    assert await accounts.who(session.session_id, user.id) is None
    assert await accounts.refresh(session.refresh_token) is None
    with pytest.raises(NotActive):
        await accounts.open_session(user.id, life_s=60)


async def test_a_session_speaks_for_its_own_user_only(accounts: Accounts) -> None:
    ada, bob = await accounts.register(new()), await accounts.register(new("bob@example.org"))
    session = await accounts.open_session(ada.id, life_s=60)
    assert await accounts.who(session.session_id, bob.id) is None
    for rubbish in ("", "x", "'; drop table users; --", NOBODY, "\0", "{" + ada.id + "}"):
        assert await accounts.who(rubbish, ada.id) is None
        assert await accounts.who(session.session_id, rubbish) is None


async def test_refresh_tokens_are_kept_as_hashes(accounts: Accounts, database: Database) -> None:
    user = await accounts.register(new())
    session = await accounts.open_session(user.id, life_s=60, user_agent="app\0" + "x" * 500)
    (row,) = await database.fetch("select * from sessions")
    assert bytes(row["refresh_hash"]) == refresh_hash(session.refresh_token)
    assert session.refresh_token not in str(dict(row)) and len(session.refresh_token) >= 43
    assert row["user_agent"] == ("app" + "x" * 500)[:200]
    for other in (session.session_id, row["refresh_hash"].hex(), "", "\0", "\ud800"):
        assert await accounts.refresh(other) is None


async def test_a_user_keeps_a_bounded_number_of_sessions(accounts: Accounts, database: Database) -> None:
    user = await accounts.register(new())
    opened = [await accounts.open_session(user.id, life_s=60) for _ in range(SESSIONS_PER_USER + 3)]
    alive = [session for session in opened if await accounts.who(session.session_id, user.id)]
    assert alive == opened[3:]
    assert await database.fetchval("select count(*) from sessions") == SESSIONS_PER_USER


async def test_who_tells_what_a_driver_drives(accounts: Accounts, database: Database) -> None:
    car = Car("Skoda", "Octavia", 2020, "white", "AB-1234-C", "sedan", 4)
    people = [
        Newcomer(email=f"{role}@example.org", first_name="A", last_name="B", role=role, car=car_of)
        for role, car_of in (("driver", car), ("courier", None), ("passenger", None))
    ]
    async with database.transaction() as conn:
        driver, courier, _ = await enrol(conn, people)
    session = await accounts.open_session(driver, life_s=60)
    who = await accounts.who(session.session_id, driver)
    assert who is not None and who.carrier.vehicle is not None
    assert who.carrier.vehicle.line == "white Skoda Octavia, AB-1234-C"
    assert (
        await accounts.carrier(driver, None)
        == await accounts.carrier(driver, who.carrier.vehicle.id)
        == who.carrier
    )
    assert await accounts.carrier(courier, who.carrier.vehicle.id) is None
    assert await accounts.carrier(driver, "my car") is None
    await database.execute("update vehicles set status = 'suspended'")
    assert (await accounts.who(session.session_id, driver)).carrier.vehicle is None
    assert await database.fetchval("select count(*) from courier_profiles where user_id = $1", courier) == 1


async def test_an_outage_is_one_exception(database_url: str) -> None:
    database = await Database.open(database_url, size=1, timeout_s=0.3)
    try:
        async with database.connection():
            with pytest.raises(DatabaseUnavailable):
                await Accounts(database).who(NOBODY, NOBODY)
    finally:
        await database.close()


# Passwords


def test_which_passwords_fit() -> None:
    assert fits("12345678") and fits("x" * 72) and fits("пароль")  # 12 bytes
    assert not fits("1234567") and not fits("x" * 73) and not fits("я" * 37) and not fits("")


async def test_passwords_are_checked_and_odd_ones_are_wrong_not_errors() -> None:
    passwords = Passwords(4, 8)
    try:
        hashed = await passwords.hash("correct horse")
        assert await passwords.check("correct horse", hashed)
        for wrong in ("correct hors", "", "x" * 73, "x" * 10_000, "\0", "\ud800", "correct horse\0"):
            assert not await passwords.check(wrong, hashed)
        assert not await passwords.check("-", None) and not await passwords.check("-", "")
    finally:
        passwords.close()


async def test_no_hash_takes_as_long_as_a_hash() -> None:
    passwords = Passwords(9, 8)
    hashed = hash_now("correct horse", 9)

    async def seconds(value: str | None) -> float:
        best_s = 1e9
        for _ in range(3):
            began_s = time.process_time()  # what this process works, however busy the machine is
            await passwords.check("wrong horse", value)
            best_s = min(best_s, time.process_time() - began_s)
        return best_s

    try:
        with_hash, without, empty = await seconds(hashed), await seconds(None), await seconds("")
    finally:
        passwords.close()
    assert 0.6 < without / with_hash < 1.7 and 0.6 < empty / with_hash < 1.7


async def test_a_full_queue_refuses_and_says_when_to_come_back() -> None:
    passwords = Passwords(8, 3)
    try:
        waiting = [asyncio.ensure_future(passwords.check("x" * 8, None)) for _ in range(3)]
        await asyncio.wait(waiting, timeout=0.001)
        with pytest.raises(TooManyChecks) as full:
            await passwords.check("x" * 8, None)
        assert full.value.retry_after_s >= 1
        waiting[0].cancel()  # who goes away does not free a place before the work is done
        await asyncio.gather(*waiting, return_exceptions=True)
        assert not await passwords.check("x" * 8, None)
    finally:
        passwords.close()


async def test_cost_12_does_not_hold_up_the_loop() -> None:
    passwords = Passwords(12, 8)
    late_s: list[float] = []

    async def watch() -> None:
        while True:
            began_s = time.perf_counter()
            await asyncio.wait([never], timeout=0.005)
            late_s.append(time.perf_counter() - began_s - 0.005)

    never = asyncio.get_running_loop().create_future()
    watching = asyncio.ensure_future(watch())
    try:
        began_s = time.perf_counter()
        hashed = await passwords.hash("correct horse")
        assert time.perf_counter() - began_s > 0.1, "cost 12 is not this cheap"
        assert bcrypt.checkpw(b"correct horse", hashed.encode()) and hashed.startswith("$2b$12$")
        assert (
            await asyncio.gather(*(passwords.check("correct horse", hashed) for _ in range(3))) == [True] * 3
        )
    finally:
        watching.cancel()
        passwords.close()
    assert len(late_s) > 20
    assert sorted(late_s)[-3] < 0.15, "the loop stood still while passwords were checked"
