"""The private servers under `./dev`: they start, keep what they should, leave nothing behind, and survive a kill.

Every stack here has a folder of the test's own; the database and the Redis of the run are not touched.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
from redis.asyncio import Redis

from server.devstack import Stack, Urls, apt, compose, find, procs
from server.devstack.paths import SOCKET_PATH_MAX_BYTES
from server.devstack.redis import free_port
from server.devstack.stack import Busy, end_leftovers
from tests.support import CHECKOUT, fresh_redis, wait_until

SECOND_START_MOST_S = 5.0  # 0.3 s when nothing else runs
STOP_MOST_S = 10.0
HOLD = "import sys; from pathlib import Path; from server.devstack import Stack; \
s = Stack('run', 'dev', Path(sys.argv[1])); s.start(); print('started', flush=True); sys.stdin.read()"


@pytest.fixture(autouse=True)
def _no_configured_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DATABASE_URL", "REDIS_URL", "TEST_DATABASE_URL", "TEST_REDIS_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    for owner in tmp_path.rglob("owner"):
        end_leftovers(owner.parent)


async def write(urls: Urls, text: str) -> None:
    connection = await asyncpg.connect(urls.database_url)
    await connection.execute("create table if not exists kept (text text)")
    await connection.execute("insert into kept values ($1)", text)
    await connection.close()
    client = Redis.from_url(urls.redis_url)
    await client.rpush("kept", text)
    await client.aclose()


async def read(urls: Urls) -> tuple[list[str], list[str]]:
    connection = await asyncpg.connect(urls.database_url)
    rows = [row["text"] for row in await connection.fetch("select text from kept order by text")]
    await connection.close()
    client = Redis.from_url(urls.redis_url)
    values = [value.decode() for value in await client.lrange("kept", 0, -1)]
    await client.aclose()
    return rows, values


def hold(root: Path) -> subprocess.Popen[bytes]:
    """Another process that has the stack, until its input ends."""
    argv = [sys.executable, "-c", HOLD, root]
    return subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=CHECKOUT)


def processes_below(folder: Path) -> set[int]:
    """Who works in the folder or names it, as the system sees it and not our own bookkeeping."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().decode(errors="replace")
            working_folder = os.readlink(process / "cwd")
        except OSError:
            continue
        if f"{folder}/" in command or working_folder.startswith(f"{folder}/"):
            found.add(int(process.name))
    return found


async def test_a_second_start_is_quick_and_keeps_the_data_and_stop_leaves_no_process(root: Path) -> None:
    stack = Stack("run", "dev", root)
    await write(stack.start(), "first")
    assert {pid for pids in stack.pids().values() for pid in pids} <= processes_below(root / "run")
    began_s = time.monotonic()
    stack.stop()
    assert time.monotonic() - began_s < STOP_MOST_S
    assert processes_below(root / "run") == set()
    began_s = time.monotonic()
    with Stack("run", "dev", root) as urls:
        assert time.monotonic() - began_s < SECOND_START_MOST_S
        assert await read(urls) == (["first"], ["first"])
    assert processes_below(root / "run") == set()


async def test_what_was_written_survives_a_kill_of_both_servers(root: Path) -> None:
    stack = Stack("run", "dev", root)
    await write(stack.start(), "before the kill")
    for pid in [pid for pids in stack.pids().values() for pid in pids]:
        os.kill(pid, signal.SIGKILL)
    await wait_until(lambda: not processes_below(root / "run"))
    stack.stop()
    with Stack("run", "dev", root) as urls:
        assert await read(urls) == (["before the kill"], ["before the kill"])


async def test_what_a_killed_owner_left_running_is_ended_by_the_next(root: Path) -> None:
    with hold(root) as owner:
        assert owner.stdout and owner.stdout.readline() == b"started\n"
        with pytest.raises(Busy, match=str(owner.pid)):
            Stack("run", "dev", root).start()
        owner.kill()
    left = processes_below(root / "run")
    assert len(left) >= 2
    with Stack("run", "dev", root) as urls:
        await write(urls, "after")
        assert left.isdisjoint(processes_below(root / "run"))
    assert processes_below(root / "run") == set()


async def test_a_test_stack_begins_empty_and_stands_beside_another(root: Path) -> None:
    one = Stack.first_free("test", "test", root)
    two = Stack.first_free("test", "test", root)
    assert (one.folder.name, two.folder.name) == ("test", "test-2")
    two.stop()
    await write(one.start(), "gone")
    one.stop()
    with Stack.first_free("test", "test", root) as urls:
        client = Redis.from_url(urls.redis_url)
        assert await client.dbsize() == 0
        await client.aclose()
        await write(urls, "only this")
        assert (await read(urls))[0] == ["only this"]


async def test_a_path_that_is_too_long_for_a_socket(root: Path) -> None:
    deep = root / ("long-" * 20)
    with Stack("run", "dev", deep) as urls:
        path = urls.redis_url.removeprefix("unix://").removesuffix("?db=0")
        assert len(path.encode()) <= SOCKET_PATH_MAX_BYTES
        assert Path(path).parent.stat().st_mode & 0o077 == 0
        await write(urls, "x")
        assert await read(urls) == (["x"], ["x"])


def test_nobody_else_is_ended_when_a_pid_was_given_away(root: Path) -> None:
    stranger = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    with stranger:
        data = root / "run" / "postgres" / "data"
        data.mkdir(parents=True)
        (data / "postmaster.pid").write_text(f"{stranger.pid}\n{data}\n")
        (root / "run" / "redis").mkdir()
        (root / "run" / "redis" / "redis.pid").write_text(f"{stranger.pid} 12345\n")
        (root / "run" / "serve.pid").write_text(f"{stranger.pid}\n")
        end_leftovers(root / "run")
        assert stranger.poll() is None
        with Stack("run", "dev", root) as urls:
            assert urls.database_url
        assert stranger.poll() is None
        stranger.kill()


def test_configured_servers_are_used_and_nothing_is_started(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://theirs/db")
    monkeypatch.setenv("REDIS_URL", "redis://theirs")
    with Stack("run", "dev", root) as urls:
        assert urls == Urls("postgresql://theirs/db", "redis://theirs")
        assert processes_below(root) == set()
    # What a test or a bench empties is never what somebody has set for other work.
    monkeypatch.setenv("TEST_DATABASE_URL", "postgresql://scratch/db")
    stack = Stack("test", "test", root)
    assert (stack.configured("DATABASE_URL"), stack.configured("REDIS_URL")) == (
        "postgresql://scratch/db",
        None,
    )


async def test_one_more_redis_with_options_of_its_own() -> None:
    with fresh_redis(port=free_port(), appendonly="yes", appendfsync="always") as server:
        client = Redis.from_url(server.url)
        assert server.url.startswith("redis://127.0.0.1:")
        assert await client.config_get("appendfsync") == {"appendfsync": "always"}
        assert await client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        await client.set("kept", "1")
        server.kill()
        assert server.pid is None
        server.start()
        await client.connection_pool.disconnect()
        assert await client.get("kept") == b"1"
        await client.aclose()


# How the programs come here. What apt does for real is tried on a bare system, not here.


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A machine without the programs, with apt; what is asked of it is written down."""
    asked: list[str] = []
    monkeypatch.setattr(find, "find_postgres", lambda: None)
    monkeypatch.setattr(find, "find_redis", lambda: None)
    monkeypatch.setattr(apt, "is_there", lambda: True)
    monkeypatch.setattr(apt, "can_install", lambda: False)
    monkeypatch.setattr(apt, "install", lambda deps, **parts: asked.append(f"install {parts}"))
    monkeypatch.setattr(apt, "unpack", lambda deps: asked.append("unpack"))
    monkeypatch.setattr(compose, "is_there", lambda: False)
    return asked


def test_without_root_the_packages_are_unpacked(bare: list[str]) -> None:
    with pytest.raises(find.NotFound):
        find.find_or_install()
    assert bare == ["unpack"]


def test_with_root_only_what_is_missing_is_installed(
    bare: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(apt, "can_install", lambda: True)
    with pytest.raises(find.NotFound):
        find.find_or_install(redis=False)
    assert bare == ["install {'postgres': True, 'redis': False}"]


def test_what_is_there_is_not_installed_again(bare: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apt, "can_install", lambda: True)
    monkeypatch.setattr(find, "find_postgres", lambda: find.Program(Path("theirs")))
    with pytest.raises(find.NotFound):
        find.find_or_install()
    assert bare == ["install {'postgres': False, 'redis': True}"]


def test_after_a_clean_the_installed_redis_is_found_without_apt(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(find, "DEPS", root / "deps")
    monkeypatch.setattr(find, "SYSTEM_BIN", root / "bin")
    monkeypatch.setenv("PATH", str(root))
    assert find.find_redis() is None
    assert not (root / "deps").exists()
    program = root / "bin" / "redis-check-rdb"  # what redis-tools brings
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho Redis server v=7.0.15 sha=0\n")
    program.chmod(0o755)
    found = find.find_redis()
    assert found is not None and found.path.resolve() == program


def test_where_nothing_helps_one_sentence_names_the_packages(
    root: Path, bare: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(apt, "is_there", lambda: False)
    with pytest.raises(procs.DevError) as caught, Stack("run", "dev", root):
        pass
    assert {"postgresql-<version>-postgis-3", "redis-server", "DATABASE_URL"} <= set(
        str(caught.value).split()
    )
    assert bare == []


def test_a_container_engine_is_the_last_way(
    root: Path, bare: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    for name in ("DATABASE_URL", "REDIS_URL"):
        monkeypatch.delenv(name, raising=False)
    engine, calls = root / "bin" / "docker", root / "calls"
    engine.parent.mkdir()
    engine.write_text(
        f'#!/bin/sh\necho "$@" >>{calls}\n'
        'case "$*" in *"port db"*) echo 127.0.0.1:4001;; *"port redis"*) echo 127.0.0.1:4002;; esac\n'
    )
    engine.chmod(0o755)
    monkeypatch.setattr(find, "_find", lambda postgres, redis: None)
    monkeypatch.setattr(apt, "is_there", lambda: False)
    monkeypatch.setenv("PATH", f"{engine.parent}:{os.environ['PATH']}")
    with Stack("run", "dev", root) as urls:
        password = (root / "run" / "compose.env").read_text().strip().removeprefix("DEV_PASSWORD=")
        assert urls.database_url == f"postgresql://app:{password}@127.0.0.1:4001/app"
        assert urls.redis_url == f"redis://:{password}@127.0.0.1:4002/0"
    assert (root / "run" / "compose.env").stat().st_mode & 0o077 == 0
    verbs = [line.split()[-3:] for line in calls.read_text().splitlines()]
    assert ["up", "-d", "--wait"] in verbs
    assert verbs[-1][-1] == "down"
