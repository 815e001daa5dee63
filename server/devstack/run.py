"""`./dev run`: the stack, the server, the drain, and a demo city in the terminal, until Ctrl-C.

Everything that was started is stopped in reverse order, however the run ends. The data stays for the next
start.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import NoReturn

from server.devstack import procs
from server.devstack.app import App, python
from server.devstack.paths import shown
from server.devstack.stack import Stack

HOST = "127.0.0.1"
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PORTS_TRIED = 50
WATCH_S = 0.2
TOKENS_MAX_AGE_S = 12 * 3600  # they live 24 h: a city started on the last of them still has its half day
PEOPLE = {"driver": 60, "courier": 30, "passenger": 120}


def run(port: int, *, with_demo: bool) -> int:
    stack = Stack("run")
    stack.own()  # who may not start has nothing to stop
    for number in STOP_SIGNALS:
        signal.signal(number, _interrupt)
    started = ExitStack()
    started.callback(stack.stop)
    try:
        return _run(started, stack, port, with_demo=with_demo)
    except KeyboardInterrupt:
        procs.say("")  # the terminal has written ^C
        return 0
    finally:
        # From here on only the stopping counts; a second Ctrl-C would leave half of it behind.
        for number in STOP_SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        began_s = time.monotonic()
        procs.say("Stopping ...")
        started.close()
        took_s = time.monotonic() - began_s
        kept = shown(stack.folder)
        procs.say(f"Stopped in {took_s:.1f} s. The data is kept in {kept}; ./dev clean removes it.")


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _run(started: ExitStack, stack: Stack, port: int, *, with_demo: bool) -> int:
    procs.say("Starting:")
    urls = stack.start()
    app = App(stack.folder, urls, HOST, free_port_from(port))
    started.callback(app.stop)
    app.prepare()
    logins, made = _seed(app, stack.folder)
    app.start()
    tokens = _tokens(app, stack.folder) if with_demo else None
    _banner(app, logins, made, stack.folder)
    demo = None
    if tokens:
        demo = app.spawn("demo", python("loadtest.demo", "--url", app.url, "--tokens", str(tokens)), None)
    while demo is None or demo.poll() is None:
        app.check()
        time.sleep(WATCH_S)
    if demo.returncode != 0:
        procs.say(f"The demo city ended with code {demo.returncode}.")
    return demo.returncode


def free_port_from(first: int) -> int:
    for port in range(first, first + PORTS_TRIED):
        with socket.socket() as probe:
            # As the server will: connections of an earlier run that linger are no reason to go elsewhere.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
        if port != first:
            procs.say(f"  port {first} is taken, using {port}")
        return port
    raise procs.DevError(f"No port from {first} to {first + PORTS_TRIED - 1} is free.")


def _seed(app: App, folder: Path) -> tuple[Path, str]:
    """The file of the logins, which only the owner can read, and their text if they were made just now."""
    logins = folder / "demo-logins.txt"
    with procs.step("seed data"):
        printed = app.command("seed")
    if "@" not in printed:  # it names accounts only when it made them
        return logins, ""
    logins.unlink(missing_ok=True)
    with os.fdopen(os.open(logins, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
        out.write(printed)
    return logins, printed


def _tokens(app: App, folder: Path) -> Path:
    """One file of tokens for the people of the city, made anew before the old ones end."""
    tokens = folder / "demo-tokens.jsonl"
    if tokens.exists() and time.time() - tokens.stat().st_mtime < TOKENS_MAX_AGE_S:
        return tokens
    with procs.step("tokens for the demo city"):
        parts = []
        for role, count in PEOPLE.items():
            part = folder / f"tokens-{role}.jsonl"
            app.command("users", "token", "--count", str(count), "--role", role, "--out", str(part))
            parts.append(part)
        whole = folder / "demo-tokens.new"
        with os.fdopen(os.open(whole, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
            out.writelines(part.read_text() for part in parts)
        for part in parts:
            part.unlink()
        whole.replace(tokens)
    return tokens


def _banner(app: App, logins: Path, made: str, folder: Path) -> None:
    print(f"\nServer:  {app.url}")
    print(f"Logins:  {'shown this once; they are also in ' if made else ''}{shown(logins)}")
    print("".join(f"         {line}\n" for line in made.splitlines()), end="")
    print(f"Logs:    {shown(folder)}/*.log")
    print("Stop:    Ctrl-C\n", flush=True)
