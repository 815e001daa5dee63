"""Processes of our own: starting them in the background, knowing them again, ending them.

A pid file holds the pid and the moment the process started, so that a pid which the system has given to
somebody else meanwhile is never signalled. Every process gets a session of its own: a Ctrl-C in the
terminal reaches only the command that the person started, which then stops the rest in order.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

POLL_S = 0.02


class DevError(Exception):
    """Something the person at the keyboard has to know, in one sentence."""


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


@contextmanager
def step(text: str) -> Iterator[None]:
    """Announces something that takes seconds and says how many it took."""
    began_s = time.monotonic()
    print(f"  {text} ... ", end="", file=sys.stderr, flush=True)
    try:
        yield
    except KeyboardInterrupt:
        say("stopped")
        raise
    except BaseException:
        say("failed")
        raise
    say(f"{time.monotonic() - began_s:.1f} s")


def wait_for(ready: Callable[[], bool], timeout_s: float) -> bool:
    deadline_s = time.monotonic() + timeout_s
    while not ready():
        if time.monotonic() > deadline_s:
            return False
        time.sleep(POLL_S)
    return True


def _birth(pid: int) -> str | None:
    """What tells this process from an earlier owner of the same pid; None when it is gone or a zombie."""
    try:
        # The command name stands in brackets and may hold spaces: count the fields after the last bracket.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if fields[0] in "ZX" else fields[19]
    except FileNotFoundError:
        if Path("/proc/self/stat").exists():
            return None
    except ProcessLookupError:
        return None
    found = subprocess.run(
        ["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return found.stdout.strip() or None


def write_pid(pid_file: Path, pid: int) -> None:
    pid_file.write_text(f"{pid} {_birth(pid) or ''}\n")


def read_pid(pid_file: Path) -> int | None:
    """The pid in the file, if that very process is still alive."""
    try:
        first, _, birth = pid_file.read_text().strip().partition(" ")
        pid = int(first)
    except (FileNotFoundError, ValueError):
        return None
    return pid if birth and _birth(pid) == birth else None


def is_alive(pid: int) -> bool:
    return _birth(pid) is not None


def signal_and_wait(pid: int, signals: Sequence[tuple[signal.Signals, float]]) -> bool:
    """Sends each signal in turn and gives it its seconds; True once the process is gone."""
    birth = _birth(pid)
    for number, patience_s in signals:
        if birth is None or _birth(pid) != birth:
            return True
        with suppress(ProcessLookupError):
            os.kill(pid, number)
        if wait_for(lambda: _gone(pid, birth), patience_s):
            return True
    return False


def _gone(pid: int, birth: str | None) -> bool:
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)  # a child of ours would stay a zombie otherwise
    return _birth(pid) != birth


def stop(pid_file: Path, polite: signal.Signals = signal.SIGTERM, patience_s: float = 3.0) -> None:
    """Ends the process of a pid file, at first politely, and removes the file."""
    pid = read_pid(pid_file)
    if pid is not None:
        signal_and_wait(pid, [(polite, patience_s), (signal.SIGKILL, 2.0)])
    pid_file.unlink(missing_ok=True)


def spawn(
    argv: Sequence[str | Path],
    *,
    log: Path | None,
    pid_file: Path,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> subprocess.Popen[bytes]:
    """Starts a process in its own session. Both outputs go to the log; without one they are ours."""
    out: IO[bytes] | None = log.open("ab") if log else None
    try:
        child = subprocess.Popen(
            [str(part) for part in argv],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT if out else None,
            start_new_session=True,
            env=dict(env) if env is not None else None,
            cwd=cwd,
        )
    finally:
        if out:
            out.close()
    write_pid(pid_file, child.pid)
    return child


def working_in(folder: Path) -> list[int]:
    """Processes whose working folder this is; none where the system does not tell."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if Path(os.readlink(process / "cwd")) == folder.resolve():
                found.append(int(process.name))
    return found


def tail(log: Path, lines: int = 15) -> str:
    try:
        text = log.read_text(errors="replace")
    except FileNotFoundError:
        return "(no log)"
    return "\n".join(text.splitlines()[-lines:])


class Claim:
    """A folder that one living process owns, until that process ends, however it ends."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._handle: IO[str] | None = None

    def take(self) -> bool:
        """True once the folder is ours; False while another process has it."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = (self._folder / "owner").open("a+")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.close()
            return False
        handle.truncate(0)
        handle.write(f"{os.getpid()}\n")
        handle.flush()
        self._handle = handle
        return True

    @property
    def owner(self) -> str:
        """The pid of whoever has it."""
        return (self._folder / "owner").read_text().strip()

    def release(self) -> None:
        if self._handle:
            self._handle.close()
            self._handle = None
