"""`dispatch …`: every command of the shell, its arguments, and how it ends.

A command ends with 0 (done), 1 (failed: one sentence on stderr that says what to do next), 2 (called wrongly)
or 130 (interrupted). What a command needs is imported when it runs, so that `dispatch --help` is quick.
"""

import argparse
import asyncio
import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from server.needs import Stop, database_url, need, ring_path, whole_number
from server.policycommands import add_policy_command
from server.settings import BadSetting, Settings, load, table, unknown
from server.usercommands import add_user_commands

MAX_WORKERS = 64

Run = Callable[[argparse.Namespace, Settings], None]


def main(argv: Sequence[str] | None = None) -> int:
    """The entry point; returns the exit code."""
    arguments = parser().parse_args(argv)
    run: Run = arguments.run
    for warning in unknown(os.environ):
        print(f"dispatch: {warning}", file=sys.stderr)
    try:
        run(arguments, load())
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        sentence = _sentence(error)
        if sentence is None:
            raise
        print(f"dispatch: {sentence}", file=sys.stderr)
        return 1
    return 0


def _sentence(error: Exception) -> str | None:
    """What to tell a person about an expected failure; None for a fault of ours, which keeps its traceback."""
    import asyncpg
    import redis

    from rooms.identity import BadKeys
    from storage.areas import BadArea
    from storage.migrate import StaleSchema
    from storage.postgis import DatabaseUnavailable
    from storage.shard import Unavailable
    from storage.where import BadRedisUrl

    if isinstance(error, BadArea | BadRedisUrl | Stop | BadSetting | BadKeys | StaleSchema):
        return str(error)
    if isinstance(error, asyncpg.InvalidPasswordError | asyncpg.InvalidCatalogNameError):
        return f"PostgreSQL refuses the connection ({error}). Look at DISPATCH_DATABASE_URL."
    if isinstance(error, asyncpg.UndefinedTableError):
        return "The database has no schema of this version. Run `dispatch migrate`."
    if isinstance(error, asyncpg.InsufficientPrivilegeError):
        return f"The database user may not do this ({error}). Grant it or connect as the owner."
    if isinstance(error, Unavailable | redis.RedisError):
        return "Redis does not answer. Look at DISPATCH_REDIS_URL and whether it runs."
    if isinstance(error, DatabaseUnavailable | asyncpg.PostgresConnectionError):
        return f"{_short(error)}. Look at DISPATCH_DATABASE_URL and whether PostgreSQL runs."
    if isinstance(error, OSError) and error.filename:
        return (
            f"{error.filename} cannot be read or written ({error.strerror}). Look at its name and its rights."
        )
    if isinstance(error, TimeoutError | OSError):
        return (
            f"Something this needs cannot be reached or written ({_short(error)}). "
            "Look at DISPATCH_DATABASE_URL, DISPATCH_REDIS_URL and the file names, and whether the servers run."
        )
    return None


def _short(error: Exception) -> str:
    return str(error).strip() or type(error).__name__


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="dispatch", description="Realtime dispatch server.")
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    def command(
        name: str,
        run: Run,
        about: str,
        within: "argparse._SubParsersAction[argparse.ArgumentParser] | None" = None,
    ) -> argparse.ArgumentParser:
        made = (within or commands).add_parser(name, help=about, description=about)
        made.set_defaults(run=run)
        return made

    def group(name: str, about: str) -> "argparse._SubParsersAction[argparse.ArgumentParser]":
        return commands.add_parser(name, help=about, description=about).add_subparsers(
            required=True, metavar="COMMAND"
        )

    serving = command("serve", _serve, "run the server")
    serving.add_argument(
        "--workers",
        type=whole_number(MAX_WORKERS),
        metavar="N",
        help=f"so many processes on one port, 1 to {MAX_WORKERS}",
    )
    serving.add_argument(
        "--own-ports",
        action="store_true",
        help="worker number i listens on port + i as well (deploy/nginx.conf)",
    )
    serving.add_argument("--tethered", action="store_true", help=argparse.SUPPRESS)
    command("drain", _drain, "move facts and fixes from Redis to PostgreSQL, and learn from finished rides")
    migrate = command("migrate", _migrate, "bring the database to the schema of this version")
    migrate.add_argument(
        "--print-schema", action="store_true", help="print its catalog instead of what was done"
    )
    _add_rehydrate(command)
    command("seed", _seed, "put demo areas, users and some history into an empty database")

    add_user_commands(group("users", "accounts"), command)

    keys = group("keys", "the key ring that signs access tokens (DISPATCH_KEYS_FILE)")
    command("init", _keys_init, "make a ring where there is none", keys)
    command("rotate", _keys_rotate, "sign with a new key; the present one still verifies", keys)
    command("list", _keys_list, "names of the keys", keys)

    areas = group("areas", "service areas with their policy and prices")
    put = command("put", _areas_put, "add or replace an area from a GeoJSON Feature", areas)
    put.add_argument("file", type=Path)
    command("list", _areas_list, "all areas", areas)
    add_policy_command(areas, command)

    command("settings", _settings, "print docs/settings.md: every setting")
    command("policy", _policy, "print docs/policy.md: every rule of an area")
    command("protocol", _protocol, "print docs/protocol.md: every event")
    command("routes", _routes, "print docs/http.md: every HTTP route")
    return top


def _add_rehydrate(command: Callable[..., argparse.ArgumentParser]) -> None:
    lost = command("rehydrate", _rehydrate, "bring live jobs back that Redis has lost, from PostgreSQL")
    lost.add_argument("--dry-run", action="store_true", help="say what would be done, and do nothing")
    lost.add_argument(
        "--max-age-h",
        type=_hours,
        default=12.0,
        metavar="H",
        help="jobs that nothing was heard of for longer are cancelled as lost (12)",
    )


def _hours(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0.0 < number <= 8_760.0:
        raise argparse.ArgumentTypeError(f"{text!r} are no hours, above 0 and up to a year")
    return number


def _logs(settings: Settings) -> None:
    logging.basicConfig(
        level=logging.DEBUG if settings.debug else logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
    )


def _serve(arguments: argparse.Namespace, settings: Settings) -> None:
    need(settings, "database_url", "redis_url", "keys_file")
    _logs(settings)
    if arguments.workers is not None:
        from server.workers import supervise

        supervise(settings, arguments.workers, own_ports=arguments.own_ports)
        return
    if arguments.own_ports:
        raise Stop(
            "--own-ports is for --workers; one process listens on DISPATCH_PORT, and DISPATCH_OWN_PORT."
        )
    from server.app import serve
    from server.tether import Tether

    serve(settings, Tether(0) if arguments.tethered else None)


def _drain(_: argparse.Namespace, settings: Settings) -> None:
    import uvloop

    from server.learner import drain_and_learn

    need(settings, "database_url", "redis_url")
    _logs(settings)
    uvloop.run(drain_and_learn(settings))


def _migrate(arguments: argparse.Namespace, settings: Settings) -> None:
    from storage.migrate import migrate

    applied = asyncio.run(migrate(database_url(settings)))
    if arguments.print_schema:
        print(asyncio.run(_schema(settings)), end="")
    else:
        print(f"Applied {', '.join(applied)}." if applied else "The schema is up to date.")


async def _schema(settings: Settings) -> str:
    from server.chores import transaction
    from storage.migrate import schema_text

    async with transaction(settings) as conn:
        return await schema_text(conn)


def _rehydrate(arguments: argparse.Namespace, settings: Settings) -> None:
    from server.rehydrate import rehydrate

    done = asyncio.run(rehydrate(settings, max_age_h=arguments.max_age_h, dry_run=arguments.dry_run))
    print(done.table(), end="")
    if done.left:
        raise Stop("Not all came back. Put right what the table says, and run `dispatch rehydrate` again.")
    if arguments.dry_run:
        print("Nothing was changed.")


def _seed(_: argparse.Namespace, settings: Settings) -> None:
    from server.seed import seed

    print(asyncio.run(seed(settings)), end="")


def _keys_init(_: argparse.Namespace, settings: Settings) -> None:
    from rooms.identity import Ring

    path = ring_path(settings)
    if path.exists():
        print(f"{path} is there already and was left as it is.")
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    ring = Ring.new()
    ring.write(path)
    print(f"Made {path} with the key {ring.current}.")


def _keys_rotate(_: argparse.Namespace, settings: Settings) -> None:
    from rooms.identity import Ring

    path = ring_path(settings)
    ring = Ring.read(path).rotated()
    ring.write(path)
    print(f"New tokens are signed with {ring.current}; those of the key before are good until they expire.")


def _keys_list(_: argparse.Namespace, settings: Settings) -> None:
    from rooms.identity import Ring

    ring = Ring.read(ring_path(settings))
    for kid in ring.keys:
        print(f"{kid}  {'signs and verifies' if kid == ring.current else 'verifies'}")


def _areas_put(arguments: argparse.Namespace, settings: Settings) -> None:
    from server.chores import put_area, read_area

    print(asyncio.run(put_area(settings, read_area(arguments.file))))


def _areas_list(_: argparse.Namespace, settings: Settings) -> None:
    from server.chores import list_areas

    print(asyncio.run(list_areas(settings)), end="")


def _settings(_: argparse.Namespace, settings: Settings) -> None:
    print(table(), end="")


def _policy(_: argparse.Namespace, settings: Settings) -> None:
    from server.policypage import page

    print(page(), end="")


def _protocol(_: argparse.Namespace, settings: Settings) -> None:
    from rooms.protocol import page

    print(page(), end="")


def _routes(_: argparse.Namespace, settings: Settings) -> None:
    from server.http.routes import page

    print(page(), end="")


if __name__ == "__main__":
    sys.exit(main())
