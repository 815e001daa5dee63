"""The health checks of the image: `health.py serve` and `health.py drain`; exit code 0 is healthy.

The server is healthy while GET /ready says so. The drain has no port: it is healthy while it moves its cursors, which
it does when idle as well.
"""

import asyncio
import os
import sys
import urllib.request
from pathlib import Path

import asyncpg

TIMEOUT_S = 3.0
SILENT_MOST_S = 30.0


def serve() -> bool:
    url = f"http://127.0.0.1:{os.environ.get('DISPATCH_PORT', '8080')}/ready"
    with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:
        return bool(answer.status == 200)


def database_url() -> str:
    file = os.environ.get("DISPATCH_DATABASE_URL_FILE")
    return Path(file).read_text().strip() if file else os.environ["DISPATCH_DATABASE_URL"]


async def drain(url: str) -> bool:
    connection = await asyncpg.connect(url, timeout=TIMEOUT_S, command_timeout=TIMEOUT_S)
    try:
        silent_s = await connection.fetchval("select max(silent_s) from drain_lag")
    finally:
        await connection.close()
    return silent_s is not None and silent_s < SILENT_MOST_S


if __name__ == "__main__":
    try:
        healthy = asyncio.run(drain(database_url())) if sys.argv[1:] == ["drain"] else serve()
    except (OSError, asyncpg.PostgresError) as error:
        sys.exit(f"not healthy: {error}")
    sys.exit(0 if healthy else "not healthy")
