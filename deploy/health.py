"""The health checks of the image: `health.py serve` and `health.py drain`; exit code 0 is healthy.

Healthy means that a restart would not help. So the server is while GET /health answers, also without PostgreSQL, when
live work goes on: who restarts it then breaks every line. The drain has no port: it is healthy while it moves its
cursors, which it does when idle as well, or cannot reach PostgreSQL.
"""

import asyncio
import os
import sys
import urllib.request
from pathlib import Path

import asyncpg

TIMEOUT_S = 3.0
SILENT_MOST_S = 30.0
# A stream on which nothing was ever committed has no `reached_at`, and the drain only waits for its first entry.
DRAIN_IS_AT_WORK = """
select count(*) > 0 and coalesce(max(silent_s) filter (where reached_at is not null), 0) < $1 from drain_lag
"""


def serve() -> bool:
    url = f"http://127.0.0.1:{os.environ.get('DISPATCH_PORT', '8080')}/health"
    with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:
        return bool(answer.status == 200)


def database_url() -> str:
    file = os.environ.get("DISPATCH_DATABASE_URL_FILE")
    return Path(file).read_text().strip() if file else os.environ["DISPATCH_DATABASE_URL"]


async def drain(url: str) -> bool:
    try:
        connection = await asyncpg.connect(url, timeout=TIMEOUT_S, command_timeout=TIMEOUT_S)
    except (OSError, TimeoutError, asyncpg.CannotConnectNowError):
        return True  # it waits, as it should
    try:
        return bool(await connection.fetchval(DRAIN_IS_AT_WORK, SILENT_MOST_S))
    finally:
        await connection.close()


if __name__ == "__main__":
    try:
        healthy = asyncio.run(drain(database_url())) if sys.argv[1:] == ["drain"] else serve()
    except (OSError, asyncpg.PostgresError) as error:
        sys.exit(f"not healthy: {error}")
    sys.exit(0 if healthy else "not healthy")
