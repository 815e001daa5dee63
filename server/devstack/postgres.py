"""One private PostgreSQL cluster on a unix socket, with an `app` database that has PostGIS.

PostgreSQL refuses to run as root, so root starts it in a user namespace where it is somebody else; where
that is forbidden (inside a chroot or a container) it becomes the postgres user, with the one capability
that lets it reach a folder below a private home. Only the owner of the folder reaches the socket, so no
password is needed.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from server.devstack import find, procs
from server.devstack.paths import private_folder, socket_folder

COMMAND_TIMEOUT_S = 120.0
STOP_FAST_S = 4.0
ORPHANS_LEAVE_S = 10.0
PORT = 5432  # names the socket only: nothing listens on TCP
USER = DATABASE = "app"

COMMON = {
    "listen_addresses": "''",
    "port": str(PORT),
    "max_connections": "200",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "jit": "off",  # costs more than it brings at our statement sizes
    "random_page_cost": "1.1",
}
PROFILES = {
    "dev": {"wal_compression": "on", "shared_buffers": "256MB"},
    # Nothing of a test or a measurement outlives the machine, so nothing waits for the disk.
    "test": {
        "fsync": "off",
        "synchronous_commit": "off",
        "full_page_writes": "off",
        "wal_level": "minimal",
        "max_wal_senders": "0",
        "autovacuum": "off",
        "checkpoint_timeout": "1h",
        "max_wal_size": "2GB",
        "shared_buffers": "256MB",
    },
    # Measurements pay for their commits, as production does.
    "bench": {"wal_compression": "on", "shared_buffers": "512MB", "max_wal_size": "4GB"},
}


class PostgresServer:
    """A cluster below `folder` that is made at its first start and kept until somebody removes the folder."""

    def __init__(self, folder: Path, programs: find.Program, profile: str) -> None:
        self._folder = folder
        self._data = folder / "data"
        self._bin = programs.path
        # A locale of the terminal that this machine does not have would be complained about.
        self._env = {**os.environ, **programs.env, "LC_ALL": "C.UTF-8"}
        self._settings = COMMON | PROFILES[profile]
        self.log = folder / "postgres.log"

    def url(self, database: str = DATABASE) -> str:
        return f"postgresql://{USER}@/{database}?host={quote(str(self._sockets), safe='/')}&port={PORT}"

    @property
    def _sockets(self) -> Path:
        return socket_folder(self._folder)

    @property
    def pid(self) -> int | None:
        """The postmaster, if the pid in its file is really one that works in our data folder."""
        try:
            pid = int((self._data / "postmaster.pid").read_text().split("\n")[0])
        except (FileNotFoundError, ValueError):
            return None
        if not procs.is_alive(pid):
            return None
        try:
            return pid if Path(os.readlink(f"/proc/{pid}/cwd")) == self._data.resolve() else None
        except OSError:
            return None if Path("/proc/self/stat").exists() else pid

    def start(self) -> str:
        """Returns the URL of the `app` database; adopts a cluster of ours that is still running."""
        private_folder(self._folder)
        if self.pid is None:
            self._clear_after_a_kill()
            if not (self._folder / "made").exists():
                self._make()
            self._configure()
            self._must(["pg_ctl", "-D", self._data, "-w", "-t", "60", "-l", self.log, "start"], as_owner=True)
        if not (self._folder / "made").exists():
            self._sql("postgres", f"CREATE DATABASE {DATABASE}")
            self._sql(DATABASE, "CREATE EXTENSION postgis")
            (self._folder / "made").touch()
        return self.url()

    def _clear_after_a_kill(self) -> None:
        """PostgreSQL refuses to start while the pid of a killed postmaster is anybody's, or a zombie's."""
        (self._data / "postmaster.pid").unlink(missing_ok=True)
        (self._sockets / f".s.PGSQL.{PORT}.lock").unlink(missing_ok=True)
        # Its children leave by themselves, but not at once, and hold the shared memory until then.
        procs.wait_for(lambda: not procs.working_in(self._data), ORPHANS_LEAVE_S)

    def _make(self) -> None:
        shutil.rmtree(self._data, ignore_errors=True)  # what a broken first start left
        self._data.mkdir(mode=0o700)
        owner = self._other_user()
        if owner and not self._namespace_works():
            shutil.chown(self._data, owner.pw_uid, owner.pw_gid)
        words = f"initdb -U {USER} --auth=trust --locale=C.UTF-8 -E UTF8 --no-sync -D".split()
        self._must([*words, self._data], as_owner=True)

    def _configure(self) -> None:
        """Written anew at every start: the profile may have changed, and the checkout may have moved."""
        settings = self._settings | {"unix_socket_directories": f"'{self._sockets}'"}
        if (self._bin.parent / "lib" / "pg_stat_statements.so").exists():
            settings["shared_preload_libraries"] = "pg_stat_statements"  # the slow statements view reads it
        text = "".join(f"{name} = {value}\n" for name, value in settings.items())
        (self._data / "postgresql.auto.conf").write_text(text)

    def _must(self, argv: Sequence[str | Path], *, as_owner: bool = False) -> None:
        command = [str(self._bin / argv[0]), *(str(part) for part in argv[1:])]
        # A file and not a pipe: the server would inherit the pipe, and its end would never come.
        with (self._folder / "commands.log").open("ab") as log:
            done = subprocess.run(
                [*(self._as_somebody_else() if as_owner else []), *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                timeout=COMMAND_TIMEOUT_S,
                check=False,
                env=self._env,
                cwd=self._folder,
            )
        if done.returncode != 0:
            said = procs.tail(self._folder / "commands.log", 8) + "\n" + procs.tail(self.log, 8)
            raise procs.DevError(f"PostgreSQL's {argv[0]} failed:\n{said}")

    def _sql(self, database: str, statement: str) -> None:
        self._must(["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", self.url(database), "-c", statement])

    def _as_somebody_else(self) -> list[str]:
        user = self._other_user()
        if user is None:
            return []
        if self._namespace_works():
            return [*self._namespace(), "--"]
        capability = "+dac_override"
        return [
            "setpriv",
            f"--reuid={user.pw_uid}",
            f"--regid={user.pw_gid}",
            "--clear-groups",
            f"--inh-caps={capability}",
            f"--ambient-caps={capability}",
            "--",
        ]

    @staticmethod
    def _other_user() -> pwd.struct_passwd | None:
        """Who runs the server when we are root; nobody needs to when we are not."""
        if os.geteuid() != 0:
            return None
        for name in ("postgres", "nobody"):
            try:
                return pwd.getpwnam(name)
            except KeyError:
                continue
        raise procs.DevError("PostgreSQL refuses to run as root, and there is no user postgres or nobody.")

    def _namespace(self) -> list[str]:
        nobody = pwd.getpwnam("nobody")
        return ["unshare", "--user", f"--map-user={nobody.pw_uid}", f"--map-group={nobody.pw_gid}"]

    def _namespace_works(self) -> bool:
        """Also asks that the data folder is ours: one made by another user stays with that user."""
        if self._data.exists() and self._data.stat().st_uid != 0:
            return False
        try:
            return (
                subprocess.run(
                    [*self._namespace(), "--", "true"], capture_output=True, check=False
                ).returncode
                == 0
            )
        except FileNotFoundError:
            return False

    def stop(self) -> None:
        """Fast: sessions are ended and everything is written; at once when that takes too long."""
        pid = self.pid
        if pid is not None:
            ends = [(signal.SIGINT, STOP_FAST_S), (signal.SIGQUIT, 1.0), (signal.SIGKILL, 2.0)]
            procs.signal_and_wait(pid, ends)
