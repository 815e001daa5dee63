"""`./dev run` from start to stop: what it says, what it leaves, and what happens when a part of it dies."""

from __future__ import annotations

import ast
import asyncio
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

from server.devstack import procs
from server.devstack.bench import benches
from server.devstack.redis import free_port
from server.devstack.stack import end_leftovers
from tests.support import CHECKOUT, wait_until

TOUR = re.findall(r"## Kill a worker.*?```sh\n(.*?)```", (CHECKOUT / "README.md").read_text(), re.S)[
    0
].splitlines()
TALKED = 25
STOP_MOST_S = 10.0
START_MOST_S = 90.0  # 6 s on two idle cores


@asynccontextmanager
async def dev_run(folder: Path, *words: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, list[str]]]:
    """The command with a .dev folder of its own, and the lines that it has printed so far."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "server.devstack", "run", *words),
        cwd=CHECKOUT,
        env=os.environ | {"DEV_FOLDER": str(folder)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    lines: list[str] = []

    async def read() -> None:
        assert process.stdout
        async for line in process.stdout:
            lines.append(line.decode())

    reader = asyncio.create_task(read())
    try:
        await wait_until(lambda: process.returncode is not None or "Stop:" in "".join(lines), START_MOST_S)
        yield process, lines
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        await process.wait()
        await reader
        end_leftovers(folder / "run")


def children(folder: Path) -> dict[str, int]:
    found = {file.stem: procs.read_pid(file) for file in (folder / "run").rglob("*.pid")}
    return {name: pid for name, pid in found.items() if pid is not None}


def url_in(lines: list[str]) -> str:
    found = re.search(r"Server: +(http://\S+)", "".join(lines))
    assert found, "".join(lines)
    return found.group(1)


def status_of(url: str) -> int:
    with urllib.request.urlopen(url, timeout=STOP_MOST_S) as answer:
        return int(answer.status)


def append(file: Path, text: str) -> None:
    with file.open("a") as out:
        out.write(text)


async def the_tour(folder: Path, port: str) -> None:
    """The README's commands, as they stand there, for another port and folder and fewer lines: two kills, and nothing
    is lost; then one more node."""
    other = str(free_port())

    async def shell(command: str) -> asyncio.subprocess.Process:
        for there, here in (("8080", port), ("8090", other), (".dev/run", str(folder / "run"))):
            command = command.replace(there, here)
        pipe = asyncio.subprocess.PIPE
        return await asyncio.create_subprocess_exec(
            "sh", "-c", command, cwd=CHECKOUT, stdout=pipe, start_new_session=True
        )

    talk = await shell(f"{TOUR[1]} {TALKED}")
    assert talk.stdout is not None
    log, ups, said = folder / "run" / "serve.log", 2, ""
    for kill in TOUR[2:4]:
        while said.count("connected to") < 2:
            said += (await asyncio.wait_for(talk.stdout.readline(), START_MOST_S)).decode()
        assert await (await shell(kill)).wait() == 0
        await wait_until(partial(has_started, log, ups + 1), START_MOST_S)
        ups += 1
    said += (await asyncio.wait_for(talk.stdout.read(), START_MOST_S)).decode()
    assert await talk.wait() == 0, said
    assert said.count(f"{TALKED} lines were acked, {TALKED} heard: every line once and in order") == 2, said
    node = await shell(TOUR[4])
    try:
        await wait_until(lambda: is_ready(other), START_MOST_S)
    finally:
        os.killpg(node.pid, signal.SIGTERM)
        await node.wait()


def has_started(log: Path, workers: int) -> bool:
    return log.read_text().count("is up: process") == workers


def is_ready(port: str) -> bool:
    try:
        return status_of(f"http://127.0.0.1:{port}/ready") == 200
    except OSError:
        return False


async def test_run_stops_all_of_it_and_starts_again_with_its_data(tmp_path: Path) -> None:
    port = str(free_port())
    async with dev_run(tmp_path, *TOUR[0].split()[2:], "--port", port) as (process, lines):
        url = url_in(lines)
        assert url.endswith(f":{port}")
        assert status_of(f"{url}/ready") == 200
        logins = tmp_path / "run" / "demo-logins.txt"
        assert stat.S_IMODE(logins.stat().st_mode) == 0o600
        passwords = re.findall(r"\S+@\S+ +(\S+)", logins.read_text())
        assert len(passwords) >= 4 and all(password in "".join(lines) for password in passwords)
        assert "shown only now" not in "".join(lines) + logins.read_text(), "they stand in the file as well"
        assert stat.S_IMODE((tmp_path / "run" / "exports.sh").stat().st_mode) == 0o600
        await the_tour(tmp_path, port)
        running = children(tmp_path)
        assert {"serve", "drain", "redis"} <= set(running)
        began_s = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert await process.wait() == 0
        assert time.monotonic() - began_s < STOP_MOST_S
        assert not any(map(procs.is_alive, running.values()))
    async with dev_run(tmp_path, "--no-demo", "--port", port) as (process, lines):
        assert f"Logins:  {logins}\n" in lines
        shown = [password for password in passwords if password in "".join(lines)]
        admin = re.search(r"admin +\S+ +(\S+)", logins.read_text())
        assert admin and shown == [admin[1]], "the others are shown once"
        assert [line for line in lines if line.startswith(f"Console: {url_in(lines)}/console as admin@")]
        assert passwords == re.findall(r"\S+@\S+ +(\S+)", logins.read_text())


def dev(folder: Path, *words: str) -> tuple[int, str]:
    """A command on that folder to its end, and what it said."""
    argv = [sys.executable, "-m", "server.devstack", *words]
    env = os.environ | {"DEV_FOLDER": str(folder), "COLUMNS": "200"}
    done = subprocess.run(
        argv, cwd=CHECKOUT, env=env, capture_output=True, text=True, check=False, timeout=START_MOST_S
    )
    return done.returncode, done.stdout + done.stderr


async def test_a_running_city_is_neither_started_twice_nor_cleaned_away(tmp_path: Path) -> None:
    async with dev_run(tmp_path, "--no-demo", "--port", str(free_port())) as (process, lines):
        reason = f"Process {process.pid} runs the stack in {tmp_path / 'run'}"
        code, said = await asyncio.to_thread(dev, tmp_path, "run")
        assert (code, said) == (1, f"{reason} already; stop it with Ctrl-C first.\n")
        code, said = await asyncio.to_thread(dev, tmp_path, "clean")
        assert (code, said) == (1, f"{reason}; stop it with Ctrl-C first, or ./dev clean --force.\n")
        assert status_of(f"{url_in(lines)}/ready") == 200
        running = children(tmp_path)
        assert (await asyncio.to_thread(dev, tmp_path, "clean", "--force"))[0] == 0
        assert not any(map(procs.is_alive, running.values()))
        assert await asyncio.wait_for(process.wait(), STOP_MOST_S) == 1
    heard = "".join(lines)
    assert "./dev clean --force has ended it and removes its data" in heard
    assert "is kept" not in heard and "its log ends" not in heard
    shutil.rmtree(tmp_path / "run", ignore_errors=True)


async def test_a_part_that_dies_ends_the_run_with_the_end_of_its_log(tmp_path: Path) -> None:
    async with dev_run(tmp_path, "--no-demo", "--port", str(free_port())) as (process, lines):
        running = children(tmp_path)
        append(tmp_path / "run" / "drain.log", "its last words\n")
        os.kill(running["drain"], signal.SIGKILL)
        assert await asyncio.wait_for(process.wait(), STOP_MOST_S) == 1
        await wait_until(lambda: "its last words" in "".join(lines))
        assert "`dispatch drain` ended with code -9" in "".join(lines)
        assert not any(map(procs.is_alive, running.values()))


def has_said(lines: list[str], text: str) -> bool:
    return text in "".join(lines)


async def test_a_database_that_dies_is_started_again_and_said(tmp_path: Path) -> None:
    async with dev_run(tmp_path, "--no-demo", "--port", str(free_port())) as (process, lines):
        url, postgres = url_in(lines), tmp_path / "run" / "postgres" / "data" / "postmaster.pid"
        for name, pid in (
            ("Redis", children(tmp_path)["redis"]),
            ("PostgreSQL", int(postgres.read_text().split("\n")[0])),
        ):
            os.kill(pid, signal.SIGKILL)
            await wait_until(
                partial(has_said, lines, f"  {name} has ended (its log: {tmp_path}"), START_MOST_S
            )
            await wait_until(lambda: is_ready(url.rpartition(":")[2]), START_MOST_S)
        assert process.returncode is None
    assert "failed" not in "".join(lines)


def test_a_file_of_tests_that_is_not_there_is_named_and_nothing_started(tmp_path: Path) -> None:
    said = "There is no tests/nope.py and no tests/none.py.\n"
    assert dev(tmp_path, "test", "tests/nope.py", "-x", "tests/none.py::test_x") == (1, said)


def test_a_benchs_help_is_a_whole_sentence() -> None:
    for each in benches():
        file = CHECKOUT / each.module.replace(".", "/")
        file = file / "__main__.py" if each.is_package else file.with_suffix(".py")
        about = (ast.get_docstring(ast.parse(file.read_text())) or "").partition("\n")[0]
        assert about.endswith("."), each.module


def test_a_port_that_was_asked_for_and_is_taken_starts_nothing(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, said = dev(tmp_path, "run", "--no-demo", "--port", str(port))
    assert code == 1 and said.count("\n") == 1
    assert f"Port {port} is taken" in said and "--port" in said
    assert dev(tmp_path, "run", "--port", "eighty")[0] == 2
    assert dev(tmp_path, "run", "--port", "65536")[0] == 2


def test_a_database_that_is_not_there_is_named_as_it_was_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://127.0.0.1:1/none")
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
    code, said = dev(tmp_path, "run", "--no-demo")
    assert code == 1
    assert "DATABASE_URL" in said and "DISPATCH_" not in said
    monkeypatch.setenv("DATABASE_URL", "nonsense")
    code, said = dev(tmp_path, "run", "--no-demo")
    assert code == 1 and "Traceback" not in said
    assert "dispatch: DATABASE_URL is not a postgresql:// address of PostgreSQL with PostGIS." in said


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--traces", "nowhere.csv.gz"], 2, "replay needs the San Francisco recording"),
        (["--help"], 0, "../shared/data/"),
        (["--speed", "x"], 2, "invalid float value"),
        (
            ["--traces", __file__, "--requests", __file__, "--check"],
            0,
            "All that bench replay needs of its own",
        ),
    ],
)
def test_a_bench_that_cannot_run_starts_nothing(
    tmp_path: Path, words: list[str], code: int, said: str
) -> None:
    found, text = dev(tmp_path, "bench", "replay", *words)
    assert found == code
    assert said in text and "Starting" not in text
    assert not list(tmp_path.iterdir())
