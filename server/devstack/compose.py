"""The last way to a database: a container engine, with the two servers on free loopback ports.

Used only where neither the programs nor apt are there. The password is made for this stack and stays in its
folder.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from pathlib import Path

from server.devstack.paths import CHECKOUT
from server.devstack.procs import DevError, step

FILE = CHECKOUT / "deploy" / "compose.dev.yml"
ENGINES = ("docker", "podman")
UP_TIMEOUT_S = 600.0  # the images may have to be fetched
MARK = "compose.env"


def _engine() -> str | None:
    """An engine whose server answers and which knows `compose`."""
    for engine in ENGINES:
        program = shutil.which(engine)
        if program and all(_quiet([program, *words]) for words in (["info"], ["compose", "version"])):
            return program
    return None


def _quiet(argv: list[str]) -> bool:
    try:
        return subprocess.run(argv, capture_output=True, check=False, timeout=30).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def is_there() -> bool:
    return _engine() is not None


def _compose(folder: Path) -> list[str]:
    project = f"aryv-{folder.name}"
    return [
        _engine() or "docker",
        "compose",
        "-p",
        project,
        "--env-file",
        str(folder / MARK),
        "-f",
        str(FILE),
    ]


def _ask(argv: list[str]) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=UP_TIMEOUT_S)
    if done.returncode != 0:
        raise DevError(f"The container engine failed:\n{done.stderr[-1500:]}")
    return done.stdout.strip()


def up(folder: Path) -> tuple[str, str]:
    """Starts both and returns the URLs of database and Redis."""
    env = folder / MARK
    if not env.exists():
        with os.fdopen(os.open(env, os.O_WRONLY | os.O_CREAT, 0o600), "w") as out:
            out.write(f"DEV_PASSWORD={secrets.token_urlsafe(18)}\n")
    password = env.read_text().strip().partition("=")[2]
    with step("PostgreSQL and Redis in containers"):
        _ask([*_compose(folder), "up", "-d", "--wait"])
        database, redis = (
            _ask([*_compose(folder), "port", name, port])
            for name, port in (("db", "5432"), ("redis", "6379"))
        )
    return f"postgresql://app:{password}@{database}/app", f"redis://:{password}@{redis}/0"


def down(folder: Path) -> None:
    """Stops the containers of a stack that had them; their volumes stay."""
    if (folder / MARK).exists():
        _quiet([*_compose(folder), "down"])
