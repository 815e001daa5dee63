"""Getting PostgreSQL, PostGIS and Redis (and Node for the tests) from Debian's or Ubuntu's archive.

With root or `sudo -n` the packages are installed, in a way that starts no server: `redis-tools` carries the
Redis program without its service, and PostgreSQL's packages are told not to make their default cluster.
Without root they are downloaded with a private apt state and unpacked below a folder; nothing outside it
changes.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from server.devstack.procs import DevError, step

CLUSTER_CONF = "/etc/postgresql-common/createcluster.conf"
NO_CLUSTER = r"s/^#\?[[:space:]]*create_main_cluster.*/create_main_cluster = false/"
NODE_PACKAGES = ["nodejs", "npm"]
CHROMIUM_PACKAGE = "chromium"


def is_there() -> bool:
    return shutil.which("apt-get") is not None and shutil.which("dpkg-deb") is not None


def can_install() -> bool:
    """Root, or sudo that asks for no password."""
    return _as_root() is not None


def _as_root() -> list[str] | None:
    if os.geteuid() == 0:
        return []
    if shutil.which("sudo") and _run(["sudo", "-n", "true"]).returncode == 0:
        return ["sudo", "-n", "env", "DEBIAN_FRONTEND=noninteractive"]  # sudo drops our environment
    return None


def _run(argv: Sequence[str]) -> subprocess.CompletedProcess[str]:
    quiet = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}
    return subprocess.run(
        argv, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, env=quiet
    )


def _must(argv: Sequence[str]) -> str:
    done = _run(argv)
    if done.returncode != 0:
        last = "\n".join((done.stderr or done.stdout).splitlines()[-8:])
        raise DevError(f"`{' '.join(argv[:4])} ...` failed:\n{last}")
    return done.stdout


def _postgis_packages(apt_cache: Sequence[str]) -> list[str]:
    """PostgreSQL with PostGIS, of the newest version that the archive has both of."""
    names = _must([*apt_cache, "pkgnames", "postgresql-"]).split()
    versions = [
        int(found.group(1)) for name in names if (found := re.fullmatch(r"postgresql-(\d+)-postgis-3", name))
    ]
    if not versions:
        raise DevError(
            "apt knows no package postgresql-<version>-postgis-3; check the sources (Ubuntu: universe)."
        )
    newest = max(versions)
    return [f"postgresql-{newest}", f"postgresql-{newest}-postgis-3"]


def install(deps: Path, *, postgres: bool, redis: bool) -> None:
    """Installs for the whole system, and leaves no server running and no cluster made."""
    root = _as_root() or []
    get = [*root, "apt-get", "-y", "--no-install-recommends", "-o", "Dpkg::Options::=--force-confold"]
    with step("apt-get update"):
        _must([*root, "apt-get", "update"])
    if redis:
        with step("installing redis-tools"):
            _must([*get, "install", "redis-tools"])
            link_redis(deps, Path("/usr/bin"))
    if postgres:
        packages = _postgis_packages(["apt-cache"])
        with step(f"installing {' '.join(packages)}"):
            _install_without_cluster(root, get, packages)


def _install_without_cluster(root: list[str], get: list[str], packages: list[str]) -> None:
    # The setting must stand before the server's package is configured; it is put back as it was.
    ours = not Path(CLUSTER_CONF).exists()
    if ours:
        _must([*get, "install", "postgresql-common"])
        _must([*root, "sed", "-i.before", NO_CLUSTER, CLUSTER_CONF])
    try:
        _must([*get, "install", *packages])
    finally:
        if ours:
            _must([*root, "mv", f"{CLUSTER_CONF}.before", CLUSTER_CONF])


def install_node() -> None:
    """For the tests with the stock JavaScript client."""
    root = _as_root()
    if root is None or not is_there():
        raise DevError("Node 18 or newer with npm is needed for the tests: install nodejs and npm.")
    with step("installing nodejs and npm"):
        _must([*root, "apt-get", "update"])
        _must([*root, "apt-get", "-y", "--no-install-recommends", "install", *NODE_PACKAGES])


def install_chromium() -> bool:
    """For the tests of the pages, which skip without it; False where it cannot be had."""
    root = _as_root()
    if root is None or not is_there():
        return False
    with step(f"installing {CHROMIUM_PACKAGE}"):
        argv = [*root, "apt-get", "-y", "--no-install-recommends", "install", CHROMIUM_PACKAGE]
        return _run([*root, "apt-get", "update"]).returncode == 0 and _run(argv).returncode == 0


# Without root, from here on.


def unpacked_root(deps: Path) -> Path:
    return deps / "root"


def is_unpacked(deps: Path) -> bool:
    return (deps / "complete").exists()


def redis_link(deps: Path) -> Path:
    return deps / "bin" / "redis-server"


def link_redis(deps: Path, bin_folder: Path) -> None:
    """redis-check-rdb IS the server: what it does is decided by the name it is called by."""
    link = redis_link(deps)
    for name in ("redis-check-rdb", "valkey-check-rdb"):
        if (bin_folder / name).exists():
            link.parent.mkdir(parents=True, exist_ok=True)
            link.unlink(missing_ok=True)
            link.symlink_to(bin_folder / name)
            return


def unpack(deps: Path) -> None:
    """PostgreSQL with PostGIS, and Redis."""
    _unpack(deps, lambda apt_cache: [*_postgis_packages(apt_cache), "redis-tools"], _finish)


def unpack_nginx(deps: Path) -> None:
    """For the test of deploy/nginx.conf; never installed, because its package starts a server."""
    if not is_there():
        raise DevError("nginx is needed for this test: install it.")
    _unpack(deps, lambda _: ["nginx-light"], lambda _: None)


def _unpack(
    deps: Path, packages_of: Callable[[Sequence[str]], list[str]], finish: Callable[[Path], None]
) -> None:
    """Downloads packages with a private apt state and unpacks them; a broken attempt is begun again."""
    shutil.rmtree(deps, ignore_errors=True)
    state = ["-o", f"Dir::State={deps}/state", "-o", f"Dir::State::lists={deps}/state/lists"]
    state += ["-o", f"Dir::Cache={deps}/cache", "-o", "Debug::NoLocking=1", "-o", "APT::Sandbox::User="]
    for folder in ("state/lists/partial", "cache/archives/partial", "root"):
        (deps / folder).mkdir(parents=True)
    # What the system has already need not be fetched again, so its own list of packages is read, never
    # written.
    state += ["-o", "Dir::State::status=/var/lib/dpkg/status"]
    with step(f"apt-get update, into .dev/{deps.name} (no root)"):
        _must(["apt-get", *state, "update"])
    packages = packages_of(["apt-cache", *state])
    with step(f"downloading {' '.join(packages)} into .dev/{deps.name}"):
        _must(["apt-get", *state, "-y", "--no-install-recommends", "--download-only", "install", *packages])
    with step("unpacking"):
        for package in sorted((deps / "cache" / "archives").glob("*.deb")):
            _must(["dpkg-deb", "-x", str(package), str(unpacked_root(deps))])
        finish(deps)
    shutil.rmtree(deps / "cache")
    shutil.rmtree(deps / "state")
    (deps / "complete").touch()


def _finish(deps: Path) -> None:
    """Does what the packages' own scripts would have done: the names that update-alternatives manages."""
    root = unpacked_root(deps)
    for extensions in root.glob("usr/share/postgresql/*/extension"):
        for control in extensions.glob("postgis*-3.control"):
            plain = extensions / control.name.replace("-3.control", ".control")
            if not plain.exists():
                plain.symlink_to(control.name)
    libraries = root / "usr" / "lib" / f"{platform.machine()}-linux-gnu"
    if not libraries.exists():
        raise DevError(f"The packages for {platform.machine()} unpacked into an unexpected place.")
    # The server may be on the system already (redis-tools installed) when only PostGIS was missing.
    here = root / "usr" / "bin"
    link_redis(deps, here if (here / "redis-check-rdb").exists() else Path("/usr/bin"))
