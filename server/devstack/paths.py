"""Where things live: the checkout, its `.dev` folder, and folders short enough for a unix socket."""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from pathlib import Path

from server.devstack.procs import DevError

CHECKOUT = Path(__file__).resolve().parents[2]
DEV = Path(os.environ.get("DEV_FOLDER") or CHECKOUT / ".dev")

# The kernel's limit for the path of a unix socket is 107 bytes, and PostgreSQL's socket name takes 15 of
# them.
SOCKET_PATH_MAX_BYTES = 107
SOCKET_NAME_MAX_BYTES = len("/.s.PGSQL.5432")


def shown(path: Path) -> Path:
    """The path as the person in the checkout types it."""
    return path.relative_to(CHECKOUT) if path.is_relative_to(CHECKOUT) else path


def private_folder(path: Path) -> Path:
    """Makes a folder that nobody else can look into; refuses one that somebody else has put there."""
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise DevError(f"{path} belongs to somebody else; remove it or set TMPDIR.")
    path.chmod(0o700)
    return path


def socket_folder(folder: Path) -> Path:
    """The folder itself, or, when its path is too long for a socket, a private one that stands for it."""
    if len(os.fsencode(folder)) + SOCKET_NAME_MAX_BYTES <= SOCKET_PATH_MAX_BYTES:
        return private_folder(folder)
    mark = hashlib.sha256(os.fsencode(folder.absolute())).hexdigest()[:12]
    short = Path(tempfile.gettempdir()) / f"aryv-{os.geteuid()}-{mark}"
    if len(os.fsencode(short)) + SOCKET_NAME_MAX_BYTES > SOCKET_PATH_MAX_BYTES:
        raise DevError(f"{short} is too long for a unix socket; set TMPDIR to a shorter folder.")
    return private_folder(short)
