"""`./dev bench NAME`: one measurement of loadtest/ against a server and a drain on a stack that begins empty.

The measurement gets the addresses, and the pids to account processor time by, through the environment. Before
anything is started it is asked with `--check` whether it has all that it reads; it says what is missing.
"""

from __future__ import annotations

import ast
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack

from server.devstack import procs
from server.devstack.app import App, pids_as_json, python
from server.devstack.paths import CHECKOUT
from server.devstack.redis import free_port
from server.devstack.run import HOST
from server.devstack.stack import Stack

LOADTEST = CHECKOUT / "loadtest"
NOT_A_BENCH = {"demo", "__main__"}
WATCH_S = 0.2


def benches() -> Iterator[tuple[str, str]]:
    """Name and first sentence of every module that can be run."""
    for file in sorted(LOADTEST.glob("*.py")):
        text = file.read_text()
        if file.stem not in NOT_A_BENCH and '__name__ == "__main__"' in text:
            about = " ".join((ast.get_docstring(ast.parse(text)) or "").split())
            yield file.stem, about.partition(". ")[0].removesuffix(".")


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
            return _bench(started, name, rest)
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
