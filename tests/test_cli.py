"""The shell's commands: what they write, what they refuse, and that a failure is one sentence."""

import json
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from rooms.identity import KeyRing, Ring
from server.cli import main
from tests.support import CHECKOUT, fresh_database, fresh_redis


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A configured shell whose key ring is still to be made."""
    keys = tmp_path / "keys.json"
    monkeypatch.setenv("DISPATCH_KEYS_FILE", str(keys))
    monkeypatch.setenv("DISPATCH_BCRYPT_COST", "4")
    return keys


@pytest.fixture
def shell(environment: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("DISPATCH_DATABASE_URL", database_url)
    return database_url


def run(*words: str) -> int:
    """The command in a process' place but not in one; asyncio.run needs a thread of its own here."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(main, words).result()


async def rows(url: str, sql: str) -> list[dict[str, Any]]:
    conn = await asyncpg.connect(url, timeout=10)
    try:
        return [dict(row) for row in await conn.fetch(sql)]
    finally:
        await conn.close()


def test_help_is_quick_and_lists_the_commands() -> None:
    began_s = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "server.cli", "--help"],
        capture_output=True, text=True, check=True, timeout=20,
    )  # fmt: skip
    assert time.monotonic() - began_s < 3
    for word in ("serve", "drain", "migrate", "rehydrate", "seed", "users", "keys", "areas", "settings"):
        assert word in done.stdout
    for heavy in ("asyncpg", "aiohttp", "socketio", "shapely", "h3", "jwt", "bcrypt"):
        assert f" {heavy}\n" not in done.stderr


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["nonsense"],
        ["users"],
        ["users", "token", "--role", "king"],
        ["users", "token", "--role", "driver", "--out", "x", "--count", "x"],
        ["users", "paper", "--email", "a@b.example", "--kind", "licence", "--until", "x"],
        ["rehydrate", "--max-age-h", "0"],
        ["rehydrate", "--max-age-h", "x"],
        ["serve", "--workers", "x"],
        ["serve", "--workers", "65"],
    ],
)
def test_a_wrong_call_ends_with_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert "usage: dispatch" in error and " value: " not in error, "which names a function of ours"


@pytest.mark.parametrize(
    ("setting", "words", "told"),
    [
        ("DISPATCH_PORT=many", ["settings"], "DISPATCH_PORT must be a whole number, not text."),
        ("DISPATCH_PORT=70000", ["settings"], "DISPATCH_PORT must be at most 65535. `dispatch settings`"),
        ("DISPATCH_DEBUG=perhaps", ["settings"], "DISPATCH_DEBUG must be true or false, not text."),
        ("DISPATCH_DATABASE_URL=", ["migrate"], "DISPATCH_DATABASE_URL"),
        ("DISPATCH_DATABASE_URL=postgresql://127.0.0.1:1/none", ["migrate"], "PostgreSQL runs"),
        ("DISPATCH_DATABASE_URL=postgresql://127.0.0.1:1/none", ["areas", "list"], "PostgreSQL runs"),
        ("DISPATCH_DATABASE_URL=nonsense", ["migrate"], "is not a postgresql:// address"),
        ("DISPATCH_DATABASE_URL=postgresql://host:port/x", ["seed"], "is not a postgresql:// address"),
        (
            "DISPATCH_DATABASE_URL=postgresql:///x?sslmode=x",
            ["migrate"],
            "`sslmode` parameter must be one of",
        ),
        (
            "DISPATCH_SHARD=main",
            ["areas", "policy", "--area", "x", "--shadow", "gone.json"],
            "gone.json cannot",
        ),
        ("DISPATCH_SHARD=main", ["areas", "policy", "--area", "x", "--shadow", "/"], "/ cannot be read"),
        ("DISPATCH_SHARD=main", ["areas", "put", "gone.json"], "gone.json cannot be read"),
        ("DISPATCH_KEYS_FILE=", ["keys", "init"], "DISPATCH_KEYS_FILE"),
        ("DISPATCH_KEYS_FILE=/nowhere/keys.json", ["keys", "list"], "dispatch keys init"),
    ],
)
def test_a_failure_is_one_sentence_that_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    setting: str,
    words: list[str],
    told: str,
) -> None:
    monkeypatch.setenv(*setting.split("=", 1))
    assert run(*words) == 1
    error = capsys.readouterr().err
    assert error.startswith("dispatch: ") and error.count("\n") == 1
    assert told in error and ("REDIS" in error) == ("REDIS" in setting)


@pytest.mark.parametrize("words", [["serve"], ["serve", "--workers", "2"], ["drain"]])
def test_all_that_is_missing_is_told_at_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    names = ["DISPATCH_DATABASE_URL", "DISPATCH_REDIS_URL", "DISPATCH_KEYS_FILE"]
    for name in names:
        monkeypatch.delenv(name, raising=False)
    assert run(*words) == 1
    error = capsys.readouterr().err
    assert error.startswith("dispatch: Not set: ") and error.count("\n") == 1
    needed = names if words[0] == "serve" else names[:2]
    assert [name in error for name in names] == [name in needed for name in names]
    assert ("`dispatch keys init`" in error) == (words[0] == "serve") and "`./dev run`" in error


def test_a_variable_that_is_no_setting_is_told(
    environment: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "shard").write_text("kharkiv")
    monkeypatch.setenv("DISPATCH_SHARD_FILE", str(tmp_path / "shard"))
    monkeypatch.setenv("DISPATCH_PROT", "8081")
    monkeypatch.setenv("DISPATCH_MOTTO", "a secret, perhaps")
    assert run("settings") == 0
    assert capsys.readouterr().err.splitlines() == [
        "dispatch: DISPATCH_MOTTO is no setting and is ignored.",
        "dispatch: DISPATCH_PROT is no setting and is ignored; is DISPATCH_PORT meant?",
    ]


def test_a_server_whose_port_is_taken_names_it(
    shell: str, redis_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("keys", "init") == 0
    monkeypatch.setenv("DISPATCH_REDIS_URL", redis_url)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setenv("DISPATCH_PORT", str(port))
        done = subprocess.run(
            [sys.executable, "-m", "server.cli", "serve"],
            capture_output=True, text=True, check=False, timeout=30,
        )  # fmt: skip
    assert done.returncode == 1
    assert f"Cannot listen on 127.0.0.1:{port}" in done.stderr and "DISPATCH_PORT" in done.stderr
    assert "Traceback" not in done.stderr and "DATABASE" not in done.stderr


def test_migrate_brings_an_empty_database_up_and_then_has_nothing_to_do(
    environment: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with fresh_database(template=False) as url:
        monkeypatch.setenv("DISPATCH_DATABASE_URL", url)
        assert run("users", "add", "--role", "driver", "--email", "a@b.example") == 1
        assert "dispatch migrate" in capsys.readouterr().err
        assert run("migrate") == 0
        assert "0001_accounts" in capsys.readouterr().out
        assert run("migrate") == 0
        assert "up to date" in capsys.readouterr().out


def test_lost_jobs_need_both_stores(
    shell: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DISPATCH_REDIS_URL", "redis://127.0.0.1:1/0")
    assert run("rehydrate") == 1
    assert "Redis does not answer" in capsys.readouterr().err
    with fresh_redis() as empty:  # in the shared one there may be what another test has said
        monkeypatch.setenv("DISPATCH_REDIS_URL", empty.url)
        monkeypatch.setenv("DISPATCH_DATABASE_URL", "postgresql://127.0.0.1:1/none")
        assert run("rehydrate", "--dry-run") == 1
        assert "DISPATCH_DATABASE_URL" in capsys.readouterr().err
        monkeypatch.setenv("DISPATCH_DATABASE_URL", shell)
        assert run("rehydrate", "--dry-run") == 0
        assert "no live jobs" in capsys.readouterr().out


def test_keys_are_made_once_rotated_and_listed(environment: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("keys", "init") == 0
    made = environment.read_text()
    assert environment.stat().st_mode & 0o777 == 0o600
    assert run("keys", "init") == 0
    assert environment.read_text() == made
    assert run("keys", "rotate") == 0
    ring = Ring.read(environment)
    assert len(ring.keys) == 2 and environment.stat().st_mode & 0o777 == 0o600
    capsys.readouterr()
    assert run("keys", "list") == 0
    listed = capsys.readouterr().out
    assert all(kid in listed for kid in ring.keys)
    assert not any(secret in listed for secret in ring.keys.values())


async def test_an_added_user_has_a_password_that_is_shown_once(
    shell: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("users", "add", "--role", "admin", "--email", "Root@Example.org") == 0
    password = capsys.readouterr().out.rsplit(" ", 1)[1].strip()
    (user,) = await rows(shell, "select * from users")
    assert user["role"] == "admin" and user["email"] == "Root@Example.org"
    assert password not in str(user) and user["password_hash"].startswith("$2b$04$")
    (noted,) = await rows(shell, "select * from audit_log")
    assert noted["action"] == "users add" and noted["subject_id"] == str(user["id"])
    assert password not in str(noted)

    assert run("users", "add", "--role", "driver", "--email", "root@example.ORG") == 1
    assert "has an account already" in capsys.readouterr().err
    for wrong, told in (
        (["--email", "no address"], "The email must be an email address."),
        (["--email", "a@b.example", "--phone", "12"], "The phone must be + and 2 to 15 digits."),
        (
            ["--email", "a@b.example", "--last-name", ""],
            "First and last name must have 1 to 100 characters each.",
        ),
    ):
        assert run("users", "add", "--role", "driver", *wrong) == 1
        assert capsys.readouterr().err == f"dispatch: {told}\n"
    assert len(await rows(shell, "select * from users")) == 1


async def test_a_user_is_blocked_unblocked_and_given_a_role(
    shell: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("users", "add", "--role", "passenger", "--email", "ann@example.org") == 0
    for words, status, role in (
        (["block", "--reason", "Shouts"], "suspended", "passenger"),
        (["unblock", "--reason", "Sorry"], "active", "passenger"),
        (["role", "--role", "courier"], "active", "courier"),
        (["role", "--role", "courier"], "active", "courier"),
    ):
        assert run("users", *words, "--email", "Ann@Example.org") == 0
        (user,) = await rows(shell, "select * from users")
        assert (user["status"], user["role"]) == (status, role)
    assert len(await rows(shell, "select * from courier_profiles")) == 1
    noted = await rows(shell, "select action, details ->> 'reason' as reason from audit_log order by at")
    assert [row["reason"] for row in noted[1:3]] == ["Shouts", "Sorry"]
    assert [row["action"] for row in noted][1:] == [
        "users block",
        "users unblock",
        "users role",
        "users role",
    ]
    assert run("users", "block", "--email", "ann@example.org", "--reason", " ") == 1
    assert "A reason has words." in capsys.readouterr().err
    assert run("users", "block", "--email", "nobody@example.org", "--reason", "Who?") == 1
    assert "Nobody has the address" in capsys.readouterr().err


async def test_two_thousand_tokens_in_three_seconds(shell: str, environment: Path, tmp_path: Path) -> None:
    assert run("keys", "init") == 0
    out = tmp_path / "tokens.jsonl"
    out.touch(mode=0o644)
    began_s = time.monotonic()
    assert run("users", "token", "--count", "2000", "--role", "driver", "--out", str(out)) == 0
    assert time.monotonic() - began_s < 3
    assert out.stat().st_mode & 0o777 == 0o600
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(lines) == len({line["user_id"] for line in lines}) == 2000
    ring = KeyRing.load(environment, issuer="aryv-dispatch", audience="aryv-apps")
    claims = [ring.verify(line["token"], time.time()) for line in lines]
    held = await rows(
        shell,
        """select u.id::text as user_id, s.id::text as session_id, u.first_name || ' ' || u.last_name as name
             from users u join sessions s on s.user_id = u.id join vehicles v on v.user_id = u.id
            where u.role = 'driver' and u.password_hash = ''""",
    )
    assert {(row["user_id"], row["session_id"]) for row in held} == {
        (c.user_id, c.session_id) for c in claims
    }
    assert {row["user_id"]: row["name"] for row in held} == {line["user_id"]: line["name"] for line in lines}


async def test_tokens_that_cannot_be_written_leave_no_users(
    shell: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("keys", "init") == 0
    assert run("users", "token", "--count", "2", "--role", "courier", "--out", "/nowhere/tokens") == 1
    assert await rows(shell, "select * from users") == []


async def test_courier_tokens_come_with_the_couriers_page(shell: str, tmp_path: Path) -> None:
    assert run("keys", "init") == 0
    assert run("users", "token", "--count", "3", "--role", "courier", "--out", str(tmp_path / "t")) == 0
    held = await rows(
        shell,
        "select p.vehicle_type = v.type as same from courier_profiles p join vehicles v using (user_id)",
    )
    assert [row["same"] for row in held] == [True] * 3


SQUARE = [[[36.0, 49.9], [36.1, 49.9], [36.1, 50.0], [36.0, 50.0], [36.0, 49.9]]]
BOW_TIE = [[[36.0, 49.9], [36.1, 50.0], [36.1, 49.9], [36.0, 50.0], [36.0, 49.9]]]


def area(tmp_path: Path, coordinates: Any = SQUARE, **properties: Any) -> str:
    file = tmp_path / "area.json"
    about = {"id": "demo", "name": "Demo", "currency": "EUR", **properties}
    geometry = {"type": "Polygon", "coordinates": coordinates}
    file.write_text(json.dumps({"type": "Feature", "geometry": geometry, "properties": about}))
    return str(file)


async def test_an_area_is_put_replaced_and_listed(
    shell: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("areas", "list") == 0 and "dispatch areas put" in capsys.readouterr().out
    assert run("areas", "put", area(tmp_path)) == 0
    assert "demo is at version 1" in capsys.readouterr().out
    assert run("areas", "put", area(tmp_path, policy={"offer_s": 7}, paused=True)) == 0
    assert run("areas", "list") == 0
    assert "demo  Demo  shard main  EUR  version 2  paused" in capsys.readouterr().out
    (row,) = await rows(shell, "select policy, prices from areas")
    assert json.loads(row["policy"]) == {"offer_s": 7} and json.loads(row["prices"]) == {}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"policy": {"offer_s": -1}}, "offer_s"),
        ({"policy": {"ofer_s": 5}}, "ofer_s"),
        ({"prices": {"rides": {"economy": {"base_minor": "cheap"}}}}, "prices"),
        ({"id": "Not An Id"}, "id"),
        ({"currency": "euro"}, "currency"),
        ({"coordinates": BOW_TIE}, "demo"),
        ({"coordinates": [[[190, 49.9], [191, 49.9], [191, 50], [190, 49.9]]]}, "demo"),
        ({"coordinates": []}, "demo"),
    ],
)
async def test_a_wrong_area_is_refused_before_it_is_written(
    shell: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], told: str
) -> None:
    assert run("areas", "put", area(tmp_path, **changes)) == 1
    error = capsys.readouterr().err
    assert told in error and error.count("\n") == 1
    assert await rows(shell, "select * from areas") == []


@pytest.mark.parametrize("page", ["settings", "policy", "protocol", "http"])
def test_the_printed_pages_are_those_in_docs(page: str, capsys: pytest.CaptureFixture[str]) -> None:
    command = {"http": "routes"}.get(page, page)
    assert run(command) == 0
    assert capsys.readouterr().out == (CHECKOUT / "docs" / f"{page}.md").read_text(), (
        f"run: dispatch {command} > docs/{page}.md"
    )


def test_the_schema_that_is_printed_is_the_one_that_is_kept(
    shell: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("migrate", "--print-schema") == 0
    assert capsys.readouterr().out == (CHECKOUT / "storage" / "sql" / "schema.sql").read_text()
