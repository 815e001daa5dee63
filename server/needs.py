"""What a command cannot do without, how it reads a number, and the exception that ends one with a sentence."""

import argparse
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from server.settings import BadSetting, Settings

#: What to set each to.
WANTED = {
    "database_url": "a postgresql:// address of PostgreSQL with PostGIS",
    "redis_url": "a redis:// or unix:// address",
    "keys_file": "where the key ring is, which `dispatch keys init` makes",
}


class Stop(Exception):
    """Ends a command with one sentence for the person who called it."""


def need(settings: Settings, *names: str) -> None:
    """Raises BadSetting, which tells all at once that are not set, or that the database's is no address of one."""
    missing = [f"DISPATCH_{name.upper()} ({WANTED[name]})" for name in names if not getattr(settings, name)]
    if missing:
        raise BadSetting(
            f"Not set: {', '.join(missing)}. In a checkout `./dev run` starts what they name; "
            "then `. .dev/run/exports.sh` sets them."
        )
    if "database_url" in names and not _is_postgresql(settings.database_url):
        raise BadSetting(f"DISPATCH_DATABASE_URL is not {WANTED['database_url']}.")


def _is_postgresql(url: str) -> bool:
    """Of what asyncpg does not tell apart from a fault: another scheme, a port that is none."""
    try:
        parts = urlsplit(url)
        for host in parts.netloc.rpartition("@")[2].split(","):
            _ = urlsplit(f"//{host}").port
    except ValueError:
        return False
    return parts.scheme in ("postgresql", "postgres")


def whole_number(most: int) -> Callable[[str], int]:
    """The type of an argument from 1 to `most`."""

    def read(text: str) -> int:
        if not (text.isascii() and text.isdecimal() and len(text) < 10 and 1 <= int(text) <= most):
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to {most}")
        return int(text)

    return read


def database_url(settings: Settings) -> str:
    need(settings, "database_url")
    return settings.database_url


def redis_url(settings: Settings) -> str:
    need(settings, "redis_url")
    return settings.redis_url


def ring_path(settings: Settings) -> Path:
    need(settings, "keys_file")
    return Path(settings.keys_file)
