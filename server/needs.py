"""What a command cannot do without, and the exception that ends one with a sentence."""

from pathlib import Path

from server.settings import BadSetting, Settings


class Stop(Exception):
    """Ends a command with one sentence for the person who called it."""


def database_url(settings: Settings) -> str:
    if not settings.database_url:
        raise BadSetting("No database is set. Set DISPATCH_DATABASE_URL to a postgresql:// address.")
    return settings.database_url


def redis_url(settings: Settings) -> str:
    if not settings.redis_url:
        raise BadSetting("No Redis is set. Set DISPATCH_REDIS_URL to a redis:// or unix:// address.")
    return settings.redis_url


def ring_path(settings: Settings) -> Path:
    if not settings.keys_file:
        raise BadSetting("No key ring is set. Set DISPATCH_KEYS_FILE to a file's name.")
    return Path(settings.keys_file)
