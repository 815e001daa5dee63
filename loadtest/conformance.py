"""Runs the public protocol suites (socketio/socket.io-protocol, socketio/engine.io-protocol) against this transport.

They are not part of this project: `--suite` names a checkout of one of them, or a folder that holds both, in whose
test-suite/ `npm ci` was run. Each is run by its own mocha against a test-only app (loadtest/peers/suiteapp.py) on
`--server`, which with `socketio:AsyncServer` is the unmodified python-socketio. A test that wants rubbish to be
answered by a close counts as passed only if that took less than 500 ms: then clients that do not answer pings, as
these, are closed anyway.
"""

from __future__ import annotations

import argparse
import asyncio
import socket
import sys
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from loadtest.stage import StageError
from loadtest.verdict import run, tell

NEEDS = {"node"}
SUITES = {
    "socket.io-protocol-test-suite": ("socket.io", 32),
    "engine.io-protocol-test-suite": ("engine.io", 24),
}
SERVER = "rooms.transport:SocketIO"
PORT = 3000  # the suites' own
MOCHA = "node_modules/.bin/mocha"
START_S, SUITE_S = 20.0, 120.0
SILENCE_MS = 500
ABOUT_RUBBISH = ("invalid format", "invalid handshake", "invalid packet format")


class Suite(NamedTuple):
    name: str
    folder: Path
    tests: int


class Result(NamedTuple):
    """`failed` names tests and says why."""

    passed: int
    of: int
    failed: list[str]


def suites_in(folder: Path) -> list[Suite]:
    """The suites of a checkout, or of the checkouts in a folder. Raises StageError."""
    found = []
    for file in sorted([*folder.glob("package.json"), *folder.glob("test-suite/package.json"),
                        *folder.glob("*/test-suite/package.json")]):  # fmt: skip
        known = SUITES.get(msgspec.json.decode(file.read_bytes()).get("name", ""))
        if known is not None:
            found.append(Suite(known[0], file.parent, known[1]))
    if not found:
        raise StageError(
            f"{folder} holds neither suite: clone socketio/socket.io-protocol or socketio/engine.io-protocol there"
        )
    for suite in found:
        if not (suite.folder / MOCHA).exists():
            raise StageError(f"its programs are missing: run `npm ci` in {suite.folder}")
    return found


def check_port() -> None:
    """Raises StageError."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", PORT))
        except OSError as error:
            text = f"the suites speak to port {PORT}, which is not free: {error.strerror}"
            raise StageError(text) from None


def judged(report: dict[str, Any], expected: int) -> Result:
    """What mocha's JSON report comes to."""
    failed, passed = [], 0
    for test in report["tests"]:
        name, error = test["fullTitle"], test.get("err", {}).get("message")
        if error is not None:
            failed.append(f"{name}: {error.partition('. For async')[0]}")
        elif test.get("duration", 0) >= SILENCE_MS and any(words in name for words in ABOUT_RUBBISH):
            failed.append(f"{name}: only after {test['duration']} ms, by the ping timeout")
        else:
            passed += 1
    if len(report["tests"]) != expected:
        failed.append(f"the suite has {len(report['tests'])} tests and not the {expected} that are known")
    return Result(passed, len(report["tests"]), failed)


async def result_of(suite: Suite, server: str) -> Result:
    """One suite against an app of its own. Raises StageError."""
    argv = (sys.executable, "-m", "loadtest.peers.suiteapp", suite.name, server, "--port", str(PORT))
    pipe = asyncio.subprocess.PIPE
    app = await asyncio.create_subprocess_exec(*argv, stdin=pipe, stdout=pipe, stderr=pipe)
    try:
        assert app.stdout is not None and app.stderr is not None
        async with asyncio.timeout(START_S):
            if not await app.stdout.readline():
                raise StageError(f"the app did not start:\n{(await app.stderr.read()).decode()[-2000:]}")
        quiet = asyncio.create_task(app.stderr.read())  # or a talkative server would wait for its reader
        try:
            return judged(await _mocha(suite.folder), suite.tests)
        finally:
            quiet.cancel()
    finally:
        if app.returncode is None:
            app.kill()
        await app.wait()


async def _mocha(folder: Path) -> dict[str, Any]:
    argv = ("node", MOCHA, "--reporter", "json", "--exit", "test-suite.js")
    pipe = asyncio.subprocess.PIPE
    child = await asyncio.create_subprocess_exec(*argv, cwd=folder, stdout=pipe, stderr=pipe)
    try:
        async with asyncio.timeout(SUITE_S):
            said, errors = await child.communicate()
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    start = said.find(b"{\n")
    if start < 0:
        raise StageError(f"mocha gave no report:\n{errors.decode(errors='replace')[-2000:]}")
    report: dict[str, Any] = msgspec.json.decode(said[start:])
    return report


async def _measure(options: argparse.Namespace) -> int:
    line: dict[str, Any] = {"server": options.server}
    wrong = []
    check_port()
    suites = suites_in(options.suite)
    if options.check:
        return 0
    for suite in suites:
        result = await result_of(suite, options.server)
        key = suite.name.replace(".", "")
        line |= {f"{key}_passed": result.passed, f"{key}_of": result.of}
        wrong += [f"{suite.name}: {each}" for each in result.failed]
    return tell(line, wrong, as_json=options.json)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="conformance", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--suite", type=Path, required=True, help="a checkout of one suite, or a folder of both"
    )
    parser.add_argument("--server", default=SERVER, help=f"module:Class ({SERVER})")
    parser.add_argument("--json", action="store_true", help="one line of figures on standard output")
    parser.add_argument("--check", action="store_true", help="only say whether the suites are there")
    return parser.parse_args()


def main() -> int:
    options = _options()
    options.suite = options.suite.absolute()
    return run("conformance", lambda: _measure(options))


if __name__ == "__main__":
    sys.exit(main())
