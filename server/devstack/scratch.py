"""A folder for what does not outlive a run of the tests: TMPDIR of the run and of everything that it starts.

Who is killed tidies nothing away. So whoever comes next ends what such runs have left running, which it knows by its
TMPDIR or its folder, and throws away their files. Runs beside one another have a folder each.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from contextlib import suppress
from pathlib import Path

from server.devstack import procs
from server.devstack.paths import private_folder

MAX_RUNS = 40
LEAVE_S = 3.0


class Scratch:
    """Ours until `close` or the end of this process. Raises DevError when too many runs are under way."""

    def __init__(self, root: Path | None = None) -> None:
        root = private_folder(root or Path(tempfile.gettempdir()) / f"aryv-{os.geteuid()}")
        self._claim: procs.Claim | None = None
        for number in range(1, MAX_RUNS + 1):
            folder = root / str(number)
            if self._claim and not folder.exists():
                continue
            claim = procs.Claim(folder)
            if not claim.take():
                continue
            _empty(folder)
            if self._claim:
                claim.release()
            else:
                self.folder, self._claim = folder, claim
        if self._claim is None:
            raise procs.DevError(f"{MAX_RUNS} runs are under way already in {root}.")

    def close(self) -> None:
        if self._claim:
            _empty(self.folder)
            self._claim.release()
            self._claim = None


def _empty(folder: Path) -> None:
    left = _started_with(folder)
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in left:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)
        if procs.wait_for(lambda: not any(map(procs.is_alive, left)), LEAVE_S):
            break
    for found in folder.iterdir():
        if found.name != "owner":  # the claim
            shutil.rmtree(found, ignore_errors=True) if found.is_dir() else found.unlink(missing_ok=True)


def _started_with(folder: Path) -> list[int]:
    """Processes whose TMPDIR this is, or who work below it: Redis and PostgreSQL write their titles over what they were
    started with. None where the system does not tell."""
    mark, found = b"\0TMPDIR=%s\0" % os.fsencode(folder), []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            known = mark in b"\0" + (process / "environ").read_bytes()
            known = known or os.readlink(process / "cwd").startswith(f"{folder.resolve()}/")
            if known and int(process.name) != os.getpid():
                found.append(int(process.name))
    return found
