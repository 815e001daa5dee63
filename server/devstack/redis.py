"""One private redis-server: on a unix socket, or on a loopback port when asked.

It starts from `deploy/redis.conf`, the settings that production has, and lays a profile's and the caller's
options over them. `kill()` is the hard stop that tests of recovery need; `start()` after it continues from
the same folder.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from server.devstack import procs
from server.devstack.find import Program, find_or_install
from server.devstack.paths import CHECKOUT, private_folder, socket_folder

START_TIMEOUT_S = 20.0
PORTS = range(15_000, 32_000)
NOT_SYNCED = {"appendonly": "no", "maxmemory": "512mb"}


class RedisServer:
    """A redis-server of our own below `folder`; keywords are redis.conf options with `_` for `-`."""

    def __init__(self, folder: Path, program: Program, options: Mapping[str, str | int]) -> None:
        self._folder = folder
        self._program = program
        self._options = {name.replace("_", "-"): str(value) for name, value in options.items()}
        self._child: subprocess.Popen[bytes] | None = None
        self.log = folder / "redis.log"
        self.pid_file = folder / "redis.pid"

    @property
    def port(self) -> int:
        """0 on a unix socket."""
        return int(self._options.get("port", 0))

    @property
    def socket_path(self) -> Path:
        return socket_folder(self._folder) / "redis.sock"

    @property
    def url(self) -> str:
        if self.port:
            return f"redis://127.0.0.1:{self.port}/0"
        return f"unix://{quote(str(self.socket_path))}?db=0"

    @property
    def pid(self) -> int | None:
        return procs.read_pid(self.pid_file)

    def start(self) -> str:
        """Returns its URL once it answers; adopts one of ours that is still running."""
        private_folder(self._folder)
        if self.pid is None:
            self._reap()
            options = {"port": "0", "bind": "127.0.0.1", "dir": str(self._folder), "daemonize": "no"}
            if not self.port:
                options |= {"unixsocket": str(self.socket_path), "unixsocketperm": "700"}
            options |= self._options
            # a copy: a Redis that a sentinel moves writes its configuration anew
            conf = self._folder / "redis.conf"
            shutil.copyfile(CHECKOUT / "deploy" / "redis.conf", conf)
            argv: list[str | Path] = [self._program.path, conf]
            for name, value in options.items():
                argv += [f"--{name}", value]
            env = {**os.environ, **self._program.env}
            self._child = procs.spawn(argv, log=self.log, pid_file=self.pid_file, env=env)
        if (
            not procs.wait_for(lambda: self._answers() or self.pid is None, START_TIMEOUT_S)
            or self.pid is None
        ):
            self.stop()
            raise procs.DevError(f"Redis did not start:\n{procs.tail(self.log)}")
        return self.url

    def _answers(self) -> bool:
        try:
            with self._connect() as link:
                link.sendall(b"PING\r\n")
                return link.recv(64).startswith((b"+PONG", b"-NOAUTH"))
        except OSError:
            return False

    def _connect(self) -> socket.socket:
        if self.port:
            return socket.create_connection(("127.0.0.1", self.port), timeout=1.0)
        link = socket.socket(socket.AF_UNIX)
        link.settimeout(1.0)
        try:
            link.connect(str(self.socket_path))
        except OSError:
            link.close()
            raise
        return link

    def stop(self) -> None:
        """SIGTERM: Redis writes what its profile keeps, then leaves."""
        procs.stop(self.pid_file)
        self._reap()

    def kill(self) -> None:
        """SIGKILL, as a crash would."""
        procs.stop(self.pid_file, polite=signal.SIGKILL)
        self._reap()

    def _reap(self) -> None:
        if self._child:
            self._child.wait()
            self._child = None


def free_port() -> int:
    """A port nobody listens on, below those that the kernel gives to connections going out: one of these could take
    it while what listens there is started again."""
    while True:
        port = PORTS.start + secrets.randbelow(len(PORTS))
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port


@contextmanager
def private_redis(folder: Path | None = None, **options: str | int) -> Iterator[RedisServer]:
    """One more Redis beside a stack's: unsynced, on a unix socket, its folder thrown away, unless options
    say else.

    `private_redis(port=free_port(), appendonly="yes", appendfsync="always")`
    """
    home = folder or Path(tempfile.mkdtemp(prefix="aryv-redis-"))
    server = RedisServer(home, find_or_install(postgres=False).redis, NOT_SYNCED | options)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        if folder is None:
            shutil.rmtree(home, ignore_errors=True)
