"""`./dev run`: the stack, the server, the drain, and a demo city in the terminal, until Ctrl-C.

Everything that was started is stopped in reverse order, however the run ends. The data stays for the next
start. A Redis or PostgreSQL of ours that dies is started again, and said.
"""

from __future__ import annotations

import os
import shlex
import signal
import socket
import time
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import NoReturn

from server.devstack import procs
from server.devstack.app import App, ChildDied, python
from server.devstack.paths import CHECKOUT, shown
from server.devstack.stack import Stack

HOST = "127.0.0.1"
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
DEFAULT_PORT = 8080
PORTS_TRIED = 50
WATCH_S = 0.2
TOKENS_MAX_AGE_S = 12 * 3600  # they live 24 h: a city started on the last of them still has its half day
DEMO = {
    "DISPATCH_DEMO": "true",
    "DISPATCH_BASEMAP_FILE": str(CHECKOUT / "server/console/static/demo/arynov.json"),
}
EXPORTED = ("DISPATCH_DATABASE_URL", "DISPATCH_REDIS_URL", "DISPATCH_KEYS_FILE")
PEOPLE = {"driver": 60, "courier": 30, "passenger": 120}


def run(port: int | None, *, with_demo: bool, workers: int = 0) -> int:
    """`port` None: the first free one from DEFAULT_PORT on. Raises DevError when a port that was asked for is taken."""
    stack = Stack("run")
    stack.own()  # who may not start has nothing to stop
    port = free_port_from(DEFAULT_PORT) if port is None else asked_port(port)
    for number in STOP_SIGNALS:
        signal.signal(number, _interrupt)
    started = ExitStack()
    started.callback(stack.stop)
    try:
        return _run(started, stack, port, with_demo=with_demo, workers=workers)
    except KeyboardInterrupt:
        procs.say("")  # the terminal has written ^C
        return 0
    except ChildDied:
        if not stack.is_cleaned:
            raise
        return 1  # not by itself; the last line says what has ended it
    finally:
        # From here on only the stopping counts; a second Ctrl-C would leave half of it behind.
        for number in STOP_SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        began_s = time.monotonic()
        procs.say("Stopping ...")
        started.close()
        kept = f"The data is kept in {shown(stack.folder)}; ./dev clean removes it."
        if stack.is_cleaned:
            kept = "./dev clean --force has ended it and removes its data."
        procs.say(f"Stopped in {time.monotonic() - began_s:.1f} s. {kept}")


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _run(started: ExitStack, stack: Stack, port: int, *, with_demo: bool, workers: int) -> int:
    procs.say("Starting:")
    urls = stack.start()
    app = App(stack.folder, urls, HOST, port, workers)
    app.env = {**DEMO, **app.env}  # what the person has set counts
    started.callback(app.stop)
    app.prepare()
    logins, made = _seed(app, stack.folder)
    app.start()
    tokens = _tokens(app, stack.folder) if with_demo else None
    _banner(app, logins, made, stack.folder, _exports(app, stack.folder))
    demo = None
    if tokens:
        demo = app.spawn("demo", python("loadtest.demo", "--url", app.url, "--tokens", str(tokens)), None)
    while demo is None or demo.poll() is None:
        app.check()
        stack.revive()
        time.sleep(WATCH_S)
    if demo.returncode != 0:
        procs.say(f"The demo city ended with code {demo.returncode}.")
    return demo.returncode


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As the server will: connections of an earlier run that linger are no reason to go elsewhere.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def free_port_from(first: int) -> int:
    for port in range(first, first + PORTS_TRIED):
        if _is_free(port):
            if port != first:
                procs.say(f"Port {first} is taken: this run uses {port}.")
            return port
    raise procs.DevError(
        f"No port from {first} to {first + PORTS_TRIED - 1} is free; choose one with --port."
    )


def asked_port(port: int) -> int:
    """The port that was asked for; nobody finds a server that quietly went elsewhere."""
    if not _is_free(port):
        raise procs.DevError(
            f"Port {port} is taken (or not allowed). End what listens there, or choose another --port; "
            f"without --port the first free one from {DEFAULT_PORT} on is used."
        )
    return port


def _seed(app: App, folder: Path) -> tuple[Path, str]:
    """The file of the logins, which only the owner can read, and its text if they were made just now."""
    logins = folder / "demo-logins.txt"
    with procs.step("seed data"):
        printed = app.command("seed")
    # It names accounts only when it made them; that it shows them only once is not so here.
    made = "".join(f"{line.strip()}\n" for line in printed.splitlines() if "@" in line)
    if not made:
        return logins, ""
    logins.unlink(missing_ok=True)
    with os.fdopen(os.open(logins, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
        out.write(made)
    return logins, made


def _exports(app: App, folder: Path) -> Path:
    """A file for a shell in which other processes of the server are to be started; an address may hold a password."""
    file = folder / "exports.sh"
    file.unlink(missing_ok=True)
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
        out.writelines(f"export {name}={shlex.quote(app.env[name])}\n" for name in EXPORTED)
    return file


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


def _admin(logins: Path) -> str:
    """How the demo's administrator logs in."""
    lines = logins.read_text().splitlines() if logins.exists() else []
    words = next((line.split() for line in lines if line.split()[:1] == ["admin"]), [])
    return f" as {words[1]} with {words[2]}" if len(words) == 3 else ""


def _banner(app: App, logins: Path, made: str, folder: Path, exports: Path) -> None:
    print(f"\nServer:  {app.url}")
    print(f"Try it:  {app.url}/demo")
    print(f"Console: {app.url}/console{_admin(logins)}")
    print(
        f"Logins:  {shown(logins)}{', which only you can read; this first time also here:' if made else ''}"
    )
    print("".join(f"         {line}\n" for line in made.splitlines()), end="")
    print(f"Logs:    {shown(folder)}/*.log")
    print(f"Nodes:   `. {shown(exports)}` in a shell, and `.venv/bin/dispatch serve` there is another one")
    print("Stop:    Ctrl-C\n", flush=True)
