"""`./dev test` and `./dev lint`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence

from server.devstack import apt, find, node, procs
from server.devstack.app import python
from server.devstack.paths import CHECKOUT
from server.devstack.stack import Stack

JS_TESTS = CHECKOUT / "tests" / "js"
LINTS = {
    "ruff check": python("ruff", "check", "-q"),
    # The examples of README.md are set to be read in twenty lines; a test runs them.
    "ruff format": python("ruff", "format", "-q", "--check", "--exclude", "*.md"),
    "mypy": python("mypy", "--no-error-summary"),
    "the tree": python("pytest", "tests/test_tree.py", "--no-header", "-p", "no:cacheprovider"),
}


def test(arguments: Sequence[str]) -> int:
    """Provisions, runs pytest, and leaves with its code; the last line counts what was skipped."""
    procs.say("Starting:")
    for folder in (JS_TESTS, node.PEERS):
        node.prepare(folder)
    if find.find_chromium() is None and not apt.install_chromium():
        procs.say("  There is no Chromium here: the tests of the pages are skipped.")
    stack = Stack.first_free("test", "test")
    with stack as urls:
        env = os.environ | {"TEST_DATABASE_URL": urls.database_url, "TEST_REDIS_URL": urls.redis_url}
        return _in_foreground(python("pytest", *arguments), env)


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
