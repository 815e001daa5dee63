"""`python -m server.devstack.switch FOLDER stop|start`: turns the PostgreSQL of a running bench's stack off and on.

For a bench that must see it really gone, and started again with what it held.
"""

from __future__ import annotations

import sys
from pathlib import Path

from server.devstack import find, procs
from server.devstack.postgres import PostgresServer


def main(folder: str, word: str) -> int:
    programs = find.find_or_install(redis=False)
    server = PostgresServer(Path(folder) / "postgres", programs.postgres, "bench")
    try:
        if word == "stop":
            server.stop()
        else:
            server.start()
    except procs.DevError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[2] not in ("stop", "start"):
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
