"""`./dev bench NAME`: one measurement against a server and a drain on a stack that begins empty.

Measurements stand in loadtest/, which speaks only over sockets; what calls the code itself is server/bench_NAME.py.
The measurement gets the addresses, and the pids to account processor time by, through the environment. Before
anything is started it is asked with `--check` whether it has all that it reads; it says what is missing. A
package of loadtest/ brings servers, drains and a Redis of its own, to break them: it gets a database with the
schema, a key ring, the program of Redis, a folder for logs, and a command that turns PostgreSQL off and on. A module
may name in NEEDS what it wants instead of the stack: "stack" is that, "node" the stock server of loadtest/peers/.
"""

from __future__ import annotations

import ast
import shlex
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import NamedTuple

from server.devstack import node, procs
from server.devstack.app import App, pids_as_json, python
from server.devstack.find import find_or_install
from server.devstack.paths import CHECKOUT, private_folder
from server.devstack.redis import free_port
from server.devstack.run import HOST
from server.devstack.stack import Stack, Urls

LOADTEST, SERVER = CHECKOUT / "loadtest", CHECKOUT / "server"
BENCHES = ((LOADTEST, "*.py", ""), (LOADTEST, "*/__main__.py", ""), (SERVER, "bench_*.py", "bench_"))
NOT_A_BENCH = {"basemap", "demo", "__main__"}
WATCH_S = 0.2


class Bench(NamedTuple):
    """`is_package`: it starts and breaks servers itself; `needs`: its NEEDS."""

    name: str
    module: str
    about: str
    is_package: bool
    needs: frozenset[str]


def benches() -> Iterator[Bench]:
    """Every module and package that can be run, and its first sentence."""
    for folder, pattern, prefix in BENCHES:
        for file in sorted(folder.glob(pattern)):
            is_package = file.parent != folder
            stem, text = file.parent.name if is_package else file.stem, file.read_text()
            if stem not in NOT_A_BENCH and '__name__ == "__main__"' in text:
                tree = ast.parse(text)
                about = " ".join((ast.get_docstring(tree) or "").split()).partition(". ")[0].removesuffix(".")
                module = f"{folder.name}.{stem}"
                yield Bench(stem.removeprefix(prefix), module, about, is_package, _needs(tree))


def _needs(tree: ast.Module) -> frozenset[str]:
    for line in tree.body:
        if isinstance(line, ast.Assign) and ast.unparse(line.targets[0]) == "NEEDS":
            return frozenset(ast.literal_eval(line.value))
    return frozenset({"stack"})


def bench(arguments: Sequence[str]) -> int:
    known = {each.name: each for each in benches()}
    if not arguments or arguments[0] not in known:
        if arguments:
            procs.say(f"There is no bench {arguments[0]!r}.")
        for each in known.values():
            print(f"./dev bench {each.name:12} {each.about}")
        return 2 if arguments else 0
    chosen, rest = known[arguments[0]], list(arguments[1:])
    asks_for_help = not {"-h", "--help"}.isdisjoint(rest)
    checked = subprocess.run(python(chosen.module, "--check", *rest), cwd=CHECKOUT, check=False)
    if asks_for_help or checked.returncode != 0:
        return checked.returncode
    if "--check" in rest:
        procs.say(f"All that bench {chosen.name} needs of its own is there.")
        return 0
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with ExitStack() as started:
            if "node" in chosen.needs:
                node.prepare(node.PEERS)
            run = _bench_of_its_own if chosen.is_package else _bench if "stack" in chosen.needs else _alone
            return run(started, chosen, rest)
    except KeyboardInterrupt:
        return 130


def _bench(started: ExitStack, chosen: Bench, rest: list[str]) -> int:
    procs.say("Starting:")
    stack = Stack.first_free("bench", "bench")
    started.callback(stack.stop)
    app = App(stack.folder, stack.start(), HOST, free_port())
    started.callback(app.stop)
    app.prepare()
    app.start()
    app.env = {**app.env, "DISPATCH_PIDS": pids_as_json(app, stack.pids())}
    measurement = app.spawn(chosen.name, python(chosen.module, *rest), None)
    while not procs.wait_for(lambda: measurement.poll() is not None, WATCH_S):
        app.check()
    return measurement.returncode


def _alone(started: ExitStack, chosen: Bench, rest: list[str]) -> int:
    measurement = subprocess.Popen(python(chosen.module, *rest), cwd=CHECKOUT)
    started.callback(measurement.wait)
    started.callback(measurement.terminate)  # into nothing where it has ended
    return measurement.wait()


def _bench_of_its_own(started: ExitStack, chosen: Bench, rest: list[str]) -> int:
    procs.say("Starting:")
    stack = Stack.first_free("bench", "bench")
    started.callback(stack.stop)
    app = App(stack.folder, Urls(stack.start_postgres(), ""), HOST, 0)
    started.callback(app.stop)
    app.prepare()
    redis = find_or_install(postgres=False).redis
    logs = private_folder(stack.folder / chosen.name)
    told = {"DISPATCH_REDIS_PROGRAM": str(redis.path), "DISPATCH_LOGS": str(logs)}
    if not stack.configured("DATABASE_URL"):  # somebody's own is not ours to stop
        told["DISPATCH_POSTGRES_SWITCH"] = shlex.join(python("server.devstack.switch", str(stack.folder)))
    app.env = {**app.env, **redis.env, **told}
    return app.spawn(chosen.name, python(chosen.module, *rest), None).wait()
