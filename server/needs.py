"""What a command cannot do without, and the exception that ends one with a sentence."""

from pathlib import Path

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
    """Raises BadSetting, which tells all at once that are not set."""
    missing = [f"DISPATCH_{name.upper()} ({WANTED[name]})" for name in names if not getattr(settings, name)]
    if missing:
        raise BadSetting(
            f"Not set: {', '.join(missing)}. In a checkout `./dev run` starts what they name; "
            "then `. .dev/run/exports.sh` sets them."
        )


def database_url(settings: Settings) -> str:
    need(settings, "database_url")
    return settings.database_url


def redis_url(settings: Settings) -> str:
    need(settings, "redis_url")
    return settings.redis_url


def ring_path(settings: Settings) -> Path:
    need(settings, "keys_file")
    return Path(settings.keys_file)
