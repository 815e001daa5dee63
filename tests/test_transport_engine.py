"""Engine.IO as its protocol has it, byte by byte: handshakes, polling, websockets, heartbeats, goodbyes, upgrades.

The same ground as the public suite socketio/engine.io-protocol, and what it leaves out.
"""

from __future__ import annotations

import asyncio
import json

import aiohttp
import pytest

from rooms.transport import engine
from tests.support import wait_until
from tests.transportkit import (
    CLOSE,
    ENGINE_IO,
    HOST,
    PING,
    POLLING,
    PONG,
    TEXT,
    WEBSOCKET,
    Line,
    Poller,
    echo,
    handshake,
    masked,
    served,
)  # fmt: skip

SOON = {"ping_interval": 0.15, "ping_timeout": 0.25}
OPENING = {"sid", "upgrades", "pingInterval", "pingTimeout", "maxPayload"}


async def request(port: int, query: str, method: str = "GET", **more: object) -> tuple[int, str]:
    async with (
        aiohttp.ClientSession() as http,
        http.request(method, f"http://{HOST}:{port}/{ENGINE_IO}/?{query}", **more) as answer,  # type: ignore[arg-type]
    ):
        return answer.status, await answer.text()


# Handshakes


@pytest.mark.parametrize("interval_s", [25, 0.3, 2.5])
async def test_a_polling_handshake(interval_s: float) -> None:
    server = echo(ping_interval=interval_s, ping_timeout=0.2, max_http_buffer_size=1_000_000)
    async with served(server, ENGINE_IO) as port, Poller.opened(port, ENGINE_IO) as poller:
        opening = poller.opening
        assert set(opening) == OPENING and isinstance(opening["sid"], str) and len(opening["sid"]) >= 20
        assert opening["upgrades"] == ["websocket"]
        assert opening["pingInterval"] == interval_s * 1000 and opening["pingTimeout"] == 200
        assert opening["maxPayload"] == 1_000_000


async def test_a_websocket_handshake() -> None:
    async with served(echo(), ENGINE_IO) as port, Line.opened(port, WEBSOCKET, ENGINE_IO) as line:
        assert line.status == 101 and "permessage-deflate" not in line.head
        said = await line.says()
        opening = json.loads(said[1:])
        assert said[0] == "0" and set(opening) == OPENING and opening["upgrades"] == []


REFUSED = {
    "no EIO": ("GET", "transport=polling", 5),
    "EIO=3": ("GET", "EIO=3&transport=polling", 5),
    "EIO=abc": ("GET", "EIO=abc&transport=polling", 5),
    "no transport": ("GET", "EIO=4", 0),
    "transport=abc": ("GET", "EIO=4&transport=abc", 0),
    "POST": ("POST", POLLING, 2),
    "PUT": ("PUT", POLLING, 2),
    "sid of nobody": ("GET", f"{POLLING}&sid=nobody", 1),
    "POST to nobody": ("POST", f"{POLLING}&sid=nobody", 1),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_what_is_no_handshake_is_refused_in_engine_ios_words(case: str) -> None:
    method, query, code = REFUSED[case]
    async with served(echo(), ENGINE_IO) as port:
        status, text = await request(port, query, method)
        assert status == 400
        refusal = json.loads(text)
        assert refusal["code"] == code and refusal["message"] and len(text) < 200


BROKEN_HANDSHAKES = {
    "no key": ("Sec-WebSocket-Key:", "X-Key:"),
    "a key too short": ("Sec-WebSocket-Key: ", "Sec-WebSocket-Key: AAAA"),
    "version 8": ("Sec-WebSocket-Version: 13", "Sec-WebSocket-Version: 8"),
    "no Connection": ("Connection: Upgrade", "Connection: keep-alive"),
    "no Upgrade": ("Upgrade: websocket", "X-Upgrade: websocket"),
    "EIO=3": ("EIO=4", "EIO=3"),
    "a transport nobody has": ("transport=websocket", "transport=carrier"),
}


@pytest.mark.parametrize("case", BROKEN_HANDSHAKES)
async def test_what_is_no_websocket_handshake_gets_400_and_leaves_nothing(case: str) -> None:
    server = echo()
    async with served(server, ENGINE_IO) as port, Line.connected(port) as line:
        old, new = BROKEN_HANDSHAKES[case]
        asked = handshake(WEBSOCKET, ENGINE_IO).decode().replace(old, new)
        line.writer.write(asked.encode())
        await line.reads_head()
        assert line.status == 400 and not server.sockets


async def test_origins() -> None:
    """Only whom the settings name, over polling and websocket; the answer names him."""
    server = echo(cors_allowed_origins=["https://app.example"])
    async with served(server, ENGINE_IO) as port:
        for origin, status in (("https://app.example", 200), ("https://evil.example", 403)):
            got, _ = await request(port, POLLING, headers={"Origin": origin})
            assert got == status
            async with Line.opened(port, WEBSOCKET, ENGINE_IO, f"Origin: {origin}") as line:
                assert line.status == (101 if status == 200 else 403)
        async with (
            aiohttp.ClientSession() as http,
            http.options(
                f"http://{HOST}:{port}/{ENGINE_IO}/?{POLLING}", headers={"Origin": "https://app.example"}
            ) as answer,
        ):
            assert answer.status == 200
            assert answer.headers["Access-Control-Allow-Origin"] == "https://app.example"


# Messages


async def test_polling_gives_back_what_was_posted_in_one_answer_and_its_order() -> None:
    async with served(echo(), ENGINE_IO) as port, Poller.opened(port, ENGINE_IO) as poller:
        for packets in (
            ["4hello"],
            ["4test1", "4test2", "4test3"],
            ["4hello", "bAQIDBA=="],
            ["4\u20ac \x00"],
        ):
            assert await poller.post(*packets) == (200, "ok")
            assert await poller.get() == (200, "\x1e".join(packets))


async def test_a_poll_waits_for_what_comes() -> None:
    server = echo()
    async with served(server, ENGINE_IO) as port, Poller.opened(port, ENGINE_IO) as poller:
        waiting = asyncio.create_task(poller.get())
        await wait_until(lambda: server.sockets[poller.sid].channel.ready)
        await server.send(poller.sid, "late")
        assert await waiting == (200, "4late")


BAD_BODIES = {
    "no packet": "abc", "empty": "", "two separators": "4a\x1e\x1e4b", "not base64": "b!!", "EIO 3's ping": "2",
    "an open packet": "0{}", "not UTF-8": b"4\xff\xfe", "packets without end": "\x1e".join(["4a"] * 129),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_BODIES)
async def test_a_body_of_rubbish_gets_400_and_closes_the_session(case: str) -> None:
    async with served(echo(), ENGINE_IO) as port, Poller.opened(port, ENGINE_IO) as poller:
        async with poller.http.post(poller.url, data=BAD_BODIES[case]) as answer:
            assert answer.status == 400
        assert (await poller.get())[0] == 400


async def test_a_body_beyond_the_limit_is_not_read() -> None:
    server = echo(max_http_buffer_size=1000)
    async with served(server, ENGINE_IO) as port:
        async with Poller.opened(port, ENGINE_IO) as poller:
            assert await poller.post("4" + "x" * 999) == (200, "ok")
            assert (await poller.get())[1] == "4" + "x" * 999
            assert (await poller.post("4" + "x" * 1000))[0] == 400
            assert (await poller.get())[0] == 400
        assert not server.sockets


@pytest.mark.parametrize("message", ["4hello", "4", "4\u20ac", "4" + "x" * 125, "4" + "x" * 999_999])
async def test_a_websocket_gives_back_texts(message: str) -> None:
    async with served(echo(), ENGINE_IO) as port, Line.opened(port, WEBSOCKET, ENGINE_IO) as line:
        await line.says()
        line.send(message)
        assert await line.hears() == message


async def test_a_websocket_gives_back_bytes_and_fragments_and_pongs() -> None:
    async with served(echo(), ENGINE_IO) as port, Line.opened(port, WEBSOCKET, ENGINE_IO) as line:
        await line.says()
        line.send(b"\x01\x02\x03\x04")
        assert await line.hears() == b"\x01\x02\x03\x04"
        # a ping between two halves of a message is answered between them
        line.writer.write(masked("4hel", TEXT, last=False) + masked(b"alive?", PING) + masked("lo", 0))
        assert await line.frame() == (PONG, b"alive?")
        assert await line.hears() == "4hello"


BAD_FRAMES = {
    "no packet": masked("abc"), "empty": masked(""), "EIO 3's ping": masked("2"), "an open packet": masked("0{}"),
    "a probe": masked("2probe"), "a long pong": masked("3" + "x" * 100), "not UTF-8": masked(b"4\xff\xfe", TEXT),
    "a reserved opcode": masked("4a", 0x3), "a continuation of nothing": masked("4a", 0),
    "a reserved bit": bytes((0xC1, 0x80)) + bytes(4), "longer than may be": masked("4" + "x" * 1_000_000),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_FRAMES)
async def test_a_frame_of_rubbish_closes_and_is_heard_of_at_once(case: str) -> None:
    server, told = echo(), []
    server.on("disconnect", lambda sid, reason: told.append(reason))
    async with served(server, ENGINE_IO) as port, Line.opened(port, WEBSOCKET, ENGINE_IO) as line:
        await line.says()
        line.writer.write(BAD_FRAMES[case])
        assert await line.ends(1.0)
        await wait_until(lambda: told, 1.0)
        assert told in (["transport error"], ["server disconnect"]) and not server.sockets


# Heartbeats


async def test_heartbeats_over_polling_stand_alone() -> None:
    async with served(echo(**SOON), ENGINE_IO) as port, Poller.opened(port, ENGINE_IO) as poller:
        for _ in range(3):
            assert await poller.get() == (200, "2")
            assert await poller.post("3") == (200, "ok")


async def test_heartbeats_over_a_websocket() -> None:
    async with served(echo(**SOON), ENGINE_IO) as port, Line.opened(port, WEBSOCKET, ENGINE_IO) as line:
        await line.says()
        for _ in range(3):
            assert await line.frame() == (TEXT, b"2")
            line.send("3")
        line.send("4alive")
        assert await line.hears() == "4alive"


@pytest.mark.parametrize("answer", ["3", "4anything", b"an attachment"])
async def test_whatever_comes_means_alive(answer: str | bytes) -> None:
    async with served(echo(**SOON), ENGINE_IO) as port, Line.opened(port, WEBSOCKET, ENGINE_IO) as line:
        for _ in range(4):
            while await line.frame() != (TEXT, b"2"):
                pass
            line.send(answer)


async def test_who_is_silent_is_dropped() -> None:
    server, told = echo(**SOON), []
    server.on("disconnect", lambda sid, reason: told.append(reason))
    async with served(server, ENGINE_IO) as port:
        loop = asyncio.get_running_loop()
        async with Line.opened(port, WEBSOCKET, ENGINE_IO) as line, Poller.opened(port, ENGINE_IO) as poller:
            began_s = loop.time()
            assert await line.ends()
            assert loop.time() - began_s >= sum(SOON.values()) - 0.05, "before his time"
            await wait_until(lambda: told == ["ping timeout"] * 2)
            assert (await poller.get())[0] == 400


# Goodbyes


async def test_goodbye_over_polling_ends_the_poll_that_waits() -> None:
    server = echo()
    async with served(server, ENGINE_IO) as port, Poller.opened(port, ENGINE_IO) as poller:
        waiting = asyncio.create_task(poller.get())
        await wait_until(lambda: server.sockets[poller.sid].channel.ready)
        assert await poller.post("1") == (200, "ok")
        assert await waiting == (200, "6")
        assert (await poller.get())[0] == 400


async def test_a_poll_that_was_under_way_at_goodbye_is_ended_once() -> None:
    async with served(echo(), ENGINE_IO) as port, Poller.opened(port, ENGINE_IO) as poller:
        assert await poller.post("1") == (200, "ok")
        assert await poller.get() == (200, "6")
        assert (await poller.get())[0] == 400


@pytest.mark.parametrize("goodbye", [masked("1"), masked((1000).to_bytes(2), CLOSE)])
async def test_goodbye_over_a_websocket_is_answered(goodbye: bytes) -> None:
    server, told = echo(), []
    server.on("disconnect", lambda sid, reason: told.append(reason))
    async with served(server, ENGINE_IO) as port, Line.opened(port, WEBSOCKET, ENGINE_IO) as line:
        await line.says()
        line.writer.write(goodbye + masked("4what comes after it"))
        assert await line.frame() == (CLOSE, (1000).to_bytes(2))
        assert await line.frame() is None
        await wait_until(lambda: told)
        assert told[0] in ("client disconnect", "transport close") and not server.sockets


async def test_who_hangs_up_is_missed_at_once_also_while_a_poll_of_his_waits() -> None:
    server, told = echo(), []
    server.on("disconnect", lambda sid, reason: told.append(reason))
    async with served(server, ENGINE_IO) as port:
        async with Line.opened(port, WEBSOCKET, ENGINE_IO):
            pass
        await wait_until(lambda: told == ["transport close"], 1.0)
        async with Poller.opened(port, ENGINE_IO) as poller:
            waiting = asyncio.create_task(poller.get())
            await wait_until(lambda: server.sockets[poller.sid].channel.ready)
            waiting.cancel()
        await wait_until(lambda: told == ["transport close"] * 2, 1.0)


async def test_two_polls_at_once_end_the_session() -> None:
    server = echo()
    async with served(server, ENGINE_IO) as port, Poller.opened(port, ENGINE_IO) as poller:
        first = asyncio.create_task(poller.get())
        await wait_until(lambda: server.sockets[poller.sid].channel.ready)
        assert (await poller.get())[0] == 400
        assert await first == (200, "1")
        assert (await poller.get())[0] == 400 and not server.sockets


async def test_beyond_the_crowd_there_is_room_for_new_ones_are_told_to_come_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engine, "NEW_AT_ONCE", 3.0)
    monkeypatch.setattr(engine, "NEW_A_SECOND", 0.001)
    async with served(echo(), ENGINE_IO) as port, Line.opened(port, WEBSOCKET, ENGINE_IO) as line:
        statuses = [(await request(port, POLLING))[0] for _ in range(4)]
        assert statuses == [200, 200, 503, 503]
        await line.says()
        line.send("4who is in is heard")
        assert await line.hears() == "4who is in is heard"
