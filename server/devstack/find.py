"""Where the PostgreSQL (with PostGIS) and Redis programs are, and how they come here when they are missing.

In order: what the system has; what an earlier start unpacked below `.dev/deps`; apt as root or with `sudo
-n`; apt without root, unpacked below `.dev/deps`. When none of these works the caller may still try a
container engine, and otherwise says `HELP`.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from server.devstack import apt
from server.devstack.paths import DEV
from server.devstack.procs import DevError

DEPS = DEV / "deps"
NGINX = DEV / "nginx"
SYSTEM_BIN = Path("/usr/bin")
OLDEST_REDIS_MAJOR = 7  # sharded publish
CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--font-render-hinting=none",
]
HELP = (
    "PostgreSQL with PostGIS and Redis 7 are needed and could not be installed: install the packages "
    "postgresql, postgresql-<version>-postgis-3 and redis-server "
    "(macOS: brew install postgresql postgis redis), or set DATABASE_URL and REDIS_URL "
    "to servers that you have."
)


class NotFound(DevError):
    """No way to get the programs here; the sentence says what to install."""


@dataclass(frozen=True)
class Program:
    """Where it is, and what its processes (never ours) need in the environment."""

    path: Path
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Programs:
    """PostgreSQL's folder of programs, and redis-server; what nobody asked for may not exist."""

    postgres: Program
    redis: Program


def find_or_install(*, postgres: bool = True, redis: bool = True) -> Programs:
    found = _find(postgres, redis)
    if found is None and apt.is_there():
        if apt.can_install():
            # only what is missing: the rest may be the system's own, of another version than apt's
            apt.install(
                DEPS,
                postgres=postgres and find_postgres() is None,
                redis=redis and find_redis() is None,
            )
        else:
            apt.unpack(DEPS)
        found = _find(postgres, redis)
    if found is None:
        raise NotFound(HELP)
    return found


def _find(need_postgres: bool, need_redis: bool) -> Programs | None:
    postgres, redis = find_postgres(), find_redis()
    if (need_postgres and postgres is None) or (need_redis and redis is None):
        return None
    nothing = Program(Path("was-not-asked-for"))
    return Programs(postgres or nothing, redis or nothing)


def find_postgres() -> Program | None:
    """The newest PostgreSQL that has PostGIS beside it."""
    for bin_folder, share in _system_candidates():
        if (share / "extension" / "postgis.control").exists() and (bin_folder / "initdb").exists():
            return Program(bin_folder)
    if apt.is_unpacked(DEPS):
        root = apt.unpacked_root(DEPS)
        for bin_folder in _by_version(root.glob("usr/lib/postgresql/*/bin")):
            return Program(bin_folder, _environment(root))
    return None


def _system_candidates() -> Iterator[tuple[Path, Path]]:
    for bin_folder in _by_version(Path("/usr/lib/postgresql").glob("*/bin")):  # Debian and its children
        yield bin_folder, Path("/usr/share/postgresql") / bin_folder.parent.name
    config = shutil.which("pg_config")
    if config:
        try:
            asked = subprocess.run(
                [config, "--bindir", "--sharedir"], capture_output=True, text=True, check=True
            )
        except (OSError, subprocess.CalledProcessError):
            return  # Debian's wrapper fails when only the client is installed
        bin_folder_text, share_text = asked.stdout.split("\n")[:2]
        yield Path(bin_folder_text), Path(share_text)


def _by_version(folders: Iterator[Path]) -> list[Path]:
    """Newest first, of folders named .../<major>/bin."""
    return sorted((f for f in folders if f.parent.name.isdigit()), key=lambda f: -int(f.parent.name))


def _environment(root: Path) -> dict[str, str]:
    """Unpacked libraries are not where the loader looks, nor is PROJ's table of coordinate systems."""
    libraries = root / "usr" / "lib" / f"{platform.machine()}-linux-gnu"
    paths = [libraries, libraries / "blas", libraries / "lapack"]
    return {
        "LD_LIBRARY_PATH": os.pathsep.join(str(path) for path in paths),
        "PROJ_LIB": str(root / "usr" / "share" / "proj"),
    }


def find_redis() -> Program | None:
    names = ["redis-server", "valkey-server"]
    candidates = [Program(Path(path)) for name in names if (path := shutil.which(name))]
    # Our own name for the program inside redis-tools, installed or unpacked. `./dev clean` removes the name, but
    # not what is installed.
    if not apt.redis_link(DEPS).exists():
        apt.link_redis(DEPS, SYSTEM_BIN)
    unpacked = _environment(apt.unpacked_root(DEPS)) if apt.is_unpacked(DEPS) else {}
    candidates += [Program(apt.redis_link(DEPS), unpacked)]
    for candidate in candidates:
        if candidate.path.exists() and (_redis_major(candidate) or 0) >= OLDEST_REDIS_MAJOR:
            return candidate
    return None


def find_nginx() -> Program:
    """The system's, or Debian's unpacked below `.dev/nginx`."""
    path = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}{os.pathsep}/usr/sbin")
    if path is not None:
        return Program(Path(path))
    if not apt.is_unpacked(NGINX):
        apt.unpack_nginx(NGINX)
    root = apt.unpacked_root(NGINX)
    return Program(root / "usr" / "sbin" / "nginx", _environment(root))


def find_chromium() -> str | None:
    """The system's, by whatever name it has."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    return next((path for name in names if (path := shutil.which(name))), None)


def _redis_major(program: Program) -> int | None:
    argv, env = [str(program.path), "--version"], {**os.environ, **program.env}
    try:
        answer = subprocess.run(argv, capture_output=True, text=True, check=True, env=env).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    version = re.search(r"\bv=(\d+)\.", answer)
    return int(version.group(1)) if version else None
