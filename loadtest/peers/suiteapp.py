"""What the public protocol suites speak to: a small app each, on any class with python-socketio's interface.

    python -m loadtest.peers.suiteapp socket.io socketio:AsyncServer --port 3000

The suite socketio/socket.io-protocol wants `/` and `/custom`, whose clients are told their own handshake as `auth`;
socketio/engine.io-protocol wants every message back. Both count on a ping every 300 ms, 200 ms for its answer, and
payloads of a million bytes. Says on standard output where it listens, then serves until its standard input ends.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

import uvloop
from aiohttp import web

OPTIONS = {
    "ping_interval": 0.3,
    "ping_timeout": 0.2,
    "max_http_buffer_size": 1_000_000,
}
#: After the CONNECT. The suite's client loses the second of two frames that it reads at once: told in the same moment,
#: even the reference server fails a test of each second run.
AUTH_AFTER_S = 0.02
HOST = "localhost"  # over IPv4 and IPv6: the suites name it, and Node may take either


def socket_io(server: Any, app: web.Application) -> None:
    telling: set[asyncio.Task[None]] = set()

    async def tell(sid: str, namespace: str, auth: Any) -> None:
        await asyncio.sleep(AUTH_AFTER_S)
        await server.emit("auth", auth or {}, to=sid, namespace=namespace)

    def greeting(namespace: str) -> Callable[..., Any]:
        async def connect(sid: str, environ: dict[str, Any], auth: Any = None) -> None:
            task = asyncio.create_task(tell(sid, namespace, auth))
            telling.add(task)
            task.add_done_callback(telling.discard)

        return connect

    async def message(sid: str, *args: Any) -> None:
        await server.emit("message-back", args, to=sid)

    async def message_with_ack(sid: str, *args: Any) -> tuple[Any, ...]:
        return args

    for namespace in ("/", "/custom"):
        server.on("connect", greeting(namespace), namespace=namespace)
    server.on("message", message)
    server.on("message-with-ack", message_with_ack)
    server.attach(app)


def engine_io(server: Any, app: web.Application) -> None:
    """Stands on the Engine.IO server that the Socket.IO one stands on."""
    eio = server._engineio_server_class()(async_mode="aiohttp", **OPTIONS)

    async def connect(sid: str, environ: dict[str, Any]) -> None:
        pass

    async def message(sid: str, data: Any) -> None:
        await eio.send(sid, data)

    async def disconnect(sid: str, reason: Any = None) -> None:
        pass

    eio.on("connect", connect)
    eio.on("message", message)
    eio.on("disconnect", disconnect)
    eio.attach(app, "engine.io")


APPS = {"socket.io": socket_io, "engine.io": engine_io}


async def serve(suite: str, path: str, port: int) -> None:
    module, _, name = path.partition(":")
    server = getattr(import_module(module), name)(async_mode="aiohttp", **OPTIONS)
    server.attachments_max = 2  # of this transport, which refuses them unless told so
    app = web.Application()
    APPS[suite](server, app)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    await web.TCPSite(runner, HOST, port).start()
    print(runner.addresses[0][1], flush=True)
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), ended.set)
    await ended.wait()


def main() -> None:
    parser = argparse.ArgumentParser(prog="suiteapp", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("suite", choices=APPS)
    parser.add_argument("server", help="module:Class")
    parser.add_argument("--port", type=int, default=3000, help="0 takes a free one (3000)")
    options = parser.parse_args()
    uvloop.run(serve(options.suite, options.server, options.port))


if __name__ == "__main__":
    main()
