"""Node, and the packages of a folder as its package-lock.json pins them: for the JavaScript client of the tests, and
for the server that benchmarks compare with."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
from pathlib import Path

from server.devstack import apt, procs
from server.devstack.paths import CHECKOUT, shown

OLDEST_MAJOR = 18
PEERS = CHECKOUT / "loadtest" / "peers"  # what benchmarks compare with


def prepare(folder: Path) -> None:
    """Installs what is missing or pinned otherwise since. Raises DevError."""
    if not _is_there():
        apt.install_node()
    made_from = hashlib.sha256((folder / "package-lock.json").read_bytes()).hexdigest()
    stamp = folder / "node_modules" / ".made-from"
    if stamp.exists() and stamp.read_text() == made_from:
        return
    with procs.step(f"npm ci in {shown(folder)}"):
        argv = ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
        done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise procs.DevError(f"npm ci failed:\n{done.stderr[-2000:]}")
    stamp.write_text(made_from)


def _is_there() -> bool:
    node = shutil.which("node")
    if node is None or shutil.which("npm") is None:
        return False
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout
    major = re.match(r"v(\d+)\.", version)
    return major is not None and int(major.group(1)) >= OLDEST_MAJOR
