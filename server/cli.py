"""`dispatch …`: every command of the shell, its arguments, and how it ends.

A command ends with 0 (done), 1 (failed: one sentence on stderr that says what to do next), 2 (called wrongly)
or 130 (interrupted). What a command needs is imported when it runs, so that `dispatch --help` is quick.
"""

import argparse
import asyncio
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from server.needs import Stop, database_url, redis_url, ring_path
from server.settings import BadSetting, Settings, load, table

ROLES = ("passenger", "driver", "courier", "admin")
MAX_TOKENS = 100_000

Run = Callable[[argparse.Namespace, Settings], None]


def main(argv: Sequence[str] | None = None) -> int:
    """The entry point; returns the exit code."""
    arguments = parser().parse_args(argv)
    run: Run = arguments.run
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
    if isinstance(error, DatabaseUnavailable | asyncpg.PostgresConnectionError | TimeoutError | OSError):
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

    command("serve", _serve, "run one server process")
    command("drain", _drain, "move facts and fixes from Redis to PostgreSQL")
    migrate = command("migrate", _migrate, "bring the database to the schema of this version")
    migrate.add_argument(
        "--print-schema", action="store_true", help="print its catalog instead of what was done"
    )
    command("seed", _seed, "put demo areas, users and some history into an empty database")

    users = group("users", "accounts")
    add = command("add", _users_add, "make an account; its password is printed once", users)
    add.add_argument("--role", required=True, choices=ROLES)
    add.add_argument("--email", required=True)
    add.add_argument("--first-name", default="New")
    add.add_argument("--last-name", default="User")
    add.add_argument("--phone", help="+ and 2 to 15 digits")
    block = command("block", _users_block, "let somebody in no more; open sockets close in seconds", users)
    block.add_argument("--email", required=True)
    unblock = command("unblock", _users_unblock, "let somebody in again", users)
    unblock.add_argument("--email", required=True)
    role = command("role", _users_role, "give somebody another role; open sockets close and come back", users)
    role.add_argument("--email", required=True)
    role.add_argument("--role", required=True, choices=ROLES)
    token = command("token", _users_token, "make accounts without passwords and mint their tokens", users)
    token.add_argument("--role", required=True, choices=ROLES)
    token.add_argument("--count", type=_count, required=True, help=f"1 to {MAX_TOKENS}")
    token.add_argument("--out", type=Path, required=True, help="JSON lines, readable by you alone")

    keys = group("keys", "the key ring that signs access tokens (DISPATCH_KEYS_FILE)")
    command("init", _keys_init, "make a ring where there is none", keys)
    command("rotate", _keys_rotate, "sign with a new key; the present one still verifies", keys)
    command("list", _keys_list, "names of the keys", keys)

    areas = group("areas", "service areas with their policy and prices")
    put = command("put", _areas_put, "add or replace an area from a GeoJSON Feature", areas)
    put.add_argument("file", type=Path)
    command("list", _areas_list, "all areas", areas)

    command("settings", _settings, "print docs/settings.md: every setting")
    command("protocol", _protocol, "print docs/protocol.md: every event")
    command("routes", _routes, "print docs/http.md: every HTTP route")
    return top


def _count(text: str) -> int:
    number = int(text)
    if not 1 <= number <= MAX_TOKENS:
        raise argparse.ArgumentTypeError(f"must be from 1 to {MAX_TOKENS}")
    return number


def _logs(settings: Settings) -> None:
    logging.basicConfig(
        level=logging.DEBUG if settings.debug else logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
    )


def _serve(_: argparse.Namespace, settings: Settings) -> None:
    from server.app import serve

    _logs(settings)
    serve(settings)


def _drain(_: argparse.Namespace, settings: Settings) -> None:
    from storage.drain import run_drain

    database_url(settings)
    redis_url(settings)
    _logs(settings)
    asyncio.run(run_drain(settings))


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


def _seed(_: argparse.Namespace, settings: Settings) -> None:
    from server.seed import seed

    print(asyncio.run(seed(settings)), end="")


def _users_add(arguments: argparse.Namespace, settings: Settings) -> None:
    from server.chores import add_user

    password = asyncio.run(
        add_user(
            settings,
            role=arguments.role,
            email=arguments.email,
            first_name=arguments.first_name,
            last_name=arguments.last_name,
            phone=arguments.phone,
        )
    )
    print(f"{arguments.email} is a new {arguments.role}. The password, shown only now: {password}")


def _users_block(arguments: argparse.Namespace, settings: Settings) -> None:
    from server.chores import change_user

    asyncio.run(change_user(settings, "users block", arguments.email, status="suspended"))
    print(f"{arguments.email} is blocked.")


def _users_unblock(arguments: argparse.Namespace, settings: Settings) -> None:
    from server.chores import change_user

    asyncio.run(change_user(settings, "users unblock", arguments.email, status="active"))
    print(f"{arguments.email} is active.")


def _users_role(arguments: argparse.Namespace, settings: Settings) -> None:
    from server.chores import change_user

    asyncio.run(change_user(settings, "users role", arguments.email, role=arguments.role))
    print(f"{arguments.email} is a {arguments.role} now.")


def _users_token(arguments: argparse.Namespace, settings: Settings) -> None:
    from server.chores import mint_tokens

    asyncio.run(mint_tokens(settings, arguments.role, arguments.count, arguments.out))
    print(f"Wrote {arguments.count} tokens to {arguments.out}, good for {settings.access_s / 3600:g} h.")


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


def _protocol(_: argparse.Namespace, settings: Settings) -> None:
    from rooms.protocol import page

    print(page(), end="")


def _routes(_: argparse.Namespace, settings: Settings) -> None:
    from server.http.routes import page

    print(page(), end="")


if __name__ == "__main__":
    sys.exit(main())
