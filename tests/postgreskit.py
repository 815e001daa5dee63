"""A PostgreSQL of a test's own, which it may kill, freeze and fill.

with own_postgres(file_kib=16 * 1024 + 4) as server:  # no file of it grows beyond that
    server.url, server.kill(), server.start(), server.freeze(), server.thaw()
"""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from server.devstack import find, procs
from server.devstack.postgres import PostgresServer
from tests.support import CHECKOUT


class OwnPostgres:
    """`file_kib` is a limit of the operating system for each file that the server writes; 0: none."""

    def __init__(self, folder: Path, file_kib: int) -> None:
        self._server = PostgresServer(folder, find.find_or_install(redis=False).postgres, "test")
        self._data = folder / "data"
        self._file_kib = file_kib
        self.url = self._server.start()
        if file_kib:
            self._server.stop()
            self.start()

    def start(self) -> None:
        """Again, with what it held."""
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        if self._file_kib:
            resource.setrlimit(resource.RLIMIT_FSIZE, (self._file_kib * 1024, before[1]))
        try:
            self._server.start()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    def kill(self) -> None:
        """Ended at once, as by a crash: connections break, and nobody answers."""
        self._signal(signal.SIGKILL)
        assert procs.wait_for(lambda: not procs.working_in(self._data), 10.0)

    def freeze(self) -> None:
        """It holds its connections and takes new ones, and answers nobody."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        for pid in procs.working_in(self._data):
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue

    def stop(self) -> None:
        self.thaw()
        self._server.stop()


@contextmanager
def own_postgres(file_kib: int = 0) -> Iterator[OwnPostgres]:
    """Running, with every migration; its folder is thrown away."""
    folder = Path(tempfile.mkdtemp(prefix="aryv-pg-"))
    server = OwnPostgres(folder, file_kib)
    try:
        env = os.environ | {"DISPATCH_DATABASE_URL": server.url}
        argv = [sys.executable, "-m", "server.cli", "migrate"]
        subprocess.run(argv, env=env, cwd=CHECKOUT, check=True, capture_output=True)
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)
