"""What a killed run of the tests leaves in the system's folder for such files is gone when the next one begins."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from server.devstack import procs
from server.devstack.scratch import Scratch
from tests.support import CHECKOUT

# A run with children in sessions of their own, as servers have it; the second tells nobody with what it was started.
RUN = """import os, subprocess, sys, tempfile; from pathlib import Path; from server.devstack.scratch import Scratch
scratch = Scratch(Path(sys.argv[1])); folder = scratch.folder
os.environ["TMPDIR"] = str(folder)
tempfile.mkdtemp(prefix="left-", dir=folder)
child = subprocess.Popen(["sleep", "600"], start_new_session=True, stdout=subprocess.DEVNULL)
home = tempfile.mkdtemp(prefix="home-", dir=folder)
bare = subprocess.Popen(["sleep", "600"], start_new_session=True, stdout=subprocess.DEVNULL, env={}, cwd=home)
print(folder, child.pid, bare.pid, flush=True)
sys.stdin.read()"""


def start(root: Path) -> tuple[subprocess.Popen[bytes], Path, list[int]]:
    argv = [sys.executable, "-c", RUN, root]
    run = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=CHECKOUT)
    assert run.stdout
    folder, *pids = run.stdout.readline().decode().split()
    return run, Path(folder), [int(pid) for pid in pids]


def names(folder: Path) -> list[str]:
    return sorted(found.name for found in folder.iterdir())


def test_the_next_run_ends_and_removes_what_killed_ones_left_and_nothing_else(tmp_path: Path) -> None:
    killed, living = start(tmp_path), start(tmp_path)
    assert killed[1] != living[1]
    with killed[0], living[0]:
        killed[0].kill()
        killed[0].wait()
        assert all(map(procs.is_alive, killed[2])) and len(names(killed[1])) == 3
        next_one = Scratch(tmp_path)
        assert next_one.folder == killed[1] and names(killed[1]) == ["owner"]
        assert not any(map(procs.is_alive, killed[2]))
        assert all(map(procs.is_alive, living[2])) and len(names(living[1])) == 3
        living[0].kill()
        living[0].wait()
        Scratch(tmp_path).close()  # also beside a run, which has the first folder
        assert not any(map(procs.is_alive, living[2])) and names(living[1]) == ["owner"]
        (next_one.folder / "file").touch()
        next_one.close()
        assert names(next_one.folder) == ["owner"]
