"""The server and its drain as child processes on a stack, as `./dev run` and `./dev bench` need them.

They log below the stack's folder and are watched: one that dies is told with the last lines of its log.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path

from server.devstack import procs
from server.devstack.paths import CHECKOUT, private_folder
from server.devstack.stack import Urls

READY_TIMEOUT_S = 30.0
READY_POLL_S = 0.1
COMMAND_TIMEOUT_S = 300.0
STOP_PATIENCE_S = 2.0  # each; with the demo and the databases all of it stays under 10 s
# The drain is there before the first fact, and outlives the server to write the last one.
IN_ORDER = ("drain", "serve")


class ChildDied(procs.DevError):
    """A child ended by itself; the text has the last lines of its log."""


def python(*words: str) -> list[str]:
    return [sys.executable, "-m", *words]


class App:
    """`dispatch` on one stack: its commands, and its two long-running processes."""

    def __init__(self, folder: Path, urls: Urls, host: str, port: int, workers: int = 0) -> None:
        """With `workers` the server is so many processes behind the port."""
        self._folder = private_folder(folder)
        self._words = {
            "drain": ["drain"],
            "serve": ["serve", *(["--workers", str(workers)] if workers else [])],
        }
        self.url = f"http://{host}:{port}"
        self.env: Mapping[str, str] = os.environ | {
            "DISPATCH_DATABASE_URL": urls.database_url,
            "DISPATCH_REDIS_URL": urls.redis_url,
            "DISPATCH_HOST": host,
            "DISPATCH_PORT": str(port),
            "DISPATCH_KEYS_FILE": str(folder / "keys.json"),
            "DISPATCH_URL": self.url,
        }
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    def command(self, *words: str) -> str:
        """One `dispatch` command to its end; what it printed."""
        done = subprocess.run(
            python("server.cli", *words),
            env=self.env,
            cwd=CHECKOUT,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=COMMAND_TIMEOUT_S,
            check=False,
        )
        if done.returncode != 0:
            said = (done.stdout + done.stderr)[-3000:]
            raise procs.DevError(_as_set(f"`dispatch {' '.join(words)}` failed:\n{said}"))
        return done.stdout

    def prepare(self) -> None:
        """Keys and schema; both are left alone where they are there."""
        if not Path(self.env["DISPATCH_KEYS_FILE"]).exists():
            self.command("keys", "init")
        with procs.step("migrations"):
            self.command("migrate")

    def start(self) -> None:
        """Returns when the server says that it is ready."""
        with procs.step("server and drain"):
            for name in IN_ORDER:
                self.spawn(name, python("server.cli", *self._words[name]), self._folder / f"{name}.log")
            deadline_s = time.monotonic() + READY_TIMEOUT_S
            while not self._is_ready():
                self.check()
                if time.monotonic() > deadline_s:
                    log = procs.tail(self._folder / "serve.log")
                    raise procs.DevError(f"The server was not ready after {READY_TIMEOUT_S:g} s:\n{log}")
                time.sleep(READY_POLL_S)

    def spawn(self, name: str, argv: Sequence[str], log: Path | None) -> subprocess.Popen[bytes]:
        """A child that is watched and stopped with the others; without a log it writes to the terminal."""
        if log and log.exists():
            log.replace(log.with_suffix(".log.old"))
        pid_file = self._folder / f"{name}.pid"
        child = procs.spawn(argv, log=log, pid_file=pid_file, env=self.env, cwd=CHECKOUT)
        self._children[name] = child
        return child

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/ready", timeout=2.0) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def check(self) -> None:
        """Raises ChildDied if the server or the drain is no longer there."""
        for name in IN_ORDER:
            child = self._children.get(name)
            if child is not None and child.poll() is not None:
                log = procs.tail(self._folder / f"{name}.log")
                ended = f"`dispatch {name}` ended with code {child.returncode}"
                text = f"{ended}; its log ends:\n{log}" if log else f"{ended} and logged nothing."
                raise ChildDied(_as_set(text))

    def pids(self) -> dict[str, list[int]]:
        return {"server": [self._children["serve"].pid], "drain": [self._children["drain"].pid]}

    def stop(self) -> None:
        """All children, last started first."""
        for name, child in reversed(self._children.items()):
            procs.stop(self._folder / f"{name}.pid", patience_s=STOP_PATIENCE_S)
            child.wait()
        self._children.clear()


def _as_set(text: str) -> str:
    """The text with the names of the variables that the person has set, instead of those made of them here."""
    for name in ("DATABASE_URL", "REDIS_URL"):
        if os.environ.get(name):
            text = text.replace(f"DISPATCH_{name}", name)
    return text


def pids_as_json(app: App, stack_pids: Mapping[str, list[int]]) -> str:
    return json.dumps(app.pids() | dict(stack_pids))
