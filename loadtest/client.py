"""A light Socket.IO 5 client over Engine.IO 4, websocket transport only: what every simulated phone speaks
through.

Owns the framing (open, connect, event, ack, ping) and nothing else. Guarantees: one TCP connection and one
task per client, so that two thousand fit in one process; handlers run in the order in which the server
sent; a call ends with an answer, with `CallTimeout`, or with `Gone`, never with silence; a server that
stays silent longer than it promised to is given up within two seconds.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Self

import aiohttp
import msgspec

Payload = dict[str, Any]
Handler = Callable[[Payload], None]
Tap = Callable[[str, Payload], None]

CONNECT_TIMEOUT_S = 15.0
SWEEP_S = 1.0
GOODBYE_S = 0.4  # for the server to answer a close
LEAVE_S = 0.5
MAX_FRAME_BYTES = 4 * 1024 * 1024
NORMAL_CLOSE = 1000

_encode = msgspec.json.encode
_decode = msgspec.json.decode


class Gone(Exception):
    """The connection is closed; nothing more will come over it."""


class CallTimeout(Exception):
    """The server did not answer a call in time."""


class ConnectRefused(Exception):
    """The server answered the CONNECT packet with a refusal; the argument is its message."""


class Client:
    """One connected phone. Made by `Pool.connect`."""

    def __init__(self, ws: aiohttp.ClientWebSocketResponse, silence_s: float, log_length: int) -> None:
        self._ws = ws
        self._silence_s = silence_s
        self._handlers: dict[str, Handler] = {}
        self._acks: dict[int, tuple[str, asyncio.Future[Payload]]] = {}
        self._next_ack = 0
        self._clock = asyncio.get_running_loop().time
        self.heard_at = self._clock()
        self.log: deque[tuple[float, str, Payload]] = deque(maxlen=log_length)
        self.tap: Tap | None = None
        self.ack_tap: Tap | None = None  # sees acks in their order among the events
        self.closed = asyncio.Event()
        self.connected: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.reader: asyncio.Task[None] | None = None
        self.fault: Exception | None = None  # a handler of ours failed; it ends the connection, never unseen

    def on(self, event: str, handler: Handler) -> None:
        """Calls `handler(payload)` for each such event; a plain function that must not block."""
        self._handlers[event] = handler

    async def emit(self, event: str, payload: Payload) -> None:
        """Sends without asking for an answer. Raises `Gone`."""
        await self._send(f"42{_encode([event, payload]).decode()}")

    async def call(self, event: str, payload: Payload, timeout_s: float = 10.0) -> Payload:
        """Sends and waits for the acknowledgement. Raises `Gone` or `CallTimeout`."""
        self._next_ack += 1
        number = self._next_ack
        answer: asyncio.Future[Payload] = asyncio.get_running_loop().create_future()
        self._acks[number] = event, answer
        try:
            await self._send(f"42{number}{_encode([event, payload]).decode()}")
            async with asyncio.timeout(timeout_s):
                return await answer
        except TimeoutError:
            raise CallTimeout(event) from None
        finally:
            self._acks.pop(number, None)

    async def close(self) -> None:
        """Leaves politely; safe to call twice."""
        if not self.closed.is_set() and not self._ws.closed:
            try:
                await self._send("41")
                async with asyncio.timeout(GOODBYE_S):
                    await self._ws.close()
            except (Gone, TimeoutError):
                pass
        if self.reader is not None and self.reader is not asyncio.current_task():
            self.reader.cancel()
            await asyncio.gather(self.reader, return_exceptions=True)
        self._finish(Gone("closed"))

    def is_silent(self, now_s: float) -> bool:
        """Whether the server has broken its own ping promise."""
        return now_s - self.heard_at > self._silence_s

    async def _send(self, frame: str) -> None:
        if self.closed.is_set():
            raise Gone("closed")
        try:
            await self._ws.send_str(frame)
        except (ConnectionError, RuntimeError, aiohttp.ClientError) as error:
            raise Gone(str(error)) from error

    async def read(self) -> None:
        """The connection's only task: reads until the end, then fails whatever still waits."""
        why: Exception = Gone("closed by the server")
        try:
            async for message in self._ws:
                if message.type is not aiohttp.WSMsgType.TEXT:
                    break
                self.heard_at = self._clock()
                await self._frame(message.data)
        except (Gone, ConnectRefused) as error:
            why = error
        except (msgspec.DecodeError, aiohttp.ClientError, ConnectionError) as error:
            why = Gone(str(error))
        except Exception as error:
            self.fault, why = error, Gone(repr(error))
        finally:
            self._finish(why)
        if not self._ws.closed:
            await self._ws.close()

    async def _frame(self, text: str) -> None:
        if text == "2":
            await self._send("3")
        elif text.startswith("42"):
            self._event(text[2:])
        elif text.startswith("43"):
            self._ack(text[2:])
        elif text.startswith("40"):
            if not self.connected.done():
                self.connected.set_result(None)
        elif text.startswith("44"):
            raise ConnectRefused(str(_decode(text[2:]).get("message", "")))
        elif text.startswith("41") or text == "1":
            raise Gone("the server said goodbye")

    def _event(self, text: str) -> None:
        body = _decode(text[text.index("[") :])
        event, payload = body[0], body[1] if len(body) > 1 and isinstance(body[1], dict) else {}
        if self.log.maxlen:
            self.log.append((self.heard_at, event, payload))
        if self.tap is not None:
            self.tap(event, payload)
        handler = self._handlers.get(event)
        if handler is not None:
            handler(payload)

    def _ack(self, text: str) -> None:
        start = text.index("[")
        event, answer = self._acks.get(int(text[:start]), ("", None))
        if answer is not None and not answer.done():
            body = _decode(text[start:])
            said = body[0] if body and isinstance(body[0], dict) else {}
            if self.ack_tap is not None:
                self.ack_tap(event, said)
            answer.set_result(said)

    def _finish(self, why: Exception) -> None:
        self.closed.set()
        waiting: list[asyncio.Future[Any]] = [self.connected, *(answer for _, answer in self._acks.values())]
        for answer in waiting:
            if not answer.done():
                answer.set_exception(why)
                answer.exception()  # whoever waited is told; where nobody waits, nobody has to hear of it


class Pool:
    """The shared HTTP session of many clients, and the one timer that notices a server gone silent."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._clients: set[Client] = set()
        self._sweeper: asyncio.Task[None] | None = None
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        # limit=0: the sockets are the load; the default of 100 connections would queue them without a word.
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        self._sweeper = asyncio.create_task(self._sweep())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._session is not None and self._sweeper is not None
        self._sweeper.cancel()
        leaving = [asyncio.create_task(client.close()) for client in self._clients]
        if leaving:
            # A server that is frozen or gone must not keep us: whoever has not left by then is cut off.
            late = (await asyncio.wait(leaving, timeout=LEAVE_S))[1]
            for task in late:
                task.cancel()
        await asyncio.gather(self._sweeper, *leaving, return_exceptions=True)
        await self._session.close()

    @property
    def session(self) -> aiohttp.ClientSession:
        """For the few plain HTTP requests of a load run."""
        assert self._session is not None
        return self._session

    async def connect(
        self,
        token: str,
        handlers: Iterable[tuple[str, Handler]] = (),
        tap: Tap | None = None,
        log_length: int = 0,
    ) -> Client:
        """Connects and authenticates. Handlers given here miss nothing. Raises `Gone` or `ConnectRefused`."""
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                client = await self._open(log_length)
        except (TimeoutError, aiohttp.ClientError, ConnectionError, msgspec.DecodeError, ValueError) as error:
            raise Gone(f"cannot connect: {error}") from error
        for event, handler in handlers:
            client.on(event, handler)
        client.tap = tap
        self._clients.add(client)
        client.reader = asyncio.create_task(client.read())
        client.reader.add_done_callback(lambda _: self._clients.discard(client))
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await client._send(f"40{_encode({'token': token}).decode()}")
                await client.connected
        except TimeoutError:
            await client.close()
            raise Gone("no answer to CONNECT") from None
        except (Gone, ConnectRefused):
            await client.close()
            raise
        return client

    async def _open(self, log_length: int) -> Client:
        ws = await self.session.ws_connect(
            f"{self.url}/socket.io/?EIO=4&transport=websocket", max_msg_size=MAX_FRAME_BYTES, compress=0
        )
        opening = _decode((await ws.receive_str())[1:])
        silence_s = (float(opening["pingInterval"]) + float(opening["pingTimeout"])) / 1000
        return Client(ws, silence_s, log_length)

    async def _sweep(self) -> None:
        now_s = asyncio.get_running_loop().time
        while True:
            await asyncio.sleep(SWEEP_S)
            silent = [client for client in self._clients if client.is_silent(now_s())]
            await asyncio.gather(*(client.close() for client in silent))
