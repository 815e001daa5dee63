"""`./dev bench NAME`: one measurement of loadtest/ against a server and a drain on a stack that begins empty.

The measurement gets the addresses, and the pids to account processor time by, through the environment. Before
anything is started it is asked with `--check` whether it has all that it reads; it says what is missing. A
package of loadtest/ brings servers, drains and a Redis of its own, to break them: it gets a database with the
schema, a key ring, the program of Redis and a folder for logs.
"""

from __future__ import annotations

import ast
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack

from server.devstack import procs
from server.devstack.app import App, pids_as_json, python
from server.devstack.find import find_or_install
from server.devstack.paths import CHECKOUT, private_folder
from server.devstack.redis import free_port
from server.devstack.run import HOST
from server.devstack.stack import Stack, Urls

LOADTEST = CHECKOUT / "loadtest"
NOT_A_BENCH = {"demo", "__main__"}
WATCH_S = 0.2


def benches() -> Iterator[tuple[str, str]]:
    """Name and first sentence of every module and package that can be run."""
    files = {file.stem: file for file in LOADTEST.glob("*.py")}
    files |= {file.parent.name: file for file in LOADTEST.glob("*/__main__.py")}
    for name, file in sorted(files.items()):
        text = file.read_text()
        if name not in NOT_A_BENCH and '__name__ == "__main__"' in text:
            about = " ".join((ast.get_docstring(ast.parse(text)) or "").split())
            yield name, about.partition(". ")[0].removesuffix(".")


def brings_its_own(name: str) -> bool:
    """Whether a bench starts and breaks servers itself."""
    return (LOADTEST / name / "__main__.py").exists()


def bench(arguments: Sequence[str]) -> int:
    known = dict(benches())
    if not arguments or arguments[0] not in known:
        if arguments:
            procs.say(f"There is no bench {arguments[0]!r}.")
        for name, about in known.items():
            print(f"./dev bench {name:12} {about}")
        return 2 if arguments else 0
    name, rest = arguments[0], list(arguments[1:])
    asks_for_help = not {"-h", "--help"}.isdisjoint(rest)
    checked = subprocess.run(python(f"loadtest.{name}", "--check", *rest), cwd=CHECKOUT, check=False)
    if asks_for_help or checked.returncode != 0:
        return checked.returncode
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with ExitStack() as started:
            run = _bench_of_its_own if brings_its_own(name) else _bench
            return run(started, name, rest)
    except KeyboardInterrupt:
        return 130


def _bench(started: ExitStack, name: str, rest: list[str]) -> int:
    procs.say("Starting:")
    stack = Stack.first_free("bench", "bench")
    started.callback(stack.stop)
    app = App(stack.folder, stack.start(), HOST, free_port())
    started.callback(app.stop)
    app.prepare()
    app.start()
    app.env = {**app.env, "DISPATCH_PIDS": pids_as_json(app, stack.pids())}
    measurement = app.spawn(name, python(f"loadtest.{name}", *rest), None)
    while not procs.wait_for(lambda: measurement.poll() is not None, WATCH_S):
        app.check()
    return measurement.returncode


def _bench_of_its_own(started: ExitStack, name: str, rest: list[str]) -> int:
    procs.say("Starting:")
    stack = Stack.first_free("bench", "bench")
    started.callback(stack.stop)
    app = App(stack.folder, Urls(stack.start_postgres(), ""), HOST, 0)
    started.callback(app.stop)
    app.prepare()
    redis = find_or_install(postgres=False).redis
    logs = private_folder(stack.folder / name)
    app.env = {**app.env, **redis.env, "DISPATCH_REDIS_PROGRAM": str(redis.path), "DISPATCH_LOGS": str(logs)}
    return app.spawn(name, python(f"loadtest.{name}", *rest), None).wait()
