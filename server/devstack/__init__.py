"""Private PostgreSQL and Redis for `./dev`, the tests and the benches, and the commands that stand on them.

Only the standard library is used here, because this runs before anything else can be relied on. Everything
that is started lives below `.dev/<name>/`, is known by its own pid file and is stopped by it; nothing is
ever found or ended by a process name, and no server of the system is touched.

    with Stack("run") as urls:  # data is kept: profile 'dev'
        ...
    with Stack("test", profile="test") as urls:  # starts empty each time, nothing is synced to disk
        ...
    with private_redis(appendonly="yes", appendfsync="always") as server:  # one more, thrown away after
        server.url, server.kill(), server.start()
"""

from server.devstack.redis import RedisServer, private_redis
from server.devstack.stack import Profile, Stack, Urls

__all__ = ["Profile", "RedisServer", "Stack", "Urls", "private_redis"]
