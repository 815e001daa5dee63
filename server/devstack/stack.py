"""The pair that everything here stands on: one PostgreSQL with PostGIS and one Redis, below `.dev/<name>`.

Profile 'dev' keeps its data between starts. 'test' and 'bench' begin empty each time. A stack belongs to
one living process; what a killed owner left running is ended by the next one that takes the folder.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal

from server.devstack import compose, find, procs
from server.devstack.paths import DEV, shown
from server.devstack.postgres import PostgresServer
from server.devstack.redis import NOT_SYNCED, RedisServer

Profile = Literal["dev", "test", "bench"]
MAX_STACKS_OF_A_NAME = 20
CLEANED = "cleaned"  # a file that tells a living owner who ended his processes


@dataclass(frozen=True)
class Urls:
    database_url: str
    redis_url: str


class Busy(procs.DevError):
    """Another living process has this stack."""


class Stack:
    """Start, URLs, stop. `start_postgres` and `start_redis` are for callers who need only one of the two."""

    def __init__(self, name: str, profile: Profile = "dev", root: Path = DEV) -> None:
        self.folder = root / name
        self.profile: Profile = profile
        self._claim = procs.Claim(self.folder)
        self._claimed = False
        self._postgres: PostgresServer | None = None
        self._redis: RedisServer | None = None

    @classmethod
    def first_free(cls, name: str, profile: Profile, root: Path = DEV) -> Stack:
        """`name`, or `name-2` and so on while others run theirs: several test runs may share a checkout."""
        for number in range(1, MAX_STACKS_OF_A_NAME):
            stack = cls(name if number == 1 else f"{name}-{number}", profile, root)
            if stack._take():
                return stack
        raise Busy(
            f"There are {MAX_STACKS_OF_A_NAME} stacks of the name {name} already; ./dev clean ends leftovers."
        )

    def _take(self) -> bool:
        """Takes the folder; ends what a killed owner left; empties it unless its data is to be kept."""
        if self._claimed:
            return True
        if not self._claim.take():
            return False
        self._claimed = True
        (self.folder / CLEANED).unlink(missing_ok=True)
        end_leftovers(self.folder)
        if self.profile != "dev":
            for found in self.folder.iterdir():
                if found.name != "owner":
                    shutil.rmtree(found) if found.is_dir() else found.unlink()
        return True

    def own(self) -> None:
        """Takes the folder, without starting anything. Raises Busy when somebody else has it."""
        if not self._take():
            text = f"Process {self._claim.owner} runs the stack in {shown(self.folder)} already"
            raise Busy(f"{text}; stop it with Ctrl-C first.")

    def configured(self, name: str) -> str | None:
        """A server of the person's own. What tests and benches empty has a name that nobody sets by habit."""
        return os.environ.get(name if self.profile == "dev" else f"TEST_{name}") or None

    def start(self) -> Urls:
        given = Urls(self.configured("DATABASE_URL") or "", self.configured("REDIS_URL") or "")
        self.own()
        if given.database_url and given.redis_url:
            return given
        try:
            find.find_or_install(postgres=not given.database_url, redis=not given.redis_url)
        except find.NotFound:
            if not compose.is_there():
                raise
            database_url, redis_url = compose.up(self.folder)
            return Urls(given.database_url or database_url, given.redis_url or redis_url)
        return Urls(self.start_postgres(), self.start_redis())

    def start_postgres(self) -> str:
        """The URL of a database that has PostGIS."""
        if given := self.configured("DATABASE_URL"):
            return given
        self.own()
        programs = find.find_or_install(redis=False)
        self._postgres = PostgresServer(self.folder / "postgres", programs.postgres, self.profile)
        fresh = not (self.folder / "postgres" / "made").exists()
        with procs.step("PostgreSQL: a new cluster with PostGIS" if fresh else "PostgreSQL"):
            return self._postgres.start()

    def start_redis(self) -> str:
        if given := self.configured("REDIS_URL"):
            return given
        self.own()
        programs = find.find_or_install(postgres=False)
        options = NOT_SYNCED if self.profile == "test" else {}
        self._redis = RedisServer(self.folder / "redis", programs.redis, options)
        with procs.step("Redis"):
            return self._redis.start()

    @property
    def is_cleaned(self) -> bool:
        """Whether `./dev clean --force` has taken this stack from under its owner."""
        return (self.folder / CLEANED).exists() or not self.folder.exists()

    def pids(self) -> dict[str, list[int]]:
        """The server processes that are ours, for accounting; none for servers that somebody else runs."""
        servers = {"postgres": self._postgres, "redis": self._redis}
        return {name: [server.pid] if server and server.pid else [] for name, server in servers.items()}

    def revive(self) -> None:
        """Starts again what has ended by itself, with all that it had on disk. The server lives through that."""
        servers = {"PostgreSQL": self._postgres, "Redis": self._redis}
        for name, server in servers.items():
            if server and server.pid is None and not self.is_cleaned:
                with procs.step(f"{name} has ended (its log: {shown(server.log)}); starting it again"):
                    server.start()

    def stop(self) -> None:
        if not self._claimed:
            return
        if self._redis:
            self._redis.stop()
        if self._postgres:
            self._postgres.stop()
        compose.down(self.folder)
        self._claim.release()
        self._claimed = False

    def __enter__(self) -> Urls:
        try:
            return self.start()
        except BaseException:
            self.stop()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self.stop()


def end_leftovers(folder: Path) -> None:
    """Ends everything below a stack's folder that has a pid file, children first, then the databases."""
    for pid_file in sorted(folder.glob("*.pid")):
        procs.stop(pid_file)
    for pid_file in sorted(folder.glob("redis*/redis.pid")):
        procs.stop(pid_file)
    postgres = PostgresServer(folder / "postgres", find.Program(Path()), "dev")
    postgres.stop()
    compose.down(folder)
