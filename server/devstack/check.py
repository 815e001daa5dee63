"""`./dev test` and `./dev lint`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from server.devstack import apt, find, node, procs
from server.devstack.app import python
from server.devstack.paths import CHECKOUT
from server.devstack.stack import Stack

JS_TESTS = CHECKOUT / "tests" / "js"
# The tests wait more than they work. A file's tests share what they set up, so they stay together; the files come in
# the order of the seed, as in one process.
IN_TWO = ["-n", "2", "--dist", "loadfile", "--no-loadscope-reorder", "--max-worker-restart", "0"]
LINTS = {
    "ruff check": python("ruff", "check", "-q"),
    # The examples of README.md are set to be read in twenty lines; a test runs them.
    "ruff format": python("ruff", "format", "-q", "--check", "--exclude", "*.md"),
    "mypy": python("mypy", "--no-error-summary"),
    "the tree": python("pytest", "tests/test_tree.py", "--no-header", "-p", "no:cacheprovider"),
}


def test(arguments: Sequence[str]) -> int:
    """Provisions, runs pytest, and leaves with its code; the last line counts what was skipped. All tests run in two
    processes, chosen files in one. Raises DevError for a file that is not there."""
    files = [each.partition("::")[0] for each in arguments]
    if missing := [each for each in files if each.endswith(".py") and not Path(CHECKOUT, each).exists()]:
        raise procs.DevError(f"There is no {' and no '.join(missing)}.")
    procs.say("Starting:")
    for folder in (JS_TESTS, node.PEERS):
        node.prepare(folder)
    if find.find_chromium() is None and not apt.install_chromium():
        procs.say("  There is no Chromium here: the tests of the pages are skipped.")
    stack = Stack.first_free("test", "test")
    with stack as urls:
        env = os.environ | {"TEST_DATABASE_URL": urls.database_url, "TEST_REDIS_URL": urls.redis_url}
        chosen = any(Path(CHECKOUT, each.partition("::")[0]).exists() for each in arguments)
        return _in_foreground(python("pytest", *([] if chosen else IN_TWO), *arguments), env)


def _in_foreground(argv: Sequence[str], env: dict[str, str]) -> int:
    """Ctrl-C is the child's to handle; we wait, and then stop what stands under it."""
    child = subprocess.Popen(argv, env=env, cwd=CHECKOUT)
    signal.signal(signal.SIGINT, lambda *_: None)
    signal.signal(signal.SIGTERM, lambda *_: child.send_signal(signal.SIGINT))
    return child.wait()


def lint() -> int:
    """All of them, whatever the first one says, so that one run shows everything."""
    failed = []
    for name, argv in LINTS.items():
        with procs.step(name):
            done = subprocess.run(argv, cwd=CHECKOUT, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            failed.append(name)
            sys.stdout.write(done.stdout + done.stderr)
    print(f"lint: {', '.join(failed)} failed" if failed else "lint: clean", flush=True)
    return 1 if failed else 0
